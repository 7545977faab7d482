//! When to look again, and at what. Enters: folders in which something may happen. Leaves: wake-ups, and which files were written to. Hints
//! only: whoever gets none looks at everything at the scan interval, or ten of them where events are certain. It never reads a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::ModifyKind};

use super::TailNotice;

/// After a look that took t, the next one that an event asks for comes no sooner than this many t later: many files and many
/// events cost at most a tenth of a processor.
pub(super) const REST: u32 = 9;
/// And no sooner than this: lines that are written one by one are read together.
pub(super) const REST_MIN: Duration = Duration::from_millis(5);

/// Paths that are remembered until somebody asks; with more of them everything is looked at.
const HINTS_MAX: usize = 1024;
/// File systems on which each write that others make is an event here (`statfs(2)`): not those of a network, which others write to elsewhere, nor
/// overlays, which are written to from below.
const LOCAL: [rustix::fs::FsWord; 7] = [
    0xef53,      // ext2 to ext4
    0x5846_5342, // XFS
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0x8584_58f6, // ramfs
];

/// What happened since somebody asked.
#[derive(Debug, Default)]
struct Hints {
    /// Written to.
    paths: BTreeSet<PathBuf>,
    /// Deleted or moved: a folder among them is not watched any more.
    gone: BTreeSet<PathBuf>,
    /// Something else: made, moved, deleted, or nobody knows.
    all: bool,
}

/// Waits.
pub(super) struct Wake {
    stopped: Receiver<()>,
    events: Receiver<()>,
    hints: Arc<Mutex<Hints>>,
    /// Without a watcher there still is somebody who could send: a channel that is closed would always be ready.
    _sender: Sender<()>,
    watcher: Option<RecommendedWatcher>,
    /// With device and inode: another folder may stand under the name.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    /// Folders that cannot be watched, such as those that this user may not read.
    refused: BTreeSet<PathBuf>,
    /// Folders that were gone when they were to be watched: those of deleted files that are still read, among others.
    missing: BTreeSet<PathBuf>,
    /// Folders that are watched and in which others may write without an event.
    blind: BTreeSet<PathBuf>,
    /// Each folder is watched in which something may happen.
    is_whole: bool,
    /// It was said that there are such folders.
    is_told: bool,
}

impl Wake {
    /// `stopped` is closed when the tail is to end.
    pub(super) fn new(stopped: Receiver<()>, notice: &mut dyn FnMut(TailNotice)) -> Self {
        // One is as good as many.
        let (sender, events) = bounded(1);
        let send = sender.clone();
        let hints = Arc::new(Mutex::new(Hints::default()));
        let noted = Arc::clone(&hints);
        let watcher = match notify::recommended_watcher(move |event| pass_on(&send, &mut lock(&noted), event)) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                notice(TailNotice::NoWakeUp { why: error.to_string() });
                None
            }
        };
        let folders = BTreeSet::new;
        Self {
            stopped,
            events,
            hints,
            _sender: sender,
            watcher,
            watched: BTreeMap::new(),
            refused: folders(),
            missing: folders(),
            blind: folders(),
            is_whole: false,
            is_told: false,
        }
    }

    /// Whatever happens in these folders is an event.
    pub(super) fn is_sure(&self) -> bool {
        self.is_whole && self.blind.is_empty()
    }

    /// Something happened that only a look at everything can tell.
    pub(super) fn asks_for_all(&self) -> bool {
        lock(&self.hints).all
    }

    /// The paths that were written to; nothing when everything is to be looked at. `all`: whatever happened; `not_yet`: later.
    pub(super) fn next(&mut self, all: bool, not_yet: bool) -> Option<BTreeSet<PathBuf>> {
        let mut hints = lock(&self.hints);
        if all || hints.all && !not_yet {
            (hints.paths, hints.all) = (BTreeSet::new(), false);
            return None;
        }
        Some(std::mem::take(&mut hints.paths))
    }

    /// Watches these folders, and no others. True when everything is to be looked at once more: one was not watched before, or went meanwhile.
    pub(super) fn watch(&mut self, folders: BTreeSet<PathBuf>, notice: &mut dyn FnMut(TailNotice)) -> bool {
        let Self { watcher: Some(watcher), watched, refused, missing, blind, is_whole, is_told, .. } = self else {
            return false;
        };
        let gone = std::mem::take(&mut lock(&self.hints).gone);
        let identity = |folder: &Path| fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        watched.retain(|folder, known| {
            let is_same = folders.contains(folder) && !gone.contains(folder) && identity(folder) == Some(*known);
            if !is_same {
                // It may be gone from the disk as well.
                let _ = watcher.unwatch(folder);
            }
            is_same
        });
        refused.retain(|folder| folders.contains(folder));
        missing.retain(|folder| folders.contains(folder));
        let count = folders.len();
        let mut is_moving = false;
        let now = folders.into_iter().filter_map(|folder| {
            if let Some(known) = watched.get(&folder) {
                return Some((folder, *known));
            }
            if refused.contains(&folder) {
                return None;
            }
            // Before it is watched: if it is another one by then, the next look sees that.
            let known = identity(&folder);
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) if known.is_some() => {
                    missing.remove(&folder);
                    known.map(|known| (folder, known))
                }
                // Perhaps it is there again already, and nobody will tell: once each time that it goes.
                Ok(()) => {
                    is_moving |= missing.insert(folder);
                    None
                }
                Err(error) if is_gone(&error) => {
                    is_moving |= missing.insert(folder);
                    None
                }
                Err(error) => {
                    // The interval does from now on; folders that are watched go on waking.
                    refused.insert(folder.clone());
                    if !std::mem::replace(is_told, true) {
                        notice(TailNotice::NoWakeUp { why: error.to_string() });
                    }
                    None
                }
            }
        });
        let now: BTreeMap<PathBuf, (u64, u64)> = now.collect();
        let new: Vec<_> = now.keys().filter(|folder| !watched.contains_key(*folder)).collect();
        let is_fresh = !new.is_empty() || is_moving;
        blind.retain(|folder| watched.contains_key(folder));
        blind.extend(new.into_iter().filter(|folder| !is_local(folder)).cloned());
        *is_whole = now.len() == count;
        *watched = now;
        is_fresh
    }

    /// Waits for an event, at most `most`; `took` is how long the last look took. False when the tail is to end.
    pub(super) fn wait(&self, most: Duration, took: Duration) -> bool {
        if most.is_zero() {
            return !matches!(self.stopped.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
        }
        let rest = (took * REST).clamp(REST_MIN, most.max(REST_MIN));
        match self.stopped.recv_timeout(rest) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return false,
        }
        select! {
            recv(self.stopped) -> _ => false,
            recv(self.events) -> _ => true,
            default(most.saturating_sub(rest)) => true,
        }
    }
}

fn lock(hints: &Mutex<Hints>) -> MutexGuard<'_, Hints> {
    hints.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn is_local(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|stat| LOCAL.contains(&stat.f_type))
}

fn pass_on(sender: &Sender<()>, hints: &mut Hints, event: notify::Result<Event>) {
    match event {
        // Our own reading is an event too.
        Ok(Event { kind: EventKind::Access(_), .. }) => return,
        Ok(Event { kind: EventKind::Modify(ModifyKind::Data(_)), paths, .. })
            if hints.paths.len() + paths.len() <= HINTS_MAX =>
        {
            hints.paths.extend(paths);
        }
        Ok(Event { kind: EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)), paths, .. }) => {
            // More of them are files at most times, and another folder under the same name is told by its inode, too.
            if hints.gone.len() < HINTS_MAX {
                hints.gone.extend(paths);
            }
            hints.all = true;
        }
        // An error (the queue overflowed) is a reason to look, too.
        _ => hints.all = true,
    }
    // Full: a wake-up waits already.
    let _ = sender.try_send(());
}
