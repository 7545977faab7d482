//! The kernel tap. Enters: what to watch. Leaves: [`Input`] of every connection to a listed host, notices about what was or
//! could not be tapped, and the ledger. Never reads anything of a process out of scope; one that maps a probed library passes
//! the probe and is let go by its first look-up.
//!
//! ```text
//!  watch   mapping records ──► library found ──► probes on its inode        (one thread)
//!  reader  ring records ─────► Input ──────────► deliver                    (one thread)
//! ```

mod elf;
mod ffi;
mod kernel;
mod ledger;
mod offsets;
mod placement;
mod process;
mod reader;
mod watch;

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use self::{
    kernel::{Counters, Kernel},
    reader::Reader,
    watch::{Mapped, News, Watch, Watched},
};
pub use self::{
    kernel::{KernelError, Settings},
    ledger::{Ledger, Tally},
    offsets::KERNEL_BTF,
};
use crate::{rules::VendorTable, sources::Input};
pub use outflow_ebpf::wire::Outcome;

/// Libraries that are probed at most: a process could invent any number of them.
const LIBRARIES_MAX: usize = 256;
/// Largest library file that is read for its symbols.
const LIBRARY_MAX_BYTES: u64 = 256 << 20;

/// What to tap.
#[derive(Debug)]
pub enum Scope {
    /// What the thread that calls [`Tap::start`] starts from then on, with all its children.
    Children,
    /// Running processes, and what they start from now on.
    Processes(Vec<u32>),
    /// A control group of the v2 hierarchy with everything below it.
    Cgroup {
        /// Its folder.
        folder: PathBuf,
        /// Its depth below the root of the hierarchy.
        level: u32,
    },
}

/// Why the tap does not start or stops.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The kernel side.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Watching for libraries.
    #[error("cannot watch for libraries (perf_event_open): {0}; `outflow doctor` says what is missing")]
    Watch(io::Error),
    /// A process or control group that was named cannot be looked at.
    #[error("cannot look at {what}: {source}")]
    Target {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// Threads or pipes.
    #[error("cannot start the tap's threads: {0}")]
    Threads(io::Error),
}

/// News about coverage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A library is tapped from now on.
    Tapped {
        /// Its file.
        library: PathBuf,
        /// The process that mapped it; none when it was probed before anything ran.
        pid: Option<u32>,
    },
    /// A TLS library that could not be tapped.
    Refused {
        /// Its file.
        library: PathBuf,
        /// The process that uses it.
        pid: Option<u32>,
        /// Why, for people.
        why: String,
    },
}

/// A running tap.
pub struct Tap {
    counters: Counters,
    stop_reader: OwnedFd,
    stop_watch: OwnedFd,
    reader: JoinHandle<io::Result<()>>,
    watch: JoinHandle<Kernel>,
}

impl Tap {
    /// Loads the programs, attaches to what is already mapped, and starts both threads.
    ///
    /// `known` are libraries that processes in scope will map, as far as known: they are probed before anything starts, so
    /// that the very first call is seen. Any other library is probed when it is mapped, which takes some milliseconds.
    pub fn start(
        scope: &Scope,
        known: &[PathBuf],
        settings: Settings,
        vendors: &Arc<VendorTable>,
        deliver: impl FnMut(Input) -> bool + Send + 'static,
        notice: impl FnMut(Notice) + Send + 'static,
    ) -> Result<Self, TapError> {
        let (settings, folder) = with_scope(scope, settings)?;
        let (mut kernel, channels, counters) = Kernel::load(settings, vendors.hosts())?;
        let (watched, existing) = targets(scope, folder.as_ref(), &mut kernel)?;
        let watch = Watch::start(&watched).map_err(TapError::Watch)?;
        // Whoever came between the first look and the watch is found by looking again.
        let existing = if let Scope::Cgroup { folder, .. } = scope {
            process::in_cgroup(folder).unwrap_or(existing)
        } else {
            existing
        };
        let mut libraries = Libraries { kernel, seen: HashSet::new(), notice };
        for path in known {
            libraries.known(path);
        }
        for pid in existing {
            for mapped in watch::mapped_by(pid).unwrap_or_default() {
                libraries.found(&mapped);
            }
        }
        let (reader_stopped, stop_reader) = pipe()?;
        let (watch_stopped, stop_watch) = pipe()?;
        let reader = Reader::new(channels, Arc::clone(vendors), settings.peek_bytes, reader_stopped);
        let reader = thread("outflow-ring", move || reader.run(deliver))?;
        let watch = thread("outflow-watch", move || {
            let refused = |why: String| Notice::Refused { library: PathBuf::from("(new libraries)"), pid: None, why };
            let watched = watch.run(&watch_stopped, |news| match news {
                News::Mapped(mapped) => libraries.found(&mapped),
                News::Lost(count) => (libraries.notice)(refused(format!("{count} mapping records were lost"))),
            });
            if let Err(error) = watched {
                (libraries.notice)(refused(format!("cannot watch for them any more: {error}")));
            }
            libraries.kernel
        })?;
        Ok(Self { counters, stop_reader, stop_watch, reader, watch })
    }

    /// What became of every call so far.
    pub fn ledger(&self) -> Result<Ledger, KernelError> {
        Ok(self.counters.read()?)
    }

    /// Detaches everything, reads what is left in the ring, and gives the final ledger.
    pub fn stop(self) -> Result<Ledger, TapError> {
        drop(self.stop_watch);
        // Dropping the programs takes the probes off; only then is the ring final.
        drop(self.watch.join());
        drop(self.stop_reader);
        match self.reader.join() {
            Ok(Err(error)) => return Err(TapError::Threads(error)),
            Ok(Ok(())) => {}
            Err(_) => return Err(TapError::Threads(io::Error::other("the ring reader panicked"))),
        }
        Ok(self.counters.read().map_err(KernelError::from)?)
    }
}

/// Libraries by inode: each is parsed and probed once.
struct Libraries<N> {
    kernel: Kernel,
    seen: HashSet<(u64, u64)>,
    notice: N,
}

impl<N: FnMut(Notice)> Libraries<N> {
    /// A process in scope maps a file.
    fn found(&mut self, mapped: &Mapped) {
        if mapped.pid != std::process::id() && is_tls_library(&mapped.path) {
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

/// `libssl.so.3`, `libssl-81ffa89e.so.3` of a Python wheel; not `libssl3.so`, which is NSS.
fn is_tls_library(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        (name.starts_with("libssl.so") || name.starts_with("libssl-")) && name.contains(".so")
    })
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
    folder: Option<&'a File>,
    kernel: &mut Kernel,
) -> Result<(Vec<Watched<'a>>, Vec<u32>), TapError> {
    match scope {
        Scope::Children => {
            // The programs never look at the agent itself, but what it starts inherits this entry.
            kernel.add_process(std::process::id())?;
            Ok((vec![Watched::OwnChildren], Vec::new()))
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

fn pipe() -> Result<(OwnedFd, OwnedFd), TapError> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| TapError::Threads(error.into()))
}

fn thread<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, TapError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(TapError::Threads)
}

/// Loads the programs and lets them go again.
pub fn try_load() -> Result<(), TapError> {
    Kernel::load(Settings::default(), std::iter::empty()).map(drop).map_err(TapError::from)
}

/// Starts to watch this process's children and stops again.
pub fn try_watch() -> Result<(), TapError> {
    Watch::start(&[Watched::OwnChildren]).map(drop).map_err(TapError::Watch)
}

/// Where distributions keep libssl.
const LIBRARY_FOLDERS: [&str; 6] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/lib", "/usr/local/lib"];

/// The libssl that the dynamic loader would give a program with this `LD_LIBRARY_PATH`: its folders first, then the usual ones
/// (ld.so(8)). A program with a run path or a library of its own is found when it maps it.
pub fn loader_choice(library_path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    const NAME: &str = "libssl.so.3";
    let first = library_path.into_iter().flat_map(|path| std::env::split_paths(path).collect::<Vec<_>>());
    first
        .filter(|folder| !folder.as_os_str().is_empty())
        .chain(LIBRARY_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(NAME))
        .find(|path| path.is_file())
}

/// The TLS libraries in the usual places, with how they would be probed or why not. Reads files only.
pub fn system_libraries() -> Vec<(PathBuf, Result<String, String>)> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for folder in LIBRARY_FOLDERS {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if !is_tls_library(&path) {
                continue;
            }
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if seen.insert((metadata.dev(), metadata.ino())) {
                let summary = std::fs::read(&path)
                    .map_err(|error| error.to_string())
                    .and_then(|bytes| elf::tls_sites(&bytes).map_err(|error| error.to_string()))
                    .map(|sites| format!("{} probe sites", sites.len()));
                found.push((path, summary));
            }
        }
    }
    found
}

impl TapError {
    /// The kernel said that this user may not.
    pub fn is_permission(&self) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<io::Error>()
                && io.kind() == io::ErrorKind::PermissionDenied
            {
                return true;
            }
            source = error.source();
        }
        matches!(self, Self::Watch(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }
}
