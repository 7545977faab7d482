//! Who a process is. Enters: a process id. Leaves: [`Origin`]. Reads `/proc`; keeps neither arguments nor environment, both of
//! which may hold secrets.
//!
//! State: [`Origins`] remembers at most [`ORIGINS_MAX`] processes; the one that mapped its library least recently goes first.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use procfs::process::Process;

use crate::{lru::Lru, sources::Origin};

/// Longest name of a service that is kept: a process may write 128 KiB into its environment.
const SERVICE_MAX_BYTES: usize = 256;
/// Processes that are remembered.
const ORIGINS_MAX: usize = 4_096;

/// Who the processes are that map what is probed. They are looked at when they map it: one that only fails to connect may be gone
/// before its record is read.
#[derive(Clone, Debug)]
pub(super) struct Origins(Arc<Mutex<Lru<u32, Origin>>>);

impl Origins {
    /// Nobody looked at yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Lru::new(ORIGINS_MAX))))
    }

    /// The process maps a file with probes in it.
    pub(super) fn note(&self, pid: u32) {
        if let Some(origin) = look(pid) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, origin);
        }
    }

    /// Who it is now; of one that is gone, who it was.
    pub(super) fn of(&self, pid: u32) -> Origin {
        let was = || self.0.lock().unwrap_or_else(PoisonError::into_inner).peek(&pid).cloned();
        look(pid).or_else(was).unwrap_or_else(|| gone(pid))
    }
}

/// A process about which nothing can be known any more.
pub(super) fn gone(pid: u32) -> Origin {
    Origin { pid, process: "(gone)".to_owned(), service: "(gone)".to_owned(), ..Origin::default() }
}

/// What `/proc` says about a process; `None` when it is gone.
pub(super) fn look(pid: u32) -> Option<Origin> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    let named = process.environ().ok().and_then(|environment| {
        environment.get(std::ffi::OsStr::new("OTEL_SERVICE_NAME")).map(|value| value.to_string_lossy().into_owned())
    });
    let groups: Vec<String> =
        process.cgroups().map(|groups| groups.0.into_iter().map(|group| group.pathname).collect()).unwrap_or_default();
    let of_groups = |named: fn(&str) -> Option<String>| groups.iter().find_map(|path| named(path));
    let (container, pod, unit) = (of_groups(container_of), of_groups(pod_of), of_groups(unit_of));
    let arguments = process.cmdline().unwrap_or_default();
    // Last: while it has a program, what was read before is whole.
    let name = file_name(&process.exe().ok()?.to_string_lossy());
    let mut service = named
        .filter(|name| !name.is_empty())
        .or_else(|| service_of(&name, &arguments))
        .or_else(|| unit.as_deref().and_then(|unit| unit.strip_suffix(".service")).map(str::to_owned))
        .unwrap_or_else(|| name.clone());
    service.truncate(service.floor_char_boundary(SERVICE_MAX_BYTES));
    Some(Origin { pid, process: name, service, container, pod, unit, kubernetes: None, feature: None })
}

/// A process and everything below it in the process tree, as it is now.
pub(super) fn with_descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        if let Ok(stat) = process.stat() {
            children.entry(stat.ppid.cast_unsigned()).or_default().push(stat.pid.cast_unsigned());
        }
    }
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(children.remove(&parent).unwrap_or_default());
        next += 1;
    }
    found
}

/// Processes of a control group and of the groups below it.
pub(super) fn in_cgroup(folder: &Path) -> std::io::Result<Vec<u32>> {
    let listed = std::fs::read_to_string(folder.join("cgroup.procs"))?;
    let mut found: Vec<u32> = listed.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in std::fs::read_dir(folder)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(in_cgroup(&entry.path())?);
        }
    }
    Ok(found)
}

/// Those of these files, by device and inode, that some process maps now.
pub(super) fn mapped_inodes(of: &HashSet<(u64, u64)>) -> HashSet<(u64, u64)> {
    let mut found = HashSet::new();
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        for map in process.maps().into_iter().flatten() {
            let (Ok(major), Ok(minor)) = (u32::try_from(map.dev.0), u32::try_from(map.dev.1)) else { continue };
            let inode = (rustix::fs::makedev(major, minor), map.inode);
            if of.contains(&inode) {
                found.insert(inode);
            }
        }
    }
    found
}

/// Runtimes whose first argument says more than their own name.
const RUNTIMES: [&str; 8] = ["python", "node", "deno", "bun", "ruby", "java", "perl", "php"];

/// The script of a runtime, else the executable: `app.py` for `python3 -u app.py`, `uvicorn` for `python -m uvicorn`. `None`: it
/// is a runtime, and nothing says what it runs.
fn service_of(executable: &str, arguments: &[String]) -> Option<String> {
    if !RUNTIMES.iter().any(|runtime| executable.starts_with(runtime)) {
        return Some(executable.to_owned());
    }
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-m" => return named(rest.next()),
            // Switches that stand alone, as people write them.
            "-u" | "-B" | "-E" | "-I" | "-O" | "-OO" | "-s" | "-S" | "run" => {}
            // Any other may be followed by a value, and a value may be code: `-c`, `-e`, `-uc`, `-pe`.
            flag if flag.starts_with('-') => break,
            _ => return named(Some(argument)),
        }
    }
    None
}

/// The file name of an argument that is a plain path or module name. Code on the command line is neither, and may hold
/// anything.
fn named(argument: Option<&String>) -> Option<String> {
    const MAX_BYTES: usize = 64;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b'@' | b'+');
    let name = file_name(argument?);
    (argument?.bytes().all(is_plain) && (1..=MAX_BYTES).contains(&name.len())).then_some(name)
}

fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned());
    name.strip_suffix(" (deleted)").map_or(name.clone(), str::to_owned)
}

/// The 64 hex digits that Docker, containerd, CRI-O and podman put into the path of a container's control group.
fn container_of(path: &str) -> Option<String> {
    path.split(|c: char| !c.is_ascii_hexdigit())
        .find(|part| part.len() == 64)
        .map(|id| id.get(..12).unwrap_or(id).to_owned())
}

/// The uid in the name of a pod's control group: `kubepods-burstable-pod<uid>.slice` (systemd writes `_` for `-`), `pod<uid>`
/// (cgroupfs). Source: kubelet, `pkg/kubelet/cm/pod_container_manager_linux.go`.
fn pod_of(path: &str) -> Option<String> {
    if !path.contains("kubepods") {
        return None;
    }
    let uid = path.split('/').find_map(|part| {
        part.strip_suffix(".slice").unwrap_or(part).split_once("pod").and_then(|(before, uid)| {
            // `kubepods` itself has the letters too.
            let uid = if before == "kube" { uid.split_once("pod")?.1 } else { uid };
            (uid.len() == 36).then(|| uid.replace('_', "-"))
        })
    })?;
    uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-').then_some(uid)
}

/// The service whose control group this is. A login session and a container have none.
fn unit_of(path: &str) -> Option<String> {
    let unit = path.split('/').rev().find(|part| part.ends_with(".service"))?;
    let is_manager = unit.starts_with("user@") || unit.starts_with("init.");
    (!is_manager && unit.len() <= SERVICE_MAX_BYTES).then(|| unit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_and_unit_are_taken_from_the_control_group() {
        let uid = "0f3c1d2e-1111-2222-3333-0123456789ab";
        let systemd =
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/x", uid.replace('-', "_"));
        assert_eq!(pod_of(&systemd).as_deref(), Some(uid));
        assert_eq!(pod_of(&format!("/kubepods/besteffort/pod{uid}/abc")).as_deref(), Some(uid));
        for none in ["/kubepods.slice", "/kubepods/podx", "/system.slice/tripod.service", "/"] {
            assert_eq!(pod_of(none), None, "{none}");
        }
        assert_eq!(unit_of("/system.slice/summarizer.service").as_deref(), Some("summarizer.service"));
        assert_eq!(
            unit_of("/user.slice/user-0.slice/user@0.service/app.slice/bot.service").as_deref(),
            Some("bot.service")
        );
        for none in
            ["/user.slice/user-0.slice/session-1.scope", "/user.slice/user-0.slice/user@0.service/init.scope", "/"]
        {
            assert_eq!(unit_of(none), None, "{none}");
        }
    }

    #[test]
    fn service_is_the_script_of_a_runtime() {
        let service = |executable: &str, line: &str| {
            let arguments: Vec<_> = line.split(' ').map(str::to_owned).collect();
            service_of(executable, &arguments).unwrap_or_else(|| format!("({executable})"))
        };
        assert_eq!(service("python3.11", "python3 -u /srv/app.py --key x"), "app.py");
        assert_eq!(service("python3.11", "python3 -m uvicorn main:app"), "uvicorn");
        assert_eq!(service("python3.11", "python3 -c import-secret"), "(python3.11)");
        assert_eq!(service("curl", "curl https://api.openai.com"), "curl");
        assert_eq!(service("node", "node"), "(node)");
        assert_eq!(service("deno", "deno run main.ts"), "main.ts");
        assert_eq!(service("python3.11", "python3 -uc print(KEY)"), "(python3.11)");
        assert_eq!(service("python3.11", "python3 -W ignore app.py"), "(python3.11)");
        assert_eq!(service_of("php", &["php".to_owned(), "-r".to_owned(), "$k='sk-1';".to_owned()]), None);
        assert_eq!(service_of("node", &["node".to_owned(), "fetch('x', {k: 'sk-1'})".to_owned()]), None);
    }

    #[test]
    fn container_id_is_taken_from_the_control_group() {
        let id = "3f".repeat(32);
        assert_eq!(container_of(&format!("/system.slice/docker-{id}.scope")).as_deref(), Some("3f3f3f3f3f3f"));
        assert_eq!(container_of(&format!("/kubepods/besteffort/pod1/{id}")).as_deref(), Some("3f3f3f3f3f3f"));
        assert_eq!(container_of("/user.slice/session-1.scope"), None);
    }

    #[test]
    fn a_process_that_is_gone_is_who_it_was_when_it_mapped_what_is_probed() {
        let origins = Origins::new();
        assert_eq!(origins.of(u32::MAX), gone(u32::MAX));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        origins.note(pid);
        let lives = origins.of(pid);
        child.kill().unwrap();
        child.wait().unwrap();
        let was = origins.of(pid);
        assert_eq!((was.pid, was.service.as_str()), (pid, lives.service.as_str()));
        assert_ne!(was.service, "(gone)");
        // Nothing is noted of one that is gone.
        let other = Origins::new();
        other.note(pid);
        assert_eq!(other.of(pid), gone(pid));
    }
}
