//! The loaded kernel programs. Enters: settings, hosts, processes in scope, probe sites. Leaves: attached links, which the
//! kernel removes when this process ends, however it ends. Never attaches to the agent itself.

use std::{collections::HashMap as StdHashMap, error::Error, fs::File, io};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{HashMap, MapData, MapError},
    programs::{ProgramError, RawTracePoint},
};
use outflow_ebpf::{hash, wire::host};
use serde::{Deserialize, Serialize};

use super::{
    maps::Maps,
    offsets::{self, Offsets},
    probes::{Links, Means, Probes},
    stacks::Site,
};
use crate::{
    rules::vendors::HostPattern,
    sources::{
        privileges,
        refusal::{self, Barrier},
    },
};

/// The kernel object that the build made.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("OUTFLOW_BPF_OBJECT"));

/// Why the tap does not run.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel does not describe its types.
    #[error("{0}; the tap needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF)")]
    Offsets(String),
    /// Process ids here are not the kernel's.
    #[error("the tap must run in the host's PID namespace: docker run --pid=host, or hostPID: true in a pod")]
    PidNamespace,
    /// This process may not, or the kernel is set to let nobody.
    #[error("{barrier} (the kernel refused {what}: {kernel}; `outflow doctor` shows all that the tap needs)")]
    NotPermitted {
        /// What stands in the way.
        barrier: Barrier,
        /// What was refused.
        what: &'static str,
        /// In the words of the kernel.
        kernel: io::Error,
    },
    /// The programs do not load.
    #[error("the kernel refused the programs: {0}; `outflow doctor` says what is missing")]
    Load(#[from] EbpfError),
    /// A program does not load or attach.
    #[error("the kernel refused the program {name}: {source}; `outflow doctor` says what is missing")]
    Program {
        /// Which.
        name: &'static str,
        /// Why.
        source: ProgramError,
    },
    /// A program cannot be placed in a file.
    #[error("the kernel refused probes of the program {name}: {source}")]
    Link {
        /// Which.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A map cannot be used.
    #[error("the kernel refused a map operation: {0}")]
    Map(#[from] MapError),
    /// The object and this code disagree; only a broken build does that.
    #[error("the kernel object has no {0}: rebuild with `cargo xtask build-ebpf`")]
    Missing(&'static str),
}

/// What the programs are told when they are loaded.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Follow process trees from the processes given to [`Kernel::add_process`].
    pub tree: bool,
    /// Control group id and level below the root, when a control group is in scope.
    pub cgroup: Option<(u64, u32)>,
    /// Read the head of requests to hosts that are not listed too, to know LLM calls by their paths.
    pub discover: bool,
    /// Most bytes of a request head copied while no verdict is known.
    pub peek_bytes: u32,
    /// Most bytes taken of one TLS call; the rest is counted.
    pub call_bytes_max: u64,
    /// Size of the ring, bytes; a power of two.
    pub ring_bytes: u32,
    /// Place probes through perf events also where the kernel has `uprobe_multi` links; for tests and measurements.
    pub perf_events: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tree: false,
            cgroup: None,
            discover: false,
            peek_bytes: 4096,
            call_bytes_max: 64 << 20,
            ring_bytes: 16 << 20,
            perf_events: false,
        }
    }
}

/// Loaded programs. Dropping it detaches them.
pub(super) struct Kernel {
    probes: Probes,
    bpf: Ebpf,
    processes: HashMap<MapData, u32, u32>,
    connections: Result<(), String>,
}

impl Kernel {
    /// Loads the programs and attaches those that follow processes. Nothing is tapped yet. `reader` is the process that reads
    /// the ring; the programs look away from it as they do from this one.
    pub(super) fn load<'a>(
        settings: Settings,
        reader: u32,
        hosts: impl Iterator<Item = &'a HostPattern>,
    ) -> Result<(Self, Maps), KernelError> {
        if !in_host_pid_namespace() {
            return Err(KernelError::PidNamespace);
        }
        Self::load_programs(settings, reader, hosts).map_err(|error| error.explained("its programs", privileges::LOAD))
    }

    fn load_programs<'a>(
        settings: Settings,
        reader: u32,
        hosts: impl Iterator<Item = &'a HostPattern>,
    ) -> Result<(Self, Maps), KernelError> {
        let Offsets { task_tgid, task_signal, signal_live, socket } = offsets::read().map_err(KernelError::Offsets)?;
        let (cgroup, level) = settings.cgroup.unwrap_or_default();
        let agent = std::process::id();
        let tree = u32::from(settings.tree);
        let mut bpf = EbpfLoader::new()
            // Nothing in the object is relocated against kernel types; parsing them again would cost 20 MB.
            .btf(None)
            .override_global("SCOPE_TREE", &tree, true)
            .override_global("SCOPE_CGROUP", &cgroup, true)
            .override_global("SCOPE_CGROUP_LEVEL", &level, true)
            .override_global("AGENT_TGID", &agent, true)
            .override_global("READER_TGID", &reader, true)
            .override_global("DISCOVER", &u32::from(settings.discover), true)
            .override_global("PEEK_BYTES", &settings.peek_bytes, true)
            .override_global("CALL_CAP", &settings.call_bytes_max, true)
            .override_global("TASK_TGID", &task_tgid, true)
            .override_global("TASK_SIGNAL", &task_signal, true)
            .override_global("SIGNAL_LIVE", &signal_live, true)
            .override_global("SOCKET_FAMILY", &socket.unwrap_or_default().family, true)
            .override_global("SOCKET_PORT", &socket.unwrap_or_default().port, true)
            .override_global("SOCKET_ADDRESS", &socket.unwrap_or_default().address, true)
            .override_global("SOCKET_ADDRESS6", &socket.unwrap_or_default().address6, true)
            .map_max_entries("RING", settings.ring_bytes)
            // The circuit breaker loads the object for itself.
            .map_max_entries("BREAKER_SOCKETS", 1)
            .load(OBJECT)?;
        let probes = Probes::load(OBJECT, &mut bpf, settings.perf_events)?;
        let maps = Maps {
            ring: take(&mut bpf, "RING")?,
            verdicts: take(&mut bpf, "VERDICTS")?,
            connections: take(&mut bpf, "CONNS")?,
            state: take(&mut bpf, "STATE")?,
            counters: take(&mut bpf, "COUNTERS")?,
        };
        let mut listed: HashMap<_, u64, u32> =
            HashMap::try_from(bpf.map_mut("HOSTS").ok_or(KernelError::Missing("HOSTS"))?)?;
        for (hash, bits) in table(hosts) {
            listed.insert(hash, bits, 0)?;
        }
        let processes = HashMap::try_from(take(&mut bpf, "PROCESSES")?)?;
        for (name, tracepoint) in [("fork", "sched_process_fork"), ("exit", "sched_process_exit")] {
            trace(&mut bpf, name, tracepoint)?;
        }
        // To whom processes connect is only wanted for coverage: without it the tap does all else.
        let connections = match socket {
            Some(_) => trace(&mut bpf, "connect", "inet_sock_set_state").map_err(|error| error.to_string()),
            None => Err(format!("{} does not describe sockets", offsets::KERNEL_BTF)),
        };
        Ok((Self { probes, bpf, processes, connections }, maps))
    }

    /// Whether it is told to whom processes connect; an error says why not.
    pub(super) fn sees_connections(&self) -> &Result<(), String> {
        &self.connections
    }

    /// Puts a process, and all that it starts from now on, in scope.
    pub(super) fn add_process(&mut self, pid: u32) -> Result<(), KernelError> {
        Ok(self.processes.insert(pid, 1, 0)?)
    }

    /// Probes a file, for every process that maps this inode; the programs themselves look only at processes in scope. All of the
    /// sites, or none. The probes go when the result is dropped.
    pub(super) fn attach(&mut self, library: &File, sites: &[Site]) -> Result<Links, KernelError> {
        let attached = self.probes.attach(&mut self.bpf, library, sites);
        attached.map_err(|error| error.explained("its probes", self.probes.means().rights()))
    }

    /// How probes are placed here.
    pub(super) fn means(&self) -> &Means {
        self.probes.means()
    }
}

impl KernelError {
    /// This process may not, and another one might.
    pub(super) fn is_permission(&self) -> bool {
        matches!(self, Self::NotPermitted { .. }) || denied(self).is_some()
    }

    /// A refusal for want of rights, `needed` for `what`, becomes one that names what is missing; any other stays as it is.
    fn explained(self, what: &'static str, needed: privileges::Rights) -> Self {
        let locked = matches!(self, Self::Program { .. }) && refusal::is_locked_down();
        match denied(&self) {
            Some(code) => Self::NotPermitted {
                barrier: Barrier::before(needed),
                what,
                kernel: io::Error::from_raw_os_error(code),
            },
            // The verifier says that there is no such helper.
            None if locked => {
                let kernel = io::Error::new(io::ErrorKind::PermissionDenied, self);
                Self::NotPermitted { barrier: Barrier::Lockdown, what, kernel }
            }
            None => self,
        }
    }
}

/// The number of the kernel's error when it says that this process may not. The verifier refuses a program that it finds wanting
/// with the same number, but then it says why.
fn denied(error: &KernelError) -> Option<i32> {
    if let KernelError::Program { source: ProgramError::LoadError { verifier_log, .. }, .. } = error
        && !verifier_log.to_string().is_empty()
    {
        return None;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            // A filter may also say that there is no such system call, which the kernels that can load this object all have.
            let filtered = io.raw_os_error() == Some(libc::ENOSYS);
            return io.raw_os_error().filter(|_| filtered || io.kind() == io::ErrorKind::PermissionDenied);
        }
        cause = error.source();
    }
    None
}

/// The inode of the first PID namespace is fixed: PROC_PID_INIT_INO, include/linux/proc_ns.h.
fn in_host_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

fn take(bpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, KernelError> {
    bpf.take_map(name).ok_or(KernelError::Missing(name))
}

fn trace(bpf: &mut Ebpf, name: &'static str, tracepoint: &str) -> Result<(), KernelError> {
    let failed = |source| KernelError::Program { name, source };
    let program: &mut RawTracePoint =
        bpf.program_mut(name).ok_or(KernelError::Missing(name))?.try_into().map_err(failed)?;
    program.load().map_err(failed)?;
    program.attach(tracepoint).map(drop).map_err(failed)
}

/// The table of hosts as the programs read it; a name can be listed both as itself and as a suffix.
pub(crate) fn table<'a>(hosts: impl Iterator<Item = &'a HostPattern>) -> StdHashMap<u64, u32> {
    let mut bits: StdHashMap<u64, u32> = StdHashMap::new();
    for pattern in hosts {
        let (name, bit) = match pattern {
            HostPattern::Exact(name) => (name, host::EXACT),
            HostPattern::Suffix(name) => (name, host::SUFFIX),
        };
        *bits.entry(hash::name(name.as_bytes())).or_default() |= bit;
    }
    bits
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::programs::ProgramError;
    use aya_obj::VerifierLog;
    use object::{Object as _, ObjectSection as _, SectionKind};
    use rustix::io::Errno;

    use super::{KernelError, OBJECT};
    use crate::sources::privileges;

    #[test]
    fn the_verifiers_objection_is_no_missing_right() {
        let refused = |errno: Errno, log: &str| KernelError::Program {
            name: "tls_enter",
            source: ProgramError::LoadError { io_error: errno.into(), verifier_log: VerifierLog::new(log.to_owned()) },
        };
        for (errno, log, permission) in [
            (Errno::PERM, "", true),
            (Errno::ACCESS, "", true),
            (Errno::NOSYS, "", true),
            (Errno::ACCESS, "R1 invalid mem access 'scalar'", false),
            (Errno::INVAL, "", false),
        ] {
            let error = refused(errno, log).explained("its programs", privileges::LOAD);
            assert_eq!(error.is_permission(), permission, "{error}");
            assert_eq!(error.to_string().starts_with("not permitted"), permission, "{error}");
            assert!(error.to_string().contains(&io::Error::from(errno).to_string()), "the kernel's own word: {error}");
        }
    }

    /// Deepest byte below the frame pointer (r10) that a section's instructions touch. Instruction layout: kernel
    /// Documentation/bpf/standardization/instruction-set.rst.
    fn stack_bytes(code: &[u8]) -> i32 {
        let mut deepest = 0;
        let mut copied_to = None;
        for instruction in code.chunks_exact(8) {
            let (opcode, destination, source) = (instruction[0], instruction[1] & 0xf, instruction[1] >> 4);
            let offset = i32::from(i16::from_le_bytes([instruction[2], instruction[3]]));
            let immediate = i32::from_le_bytes([instruction[4], instruction[5], instruction[6], instruction[7]]);
            let touched = match opcode & 7 {
                1 if source == 10 => offset,
                2 | 3 if destination == 10 => offset,
                7 if opcode == 0x07 && copied_to == Some(destination) => immediate,
                _ => 0,
            };
            copied_to = (opcode == 0xbf && source == 10).then_some(destination);
            deepest = deepest.min(touched);
        }
        -deepest
    }

    #[test]
    fn no_program_reaches_the_stack_that_gets_it_a_private_one() {
        let object = object::File::parse(OBJECT).unwrap();
        let mut programs = 0;
        for section in object.sections().filter(|section| section.kind() == SectionKind::Text && section.size() > 0) {
            let depth = stack_bytes(section.data().unwrap());
            println!("{}: {depth} bytes", section.name().unwrap());
            // A frame is rounded up to 16 bytes before it is compared with 64 (kernel/bpf/verifier.c).
            assert!(depth <= 48, "{} uses {depth} bytes of stack", section.name().unwrap());
            programs += 1;
        }
        assert!(programs >= 5, "{programs} sections with code");
        // The measure itself: *(u64 *)(r10 - 72) = r1
        assert_eq!(stack_bytes(&[0x7b, 0x1a, 0xb8, 0xff, 0, 0, 0, 0]), 72);
    }
}
