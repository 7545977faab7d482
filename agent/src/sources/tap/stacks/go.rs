//! Go's `crypto/tls`. Enters: an ELF file. Leaves: a plan for programs that Go 1.18 or later made, stripped or not, or the reason why
//! there is none. Runs no Go and reads no debug information.
//!
//! Functions come from the symbols, or from the table that the Go runtime keeps for itself (`table`); the places in them from their code
//! (`code`), which also tells where the server's name is. Not covered: copies of the package under another path (uTLS), and the QUIC of
//! HTTP/3, which seals its packets elsewhere.

mod build_info;
mod code;
mod table;

use iced_x86::Register;
use outflow_ebpf::wire::{end, name};

use self::{
    build_info::BuildInfo,
    code::{Body, Spot},
    table::Table,
};
use super::{
    super::placement::Function,
    Binary, Found, Plan, Program, Refusal, Site, Stack,
};

const WRITE: &str = "crypto/tls.(*Conn).Write";
const READ: &str = "crypto/tls.(*Conn).Read";
const CLOSE: &str = "crypto/tls.(*Conn).Close";
/// The two handshakes: each begins a connection, maybe where another one was.
const CLIENT: &str = "crypto/tls.(*Conn).clientHandshake";
const SERVER: &str = "crypto/tls.(*Conn).serverHandshake";
/// Makes the first message of a client, with the server's name in it.
const HELLO: &str = "crypto/tls.(*Conn).makeClientHello";
/// What `Write` sends with, and `Read` copies with.
const SENDER: &str = "crypto/tls.(*Conn).writeRecordLocked";
const COPIER: &str = "runtime.memmove";
/// Where `tls.Config` has `ServerName`.
const SERVER_NAME_AT: u16 = code::SERVER_NAME_AT as u16;

/// The plan for a Go program that is a client of TLS.
pub(super) fn find(binary: &Binary<'_>) -> Found {
    let functions = Functions { binary, table: Table::find(binary) };
    let section = binary.section(".go.buildinfo").map(|(_, bytes)| bytes);
    if functions.table.is_none() && section.is_none() {
        return None;
    }
    let build = BuildInfo::find(section.unwrap_or(binary.file()));
    if build == Some(BuildInfo::Old) {
        return Some(refuse("it was made by a Go before 1.18, whose calls are not known here"));
    }
    if !functions.are_known() {
        return Some(refuse("its table of functions cannot be read, and it has no symbols"));
    }
    let (write, read) = (functions.find(WRITE)?, functions.find(READ)?);
    // A program that only serves has no handshake of a client: there is nothing that it could send to a vendor.
    let client = functions.find(CLIENT)?;
    if !binary.is_x86_64() {
        return Some(refuse("Go is tapped on x86-64 only"));
    }
    let mut sites = Vec::new();
    let starts = [Some((CLIENT, client)), functions.named(SERVER), functions.named(CLOSE)];
    for (name, function) in starts.into_iter().flatten() {
        let at = Body::new(function).entry(&[Register::RAX]);
        sites.extend(at.and_then(|at| binary.site(name, function, at, Program::Free, end::GO)));
    }
    if let Some((name, function)) = functions.named(HELLO)
        && let Some((at, config)) = Body::new(function).asks_for_name()
    {
        let cookie = name::go(config, SERVER_NAME_AT);
        sites.extend(binary.site(name, function, at, Program::NameGo, cookie));
    }
    let address = |name| functions.find(name).map(|function| function.address);
    let sends = Body::new(write).sends(address(SENDER));
    let receives = Body::new(read).receives(address(COPIER));
    for (name, function, spots) in [(WRITE, write, sends), (READ, read, receives)] {
        let placed = spots.iter().map(|Spot { at, cookie }| binary.site(name, function, *at, Program::EnterAt, *cookie));
        match placed.collect::<Option<Vec<Site>>>() {
            Some(placed) if !placed.is_empty() => sites.extend(placed),
            _ => return Some(refuse(&format!("{name} was compiled in a way that is not known here"))),
        }
    }
    let version = match build {
        Some(BuildInfo::Version(version)) => Some(version),
        _ => None,
    };
    Some(Ok(Plan { stack: Stack::Go, version, sites }))
}

fn refuse(why: &str) -> Result<Plan, Refusal> {
    Err(Refusal { stack: Stack::Go, why: why.to_owned() })
}

/// Functions by name, from whatever tells them.
struct Functions<'a, 'b> {
    binary: &'b Binary<'a>,
    table: Option<Table<'a>>,
}

impl<'a> Functions<'a, '_> {
    fn find(&self, name: &str) -> Option<Function<'a>> {
        self.binary.function(name).or_else(|| {
            let (address, size) = self.table.as_ref()?.function(name)?;
            self.binary.function_at(address, size)
        })
    }

    fn named(&self, name: &'static str) -> Option<(&'static str, Function<'a>)> {
        Some((name, self.find(name)?))
    }

    /// Every Go program has the runtime's `memmove`.
    fn are_known(&self) -> bool {
        self.find(COPIER).is_some()
    }
}
