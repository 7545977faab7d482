//! What this process may do. Leaves: nothing when all is well, else one sentence that says what is missing, to be printed
//! as the reason of a skip.

use std::{env, fs, path::Path};

/// Capability numbers from linux/capability.h.
const CAPABILITIES: [(&str, u32); 3] = [("CAP_SYS_ADMIN", 21), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

/// What is missing for namespaces, mounts and the loopback device in them.
pub fn missing_for_sandbox() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    missing_capability(&status, &["CAP_SYS_ADMIN"])
        .or_else(|| ["unshare", "ip"].iter().find_map(|program| missing_program(program)))
}

/// What is missing for attaching kernel programs to user functions, and for the sandbox around them.
pub fn missing_for_bpf() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let needed = [
        ("/sys/kernel/btf/vmlinux", "the kernel has no BTF"),
        ("/sys/bus/event_source/devices/uprobe/type", "the kernel has no uprobe events"),
    ];
    missing_capability(&status, &["CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"])
        .or_else(|| needed.iter().find(|(path, _)| !Path::new(path).exists()).map(|(_, reason)| (*reason).to_owned()))
        .or_else(missing_for_sandbox)
}

/// The first of `wanted` that is not among the effective capabilities in `/proc/self/status`.
fn missing_capability(status: &str, wanted: &[&str]) -> Option<String> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let held = |name: &str| CAPABILITIES.iter().any(|(known, number)| *known == name && effective & (1 << number) != 0);
    wanted.iter().find(|name| !held(name)).map(|name| format!("this process has no {name}"))
}

/// Says so when a program is not on PATH.
pub(crate) fn missing_program(program: &str) -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|folder| folder.join(program).is_file());
    (!found).then(|| format!("there is no program {program} on PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_missing_capability_is_named() {
        let all = "Name:\tx\nCapEff:\t000001ffffffffff\n";
        let docker = "Name:\tx\nCapEff:\t00000000a80425fb\n";
        let bpf_only = "Name:\tx\nCapEff:\t000000c000000000\n";
        let wanted = ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"];
        assert_eq!(missing_capability(all, &wanted), None);
        assert_eq!(missing_capability(docker, &wanted).as_deref(), Some("this process has no CAP_BPF"));
        assert_eq!(missing_capability(bpf_only, &wanted).as_deref(), Some("this process has no CAP_SYS_ADMIN"));
        assert_eq!(missing_capability("", &wanted).as_deref(), Some("this process has no CAP_BPF"));
    }
}
