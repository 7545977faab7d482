//! A small disk of a test's own. Enters: a size. Leaves: a folder that is full when it says so. It is taken down on drop.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A tmpfs.
pub(crate) struct Disk(tempfile::TempDir);

impl Disk {
    /// Of `megabytes`. Needs `CAP_SYS_ADMIN`; see `testbed::missing_for_sandbox`.
    pub(crate) fn new(megabytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mount = ["-t", "tmpfs", "-o", &size, "outflow-test"];
        assert!(Command::new("mount").args(mount).arg(folder.path()).status().unwrap().success());
        Self(folder)
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Somebody else takes all but `left_bytes` of what is free.
    pub(crate) fn fill(&self, left_bytes: u64) {
        let free = rustix::fs::statvfs(self.path()).unwrap();
        let taken = (free.f_bavail * free.f_frsize).saturating_sub(left_bytes);
        let mut file = File::create(self.ballast()).unwrap();
        let block = [0; 4096];
        for _ in 0..taken / block.len() as u64 {
            // Full before we thought: that is what was wanted.
            if file.write_all(&block).is_err() {
                return;
            }
        }
    }

    /// And gives it back.
    pub(crate) fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}
