//! Ring records and map values. Every struct is `repr(C)`, has no padding and holds integers only, so that both sides agree
//! on each byte; the asserts at the end pin the sizes.

/// Head of every ring record; the payload follows it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromBytes, zerocopy::Immutable, zerocopy::KnownLayout))]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    /// `DATA`: bits of [`flag`]. `CLOSE`: one of [`verdict`].
    pub flags: u32,
    /// Connection id: unique for the life of the loaded programs.
    pub conn: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub at_ns: u64,
    /// Process.
    pub tgid: u32,
    /// Payload bytes that follow the header.
    pub len: u32,
    /// `DATA`: absolute position of the payload in its direction. `CLOSE`: bytes sent in all.
    pub offset: u64,
    /// `DATA`: length of the whole TLS call. `CLOSE`: bytes received in all.
    pub total: u64,
    /// Address of the TLS object; with `tgid` it is the key of the connection table.
    pub tls: u64,
    /// One of [`direction`].
    pub direction: u32,
    /// Always zero.
    pub reserved: u32,
}

/// Kinds of record.
pub mod kind {
    /// A piece of a TLS call.
    pub const DATA: u32 = 1;
    /// The client named its server; the payload is the name.
    pub const OPEN: u32 = 2;
    /// The TLS object was freed.
    pub const CLOSE: u32 = 3;
    /// The last thread of a process in scope exited.
    pub const EXIT: u32 = 4;
    /// A process in scope connects to somebody; the payload is a [`Peer`](super::Peer).
    pub const CONNECT: u32 = 5;
}

/// Address families, include/linux/socket.h.
pub mod family {
    /// IPv4.
    pub const INET: u16 = 2;
    /// IPv6.
    pub const INET6: u16 = 10;
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// The piece was copied only to learn the host's name: no verdict yet.
    pub const PEEK: u32 = 1;
}

/// Which way a call went.
pub mod direction {
    /// `SSL_write`.
    pub const SENT: u32 = 0;
    /// `SSL_read`.
    pub const RECEIVED: u32 = 1;
}

/// Verdict on a connection.
pub mod verdict {
    /// Not known yet: at most the head of a request is copied.
    pub const UNKNOWN: u32 = 0;
    /// A listed host: everything is copied.
    pub const COPY: u32 = 1;
    /// Not listed: nothing is copied.
    pub const DROP: u32 = 2;
}

/// Bits of a host table entry.
pub mod host {
    /// The whole name must be equal.
    pub const EXACT: u32 = 1;
    /// Names that end in a dot and this.
    pub const SUFFIX: u32 = 2;
}

/// Attach cookie bits: what a probed site means.
pub mod cookie {
    /// The call reads.
    pub const READ: u64 = 1;
    /// The `_ex` flavour: 1 is success and the fourth argument points to the length.
    pub const EX: u64 = 2;
}

/// What became of a call or of bytes. Each call gets exactly one outcome, and each byte exactly one, so that the ledger's
/// sums equal what was seen. [`Outcome::index`] is the slot pair in the counter map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Handed over.
    Copied = 0,
    /// Handed over only to learn the host's name.
    Peeked = 1,
    /// The host is not listed: nothing was copied.
    Unlisted = 2,
    /// No verdict yet, and not the head of a request: nothing was copied.
    Undecided = 3,
    /// Lost: the ring was full.
    RingFull = 4,
    /// Lost: the page was not in memory when the program read it.
    NotResident = 5,
    /// Not taken: past the cap of one call.
    OverCap = 6,
    /// Lost: the table of connections was full.
    TableFull = 7,
}

impl Outcome {
    /// All, in the order of their slots.
    pub const ALL: [Self; 8] = [
        Self::Copied,
        Self::Peeked,
        Self::Unlisted,
        Self::Undecided,
        Self::RingFull,
        Self::NotResident,
        Self::OverCap,
        Self::TableFull,
    ];

    /// Slot of the call counter; the byte counter follows it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a BPF program must not pay a call for a constant")]
    pub const fn index(self) -> u32 {
        self as u32 * 2
    }
}

/// Slot of server names that did not fit the ring: their connections are not copied.
pub const OPENS_LOST: u32 = 16;
/// Slot of CLOSE and EXIT records that did not fit the ring.
pub const ENDS_LOST: u32 = 17;
/// Slot of returns without a matching entry: calls in flight when the probe was attached, or no room to note the entry.
pub const UNPAIRED: u32 = 18;
/// Slot of child processes that did not fit the table of processes in scope.
pub const FORKS_LOST: u32 = 19;
/// Slot of CONNECT records that did not fit the ring.
pub const CONNECTS_LOST: u32 = 20;
/// Number of counter slots.
pub const COUNTERS: u32 = 21;

/// Key of the connection table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnKey {
    /// Address of the TLS object.
    pub tls: u64,
    /// Process.
    pub tgid: u64,
}

/// A connection.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    /// Unique id.
    pub id: u64,
    /// Bytes sent so far, copied or not.
    pub sent: u64,
    /// Bytes received so far, copied or not.
    pub received: u64,
    /// One of [`verdict`].
    pub verdict: u32,
    /// Bytes peeked so far.
    pub peeked: u32,
}

/// The other end of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "bpf"),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
pub struct Peer {
    /// One of [`family`]; anything else: it could not be read.
    pub family: u16,
    /// Port, in the host's byte order.
    pub port: u16,
    /// Always zero.
    pub reserved: u32,
    /// The address in the order of the network; of IPv4 the first four bytes.
    pub address: [u64; 2],
}

/// A CONNECT record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    /// Its head.
    pub header: Header,
    /// Its payload.
    pub peer: Peer,
}

/// Payload capacity of the size classes; with the header they are 512, 4,096 and 16,448 bytes.
pub const SMALL: usize = 512 - size_of::<Header>();
/// See [`SMALL`].
pub const MEDIUM: usize = 4096 - size_of::<Header>();
/// A whole TLS record's plaintext.
pub const LARGE: usize = 16 * 1024;

/// Longest server name: a DNS name is at most 253 bytes (RFC 1035, section 2.3.4).
pub const NAME: usize = 255;

const _: () = assert!(size_of::<Header>() == 64);
const _: () = assert!(size_of::<Conn>() == 32);
const _: () = assert!(size_of::<ConnKey>() == 16);
const _: () = assert!(size_of::<Peer>() == 24);
const _: () = assert!(size_of::<Connect>() == 88);
const _: () = assert!(OPENS_LOST == Outcome::ALL.len() as u32 * 2);
