//! What this process may do, and giving it up. Enters: what is to be kept. Leaves: a process that can do no more than that, proven
//! by asking the kernel again; also when it, or what it starts, is taken over. Never gains anything.
//!
//! Rights belong to threads (capabilities(7)); a thread takes its rights from the one that starts it. So all of this is done before
//! any other thread is there, and refused afterwards.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use rustix::{
    process::{DumpableBehavior, Gid, Uid, getegid, geteuid, getgid, getuid, set_dumpable_behavior},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
        no_new_privs, remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
        set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

/// What the attaching process keeps. Measured on Linux 6.18 (docs/ARCHITECTURE.md): `BPF` and `PERFMON` for programs, `uprobe_multi`
/// links and mapping records; `SYS_PTRACE` for `/proc/<pid>/environ`, `maps` and `exe` of others; `DAC_READ_SEARCH` for libraries of
/// other users; `CHECKPOINT_RESTORE` for `map_files`, through which a library is opened that was deleted or replaced.
pub const ATTACH: Rights = Rights(
    CapabilitySet::BPF
        .union(CapabilitySet::PERFMON)
        .union(CapabilitySet::SYS_PTRACE)
        .union(CapabilitySet::DAC_READ_SEARCH)
        .union(CapabilitySet::CHECKPOINT_RESTORE),
);

/// What it keeps too where the kernel has no `uprobe_multi` links: probes through `perf_event_open` want it since ba677dbe77af.
pub const ATTACH_BY_PERF_EVENT: Rights = Rights(CapabilitySet::SYS_ADMIN);

/// Loading programs and attaching them by `uprobe_multi` links.
pub const LOAD: Rights = Rights(CapabilitySet::BPF.union(CapabilitySet::PERFMON));

/// The circuit breaker: loading its programs, and attaching them to control groups (`bpf_prog_attach_check_attach_type` of
/// kernel/bpf/syscall.c). Nothing of it is kept; the links are.
pub const ENFORCE: Rights = Rights(CapabilitySet::BPF.union(CapabilitySet::PERFMON).union(CapabilitySet::NET_ADMIN));

/// Mapping records of other users' processes.
pub const WATCH: Rights = Rights(CapabilitySet::PERFMON);

/// Other users' processes at all.
pub const LOOK_AT_PROCESSES: Rights = Rights(CapabilitySet::SYS_PTRACE);

/// Files that are mapped and have lost their names.
pub const LOOK_AT_DELETED: Rights = Rights(CapabilitySet::CHECKPOINT_RESTORE);

/// Other users' processes and the files that they map.
pub const LOOK: Rights = Rights(CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH));

/// What the rest of the agent keeps when it tails other users' logs; else nothing.
pub const READ_LOGS: Rights = Rights(CapabilitySet::DAC_READ_SEARCH);

/// What it takes to give everything up: the bounding set and the change of user.
pub const GIVE_UP: Rights = Rights(CapabilitySet::SETPCAP.union(CapabilitySet::SETUID).union(CapabilitySet::SETGID));

/// Capabilities, linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(CapabilitySet);

/// Names of those that are spoken of here.
const NAMES: [(CapabilitySet, &str); 10] = [
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
    (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
    (CapabilitySet::CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE"),
    (CapabilitySet::SETPCAP, "CAP_SETPCAP"),
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
];

impl Rights {
    /// None at all.
    pub const NONE: Self = Self(CapabilitySet::empty());

    /// What the calling thread may use now.
    pub fn held() -> Result<Self, PrivilegeError> {
        Ok(Self(capabilities(None).map_err(failed("read the capabilities"))?.effective))
    }

    /// Those of either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of `self` that a holder of `held` lacks. `SYS_ADMIN` is taken for the newer ones that were split off from it
    /// (capabilities(7)).
    #[must_use]
    pub fn lacking(self, held: Self) -> Self {
        let newer = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::CHECKPOINT_RESTORE;
        if held.0.contains(CapabilitySet::SYS_ADMIN) { self.without(Self(held.0 | newer)) } else { self.without(held) }
    }

    /// Those of `self` that are in `other` too.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those of `self` that are not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0.difference(other.0))
    }

    /// Not one.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Their names; those without a name here are left out.
    pub fn names(self) -> Vec<&'static str> {
        NAMES.iter().filter(|(one, _)| self.0.contains(*one)).map(|(_, name)| *name).collect()
    }
}

/// What to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Other users' files may be read ([`READ_LOGS`]), when this process has that right now. It is the right to read any file.
    pub read_logs: bool,
    /// Whom to become; none: stay who we are.
    pub user: Option<User>,
}

/// A user to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As it was given.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
    /// Its further groups, such as `adm`, which may read most logs.
    pub groups: Vec<u32>,
}

/// What was given up and what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// What is left.
    pub rights: Rights,
    /// Who this process is now.
    pub uid: u32,
    /// The bounding set is as small too. Without `CAP_SETPCAP` it cannot be made so; `no_new_privs` holds all the same.
    pub bounded: bool,
}

/// Why rights were not given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Other threads would keep theirs.
    #[error("rights must be given up before any thread is started, and there are {0} threads")]
    Threads(usize),
    /// There is no such user.
    #[error("there is no user {0:?}: name one of /etc/passwd, or give numbers as uid:gid")]
    NoUser(String),
    /// Becoming that user is not allowed.
    #[error("cannot become {user} (uid {uid}, gid {gid}): {source}; start as root, or with CAP_SETUID and CAP_SETGID")]
    Become {
        /// Whom.
        user: String,
        /// Number.
        uid: u32,
        /// Number of its group.
        gid: u32,
        /// Why not.
        source: io::Error,
    },
    /// A folder is somebody else's.
    #[error("{folder} belongs to uid {owner}, not to {user} (uid {uid}): chown -R {uid}:{gid} {folder}")]
    NotOwner {
        /// Which.
        folder: String,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        user: String,
        /// Number.
        uid: u32,
        /// Number of its group.
        gid: u32,
    },
    /// The kernel refuses.
    #[error("cannot {what}: {source}")]
    Kernel {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It was done, and yet it is not so.
    #[error("rights were given up, and yet the kernel says that there are some: {0}")]
    Remain(String),
}

impl User {
    /// Finds a user by `name`, by number, or takes `uid:gid` as it is.
    pub fn find(text: &str) -> Result<Self, PrivilegeError> {
        let unknown = || PrivilegeError::NoUser(text.to_owned());
        if let Some((uid, gid)) = text.split_once(':') {
            let (uid, gid) = (uid.parse().map_err(|_| unknown())?, gid.parse().map_err(|_| unknown())?);
            return Ok(Self { name: text.to_owned(), uid, gid, groups: vec![gid] });
        }
        let found = match text.parse() {
            Ok(uid) => nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)),
            Err(_) => nix::unistd::User::from_name(text),
        };
        let user = found.ok().flatten().ok_or_else(unknown)?;
        let groups = std::ffi::CString::new(user.name.as_str())
            .ok()
            .and_then(|name| nix::unistd::getgrouplist(&name, user.gid).ok())
            .unwrap_or_else(|| vec![user.gid]);
        let groups = groups.into_iter().map(nix::unistd::Gid::as_raw).collect();
        Ok(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups })
    }

    /// Checks that a folder is this user's own, as the state folder must be.
    pub fn owns(&self, folder: &Path) -> Result<(), PrivilegeError> {
        let owner = fs::metadata(folder)
            .map_err(|source| PrivilegeError::Kernel { what: "look at the state folder", source })?
            .uid();
        if owner == self.uid {
            return Ok(());
        }
        let (folder, user) = (folder.display().to_string(), self.name.clone());
        Err(PrivilegeError::NotOwner { folder, owner, user, uid: self.uid, gid: self.gid })
    }
}

/// Gives up everything but what is to be kept, and checks that it is gone. Call it before any thread is started; files that
/// only the old user may open are to be opened before.
pub fn drop_to(keep: &Keep) -> Result<Dropped, PrivilegeError> {
    let rights = if keep.read_logs { READ_LOGS } else { Rights::NONE };
    give_up(rights, keep.user.as_ref())
}

/// Keeps `rights`, as far as they are there, and nothing else; stays the same user.
pub fn keep_only(rights: Rights) -> Result<Dropped, PrivilegeError> {
    give_up(rights, None)
}

fn give_up(rights: Rights, user: Option<&User>) -> Result<Dropped, PrivilegeError> {
    let threads = fs::read_dir("/proc/self/task")
        .map_err(|source| PrivilegeError::Kernel { what: "count the threads", source })?
        .count();
    if threads != 1 {
        return Err(PrivilegeError::Threads(threads));
    }
    let before = capabilities(None).map_err(failed("read the capabilities"))?;
    let kept = before.permitted & rights.0;
    let bounded = bound(kept, before.effective)?;
    if let Some(user) = user {
        // Else the kernel takes the permitted set away with the change from root to another user.
        set_keep_capabilities(true).map_err(failed("keep capabilities over the change of user"))?;
        become_user(user)?;
        set_keep_capabilities(false).map_err(failed("forget to keep capabilities"))?;
    }
    clear_ambient_capability_set().map_err(failed("empty the ambient set"))?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(failed("give up capabilities"))?;
    set_no_new_privs(true).map_err(failed("set no_new_privs"))?;
    // Last: the kernel sets it anew with each change of user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("guard the memory"))?;
    prove(sets, user)?;
    Ok(Dropped { rights: Rights(kept), uid: geteuid().as_raw(), bounded })
}

/// Takes everything but `kept` out of the bounding set; false when this process may not.
fn bound(kept: CapabilitySet, effective: CapabilitySet) -> Result<bool, PrivilegeError> {
    let mut bounded = true;
    for one in (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
        match capability_is_in_bounding_set(one) {
            // Past the last one that this kernel knows.
            Err(_) => break,
            Ok(true) if !kept.contains(one) && effective.contains(CapabilitySet::SETPCAP) => {
                remove_capability_from_bounding_set(one).map_err(failed("empty the bounding set"))?;
            }
            Ok(present) => bounded &= !present || kept.contains(one),
        }
    }
    Ok(bounded)
}

fn become_user(user: &User) -> Result<(), PrivilegeError> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<Gid> = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    set_thread_groups(&groups)
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .and_then(|()| set_thread_res_uid(uid, uid, uid))
        .map_err(|error| PrivilegeError::Become {
            user: user.name.clone(),
            uid: user.uid,
            gid: user.gid,
            source: error.into(),
        })
}

/// Asks the kernel whether it is so.
fn prove(wanted: CapabilitySets, user: Option<&User>) -> Result<(), PrivilegeError> {
    let now = capabilities(None).map_err(failed("read the capabilities"))?;
    if now != wanted {
        return Err(PrivilegeError::Remain(format!("{now:?}")));
    }
    if !no_new_privs().map_err(failed("read no_new_privs"))? {
        return Err(PrivilegeError::Remain("no_new_privs is not set".to_owned()));
    }
    let ids = [getuid().as_raw(), geteuid().as_raw(), getgid().as_raw(), getegid().as_raw()];
    match user {
        Some(user) if ids != [user.uid, user.uid, user.gid, user.gid] => {
            Err(PrivilegeError::Remain(format!("uid and gid are {ids:?}")))
        }
        _ => Ok(()),
    }
}

fn failed(what: &'static str) -> impl Fn(rustix::io::Errno) -> PrivilegeError {
    move |error| PrivilegeError::Kernel { what, source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = User::find("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(User::find("0").unwrap().name, "root");
        let made = User::find("4711:4712").unwrap();
        assert_eq!((made.uid, made.gid, made.groups), (4711, 4712, vec![4712]));
        for nobody in ["", "no such user", "4294900000", "1:", ":1", "root:root", "-1"] {
            assert!(matches!(User::find(nobody), Err(PrivilegeError::NoUser(_))), "{nobody:?}");
        }
    }

    #[test]
    fn a_folder_of_another_user_is_told_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let uid = fs::metadata(folder.path()).unwrap().uid();
        let user = |uid| User { name: "outflow".to_owned(), uid, gid: 7, groups: Vec::new() };
        assert!(user(uid).owns(folder.path()).is_ok());
        let told = user(uid + 1).owns(folder.path()).unwrap_err().to_string();
        assert!(told.ends_with(&format!("chown -R {}:7 {}", uid + 1, folder.path().display())), "{told}");
    }

    #[test]
    fn with_other_threads_nothing_is_given_up() {
        let (hold, end) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || end.recv());
        let before = Rights::held().unwrap();
        assert!(matches!(drop_to(&Keep::default()), Err(PrivilegeError::Threads(2..))));
        assert_eq!(Rights::held().unwrap(), before);
        drop(hold);
        drop(other.join());
    }

    #[test]
    fn rights_have_names() {
        let names = ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_CHECKPOINT_RESTORE"];
        assert_eq!(ATTACH.names(), names);
        assert_eq!(ATTACH.within(READ_LOGS), READ_LOGS);
        assert!(READ_LOGS.without(ATTACH).is_empty());
        assert!(Rights::NONE.names().is_empty());
    }

    #[test]
    fn the_old_right_holds_for_the_newer_ones() {
        assert_eq!(ATTACH.lacking(ATTACH), Rights::NONE);
        assert_eq!(ATTACH.lacking(ATTACH_BY_PERF_EVENT), LOOK);
        assert_eq!(ATTACH_BY_PERF_EVENT.lacking(ATTACH), ATTACH_BY_PERF_EVENT);
        assert_eq!(LOAD.lacking(WATCH).names(), ["CAP_BPF"]);
        assert_eq!(LOAD.lacking(Rights::NONE), LOAD);
    }
}
