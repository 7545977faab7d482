//! A container by its id or name. Enters: the folder of the control groups (v2), what people type. Leaves: the container's own group.
//! It asks no runtime: ids stand in the groups' names, and names in files that the runtimes keep. Nothing is written.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::bail;
use serde_json::Value;

/// Groups that are looked at, at most: a host has some per service and per container.
const GROUPS_MAX: usize = 65_536;
/// Length of an id, in hexadecimal digits: all four runtimes draw 256 bits.
const ID_DIGITS: usize = 64;
/// Shortest part of an id that is taken for one; a shorter one is more likely a name.
const PREFIX_DIGITS: usize = 6;
/// Longest file of a runtime that is read for names.
const FILE_MAX_BYTES: u64 = 16 << 20;
/// Candidates that an error lists.
const LISTED: usize = 8;

/// What stands before the id in a group's name: `docker-ID.scope` with systemd; with cgroupfs the bare id below `docker` or
/// `kubepods`, podman's and CRI-O's with their prefix. `crio-conmon-ID` and `libpod-conmon-ID` hold the monitor, not the container.
const PREFIXES: [&str; 4] = ["docker-", "cri-containerd-", "crio-", "libpod-"];

/// The group of the container that `wanted` means. `groups` is the root of the hierarchy, `root` that of the host's files.
pub(super) fn find(groups: &Path, root: &Path, wanted: &str) -> anyhow::Result<PathBuf> {
    let running = running(groups);
    let is_id = wanted.len() >= PREFIX_DIGITS && wanted.len() <= ID_DIGITS && is_hex(wanted);
    let lower = wanted.to_ascii_lowercase();
    let known = names(root);
    let named = |id: &str| known.get(id).is_some_and(|names| names.iter().any(|name| name == wanted));
    // An exact name first, as docker and podman do it.
    let mut found: Vec<(&String, &PathBuf)> = running.iter().filter(|(id, _)| named(id)).collect();
    if found.is_empty() && is_id {
        found = running.iter().filter(|(id, _)| id.starts_with(&lower)).collect();
    }
    match found[..] {
        [(_, group)] => Ok(group.clone()),
        [] => bail!("{}", absent(groups, wanted, is_id, &running, &known)),
        _ => bail!("`{wanted}` may be any of {}; say more of the id", list(found.iter().map(|(id, _)| *id), &known)),
    }
}

fn absent(
    groups: &Path,
    wanted: &str,
    is_id: bool,
    running: &BTreeMap<String, PathBuf>,
    names: &BTreeMap<String, Vec<String>>,
) -> String {
    if let Some((id, _)) = names.iter().find(|(_, names)| names.iter().any(|name| name == wanted)) {
        return format!("the container `{wanted}` ({}) does not run here", short(id));
    }
    let hint = if !is_id && is_hex(wanted) {
        format!(": of an id at least {PREFIX_DIGITS} digits are needed")
    } else if running.is_empty() {
        format!(": no container has a control group below {}", groups.display())
    } else {
        format!("; there are {}", list(running.keys(), names))
    };
    format!("no container `{wanted}` runs here{hint}")
}

/// `3f9ab12cd0e1 (web), …`
fn list<'a>(ids: impl Iterator<Item = &'a String>, names: &BTreeMap<String, Vec<String>>) -> String {
    let mut ids: Vec<String> = ids
        .map(|id| match names.get(id).and_then(|names| names.first()) {
            Some(name) => format!("{} ({})", short(id), printable(name)),
            None => short(id).to_owned(),
        })
        .collect();
    let more = ids.len().saturating_sub(LISTED);
    ids.truncate(LISTED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    ids.join(", ") + &rest
}

/// A name is whatever somebody gave to a runtime; it goes to a terminal.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Containers by id, with the outermost group of each: what a runtime makes inside of it belongs to it.
fn running(groups: &Path) -> BTreeMap<String, PathBuf> {
    let (mut found, mut seen) = (BTreeMap::new(), 0);
    let mut waiting = VecDeque::from([groups.to_owned()]);
    while let Some(folder) = waiting.pop_front() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > GROUPS_MAX {
                return found;
            }
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // A group's own files; they count, so that a folder that is no hierarchy does not keep us.
                continue;
            }
            if let Some(id) = entry.file_name().to_str().and_then(id_of) {
                found.entry(id).or_insert_with(|| entry.path());
            }
            waiting.push_back(entry.path());
        }
    }
    found
}

/// The id in a group's name.
fn id_of(name: &str) -> Option<String> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    (id.len() == ID_DIGITS && is_hex(id)).then(|| id.to_ascii_lowercase())
}

/// Names by id, from what runtimes leave on the disk:
///
/// - docker: `/var/lib/docker/containers/ID/config.v2.json`, key `Name`, with a slash before it;
/// - podman and CRI-O: `containers.json` of containers/storage, `[{"id": …, "names": […]}]`;
/// - containerd: the bundle's `config.json`, where Kubernetes writes the container's and the pod's name into annotations
///   (containerd, `pkg/cri/annotations`), and nerdctl its own (`nerdctl/name`).
fn names(root: &Path) -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |id: &str, name: &str| {
        if !name.is_empty() && names.len() < GROUPS_MAX {
            names.entry(id.to_ascii_lowercase()).or_default().push(name.to_owned());
        }
    };
    for folder in folders(&root.join("var/lib/docker/containers")) {
        let config = read(&folder.join("config.v2.json"));
        if let (Some(id), Some(name)) = (file_name(&folder), config["Name"].as_str()) {
            add(id, name.trim_start_matches('/'));
        }
    }
    for storage in ["var/lib/containers/storage/overlay-containers", "var/lib/containers/storage/vfs-containers"] {
        for container in read(&root.join(storage).join("containers.json")).as_array().into_iter().flatten() {
            for name in container["names"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                add(container["id"].as_str().unwrap_or_default(), name);
            }
        }
    }
    for space in folders(&root.join("run/containerd/io.containerd.runtime.v2.task")) {
        for bundle in folders(&space) {
            let config = read(&bundle.join("config.json"));
            let annotation = |key: &str| config["annotations"][key].as_str().unwrap_or_default();
            let Some(id) = file_name(&bundle) else { continue };
            let (container, pod) =
                (annotation("io.kubernetes.cri.container-name"), annotation("io.kubernetes.cri.sandbox-name"));
            add(id, container);
            if !container.is_empty() && !pod.is_empty() {
                add(id, &format!("{pod}/{container}"));
            }
            add(id, annotation("nerdctl/name"));
        }
    }
    names
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten().take(GROUPS_MAX);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

/// A file of JSON; one that is missing, too long or no JSON has no names.
fn read(path: &Path) -> Value {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(FILE_MAX_BYTES).read_to_string(&mut text));
    read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(start: &str) -> String {
        format!("{start:0<64}")
    }

    /// Groups and files as the four runtimes make them, with each manager.
    fn host() -> tempfile::TempDir {
        let host = tempfile::tempdir().unwrap();
        let groups = [
            format!("system.slice/docker-{}.scope", id("d0c1")),
            format!("docker/{}", id("d0c2")),
            format!("kubepods.slice/kubepods-burstable.slice/pod1.slice/cri-containerd-{}.scope", id("cd01")),
            format!("kubepods/besteffort/pod0b5/{}", id("cd02aa")),
            format!("kubepods/besteffort/pod0b5/{}", id("cd02ab")),
            format!("kubepods.slice/pod2.slice/crio-{}.scope/container", id("c101")),
            format!("kubepods.slice/pod2.slice/crio-conmon-{}.scope", id("c101")),
            format!("machine.slice/libpod-{}.scope/container", id("b0d1")),
            format!("machine.slice/libpod-conmon-{}.scope", id("b0d1")),
            format!("libpod_parent/libpod-{}", id("b0d2")),
            // A container in a container: its group is the outer one's.
            format!("system.slice/docker-{}.scope/docker/{}", id("d0c1"), id("1221")),
            "system.slice/ssh.service".to_owned(),
            format!("system.slice/{}", "f".repeat(63)),
        ];
        for group in groups {
            fs::create_dir_all(host.path().join("groups").join(group)).unwrap();
        }
        let storage = "root/var/lib/containers/storage/overlay-containers/containers.json";
        let bundle = format!("root/run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/config.json", id("cd01"));
        let files = [
            (format!("root/var/lib/docker/containers/{}/config.v2.json", id("d0c1")), r#"{"Name":"/web"}"#.to_owned()),
            (format!("root/var/lib/docker/containers/{}/config.v2.json", id("dead")), r#"{"Name":"/old"}"#.to_owned()),
            (format!("root/var/lib/docker/containers/{}/config.v2.json", id("d0c2")), "{".to_owned()),
            (
                storage.to_owned(),
                format!(r#"[{{"id":"{}","names":["agent","web2"]}},{{"id":"{}"}}]"#, id("b0d2"), id("b0d1")),
            ),
            (
                bundle,
                r#"{"annotations":{"io.kubernetes.cri.container-name":"cart","io.kubernetes.cri.sandbox-name":"cart-1"}}"#
                    .to_owned(),
            ),
        ];
        for (file, text) in files {
            let path = host.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        host
    }

    #[test]
    fn ids_parts_of_ids_and_names_find_the_group() {
        let host = host();
        let found = |wanted: &str| {
            let group = find(&host.path().join("groups"), &host.path().join("root"), wanted).unwrap();
            group.strip_prefix(host.path().join("groups")).unwrap().display().to_string()
        };
        let docker = format!("system.slice/docker-{}.scope", id("d0c1"));
        for (wanted, group) in [
            (id("d0c1").as_str(), docker.as_str()),
            ("d0c100", &docker),
            ("D0C100", &docker),
            ("web", &docker),
            ("d0c200", &format!("docker/{}", id("d0c2"))),
            (
                "cd0100",
                &format!("kubepods.slice/kubepods-burstable.slice/pod1.slice/cri-containerd-{}.scope", id("cd01")),
            ),
            (
                "cart",
                &format!("kubepods.slice/kubepods-burstable.slice/pod1.slice/cri-containerd-{}.scope", id("cd01")),
            ),
            (
                "cart-1/cart",
                &format!("kubepods.slice/kubepods-burstable.slice/pod1.slice/cri-containerd-{}.scope", id("cd01")),
            ),
            ("cd02aa", &format!("kubepods/besteffort/pod0b5/{}", id("cd02aa"))),
            ("c10100", &format!("kubepods.slice/pod2.slice/crio-{}.scope", id("c101"))),
            ("b0d100", &format!("machine.slice/libpod-{}.scope", id("b0d1"))),
            ("agent", &format!("libpod_parent/libpod-{}", id("b0d2"))),
            ("122100", &format!("{docker}/docker/{}", id("1221"))),
        ] {
            assert_eq!(found(wanted), group, "{wanted}");
        }
    }

    #[test]
    fn what_is_absent_or_not_clear_is_said() {
        let host = host();
        let error = |wanted: &str| {
            find(&host.path().join("groups"), &host.path().join("root"), wanted).unwrap_err().to_string()
        };
        for (wanted, part) in [
            ("cd02", "no container `cd02` runs here: of an id at least 6 digits are needed"),
            ("old", "the container `old` (dead00000000) does not run here"),
            ("nobody", "no container `nobody` runs here; there are 122100000000, b0d100000000, b0d200000000 (agent)"),
            ("ffffff", "no container `ffffff` runs here; there are "),
            ("", "no container `` runs here"),
            ("../groups", "no container `../groups` runs here"),
        ] {
            assert!(error(wanted).starts_with(part), "{wanted}: {}", error(wanted));
        }
        fs::create_dir_all(host.path().join("groups/docker").join(id("d0c1001"))).unwrap();
        let text = error("d0c100");
        assert_eq!(text, "`d0c100` may be any of d0c100000000 (web), d0c100100000; say more of the id");
        let empty = tempfile::tempdir().unwrap();
        let text = find(empty.path(), empty.path(), "abcdef").unwrap_err().to_string();
        assert!(text.contains("no container has a control group below"), "{text}");
    }
}
