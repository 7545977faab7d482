//! What `outflow doctor` says of processes. Enters: processes, and addresses of vendors as far as somebody knows them. Leaves: how the TLS
//! of each is seen, and to which vendors it is connected now. Reads `/proc` and files; attaches to nothing and asks nobody.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use procfs::{
    net::{TcpNetEntry, TcpState},
    process::{FDInfo, FDTarget, Process},
};

use super::{
    HTTPS,
    hosts::HostsFiles,
    look::{Inode, Looker},
};
use crate::{
    rules::VendorTable,
    sources::{
        coverage::{How, KnownBy, Look},
        tap::{attach, stacks::Site},
    },
};

/// What lies further from a function's start lies in another one.
const FUNCTION_MAX_BYTES: u64 = 1 << 20;
/// Descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 65_536;

/// A process.
#[derive(Debug)]
pub struct Surveyed {
    /// How its TLS is seen; [`How::Attached`] stands for what could be tapped.
    pub look: Look,
    /// Its connections to vendors now.
    pub connections: Vec<Connection>,
}

/// A connection to a vendor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// Where to.
    pub to: SocketAddr,
    /// Hosts of vendors there.
    pub hosts: Vec<String>,
    /// How that is known.
    pub known_by: KnownBy,
}

/// A file that can be tapped, and how.
#[derive(Debug)]
pub struct Probed {
    /// Its name, as the first process that maps it knows it.
    pub file: PathBuf,
    /// Which TLS implementation, with its version where the file tells.
    pub stack: String,
    /// Where the probes go, one line each.
    pub sites: Vec<String>,
}

/// Looks at processes, each file once.
pub struct Survey<'a> {
    vendors: &'a VendorTable,
    /// Addresses that the caller knows.
    resolved: &'a HashMap<IpAddr, Vec<String>>,
    hosts: HostsFiles,
    looker: Looker,
    fates: HashMap<Inode, Option<How>>,
    probed: Vec<Probed>,
    /// Sockets by inode, of each network namespace.
    tables: HashMap<PathBuf, HashMap<u64, SocketAddr>>,
}

impl<'a> Survey<'a> {
    /// Nothing looked at yet.
    pub fn new(vendors: &'a VendorTable, resolved: &'a HashMap<IpAddr, Vec<String>>) -> Self {
        Self {
            vendors,
            resolved,
            hosts: HostsFiles::new(),
            looker: Looker::new(),
            fates: HashMap::new(),
            probed: Vec::new(),
            tables: HashMap::new(),
        }
    }

    /// One process, whatever it does; `None` when it is gone or must not be looked at.
    pub fn process(&mut self, pid: u32) -> Option<Surveyed> {
        let connections = self.connections(pid);
        let Self { looker, fates, probed, .. } = self;
        let look = looker.look(pid, &mut |path, inode, file| {
            fates
                .entry(inode)
                .or_insert_with(|| {
                    let (how, found) = fate(path, file);
                    probed.extend(found);
                    how
                })
                .clone()
        })?;
        Some(Surveyed { look, connections })
    }

    /// Every process that is connected to a vendor now.
    pub fn connected(&mut self) -> Vec<Surveyed> {
        let processes = procfs::process::all_processes().into_iter().flatten().flatten();
        let pids: Vec<u32> = processes.map(|process| process.pid.cast_unsigned()).collect();
        let own = std::process::id();
        let others = pids.into_iter().filter(|pid| *pid != own);
        let connected: Vec<u32> = others.filter(|pid| !self.connections(*pid).is_empty()).collect();
        connected.into_iter().filter_map(|pid| self.process(pid)).collect()
    }

    /// The files that can be tapped, of all that were looked at.
    pub fn probed(&self) -> &[Probed] {
        &self.probed
    }

    fn connections(&mut self, pid: u32) -> Vec<Connection> {
        let Ok(process) = i32::try_from(pid).map_err(drop).and_then(|pid| Process::new(pid).map_err(drop)) else {
            return Vec::new();
        };
        let sockets: HashSet<u64> = process
            .fd()
            .into_iter()
            .flatten()
            .flatten()
            .take(DESCRIPTORS_MAX)
            .filter_map(|descriptor| socket(&descriptor))
            .collect();
        if sockets.is_empty() {
            return Vec::new();
        }
        let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/net")) else { return Vec::new() };
        let table = self.tables.entry(namespace).or_insert_with(|| {
            let four = process.tcp().unwrap_or_default();
            connected_sockets(four.into_iter().chain(process.tcp6().unwrap_or_default()))
        });
        let to: Vec<SocketAddr> = sockets.iter().filter_map(|socket| table.get(socket).copied()).collect();
        let mut known = BTreeMap::new();
        for to in to {
            let (hosts, known_by) = self.hosts_at(pid, to);
            if !hosts.is_empty() {
                known.insert(to, Connection { to, hosts, known_by });
            }
        }
        known.into_values().collect()
    }

    fn hosts_at(&mut self, pid: u32, to: SocketAddr) -> (Vec<String>, KnownBy) {
        if to.port() != HTTPS {
            return (Vec::new(), KnownBy::HostsFile);
        }
        let mut names = self.hosts.names(pid, to.ip());
        names.retain(|name| self.vendors.vendor_of(name).is_some());
        names.sort();
        names.dedup();
        match names[..] {
            [] => (self.resolved.get(&to.ip()).cloned().unwrap_or_default(), KnownBy::Resolver),
            _ => (names, KnownBy::HostsFile),
        }
    }
}

/// How a file would be tapped; nothing when it has no TLS that could be.
fn fate(path: &std::path::Path, file: &fs::File) -> (Option<How>, Vec<Probed>) {
    let plans = match attach::inspect(file) {
        Ok(plans) => plans,
        Err(why) => return (Some(How::Refused { stack: "a file".to_owned(), why }), Vec::new()),
    };
    let (mut probed, mut refused) = (Vec::new(), None);
    for plan in plans {
        match plan {
            Ok(plan) => {
                let version = plan.version.map(|version| format!(" {version}")).unwrap_or_default();
                let sites = plan.sites.iter().map(line).collect();
                probed.push(Probed { file: path.to_owned(), stack: format!("{}{version}", plan.stack), sites });
            }
            Err(refusal) => refused = Some(How::Refused { stack: refusal.stack.to_string(), why: refusal.why }),
        }
    }
    let stack = probed.iter().map(|probed| probed.stack.as_str()).collect::<Vec<_>>().join(", ");
    (if probed.is_empty() { refused } else { Some(How::Attached { stack }) }, probed)
}

/// `tls_enter      SSL_write+0x16 (file offset 0x35996): js, which the kernel emulates`
fn line(site: &Site) -> String {
    let placed = &site.placed;
    let why = match (placed.instruction.is_empty(), placed.emulated) {
        (true, _) => "instructions are not read on this kind of machine".to_owned(),
        (false, true) => format!("{}, which the kernel emulates", placed.instruction),
        (false, false) => format!("{}, which the kernel single-steps: no better place was found", placed.instruction),
    };
    let function = match placed.inside {
        0 => site.function.clone(),
        inside @ ..FUNCTION_MAX_BYTES => format!("{}+{inside:#x}", site.function),
        // A wrapper's return is seen where the function behind it returns.
        _ => format!("the function behind {}", site.function),
    };
    format!("{:14} {function} (file offset {:#x}): {why}", site.program.name(), site.offset)
}

fn socket(descriptor: &FDInfo) -> Option<u64> {
    match descriptor.target {
        FDTarget::Socket(inode) => Some(inode),
        _ => None,
    }
}

/// Sockets with somebody at the other end, or soon.
fn connected_sockets(table: impl Iterator<Item = TcpNetEntry>) -> HashMap<u64, SocketAddr> {
    table
        .filter(|entry| matches!(entry.state, TcpState::Established | TcpState::SynSent))
        .map(|entry| {
            (entry.inode, SocketAddr::new(entry.remote_address.ip().to_canonical(), entry.remote_address.port()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{
        rules::RuleSource,
        sources::tap::stacks::{Placed, Program},
    };

    fn vendors() -> VendorTable {
        VendorTable::load(&RuleSource::Embedded).unwrap()
    }

    #[test]
    fn a_connection_is_found_by_its_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = TcpStream::connect(to).unwrap();
        let own = Process::myself().unwrap();
        let table = connected_sockets(own.tcp().unwrap().into_iter());
        let ours: Vec<u64> = own.fd().unwrap().flatten().filter_map(|descriptor| socket(&descriptor)).collect();
        assert!(ours.iter().any(|socket| table.get(socket) == Some(&to)), "{table:?}");
        // A listener has nobody at its other end.
        assert!(!table.values().any(|other| other.port() == 0));
        drop(stream);
    }

    #[test]
    fn a_site_is_said_by_function_and_reason() {
        let said = |inside: u64, instruction: &str, emulated| {
            let placed = Placed { inside, instruction: instruction.to_owned(), emulated };
            line(&Site {
                program: Program::Enter,
                offset: 0x35996,
                cookie: 0,
                function: "SSL_write".to_owned(),
                placed,
            })
        };
        for (line, expected) in [
            (
                said(0x16, "js", true),
                "tls_enter      SSL_write+0x16 (file offset 0x35996): js, which the kernel emulates",
            ),
            (
                said(0, "sub", false),
                "tls_enter      SSL_write (file offset 0x35996): sub, which the kernel single-steps: no better place was found",
            ),
            (
                said(4_u64.wrapping_neg(), "push", true),
                "tls_enter      the function behind SSL_write (file offset 0x35996): push, which the kernel emulates",
            ),
            (
                said(0, "", false),
                "tls_enter      SSL_write (file offset 0x35996): instructions are not read on this kind of machine",
            ),
        ] {
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn hosts_come_from_the_resolver_where_the_hosts_file_is_silent_and_only_where_tls_is_spoken() {
        let (vendors, address) = (vendors(), IpAddr::from([192, 0, 2, 1]));
        let resolved = HashMap::from([(address, vec!["api.openai.com".to_owned()])]);
        let mut survey = Survey::new(&vendors, &resolved);
        let own = std::process::id();
        let at = |survey: &mut Survey<'_>, port| survey.hosts_at(own, SocketAddr::new(address, port));
        assert_eq!(at(&mut survey, 443), (vec!["api.openai.com".to_owned()], KnownBy::Resolver));
        assert_eq!(at(&mut survey, 80).0, [""; 0]);
        assert_eq!(survey.hosts_at(own, "192.0.2.9:443".parse().unwrap()).0, [""; 0]);
    }

    #[test]
    fn a_process_is_looked_at_and_its_sites_are_said() {
        let (vendors, resolved) = (vendors(), HashMap::new());
        let mut survey = Survey::new(&vendors, &resolved);
        let surveyed = survey.process(std::process::id()).unwrap();
        assert_eq!(surveyed.look.origin.pid, std::process::id());
        assert_eq!(surveyed.connections, []);
        assert!(survey.process(u32::MAX).is_none());
        let Ok(file) = fs::File::open("/usr/lib/x86_64-linux-gnu/libssl.so.3") else {
            println!("skipped: no libssl here");
            return;
        };
        let (how, probed) = fate(std::path::Path::new("/lib/libssl.so.3"), &file);
        assert!(matches!(how, Some(How::Attached { .. })), "{how:?}");
        assert!(probed[0].sites.iter().any(|site| site.contains("SSL_write")), "{probed:?}");
    }
}
