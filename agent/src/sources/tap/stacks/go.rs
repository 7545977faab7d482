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
use super::{super::placement::Function, Binary, Found, Plan, Program, Refusal, Site, Stack};

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
    let section = binary.section(".go.buildinfo").map(|(_, bytes)| bytes);
    if section.is_none() && binary.section(".shstrtab").is_some() {
        return None;
    }
    // Of a file without sections only the table tells that it is Go's.
    let functions = Functions { binary, table: Table::find(binary) };
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
    let version = match build {
        Some(BuildInfo::Version(version)) => Some(version),
        _ => None,
    };
    if let Some((name, function)) = functions.named(HELLO) {
        let body = Body::new(function);
        // Where the code does not tell, as in a program made for a debugger, the version may.
        let asked = body.asks_for_name().or_else(|| {
            let config = config_at(version.as_deref()?)?;
            Some((body.entry(&[Register::RAX])?, config))
        });
        let cookie = |config| name::go(config, SERVER_NAME_AT);
        sites.extend(asked.and_then(|(at, config)| binary.site(name, function, at, Program::NameGo, cookie(config))));
    }
    let address = |name| functions.find(name).map(|function| function.address);
    let sends = Body::new(write).sends(address(SENDER));
    let receives = Body::new(read).receives(address(COPIER));
    for (name, function, spots) in [(WRITE, write, sends), (READ, read, receives)] {
        let placed =
            spots.iter().map(|Spot { at, cookie }| binary.site(name, function, *at, Program::EnterAt, *cookie));
        match placed.collect::<Option<Vec<Site>>>() {
            Some(placed) if !placed.is_empty() => sites.extend(placed),
            _ => return Some(refuse(&format!("{name} was compiled in a way that is not known here"))),
        }
    }
    Some(Ok(Plan { stack: Stack::Go, version, sites }))
}

/// Where a `tls.Conn` has the address of its configuration: the field `quic` before it came with Go 1.21. Checked from 1.19 to 1.27; of
/// a newer version nothing is supposed, and its names are left to the Host header.
fn config_at(version: &str) -> Option<u16> {
    let minor = version.strip_prefix("go1.")?.split(|c: char| !c.is_ascii_digit()).next()?;
    match minor.parse().ok()? {
        18..=20u32 => Some(72),
        21..=27 => Some(80),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use std::{
        path::{Path, PathBuf},
        process::{Command, Stdio},
    };

    use outflow_ebpf::wire::cookie;

    use super::*;

    /// The client of the end-to-end tests, as tests/e2e/clients/go/build.sh makes it; `None` where there is no Go.
    fn built() -> Option<PathBuf> {
        let go = std::env::var_os("GO").unwrap_or_else(|| "go".into());
        if Command::new(go).arg("version").stdout(Stdio::null()).status().is_err() {
            println!("skipped: no Go compiler here (Debian: golang-go)");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/clients/go/build.sh");
        let built = Command::new(script).stdin(Stdio::null()).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Some(PathBuf::from(String::from_utf8(built.stdout).unwrap().trim()))
    }

    fn find_in(file: &[u8]) -> Found {
        find(&Binary::parse(file).unwrap())
    }

    /// Without its section headers, as `sstrip` leaves a program: the kernel does not read them.
    fn without_sections(mut file: Vec<u8>) -> Vec<u8> {
        // e_shoff; e_shentsize, e_shnum, e_shstrndx (elf(5)).
        file[0x28..0x30].fill(0);
        file[0x3a..0x40].fill(0);
        file
    }

    #[test]
    fn programs_with_and_without_symbols_are_probed_at_emulated_instructions_alone() {
        let Some(folder) = built() else { return };
        for shape in ["plain", "stripped", "pie"] {
            let file = std::fs::read(folder.join(shape)).unwrap();
            let plan = find_in(&file).unwrap().unwrap();
            assert_eq!(plan.stack, Stack::Go);
            assert!(plan.version.as_deref().is_some_and(|version| version.starts_with("go1.")), "{:?}", plan.version);
            assert!(plan.sites.iter().all(|site| site.placed.emulated), "{shape}: {:#x?}", plan.sites);
            let count = |program, reads| {
                let sites = plan.sites.iter();
                sites.filter(|site| site.program == program && (site.cookie & cookie::READ != 0) == reads).count()
            };
            let named: Vec<u64> =
                plan.sites.iter().filter(|s| s.program == Program::NameGo).map(|site| site.cookie).collect();
            assert!([name::go(72, 128), name::go(80, 128)].map(|known| vec![known]).contains(&named), "{named:x?}");
            // Both handshakes and the close; two calls of `writeRecordLocked`; one copy.
            let ends = plan.sites.iter().filter(|site| site.program == Program::Free).count();
            assert_eq!((ends, count(Program::EnterAt, false), count(Program::EnterAt, true)), (3, 2, 1), "{shape}");
            assert_eq!(find_in(&without_sections(file)).unwrap().unwrap(), plan, "{shape}");
        }
    }

    #[test]
    fn a_program_for_a_debugger_is_probed_at_its_returns() {
        let Some(folder) = built() else { return };
        let plan = find_in(&std::fs::read(folder.join("debug")).unwrap()).unwrap().unwrap();
        let sites = |program, reads| {
            let sites = plan.sites.iter();
            sites.filter(move |site| site.program == program && (site.cookie & cookie::READ != 0) == reads)
        };
        let returns = sites(Program::EnterAt, true).filter(|site| site.placed.instruction == "ret").count();
        assert!(returns > 1 && returns == sites(Program::EnterAt, true).count(), "{:#x?}", plan.sites);
        assert_eq!(sites(Program::EnterAt, false).count(), 2, "{:#x?}", plan.sites);
        let version = plan.version.as_deref().unwrap();
        let named: Vec<u64> = plan.sites.iter().filter(|s| s.program == Program::NameGo).map(|s| s.cookie).collect();
        assert_eq!(named, [name::go(config_at(version).unwrap(), 128)]);
    }

    #[test]
    fn the_configuration_is_where_the_version_says() {
        let check = |version, wanted| assert_eq!(config_at(version), wanted, "{version}");
        for (version, wanted) in [("go1.18", 72), ("go1.20.14", 72), ("go1.21rc2", 80), ("go1.27.3", 80)] {
            check(version, Some(wanted));
        }
        for unknown in ["go1.17.13", "go1.28", "go2.20", "go1.", "devel go1.27-0123abc", ""] {
            check(unknown, None);
        }
    }

    #[test]
    fn symbols_and_the_table_tell_the_same() {
        let Some(folder) = built() else { return };
        let file = std::fs::read(folder.join("plain")).unwrap();
        let binary = Binary::parse(&file).unwrap();
        let table = Table::find(&binary).unwrap();
        for name in [WRITE, READ, CLOSE, CLIENT, SERVER, HELLO, SENDER, COPIER, "main.main"] {
            let symbol = binary.function(name).unwrap();
            let (address, size) = table.function(name).unwrap();
            assert_eq!(address, symbol.address, "{name}");
            // The table's end of a function is the start of the next one: padding is in between.
            let padding = size - symbol.code.len() as u64;
            assert!(padding < 64, "{name}: {padding}");
        }
        assert_eq!(table.function("crypto/tls.(*Conn).Writ"), None);
        assert_eq!(table.function(""), None);
    }

    #[test]
    fn a_table_that_does_not_fit_its_program_is_refused() {
        let Some(folder) = built() else { return };
        for shape in ["stripped", "pie"] {
            let mut file = std::fs::read(folder.join(shape)).unwrap();
            let binary = Binary::parse(&file).unwrap();
            let magic = [0xf0, 0xf1].map(|first| [first, 0xff, 0xff, 0xff, 0, 0, 1, 8]);
            let header = magic.iter().find_map(|magic| memchr::memmem::find(&file, magic)).unwrap();
            assert!(Table::find(&binary).is_some());
            // Of an unknown Go, or with more functions than there can be.
            for (at, byte) in [(header, 0xf2), (header + 7, 4), (header + 15, 0x7f), (header + 71, 0xff)] {
                let kept = std::mem::replace(&mut file[at], byte);
                let Some(Err(refusal)) = find_in(&file) else { panic!("{shape}: {at:x} is believed") };
                assert!(refusal.why.contains("table of functions"), "{refusal}");
                file[at] = kept;
            }
        }
    }

    #[test]
    fn hostile_files_are_read_without_a_panic() {
        let Some(folder) = built() else { return };
        let file = std::fs::read(folder.join("pie")).unwrap();
        for cut in (0..file.len()).step_by(file.len() / 61) {
            if let Ok(binary) = Binary::parse(&file[..cut]) {
                drop(find(&binary));
            }
        }
        // Every byte of the table's header, of the ELF header and of the program headers.
        let header = memchr::memmem::find(&file, &[0xff, 0xff, 0xff, 0, 0, 1, 8]).unwrap() - 1;
        let mut wrong = file.clone();
        for at in (header..header + 72).chain(0x10..0x240) {
            for byte in [0, 1, 0x7f, 0xff] {
                wrong[at] = byte;
                if let Ok(binary) = Binary::parse(&wrong) {
                    drop(find(&binary));
                }
            }
            wrong[at] = file[at];
        }
    }

    #[test]
    fn what_go_did_not_make_is_let_alone() {
        let shell = std::fs::read("/bin/sh").unwrap();
        assert_eq!(find_in(&shell), None);
        // We carry the magic text ourselves, and the start of a table.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(find_in(&own), None);
        assert_eq!(find_in(&without_sections(own)), None);
    }
}
