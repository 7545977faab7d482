//! The file of a store, before SQLite sees it. Enters: a path. Leaves: a file that only its owner can write, and the lock that makes
//! this process its one writer. It never changes the mode of a file that was there: somebody may have meant it.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{StoreError, schema};
use crate::units::Timestamp;

/// Permission bits that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// As much of a lock file as can be a process id.
const MAX_OWNER_BYTES: u64 = 32;

/// The head of a database file that is looked at.
const HEAD_BYTES: u64 = 100;

/// What stands between the name of a store and the time at which it was set aside.
const ASIDE: &str = ".damaged-";

/// Damaged files that may lie beside a store: each is as large as it was.
const MAX_ASIDE: usize = 3;

/// Held as long as the store is open for writing.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "closing the file is what gives the lock back")] File);

/// `outflow.db` and `-wal` make `outflow.db-wal`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the folder (0700) and the file (0600) when they are missing, and takes the lock.
pub(super) fn prepare(path: &Path) -> Result<Lock, StoreError> {
    let failed = |error| StoreError::file(path, &error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let lock = lock(path)?;
    // SQLite gives the files beside it the same mode.
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mode = file.and_then(|file| file.metadata()).map_err(failed)?.permissions().mode() & 0o777;
    if mode & OTHERS_WRITE != 0 {
        return Err(StoreError::Exposed { path: path.to_owned(), mode });
    }
    Ok(lock)
}

/// A lock file of its own: closing any descriptor of the database itself would drop the locks that SQLite holds on it
/// (sqlite.org/howtocorrupt.html, section 2.2).
fn lock(path: &Path) -> Result<Lock, StoreError> {
    let failed = |error| StoreError::file(path, &error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(path, ".lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::Locked { path: path.to_owned(), owner: owner(&file) });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // For the message of the next one who comes; the lock itself is not in the text, so a full disk is no reason to stop.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Lock(file))
}

fn owner(file: &File) -> String {
    let mut text = String::new();
    let read = file.take(MAX_OWNER_BYTES).read_to_string(&mut text);
    let Some(pid) = read.ok().and_then(|_| text.trim().parse::<u32>().ok()) else {
        return "another process".to_owned();
    };
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim()),
        Err(_) => format!("process {pid}"),
    }
}

/// As [`prepare`] makes it, while the lock is held.
pub(super) fn make(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map(drop).map_err(|error| StoreError::file(path, &error))
}

/// The head of a file (sqlite.org/fileformat.html, section 1.3), as far as there is one.
fn head(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|file| file.is_file()))?;
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    Some(head)
}

/// Whatever SQLite says of it: does the head of this file bear our mark, and a version that we know? One of nothing but zeros, as a power cut can
/// leave it, is nobody's.
pub(super) fn is_ours(path: &Path) -> bool {
    let Some(head) = head(path) else { return false };
    let number = |at: usize| head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let is_marked = number(68).map(i64::from) == Some(schema::APPLICATION_ID);
    let is_known = number(60).is_some_and(|version| i64::from(version) <= schema::current());
    (is_marked && is_known) || (!head.is_empty() && head.iter().all(|byte| *byte == 0))
}

/// The same for a file that we have open: where its head was written over, it bears no mark at all. It costs the locks on it, so it is only asked of
/// one that SQLite calls damaged.
pub(super) fn is_ours_or_wrecked(path: &Path) -> bool {
    is_ours(path) || head(path).is_some_and(|head| !head.starts_with(b"SQLite format 3\0"))
}

/// Moves a damaged store out of the way, with its log, readable by its owner alone. Gives its new name.
pub(super) fn set_aside(path: &Path, now: Timestamp, why: &StoreError) -> Result<PathBuf, StoreError> {
    let failed = |error: io::Error| StoreError::file(path, &error);
    // A link goes on to point to where the new one will be.
    let path = &fs::canonicalize(path).map_err(failed)?;
    let folder = path.parent().unwrap_or(path);
    let mut start = path.file_name().unwrap_or_default().to_owned();
    start.push(ASIDE);
    let is_aside = |name: &OsStr| {
        name.as_bytes()
            .strip_prefix(start.as_bytes())
            .is_some_and(|rest| !rest.ends_with(b"-wal") && !rest.ends_with(b"-shm"))
    };
    let names = fs::read_dir(folder).map_err(failed)?.filter_map(Result::ok);
    let kept = names.filter(|entry| is_aside(&entry.file_name())).count();
    if kept >= MAX_ASIDE {
        return Err(StoreError::DamagedAgain { path: path.clone(), reason: why.reason(), kept });
    }
    // `2026-11-24T10:00:00.000Z` without its colons and fraction.
    let time: String = now.rfc3339().chars().filter(|char| !matches!(char, ':' | '-')).collect();
    let time = time.split('.').next().unwrap_or_default();
    // Several in one second: there are no more than this, so one is free.
    let mut names = ["", "-2", "-3", "-4"].iter().map(|more| beside(path, &format!("{ASIDE}{time}Z{more}")));
    let aside = names.find(|name| !name.exists()).unwrap_or_else(|| beside(path, ASIDE));
    // The log first: it must never be taken for that of the new file.
    for suffix in ["-wal", "-shm", ""] {
        let (from, to) = (beside(path, suffix), beside(&aside, suffix));
        match fs::rename(&from, &to).and_then(|()| fs::set_permissions(&to, Permissions::from_mode(0o600))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !suffix.is_empty() => {}
            moved => moved.map_err(failed)?,
        }
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(aside)
}

/// Bytes of the database and of the log beside it.
pub(super) fn bytes(path: &Path) -> (u64, u64) {
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    (size(path), size(&beside(path, "-wal")))
}

/// Can this file be read? Says why not in the words of the store. It is not opened: its writer may be in this process, and to close it would
/// drop the writer's locks.
pub(super) fn readable(path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::file(path, &error);
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(StoreError::File { path: path.to_owned(), reason: "it is no file".to_owned() });
    }
    accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS).map_err(|error| failed(error.into()))
}
