//! A cgroup of our own. Enters: a name. Leaves: a new folder in the host's cgroup v2 tree, wherever that is mounted. On drop
//! whatever still runs in it is killed and the folder removed.

use std::{
    fs::{self, File},
    io::{Read, Seek},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
};

/// How long killed processes may take to be gone.
const END_TIMEOUT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// A cgroup that lives as long as this value.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes an empty cgroup; its name carries `label`, our process id and a number, so that none is ever taken over.
    pub fn create(label: &str) -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
        let root = unified_mount(&mounts).context("no cgroup v2 tree is mounted here")?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("outflow-{label}-{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a process into it.
    pub fn add(&self, pid: u32) -> Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("cannot move {pid} into {}", self.path.display()))
    }

    /// The processes in it.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let list = fs::read_to_string(self.path.join("cgroup.procs"))?;
        Ok(list.lines().filter_map(|pid| pid.parse().ok()).collect())
    }

    fn remove(&self) -> Result<()> {
        // Linux 5.14 and later; before that one by one.
        if fs::write(self.path.join("cgroup.kill"), "1").is_err() {
            for pid in self.pids()?.into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
        let mut events = File::open(self.path.join("cgroup.events"))?;
        loop {
            let mut text = String::new();
            events.rewind()?;
            events.read_to_string(&mut text)?;
            if text.contains("populated 0") {
                break;
            }
            // The kernel raises POLLPRI when the file changes (cgroup-v2.rst, "Un(populated) notification").
            let changed = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&END_TIMEOUT))?;
            ensure!(changed > 0, "processes do not end");
        }
        Ok(fs::remove_dir(&self.path)?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("testbed: cannot remove the cgroup {}: {error:#}", self.path.display());
        }
    }
}

/// Where the cgroup v2 tree is: proc_pid_mountinfo(5), mount point is field 5, the type follows the lone dash.
fn unified_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        (filesystem.split(' ').next() == Some("cgroup2")).then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_tree_is_found_beside_the_old_ones() {
        let hybrid = "37 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(unified_mount(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(unified_mount("24 30 0:22 / /proc rw - proc proc rw\n"), None);
    }
}
