//! Control groups of the v2 hierarchy as the tap uses them. Enters: a folder. Leaves: its depth, and a way to start a child
//! in it. Removes only what it made.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, bail};
use procfs::process::Process;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use super::container;

/// A control group to tap.
#[derive(Debug)]
pub(super) struct Group {
    folder: PathBuf,
    mount: PathBuf,
    level: u32,
    made: bool,
}

/// While it lives, this process is in the group, and what it starts starts there.
#[derive(Debug)]
pub(super) struct Inside {
    home: PathBuf,
}

impl Group {
    /// Opens a group; with `create` a missing one is made, and removed again when it is empty at the end.
    pub(super) fn open(folder: &Path, create: bool) -> anyhow::Result<Self> {
        let mount = mount_point()?;
        let made = create && !folder.exists();
        let parent = folder.parent().filter(|_| made);
        if let Some(parent) = parent
            && !fs::canonicalize(parent).is_ok_and(|parent| parent.starts_with(&mount))
        {
            bail!("{} is not below {}, where the v2 hierarchy is mounted", folder.display(), mount.display());
        }
        if made {
            fs::create_dir(folder).with_context(|| format!("cannot make the control group {}", folder.display()))?;
        }
        let folder = fs::canonicalize(folder).with_context(|| format!("no control group {}", folder.display()))?;
        let Ok(below) = folder.strip_prefix(&mount) else {
            bail!("{} is not below {}, where the v2 hierarchy is mounted", folder.display(), mount.display());
        };
        let level = u32::try_from(below.components().filter(|part| matches!(part, Component::Normal(_))).count())?;
        Ok(Self { folder, mount, level, made })
    }

    /// The group of a running container.
    pub(super) fn of_container(wanted: &str) -> anyhow::Result<Self> {
        Self::open(&container::find(&mount_point()?, Path::new("/"), wanted)?, false)
    }

    /// The root of the hierarchy.
    pub(super) fn root() -> anyhow::Result<PathBuf> {
        mount_point()
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Depth below the root of the hierarchy.
    pub(super) fn level(&self) -> u32 {
        self.level
    }

    /// Moves this process into the group until the result is dropped.
    pub(super) fn enter(&self) -> anyhow::Result<Inside> {
        // Elsewhere the kernel names our own group as that namespace shows it, and there would be no way back into it.
        // PROC_CGROUP_INIT_INO of include/linux/proc_ns.h is the host's.
        let namespace = fs::read_link("/proc/self/ns/cgroup").context("cannot read this process's cgroup namespace")?;
        if namespace.as_os_str() != "cgroup:[4026531835]" {
            bail!("a command with --cgroup needs the host's cgroup namespace: docker run --cgroupns=host");
        }
        let groups = Process::myself()?.cgroups()?;
        let home = groups.0.iter().find(|group| group.hierarchy == 0).context("this process is in no v2 group")?;
        let home = self.mount.join(home.pathname.trim_start_matches('/'));
        join(&self.folder)?;
        Ok(Inside { home })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Err(error) = join(&self.home) {
            anstream::eprintln!("outflow: {error:#}");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.made {
            // Still in use by what the command left behind: then it is not ours to take away.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Until no process is left in a group or below it.
pub(super) fn wait_until_empty(folder: &Path) -> io::Result<()> {
    let Ok(mut events) = File::open(folder.join("cgroup.events")) else { return Ok(()) };
    loop {
        let mut text = String::new();
        events.rewind()?;
        match events.read_to_string(&mut text) {
            Ok(_) if text.contains("populated 1") => {}
            // ENODEV: the group itself is gone.
            _ => return Ok(()),
        }
        // The kernel raises POLLPRI when the file changes (cgroup-v2.rst, "Un(populated) notification").
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn join(folder: &Path) -> anyhow::Result<()> {
    let file = folder.join("cgroup.procs");
    fs::write(&file, "0").with_context(|| format!("cannot enter the control group: {}", file.display()))
}

fn mount_point() -> anyhow::Result<PathBuf> {
    let mounts = Process::myself()?.mountinfo()?.into_iter().filter(|mount| mount.fs_type == "cgroup2");
    let points: Vec<PathBuf> = mounts.map(|mount| mount.mount_point).collect();
    if points.is_empty() {
        bail!("no cgroup2 file system is mounted here: mount one, or tap by command or --pid");
    }
    points.into_iter().find(|point| is_true_root(point)).context(
        "no cgroup2 file system that is mounted here shows all control groups: docker run --cgroupns=host, or mount the host's \
         /sys/fs/cgroup over the container's",
    )
}

/// The kernel counts levels from the true root. A container with a namespace of its own, as every pod has where there is version 2
/// alone, sees it when the host's folder is mounted for it. Its inode is the first that kernfs gives (`__kernfs_new_node` in
/// fs/kernfs/dir.c, 1); the root of a namespace is a folder like any other.
fn is_true_root(point: &Path) -> bool {
    fs::metadata(point).is_ok_and(|root| root.ino() == 1)
}
