//! The half of the tap that needs rights. Enters: what to watch. Leaves: probes on libraries, the maps behind them, notices. Reads
//! `/proc` and library files; never a record of the ring, so no byte that a process in scope sends or gets.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use super::{
    Notice, Scope, Settings, TapError, elf, is_tls_library,
    kernel::Kernel,
    maps::Maps,
    pipe, process, thread,
    watch::{self, Mapped, News, Watch, Watched},
};
use crate::rules::vendors::HostPattern;

/// Libraries that are probed at most: a process could invent any number of them.
const LIBRARIES_MAX: usize = 256;
/// Largest library file that is read for its symbols.
const LIBRARY_MAX_BYTES: u64 = 256 << 20;

/// What is to be attached to.
pub(super) struct Wanted<'a> {
    /// Which processes.
    pub scope: &'a Scope,
    /// Libraries that they will map.
    pub known: &'a [PathBuf],
    /// For the programs.
    pub settings: Settings,
    /// The process that reads the ring: this one, or the one that asks.
    pub reader: u32,
}

/// Probes in place, and the thread that places more. They go when this process ends, however it ends.
pub(super) struct Attached {
    stop: OwnedFd,
    watch: JoinHandle<Kernel>,
}

/// Loads the programs, probes what is known and what is mapped already, and goes on with what is mapped from now on.
pub(super) fn attach<'a>(
    wanted: &Wanted<'_>,
    hosts: impl Iterator<Item = &'a HostPattern>,
    notice: impl FnMut(Notice) + Send + 'static,
) -> Result<(Maps, Attached), TapError> {
    let &Wanted { scope, known, settings, reader } = wanted;
    let (settings, folder) = with_scope(scope, settings)?;
    let (mut kernel, maps) = Kernel::load(settings, reader, hosts)?;
    let (watched, existing) = targets(scope, reader, folder.as_ref(), &mut kernel)?;
    let watch = Watch::start(&watched).map_err(TapError::watch)?;
    // Whoever came between the first look and the watch is found by looking again.
    let existing = if let Scope::Cgroup { folder, .. } = scope {
        process::in_cgroup(folder).unwrap_or(existing)
    } else {
        existing
    };
    let mut libraries = Libraries { kernel, reader, seen: HashSet::new(), notice };
    for path in known {
        libraries.known(path);
    }
    for pid in existing {
        for mapped in watch::mapped_by(pid).unwrap_or_default() {
            libraries.found(&mapped);
        }
    }
    let (stopped, stop) = pipe()?;
    let watch = thread("outflow-watch", move || {
        let refused = |why: String| Notice::Refused { library: PathBuf::from("(new libraries)"), pid: None, why };
        let watched = watch.run(&stopped, |news| match news {
            News::Mapped(mapped) => libraries.found(&mapped),
            News::Lost(count) => (libraries.notice)(refused(format!("{count} mapping records were lost"))),
        });
        if let Err(error) = watched {
            (libraries.notice)(refused(format!("cannot watch for them any more: {error}")));
        }
        libraries.kernel
    })?;
    Ok((maps, Attached { stop, watch }))
}

impl Attached {
    /// Whether new libraries are still watched for.
    pub(super) fn is_running(&self) -> bool {
        !self.watch.is_finished()
    }

    /// Takes all probes off; on return they are.
    pub(super) fn detach(self) {
        drop(self.stop);
        drop(self.watch.join());
    }
}

/// Libraries by inode: each is parsed and probed once.
struct Libraries<N> {
    kernel: Kernel,
    /// The process that reads the ring: no more to be probed than this one.
    reader: u32,
    seen: HashSet<(u64, u64)>,
    notice: N,
}

impl<N: FnMut(Notice)> Libraries<N> {
    /// A process in scope maps a file.
    fn found(&mut self, mapped: &Mapped) {
        if ![std::process::id(), self.reader].contains(&mapped.pid) && is_tls_library(&mapped.path) {
            self.probe(&mapped.path, Some(mapped.pid), mapped.open());
        }
    }

    /// A library that a process in scope will map.
    fn known(&mut self, path: &Path) {
        self.probe(path, None, File::open(path));
    }

    fn probe(&mut self, path: &Path, pid: Option<u32>, opened: io::Result<File>) {
        let library = path.to_owned();
        let news = match opened.and_then(|file| Ok((file.metadata()?, file))) {
            // A process that ended meanwhile needs no tap.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => Notice::Refused { library, pid, why: format!("it cannot be opened: {error}") },
            Ok((metadata, file)) => {
                if self.seen.len() >= LIBRARIES_MAX || !self.seen.insert((metadata.dev(), metadata.ino())) {
                    return;
                }
                match self.attach(&file) {
                    Ok(()) => Notice::Tapped { library, pid },
                    Err(why) => Notice::Refused { library, pid, why },
                }
            }
        };
        (self.notice)(news);
    }

    fn attach(&mut self, file: &File) -> Result<(), String> {
        let mut bytes = Vec::new();
        file.take(LIBRARY_MAX_BYTES).read_to_end(&mut bytes).map_err(|error| format!("it cannot be read: {error}"))?;
        let sites = elf::tls_sites(&bytes).map_err(|error| error.to_string())?;
        self.kernel.attach(file, &sites).map_err(|error| error.to_string())
    }
}

fn with_scope(scope: &Scope, settings: Settings) -> Result<(Settings, Option<File>), TapError> {
    Ok(match scope {
        Scope::Children | Scope::Processes(_) => (Settings { tree: true, cgroup: None, ..settings }, None),
        Scope::Cgroup { folder, level } => {
            let failed = |source| TapError::Target { what: folder.display().to_string(), source };
            let open = File::open(folder).map_err(failed)?;
            let id = open.metadata().map_err(failed)?.ino();
            (Settings { tree: false, cgroup: Some((id, *level)), ..settings }, Some(open))
        }
    })
}

/// What to watch for libraries, and which processes already have some.
fn targets<'a>(
    scope: &Scope,
    reader: u32,
    folder: Option<&'a File>,
    kernel: &mut Kernel,
) -> Result<(Vec<Watched<'a>>, Vec<u32>), TapError> {
    match scope {
        Scope::Children => {
            // The programs never look at the agent itself, but what it starts inherits this entry.
            kernel.add_process(reader)?;
            let own = reader == std::process::id();
            Ok((vec![if own { Watched::OwnChildren } else { Watched::Process(reader) }], Vec::new()))
        }
        Scope::Processes(pids) => {
            let mut all = Vec::new();
            for pid in pids {
                let failed = |source| TapError::Target { what: format!("process {pid}"), source };
                std::fs::metadata(format!("/proc/{pid}")).map_err(failed)?;
                // A child that is forked between the look and the entry is found by looking until there is nothing new.
                loop {
                    let tree = process::with_descendants(*pid);
                    let new: Vec<u32> = tree.into_iter().filter(|pid| !all.contains(pid)).collect();
                    for pid in &new {
                        kernel.add_process(*pid)?;
                    }
                    if new.is_empty() {
                        break;
                    }
                    all.extend(new);
                }
            }
            Ok((all.iter().map(|pid| Watched::Process(*pid)).collect(), all))
        }
        Scope::Cgroup { folder: path, .. } => {
            let failed = |source| TapError::Target { what: path.display().to_string(), source };
            let existing = process::in_cgroup(path).map_err(failed)?;
            Ok((folder.map(Watched::Cgroup).into_iter().collect(), existing))
        }
    }
}
