//! Pods without a cluster: podman and runc with a storage of their own. Enters: a folder, an image's context, a pod's YAML. Leaves: the
//! pod as a node's runtime would run it. It pulls nothing, and neither sees nor changes the user's own containers. On drop its pods,
//! its mounts and its control groups are gone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, getrlimit};

use crate::Job;

/// How long one command of podman may take, in seconds; the longest builds an image, or waits for a pod to end.
const TIMEOUT_S: i64 = 120;

/// How long control groups may take to be empty: rounds and the pause between two of them.
const REMOVE_ROUNDS: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// podman's own seccomp profile.
const FILTER: &str = "/usr/share/containers/seccomp.json";

/// podman calls it so (`libpod_parent` of containers/podman, libpod/define).
const CGROUP: &str = "libpod_parent";

/// What a pod sees of this machine, where podman 4.3 does not take it from the YAML.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sees {
    /// All processes, as `hostPID: true` says.
    pub host_processes: bool,
    /// Control groups by names of its own, in a namespace, as every pod does where there is version 2 alone.
    pub own_groups: bool,
}

/// podman with its own storage, as long as this value lives.
#[derive(Debug)]
pub struct Podman {
    dir: PathBuf,
    sees: Sees,
    commands: std::cell::Cell<u32>,
    /// Control groups that were not there before.
    cgroups: Vec<PathBuf>,
}

/// What is missing for pods.
pub fn missing_for_pods() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |program: &&str| !std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let missing = ["podman", "runc", "conmon", "catatonit", "strip", "ldd"].into_iter().find(on_path);
    missing.map(|program| format!("there is no program {program} on PATH: `cargo xtask setup` installs it"))
}

impl Podman {
    /// Makes the storage in `dir`, which should be a short path: sockets are made below it.
    pub fn new(dir: &Path, sees: Sees) -> Result<Self> {
        let dir = dir.join("podman");
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let filter = dir.join("seccomp.json");
        fs::write(&filter, newer_filter(&fs::read_to_string(FILTER).with_context(|| format!("no {FILTER}"))?)?)?;
        fs::write(dir.join("containers.conf"), config(sees, &filter))?;
        let hierarchies = fs::read_dir("/sys/fs/cgroup").context("no control groups")?.flatten();
        let cgroups = hierarchies
            .map(|hierarchy| hierarchy.path().join(CGROUP))
            .chain([Path::new("/sys/fs/cgroup").join(CGROUP)]);
        let cgroups = cgroups.filter(|group| !group.exists()).collect();
        Ok(Self { dir, sees, commands: 0.into(), cgroups })
    }

    /// podman, with the options that keep it in its folder.
    fn command(&self) -> Command {
        let mut podman = Command::new("podman");
        if self.sees.own_groups {
            // podman makes no such namespace where there is version 1 too, and gives its own to the container.
            podman = Command::new("unshare");
            podman.args(["--cgroup", "podman"]);
        }
        // In its own folder too: what podman remembers of registries, which it would keep for the user otherwise.
        podman.env("CONTAINERS_CONF", self.dir.join("containers.conf")).env("XDG_DATA_HOME", self.dir.join("data"));
        for (option, folder) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            podman.arg(option).arg(self.dir.join(folder));
        }
        podman.args(["--storage-driver", "overlay"]);
        podman
    }

    /// Runs one command of podman; gives what it printed.
    pub fn run<I>(&self, arguments: I) -> Result<String>
    where
        I: IntoIterator,
        I::Item: AsRef<std::ffi::OsStr>,
    {
        let mut podman = self.command();
        podman.args(arguments);
        self.commands.set(self.commands.get() + 1);
        // Its output goes to files: conmon inherits it and lives as long as the container.
        let job = Job::start(podman, &self.dir, &format!("command-{}", self.commands.get()))?;
        job.wait(TIMEOUT_S)?.success()
    }

    /// Builds an image from a context that has all it needs.
    pub fn build(&self, dockerfile: &Path, context: &Path, tag: &str) -> Result<()> {
        let [dockerfile, context] = [dockerfile, context].map(|path| path.display().to_string());
        self.run([
            "build",
            "--quiet",
            "--pull=never",
            "--network=none",
            "--tag",
            tag,
            "--file",
            &dockerfile,
            &context,
        ])?;
        Ok(())
    }

    /// Starts the pod of a file. It has no network but its own loopback device.
    pub fn play(&self, pod: &Path) -> Result<()> {
        let pod = pod.display().to_string();
        let said = self.run(["kube", "play", "--network", "none", &pod])?;
        // It reports a container that did not start, and a status of zero in some cases.
        ensure!(!said.contains("failed to start"), "{said}");
        Ok(())
    }

    /// One field of a container, by a Go template such as `{{.State.Pid}}`.
    pub fn inspect(&self, container: &str, template: &str) -> Result<String> {
        Ok(self.run(["container", "inspect", "--format", template, container])?.trim().to_owned())
    }

    /// The lines that a container wrote to standard output and error so far.
    pub fn logs(&self, container: &str) -> Result<String> {
        let path = self.inspect(container, "{{.HostConfig.LogConfig.Path}}")?;
        Ok(whole_lines(&fs::read_to_string(&path).with_context(|| format!("no log {path}"))?))
    }

    /// Takes everything down; an error says what is left.
    pub fn close(self) -> Result<()> {
        self.take_down()
    }

    fn take_down(&self) -> Result<()> {
        if !self.dir.exists() {
            return Ok(());
        }
        let gone = self.run(["pod", "rm", "--all", "--force", "--time", "5"]).map(drop);
        // A mount within a mount comes later in the list, and has to go first.
        for point in mounts_below(&self.dir)?.iter().rev() {
            rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH)
                .with_context(|| format!("cannot unmount {}", point.display()))?;
        }
        // conmon ends a moment after its container, and no event tells of it. Another podman may have moved in meanwhile, and stays.
        let mut rounds = 0;
        while self.cgroups.iter().filter(|group| !removed(group)).count() > 0 && rounds < REMOVE_ROUNDS {
            rounds += 1;
            std::thread::sleep(REMOVE_PAUSE);
        }
        fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))?;
        gone
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("testbed: cannot take the pods down: {error:#}");
        }
    }
}

/// `TIME STREAM P|F TEXT` a line, as the kubelet reads it. P is a part: of a line that its writer wrote in several pieces.
fn whole_lines(log: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for entry in log.lines() {
        let mut fields = entry.splitn(4, ' ').skip(2);
        let tag = fields.next();
        line.push_str(fields.next().unwrap_or_default());
        if tag == Some("F") {
            lines.push_str(&line);
            lines.push('\n');
            line.clear();
        }
    }
    lines
}

/// Mount points below a folder, in the order in which they were mounted.
pub fn mounts_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    Ok(points.filter(|point| point.starts_with(folder)).collect())
}

/// Removes the group and what is below it, as far as nobody is in there; true when it is gone.
fn removed(group: &Path) -> bool {
    for below in fs::read_dir(group).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            removed(&below.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// No systemd is asked, and no limit is raised: a test's machine may allow neither.
fn config(sees: Sees, filter: &Path) -> String {
    let limit = |resource, most: u64| getrlimit(resource).maximum.map_or(most, |own| own.min(most));
    // runc is refused what this process has: with 96,365 processes here, a container may have 4,096 and not 60,000.
    let (files, processes) = (limit(Resource::Nofile, 1 << 20), limit(Resource::Nproc, 4096));
    let pidns = if sees.host_processes { "host" } else { "private" };
    let filter = filter.display();
    format!(
        "[containers]\ndefault_ulimits = [\"nofile={files}:{files}\", \"nproc={processes}:{processes}\"]\npidns = \"{pidns}\"\n\
         log_driver = \"k8s-file\"\nseccomp_profile = \"{filter}\"\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nruntime = \"runc\"\nevents_logger = \"none\"\n"
    )
}

/// podman's profile as runtimes of Kubernetes have it: bpf(2) goes with `CAP_BPF`, perf_event_open(2) with `CAP_PERFMON`. containerd
/// (containerd/containerd#7301) and Docker (moby/moby#43987) do so since 2022, podman since 2025 (podman-container-tools/container-libs#424);
/// before, it asked for `CAP_SYS_ADMIN`.
fn newer_filter(profile: &str) -> Result<String> {
    let rules = [("bpf", "CAP_BPF"), ("perf_event_open", "CAP_PERFMON")];
    let mut profile: serde_json::Value = serde_json::from_str(profile)?;
    let of_calls =
        profile.get_mut("syscalls").and_then(serde_json::Value::as_array_mut).context("no syscalls in it")?;
    for names in of_calls.iter_mut().filter_map(|rule| rule.get_mut("names")?.as_array_mut()) {
        names.retain(|name| !rules.iter().any(|(call, _)| name == call));
    }
    // A rule for nothing is an error for podman.
    of_calls
        .retain(|rule| rule.get("names").and_then(serde_json::Value::as_array).is_none_or(|names| !names.is_empty()));
    of_calls.extend(rules.map(|(call, right)| {
        serde_json::json!({
            "names": [call], "action": "SCMP_ACT_ALLOW", "args": [], "includes": { "caps": [right] }, "excludes": {},
        })
    }));
    Ok(profile.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_sees_processes_only_when_it_is_meant_to() {
        let config = |sees| config(sees, Path::new("/tmp/filter.json"));
        assert!(config(Sees { host_processes: true, ..Sees::default() }).contains("\npidns = \"host\"\n"));
        assert!(config(Sees::default()).contains("\npidns = \"private\"\n"));
    }

    #[test]
    fn a_filter_lets_calls_pass_by_the_right_that_is_for_them() {
        let old = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["bpf", "mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["perf_event_open"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]}"#;
        let new: serde_json::Value = serde_json::from_str(&newer_filter(old).unwrap()).unwrap();
        let rules = new["syscalls"].as_array().unwrap();
        assert_eq!(rules[0]["names"], serde_json::json!(["mount"]));
        for (call, right) in [("bpf", "CAP_BPF"), ("perf_event_open", "CAP_PERFMON")] {
            let of: Vec<_> =
                rules.iter().filter(|rule| rule["names"].as_array().unwrap().iter().any(|n| n == call)).collect();
            assert_eq!(of.len(), 1);
            assert_eq!(of[0]["includes"]["caps"], serde_json::json!([right]));
        }
        assert!(newer_filter("{}").is_err());
    }

    #[test]
    fn lines_are_put_together_and_none_is_told_in_part() {
        let log =
            "T stderr F one\nT stderr P two: \nT stderr P and\nT stderr F  more\nT stderr F \nT stderr P not yet\n";
        assert_eq!(whole_lines(log), "one\ntwo: and more\n\n");
    }

    #[test]
    fn mounts_are_found_by_their_folder() {
        assert!(mounts_below(Path::new("/proc")).unwrap().contains(&PathBuf::from("/proc")));
        assert!(mounts_below(Path::new("/nowhere")).unwrap().is_empty());
    }
}
