//! How one process's TLS is seen. Enters: a process. Leaves: [`Look`]. Reads `/proc` and mapped files; each file is looked through once,
//! and none of its bytes are kept.

use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::markers;
use crate::{
    lru::Lru,
    sources::{
        coverage::{How, Look, TlsFile},
        tap::{process, watch},
    },
};

/// Files whose kind is remembered.
const FILES_MAX: usize = 16_384;
/// Mapped files of one process that are looked at; Python with all its modules has some hundreds.
const MAPPED_MAX: usize = 512;
/// Files with TLS in one process that are told. With the bounds below a look fits a message between the tap's two processes.
const TLS_FILES_MAX: usize = 16;
/// Longest name of a file, and longest reason, that is told.
const NAME_MAX_BYTES: usize = 1024;
const WHY_MAX_BYTES: usize = 512;

/// Device and inode.
pub(in super::super) type Inode = (u64, u64);

/// What is known of a file without looking through it: whether it is tapped. `None`: nobody tried.
pub(in super::super) type Fate<'a> = &'a mut dyn FnMut(&Path, Inode, &File) -> Option<How>;

/// Looks at processes, and remembers what is in which file.
pub(in super::super) struct Looker(Lru<Inode, Option<&'static str>>);

impl Looker {
    /// Nothing looked at yet.
    pub(in super::super) fn new() -> Self {
        Self(Lru::new(FILES_MAX))
    }

    /// The process as it is now; `None` when it is gone, or must not be looked at.
    pub(in super::super) fn look(&mut self, pid: u32, fate: Fate<'_>) -> Option<Look> {
        let link = format!("/proc/{pid}/exe");
        let executable = fs::read_link(&link).ok()?;
        let facts = fs::metadata(&link).ok()?;
        let inode = (facts.dev(), facts.ino());
        let origin = process::look(pid)?;
        // It may be about to end, and to look through files takes longer than to open them.
        let mut files = Vec::new();
        for (path, inode, file) in mapped_files(pid)? {
            if files.len() >= TLS_FILES_MAX {
                break;
            }
            let known = fate(&path, inode, &file);
            let how = known.or_else(|| self.marked(&path, inode, file).map(|stack| How::NotSeen { stack }));
            files.extend(how.map(|how| TlsFile { file: shown(&path), how: bounded(how) }));
        }
        Some(Look { origin, executable: shown(&executable), inode, files })
    }

    fn marked(&mut self, path: &Path, inode: Inode, file: File) -> Option<String> {
        let known = self.0.touch(&inode).copied();
        let stack = known.unwrap_or_else(|| {
            let stack = markers::by_name(path).or_else(|| markers::by_content(file).ok().flatten());
            self.0.insert(inode, stack);
            stack
        });
        stack.map(str::to_owned)
    }
}

/// The files whose code a process has mapped, each once.
fn mapped_files(pid: u32) -> Option<Vec<(PathBuf, Inode, File)>> {
    let (mut files, mut seen) = (Vec::new(), HashSet::new());
    for mapped in watch::mapped_by(pid).ok()? {
        if files.len() >= MAPPED_MAX {
            break;
        }
        // A file that went away meanwhile is used by nobody.
        let Ok(file) = mapped.open() else { continue };
        let Ok(facts) = file.metadata() else { continue };
        let inode = (facts.dev(), facts.ino());
        if seen.insert(inode) {
            files.push((mapped.path, inode, file));
        }
    }
    Some(files)
}

fn shown(path: &Path) -> String {
    let name: String = path.to_string_lossy().chars().filter(|c| !c.is_control()).collect();
    cut(name, NAME_MAX_BYTES)
}

fn bounded(how: How) -> How {
    match how {
        How::Refused { stack, why } => How::Refused { stack, why: cut(why, WHY_MAX_BYTES) },
        how => how,
    }
}

fn cut(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::coverage::Seen;

    #[test]
    fn fates_go_before_marks_and_a_process_that_is_gone_is_none() {
        let pid = std::process::id();
        let own = fs::metadata("/proc/self/exe").map(|facts| (facts.dev(), facts.ino())).unwrap();
        let mut looker = Looker::new();
        let attached = || How::Attached { stack: "OpenSSL".to_owned() };
        let look = looker.look(pid, &mut |_, inode, _| (inode == own).then(attached)).unwrap();
        assert_eq!((look.inode, look.origin.pid), (own, pid));
        assert_eq!(look.executable, std::env::current_exe().unwrap().display().to_string());
        assert!(look.files.iter().any(|file| file.file == look.executable && file.how == attached()), "{look:?}");
        assert!(looker.look(u32::MAX, &mut |_, _, _| None).is_none());
    }

    /// This test's own program has the marks' texts in it, being the one that looks for them.
    #[test]
    fn marks_are_looked_for_where_nobody_tried() {
        let mut looker = Looker::new();
        let look = looker.look(std::process::id(), &mut |_, _, _| None).unwrap();
        assert_ne!(look.seen(), Seen::Attached);
        assert!(look.culprit().is_some_and(|file| file.file == look.executable), "{look:?}");
        assert!(!looker.0.is_empty());
    }
}
