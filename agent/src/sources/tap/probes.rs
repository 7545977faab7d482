//! Probes in files. Enters: loaded maps, a file, sites in it. Leaves: attached programs, all of a file's or none; they come off when
//! they are dropped, or when this process ends. Never decides what to probe.
//!
//! Two means. `uprobe_multi` links (Linux 6.6) take `CAP_BPF` and `CAP_PERFMON` and come off together. Where the kernel has none, a
//! perf event a site: since ba677dbe77af that takes `CAP_SYS_ADMIN`, and the kernel waits for each as it comes off.

use std::{fmt, fs::File, os::fd::AsRawFd as _, thread::Builder};

use aya::{
    Ebpf,
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};

use super::{
    kernel::KernelError,
    multi::{self, Programs},
    stacks::{Program, Site},
};
use crate::sources::privileges::{self, Rights};

/// Links that are waited for at once, each by a thread of its own.
const TAKERS_MAX: usize = 32;

/// How probes are placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// One `uprobe_multi` link a file and program.
    Links,
    /// One perf event a site.
    PerfEvents {
        /// Why not links.
        why: String,
    },
}

impl Means {
    /// What attaching by these means takes.
    pub(super) fn rights(&self) -> Rights {
        match self {
            Self::Links => privileges::LOAD,
            Self::PerfEvents { .. } => privileges::LOAD.and(privileges::ATTACH_BY_PERF_EVENT),
        }
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Links => f.write_str("probes by uprobe_multi links"),
            Self::PerfEvents { why } => {
                write!(f, "probes by perf events, which take CAP_SYS_ADMIN and come off slowly, because {why}")
            }
        }
    }
}

/// The programs that are placed in files.
pub(super) struct Probes {
    means: Means,
    /// Those for links; those for perf events are in aya's hands.
    programs: Option<Programs>,
}

/// Probes in a file, until this is dropped.
pub(super) enum Links {
    /// One a program.
    Links(Vec<multi::Link>),
    /// One a site.
    PerfEvents(Vec<UProbeLink>),
}

impl Probes {
    /// Loads the programs for links, or, where the kernel has none or `perf_events` says so, for perf events.
    pub(super) fn load(object: &[u8], bpf: &mut Ebpf, perf_events: bool) -> Result<Self, KernelError> {
        let programs = if perf_events {
            Err("it was asked for".to_owned())
        } else {
            Programs::load(object, bpf, &Program::ALL.map(Program::name)).map_err(|error| error.to_string())
        };
        let (means, programs) = match programs {
            Ok(programs) => (Means::Links, Some(programs)),
            Err(why) => {
                for program in Program::ALL {
                    let name = program.name();
                    uprobe(bpf, name)?.load().map_err(|source| KernelError::Program { name, source })?;
                }
                (Means::PerfEvents { why }, None)
            }
        };
        Ok(Self { means, programs })
    }

    /// How they are placed.
    pub(super) fn means(&self) -> &Means {
        &self.means
    }

    /// Places programs at all of the sites, or at none.
    pub(super) fn attach(&self, bpf: &mut Ebpf, file: &File, sites: &[Site]) -> Result<Links, KernelError> {
        // What was placed before one fails is dropped with it.
        match &self.programs {
            Some(programs) => link(programs, file, sites).map(Links::Links),
            None => attach_each(bpf, file, sites).map(Links::PerfEvents),
        }
    }
}

/// Takes probes off; on return they are. The kernel waits before a link is gone until no processor can be at its program any more,
/// some tens of milliseconds. It waits for many links in the time of one when many threads ask; for perf events it does not.
pub(super) fn take_off(files: impl Iterator<Item = Links>) {
    let mut links = Vec::new();
    for file in files {
        match file {
            Links::Links(some) => links.extend(some),
            Links::PerfEvents(events) => drop(events),
        }
    }
    let share = links.len().div_ceil(TAKERS_MAX).max(1);
    std::thread::scope(|scope| {
        while !links.is_empty() {
            let some = links.split_off(links.len().saturating_sub(share));
            // What a thread that does not start was to drop, is dropped with it.
            let _ = Builder::new().name("outflow-detach".to_owned()).spawn_scoped(scope, move || drop(some));
        }
    });
}

/// A link for each program that has a site, in the order in which the sites name them.
fn link(programs: &Programs, file: &File, sites: &[Site]) -> Result<Vec<multi::Link>, KernelError> {
    let mut order: Vec<Program> = Vec::new();
    for site in sites {
        if !order.contains(&site.program) {
            order.push(site.program);
        }
    }
    let links = order.into_iter().map(|program| {
        let own = sites.iter().filter(|site| site.program == program);
        let places: Vec<(u64, u64)> = own.map(|site| (site.offset, site.cookie)).collect();
        let name = program.name();
        programs
            .attach(name, file, &places, program == Program::LeaveReturn)
            .map_err(|source| KernelError::Link { name, source })
    });
    links.collect()
}

fn attach_each(bpf: &mut Ebpf, file: &File, sites: &[Site]) -> Result<Vec<UProbeLink>, KernelError> {
    // The open file keeps the inode, whatever happens to its name.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let attached = sites.iter().map(|site| {
        let name = site.program.name();
        let failed = |source| KernelError::Program { name, source };
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(site.offset),
            cookie: Some(site.cookie),
        };
        let program = uprobe(bpf, name)?;
        let id = program.attach(point, &path, UProbeScope::AllProcesses).map_err(failed)?;
        program.take_link(id).map_err(failed)
    });
    attached.collect()
}

fn uprobe<'a>(bpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, KernelError> {
    bpf.program_mut(name)
        .ok_or(KernelError::Missing(name))?
        .try_into()
        .map_err(|source| KernelError::Program { name, source })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use object::{Object as _, ObjectSymbol as _, SymbolKind};

    use super::{super::stacks::Placed, *};
    use crate::{
        clock,
        sources::tap::{Settings, kernel::Kernel, maps::Maps},
    };

    /// Debian's own; a private copy of it is probed, which nobody maps.
    const SYSTEM: &str = "/usr/lib/x86_64-linux-gnu/libcrypto.so.3";

    /// Loaded programs, where that is allowed; else says why not.
    fn loaded(perf_events: bool) -> Option<(Kernel, Maps)> {
        let settings = Settings { perf_events, ring_bytes: 4096, ..Settings::default() };
        match Kernel::load(settings, std::process::id(), std::iter::empty()) {
            Ok(loaded) => Some(loaded),
            Err(error @ (KernelError::NotPermitted { .. } | KernelError::PidNamespace | KernelError::Offsets(_))) => {
                println!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn private_copy(folder: &Path) -> Option<File> {
        if !Path::new(SYSTEM).exists() {
            println!("skipped: no {SYSTEM} here");
            return None;
        }
        let copy = folder.join("private.so");
        fs::copy(SYSTEM, &copy).unwrap();
        Some(File::open(copy).unwrap())
    }

    fn site(program: Program, offset: u64) -> Site {
        let placed = Placed { inside: 0, instruction: String::new(), emulated: false };
        Site { program, offset, cookie: 0, function: String::new(), placed }
    }

    /// As many sites at starts of functions, by turns of two programs. Code and offset in the file are the same number there.
    fn sites(count: usize) -> Vec<Site> {
        let bytes = fs::read(SYSTEM).unwrap();
        let elf = object::File::parse(&*bytes).unwrap();
        let functions =
            elf.dynamic_symbols().filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text);
        let starts: std::collections::BTreeSet<u64> = functions.map(|symbol| symbol.address()).collect();
        let programs = [Program::Enter, Program::LeaveReturn].into_iter().cycle();
        starts.into_iter().zip(programs).take(count).map(|(offset, program)| site(program, offset)).collect()
    }

    /// The figures of docs/ARCHITECTURE.md; those of perf events take minutes, so only a few sites are tried here.
    #[test]
    fn many_sites_are_a_link_a_program_and_come_off_together() {
        let folder = tempfile::tempdir().unwrap();
        let Some(file) = private_copy(folder.path()) else { return };
        let Some((mut kernel, _maps)) = loaded(false) else { return };
        if *kernel.means() != Means::Links {
            println!("skipped: {}", kernel.means());
            return;
        }
        for count in [20, 200, 500] {
            let sites = sites(count);
            assert_eq!(sites.len(), count);
            let start = clock::instant();
            let links = kernel.attach(&file, &sites).unwrap();
            let attached = start.elapsed();
            assert!(matches!(&links, Links::Links(links) if links.len() == 2));
            let start = clock::instant();
            take_off([links].into_iter());
            println!("links: {count} sites, attach {attached:?}, take off {:?}", start.elapsed());
        }
    }

    #[test]
    fn perf_events_are_one_a_site() {
        let folder = tempfile::tempdir().unwrap();
        let Some(file) = private_copy(folder.path()) else { return };
        let Some((mut kernel, _maps)) = loaded(true) else { return };
        assert!(kernel.means().to_string().contains("CAP_SYS_ADMIN"), "{}", kernel.means());
        let start = clock::instant();
        let events = match kernel.attach(&file, &sites(4)) {
            Ok(events) => events,
            Err(error @ KernelError::NotPermitted { .. }) => return println!("skipped: {error}"),
            Err(error) => panic!("{error}"),
        };
        let attached = start.elapsed();
        assert!(matches!(&events, Links::PerfEvents(events) if events.len() == 4));
        let start = clock::instant();
        take_off([events].into_iter());
        println!("perf events: 4 sites, attach {attached:?}, take off {:?}", start.elapsed());
    }

    #[test]
    fn one_refused_site_refuses_all() {
        let folder = tempfile::tempdir().unwrap();
        let Some(file) = private_copy(folder.path()) else { return };
        let past_the_end = file.metadata().unwrap().len() + 4096;
        let path = folder.path().join("private.so").display().to_string();
        // Probes that this process has in the copy; the kernel names their file since 6.16.
        let held = || {
            let entries = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
            let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
            texts.filter(|text| text.contains(&path)).count()
        };
        for perf_events in [false, true] {
            let Some((mut kernel, _maps)) = loaded(perf_events) else { return };
            let mut some = sites(2);
            let Ok(links) = kernel.attach(&file, &some) else {
                println!("skipped: these rights do not do for {}", kernel.means());
                return;
            };
            println!("{}: {} held", kernel.means(), held());
            take_off([links].into_iter());
            some.push(site(Program::Free, past_the_end));
            let refused = kernel.attach(&file, &some).err().expect("there is no code there");
            assert!(matches!(refused, KernelError::Link { .. } | KernelError::Program { .. }), "{refused}");
            assert_eq!(held(), 0, "a probe is left");
        }
    }
}
