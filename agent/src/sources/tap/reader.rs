//! Ring records become input. Enters: the ring of the kernel programs. Leaves: [`Input`], in the order the kernel wrote it,
//! and verdicts back to the kernel. Never interprets plaintext, but for the head of the first request
//! of a connection without a verdict (`request`).
//!
//! ```text
//!             records                       Input
//!   kernel ───────────► this one thread ───────────► workers, by connection (bounded)
//!      ▲                     │
//!      └──── verdict ────────┘   when only the head of a request was handed over
//! ```
//! While there is traffic the thread looks at the ring every [`BATCH`]; the kernel then does not wake it for each record,
//! which would cost more than the record. After a look that found nothing it says so in the kernel's `STATE` and sleeps until
//! the next record wakes it.

use std::{os::fd::OwnedFd, sync::Arc};

use bytes::Bytes;
use hashbrown::HashMap;
use outflow_ebpf::wire::{self, Conn, ConnKey, Header, direction, flag, kind, verdict};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zerocopy::FromBytes as _;

use super::{
    coverage::{Event, watch::Events},
    ffi::{self, Key},
    handshakes::Handshakes,
    kernel::Settings,
    maps::Channels,
    request::{HeadSays, Target, head_says},
};
use crate::{
    clock::MonotonicToWall,
    rules::VendorTable,
    sources::{Direction, Input, Origin, StreamEvent, StreamId},
};

/// How long records may wait while there is traffic.
const BATCH: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// Bound of the cache of processes; past it the cache starts anew.
const ORIGINS_MAX: usize = 16_384;
/// Bound of connections without a server name; past it new ones get no verdict and stay uncopied.
const UNNAMED_MAX: usize = 16_384;
/// The slot of `STATE` that says that the reader sleeps.
const ASLEEP: u32 = 1;

/// Says who a process is: looks itself, or asks the process that may.
pub(super) type WhoIs = Box<dyn FnMut(u32) -> Origin + Send>;

/// Reads the ring.
pub(super) struct Reader {
    channels: Channels,
    vendors: Arc<VendorTable>,
    clock: MonotonicToWall,
    who_is: WhoIs,
    origins: HashMap<u32, Arc<Origin>>,
    unnamed: HashMap<u64, Unnamed>,
    peek_bytes: usize,
    discover: bool,
    handshakes: Handshakes,
    /// For coverage, which never holds the reader up.
    events: Events,
    stop: OwnedFd,
}

/// A connection that never named its server.
#[derive(Debug)]
struct Unnamed {
    tgid: u32,
    says: Says,
}

#[derive(Debug)]
enum Says {
    /// The start of a request, and where it began.
    NotYet { offset: u64, head: Vec<u8> },
    /// Decided. Records that the kernel wrote before it knew are still on their way.
    Decided(u32),
}

impl Reader {
    /// Reads until `stop` becomes readable or is closed at its other end.
    pub(super) fn new(
        channels: Channels,
        vendors: Arc<VendorTable>,
        who_is: WhoIs,
        settings: Settings,
        events: Events,
        stop: OwnedFd,
    ) -> Self {
        Self {
            channels,
            vendors,
            clock: MonotonicToWall::measure(),
            who_is,
            origins: HashMap::new(),
            unnamed: HashMap::new(),
            peek_bytes: settings.peek_bytes as usize,
            discover: settings.discover,
            handshakes: Handshakes::new(),
            events,
            stop,
        }
    }

    /// The thread. Ends when told to, after a last look at the ring, or when `deliver` says that nobody listens.
    pub(super) fn run(mut self, mut deliver: impl FnMut(Input) -> bool) -> std::io::Result<()> {
        let (mut stopping, mut listening) = (false, true);
        while listening {
            let mut found = false;
            while listening && let Some(inputs) = self.next() {
                found = true;
                listening = inputs.into_iter().all(&mut deliver);
            }
            if stopping && !found {
                break;
            }
            stopping = stopping || if found { self.pause()? } else { self.sleep()? };
        }
        Ok(())
    }

    /// Waits a moment for more; true when told to stop.
    fn pause(&self) -> std::io::Result<bool> {
        let mut fds = [PollFd::new(&self.stop, PollFlags::IN)];
        wait(&mut fds, Some(&BATCH))?;
        Ok(ready(&fds, 0))
    }

    /// Sleeps until there is a record or the order to stop.
    fn sleep(&mut self) -> std::io::Result<bool> {
        self.channels.state.set(ASLEEP, 1, 0).map_err(std::io::Error::other)?;
        // A record written before the flag was up woke nobody, but then the ring is readable now.
        let ring = ffi::borrow(&self.channels.ring);
        let mut fds = [PollFd::from_borrowed_fd(ring, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        wait(&mut fds, None)?;
        let stopping = ready(&fds, 1);
        self.channels.state.set(ASLEEP, 0, 0).map_err(std::io::Error::other)?;
        Ok(stopping)
    }

    /// The next record as input; records that mean nothing downstream give none.
    fn next(&mut self) -> Option<Vec<Input>> {
        let item = self.channels.ring.next()?;
        let Ok((header, payload)) = Header::read_from_prefix(&item) else { return Some(Vec::new()) };
        let payload = Bytes::copy_from_slice(payload.get(..header.len as usize).unwrap_or_default());
        drop(item);
        Some(match header.kind {
            kind::OPEN => self.opened(&header, &payload).into_iter().collect(),
            kind::DATA if header.flags & flag::PEEK != 0 => self.peeked(&header, payload).into_iter().collect(),
            kind::DATA if self.is_decided(header.conn, verdict::DROP) => Vec::new(),
            kind::DATA => vec![self.data(&header, header.offset, payload)],
            kind::CLOSE => self.closed(&header, header.flags, header.offset, header.total, true).into_iter().collect(),
            kind::REFUSED => {
                self.handshakes.refused(header.conn, header.offset as u32);
                Vec::new()
            }
            kind::EXIT => self.exited(&header),
            kind::CONNECT => {
                self.connected(&header, &payload);
                Vec::new()
            }
            _ => Vec::new(),
        })
    }

    fn input(&mut self, header: &Header, event: StreamEvent) -> Input {
        let origin = self.origin(header.tgid);
        Input { stream: StreamId(header.conn), origin, at: self.clock.wall(header.at_ns), event }
    }

    fn data(&mut self, header: &Header, offset: u64, bytes: Bytes) -> Input {
        let direction = match header.direction {
            direction::SENT => Direction::Sent,
            _ => Direction::Received,
        };
        let input = self.input(header, StreamEvent::Bytes { direction, offset, bytes });
        self.handshakes.talked(header.conn, input.at);
        input
    }

    fn is_decided(&self, connection: u64, verdict: u32) -> bool {
        let unnamed = self.unnamed.get(&connection);
        unnamed.is_some_and(|unnamed| matches!(unnamed.says, Says::Decided(decided) if decided == verdict))
    }

    /// The end of a connection, when anything of it was handed on. Its client ended it, or ended itself.
    fn closed(&mut self, header: &Header, verdict: u32, sent: u64, received: u64, freed: bool) -> Option<Input> {
        let at = self.clock.wall(header.at_ns);
        if let Some(failed) = self.handshakes.closed(header.conn, sent + received, freed, at) {
            self.events.failed(failed);
        }
        let copied = verdict == verdict::COPY || self.is_decided(header.conn, verdict::COPY);
        self.forget(header.conn);
        let event = StreamEvent::Closed { sent_bytes: Some(sent), received_bytes: Some(received) };
        copied.then(|| self.input(header, event))
    }

    /// A connection to a listed host. The names of other hosts are nobody's business.
    fn opened(&mut self, header: &Header, name: &[u8]) -> Option<Input> {
        if header.total != u64::from(verdict::COPY) {
            self.named(header, None);
            return None;
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        // The kernel compared hashes. A name that only shares its hash with a listed one is found here: its connection is
        // taken off the table's word, and what is on its way already is dropped.
        if self.vendors.vendor_of(&name).is_none() {
            self.mistaken(header);
            self.named(header, None);
            return None;
        }
        let server_name: Arc<str> = name.into();
        self.named(header, Some(Arc::clone(&server_name)));
        let origin = self.origin(header.tgid);
        let at = self.clock.wall(header.at_ns);
        for failed in self.handshakes.opened(header.conn, &server_name, &origin, at) {
            self.events.failed(failed);
        }
        Some(self.input(header, StreamEvent::Opened { server_name }))
    }

    /// A piece of a request head on a connection without a verdict. Once the head names a listed host the bytes become
    /// input; in every other case they are discarded.
    fn peeked(&mut self, header: &Header, bytes: Bytes) -> Option<Input> {
        if self.unnamed.len() >= UNNAMED_MAX && !self.unnamed.contains_key(&header.conn) {
            return None;
        }
        let unnamed = self.unnamed.entry(header.conn).or_insert_with(|| Unnamed {
            tgid: header.tgid,
            says: Says::NotYet { offset: header.offset, head: Vec::new() },
        });
        let (offset, head) = match &mut unnamed.says {
            Says::Decided(verdict::COPY) => return Some(self.data(header, header.offset, bytes)),
            Says::Decided(_) => return None,
            Says::NotYet { offset, head } => (*offset, head),
        };
        head.extend_from_slice(&bytes);
        let (verdict, host) = match head_says(head) {
            HeadSays::Target(target) if is_wanted(&self.vendors, self.discover, &target) => {
                (verdict::COPY, Some(target.host).filter(|host| self.vendors.vendor_of(host).is_some()))
            }
            HeadSays::NotYet if head.len() < self.peek_bytes => return None,
            _ => (verdict::DROP, None),
        };
        let head = std::mem::take(head);
        unnamed.says = Says::Decided(verdict);
        self.decide(header.conn, verdict);
        self.named(header, host.map(Into::into));
        (verdict == verdict::COPY).then(|| self.data(header, offset, head.into()))
    }

    /// A process connects to somebody.
    fn connected(&self, header: &Header, peer: &[u8]) {
        if let Some(event) = Event::connected(header.tgid, peer) {
            self.events.send(event, self.clock.wall(header.at_ns));
        }
    }

    /// A connection is known to be to this host, or to one that is not listed.
    fn named(&self, header: &Header, host: Option<Arc<str>>) {
        self.events.send(Event::Named { pid: header.tgid, host }, self.clock.wall(header.at_ns));
    }

    fn mistaken(&mut self, header: &Header) {
        let key = Key(ConnKey { tls: header.tls, tgid: u64::from(header.tgid) });
        if let Ok(mut connection) = self.channels.connections.get(&key, 0) {
            connection.0.verdict = verdict::DROP;
            let _ = self.channels.connections.insert(key, connection, 0);
        }
        self.unnamed.insert(header.conn, Unnamed { tgid: header.tgid, says: Says::Decided(verdict::DROP) });
    }

    fn decide(&mut self, connection: u64, verdict: u32) {
        // A full table leaves the connection without a verdict: it stays uncopied, and the ledger counts it.
        let _ = self.channels.verdicts.insert(connection, verdict, 0);
    }

    fn forget(&mut self, connection: u64) {
        self.unnamed.remove(&connection);
        let _ = self.channels.verdicts.remove(&connection);
    }

    /// The last thread of a process is gone: so are its connections, which it did not free.
    fn exited(&mut self, header: &Header) -> Vec<Input> {
        let tgid = header.tgid;
        let left: Vec<_> = self
            .channels
            .connections
            .iter()
            .filter_map(Result::ok)
            .filter(|(key, _)| key.0.tgid == u64::from(tgid))
            .collect();
        let mut closed = Vec::new();
        for (key, connection) in left {
            let _ = self.channels.connections.remove(&key);
            let Conn { id, sent, received, verdict, .. } = connection.0;
            closed.extend(self.closed(&Header { conn: id, ..*header }, verdict, sent, received, false));
        }
        self.unnamed.retain(|_, unnamed| unnamed.tgid != tgid);
        self.origins.remove(&tgid);
        self.events.send(Event::Exited { pid: tgid }, self.clock.wall(header.at_ns));
        closed
    }

    fn origin(&mut self, tgid: u32) -> Arc<Origin> {
        if let Some(known) = self.origins.get(&tgid) {
            return Arc::clone(known);
        }
        if self.origins.len() >= ORIGINS_MAX {
            self.origins.clear();
        }
        let origin = Arc::new((self.who_is)(tgid));
        self.origins.insert(tgid, Arc::clone(&origin));
        origin
    }
}

/// The host is listed; or, where that was asked for, the path is one by which LLMs are called.
fn is_wanted(vendors: &VendorTable, discover: bool, target: &Target) -> bool {
    let is_listed = vendors.vendor_of(&target.host).is_some();
    is_listed || (discover && vendors.api_of(None, &target.method, &target.path).is_some())
}

fn ready(fds: &[PollFd<'_>], index: usize) -> bool {
    fds.get(index).is_some_and(|fd| !fd.revents().is_empty())
}

fn wait(fds: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> std::io::Result<()> {
    match poll(fds, timeout) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

const _: () = assert!(wire::LARGE >= 16 * 1024, "a TLS record's plaintext fits one piece");
