//! One control group's circuit breaker in the kernel. Enters: the group, the hosts of vendors, open or closed. Leaves: links, which
//! the kernel removes when this process ends, however it ends, and counts. Rights are needed to attach it, none to move it: the
//! maps stay open.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{
        Array, HashMap, Map, MapData, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr},
};
use outflow_ebpf::wire::breaker;

use super::{Connection, Counts, EnforceError, Network, Unreadable};
use crate::{
    rules::vendors::HostPattern,
    sources::{privileges, refusal::Barrier, tap::kernel},
};

/// Connections to vendors that are remembered in a group.
const SOCKETS_MAX: u32 = 32_768;
/// The maps of the tap that the same object has; the breaker's programs do not use them. The ring needs a page.
const NOT_OURS: [(&str, u32); 5] = [("RING", 4096), ("ACTIVE", 1), ("CONNS", 1), ("VERDICTS", 1), ("PROCESSES", 1)];

/// A circuit breaker. Dropping it takes it off.
pub struct Gate {
    folder: PathBuf,
    settings: Array<MapData, u32>,
    hosts: HashMap<MapData, u64, u32>,
    sockets: HashMap<MapData, u64, u32>,
    counts: PerCpuArray<MapData, u64>,
    /// Holds the links.
    _programs: Ebpf,
}

impl Gate {
    /// Attaches it to a group, closed: nothing is stopped, and until [`Gate::list`] nobody is remembered.
    pub fn attach(folder: &Path, unreadable: Unreadable, networks: &[Network]) -> Result<Self, EnforceError> {
        let group = File::open(folder).map_err(|source| EnforceError::Group { folder: folder.to_owned(), source })?;
        let failed = |error: &(dyn std::error::Error + 'static)| refused(folder, error);
        let mut programs = load().map_err(|error| failed(&error))?;
        let gate = |programs: &mut Ebpf| -> Result<_, Box<dyn std::error::Error>> {
            let mut settings: Array<_, u32> = Array::try_from(take(programs, "BREAKER")?)?;
            settings.set(breaker::PASS_UNREADABLE, u32::from(unreadable == Unreadable::Pass), 0)?;
            settings.set(breaker::NETWORKS, u32::try_from(networks.len())?, 0)?;
            let mut table: LpmTrie<_, [u8; 16], u32> = LpmTrie::try_from(take(programs, "BREAKER_NETWORKS")?)?;
            for network in networks {
                let (address, bits) = network.key();
                table.insert(&Key::new(bits, address), 1, 0)?;
            }
            let hosts = HashMap::try_from(take(programs, "HOSTS")?)?;
            let sockets = HashMap::try_from(take(programs, "BREAKER_SOCKETS")?)?;
            let counts = PerCpuArray::try_from(take(programs, "BREAKER_COUNTS")?)?;
            let egress: &mut CgroupSkb = program(programs, "breaker_egress")?.try_into()?;
            egress.load()?;
            // A link is always one of several (`cgroup_bpf_link_attach`), and takes no flags.
            egress.attach(&group, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)?;
            // Without networks, connect(2) stays as it is.
            for name in ["breaker_connect4", "breaker_connect6"].iter().filter(|_| !networks.is_empty()) {
                let connect: &mut CgroupSockAddr = program(programs, name)?.try_into()?;
                connect.load()?;
                connect.attach(&group, CgroupAttachMode::Single)?;
            }
            Ok((settings, hosts, sockets, counts))
        };
        let (settings, hosts, sockets, counts) = gate(&mut programs).map_err(|error| failed(&*error))?;
        Ok(Self { folder: folder.to_owned(), settings, hosts, sockets, counts, _programs: programs })
    }

    /// These are the hosts of vendors from now on.
    pub fn list<'a>(&mut self, hosts: impl Iterator<Item = &'a HostPattern>) -> Result<(), EnforceError> {
        let wanted = kernel::table(hosts);
        let moved = (|| {
            let old: Vec<u64> = self.hosts.keys().collect::<Result<_, _>>()?;
            for (hash, bits) in &wanted {
                self.hosts.insert(hash, bits, 0)?;
            }
            old.iter().filter(|hash| !wanted.contains_key(hash)).try_for_each(|hash| self.hosts.remove(hash))
        })();
        moved.map_err(|error| refused(&self.folder, &error))
    }

    /// Open: nothing goes to vendors. Closed: all does.
    pub fn set_open(&mut self, is_open: bool) -> Result<(), EnforceError> {
        let set = self.settings.set(breaker::OPEN, u32::from(is_open), 0);
        set.map_err(|error| refused(&self.folder, &error))
    }

    /// Connections whose handshake was seen: the socket's cookie, and what it said. Those that end meanwhile may be there or not.
    pub fn connections(&self) -> Vec<Connection> {
        // Where the kernel forgets sockets while they are listed, the list begins anew.
        self.sockets.iter().take(SOCKETS_MAX as usize).filter_map(Result::ok).collect()
    }

    /// Knows these too. A cookie is never used twice, so one whose connection has ended does no harm.
    pub fn remember(&mut self, connections: &[Connection]) -> Result<(), EnforceError> {
        let known = [breaker::VENDOR, breaker::UNREADABLE];
        let ours = connections.iter().take(SOCKETS_MAX as usize).filter(|(_, said)| known.contains(said));
        for (cookie, said) in ours {
            self.sockets.insert(cookie, said, 0).map_err(|error| refused(&self.folder, &error))?;
        }
        Ok(())
    }

    /// What it saw and stopped so far.
    pub fn counts(&self) -> Result<Counts, EnforceError> {
        let sum = |slot| self.counts.get(&slot, 0).map(|values| values.iter().sum());
        let read = || {
            Ok(Counts {
                vendor_handshakes: sum(breaker::VENDOR_HELLOS)?,
                unreadable_handshakes: sum(breaker::UNREADABLE_HELLOS)?,
                stopped_handshakes: sum(breaker::HELLOS_STOPPED)?,
                stopped_packets: sum(breaker::PACKETS_STOPPED)?,
                stopped_quic: sum(breaker::QUIC_STOPPED)?,
                stopped_networks: sum(breaker::NETWORK_STOPPED)?,
            })
        };
        read().map_err(|error: aya::maps::MapError| refused(&self.folder, &error))
    }
}

/// Loads the programs and lets them go again.
pub fn try_load() -> Result<(), EnforceError> {
    let nowhere = Path::new("no group");
    let failed = |error: &(dyn std::error::Error + 'static)| refused(nowhere, error);
    let mut programs = load().map_err(|error| failed(&error))?;
    let mut each = || -> Result<(), Box<dyn std::error::Error>> {
        let egress: &mut CgroupSkb = program(&mut programs, "breaker_egress")?.try_into()?;
        egress.load()?;
        for name in ["breaker_connect4", "breaker_connect6"] {
            let connect: &mut CgroupSockAddr = program(&mut programs, name)?.try_into()?;
            connect.load()?;
        }
        Ok(())
    };
    each().map_err(|error| failed(&*error))
}

fn load() -> Result<Ebpf, aya::EbpfError> {
    let mut loader = EbpfLoader::new();
    loader.btf(None).map_max_entries("BREAKER_SOCKETS", SOCKETS_MAX);
    for (name, entries) in NOT_OURS {
        loader.map_max_entries(name, entries);
    }
    loader.load(kernel::OBJECT)
}

fn take(programs: &mut Ebpf, name: &'static str) -> Result<Map, String> {
    programs.take_map(name).ok_or_else(|| format!("the kernel object has no {name}"))
}

fn program<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::programs::Program, String> {
    programs.program_mut(name).ok_or_else(|| format!("the kernel object has no {name}"))
}

fn refused(folder: &Path, error: &(dyn std::error::Error + 'static)) -> EnforceError {
    let mut words = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::PermissionDenied
            && !Barrier::before(privileges::ENFORCE).eq(&Barrier::Unknown)
        {
            let kernel = io::Error::from(io.kind());
            return EnforceError::NotPermitted { barrier: Barrier::before(privileges::ENFORCE), kernel };
        }
        words.push(error.to_string());
        cause = error.source();
    }
    words.dedup();
    EnforceError::Kernel { folder: folder.to_owned(), why: words.join(": ") }
}
