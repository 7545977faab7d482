//! Files of every kind, from their bytes to blocks, and walks over folders.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::symlink,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::{read::Blocks, unpack::Unpacked, *};
use crate::sources::log::CutLimits;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

/// Some hundred KB of lines that do not repeat, so that they take many compressed blocks.
fn lines() -> Vec<u8> {
    (0_u64..20_000).flat_map(|n| format!("{n} {:016x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes()).collect()
}

fn unpack(bytes: Vec<u8>, caps: Caps) -> (Vec<u8>, Option<String>) {
    let mut reader = Unpacked::new(std::io::Cursor::new(bytes), caps).unwrap();
    let (mut out, mut buffer) = (Vec::new(), vec![0; 10_000]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return (out, None),
            Ok(read) => out.extend_from_slice(&buffer[..read]),
            Err(error) => return (out, Some(error.to_string())),
        }
    }
}

#[test]
fn formats_are_told_by_their_first_bytes() {
    let plain = lines();
    let skippable = [b"\x52\x2a\x4d\x18\x03\0\0\0abc".as_slice(), &zstd(&plain)].concat();
    for packed in [plain.clone(), gzip(&plain), zstd(&plain), skippable] {
        assert!(unpack(packed, Caps::default()) == (plain.clone(), None));
    }
    for one in [gzip, zstd] {
        let twice = [one(b"a\n"), one(b"b\n")].concat();
        assert_eq!(unpack(twice, Caps::default()), (b"a\nb\n".to_vec(), None), "members one after the other");
    }
    for short in [&b""[..], b"x", b"\x1f\x8b"] {
        assert_eq!(unpack(short.to_vec(), Caps::default()), (short.to_vec(), None));
    }
}

#[test]
fn what_came_before_the_damage_is_read() {
    let plain = lines();
    for packed in [gzip(&plain), zstd(&plain)] {
        // The last cut takes the trailer alone: all data is there and nothing says that it is right.
        for kept in [packed.len() / 2, packed.len() * 9 / 10, packed.len() - 3] {
            let (out, error) = unpack(packed[..kept].to_vec(), Caps::default());
            assert_eq!(error.as_deref(), Some("its compressed data ends too early"), "{kept} of {}", packed.len());
            assert!(plain.starts_with(&out), "{kept}");
            assert!(out.len() + 200_000 > plain.len() * kept / packed.len(), "{} of {}", out.len(), plain.len());
        }
        let mut damaged = packed.clone();
        let middle = damaged.len() * 3 / 4;
        damaged[middle..middle + 64].fill(0xff);
        let (out, error) = unpack(damaged, Caps::default());
        assert!(error.is_some_and(|error| error.starts_with("its compressed data is damaged: ")));
        assert!(out.len() > plain.len() / 4, "{} of {}", out.len(), plain.len());
    }
}

#[test]
fn bombs_end_at_a_cap() {
    let zeros = vec![b'0'; 4_000_000];
    for packed in [gzip(&zeros), zstd(&zeros)] {
        let ratio = Caps { ratio: 100, free_bytes: 100_000, ..Caps::default() };
        let (out, error) = unpack(packed.clone(), ratio);
        assert_eq!(error.as_deref(), Some("it unpacks to more than 100 times its size"));
        assert!(out.len() < 3_000_000, "{}", out.len());
        let (out, error) = unpack(packed.clone(), Caps { bytes: 200_000, ..Caps::default() });
        assert_eq!(error.as_deref(), Some("it unpacks to more than 200000 bytes"));
        assert!((200_000..220_000).contains(&out.len()), "{}", out.len());
        assert_eq!(unpack(packed, Caps::default()).0.len(), zeros.len(), "small ones are free");
    }
}

fn open(path: &Path, binary: bool) -> Result<Result<Blocks, Skip>, ReadError> {
    Blocks::open(&Target::Path(path.to_owned()), CutLimits::default(), Caps::default(), binary)
}

#[test]
fn blocks_come_in_order_then_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.log.gz");
    let plain = lines().repeat(4);
    let packed = gzip(&plain);
    fs::write(&path, &packed[..packed.len() - 4]).unwrap();
    let mut blocks = open(&path, false).unwrap().ok().unwrap();
    let mut all = Vec::new();
    let error = loop {
        match blocks.next_block() {
            Ok(Some(block)) => {
                assert_eq!(block.offset, all.len() as u64);
                all.extend_from_slice(&block.bytes);
            }
            Ok(None) => panic!("the file is damaged"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(all == plain);
    assert_eq!(error, format!("cannot read {}: its compressed data ends too early", path.display()));
    assert!(blocks.next_block().unwrap().is_none(), "an error is told once");
    assert_eq!(blocks.bytes(), plain.len() as u64);
}

#[test]
fn binary_files_are_left_alone_unless_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (bytes, is_binary) in [
        (b"a\0b".to_vec(), true),
        (gzip(b"a\0b"), true),
        ([vec![b'a'; 8192], vec![0]].concat(), false),
        (Vec::new(), false),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(open(&path, false).unwrap().err(), is_binary.then_some(Skip::Binary));
        assert!(open(&path, true).unwrap().is_ok());
    }
    assert!(open(&folder.path().join("none"), false).is_err());
}

#[test]
fn a_walk_heeds_ignore_files_and_follows_no_link() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("b/deep")).unwrap();
    for (name, text) in [
        (".gitignore", "*.tmp\n"),
        (".env", "x"),
        (".hidden", "x"),
        ("z.log", "x"),
        ("a.tmp", "x"),
        ("b/deep/1.log", "x"),
        ("b/2.log", "x"),
    ] {
        fs::write(at(name), text).unwrap();
    }
    symlink(at("z.log"), at("b/link.log")).unwrap();
    let walked = |paths: &[&str], options: WalkOptions| -> Vec<String> {
        let below = |path: &Path| path.strip_prefix(folder.path()).unwrap().display().to_string();
        let step = |step| match step {
            Walked::Target(Target::Path(path)) => below(&path),
            Walked::Target(Target::Stdin) => "-".to_owned(),
            Walked::Skipped(skip) => format!("({})", skip.as_str()),
            Walked::Failed(error) => format!("({})", below(Path::new(&error.path))),
        };
        let paths = paths.iter().map(|path| if *path == "-" { (*path).into() } else { at(path) }).collect();
        walk(paths, options).map(step).collect()
    };
    let all = WalkOptions { ignored: true, hidden: true };
    assert_eq!(walked(&[""], WalkOptions::default()), [".env", "b/2.log", "b/deep/1.log", "(symbolic link)", "z.log"]);
    assert_eq!(
        walked(&[""], all),
        [".env", ".gitignore", ".hidden", "a.tmp", "b/2.log", "b/deep/1.log", "(symbolic link)", "z.log"]
    );
    let named = walked(&["b/link.log", "a.tmp", "none", "-", ".env"], WalkOptions::default());
    assert_eq!(named, ["b/link.log", "a.tmp", "(none)", "-", ".env"], "what is named is looked at, in the order given");
}
