//! What a process's hosts file says. Enters: a process. Leaves: the names at an address. Only its own file counts, in its own root: a
//! container has one too. The file is small and read whole; a longer one is read in part.

use std::{
    fs::File,
    io::{self, Read as _},
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::lru::Lru;

/// Longest hosts file that is read; block lists have megabytes, and no vendor in their last one.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// Hosts files that are remembered; a node has one a pod.
const FILES_MAX: usize = 128;
/// Names that one of them may have at one address.
const NAMES_MAX: usize = 64;

/// A file as it was: device, inode, length, modification time in seconds and nanoseconds.
type Version = (u64, u64, u64, i64, i64);

/// Hosts files, each read once while it does not change.
pub(in super::super) struct HostsFiles(Lru<Version, String>);

impl HostsFiles {
    /// None read yet.
    pub(in super::super) fn new() -> Self {
        Self(Lru::new(FILES_MAX))
    }

    /// Names that the process's hosts file has at this address, in lower case; none when there is no such file.
    pub(in super::super) fn names(&mut self, pid: u32, address: IpAddr) -> Vec<String> {
        let Ok((file, version)) = open(pid) else { return Vec::new() };
        if self.0.touch(&version).is_none() {
            let mut bytes = Vec::new();
            if file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).is_err() {
                return Vec::new();
            }
            self.0.insert(version, String::from_utf8_lossy(&bytes).into_owned());
        }
        self.0.touch(&version).map(|text| names_at(text, address)).unwrap_or_default()
    }
}

/// The name is the process's own word: it must not lead out of its root, nor block us.
fn open(pid: u32) -> io::Result<(File, Version)> {
    let root = File::open(format!("/proc/{pid}/root"))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(&root, "etc/hosts", flags, Mode::empty(), resolve)?);
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok((file, (facts.dev(), facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec())))
}

/// `address name …`, and a comment behind `#` (hosts(5)).
fn names_at(text: &str, address: IpAddr) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let at = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        if at.is_some_and(|at| at.to_canonical() == address.to_canonical()) {
            names.extend(words.map(str::to_ascii_lowercase).take(NAMES_MAX - names.len()));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_behind_their_address() {
        let text = "127.0.0.1 localhost\n# 192.0.2.1 no.example\n192.0.2.1\tAPI.example  alias # old.example\n\
                    ::ffff:192.0.2.1 mapped.example\nx y\n192.0.2.1\n2001:db8::1 six.example";
        let names = |address: &str| names_at(text, address.parse().unwrap());
        assert_eq!(names("192.0.2.1"), ["api.example", "alias", "mapped.example"]);
        assert_eq!(names("2001:db8::1"), ["six.example"]);
        assert_eq!(names("192.0.2.2"), [""; 0]);
        let many = "192.0.2.1 a.example\n".repeat(1000);
        assert_eq!(names_at(&many, "192.0.2.1".parse().unwrap()).len(), NAMES_MAX);
    }

    #[test]
    fn ones_own_file_is_read() {
        let mut files = HostsFiles::new();
        let pid = std::process::id();
        let text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let address = "127.0.0.1".parse().unwrap();
        for _ in 0..2 {
            assert_eq!(files.names(pid, address), names_at(&text, address));
        }
        assert!(files.0.len() <= 1);
        assert_eq!(files.names(u32::MAX, address), [""; 0]);
    }
}
