//! Offsets of kernel struct members. Enters: the running kernel's type information (BTF). Leaves: byte offsets for the
//! kernel programs. Never guesses: a member that is not found is an error.
//!
//! Three offsets are all that is wanted, so this walks the types once and keeps nothing. The parsers there are build a tree
//! of all 150,000 types: btfparse took 55 MB and 0.2 s for it here, btf-rs is LGPL, and aya keeps its own to itself.

/// Where the kernel describes its types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Byte offsets that the programs need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offsets {
    /// `task_struct.tgid`
    pub(super) task_tgid: u32,
    /// `task_struct.signal`
    pub(super) task_signal: u32,
    /// `signal_struct.live`
    pub(super) signal_live: u32,
}

/// Reads them from the running kernel.
pub(super) fn read() -> Result<Offsets, String> {
    let bytes = std::fs::read(KERNEL_BTF).map_err(|error| format!("cannot read {KERNEL_BTF}: {error}"))?;
    let wanted = [("task_struct", "tgid"), ("task_struct", "signal"), ("signal_struct", "live")];
    let [task_tgid, task_signal, signal_live] = wanted.map(|(structure, member)| {
        let found = Btf::open(&bytes).and_then(|btf| btf.member_offset(structure, member));
        found.ok_or_else(|| format!("{KERNEL_BTF} has no {structure}.{member}"))
    });
    Ok(Offsets { task_tgid: task_tgid?, task_signal: task_signal?, signal_live: signal_live? })
}

/// Type information as it lies in memory: kernel Documentation/bpf/btf.rst, sections 2.1 and 2.2. Byte order is the host's.
#[derive(Clone, Copy)]
struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

const MAGIC: u32 = 0xeb9f;
const STRUCT: u32 = 4;
/// Size of a type's fixed part, of a struct member, and of most other parts that repeat.
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;

impl<'a> Btf<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let header_bytes = word(bytes, 4)? as usize;
        let section = |at: usize| {
            let start = header_bytes.checked_add(word(bytes, at)? as usize)?;
            bytes.get(start..start.checked_add(word(bytes, at + 4)? as usize)?)
        };
        (word(bytes, 0)? & 0xffff == MAGIC).then_some(())?;
        Some(Self { types: section(8)?, strings: section(16)? })
    }

    /// Offset in bytes of a direct member of a named struct.
    fn member_offset(self, structure: &str, member: &str) -> Option<u32> {
        let mut rest = self.types;
        while let (Some(name), Some(info)) = (word(rest, 0), word(rest, 4)) {
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let parts = rest.get(TYPE_BYTES..)?;
            if kind == STRUCT && self.is(name, structure) {
                let members = parts.chunks_exact(MEMBER_BYTES).take(count);
                let mut found = members.filter(|part| word(part, 0).is_some_and(|name| self.is(name, member)));
                if let Some(offset) = found.find_map(|part| word(part, 8)) {
                    // With the kind flag the upper byte is the size of a bit field.
                    let bits = if info >> 31 == 1 { offset & 0x00ff_ffff } else { offset };
                    return Some(bits / 8);
                }
            }
            rest = parts.get(repeated_bytes(kind, count)?..)?;
        }
        None
    }

    fn is(self, offset: u32, name: &str) -> bool {
        let here = self.strings.get(offset as usize..).unwrap_or_default();
        here.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// Bytes that follow a type's fixed part; `None` for a kind that this does not know, behind which nothing can be found.
fn repeated_bytes(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        2 | 7..=12 | 16 | 18 => 0, // pointer, forward, typedef, qualifiers, function, float, type tag
        1 | 14 | 17 => 4,          // integer, variable, declaration tag
        3 => 12,                   // array
        4 | 5 | 15 | 19 => count * 12, // struct, union, section, 64-bit enumeration
        6 | 13 => count * 8,       // enumeration, function prototype
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An integer, then `struct s { int a; int b; }` whose kind flag is set when `flagged`.
    fn made(flagged: bool) -> Vec<u8> {
        let strings = b"\0int\0s\0a\0b\0";
        let info = 4 << 24 | 2 | u32::from(flagged) << 31;
        let b_at = if flagged { 3 << 24 | 32 } else { 32 };
        let types = [1, 1 << 24, 4, 32, 5, info, 8, 7, 1, 0, 9, 1, b_at];
        let mut header =
            vec![MAGIC | 1 << 16, 24, 0, 4 * types.len() as u32, 4 * types.len() as u32, strings.len() as u32];
        header.extend(types);
        header.iter().flat_map(|word: &u32| word.to_ne_bytes()).chain(*strings).collect()
    }

    #[test]
    fn members_are_found_behind_other_types() {
        for flagged in [false, true] {
            let bytes = made(flagged);
            let btf = Btf::open(&bytes).unwrap();
            assert_eq!(btf.member_offset("s", "a"), Some(0));
            assert_eq!(btf.member_offset("s", "b"), Some(4));
            assert_eq!(btf.member_offset("s", "c"), None);
            assert_eq!(btf.member_offset("int", "a"), None);
            for cut in 0..bytes.len() {
                let _ = Btf::open(&bytes[..cut]).and_then(|btf| btf.member_offset("s", "b"));
            }
        }
        assert!(Btf::open(b"no type information").is_none());
    }

    #[test]
    fn the_running_kernel_has_them() {
        if !std::path::Path::new(KERNEL_BTF).exists() {
            println!("skipped: no {KERNEL_BTF} here");
            return;
        }
        let offsets = read().unwrap();
        assert!(offsets.task_tgid > 0 && offsets.task_signal > 0 && offsets.signal_live > 0, "{offsets:?}");
    }
}
