//! Looks at what was written to, and at nothing else: with thousands of files a look at all of them costs more than to read one. Enters: paths
//! that somebody wrote to. Leaves: the same as a look at everything, later for all else.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Follower, holds_still};
use crate::{
    sources::tail::{Out, Stopped, record::FileId},
    units::Timestamp,
};

/// Between two times that figures are made and held lines are looked after.
const TALLY_NS: u64 = 1_000_000_000;

impl Follower {
    /// Looks at these and at those that have more, and reads them as [`step`](Self::step) does. What a name means, what turned up and what is gone
    /// shows at the next look at everything; it is taken at once when one of these is not followed and might be.
    pub(in crate::sources::tail) fn step_at(
        &mut self,
        paths: BTreeSet<PathBuf>,
        now: Timestamp,
        out: &mut Out<'_>,
    ) -> Result<bool, Stopped> {
        // Who holds what an archive does is judged with all files in view.
        if self.unpacks {
            return self.step(now, out);
        }
        let mut ids = std::mem::take(&mut self.again);
        for path in paths {
            // By what it is: a file may be written to by another name than ours.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let id = FileId { dev: metadata.dev(), ino: metadata.ino() };
            match self.files.get(&id) {
                Some(file) if file.file.is_some() => {
                    ids.insert(id);
                }
                None if !self.others.contains_key(&id) && !self.archives.has(id) => {}
                // One that was let go may be another by now.
                Some(_) | None => return self.step(now, out),
            }
        }
        let is_due = now.since_ns(self.tallied) >= TALLY_NS;
        if is_due {
            // They are looked at before what they hold is handed on.
            ids.extend(self.files.iter().filter(|(_, file)| holds_still(file, now)).map(|(id, _)| *id));
        }
        self.look(ids.iter().copied(), now, out)?;
        self.read_turns(ids.into_iter().collect(), now, out)?;
        if is_due {
            self.hand_on_held(now, out)?;
            self.tally(now);
        }
        Ok(!self.again.is_empty())
    }

    /// Nothing is pending that comes with time and not with an event.
    pub(in crate::sources::tail) fn is_settled(&self) -> bool {
        !self.has_rotated
            && self.unread.is_empty()
            && self.departures.iter().next().is_none()
            && self.archives.is_settled()
    }

    /// Folders in which something new may turn up, or be written to, each by its real name.
    pub(in crate::sources::tail) fn folders(&self) -> BTreeSet<PathBuf> {
        let of_files: BTreeSet<&Path> =
            self.files.values().flat_map(|file| [file.path.parent(), file.real_folder.as_deref()]).flatten().collect();
        let behind = |path: &PathBuf| {
            let real = if path.is_symlink() { std::fs::canonicalize(path).ok() } else { None };
            real.and_then(|real| real.parent().map(Path::to_owned))
        };
        let of_patterns = self.groups.iter().flat_map(super::Patterns::folders);
        let folders = of_patterns.chain(of_files.into_iter().map(Path::to_owned));
        let folders = folders.chain(self.others.values().filter_map(behind));
        folders.map(|folder| std::fs::canonicalize(&folder).unwrap_or(folder)).collect()
    }
}
