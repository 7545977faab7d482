//! Offsets of kernel struct members. Enters: the running kernel's type information (BTF). Leaves: byte offsets for the
//! kernel programs. Never guesses: a member that is not found is an error.
//!
//! A few offsets are all that is wanted, so this walks the types and keeps nothing. The parsers there are build a tree
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
    /// Those of a socket; without them nobody hears to whom processes connect, and that is all.
    pub(super) socket: Option<SocketOffsets>,
}

/// Byte offsets in `struct sock`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SocketOffsets {
    /// `skc_family`
    pub(super) family: u32,
    /// `skc_dport`
    pub(super) port: u32,
    /// `skc_daddr`
    pub(super) address: u32,
    /// `skc_v6_daddr`; zero on a kernel without IPv6, which has no socket of that family either.
    pub(super) address6: u32,
}

/// Reads them from the running kernel.
pub(super) fn read() -> Result<Offsets, String> {
    let bytes = std::fs::read(KERNEL_BTF).map_err(|error| format!("cannot read {KERNEL_BTF}: {error}"))?;
    let btf = Btf::open(&bytes).ok_or_else(|| format!("{KERNEL_BTF} is no type information"))?;
    let wanted = [("task_struct", "tgid"), ("task_struct", "signal"), ("signal_struct", "live")];
    let [task_tgid, task_signal, signal_live] = wanted.map(|(structure, member)| {
        btf.member_offset(structure, member).ok_or_else(|| format!("{KERNEL_BTF} has no {structure}.{member}"))
    });
    let socket = socket(btf);
    Ok(Offsets { task_tgid: task_tgid?, task_signal: task_signal?, signal_live: signal_live?, socket })
}

fn socket(btf: Btf<'_>) -> Option<SocketOffsets> {
    let common = btf.member_offset("sock", "__sk_common")?;
    let within = |member| Some(common + btf.member_offset("sock_common", member)?);
    Some(SocketOffsets {
        family: within("skc_family")?,
        port: within("skc_dport")?,
        address: within("skc_daddr")?,
        address6: within("skc_v6_daddr").unwrap_or_default(),
    })
}

/// Type information as it lies in memory: kernel Documentation/bpf/btf.rst, sections 2.1 and 2.2. Byte order is the host's.
#[derive(Clone, Copy)]
struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

const MAGIC: u32 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// How deep structs without a name may lie in one another.
const NESTED_MAX: u32 = 4;
/// Size of a type's fixed part, of a struct member, and of most other parts that repeat.
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;

/// One type. What follows its fixed part begins with its own parts and goes on with other types.
struct Type<'a> {
    name: u32,
    kind: u32,
    count: usize,
    flagged: bool,
    parts: &'a [u8],
}

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

    /// Offset in bytes of a member of a named struct: a direct one, or one of a struct or union in it that has no name.
    fn member_offset(self, structure: &str, member: &str) -> Option<u32> {
        let mut named = self.types().filter(|kind| kind.kind == STRUCT && self.is(kind.name, structure));
        named.find_map(|kind| self.bits_to(&kind, member, 0)).map(|bits| bits / 8)
    }

    fn bits_to(self, within: &Type<'a>, member: &str, depth: u32) -> Option<u32> {
        within.parts.chunks_exact(MEMBER_BYTES).take(within.count).find_map(|part| {
            let (name, id, offset) = (word(part, 0)?, word(part, 4)?, word(part, 8)?);
            // With the kind flag the upper byte is the size of a bit field.
            let bits = if within.flagged { offset & 0x00ff_ffff } else { offset };
            if self.is(name, member) {
                return Some(bits);
            }
            // The first type has the number 1.
            let index = id.checked_sub(1).filter(|_| self.is(name, "") && depth < NESTED_MAX)?;
            let nested = self.types().nth(index as usize).filter(|kind| matches!(kind.kind, STRUCT | UNION))?;
            Some(bits + self.bits_to(&nested, member, depth + 1)?)
        })
    }

    /// All types, up to one that this does not know: behind it nothing can be found.
    fn types(self) -> impl Iterator<Item = Type<'a>> {
        let mut rest = self.types;
        std::iter::from_fn(move || {
            let (name, info) = (word(rest, 0)?, word(rest, 4)?);
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let parts = rest.get(TYPE_BYTES..)?;
            rest = parts.get(repeated_bytes(kind, count)?..)?;
            Some(Type { name, kind, count, flagged: info >> 31 == 1, parts })
        })
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

    /// `struct s { int a; union { struct { int x; int b; }; }; }` with the inner ones first, as compilers may write them.
    #[test]
    fn members_of_nested_structs_without_a_name_are_found() {
        let strings = b"\0s\0a\0b\0x\0";
        let (structure, union) = (|count| STRUCT << 24 | count, UNION << 24 | 1);
        let types = [
            [1, 1 << 24, 4].as_slice(),
            &[32],
            &[0, structure(2), 8, 7, 1, 0, 5, 1, 32],
            &[0, union, 8, 0, 2, 0],
            &[1, structure(2), 12, 3, 1, 0, 0, 3, 32],
        ]
        .concat();
        let bytes = u32::try_from(4 * types.len()).unwrap();
        let mut header = vec![MAGIC | 1 << 16, 24, 0, bytes, bytes, strings.len() as u32];
        header.extend(types);
        let made: Vec<u8> = header.iter().flat_map(|word: &u32| word.to_ne_bytes()).chain(*strings).collect();
        let btf = Btf::open(&made).unwrap();
        for (member, offset) in [("a", Some(0)), ("x", Some(4)), ("b", Some(8)), ("c", None)] {
            assert_eq!(btf.member_offset("s", member), offset, "{member}");
        }
    }

    #[test]
    fn the_running_kernel_has_them() {
        if !std::path::Path::new(KERNEL_BTF).exists() {
            println!("skipped: no {KERNEL_BTF} here");
            return;
        }
        let offsets = read().unwrap();
        assert!(offsets.task_tgid > 0 && offsets.task_signal > 0 && offsets.signal_live > 0, "{offsets:?}");
        let socket = offsets.socket.unwrap();
        // The peer's address is the first thing in a socket, so that look-ups touch one cache line (include/net/sock.h).
        assert!(socket.address < socket.port && socket.port < socket.family && socket.family < socket.address6);
    }
}
