//! Which processes talk to a vendor without being seen. Enters: to whom processes connect, and which connections the tap saw. Leaves:
//! [`Unseen`]. It resolves no name and sends nothing; what it does not know for sure it says with less confidence, or not at all.
//!
//! ```text
//!  CONNECT record ─┐                      ┌─ nothing: the tap saw the host, or every TLS library in there is tapped
//!  OPEN record ────┼─► one burst a process ┤
//!  EXIT record ────┘   judged after SETTLE └─► Unseen, once an executable and host
//! ```
//! Vendors are known by name, connections have addresses. An address is a vendor's when the process's own hosts file says so, or when
//! a connection that was tapped went there: within one burst the process connected to one address and named one host. An address may
//! serve other hosts too, so a process is told only when something in it could have gone past the tap.

pub(super) mod hosts;
pub(super) mod look;
mod markers;
pub mod survey;
pub(super) mod watch;
pub(super) mod world;

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use outflow_ebpf::wire::{Peer, family};
use zerocopy::FromBytes as _;

use crate::{
    lru::Lru,
    sources::coverage::{KnownBy, Look, Seen, Unseen},
    units::Timestamp,
};

/// How long a burst of connections is waited on. The name is said before the handshake, so this is the time that a connection may take
/// to be made: one lost SYN is sent again after a second, the next after two more (RFC 6298).
const SETTLE_NS: u64 = 3_500_000_000;
/// Where TLS is spoken when nobody says otherwise.
const HTTPS: u16 = 443;
/// Processes with a burst under way.
const BURSTS_MAX: usize = 4_096;
/// Connections of one burst that are looked at, and names that are heard.
const CONNECTS_MAX: usize = 16;
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4_096;
/// Hosts at one address that are remembered.
const HOSTS_MAX: usize = 8;
/// Processes whose tapped hosts are remembered, and how many of each.
const SEEN_MAX: usize = 16_384;
const SEEN_HOSTS_MAX: usize = 64;
/// What was told already.
const TOLD_MAX: usize = 16_384;

/// What the ring says about connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A process connects.
    Connected { pid: u32, to: SocketAddr },
    /// The tap saw a connection begin. Without a name: to a host that is not listed, whose name is nobody's business.
    Named { pid: u32, host: Option<Arc<str>> },
    /// A process is gone.
    Exited { pid: u32 },
}

impl Event {
    /// From the payload of a CONNECT record; nothing of a family that is not IP.
    pub(super) fn connected(pid: u32, peer: &[u8]) -> Option<Self> {
        let (peer, _) = Peer::read_from_prefix(peer).ok()?;
        let [first, second] = peer.address.map(u64::to_ne_bytes);
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(first.into_iter().chain(second)) {
            *to = from;
        }
        let address = match (peer.family, bytes) {
            (family::INET, [a, b, c, d, ..]) => IpAddr::from([a, b, c, d]),
            (family::INET6, bytes) => IpAddr::from(bytes),
            _ => return None,
        };
        Some(Self::Connected { pid, to: SocketAddr::new(address, peer.port) })
    }
}

/// What is asked of the host, when there is reason to.
pub(super) trait World {
    /// Listed hosts that the process's hosts file has at this address.
    fn hosts(&mut self, pid: u32, address: IpAddr) -> Vec<Arc<str>>;
    /// The process; `None` when nothing can be known of it any more.
    fn look(&mut self, pid: u32) -> Option<Look>;
}

/// What is known so far.
pub(super) struct Coverage {
    bursts: HashMap<u32, Burst>,
    addresses: Lru<SocketAddr, BTreeSet<Arc<str>>>,
    /// Hosts to which the tap saw a process talk.
    seen: Lru<u32, BTreeSet<Arc<str>>>,
    told: Lru<Told, ()>,
    /// Processes that were not looked at: too many at once, or gone too soon.
    missed: u64,
}

/// An executable, by device and inode, and the hosts that it talks to.
type Told = ((u64, u64), Vec<Arc<str>>);

/// Connections of one process that were made at about the same time.
struct Burst {
    since: Timestamp,
    /// To whom, with what the process's hosts file says about the address.
    connects: Vec<(SocketAddr, Vec<Arc<str>>)>,
    /// There were more.
    crowded: bool,
    /// `None` stands for all hosts that are not listed.
    names: BTreeSet<Option<Arc<str>>>,
    /// Taken while it was sure to be there.
    look: Option<Look>,
}

impl Coverage {
    /// Nothing known yet.
    pub(super) fn new() -> Self {
        Self {
            bursts: HashMap::new(),
            addresses: Lru::new(ADDRESSES_MAX),
            seen: Lru::new(SEEN_MAX),
            told: Lru::new(TOLD_MAX),
            missed: 0,
        }
    }

    /// Takes an event in.
    pub(super) fn take(&mut self, event: Event, at: Timestamp, world: &mut dyn World) -> Vec<Unseen> {
        match event {
            Event::Connected { pid, to } => {
                // A socket of both families has IPv4 addresses in IPv6 form.
                self.connected(pid, SocketAddr::new(to.ip().to_canonical(), to.port()), at, world);
            }
            Event::Named { pid, host } => {
                if let Some(host) = &host {
                    self.saw(pid, host);
                }
                if let Some(burst) = self.burst(pid, at) {
                    burst.crowded |= burst.names.len() >= CONNECTS_MAX;
                    if !burst.crowded {
                        burst.names.insert(host);
                    }
                }
            }
            Event::Exited { pid } => {
                let burst = self.bursts.remove(&pid);
                let unseen = burst.map(|burst| self.settle(pid, burst, world)).unwrap_or_default();
                // Its number may be another's next.
                if let Some(hosts) = self.seen.touch(&pid) {
                    hosts.clear();
                }
                return unseen;
            }
        }
        Vec::new()
    }

    /// Judges the bursts that are over.
    pub(super) fn settled(&mut self, now: Timestamp, world: &mut dyn World) -> Vec<Unseen> {
        let over: Vec<u32> = self
            .bursts
            .iter()
            .filter(|(_, burst)| now.since_ns(burst.since) >= SETTLE_NS)
            .map(|(pid, _)| *pid)
            .collect();
        let mut unseen = Vec::new();
        for pid in over {
            if let Some(burst) = self.bursts.remove(&pid) {
                unseen.extend(self.settle(pid, burst, world));
            }
        }
        unseen
    }

    /// Whether there is anything to judge later.
    pub(super) fn is_waiting(&self) -> bool {
        !self.bursts.is_empty()
    }

    /// Processes that were not looked at since this was asked last.
    pub(super) fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    fn burst(&mut self, pid: u32, at: Timestamp) -> Option<&mut Burst> {
        if self.bursts.len() >= BURSTS_MAX && !self.bursts.contains_key(&pid) {
            self.missed += 1;
            return None;
        }
        Some(self.bursts.entry(pid).or_insert_with(|| Burst {
            since: at,
            connects: Vec::new(),
            crowded: false,
            names: BTreeSet::new(),
            look: None,
        }))
    }

    fn connected(&mut self, pid: u32, to: SocketAddr, at: Timestamp, world: &mut dyn World) {
        let Some(burst) = self.burst(pid, at) else { return };
        if burst.connects.iter().any(|(before, _)| *before == to) {
            return;
        }
        if burst.connects.len() >= CONNECTS_MAX {
            burst.crowded = true;
            return;
        }
        let looked = burst.look.is_some();
        // A hosts file has no ports, and one address may have a database too.
        let listed = if to.port() == HTTPS { world.hosts(pid, to.ip()) } else { Vec::new() };
        let hosts = if listed.is_empty() { self.learned(to) } else { listed.clone() };
        // It may be gone when the burst is judged.
        let look = if looked || hosts.is_empty() || self.was_seen(pid, &hosts) { None } else { world.look(pid) };
        if let Some(burst) = self.bursts.get_mut(&pid) {
            burst.connects.push((to, listed));
            burst.look = burst.look.take().or(look);
        }
    }

    fn settle(&mut self, pid: u32, burst: Burst, world: &mut dyn World) -> Vec<Unseen> {
        self.learn(&burst);
        let Burst { since, connects, look: mut earlier, .. } = burst;
        let mut look = None;
        let mut unseen = Vec::new();
        for (to, listed) in connects {
            let (hosts, known_by) = match listed[..] {
                [] => (self.learned(to), KnownBy::Connection),
                _ => (listed, KnownBy::HostsFile),
            };
            if hosts.is_empty() || self.was_seen(pid, &hosts) {
                continue;
            }
            // What it loaded since it connected counts too.
            look = look.or_else(|| world.look(pid)).or_else(|| earlier.take());
            let Some(look) = &look else {
                self.missed += 1;
                continue;
            };
            let key = (look.inode, hosts.clone());
            if look.seen() == Seen::Attached || self.told.touch(&key).is_some() {
                continue;
            }
            self.told.insert(key, ());
            let hosts = hosts.iter().map(ToString::to_string).collect();
            unseen.push(Unseen { at: since, look: look.clone(), hosts, to, known_by });
        }
        unseen
    }

    /// Hosts to which tapped connections went at this address.
    fn learned(&mut self, to: SocketAddr) -> Vec<Arc<str>> {
        self.addresses.touch(&to).map(|hosts| hosts.iter().cloned().collect()).unwrap_or_default()
    }

    /// The tap saw the process talk to one of them.
    fn was_seen(&mut self, pid: u32, hosts: &[Arc<str>]) -> bool {
        self.seen.touch(&pid).is_some_and(|seen| hosts.iter().any(|host| seen.contains(host)))
    }

    fn saw(&mut self, pid: u32, host: &Arc<str>) {
        if let Some(seen) = self.seen.touch(&pid) {
            if seen.len() < SEEN_HOSTS_MAX {
                seen.insert(Arc::clone(host));
            }
        } else {
            self.seen.insert(pid, BTreeSet::from([Arc::clone(host)]));
        }
    }

    /// One address and one name, and nothing else: they belong together.
    fn learn(&mut self, burst: &Burst) {
        let ([(to, _)], false) = (&burst.connects[..], burst.crowded) else { return };
        let mut names = burst.names.iter();
        let (Some(Some(host)), None) = (names.next(), names.next()) else { return };
        if let Some(hosts) = self.addresses.touch(to) {
            if hosts.len() < HOSTS_MAX {
                hosts.insert(Arc::clone(host));
            }
        } else {
            self.addresses.insert(*to, BTreeSet::from([Arc::clone(host)]));
        }
    }
}

#[cfg(test)]
mod tests;
