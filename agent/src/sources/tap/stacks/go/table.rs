//! The table of functions that the Go runtime needs for its stack traces, so that it is in every Go program, stripped or not. Enters:
//! the bytes of an ELF file, which anybody may have written. Leaves: address and size of a function by its name. Follows no offset out
//! of the file, and no table past its bound.
//!
//! Go 1.18 and later (`runtime/symtab.go`: `pcHeader`, `functab`, `moduledata`; written by `cmd/link/internal/ld/pcln.go`):
//!
//! ```text
//! moduledata  +0 address of pcHeader    +160 first function    +176 start of the code, to which the entries are relative
//! pcHeader    +0 magic  +8 count  +32 names  +64 functions      (the last two relative to pcHeader)
//! functions   count times { u32 entry, u32 offset of its record }, then u32 end of the last function
//! record      +0 u32 entry  +4 i32 offset of its name in names, which ends with a zero byte
//! ```
//! Sections need not be there, so the header is found by its magic, and believed when a `moduledata` points to it. In a program that is
//! loaded anywhere, that one's pointers are in the relocations, or in place where these are packed (RELR). The header's own copy of the
//! code's start is not used: it is not relocated, and it is gone since Go 1.26.

use memchr::memmem;
use object::{
    Endianness,
    elf::{DT_RELA, DT_RELASZ, DynamicTag, R_X86_64_RELATIVE},
    read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _},
};

use super::super::Binary;

/// Starts of a header since Go 1.20, and of Go 1.18 and 1.19: magic, two zero bytes. Then come the sizes of the shortest instruction and
/// of a pointer.
const STARTS: [[u8; 6]; 2] = [[0xf1, 0xff, 0xff, 0xff, 0, 0], [0xf0, 0xff, 0xff, 0xff, 0, 0]];
const SIZES: [[u8; 2]; 2] = [[1, 8], [4, 8]];
/// Places with such a start that are looked at, and those among them that are looked for in `moduledata`.
const STARTS_MAX: usize = 1024;
const HEADERS_MAX: usize = 4;
/// Words that may be the start of a `moduledata`.
const MODULES_MAX: usize = 8;
/// Functions of a table; Kubernetes has about 120,000.
const FUNCTIONS_MAX: u64 = 1 << 21;
/// Bytes of an entry of the table of functions, and of a relocation.
const ENTRY_BYTES: usize = 8;
const RELOCATION_BYTES: usize = 24;

/// A table of functions.
pub(super) struct Table<'a> {
    /// Address to which the entries are relative.
    text: u64,
    /// Names, from the first to the end of the segment.
    names: &'a [u8],
    /// Entries, and what they point to.
    functions: &'a [u8],
    count: usize,
}

impl<'a> Table<'a> {
    /// The table of a file's own code; not that of another program that it carries as data.
    pub(super) fn find(binary: &Binary<'a>) -> Option<Self> {
        let relocations = Relocations::of(binary);
        let headers = binary.segments().flat_map(|(address, bytes)| {
            STARTS
                .iter()
                .flat_map(move |start| memmem::find_iter(bytes, start).take(STARTS_MAX).collect::<Vec<_>>())
                .filter_map(move |at| Some((address.checked_add(at as u64)?, Self::parse(bytes.get(at..)?)?)))
        });
        headers.take(HEADERS_MAX).find_map(|(address, table)| {
            let text = table.text(binary, &relocations, address)?;
            Some(Self { text, ..table })
        })
    }

    /// The table behind a header, but for the address of the code.
    fn parse(header: &'a [u8]) -> Option<Self> {
        let sizes = header.get(6..8)?;
        SIZES.iter().any(|known| known == sizes).then_some(())?;
        let count = word(header, 8).filter(|count| (1..=FUNCTIONS_MAX).contains(count))? as usize;
        let part = |at: usize| header.get(usize::try_from(word(header, at)?).ok()?..);
        let (names, functions) = (part(32)?, part(64)?);
        functions.get(..count * ENTRY_BYTES + 4)?;
        Some(Self { text: 0, names, functions, count })
    }

    /// The start of the code as the `moduledata` says that points to the header at `address`.
    fn text(&self, binary: &Binary<'a>, relocations: &Relocations<'a>, address: u64) -> Option<u64> {
        let in_file = binary.segments().flat_map(|(start, bytes)| {
            let found = memmem::find_iter(bytes, &address.to_le_bytes()).take(MODULES_MAX).collect::<Vec<_>>();
            found.into_iter().filter_map(move |at| start.checked_add(at as u64))
        });
        in_file.chain(relocations.of_value(address)).take(MODULES_MAX).find_map(|module| {
            let pointer = |at: u64| {
                let at = module.checked_add(at)?;
                relocations.value_at(at).or_else(|| word(binary.code(at, 8)?, 0))
            };
            let text = pointer(176)?;
            (pointer(160)? == text.checked_add(u64::from(half(self.functions, 0)?))?).then_some(text)
        })
    }

    /// Address and size of a function: it ends where the next one starts.
    pub(super) fn function(&self, name: &str) -> Option<(u64, u64)> {
        let entries = self.functions.get(..self.count * ENTRY_BYTES + 4)?;
        let at = (0..self.count).map(|index| index * ENTRY_BYTES).find(|at| {
            let named = || {
                let record = self.functions.get(half(entries, at + 4)? as usize..)?;
                let text = self.names.get(half(record, 4)? as usize..)?;
                Some(text.strip_prefix(name.as_bytes())?.first() == Some(&0))
            };
            named() == Some(true)
        })?;
        let (start, end) = (half(entries, at)?, half(entries, at + ENTRY_BYTES)?);
        Some((self.text.checked_add(u64::from(start))?, u64::from(end.checked_sub(start)?)))
    }
}

/// Pointers that the loader puts in place: of a program that may lie anywhere, the file has them only here.
struct Relocations<'a>(&'a [u8]);

impl<'a> Relocations<'a> {
    fn of(binary: &Binary<'a>) -> Self {
        Self(Self::table(binary).unwrap_or_default())
    }

    /// By the dynamic segment, since sections need not be there.
    fn table(binary: &Binary<'a>) -> Option<&'a [u8]> {
        let elf = ElfFile64::<Endianness>::parse(binary.file()).ok()?;
        let endian = elf.endian();
        let headers = elf.elf_header().program_headers(endian, binary.file()).ok()?;
        let entries = headers.iter().find_map(|header| header.dynamic(endian, binary.file()).ok().flatten())?;
        let value = |tag: DynamicTag| entries.iter().find(|e| e.tag(endian) == tag).map(|e| e.val(endian));
        binary.code(value(DT_RELA)?, value(DT_RELASZ)?)
    }

    /// Place and value of each.
    fn all(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        self.0.chunks_exact(RELOCATION_BYTES).filter_map(|entry| {
            let kind = word(entry, 8)?;
            (kind == u64::from(R_X86_64_RELATIVE.0)).then_some((word(entry, 0)?, word(entry, 16)?))
        })
    }

    fn of_value(&self, wanted: u64) -> impl Iterator<Item = u64> + use<'a> {
        self.all().filter(move |(_, value)| *value == wanted).map(|(place, _)| place)
    }

    fn value_at(&self, wanted: u64) -> Option<u64> {
        self.all().find(|(place, _)| *place == wanted).map(|(_, value)| value)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
