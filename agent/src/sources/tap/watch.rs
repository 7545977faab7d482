//! Learns which libraries the processes in scope map. Enters: the kernel's own mapping records (perf `MMAP2` side-band, which
//! costs nothing for other system calls). Leaves: [`Mapped`]. Never reads memory.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
};

use perf_event::{
    Builder, Sampler,
    data::{Record, parse::ParseResult},
    events::Software,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

use super::ffi;

/// Ring pages per processor, powers of two: for a group, of which hundreds may start at once while we get no turn, and for one thread.
/// A record is about 150 bytes. Together they stay below the 516 KiB that the kernel lets a user lock (`perf_event_mlock_kb`).
const PAGES: usize = 32;
const THREAD_PAGES: usize = 8;
const PROT_EXEC: u32 = 4;

/// An executable mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Process that maps it.
    pub pid: u32,
    /// Start address of the mapping.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Name of the file as the process knows it.
    pub path: PathBuf,
}

impl Mapped {
    /// Opens the very file that is mapped, whatever its name points to now.
    pub(super) fn open(&self) -> io::Result<File> {
        let Self { pid, start, end, path } = self;
        let file = File::open(format!("/proc/{pid}/map_files/{start:x}-{end:x}")).or_else(|_| {
            // The name is the process's own word: it must not lead out of its root, nor block us.
            let root = File::open(format!("/proc/{pid}/root"))?;
            let below_root = path.strip_prefix("/").unwrap_or(path);
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            Ok::<File, io::Error>(File::from(openat2(&root, below_root, flags, Mode::empty(), resolve)?))
        })?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
    }
}

/// What the kernel records.
#[derive(Debug)]
pub(super) enum News {
    /// A process maps a file's code.
    Mapped(Mapped),
    /// This many records did not fit: a library may have been missed.
    Lost(u64),
}

/// What is in scope.
#[derive(Debug)]
pub(super) enum Watched<'a> {
    /// This thread's children, and theirs, from now on.
    OwnChildren,
    /// A running process with its threads, and what they start from now on.
    Process(u32),
    /// All of a control group.
    Cgroup(&'a File),
}

/// Mapping records of everything watched.
pub(super) struct Watch {
    samplers: Vec<Sampler>,
}

impl Watch {
    /// Starts to record; mappings made from now on are seen.
    pub(super) fn start(watched: &[Watched<'_>]) -> io::Result<Self> {
        let mut samplers = Vec::new();
        for cpu in online_cpus()? {
            for item in watched {
                match item {
                    Watched::OwnChildren => {
                        samplers.push(sampler(cpu, Builder::new(Software::DUMMY).inherit(true), PAGES)?);
                    }
                    Watched::Process(pid) => {
                        // A process that has ended meanwhile has no folder, and needs no watch.
                        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                            let Ok(tid) = task.file_name().to_string_lossy().parse::<i32>() else { continue };
                            let mut builder = Builder::new(Software::DUMMY);
                            match sampler(cpu, builder.observe_pid(tid).inherit(true), THREAD_PAGES) {
                                Ok(sampler) => samplers.push(sampler),
                                // The thread has ended meanwhile.
                                Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
                                Err(error) => return Err(error),
                            }
                        }
                    }
                    Watched::Cgroup(folder) => {
                        samplers.push(sampler(cpu, Builder::new(Software::DUMMY).observe_cgroup(folder), PAGES)?);
                    }
                }
            }
        }
        Ok(Self { samplers })
    }

    /// Hands over news until `stop` becomes readable or is closed at its other end.
    pub(super) fn run(mut self, stop: &OwnedFd, mut news: impl FnMut(News)) -> io::Result<()> {
        loop {
            for sampler in &mut self.samplers {
                while let Some(record) = sampler.next_record() {
                    match record.parse_record() {
                        Ok(Record::Lost(lost)) => news(News::Lost(lost.lost)),
                        parsed => {
                            if let Some(mapping) = executable_mapping(parsed) {
                                news(News::Mapped(mapping));
                            }
                        }
                    }
                }
            }
            let hung_up = {
                let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(stop, PollFlags::IN)];
                fds.extend(
                    self.samplers.iter().map(|sampler| PollFd::from_borrowed_fd(ffi::borrow(sampler), PollFlags::IN)),
                );
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                if fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
                    return Ok(());
                }
                fds.iter().skip(1).map(|fd| fd.revents().contains(PollFlags::HUP)).collect::<Vec<_>>()
            };
            // The task behind it is gone and has no children left: it would be readable for ever.
            let mut hung_up = hung_up.into_iter();
            self.samplers.retain_mut(|sampler| !hung_up.next().unwrap_or(false) || sampler.next_record().is_some());
        }
    }
}

fn sampler(cpu: usize, builder: &mut Builder<'_>, pages: usize) -> io::Result<Sampler> {
    builder.one_cpu(cpu).mmap(true).mmap2(true).wakeup_watermark(1).enabled(true);
    builder.build()?.sampled(pages)
}

fn executable_mapping(record: ParseResult<Record<'_>>) -> Option<Mapped> {
    let Ok(Record::Mmap2(mapping)) = record else { return None };
    // Names of mappings without a file are in brackets: `[heap]`, `//anon`.
    if mapping.prot & PROT_EXEC == 0 || !mapping.filename.starts_with(b"/") || mapping.filename.starts_with(b"//") {
        return None;
    }
    Some(Mapped {
        pid: mapping.pid,
        start: mapping.addr,
        end: mapping.addr.saturating_add(mapping.len),
        path: PathBuf::from(mapping.filename_os()),
    })
}

/// Executable file mappings that a process has now.
pub(super) fn mapped_by(pid: u32) -> io::Result<Vec<Mapped>> {
    let pid_number = i32::try_from(pid).map_err(io::Error::other)?;
    let maps = procfs::process::Process::new(pid_number).and_then(|process| process.maps()).map_err(told)?;
    Ok(maps
        .into_iter()
        .filter(|map| map.perms.contains(procfs::process::MMPermissions::EXECUTE))
        .filter_map(|map| match map.pathname {
            procfs::process::MMapPath::Path(path) => {
                Some(Mapped { pid, start: map.address.0, end: map.address.1, path })
            }
            _ => None,
        })
        .collect())
}

/// The same error with its kind: whoever may not look needs other advice than whoever came too late.
fn told(error: procfs::ProcError) -> io::Error {
    let kind = match &error {
        procfs::ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied,
        procfs::ProcError::NotFound(_) => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// Processors that a task may run on; not the ones that this process may use.
fn online_cpus() -> io::Result<Vec<usize>> {
    const LIST: &str = "/sys/devices/system/cpu/online";
    let text = fs::read_to_string(LIST)?;
    parse_cpu_list(text.trim()).ok_or_else(|| io::Error::other(format!("{LIST} cannot be read: {text:?}")))
}

/// `0-3,8` as the kernel writes it.
fn parse_cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_cpu_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_cpu_list("0"), Some(vec![0]));
        assert_eq!(parse_cpu_list("x"), None);
        assert!(!online_cpus().unwrap().is_empty());
    }

    #[test]
    fn own_mappings_are_listed() {
        let own = mapped_by(std::process::id()).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert!(own.iter().any(|mapped| mapped.path == exe), "{own:?}");
    }
}
