//! The file that lines are appended to. Enters: lines. Leaves: the same on the disk, behind what stood there. It looks before each batch
//! whether its file is still the one with its name, so that whoever renames or removes it gets a new one made.

use std::{
    fs::{File, Metadata, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::rotate;
use crate::{clock, config::FileCompression, units::Timestamp};

/// Read at a time when the end of a file is looked at.
const TAIL_BYTES: u64 = 64 * 1024;

/// An incomplete last line that is looked at; findings are much shorter.
const TORN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What to write to, and when to begin anew.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) path: PathBuf,
    pub(super) max_bytes: u64,
    pub(super) max_age_ns: Option<u64>,
    pub(super) keep: usize,
    pub(super) compression: FileCompression,
}

/// Why lines are not on the disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The system says no.
    #[error("cannot {what} {}: {}", path.display(), words(why))]
    System { what: &'static str, path: PathBuf, why: io::Error },
    /// It is something else.
    #[error("{} is {what}: name a file of its own in `path`", path.display())]
    NoFile { path: PathBuf, what: &'static str },
    /// Two agents, or two sinks.
    #[error("another process writes to {}: give each agent a file of its own", .0.display())]
    Taken(PathBuf),
}

/// What an operator can do about it.
fn words(why: &io::Error) -> String {
    let advice = match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; it goes on when there is room"
        }
        io::ErrorKind::NotFound => "; make its folder, writable for the agent's user",
        io::ErrorKind::PermissionDenied => "; the agent's user must be able to write there",
        _ => "",
    };
    format!("{why}{advice}")
}

impl Trouble {
    pub(super) fn new(what: &'static str, path: &Path, why: io::Error) -> Self {
        Self::System { what, path: path.to_owned(), why }
    }

    /// There is no room; nothing is wrong with the file.
    pub(super) fn is_room(&self) -> bool {
        let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        matches!(self, Self::System { why, .. } if kinds.contains(&why.kind()))
    }
}

/// The file and what is known of it.
#[derive(Debug)]
pub(super) struct Log {
    settings: Settings,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    begun: Timestamp,
}

impl Log {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, open: None }
    }

    /// Opens the file or makes it, mends its end, and finishes what a crash may have left of a rotation.
    pub(super) fn open(&mut self) -> Result<(), Trouble> {
        self.open = None;
        self.open = Some(Open::new(&self.settings.path)?);
        // Without room they stay as they are, and can be read all the same.
        let _ = rotate::compress(&self.settings);
        Ok(())
    }

    /// Appends lines, each with its line feed. `Ok`: they are on the disk. An error: perhaps some of them.
    pub(super) fn append(&mut self, lines: &[String]) -> Result<(), Trouble> {
        let appended = self.write(lines);
        if appended.is_err() {
            // Nothing is known of the file any more; opening it mends it.
            self.open = None;
        }
        appended
    }

    fn write(&mut self, lines: &[String]) -> Result<(), Trouble> {
        let mut rest = lines;
        while let Some(first) = rest.first() {
            let room = self.room_for(first.len() as u64)?;
            let mut bytes = 0;
            let fit = rest.iter().take_while(|line| {
                bytes += line.len() as u64;
                bytes <= room
            });
            // A line that is too long for any file has one of its own.
            let count = fit.count().max(1);
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            self.put(now.concat().as_bytes())?;
            rest = later;
        }
        Ok(())
    }

    /// Bytes that the file has room for. It is rotated first when it is old or has no room for so many, and is not empty.
    fn room_for(&mut self, line_bytes: u64) -> Result<u64, Trouble> {
        let settings = &self.settings;
        let mut open = match self.open.take() {
            Some(open) if open.is_at(&settings.path) => open,
            _ => Open::new(&settings.path)?,
        };
        let bytes = open.metadata(&settings.path)?.len();
        let age_ns = clock::now().since_ns(open.begun);
        let is_old = settings.max_age_ns.is_some_and(|most| age_ns >= most);
        if bytes == 0 {
            open.begun = clock::now();
        } else if is_old || bytes.saturating_add(line_bytes) > settings.max_bytes {
            drop(open);
            rotate::rotate(settings)?;
            open = Open::new(&settings.path)?;
            // Without room it stays as it is, and the next rotation tries again.
            let _ = rotate::compress(settings);
        }
        let room = settings.max_bytes.saturating_sub(open.metadata(&settings.path)?.len());
        self.open = Some(open);
        Ok(room)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let path = &self.settings.path;
        loop {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => Open::new(path)?,
            };
            open.put(bytes, path)?;
            // Who deleted it meanwhile deleted what was not delivered yet: it is written again.
            let is_deleted = open.metadata(path)?.nlink() == 0;
            if !is_deleted {
                self.open = Some(open);
                return Ok(());
            }
        }
    }
}

impl Open {
    fn new(path: &Path) -> Result<Self, Trouble> {
        let failed = |why| Trouble::new("open", path, why);
        // A pipe without a reader must not hold us up, and a link may lead into somebody else's file.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path);
        let is_link = |why: &io::Error| why.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        let file = opened.map_err(|why| match why.kind() {
            _ if is_link(&why) => Trouble::NoFile { path: path.to_owned(), what: "a symbolic link" },
            io::ErrorKind::IsADirectory => Trouble::NoFile { path: path.to_owned(), what: "a folder" },
            _ => failed(why),
        })?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Trouble::NoFile { path: path.to_owned(), what: "no regular file" });
        }
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(Trouble::Taken(path.to_owned())),
            // Some network file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        mend(&file).map_err(|why| Trouble::new("mend the end of", path, why))?;
        // The name of a new file is on the disk with it.
        rotate::sync_folder(path)?;
        // Where nobody knows when a file was made it begins to age now.
        let made = metadata.created().ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        let made = made.and_then(|made| u64::try_from(made.as_nanos()).ok()).map(Timestamp);
        Ok(Self { file, begun: made.unwrap_or_else(clock::now) })
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, Trouble> {
        self.file.metadata().map_err(|why| Trouble::new("look at", path, why))
    }

    /// It has this name still.
    fn is_at(&self, path: &Path) -> bool {
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let (own, named) = (self.file.metadata().map(identity), path.symlink_metadata().map(identity));
        own.ok().zip(named.ok()).is_some_and(|(own, named)| own == named)
    }

    fn put(&mut self, bytes: &[u8], path: &Path) -> Result<(), Trouble> {
        let before = self.metadata(path)?.len();
        if let Err(why) = self.file.write_all(bytes) {
            // No half line for whoever reads it meanwhile. Where that fails too, the next opening mends it.
            let _ = self.file.set_len(before);
            return Err(Trouble::new("write", path, why));
        }
        self.file.sync_data().map_err(|why| Trouble::new("write", path, why))
    }
}

/// Takes away what a crash left of a line. It was not delivered, so it comes again whole. What is no line of ours is ended, not taken away.
fn mend(mut file: &File) -> io::Result<()> {
    let bytes = file.metadata()?.len();
    let mut tail = Vec::new();
    let mut from = bytes;
    while from > 0 && !tail.contains(&b'\n') && (tail.len() as u64) < TORN_BYTES_MAX {
        let start = from.saturating_sub(TAIL_BYTES);
        let mut part = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(from - start).read_to_end(&mut part)?;
        part.append(&mut tail);
        (tail, from) = (part, start);
    }
    let line_at = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |feed| feed + 1);
    let last = tail.get(line_at..).unwrap_or_default();
    if last.is_empty() {
        return Ok(());
    }
    let is_whole = serde_json::from_slice::<serde::de::IgnoredAny>(last).is_ok();
    // Zeros are what some file systems leave of bytes that they did not get to.
    let is_ours = last.starts_with(b"{") || last.iter().all(|byte| *byte == 0);
    let is_all_there = from == 0 || line_at > 0;
    if is_ours && !is_whole && is_all_there { file.set_len(from + line_at as u64) } else { file.write_all(b"\n") }
}
