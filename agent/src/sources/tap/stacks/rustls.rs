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
//! Programs without symbols (Deno) are found by the signatures of `rules/tls`, and then read in the same way.
//!
//! Not seen: QUIC, the API without buffers, kernel TLS. A connection that changes its key in its midst (after 2^24 records, or when its
//! peer asks) is another one from there on.

mod shapes;
mod walk;
mod whole;

use std::collections::{BTreeSet, HashSet};

use memchr::memmem::Finder;
use outflow_ebpf::wire::{Operand, cookie, register};

use self::shapes::{KeySite, Shapes};
use super::{
    super::placement::{self, Leave},
    Binary, Found, Plan, Program, Refusal, Site, Stack, signatures,
};

/// The functions, as both ways of naming symbols (the legacy one and v0) write them. Of those that send, each is called by the next, or
/// has become a part of it, or both. What the last takes before the handshake is over is not yet this connection's.
const SEND: [&str; 3] = [
    "11CommonState20send_appdata_encrypt",
    "11CommonState24send_plain_non_buffering",
    "11CommonState16buffer_plaintext",
];
const RECEIVE: &str = "11CommonState23take_received_plaintext";
const SET_KEY: &str = "13set_encrypter";
const SET_KEY_TLS12: &str = "11CommonState22start_encryption_tls12";
const NAME: &str = "20remove_tls12_session";
/// Whose that is: another store's function may be one with something else (an empty one is).
const STORE: &str = "ClientSessionMemoryCache";
/// What is asked for where symbols are gone, by the shapes that programs have: what sends, what receives, what sets the key, the call of
/// `remove_tls12_session` (a place within a function), and one more, by [`Functions::by_signature`].
const SIGNATURES: [[&str; 5]; 2] = [
    ["send_plain_non_buffering", "take_received_plaintext", "set_encrypter", "remove_tls12_session", START_TLS12],
    ["send_appdata_encrypt", "take_received_plaintext", "set_encrypter", "remove_tls12_session", TRAFFIC_TLS12],
];
/// The calls that set the keys of TLS 1.2, a place within a function; else their stores are found by themselves.
const START_TLS12: &str = "start_encryption_tls12";
/// A function that `take_received_plaintext` has become a part of.
const TRAFFIC_TLS12: &str = "tls12_expect_traffic";
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
/// Functions of one name that are looked at to verify a thing.
const COPIES_MAX: usize = 4;

pub(super) fn find(binary: &Binary<'_>) -> Found {
    let version = version(binary);
    let mut functions = Functions::by_symbol(binary);
    if version.is_none() && functions.is_empty() {
        return None;
    }
    if !binary.is_x86_64() {
        return Some(Err(refusal("its code is read on x86-64 only")));
    }
    if functions.is_empty() {
        functions = match Functions::by_signature(binary) {
            Ok(functions) => functions,
            Err(why) => return Some(Err(refusal(format!("it is in the file without symbols, and {why}")))),
        };
    }
    Some(plan(binary, &functions).map(|sites| Plan { stack: Stack::Rustls, version, sites }).map_err(refusal))
}

fn refusal(why: impl Into<String>) -> Refusal {
    Refusal { stack: Stack::Rustls, why: why.into() }
}

/// The functions, by address. More than one of a kind are more than one rustls.
#[derive(Default)]
struct Functions {
    /// One list for each of [`SEND`].
    send: Vec<Vec<u64>>,
    receive: Vec<u64>,
    set_key: Vec<u64>,
    set_key_tls12: Vec<u64>,
    name: Vec<u64>,
    /// Another function that receives, when it is not known by its symbol.
    receive_in: Option<u64>,
    /// Where `remove_tls12_session` is called, when it is not known where it is.
    name_call: Option<u64>,
    setters: Vec<u64>,
    copy: Vec<u64>,
    has_tls12: bool,
}

impl Functions {
    fn by_symbol(binary: &Binary<'_>) -> Self {
        let ours: Vec<_> = binary.functions().filter(|(name, _, _)| name.contains(CRATE)).collect();
        let all_of = |is_wanted: &dyn Fn(&str) -> bool| {
            let found = ours.iter().filter(|(name, _, _)| is_wanted(name)).map(|(_, address, _)| *address);
            found.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        let all = |wanted: &str| all_of(&|name| is_function(name, wanted));
        Self {
            send: SEND.iter().map(|send| all(send)).collect(),
            receive: all(RECEIVE),
            set_key: all(SET_KEY),
            set_key_tls12: all(SET_KEY_TLS12),
            receive_in: None,
            name_call: None,
            name: all_of(&|name| name.contains(STORE) && is_function(name, NAME)),
            setters: SETTERS.iter().flat_map(|setter| all(setter)).collect(),
            copy: all(COPY),
            has_tls12: ours.iter().any(|(name, _, _)| name.contains(TLS12)),
        }
    }

    fn by_signature(binary: &Binary<'_>) -> Result<Self, String> {
        let mut refused = None;
        for names in SIGNATURES {
            match signatures::locate(binary, "rustls", &names) {
                Ok(located) => {
                    let [send, receive, set_key, name_call, other] =
                        [0, 1, 2, 3, 4].map(|place| located.get(place).map(|found| found.function.address));
                    let is_start = names.contains(&START_TLS12);
                    return Ok(Self {
                        send: vec![send.into_iter().collect()],
                        receive: receive.into_iter().collect(),
                        set_key: set_key.into_iter().collect(),
                        set_key_tls12: other.filter(|_| is_start).into_iter().collect(),
                        receive_in: other.filter(|_| !is_start),
                        name_call,
                        has_tls12: true,
                        ..Self::default()
                    });
                }
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        Err(refused.unwrap_or_default())
    }

    fn is_empty(&self) -> bool {
        self.send.iter().all(Vec::is_empty) && self.receive.is_empty()
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

fn plan(binary: &Binary<'_>, functions: &Functions) -> Result<Vec<Site>, String> {
    let shapes = Shapes::new(binary);
    let (senders, receive) = (senders(&shapes, functions)?, only(&functions.receive, RECEIVE)?);
    let (send, _) = *senders.first().ok_or("it has no function that sends of its own")?;
    shapes.verify_chunks(send)?;
    shapes.verify_payload(std::iter::once(receive).chain(functions.copy.iter().copied().take(COPIES_MAX)))?;
    let key_offset = shapes.key_offset(send)?;
    if senders.iter().any(|(sender, _)| shapes.key_offset(*sender) != Ok(key_offset)) {
        return Err("its functions that send do not agree where the key is".to_owned());
    }
    let mut sites = name_sites(binary, &shapes, functions)?;
    sites.extend(key_sites(binary, &shapes, functions, key_offset)?);
    let key = Operand::at(register::RDI, key_offset);
    let chunks = cookie::operands(key, Operand::register(register::RSI), NONE) | cookie::WIDE | cookie::CHUNKS;
    for (sender, name) in senders {
        sites.extend(at_entry(binary, name, sender, Program::EnterAt, chunks));
        sites.extend(at_return(binary, name, sender, chunks));
    }
    let [address, length] = shapes::PAYLOAD.map(|offset| Operand::at(register::RSI, offset));
    let payload = cookie::operands(key, address, length) | cookie::READ | cookie::WHOLE;
    sites.extend(at_entry(binary, "take_received_plaintext", receive, Program::EnterAt, payload));
    sites.extend(received_in_others(binary, &shapes, functions, receive, key_offset)?);
    Ok(sites)
}

/// Sites where `take_received_plaintext` has become a part of another function too.
fn received_in_others(
    binary: &Binary<'_>,
    shapes: &Shapes<'_, '_>,
    functions: &Functions,
    receive: u64,
    key_offset: u8,
) -> Result<Vec<Site>, String> {
    let Some((reset, known)) = shapes.reset_of(receive) else { return Ok(Vec::new()) };
    let others = whole::stores(&whole::code(binary), reset).into_iter().filter(|place| !known.contains(place));
    let site = |place| {
        let mut holders = shapes.holder(place).into_iter().chain(functions.receive_in);
        let [key, address, length] = holders.find_map(|holder| shapes.received_in(holder, place, key_offset))?;
        let payload = cookie::operands(key, address, length) | cookie::READ | cookie::WHOLE;
        site_in(binary, "take_received_plaintext", place, place, Program::EnterAt, payload)
    };
    let unread = "take_received_plaintext is a part of another function too, which cannot be read off its code";
    others.map(|place| site(place).ok_or_else(|| unread.to_owned())).collect()
}

/// The innermost function that sends, and those around it that do not leave it to that one.
fn senders(shapes: &Shapes<'_, '_>, functions: &Functions) -> Result<Vec<(u64, &'static str)>, String> {
    let mut senders = Vec::new();
    for (found, name) in functions.send.iter().zip(SEND).filter(|(found, _)| !found.is_empty()) {
        let function = only(found, name)?;
        if !senders.iter().any(|(sender, _)| shapes.calls(function, *sender)) {
            senders.push((function, bare(name)));
        }
    }
    Ok(senders)
}

/// No operand.
const NONE: Operand = Operand::register(0);

fn name_sites(binary: &Binary<'_>, shapes: &Shapes<'_, '_>, functions: &Functions) -> Result<Vec<Site>, String> {
    const SHOWN: &str = "remove_tls12_session";
    if let Some(place) = functions.name_call {
        let call = shapes.name_call(place).ok_or("the call of remove_tls12_session is not where its signature is")?;
        return Ok(site_in(binary, SHOWN, place, call, Program::NameAhead, 0).into_iter().collect());
    }
    // Two of them are two versions of rustls, of which the rest tells.
    let names = functions.name.iter().take(1);
    Ok(names.filter_map(|name| at_entry(binary, SHOWN, *name, Program::NameAhead, 0)).collect())
}

fn key_sites(
    binary: &Binary<'_>,
    shapes: &Shapes<'_, '_>,
    functions: &Functions,
    key_offset: u8,
) -> Result<Vec<Site>, String> {
    let set_key = only(&functions.set_key, SET_KEY)?;
    let (named, calls) = shapes.key_sites(set_key);
    let setters: HashSet<u64> = calls.iter().copied().chain(functions.setters.iter().copied()).collect();
    let beside = shapes.beside_key(set_key);
    let mut sites = key_sites_in(binary, "set_encrypter", set_key, &named, cookie::NAMED)?;
    let mut known: HashSet<u64> = named.iter().map(|site| site.at).collect();
    match functions.set_key_tls12.as_slice() {
        [] if !functions.has_tls12 || beside.is_some() => {}
        start => {
            let start = only(start, SET_KEY_TLS12)?;
            let keys = shapes.tls12_key_sites(start, key_offset, &setters);
            sites.extend(key_sites_in(binary, "start_encryption_tls12", start, &keys, 0)?);
            known.extend(keys.iter().map(|site| site.at));
        }
    }
    // What has become a part of another function too: the name is not known there, but the key is.
    let code = whole::code(binary);
    let stores = beside.map(|beside| whole::keys(&code, key_offset, beside)).unwrap_or_default();
    let others = stores.iter().filter(|store| !known.contains(&store.at)).filter_map(KeySite::of_store);
    for site in others {
        sites.extend(key_sites_in(binary, "set_encrypter", site.at, &[site], 0)?);
    }
    let are_all = calls.iter().all(|setter| whole::calls_only_at(&code, *setter, &known));
    are_all.then_some(sites).ok_or_else(|| "keys are set in other functions too, which are not found".to_owned())
}

fn key_sites_in(
    binary: &Binary<'_>,
    name: &str,
    function: u64,
    keys: &[KeySite],
    flags: u64,
) -> Result<Vec<Site>, String> {
    let cookie = |key: Operand| cookie::operands(key, NONE, NONE) | flags;
    let sites = keys.iter().filter_map(|site| site_in(binary, name, function, site.at, Program::Key, cookie(site.key)));
    let sites: Vec<_> = sites.collect();
    if sites.is_empty() {
        return Err(format!("the place where {name} sets a key cannot be read off its code"));
    }
    Ok(sites)
}

/// A name without what symbols put before it.
fn bare(function: &str) -> &str {
    function.trim_start_matches("11CommonState").trim_start_matches(|c: char| c.is_ascii_digit())
}

fn only(addresses: &[u64], function: &str) -> Result<u64, String> {
    let name = bare(function);
    match addresses {
        [address] => Ok(*address),
        [] => Err(format!("it has no function {name} of its own")),
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
    Finder::new(SOURCES).find_iter(binary.file()).find_map(|at| {
        let text = binary.file().get(at..)?;
        let version = text.get("/rustls-".len()..)?.split(|byte| *byte == b'/').next()?;
        let is_version = version.len() <= VERSION_BYTES_MAX && version.iter().all(u8::is_ascii_graphic);
        is_version.then(|| String::from_utf8_lossy(version).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test's own program: it has rustls for its exporters, with symbols.
    fn ours() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    fn found(file: &[u8]) -> Found {
        find(&Binary::parse(file).unwrap())
    }

    fn check(plan: &Plan) {
        assert_eq!(plan.stack, Stack::Rustls);
        assert!(plan.version.as_deref().is_some_and(|version| version.starts_with("0.23.")), "{:?}", plan.version);
        let of = |program| plan.sites.iter().filter(move |site| site.program == program);
        assert!(of(Program::NameAhead).count() == 1, "{plan:#?}");
        assert!(of(Program::Key).any(|site| site.cookie & cookie::NAMED != 0), "{plan:#?}");
        assert!(of(Program::Key).any(|site| site.cookie & cookie::NAMED == 0), "TLS 1.2 has a name: {plan:#?}");
        let cookies: Vec<_> = of(Program::EnterAt).map(|site| site.cookie).collect();
        let (sent, received) = (cookie::WIDE | cookie::CHUNKS, cookie::READ | cookie::WHOLE);
        assert_eq!(cookies.iter().map(|cookie| cookie & 0xffff).collect::<Vec<_>>(), [sent, received], "{plan:#?}");
        assert_eq!(of(Program::LeaveReturn).map(|site| site.cookie).collect::<Vec<_>>(), [cookies[0]]);
        // Both directions know the connection by the same word.
        assert_eq!(cookies[0] >> cookie::TLS & 0x3fff, cookies[1] >> cookie::TLS & 0x3fff);
    }

    #[test]
    fn functions_are_told_from_what_is_named_after_them() {
        let symbols = [
            ("_ZN6rustls12common_state11CommonState20send_appdata_encrypt17h0123456789abcdefE", true),
            ("_ZN6rustls12common_state11CommonState20send_appdata_encrypt17h0123456789abcdefE.llvm.12345", true),
            ("_RNvMNtCsabc_6rustls12common_stateNtB2_11CommonState20send_appdata_encrypt", true),
            ("_RNvMNtCsabc_6rustls12common_stateNtB2_11CommonState20send_appdata_encryptCsdef_3app", true),
            ("_RNCNvMNtCsabc_6rustls12common_stateNtB2_11CommonState20send_appdata_encrypt0B4_", false),
            ("_ZN6rustls12common_state11CommonState20send_appdata_encrypt28_$u7b$$u7b$closure$u7d$$u7d$17h01E", false),
            ("_ZN6rustls12common_state11CommonState16buffer_plaintext17h0123456789abcdefE", false),
        ];
        for (symbol, expected) in symbols {
            assert_eq!(is_function(symbol, SEND[0]), expected, "{symbol}");
        }
    }

    #[test]
    fn a_program_with_symbols_is_read() {
        let file = ours();
        match found(&file) {
            Some(plan) => check(&plan.unwrap()),
            None => println!("skipped: this build has no rustls"),
        }
    }

    #[test]
    fn a_program_without_symbols_that_nobody_knows_is_refused_loudly() {
        let mut file = ours();
        if found(&file).is_none() {
            println!("skipped: this build has no rustls");
            return;
        }
        // Without section headers there are no symbols; what is loaded stays. `e_shoff`, `e_shnum` and `e_shstrndx` of elf(5).
        file[40..48].fill(0);
        file[60..64].fill(0);
        let refusal = found(&file).unwrap().unwrap_err();
        assert!(refusal.why.contains("without symbols") && refusal.why.contains("signatures"), "{refusal}");
    }

    #[test]
    fn deno_is_read_though_it_has_no_symbols() {
        let path = "node_modules/@deno/linux-x64-glibc/deno";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/npm").join(path);
        let Ok(file) = std::fs::read(&path) else {
            println!("skipped: no {} (tests/e2e/make-clients.sh fetches it)", path.display());
            return;
        };
        check(&found(&file).unwrap().unwrap());
    }

    #[test]
    fn no_damaged_file_makes_it_panic() {
        let file = ours();
        for part in 1..12 {
            let cut = &file[..file.len() / 12 * part];
            drop(Binary::parse(cut).map(|binary| find(&binary)));
        }
    }
}
