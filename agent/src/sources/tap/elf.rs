//! Finds the TLS functions of a library file. Enters: the bytes of an ELF file. Leaves: probe sites as file offsets. Never
//! reads a process, and each file is parsed once.

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind, read::elf::ElfFile64};
use outflow_ebpf::wire::cookie;

use super::placement::{self, Function, Leave};

/// Longest function we look at; OpenSSL's are far below it.
const FUNCTION_MAX_BYTES: u64 = 64 * 1024;

/// A place to probe, as an offset in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// What to run there.
    pub program: Program,
    /// File offset of the instruction.
    pub offset: u64,
    /// Handed to the program.
    pub cookie: u64,
}

/// The kernel programs that are put on library code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Program {
    /// Entry of a read or write.
    Enter,
    /// Return, at an instruction inside the function.
    Leave,
    /// Return, through the return address.
    LeaveReturn,
    /// `SSL_ctrl`.
    Ctrl,
    /// `SSL_free`.
    Free,
}

/// Why a library is not tapped.
#[derive(Debug, thiserror::Error)]
pub(super) enum ElfError {
    /// Not an ELF file of 64 bits, or a damaged one.
    #[error("it is not a 64-bit ELF file that can be read ({0})")]
    Unreadable(#[from] object::Error),
    /// Nothing to probe: another library, or its symbols are gone.
    #[error("it has no symbol {0}: not a TLS library that this version taps")]
    NoSymbol(&'static str),
}

/// Reads and writes: without one of each pair there is nothing to see.
const CALLS: [(&str, u64); 4] = [
    ("SSL_write", 0),
    ("SSL_write_ex", cookie::EX),
    ("SSL_read", cookie::READ),
    ("SSL_read_ex", cookie::READ | cookie::EX),
];

/// The probe sites of a library that exports OpenSSL's API.
pub(super) fn tls_sites(file: &[u8]) -> Result<Vec<Site>, ElfError> {
    let elf = ElfFile64::<object::Endianness, &[u8]>::parse(file)?;
    let library = Library { elf: &elf, file };
    let mut sites = Vec::new();
    // The name of the server comes before everything else on a connection, so its probe comes first too.
    for (name, program) in [("SSL_ctrl", Program::Ctrl), ("SSL_free", Program::Free)] {
        let function = library.function(name).ok_or(ElfError::NoSymbol(name))?;
        sites.extend(library.site(library.entry(function), program, 0));
    }
    for (name, meaning) in CALLS {
        // `_ex` came with OpenSSL 1.1.1; the plain ones are required.
        match library.function(name) {
            Some(function) => library.call_sites(function, meaning, &mut sites),
            None if meaning & cookie::EX == 0 => return Err(ElfError::NoSymbol(name)),
            None => {}
        }
    }
    Ok(sites)
}

struct Library<'a> {
    elf: &'a ElfFile64<'a, object::Endianness, &'a [u8]>,
    file: &'a [u8],
}

impl<'a> Library<'a> {
    fn function(&self, name: &str) -> Option<Function<'a>> {
        let symbol =
            self.elf.dynamic_symbols().chain(self.elf.symbols()).find(|symbol| {
                symbol.kind() == SymbolKind::Text && symbol.is_definition() && symbol.name() == Ok(name)
            })?;
        let size = symbol.size().min(FUNCTION_MAX_BYTES);
        Some(Function { address: symbol.address(), code: self.code(symbol.address(), size)? })
    }

    /// Instructions are only read where we can read them; elsewhere the plain entry is right.
    fn is_x86_64(&self) -> bool {
        self.elf.architecture() == object::Architecture::X86_64
    }

    fn entry(&self, function: Function<'a>) -> u64 {
        if self.is_x86_64() { placement::entry(function) } else { function.address }
    }

    fn call_sites(&self, function: Function<'a>, meaning: u64, sites: &mut Vec<Site>) {
        sites.extend(self.site(self.entry(function), Program::Enter, meaning));
        let leave = if self.is_x86_64() {
            placement::leave(function, |address| self.code(address, 32))
        } else {
            Leave::Return(function.address)
        };
        match leave {
            Leave::Inside(addresses) => {
                sites.extend(addresses.into_iter().filter_map(|at| self.site(at, Program::Leave, meaning)));
            }
            Leave::Return(at) => sites.extend(self.site(at, Program::LeaveReturn, meaning)),
        }
    }

    fn site(&self, address: u64, program: Program, cookie: u64) -> Option<Site> {
        Some(Site { program, offset: self.offset(address)?, cookie })
    }

    /// The kernel wants file offsets; a virtual address becomes one through the segment that holds it.
    fn offset(&self, address: u64) -> Option<u64> {
        self.elf.segments().find_map(|segment| {
            let (start, size) = segment.file_range();
            let inside = address.checked_sub(segment.address()).filter(|inside| *inside < size)?;
            Some(start + inside)
        })
    }

    fn code(&self, address: u64, size: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(self.offset(address)?).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?.min(self.file.len());
        self.file.get(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian's own libssl, read as a file; nothing is attached.
    const SYSTEM: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

    #[test]
    fn finds_sites_in_the_system_library_without_single_stepping() {
        let Ok(file) = std::fs::read(SYSTEM) else {
            println!("skipped: no {SYSTEM} here");
            return;
        };
        let sites = tls_sites(&file).unwrap();
        for (_, meaning) in CALLS {
            assert!(sites.iter().any(|site| site.program == Program::Enter && site.cookie == meaning), "{sites:x?}");
            assert!(
                sites.iter().any(|site| {
                    matches!(site.program, Program::Leave | Program::LeaveReturn) && site.cookie == meaning
                }),
                "{sites:x?}"
            );
        }
        for site in &sites {
            assert!((site.offset as usize) < file.len());
        }
    }

    #[test]
    fn says_why_a_file_is_refused() {
        assert!(matches!(tls_sites(b"#!/bin/sh"), Err(ElfError::Unreadable(_))));
        // Our own program will not do: librdkafka brings an OpenSSL into it.
        let shell = std::fs::read("/bin/sh").unwrap();
        assert!(matches!(tls_sites(&shell), Err(ElfError::NoSymbol("SSL_ctrl"))));
        for cut in [0, 10, 64, 200, 5000] {
            assert!(tls_sites(&shell[..cut]).is_err());
        }
    }
}
