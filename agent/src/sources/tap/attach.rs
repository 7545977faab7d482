//! The half of the tap that needs rights. Enters: what to watch. Leaves: probes on libraries, the maps behind them, notices. Reads
//! `/proc` and library files; never a record of the ring, so no byte that a process in scope sends or gets.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, Metadata},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread::JoinHandle,
};

use super::{
    Notice, Scope, Settings, TapError,
    coverage::world::Fates,
    kernel::{Kernel, KernelError},
    maps::Maps,
    pipe,
    probes::{self, Links},
    process::{self, Origins},
    stacks::{self, Plan, Refusal, Site, Stack},
    thread,
    watch::{self, Mapped, News, Watch, Watched},
};
use crate::{
    rules::vendors::HostPattern,
    sources::{coverage::How, privileges, refusal::Barrier},
};

/// Files that are probed at most: a process could invent any number of them.
const PROBED_MAX: usize = 1024;
/// Files that are remembered as looked at; past it all are looked at again.
const SEEN_MAX: usize = 65_536;
/// Largest file that is read for its symbols: Deno's program has 130 MB.
const FILE_MAX_BYTES: u64 = 1 << 30;
/// How many files were read and parsed since this process began.
static INSPECTED: AtomicU64 = AtomicU64::new(0);

/// How many files this process has read and parsed to find TLS stacks: each inode once, however many processes map it.
pub fn inspected() -> u64 {
    INSPECTED.load(Ordering::Relaxed)
}

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
///
/// Dropped, it takes all probes off; when the drop returns they are. To wait is not politeness: the kernel leaves the breakpoints of a
/// probe in the processes when it is told to remove it by a thread that a fatal signal waits for ("failed to unregister, leaking
/// uprobe": kernel/events/uprobes.c, get_user_pages answers `EINTR`), and the end of a process sends that to all of its threads.
pub(super) struct Attached {
    /// Both are there until the drop.
    stop: Option<OwnedFd>,
    watch: Option<JoinHandle<Kernel>>,
    fates: Fates,
    origins: Origins,
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
    let mut files = Files::new(kernel, reader, notice);
    if let Err(why) = files.kernel.sees_connections() {
        let why = format!("nobody hears to whom processes connect: {why}");
        (files.notice)(Notice::Coverage { why });
    }
    let (fates, origins) = (files.fates.clone(), files.origins.clone());
    for path in known {
        files.known(path);
    }
    files.running(scope, &existing)?;
    let (stopped, stop) = pipe()?;
    let watch = thread("outflow-watch", move || {
        let refused =
            |why: String| Notice::Refused { library: PathBuf::from("(new files)"), pid: None, stack: None, why };
        let watched = watch.run(&stopped, |news| match news {
            News::Mapped(mapped) => files.found(&mapped),
            News::Lost(count) => (files.notice)(refused(format!("{count} mapping records were lost"))),
        });
        if let Err(error) = watched {
            (files.notice)(refused(format!("cannot watch for them any more: {error}")));
        }
        let Files { kernel, probed, .. } = files;
        probes::take_off(probed.into_values().map(|(_, links)| links));
        kernel
    })?;
    Ok((maps, Attached { stop: Some(stop), watch: Some(watch), fates, origins }))
}

impl Attached {
    /// Whether new libraries are still watched for.
    pub(super) fn is_running(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| !watch.is_finished())
    }

    /// What became of the files that were looked at.
    pub(super) fn fates(&self) -> Fates {
        self.fates.clone()
    }

    /// Who the processes are that map what is probed.
    pub(super) fn origins(&self) -> Origins {
        self.origins.clone()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic of that thread has dropped the probes on its way.
        drop(self.watch.take().map(JoinHandle::join));
    }
}

/// Device and inode.
type Inode = (u64, u64);

/// Files by inode: each is parsed and probed once.
struct Files<N> {
    kernel: Kernel,
    /// The process that reads the ring: no more to be probed than this one.
    reader: u32,
    seen: HashSet<Inode>,
    /// What is probed, with the file itself, which says when its last name is gone.
    probed: HashMap<Inode, (File, Links)>,
    /// The process a file of which could not be opened the last time.
    hidden: Option<u32>,
    /// What became of those that have a TLS stack.
    fates: Fates,
    origins: Origins,
    notice: N,
}

impl<N: FnMut(Notice)> Files<N> {
    fn new(kernel: Kernel, reader: u32, notice: N) -> Self {
        let mut files = Self {
            kernel,
            reader,
            seen: HashSet::new(),
            probed: HashMap::new(),
            hidden: None,
            fates: Fates::default(),
            origins: Origins::new(),
            notice,
        };
        files.leave_ourselves_alone();
        files
    }

    /// This program has an OpenSSL in it, by which its sinks send: a probe on that would be one on ourselves.
    fn leave_ourselves_alone(&mut self) {
        let own = [std::process::id(), self.reader].map(|pid| std::fs::metadata(format!("/proc/{pid}/exe")));
        self.seen.extend(own.iter().flatten().map(inode));
    }

    /// A process in scope maps a file's code.
    fn found(&mut self, mapped: &Mapped) {
        if ![std::process::id(), self.reader].contains(&mapped.pid) {
            self.look(&mapped.path, Some(mapped.pid), mapped.open());
        }
    }

    /// A file that a process in scope will map.
    fn known(&mut self, path: &Path) {
        self.look(path, None, File::open(path));
    }

    /// What processes in scope map already. One that was named and may not be looked at is an error.
    fn running(&mut self, scope: &Scope, pids: &[u32]) -> Result<(), TapError> {
        let mut hidden = 0_u64;
        for pid in pids {
            // The map of memory alone may be read with less: PERFMON does on Linux 6.18.
            let root = std::fs::read_link(format!("/proc/{pid}/root"));
            match root.and_then(|_| watch::mapped_by(*pid)) {
                Ok(all) => all.iter().for_each(|mapped| self.found(mapped)),
                Err(kernel) if kernel.kind() == io::ErrorKind::PermissionDenied => {
                    if matches!(scope, Scope::Processes(_)) {
                        let barrier = Barrier::before(privileges::LOOK);
                        let what = "a look at the process";
                        return Err(KernelError::NotPermitted { barrier, what, kernel }.into());
                    }
                    hidden += 1;
                }
                // It has ended meanwhile.
                Err(_) => {}
            }
        }
        if hidden > 0 {
            let library = PathBuf::from(format!("(what {hidden} processes map)"));
            let why = Barrier::before(privileges::LOOK).to_string();
            (self.notice)(Notice::Refused { library, pid: None, stack: None, why });
        }
        Ok(())
    }

    fn look(&mut self, path: &Path, pid: Option<u32>, opened: io::Result<File>) {
        let library = path.to_owned();
        let (metadata, file) = match opened.and_then(|file| Ok((file.metadata()?, file))) {
            Ok(opened) => opened,
            Err(error) => {
                // Whoever may look at none of a process's files is told so once for it.
                let again = error.kind() == io::ErrorKind::PermissionDenied && pid.is_some() && self.hidden == pid;
                if again && matches!(Barrier::before(privileges::LOOK_AT_PROCESSES), Barrier::Capabilities(_)) {
                    return;
                }
                if let Some(why) = why_not_opened(path, pid, &error) {
                    self.hidden = pid;
                    (self.notice)(Notice::Refused { library, pid, stack: None, why });
                }
                return;
            }
        };
        let inode = inode(&metadata);
        if self.seen.contains(&inode) {
            return self.is_known(pid, inode);
        }
        if self.seen.len() >= SEEN_MAX {
            self.seen = self.probed.keys().copied().collect();
            self.leave_ourselves_alone();
        }
        self.seen.insert(inode);
        let plans = match inspect(&file) {
            Ok(plans) => plans,
            Err(why) => return (self.notice)(Notice::Refused { library, pid, stack: None, why }),
        };
        let mut sites = Vec::new();
        let mut stacks = Vec::new();
        for plan in plans {
            match plan {
                Ok(plan) => {
                    stacks.push(plan.stack);
                    sites.extend(plan.sites);
                }
                Err(Refusal { stack, why }) => {
                    let library = library.clone();
                    self.fates.note(inode, How::Refused { stack: stack.to_string(), why: why.clone() });
                    (self.notice)(Notice::Refused { library, pid, stack: Some(stack), why });
                }
            }
        }
        if !sites.is_empty() {
            let attached = self.probe(inode, file, &sites);
            let stack = names(&stacks);
            // What can be tapped in a file counts for more than what cannot.
            self.fates.note(
                inode,
                match &attached {
                    Ok(()) => How::Attached { stack },
                    Err(why) => How::Refused { stack, why: why.clone() },
                },
            );
            self.is_known(pid, inode);
            (self.notice)(match attached {
                Ok(()) => Notice::Tapped { library, pid, stacks },
                Err(why) => Notice::Refused { library, pid, stack: stacks.first().copied(), why },
            });
        }
    }

    /// Who maps what is probed.
    fn is_known(&self, pid: Option<u32>, inode: Inode) {
        if let Some(pid) = pid.filter(|_| self.probed.contains_key(&inode)) {
            self.origins.note(pid);
        }
    }

    fn probe(&mut self, inode: Inode, file: File, sites: &[Site]) -> Result<(), String> {
        self.let_the_dead_go();
        if self.probed.len() >= PROBED_MAX {
            return Err(format!("{PROBED_MAX} files are probed already, and that is the most"));
        }
        let links = self.kernel.attach(&file, sites).map_err(|error| error.to_string())?;
        self.probed.insert(inode, (file, links));
        Ok(())
    }

    /// Probes of files without a name that nobody maps any more: what an update replaced while it ran.
    fn let_the_dead_go(&mut self) {
        let nameless: HashSet<Inode> = self
            .probed
            .iter()
            .filter(|(_, (file, _))| file.metadata().is_ok_and(|metadata| metadata.nlink() == 0))
            .map(|(inode, _)| *inode)
            .collect();
        if nameless.is_empty() {
            return;
        }
        let mapped = process::mapped_inodes(&nameless);
        for inode in nameless.difference(&mapped) {
            self.probed.remove(inode);
            self.fates.forget(*inode);
            // The number may be another file's next.
            self.seen.remove(inode);
        }
    }
}

fn names(stacks: &[Stack]) -> String {
    stacks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why a file that a process maps cannot be opened; nothing when there is no need to: a process that ended meanwhile needs no tap.
fn why_not_opened(path: &Path, pid: Option<u32>, error: &io::Error) -> Option<String> {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Some(Barrier::before(privileges::LOOK).to_string());
    }
    if error.kind() != io::ErrorKind::NotFound && !is_no_such_process(error) {
        return Some(format!("it cannot be opened: {error}"));
    }
    // A name that is gone (proc_pid_maps(5)) is no way to a file that is still mapped; the other way wants a right of its own.
    let deleted = path.as_os_str().as_encoded_bytes().ends_with(b" (deleted)");
    let runs = pid.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
    match Barrier::before(privileges::LOOK_AT_DELETED) {
        barrier @ Barrier::Capabilities(_) if deleted && runs => Some(barrier.to_string()),
        _ => None,
    }
}

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

fn is_no_such_process(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Parses a file; one that is no program of this kind of machine has no stack.
pub(super) fn inspect(file: &File) -> Result<Vec<Result<Plan, Refusal>>, String> {
    INSPECTED.fetch_add(1, Ordering::Relaxed);
    let bytes = stacks::read(file, FILE_MAX_BYTES).map_err(|error| format!("it cannot be read: {error}"))?;
    Ok(stacks::inspect(&bytes).unwrap_or_default())
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
