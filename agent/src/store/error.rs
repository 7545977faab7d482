//! What can go wrong with a store, each with what to do about it. Enters: errors of SQLite and of files. Leaves: one sentence.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

/// Why the store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing there to read.
    #[error("there is no store at {}: name another with --store, or let `outflow run`, `tap --store` or `replay --store` make one", .0.display())]
    Missing(PathBuf),
    /// Not ours to open.
    #[error("not permitted to open the store {}: {reason}; run as its owner, or let its owner give you the right to read it", .path.display())]
    Permission {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Somebody else could put findings there.
    #[error("others may write the store {} (mode {mode:03o}): check who did, then `chmod 600` it", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Two writers.
    #[error("the store {} is being written by {owner}: stop that one first, or name another file", .path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// The other process, for people.
        owner: String,
    },
    /// Written by a later release.
    #[error("the store {} has version {found}, this outflow knows up to {known}: use the newer outflow, or another file", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Written by an earlier release, and opened only to read.
    #[error("the store {} has version {found} and must be brought to {known}: `outflow run` does it when it starts", .path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A file of somebody else.
    #[error("{} is no outflow store, or its head is damaged: name another file, or move this one away and outflow starts a new one", .0.display())]
    Foreign(PathBuf),
    /// The file is damaged.
    #[error("the store {} is damaged ({reason}): move it away and outflow starts a new one; `sqlite3 {} .recover` reads what is left of it", .path.display(), .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was seen.
        reason: String,
    },
    /// Damaged again and again.
    #[error("the store {} is damaged again ({reason}), and {kept} earlier ones lie beside it: check the disk, and move the files {}.damaged-* away", .path.display(), .path.display())]
    DamagedAgain {
        /// The file.
        path: PathBuf,
        /// What was seen.
        reason: String,
        /// Files that were set aside before.
        kept: usize,
    },
    /// No room: on the disk, or below the bound of the store.
    #[error("the store {} has no room: {reason}; free space on its disk or raise its bound", .path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// Which room.
        reason: String,
    },
    /// The system does not let us at the moment.
    #[error("the store {} cannot be used for now: {reason}", .path.display())]
    Blocked {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The queue of a live source is full.
    #[error("the store does not keep up: its queue is full")]
    Busy,
    /// The store was closed, or its writer has ended.
    #[error("the store is closed")]
    Closed,
    /// A file operation failed.
    #[error("cannot use the store {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Anything else that SQLite says.
    #[error("the store {} failed: {reason}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// A finding that does not read or write as JSON.
    #[error("the store {} holds or was given a finding that is none ({reason}); this is a bug in outflow, or somebody edited the file", .path.display())]
    Finding {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// What an error of SQLite on this file means.
    pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path, reason },
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, reason },
            Some(ErrorCode::NotADatabase) => Self::Foreign(path),
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => Self::Permission { path, reason },
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Blocked { path, reason },
            _ => Self::Sqlite { path, reason },
        }
    }

    /// What an error of the file system means.
    pub(super) fn file(path: &Path, reason: &io::Error) -> Self {
        let path = path.to_owned();
        match reason.kind() {
            io::ErrorKind::NotFound => Self::Missing(path),
            io::ErrorKind::PermissionDenied => Self::Permission { path, reason: reason.to_string() },
            _ => Self::File { path, reason: reason.to_string() },
        }
    }

    /// It may work later: nothing is lost by waiting.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Blocked { .. })
    }

    /// The file is not what was written: damaged, or its head no longer says whose it is.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Foreign(_))
    }

    /// What was seen, without what to do about it.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Corrupt { reason, .. } => reason.clone(),
            _ => "its head is damaged".to_owned(),
        }
    }

    /// Another user, or another mode of the file, could do it.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Permission { .. })
    }
}
