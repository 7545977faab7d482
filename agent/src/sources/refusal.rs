//! Why the kernel did not permit something. Enters: the rights that it takes, after the kernel has refused. Leaves: what stands in the
//! way, as one sentence that says what to do. Looks at this process and the kernel's own files; never tries anything.

use std::{fmt, fs};

use super::privileges::Rights;

/// What stands in the way, as far as it can be seen from inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// These rights are missing.
    Capabilities(Rights),
    /// The rights are there, but only in a user namespace, and the kernel wants them in the first one.
    UserNamespace,
    /// A seccomp filter is on, and nothing else is seen.
    Seccomp,
    /// Kernel lockdown forbids programs that read the kernel's memory.
    Lockdown,
    /// All seems well: a security module, most likely.
    Unknown,
}

/// What the sentence is made from.
#[derive(Debug)]
struct Seen {
    lacking: Rights,
    first_user_namespace: bool,
    seccomp: bool,
    lockdown: bool,
}

impl Barrier {
    /// What stands between this thread and something that takes the rights `needed`.
    pub fn before(needed: Rights) -> Self {
        // A process that may not read its own rights has none that could be counted on.
        let held = Rights::held().unwrap_or(Rights::NONE);
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        // Inode of the first user namespace: PROC_USER_INIT_INO, include/linux/proc_ns.h.
        let namespace = fs::read_link("/proc/self/ns/user").ok();
        Self::of(&Seen {
            lacking: needed.lacking(held),
            first_user_namespace: namespace.is_none_or(|link| link.as_os_str() == "user:[4026531837]"),
            seccomp: filtered(&status),
            lockdown: is_locked_down(),
        })
    }

    /// What is missing comes first: without it, nothing else matters yet.
    fn of(seen: &Seen) -> Self {
        match *seen {
            Seen { lacking, .. } if !lacking.is_empty() => Self::Capabilities(lacking),
            Seen { first_user_namespace: false, .. } => Self::UserNamespace,
            Seen { lockdown: true, .. } => Self::Lockdown,
            Seen { seccomp: true, .. } => Self::Seccomp,
            _ => Self::Unknown,
        }
    }
}

/// Kernel lockdown is at its second stage, in which the helpers that read kernel memory are gone (kernel_lockdown(7)).
pub fn is_locked_down() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown").is_ok_and(|text| confidential(&text))
}

/// `none integrity [confidentiality]`.
fn confidential(lockdown: &str) -> bool {
    lockdown.contains("[confidentiality]")
}

/// Mode 2 of `/proc/<pid>/status`: a filter (seccomp(2)).
fn filtered(status: &str) -> bool {
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capabilities(missing) => {
                let names = missing.names();
                let short: Vec<&str> = names.iter().map(|name| name.strip_prefix("CAP_").unwrap_or(name)).collect();
                write!(
                    f,
                    "not permitted: this process has no {}; run it as root, or in a container with --cap-add {}",
                    names.join(" and no "),
                    short.join(" --cap-add "),
                )
            }
            Self::UserNamespace => f.write_str(
                "not permitted: this process has its capabilities in a user namespace alone (a rootless container?), and the \
                 kernel wants them in the host's own; run it outside, as root",
            ),
            Self::Seccomp => f.write_str(
                "not permitted, although the capabilities are there: a seccomp filter is on, and must let bpf(2) and \
                 perf_event_open(2) pass; in a container: --security-opt seccomp=unconfined, or a profile that allows both",
            ),
            Self::Lockdown => f.write_str(
                "not permitted: the kernel is locked down to confidentiality, so no program may read memory; boot with \
                 lockdown=integrity, or none",
            ),
            Self::Unknown => f.write_str(
                "not permitted, although the capabilities are there: a security module (AppArmor, SELinux) may forbid it, and \
                 the kernel's log tells which",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::privileges::{ATTACH, LOAD, WATCH};

    #[test]
    fn what_is_missing_is_named_before_anything_else() {
        let seen = |lacking, first_user_namespace, seccomp, lockdown| {
            Barrier::of(&Seen { lacking, first_user_namespace, seccomp, lockdown })
        };
        let none = Rights::NONE;
        assert_eq!(seen(LOAD, false, true, true), Barrier::Capabilities(LOAD));
        assert_eq!(seen(none, false, true, true), Barrier::UserNamespace);
        assert_eq!(seen(none, true, true, true), Barrier::Lockdown);
        assert_eq!(seen(none, true, true, false), Barrier::Seccomp);
        assert_eq!(seen(none, true, false, false), Barrier::Unknown);
    }

    #[test]
    fn a_missing_right_is_told_as_people_and_containers_write_it() {
        assert_eq!(
            Barrier::Capabilities(WATCH).to_string(),
            "not permitted: this process has no CAP_PERFMON; run it as root, or in a container with --cap-add PERFMON"
        );
        let all = Barrier::Capabilities(ATTACH).to_string();
        for name in ATTACH.names() {
            assert!(all.contains(name) && all.contains(&name.replace("CAP_", "--cap-add ")), "{all}");
        }
    }

    #[test]
    fn the_kernels_files_are_read_as_it_writes_them() {
        assert!(confidential("none integrity [confidentiality]\n"));
        assert!(!confidential("[none] integrity confidentiality\n") && !confidential(""));
        assert!(filtered("NoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!filtered("Seccomp:\t0\nSeccomp_filters:\t2\n") && !filtered(""));
    }

    #[test]
    fn this_process_is_asked() {
        // Whatever it is, a right that is held is not named.
        let held = Rights::held().unwrap();
        match Barrier::before(ATTACH) {
            Barrier::Capabilities(missing) => assert!(!missing.is_empty() && missing.within(held).is_empty()),
            _ => assert!(ATTACH.lacking(held).is_empty()),
        }
    }
}
