//! An ELF file as the stacks look at it. Enters: its bytes, which anybody may have written. Leaves: functions by name, their code, file
//! offsets, probe sites. Believes no size that the file gives, and never panics on one.

use std::{cell::OnceCell, collections::HashMap};

use object::{
    Architecture, Endianness, Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind,
    read::elf::ElfFile64,
};

use super::{
    super::placement::{self, Function, Leave},
    Placed, Program, Site,
};

/// Longest function that is looked at; those of TLS libraries are far below it.
const FUNCTION_MAX_BYTES: u64 = 64 * 1024;

/// Not an ELF file of 64 bits, or a damaged one.
#[derive(Debug, thiserror::Error)]
#[error("it is not a 64-bit ELF file that can be read ({0})")]
pub(in super::super) struct Unreadable(#[from] object::Error);

/// A parsed file.
pub(in super::super) struct Binary<'a> {
    elf: ElfFile64<'a, Endianness>,
    file: &'a [u8],
    /// Functions that the file defines, by name: address and size. The dynamic symbols win. Made when first asked for.
    functions: OnceCell<HashMap<&'a str, (u64, u64)>>,
}

impl<'a> Binary<'a> {
    pub(super) fn parse(file: &'a [u8]) -> Result<Self, Unreadable> {
        Ok(Self { elf: ElfFile64::parse(file)?, file, functions: OnceCell::new() })
    }

    /// The whole file.
    pub(super) fn file(&self) -> &'a [u8] {
        self.file
    }

    /// Instructions are only read where we can read them; elsewhere the plain entry is right.
    pub(super) fn is_x86_64(&self) -> bool {
        self.elf.architecture() == Architecture::X86_64
    }

    /// Name, address and size of each function that the file defines.
    pub(super) fn functions(&self) -> impl Iterator<Item = (&'a str, u64, u64)> + '_ {
        self.by_name().iter().map(|(name, (address, size))| (*name, *address, *size))
    }

    fn by_name(&self) -> &HashMap<&'a str, (u64, u64)> {
        self.functions.get_or_init(|| {
            let mut functions = HashMap::new();
            for symbol in self.elf.dynamic_symbols().chain(self.elf.symbols()) {
                if symbol.kind() == SymbolKind::Text
                    && symbol.is_definition()
                    && let Ok(name) = symbol.name()
                {
                    functions.entry(name).or_insert((symbol.address(), symbol.size()));
                }
            }
            functions
        })
    }

    /// A function by its symbol.
    pub(super) fn function(&self, name: &str) -> Option<Function<'a>> {
        let (address, size) = *self.by_name().get(name)?;
        self.function_at(address, size)
    }

    /// A function whose place is known otherwise.
    pub(super) fn function_at(&self, address: u64, size: u64) -> Option<Function<'a>> {
        Some(Function { address, code: self.code(address, size.min(FUNCTION_MAX_BYTES))? })
    }

    /// Contents of a section, as they lie in the file, with its address.
    pub(super) fn section(&self, name: &str) -> Option<(u64, &'a [u8])> {
        let section = self.elf.section_by_name(name)?;
        let (start, size) = section.file_range()?;
        Some((section.address(), part(self.file, start, size)?))
    }

    /// The loaded parts of the file that are code: address and bytes.
    pub(super) fn executable_segments(&self) -> impl Iterator<Item = (u64, &'a [u8])> + '_ {
        self.elf.segments().filter(|segment| segment.permissions().executable()).filter_map(|segment| {
            let (start, size) = segment.file_range();
            Some((segment.address(), part(self.file, start, size)?))
        })
    }

    /// The loaded parts of the file that are neither code nor writable after loading, and those that are: address and bytes.
    pub(super) fn segments(&self) -> impl Iterator<Item = (u64, &'a [u8])> + '_ {
        self.elf.segments().filter_map(|segment| {
            let (start, size) = segment.file_range();
            Some((segment.address(), part(self.file, start, size)?))
        })
    }

    /// The kernel wants file offsets; a virtual address becomes one through the segment that holds it.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        self.elf.segments().find_map(|segment| {
            let (start, size) = segment.file_range();
            let inside = address.checked_sub(segment.address()).filter(|inside| *inside < size)?;
            start.checked_add(inside)
        })
    }

    /// Bytes at a virtual address; fewer where the file ends.
    pub(super) fn code(&self, address: u64, size: u64) -> Option<&'a [u8]> {
        let start = self.offset(address)?;
        part(self.file, start, size.min(self.file.len() as u64 - start.min(self.file.len() as u64)))
    }

    /// A site at an address inside a function.
    pub(super) fn site(
        &self,
        name: &str,
        function: Function<'_>,
        at: u64,
        program: Program,
        cookie: u64,
    ) -> Option<Site> {
        let inside = at.wrapping_sub(function.address);
        let (instruction, emulated) = if self.is_x86_64() {
            self.code(at, 16).and_then(|code| placement::describe(at, code)).unwrap_or_default()
        } else {
            Default::default()
        };
        let placed = Placed { inside, instruction, emulated };
        Some(Site { program, offset: self.offset(at)?, cookie, function: name.to_owned(), placed })
    }

    /// The entry of a function of the C ABI, slid to an instruction that costs less.
    pub(super) fn at_entry(&self, name: &str, program: Program, cookie: u64) -> Option<Site> {
        let function = self.function(name)?;
        self.entry_of(name, function, program, cookie)
    }

    fn entry_of(&self, name: &str, function: Function<'a>, program: Program, cookie: u64) -> Option<Site> {
        let at = if self.is_x86_64() { placement::entry(function, &placement::C_ARGUMENTS) } else { function.address };
        self.site(name, function, at, program, cookie)
    }

    /// Entry and return of a call of the C ABI; empty when the file has no such function.
    pub(super) fn call(&self, name: &str, cookie: u64) -> Vec<Site> {
        self.function(name).map(|function| self.call_of(name, function, cookie)).unwrap_or_default()
    }

    /// The same of a function whose place is known otherwise.
    pub(super) fn call_of(&self, name: &str, function: Function<'a>, cookie: u64) -> Vec<Site> {
        let mut sites: Vec<Site> = self.entry_of(name, function, Program::Enter, cookie).into_iter().collect();
        let leave = if self.is_x86_64() {
            placement::leave(function, |address| self.code(address, 32))
        } else {
            Leave::Return(function.address)
        };
        match leave {
            Leave::Inside(addresses) => {
                sites.extend(
                    addresses.into_iter().filter_map(|at| self.site(name, function, at, Program::Leave, cookie)),
                );
            }
            Leave::Return(at) => sites.extend(self.site(name, function, at, Program::LeaveReturn, cookie)),
        }
        sites
    }
}

fn part(file: &[u8], start: u64, size: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    file.get(start..end)
}
