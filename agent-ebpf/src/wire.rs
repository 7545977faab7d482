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
    /// `DATA`: absolute position of the payload in its direction. `CLOSE`: bytes sent in all. `REFUSED`: why, `X509_V_ERR_…`.
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
    /// The server's certificate did not pass, as the client was told when it asked. No payload.
    pub const REFUSED: u32 = 6;
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

/// Attach cookie of a probe on a call that moves data: what the probed site means. The low 16 bits are these flags; above them
/// lie the [`Operand`]s of a call whose arguments are not those of the C ABI. Entry and return of a call have the same cookie.
pub mod cookie {
    use super::Operand;

    /// The call receives.
    pub const READ: u64 = 1;
    /// 1 is success, and the fourth argument points to the length: OpenSSL's `_ex` flavour.
    pub const EX: u64 = 1 << 1;
    /// The same with the fifth argument: `SSL_write_ex2`.
    pub const EX2: u64 = 1 << 2;
    /// The return value has 64 bits: `ssize_t`, Go's `int`. Else it is a C `int`.
    pub const WIDE: u64 = 1 << 3;
    /// The length is known at the entry, where the call is taken at once; its return is not probed.
    pub const WHOLE: u64 = 1 << 6;
    /// The bytes will come again: `SSL_peek`. Counted, not handed over.
    pub const REREAD: u64 = 1 << 7;
    /// The call has no buffer in the process: `SSL_sendfile`. Counted as bytes that were not seen.
    pub const UNCOVERED: u64 = 1 << 8;
    /// Not only TLS goes this way (NSPR's `PR_Write`): just connections that were named before.
    pub const KNOWN: u64 = 1 << 9;
    /// The buffer operand is the address of one slice or of many: [`chunks`](super::chunks).
    pub const CHUNKS: u64 = 1 << 10;
    /// The key is that of a client whose server was named just before on the same thread: [`ahead`](super::ahead).
    pub const NAMED: u64 = 1 << 11;
    /// The call moves nothing: it says whether the server's certificate passed (`SSL_get_verify_result`).
    pub const VERIFIED: u64 = 1 << 12;

    /// Places the operands of a call: TLS object, buffer, and length where it is known at the entry.
    pub const fn operands(tls: Operand, buffer: Operand, length: Operand) -> u64 {
        tls.bits() << TLS | buffer.bits() << BUFFER | length.bits() << LENGTH
    }

    /// Where the operands lie.
    pub const TLS: u32 = 16;
    /// See [`TLS`].
    pub const BUFFER: u32 = 30;
    /// See [`TLS`].
    pub const LENGTH: u32 = 44;
}

/// Where a value is at the entry of a call: in a register, or in memory that a register points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// One of [`register`].
    pub register: u8,
    /// The value is the word at the register plus `offset`.
    pub deref: bool,
    /// Bytes; zero for a value in a register.
    pub offset: u8,
}

impl Operand {
    /// Bit of [`Operand::deref`].
    pub const DEREF: u64 = 1 << 5;

    /// The value in a register.
    pub const fn register(register: u8) -> Self {
        Self { register, deref: false, offset: 0 }
    }

    /// The word in memory at a register plus an offset in bytes.
    pub const fn at(register: u8, offset: u8) -> Self {
        Self { register, deref: true, offset }
    }

    /// Fourteen bits: register, [`Operand::DEREF`], offset.
    pub const fn bits(self) -> u64 {
        let deref = if self.deref { Self::DEREF } else { 0 };
        self.register as u64 & 0x1f | deref | (self.offset as u64) << 6
    }
}

/// Registers of x86-64 by their place in `struct pt_regs` (arch/x86/include/asm/ptrace.h), in words.
pub mod register {
    /// See the module.
    pub const R15: u8 = 0;
    /// See the module.
    pub const R14: u8 = 1;
    /// See the module.
    pub const R13: u8 = 2;
    /// See the module.
    pub const R12: u8 = 3;
    /// See the module.
    pub const RBP: u8 = 4;
    /// See the module.
    pub const RBX: u8 = 5;
    /// See the module.
    pub const R11: u8 = 6;
    /// See the module.
    pub const R10: u8 = 7;
    /// See the module.
    pub const R9: u8 = 8;
    /// See the module.
    pub const R8: u8 = 9;
    /// See the module.
    pub const RAX: u8 = 10;
    /// See the module.
    pub const RCX: u8 = 11;
    /// See the module.
    pub const RDX: u8 = 12;
    /// See the module.
    pub const RSI: u8 = 13;
    /// See the module.
    pub const RDI: u8 = 14;
    /// See the module.
    pub const RSP: u8 = 19;
}

/// Attach cookie of a probe where a client names its server: the low 8 bits say how, the rest is for [`name::GO`].
pub mod name {
    /// `SSL_ctrl(tls, 55, _, name)`.
    pub const CTRL: u64 = 0;
    /// `f(tls, name)`: BoringSSL's `SSL_set_tlsext_host_name`, NSS's `SSL_SetURL`.
    pub const SECOND: u64 = 1;
    /// `f(tls, _, name, length)`: `gnutls_server_name_set`.
    pub const COUNTED: u64 = 2;
    /// A method of Go's `*tls.Conn` (receiver in rax); see [`go`].
    pub const GO: u64 = 3;

    /// A Go string at `server_name` of the structure to which the word at `config` of the receiver points; offsets in bytes.
    pub const fn go(config: u16, server_name: u16) -> u64 {
        GO | (config as u64) << 16 | (server_name as u64) << 32
    }
}

/// rustls's `OutboundChunks`, in bytes: several slices with the range of their bytes that is meant, or, when the address of the list
/// is null, one slice. rustc lays it out so from 1.85 to 1.97 (`stacks/rustls` verifies it on the code that uses it).
pub mod chunks {
    /// Address of the list of slices; zero for the single slice.
    pub const LIST: u64 = 0;
    /// Where the range starts in the concatenation of the slices.
    pub const START: u64 = 16;
    /// Address of the single slice.
    pub const SINGLE: u64 = 8;
    /// Bytes of a slice: address and length.
    pub const SLICE: u64 = 16;
}

/// rustls's `ServerName`, in bytes, for the probe on `remove_tls12_session(_, &ServerName)`, which a client of TLS 1.3 calls just
/// before it gets its keys.
pub mod ahead {
    /// A byte; zero for a name, else it is an address.
    pub const TAG: u64 = 0;
    /// Address of the name.
    pub const NAME: u64 = 16;
    /// Its length.
    pub const LENGTH: u64 = 24;
}

/// Attach cookie of a probe where a TLS object ends, or where a new one begins at an address that may have been another's.
pub mod end {
    /// The object is the first argument of the C ABI.
    pub const FIRST: u64 = 0;
    /// The object is the receiver of a Go method.
    pub const GO: u64 = 1;
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
    /// Lost: the process handed over no buffer (`SSL_sendfile`).
    Uncovered = 8,
    /// Handed over with gaps. Calls alone: the missing bytes are counted under their reasons, the others as copied.
    Gapped = 9,
}

impl Outcome {
    /// All, in the order of their slots.
    pub const ALL: [Self; 10] = [
        Self::Copied,
        Self::Peeked,
        Self::Unlisted,
        Self::Undecided,
        Self::RingFull,
        Self::NotResident,
        Self::OverCap,
        Self::TableFull,
        Self::Uncovered,
        Self::Gapped,
    ];

    /// Slot of the call counter; the byte counter follows it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a BPF program must not pay a call for a constant")]
    pub const fn index(self) -> u32 {
        self as u32 * 2
    }
}

/// Slot of server names that did not fit the ring: their connections are not copied.
pub const OPENS_LOST: u32 = 20;
/// Slot of CLOSE, REFUSED and EXIT records that did not fit the ring.
pub const ENDS_LOST: u32 = 21;
/// Slot of returns without a matching entry: calls in flight when the probe was attached, or no room to note the entry.
pub const UNPAIRED: u32 = 22;
/// Slot of child processes that did not fit the table of processes in scope.
pub const FORKS_LOST: u32 = 23;
/// Slot of calls whose bytes come again (`SSL_peek`); their bytes are in the next slot.
pub const REREADS: u32 = 24;
/// Slot of CONNECT records that did not fit the ring.
pub const CONNECTS_LOST: u32 = 26;
/// Number of counter slots.
pub const COUNTERS: u32 = 27;

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

/// The circuit breaker's maps. Each control group has maps of its own.
pub mod breaker {
    /// Slot of the settings: not zero while a budget of the group is exhausted.
    pub const OPEN: u32 = 0;
    /// Slot of the settings: not zero when what cannot be read goes through also then.
    pub const PASS_UNREADABLE: u32 = 1;
    /// Slot of the settings: how many networks are listed.
    pub const NETWORKS: u32 = 2;
    /// Number of settings.
    pub const SETTINGS: u32 = 3;

    /// What is remembered of a socket: its ClientHello named a vendor.
    pub const VENDOR: u32 = 1;
    /// Its ClientHello does not say, or does not say readably, whom it wants.
    pub const UNREADABLE: u32 = 2;

    /// Slot of the counters: handshakes with vendors, stopped or not.
    pub const VENDOR_HELLOS: u32 = 0;
    /// Handshakes that cannot be read, stopped or not.
    pub const UNREADABLE_HELLOS: u32 = 1;
    /// Handshakes that were stopped; a repeated packet counts again.
    pub const HELLOS_STOPPED: u32 = 2;
    /// Packets of connections that were there before, stopped.
    pub const PACKETS_STOPPED: u32 = 3;
    /// QUIC packets that were stopped.
    pub const QUIC_STOPPED: u32 = 4;
    /// Packets and connection attempts to listed networks, stopped.
    pub const NETWORK_STOPPED: u32 = 5;
    /// Number of counters.
    pub const COUNTERS: u32 = 6;
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
