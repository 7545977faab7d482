//! The file of a store, before SQLite sees it. Enters: a path. Leaves: a file that only its owner can write, and the lock that makes
//! this process its one writer. It never changes the mode of a file that was there: somebody may have meant it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::StoreError;

/// Permission bits that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// As much of a lock file as can be a process id.
const MAX_OWNER_BYTES: u64 = 32;

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

/// Bytes of the database and of the log beside it.
pub(super) fn bytes(path: &Path) -> (u64, u64) {
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    (size(path), size(&beside(path, "-wal")))
}

/// Can this file be read? Says why not in the words of the store.
pub(super) fn readable(path: &Path) -> Result<(), StoreError> {
    let is_file = File::open(path).and_then(|file| file.metadata()).map_err(|error| StoreError::file(path, &error))?;
    if is_file.is_file() {
        return Ok(());
    }
    Err(StoreError::File { path: path.to_owned(), reason: "it is no file".to_owned() })
}
