//! What the tail remembers of a file. Enters: bytes that were handed on. Leaves: [`Record`], the checkpoint of a file, and the
//! question whether a file still is the one that a record is about. It keeps hashes on disk, never text.
//!
//! Device and inode say where a file is, not which file it is: on ext4 the new active log got the old inode in 50 of 50
//! rotations. So a file is known by what was consumed of it: a hash of the first [`HEAD_BYTES`] and one of the last
//! [`ANCHOR_BYTES`] before the position. Both grow with what was consumed, so a small file is known from its first line on.

use std::{collections::BTreeMap, ffi::OsStr, fmt::Write as _, fs::File, io, os::unix::fs::FileExt as _, path::Path};

use memchr::{memchr_iter, memrchr};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    sources::{Checkpoint, log::Position},
    units::Timestamp,
};

/// Bytes at the start of a file by which it is known.
pub(super) const HEAD_BYTES: usize = 1024;
/// Bytes before the position by which it is known.
pub(super) const ANCHOR_BYTES: usize = 256;

/// Version of the record in a checkpoint.
const VERSION: u32 = 1;
/// Prefix of checkpoints of files that are there.
pub(super) const LIVE: &str = "tail/file/";
/// Prefix of checkpoints of files that are gone or were truncated, until it is clear what became of their bytes.
pub(super) const DEPARTED: &str = "tail/departed/";

/// Prefix of checkpoints of files that are gone for good.
pub(super) const FINISHED: &str = "tail/done/";

/// The first of these keys that is not taken: two files may leave at one time.
pub(super) fn free_key<V>(taken: &BTreeMap<String, V>, key: impl Fn(u32) -> String) -> String {
    // So many are never taken.
    (1..=u32::MAX).map(key).find(|key| !taken.contains_key(key)).unwrap_or_default()
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId {
    pub dev: u64,
    pub ino: u64,
}

impl FileId {
    /// With what the keys of its checkpoints begin.
    pub(super) fn place(self) -> String {
        format!("{LIVE}{:x}:{}:", self.dev, self.ino)
    }

    /// Key of the checkpoint of a file that is found there at `now`. The next file with the same inode has another one, so that
    /// neither's can undo the other's, in whatever order they are stored.
    pub(super) fn key(self, now: Timestamp) -> String {
        format!("{}{:x}", self.place(), now.0)
    }
}

/// How far a file was consumed, and how it is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Version of this shape.
    v: u32,
    /// Path under which it was first seen: findings name it.
    pub path: String,
    /// Service the file belongs to.
    pub service: String,
    /// Where to go on.
    pub position: Position,
    /// Hash of the first bytes, at most [`HEAD_BYTES`] and never past the position.
    head: String,
    /// Hash of the last bytes before the position, at most [`ANCHOR_BYTES`].
    anchor: String,
    /// Size when it was last looked at, bytes.
    pub size: u64,
    /// When it was last looked at, nanoseconds since the epoch.
    pub seen_ns: u64,
    /// Rotated away and read to its end: nothing is missed when it disappears.
    #[serde(default)]
    pub ended: bool,
    /// It is an archive: position and hashes are those of what it holds, and by this the file is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<Packing>,
    /// Of a file that was seen and of which nothing was consumed: how it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Box<Seen>>,
}

/// First bytes of a file that were not consumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// How many.
    bytes: usize,
    hash: String,
}

impl Seen {
    pub(super) fn of(first: &[u8]) -> Self {
        Self { bytes: first.len(), hash: hashed(first) }
    }

    /// Does a file with this beginning begin with them?
    pub(super) fn begins(&self, beginning: &[u8]) -> bool {
        beginning.get(..self.bytes).is_some_and(|bytes| hashed(bytes) == self.hash)
    }
}

/// A compressed file, as it stands on disk: by this it is known again without unpacking it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Packing {
    /// Its size when it was last read, bytes.
    pub bytes: u64,
    /// Hash of its first bytes, at most [`HEAD_BYTES`].
    head: String,
}

impl Packing {
    /// Of the first `bytes` of a file.
    pub(super) fn of(file: &File, bytes: u64) -> io::Result<Self> {
        let mut head = [0; HEAD_BYTES];
        let head = head.get_mut(..bytes.min(HEAD_BYTES as u64) as usize).unwrap_or_default();
        file.read_exact_at(head, 0)?;
        Ok(Self { bytes, head: hashed(head) })
    }

    /// Is this the file? True also when it has grown since.
    pub(super) fn is_of(&self, file: &File, bytes: u64) -> io::Result<bool> {
        Ok(bytes >= self.bytes && Self::of(file, self.bytes)? == *self)
    }
}

/// How a file begins, to find the records that may be about it.
#[derive(Clone, Debug, Default)]
pub(super) struct Beginning {
    bytes: Vec<u8>,
    /// Hash of all of them.
    whole: String,
}

impl Beginning {
    /// Of its first bytes, at most [`HEAD_BYTES`].
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { whole: hashed(&bytes), bytes }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Does the file of a record begin like this, as far as it was consumed? Every file begins with nothing: that says nothing.
    pub(super) fn fits(&self, record: &Record) -> bool {
        let length = record.position.offset.min(HEAD_BYTES as u64) as usize;
        match self.bytes.get(..length) {
            None | Some([]) => false,
            Some(bytes) if bytes.len() == self.bytes.len() => self.whole == record.head,
            Some(bytes) => hashed(bytes) == record.head,
        }
    }
}

impl Record {
    /// The checkpoint that holds it.
    pub(super) fn checkpoint(&self, key: String) -> Checkpoint {
        // A struct of strings and numbers always becomes JSON.
        Checkpoint { key, value: serde_json::to_string(self).unwrap_or_default() }
    }

    /// Reads a checkpoint; `None` when it is not ours, or of a version that we do not know.
    pub(super) fn read(checkpoint: &Checkpoint) -> Option<Self> {
        serde_json::from_str(&checkpoint.value).ok().filter(|record: &Self| record.v == VERSION)
    }

    /// As one of what an archive holds.
    pub(super) fn in_archive(self, packing: Packing) -> Self {
        Self { packed: Some(packing), ..self }
    }

    /// Was the same consumed of both?
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.position.offset, &self.head, &self.anchor) == (other.position.offset, &other.head, &other.anchor)
    }

    /// Bytes that were there and had not been consumed when it was last looked at.
    pub(super) fn unread(&self) -> u64 {
        self.size.saturating_sub(self.position.offset)
    }

    /// Has a path the folder and the name of this file, and what rotation adds to it?
    pub(super) fn may_be_rotated_to(&self, path: &Path) -> bool {
        let own = Path::new(&self.path);
        let name = |path: &Path| path.file_name().and_then(OsStr::to_str).map(str::to_owned);
        // It may have been found when it was rotated already: `app.log.2`.
        let base = |name: String| {
            name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_')).to_owned()
        };
        own.parent() == path.parent()
            && name(path).zip(name(own).map(base)).is_some_and(|(its, own)| its.starts_with(&own))
    }

    /// Is this the file that was consumed so far? True also for a longer one that starts with the same bytes, such as a copy.
    pub(super) fn is_of(&self, file: &File) -> io::Result<bool> {
        let offset = self.position.offset;
        let head_bytes = offset.min(HEAD_BYTES as u64) as usize;
        let anchor_bytes = offset.min(ANCHOR_BYTES as u64) as usize;
        let mut buffer = [0; HEAD_BYTES];
        let mut same = |length: usize, at: u64, hash: &str| -> io::Result<bool> {
            let Some(bytes) = buffer.get_mut(..length) else { return Ok(false) };
            match file.read_exact_at(bytes, at) {
                Ok(()) => Ok(hashed(bytes) == hash),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
                Err(error) => Err(error),
            }
        };
        Ok(same(head_bytes, 0, &self.head)? && same(anchor_bytes, offset - anchor_bytes as u64, &self.anchor)?)
    }
}

/// What was consumed of a file that is followed: enough of it to make a [`Record`], and to see that the file was replaced.
#[derive(Clone, Debug)]
pub(super) struct Consumed {
    /// Where the file goes on.
    pub position: Position,
    /// First bytes, until there are [`HEAD_BYTES`] of them; then their hash alone.
    head: Head,
    /// Last bytes before the position, at most [`ANCHOR_BYTES`].
    anchor: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Head {
    Growing(Vec<u8>),
    Whole(String),
}

impl Consumed {
    /// Nothing yet.
    pub(super) fn nothing() -> Self {
        Self { position: Position::default(), head: Head::Growing(Vec::new()), anchor: Vec::new() }
    }

    /// Goes on where a record ends; the file must be the record's.
    pub(super) fn up_to(record: &Record, file: &File) -> io::Result<Self> {
        let offset = record.position.offset;
        let anchor_bytes = offset.min(ANCHOR_BYTES as u64);
        let mut anchor = vec![0; anchor_bytes as usize];
        file.read_exact_at(&mut anchor, offset - anchor_bytes)?;
        let head = if offset >= HEAD_BYTES as u64 {
            Head::Whole(record.head.clone())
        } else {
            let mut head = vec![0; offset as usize];
            file.read_exact_at(&mut head, 0)?;
            Head::Growing(head)
        };
        Ok(Self { position: record.position, head, anchor })
    }

    /// Goes on where a record ends, with what was consumed until there.
    pub(super) fn at(&self, record: &Record) -> Self {
        Self { position: record.position, ..self.clone() }
    }

    /// Was as much, and the same, consumed of the file of a record?
    pub(super) fn is_at(&self, record: &Record) -> bool {
        let Record { position, head, anchor, .. } = record;
        self.position.offset == position.offset && self.head.hash() == *head && hashed(&self.anchor) == *anchor
    }

    /// The last bytes before the position.
    pub(super) fn anchor(&self) -> &[u8] {
        &self.anchor
    }

    /// Takes in the bytes behind the position, of which the last cut has `overlap` more.
    pub(super) fn pass(&mut self, bytes: &[u8], overlap: usize) {
        let Position { offset, line, column, .. } = self.position;
        let position = Position {
            offset: offset + bytes.len() as u64,
            line: line + memchr_iter(b'\n', bytes).count() as u64,
            column: memrchr(b'\n', bytes).map_or(column + bytes.len() as u64, |at| (bytes.len() - at - 1) as u64),
            overlap,
        };
        self.advance(bytes, position);
    }

    /// Takes in a run of at least [`HEAD_BYTES`] NUL bytes.
    pub(super) fn pass_nuls(&mut self, count: u64) {
        let Position { offset, line, column, .. } = self.position;
        let position = Position { offset: offset + count, line, column: column + count, overlap: 0 };
        self.advance(&[0; HEAD_BYTES], position);
    }

    /// Takes in the bytes up to `position`; they follow what was consumed before.
    pub(super) fn advance(&mut self, bytes: &[u8], position: Position) {
        if let Head::Growing(head) = &mut self.head {
            head.extend_from_slice(bytes.get(..(HEAD_BYTES - head.len()).min(bytes.len())).unwrap_or_default());
            if head.len() == HEAD_BYTES {
                self.head = Head::Whole(hashed(head));
            }
        }
        let keep = ANCHOR_BYTES.saturating_sub(bytes.len()).min(self.anchor.len());
        self.anchor.drain(..self.anchor.len() - keep);
        self.anchor.extend_from_slice(bytes.get(bytes.len().saturating_sub(ANCHOR_BYTES)..).unwrap_or_default());
        self.position = position;
    }

    /// Are the bytes before the position still what they were? False when the file was truncated and has grown past it again.
    pub(super) fn still_there(&self, file: &File) -> io::Result<bool> {
        let mut buffer = [0; ANCHOR_BYTES];
        let Some(bytes) = buffer.get_mut(..self.anchor.len()) else { return Ok(false) };
        match file.read_exact_at(bytes, self.position.offset - self.anchor.len() as u64) {
            Ok(()) => Ok(*bytes == *self.anchor),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The record of it.
    pub(super) fn record(&self, path: &str, service: &str, size: u64, seen: Timestamp, ended: bool) -> Record {
        Record {
            v: VERSION,
            path: path.to_owned(),
            service: service.to_owned(),
            position: self.position,
            head: self.head.hash(),
            anchor: hashed(&self.anchor),
            size,
            seen_ns: seen.0,
            ended,
            packed: None,
            seen: None,
        }
    }
}

impl Head {
    fn hash(&self) -> String {
        match self {
            Self::Growing(bytes) => hashed(bytes),
            Self::Whole(hash) => hash.clone(),
        }
    }
}

/// 64 bits are plenty to tell the files of one host apart, and too few to guess a text by.
fn hashed(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn consumed(content: &[u8]) -> Consumed {
        let mut consumed = Consumed::nothing();
        for (number, piece) in content.chunks(97).enumerate() {
            let offset = (number * 97 + piece.len()) as u64;
            consumed.advance(piece, Position { offset, ..Position::default() });
        }
        consumed
    }

    #[test]
    fn a_file_is_known_by_what_was_consumed_of_it() {
        for length in [0, 1, 96, 97, 255, 256, 257, 1023, 1024, 1025, 5000] {
            let content: Vec<u8> = (0..length).map(|n: u32| (n * 7 % 251) as u8).collect();
            let consumed = consumed(&content);
            let record = consumed.record("a.log", "a", u64::from(length), Timestamp(1), false);
            assert_eq!(Record::read(&record.checkpoint("k".to_owned())), Some(record.clone()));
            let longer = file(&[content.as_slice(), b"and more"].concat());
            assert!(record.is_of(&longer).unwrap() && consumed.still_there(&longer).unwrap(), "{length}");
            let resumed = Consumed::up_to(&record, &longer).unwrap();
            assert_eq!(resumed.record("a.log", "a", u64::from(length), Timestamp(1), false), record);
            if length > 0 {
                let shorter = file(&content[1..]);
                assert!(!record.is_of(&shorter).unwrap() && !consumed.still_there(&shorter).unwrap(), "{length}");
                let mut other = content.clone();
                *other.last_mut().unwrap() ^= 1;
                assert!(!record.is_of(&file(&other)).unwrap(), "{length}");
                assert!(!consumed.still_there(&file(&other)).unwrap(), "{length}");
            }
        }
    }

    #[test]
    fn an_equal_head_alone_is_not_enough() {
        let banner = vec![b'='; 2000];
        let first = [banner.as_slice(), b"first"].concat();
        let record = consumed(&first).record("a", "a", 2005, Timestamp(0), false);
        assert!(!record.is_of(&file(&[banner.as_slice(), b"other and longer"].concat())).unwrap());
    }

    #[test]
    fn records_of_another_version_are_not_ours() {
        let record = Consumed::nothing().record("a", "a", 0, Timestamp(0), false);
        let mut checkpoint = record.checkpoint("k".to_owned());
        checkpoint.value = checkpoint.value.replace("\"v\":1", "\"v\":2");
        assert_eq!(Record::read(&checkpoint), None);
    }
}
