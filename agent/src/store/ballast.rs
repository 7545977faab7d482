//! Room that is the store's own on a disk that others fill. Enters: the store's path. Leaves: a file of zeros beside it, which is thrown away when
//! the disk is full, so that cursors can move and what every sink has can go. It holds nothing, and without it everything waits as well.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::{LOG_FOLDED_BYTES, file};

/// Folding a whole log into the file makes the file larger by this at most.
const BALLAST_BYTES: u64 = LOG_FOLDED_BYTES + 1024 * 1024;

/// It is laid only where this many times as much is free.
const DISK_SHARE: u64 = 4;

/// The file.
#[derive(Debug)]
pub(super) struct Ballast(PathBuf);

impl Ballast {
    /// Of the store at `path`.
    pub(super) fn of(path: &Path) -> Self {
        Self(file::beside(path, ".ballast"))
    }

    /// Lays it, when it is not there and the disk has room enough. That it could not be laid is no error.
    pub(super) fn lay(&self) {
        if self.0.exists() || free_bytes(&self.0) < DISK_SHARE * BALLAST_BYTES {
            return;
        }
        let laid = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0).and_then(|file| {
            // Not a hole: blocks that nobody else gets.
            fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES).map_err(io::Error::from)
        });
        if laid.is_err() {
            self.throw();
        }
    }

    /// Throws it away. True: it was there.
    pub(super) fn throw(&self) -> bool {
        fs::remove_file(&self.0).is_ok()
    }
}

/// What we may still take of the disk on which this lies.
pub(super) fn free_bytes(path: &Path) -> u64 {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let disk = statvfs(folder.unwrap_or_else(|| ".".as_ref()));
    disk.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}
