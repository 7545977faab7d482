//! The version of Go that made a file. Enters: the file's bytes, or those of its section for this. Leaves: the version's text. Never follows a pointer.
//!
//! The linker writes a block that starts with a magic text (`cmd/link/internal/ld/data.go`, `buildinfo`; read by `debug/buildinfo`).
//! Since Go 1.18 the version lies in it; before, the block held pointers to it.

use memchr::memmem;

/// Start of the block.
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where the flags are, and the one that says that the strings follow.
const FLAGS_AT: usize = 15;
const INLINE_STRINGS: u8 = 2;
/// Where the version's length stands.
const VERSION_AT: usize = 32;
/// `go1.27.3 X:nodwarf5` and the like are far below it; a longer one would take a length of two bytes.
const VERSION_MAX_BYTES: usize = 127;
/// Blocks that are looked at: a Go program may hold others' magic text, as we do.
const BLOCKS_MAX: usize = 16;

/// What a file says about its making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BuildInfo {
    /// Made by this version, without what may follow it.
    Version(String),
    /// Made by a Go before 1.18.
    Old,
}

impl BuildInfo {
    /// `None` for a file that no Go linker made.
    pub(super) fn find(file: &[u8]) -> Option<Self> {
        let blocks = || memmem::find_iter(file, MAGIC).take(BLOCKS_MAX).filter_map(|at| file.get(at..));
        if let Some(version) = blocks().find_map(version) {
            return Some(Self::Version(version));
        }
        // The pointers' size, and the byte order: little, as all that is read here.
        blocks().any(|block| block.get(FLAGS_AT - 1..=FLAGS_AT) == Some(&[8, 0])).then_some(Self::Old)
    }
}

fn version(block: &[u8]) -> Option<String> {
    if block.get(FLAGS_AT)? & INLINE_STRINGS == 0 {
        return None;
    }
    let length = usize::from(*block.get(VERSION_AT)?);
    let text = block.get(VERSION_AT + 1..)?.get(..length.min(VERSION_MAX_BYTES))?;
    let text = std::str::from_utf8(text).ok()?;
    let word = if text.starts_with("devel") { text } else { text.split_whitespace().next()? };
    let plain = word.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    (plain && (word.starts_with("go1.") || word.starts_with("devel"))).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(flags: u8, version: &str) -> Vec<u8> {
        let mut block = b"some code before\xff Go buildinf:\x08".to_vec();
        block.push(flags);
        block.extend([0; 16]);
        block.push(version.len() as u8);
        block.extend(version.as_bytes());
        block.extend(b"\x05path\tx");
        block
    }

    #[test]
    fn the_version_is_read_where_it_lies_in_the_block() {
        let check = |flags, version: &str, wanted: Option<BuildInfo>| {
            assert_eq!(BuildInfo::find(&block(flags, version)), wanted, "{flags} {version}");
        };
        let version = |text: &str| Some(BuildInfo::Version(text.to_owned()));
        check(2, "go1.19.8", version("go1.19.8"));
        check(2, "go1.27.3 X:nodwarf5", version("go1.27.3"));
        check(2, "devel go1.28-0123abc", version("devel go1.28-0123abc"));
        check(0, "", Some(BuildInfo::Old));
        check(2, "go1.\u{1b}[2J", None);
        check(2, "no version", None);
        check(1, "", None);
        assert_eq!(BuildInfo::find(b"\xff Go buildinf:"), None);
        assert_eq!(BuildInfo::find(b""), None);
        for cut in 0..block(2, "go1.27.3").len() - 7 {
            assert_eq!(BuildInfo::find(&block(2, "go1.27.3")[..cut]), None, "{cut}");
        }
    }
}
