//! The kernel tap. Enters: what to watch. Leaves: [`Input`] of every connection to a listed host, notices about what was or
//! could not be tapped, and the ledger. Never reads anything of a process out of scope; one that maps a probed library passes
//! the probe and is let go by its first look-up.
//!
//! ```text
//!  attach   mapping records ──► library found ──► probes on its inode       (one thread)
//!  reader   ring records ─────► Input ──────────► deliver                   (one thread)
//!               └─ who connects ─► coverage ────► notice                    (one thread)
//! ```
//! Attaching needs rights, reading does not. [`Tap::start`] does both in this process; with [`Tap::start_apart`] the upper line
//! is a process of its own (`attacher`), which this one asks over a socket pair (`link`).

mod attach;
pub mod attacher;
pub mod coverage;
mod ffi;
mod handshakes;
pub(crate) mod kernel;
mod ledger;
mod link;
mod maps;
mod multi;
mod offsets;
mod placement;
mod probes;
mod process;
mod reader;
mod remote;
mod request;
mod stacks;
mod watch;

use std::{
    collections::HashSet,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use serde::{Deserialize, Serialize};

pub(crate) use self::ffi::give_memory_back;
pub use self::{
    attach::inspected,
    kernel::{KernelError, Settings},
    ledger::{Ledger, Tally},
    link::LinkError,
    offsets::KERNEL_BTF,
    probes::Means,
    remote::Attacher,
    stacks::Stack,
};
use self::{
    coverage::{
        watch as cover,
        world::{Here, Listed},
    },
    kernel::Kernel,
    maps::{Counters, Maps},
    reader::{Reader, WhoIs},
    watch::{Watch, Watched},
};
use crate::{
    rules::VendorTable,
    sources::{Input, coverage::Unseen, handshake::FailedHandshake, privileges, refusal::Barrier},
};
pub use outflow_ebpf::wire::Outcome;

/// What to tap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// What the thread that calls [`Tap::start`] starts from then on, with all its children; of [`Tap::start_apart`], what this
    /// whole process starts.
    Children,
    /// Running processes, and what they start from now on.
    Processes(Vec<u32>),
    /// A control group of the v2 hierarchy with everything below it.
    Cgroup {
        /// Its folder.
        #[serde(with = "link::path")]
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
    /// The attaching process does not start.
    #[error("cannot start the attaching process: {0}")]
    Spawn(io::Error),
    /// The attaching process says that it cannot do what it was asked for.
    #[error("{why}")]
    Attacher {
        /// In its own words.
        why: String,
        /// It lacks the rights.
        permission: bool,
    },
    /// The attaching process cannot be talked to.
    #[error("the attaching process: {0}")]
    Link(#[from] LinkError),
}

/// News about coverage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// A library is tapped from now on.
    Tapped {
        /// Its file.
        #[serde(with = "link::path")]
        library: PathBuf,
        /// The process that mapped it; none when it was probed before anything ran.
        pid: Option<u32>,
        /// The TLS implementations in it.
        stacks: Vec<Stack>,
    },
    /// A TLS library that could not be tapped.
    Refused {
        /// Its file.
        #[serde(with = "link::path")]
        library: PathBuf,
        /// The process that uses it.
        pid: Option<u32>,
        /// The TLS implementation in it, where that is known.
        stack: Option<Stack>,
        /// Why, for people.
        why: String,
    },
    /// A process talks to a vendor past the tap.
    #[serde(skip)]
    Unseen(Box<Unseen>),
    /// Connections of a process to a vendor do not come about.
    #[serde(skip)]
    Handshake(Box<FailedHandshake>),
    /// Who goes past the tap is not known in full; what is tapped is tapped all the same.
    Coverage {
        /// Why, for people.
        why: String,
    },
    /// The process that held the probes has ended, and the probes with it: nothing is tapped any more.
    Ended {
        /// Why, for people.
        why: String,
    },
}

/// A running tap.
pub struct Tap {
    counters: Counters,
    stop_reader: OwnedFd,
    reader: JoinHandle<io::Result<()>>,
    cover: JoinHandle<()>,
    attached: Attached,
}

/// Who holds the probes.
enum Attached {
    Here(attach::Attached),
    Apart(remote::Connection),
}

impl Tap {
    /// Loads the programs, attaches to what is already mapped, and starts both threads, all in this process.
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
        let wanted = attach::Wanted { scope, known, settings, reader: std::process::id() };
        let (notice, news) = shared(notice);
        let (maps, attached) = attach::attach(&wanted, vendors.hosts(), notice)?;
        let facts = Here::new(attached.fates());
        let cover = cover::start(Listed { facts, vendors: Arc::clone(vendors) }, news)?;
        let origins = attached.origins();
        let who_is = Box::new(move |pid| origins.of(pid));
        Self::read(maps, Attached::Here(attached), who_is, cover, vendors, settings, deliver)
    }

    /// The same with the probes in a process of their own, so that this one, which parses what others wrote, needs no rights:
    /// it may have given them up since it started the attacher. [`Scope::Children`] means this process's children.
    ///
    /// When the attacher ends before it is told to, nothing is tapped any more: `notice` hears of it at once
    /// ([`Notice::Ended`]), and [`Tap::is_attached`] says so.
    pub fn start_apart(
        attacher: Attacher,
        scope: &Scope,
        known: &[PathBuf],
        settings: Settings,
        vendors: &Arc<VendorTable>,
        deliver: impl FnMut(Input) -> bool + Send + 'static,
        notice: impl FnMut(Notice) + Send + 'static,
    ) -> Result<Self, TapError> {
        let (notice, news) = shared(notice);
        let (maps, connection, who_is, there) = attacher.attach(scope, known, settings, vendors.hosts(), notice)?;
        let cover = cover::start(Listed { facts: there, vendors: Arc::clone(vendors) }, news)?;
        Self::read(maps, Attached::Apart(connection), who_is, cover, vendors, settings, deliver)
    }

    fn read(
        maps: Maps,
        attached: Attached,
        who_is: WhoIs,
        (events, cover): (cover::Events, JoinHandle<()>),
        vendors: &Arc<VendorTable>,
        settings: Settings,
        deliver: impl FnMut(Input) -> bool + Send + 'static,
    ) -> Result<Self, TapError> {
        let (channels, counters) = maps.open().map_err(KernelError::from)?;
        let (reader_stopped, stop_reader) = pipe()?;
        let reader = Reader::new(channels, Arc::clone(vendors), who_is, settings, events, reader_stopped);
        let reader = thread("outflow-ring", move || reader.run(deliver))?;
        Ok(Self { counters, stop_reader, reader, cover, attached })
    }

    /// What became of every call so far.
    pub fn ledger(&self) -> Result<Ledger, KernelError> {
        Ok(self.counters.read()?)
    }

    /// Whether there still is somebody who holds the probes, and somebody who reads what they see.
    pub fn is_attached(&self) -> bool {
        if self.reader.is_finished() {
            return false;
        }
        match &self.attached {
            Attached::Here(attached) => attached.is_running(),
            Attached::Apart(connection) => connection.is_alive(),
        }
    }

    /// Detaches everything, reads what is left in the ring, and gives the final ledger.
    pub fn stop(self) -> Result<Ledger, TapError> {
        // Dropping the programs takes the probes off; only then is the ring final.
        let connection = match self.attached {
            Attached::Here(attached) => {
                drop(attached);
                None
            }
            Attached::Apart(connection) => {
                connection.detach();
                Some(connection)
            }
        };
        drop(self.stop_reader);
        let read = self.reader.join();
        // It judges what is left, and may ask about it.
        let covered = self.cover.join();
        // The last records may be of processes that nobody had asked about.
        if let Some(connection) = connection {
            connection.close();
        }
        match read {
            Ok(Err(error)) => return Err(TapError::Threads(error)),
            Ok(Ok(())) => {}
            Err(_) => return Err(TapError::Threads(io::Error::other("the ring reader panicked"))),
        }
        covered.map_err(|_| TapError::Threads(io::Error::other("the coverage thread panicked")))?;
        Ok(self.counters.read().map_err(KernelError::from)?)
    }
}

/// Two ends for what there is to tell: of the probes, and of coverage.
fn shared(
    notice: impl FnMut(Notice) + Send + 'static,
) -> (impl FnMut(Notice) + Send + 'static, impl FnMut(cover::News) + Send + 'static) {
    let notice = Arc::new(Mutex::new(notice));
    let tell = move |news| (*notice.lock().unwrap_or_else(PoisonError::into_inner))(news);
    let tell_too = tell.clone();
    let of_coverage = move |news| match news {
        cover::News::Unseen(unseen) => tell_too(Notice::Unseen(unseen)),
        cover::News::Handshake(failed) => tell_too(Notice::Handshake(failed)),
        cover::News::Missed(count) => {
            let why = format!("{count} connections or processes came too fast, or were gone, before a look at them");
            tell_too(Notice::Coverage { why });
        }
    };
    (tell, of_coverage)
}

fn pipe() -> Result<(OwnedFd, OwnedFd), TapError> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| TapError::Threads(error.into()))
}

fn thread<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, TapError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(TapError::Threads)
}

/// Loads the programs and lets them go again; says how they would be placed.
pub fn try_load() -> Result<Means, TapError> {
    let (kernel, _) = Kernel::load(Settings::default(), std::process::id(), std::iter::empty())?;
    Ok(kernel.means().clone())
}

/// Starts to watch this process's children and stops again.
pub fn try_watch() -> Result<(), TapError> {
    Watch::start(&[Watched::OwnChildren]).map(drop).map_err(TapError::watch)
}

/// Where distributions keep libssl.
const LIBRARY_FOLDERS: [&str; 6] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/lib", "/usr/local/lib"];

/// What a command will map, as far as it can be known beforehand: its program, which may have TLS in it, and the libssl that the dynamic
/// loader would give it.
pub fn known_files(program: &std::ffi::OsStr) -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name);
    let executable = executable(program, variable("PATH").as_deref());
    executable.into_iter().chain(loader_choice(variable("LD_LIBRARY_PATH").as_deref())).collect()
}

/// The file that execvp(3) would run.
fn executable(program: &std::ffi::OsStr, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    let program = Path::new(program);
    if program.components().count() > 1 {
        return Some(program.to_owned());
    }
    std::env::split_paths(path?).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The libssl that the dynamic loader would give a program with this `LD_LIBRARY_PATH`: its folders first, then the usual ones
/// (ld.so(8)). A program with a run path or a library of its own is found when it maps it.
fn loader_choice(library_path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
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
    const NAMES: [&str; 5] = ["libssl.so", "libssl-", "libgnutls.so", "libssl3.so", "libnspr4.so"];
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for folder in LIBRARY_FOLDERS {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if !NAMES.iter().any(|known| name.to_string_lossy().starts_with(known)) {
                continue;
            }
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if seen.insert((metadata.dev(), metadata.ino())) {
                for plan in look_into(&path) {
                    found.push((path.clone(), plan));
                }
            }
        }
    }
    found
}

/// The TLS implementations of a file: how each would be probed, or why not.
fn look_into(path: &Path) -> Vec<Result<String, String>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return vec![Err(error.to_string())],
    };
    match stacks::inspect(&bytes) {
        Ok(plans) => plans
            .into_iter()
            .map(|plan| match plan {
                Ok(plan) => Ok(format!("{}, {} probe sites", plan.stack, plan.sites.len())),
                Err(refusal) => Err(refusal.to_string()),
            })
            .collect(),
        Err(error) => vec![Err(error.to_string())],
    }
}

impl TapError {
    /// Mapping records were refused.
    fn watch(error: io::Error) -> Self {
        // A filter may also say that there is no such system call.
        if error.kind() != io::ErrorKind::PermissionDenied && error.raw_os_error() != Some(libc::ENOSYS) {
            return Self::Watch(error);
        }
        let barrier = Barrier::before(privileges::WATCH);
        Self::Kernel(KernelError::NotPermitted { barrier, what: "mapping records", kernel: error })
    }

    /// The kernel said that this user may not.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Attacher { permission, .. } => *permission,
            Self::Kernel(error) => error.is_permission(),
            Self::Watch(error) | Self::Target { source: error, .. } | Self::Threads(error) | Self::Spawn(error) => {
                error.kind() == io::ErrorKind::PermissionDenied
            }
            Self::Link(_) => false,
        }
    }
}
