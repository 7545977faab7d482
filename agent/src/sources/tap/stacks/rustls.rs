//! rustls, in Rust programs and in what is made with them (Deno, reqwest, hyper). Enters: a file. Leaves: sites in rustls itself, which
//! is linked into each program. Never guesses: rustls has no fixed ABI, so what its compiled code does not show is a refusal.
//!
//! - Sent: `CommonState::send_appdata_encrypt`, which all plaintext passes once the handshake is over, with the number of bytes that
//!   it took. Many slices are one call (hyper writes head and body at once).
//! - Received: `CommonState::take_received_plaintext`, a decrypted record.
//! - The connection is known by the box of its encrypter: rustls moves connections about in memory, but not that box. Each new box
//!   passes a site (`KeyScheduleSuite::set_encrypter`, and `start_encryption_tls12`), so one that has an older one's place is not
//!   taken for it.
//! - The server's name: a client of TLS 1.3 makes its session store forget sessions of TLS 1.2 (`remove_tls12_session`, which gets
//!   the name) just before it sets its keys. Without that function, and in TLS 1.2, the request's head tells the name.
//!
//! Not seen: QUIC, the API without buffers, kernel TLS. A connection that changes its key in its midst (after 2^24 records, or when its
//! peer asks) is another one from there on.

mod shapes;
mod walk;

use std::collections::{BTreeSet, HashSet};

use memchr::memmem::Finder;
use outflow_ebpf::wire::{Operand, cookie, register};

use self::shapes::Shapes;
use super::{
    super::placement::{self, Leave},
    Binary, Found, Plan, Program, Refusal, Site, Stack,
};

/// The functions, as both ways of naming symbols (the legacy one and v0) write them. The first that sends is called by the second, or
/// has become a part of it.
const SEND: [&str; 2] = ["11CommonState20send_appdata_encrypt", "11CommonState24send_plain_non_buffering"];
const RECEIVE: &str = "11CommonState23take_received_plaintext";
const SET_KEY: &str = "13set_encrypter";
const SET_KEY_TLS12: &str = "11CommonState22start_encryption_tls12";
const NAME: &str = "20remove_tls12_session";
/// Whose that is: another store's function may be one with something else (an empty one is).
const STORE: &str = "ClientSessionMemoryCache";
/// What those that set keys may leave it to.
const SETTERS: [&str; 2] = ["21set_message_encrypter", "25prepare_message_encrypter"];
/// What TLS 1.2 makes its keys by: there when TLS 1.2 is.
const TLS12: &str = "16make_cipher_pair";
/// Where `take_received_plaintext` leaves the copy to it, and without optimisation does not pass it what it got.
const COPY: &str = "7Payload8into_vec";
/// In every symbol of the crate.
const CRATE: &str = "rustls";
/// Paths of the crate's sources stay in a program without symbols, in the texts of its panics.
const SOURCES: &[u8] = b"/rustls-0.";
/// Longest version, such as `0.23.0-alpha.10`.
const VERSION_BYTES_MAX: usize = 16;

pub(super) fn find(binary: &Binary<'_>) -> Found {
    let version = version(binary);
    let named = Named::of(binary);
    if version.is_none() && named.is_empty() {
        return None;
    }
    if !binary.is_x86_64() {
        return Some(Err(refusal("it is read on x86-64 only")));
    }
    Some(plan(binary, &named).map(|sites| Plan { stack: Stack::Rustls, version, sites }).map_err(refusal))
}

fn refusal(why: impl Into<String>) -> Refusal {
    Refusal { stack: Stack::Rustls, why: why.into() }
}

/// The functions of one rustls.
struct Named {
    send: Vec<u64>,
    receive: Vec<u64>,
    set_key: Vec<u64>,
    set_key_tls12: Vec<u64>,
    name: Vec<u64>,
    setters: Vec<u64>,
    copy: Vec<u64>,
    has_tls12: bool,
}

impl Named {
    fn of(binary: &Binary<'_>) -> Self {
        let ours: Vec<_> = binary.functions().filter(|(name, _, _)| name.contains(CRATE)).collect();
        let all_of = |is_wanted: &dyn Fn(&str) -> bool| {
            let found = ours.iter().filter(|(name, _, _)| is_wanted(name)).map(|(_, address, _)| *address);
            found.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        let all = |wanted: &str| all_of(&|name| is_function(name, wanted));
        Self {
            send: SEND.iter().map(|send| all(send)).find(|found| !found.is_empty()).unwrap_or_default(),
            receive: all(RECEIVE),
            set_key: all(SET_KEY),
            set_key_tls12: all(SET_KEY_TLS12),
            name: all_of(&|name| name.contains(STORE) && is_function(name, NAME)),
            setters: SETTERS.iter().flat_map(|setter| all(setter)).collect(),
            copy: all(COPY),
            has_tls12: ours.iter().any(|(name, _, _)| name.contains(TLS12)),
        }
    }

    fn is_empty(&self) -> bool {
        self.send.is_empty() && self.receive.is_empty()
    }
}

/// The symbol is the function's own, and not that of a closure within it: only its hash follows its name, or, in v0, the crate that it
/// was made for.
fn is_function(symbol: &str, wanted: &str) -> bool {
    let Some((before, after)) = symbol.split_once(wanted) else { return false };
    let after = after.split_once(".llvm.").map_or(after, |(after, _)| after);
    let is_v0 = before.starts_with("_R");
    after.is_empty() || (!is_v0 && after.starts_with("17h")) || (is_v0 && after.starts_with(['B', 'C']))
}

fn plan(binary: &Binary<'_>, named: &Named) -> Result<Vec<Site>, String> {
    let (send, receive) = (only(&named.send, SEND[0])?, only(&named.receive, RECEIVE)?);
    let shapes = Shapes::new(binary);
    shapes.verify_chunks(send)?;
    shapes.verify_payload(std::iter::once(receive).chain(named.copy.iter().copied()))?;
    let key_offset = shapes.key_offset(send)?;
    let key = Operand::at(register::RDI, key_offset);

    let setter = only(&named.set_key, SET_KEY)?;
    let (set_key, calls) = shapes.key_sites(setter);
    if set_key.is_empty() {
        return Err("the place where set_encrypter sets a key cannot be read off its code".to_owned());
    }
    let mut sites = Vec::new();
    for name in &named.name {
        sites.extend(at_entry(binary, "remove_tls12_session", *name, Program::NameAhead, 0));
    }
    let keys = set_key.iter().map(|site| ("set_encrypter", setter, site, cookie::NAMED));
    let setters: HashSet<u64> = calls.into_iter().chain(named.setters.iter().copied()).collect();
    let tls12 = match named.set_key_tls12.as_slice() {
        [] if named.has_tls12 => return Err("start_encryption_tls12 is not a function of its own in it".to_owned()),
        [] => Vec::new(),
        [start] => shapes.tls12_key_sites(*start, key_offset, &setters),
        _ => return Err("it has two versions of rustls".to_owned()),
    };
    if tls12.is_empty() && !named.set_key_tls12.is_empty() {
        return Err("the place where start_encryption_tls12 sets a key cannot be read off its code".to_owned());
    }
    let setter = named.set_key_tls12.first().copied().unwrap_or_default();
    let keys = keys.chain(tls12.iter().map(|site| ("start_encryption_tls12", setter, site, 0)));
    for (name, function, site, named) in keys {
        let cookie = cookie::operands(site.key, Operand::register(0), Operand::register(0)) | named;
        sites.extend(site_in(binary, name, function, site.at, Program::Key, cookie));
    }

    let sent =
        cookie::operands(key, Operand::register(register::RSI), Operand::register(0)) | cookie::WIDE | cookie::CHUNKS;
    sites.extend(at_entry(binary, "send_appdata_encrypt", send, Program::EnterAt, sent));
    sites.extend(at_return(binary, "send_appdata_encrypt", send, sent));
    let payload = [8, 16].map(|offset| Operand::at(register::RSI, offset));
    let received = cookie::operands(key, payload[0], payload[1]) | cookie::READ | cookie::WHOLE;
    sites.extend(at_entry(binary, "take_received_plaintext", receive, Program::EnterAt, received));
    Ok(sites)
}

fn only(addresses: &[u64], function: &str) -> Result<u64, String> {
    let name = function.rsplit(|c: char| c.is_ascii_digit()).next().unwrap_or(function);
    match addresses {
        [address] => Ok(*address),
        [] => Err(format!("it has no symbol of {name}")),
        more => Err(format!("it has {} functions {name}: more than one version of rustls", more.len())),
    }
}

/// Bytes of a function that its entry and its return are probed in: no more than its first pushes.
const PROLOGUE_BYTES: u64 = 16;

fn at_entry(binary: &Binary<'_>, name: &str, function: u64, program: Program, cookie: u64) -> Option<Site> {
    let code = binary.function_at(function, PROLOGUE_BYTES)?;
    site_in(binary, name, function, placement::entry(code, &placement::C_ARGUMENTS), program, cookie)
}

/// Rust's functions have no stack protector, and may end by a call of another: only the return address is passed every time.
fn at_return(binary: &Binary<'_>, name: &str, function: u64, cookie: u64) -> Option<Site> {
    match placement::leave(binary.function_at(function, PROLOGUE_BYTES)?, |_| None) {
        Leave::Return(at) => site_in(binary, name, function, at, Program::LeaveReturn, cookie),
        Leave::Inside(_) => None,
    }
}

fn site_in(binary: &Binary<'_>, name: &str, function: u64, at: u64, program: Program, cookie: u64) -> Option<Site> {
    binary.site(name, binary.function_at(function, 0)?, at, program, cookie)
}

/// As the paths of its sources have it, where they are in the file.
fn version(binary: &Binary<'_>) -> Option<String> {
    let finder = Finder::new(SOURCES);
    binary.segments().flat_map(|(_, bytes)| finder.find_iter(bytes).filter_map(|at| bytes.get(at..))).find_map(|text| {
        let version = text.get("/rustls-".len()..)?.split(|byte| *byte == b'/').next()?;
        let is_version = version.len() <= VERSION_BYTES_MAX && version.iter().all(|byte| byte.is_ascii_graphic());
        is_version.then(|| String::from_utf8_lossy(version).into_owned())
    })
}
