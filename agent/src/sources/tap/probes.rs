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
