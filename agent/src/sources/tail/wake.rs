//! When to look again. Enters: folders in which something may happen. Leaves: wake-ups. A hint only: whoever gets none looks at
//! the scan interval. It never reads a file.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::TailNotice;

/// After a look that took t, the next one that an event asks for comes no sooner than this many t later: many files and many
/// events cost at most a tenth of a processor.
const REST: u32 = 9;
/// And no sooner than this: lines that are written one by one are read together.
const REST_MIN: Duration = Duration::from_millis(5);

/// Waits.
pub(super) struct Wake {
    stopped: Receiver<()>,
    events: Receiver<()>,
    /// Without a watcher there still is somebody who could send: a channel that is closed would always be ready.
    _sender: Sender<()>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// Folders that cannot be watched, such as those that this user may not read.
    refused: BTreeSet<PathBuf>,
    /// It was said that there are such folders.
    is_told: bool,
}

impl Wake {
    /// `stopped` is closed when the tail is to end.
    pub(super) fn new(stopped: Receiver<()>, notice: &mut dyn FnMut(TailNotice)) -> Self {
        // One is as good as many.
        let (sender, events) = bounded(1);
        let send = sender.clone();
        let watcher = match notify::recommended_watcher(move |event| pass_on(&send, &event)) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                notice(TailNotice::NoWakeUp { why: error.to_string() });
                None
            }
        };
        let folders = BTreeSet::new;
        Self { stopped, events, _sender: sender, watcher, watched: folders(), refused: folders(), is_told: false }
    }

    /// Watches these folders, and no others. True when one was not watched before.
    pub(super) fn watch(&mut self, folders: BTreeSet<PathBuf>, notice: &mut dyn FnMut(TailNotice)) -> bool {
        let Self { watcher: Some(watcher), watched, refused, is_told, .. } = self else { return false };
        for gone in watched.difference(&folders) {
            // It may be gone from the disk as well.
            let _ = watcher.unwatch(gone);
        }
        refused.retain(|folder| folders.contains(folder));
        let now = folders.into_iter().filter(|folder| {
            if watched.contains(folder) {
                return true;
            }
            if refused.contains(folder) {
                return false;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => true,
                Err(error) => {
                    // A folder that is not there yet is no news: the next look tries again. For another one the interval does from now
                    // on; those that are watched go on waking.
                    if folder.exists() {
                        refused.insert(folder.clone());
                        if !std::mem::replace(is_told, true) {
                            notice(TailNotice::NoWakeUp { why: error.to_string() });
                        }
                    }
                    false
                }
            }
        });
        let now: BTreeSet<PathBuf> = now.collect();
        let fresh = !now.is_subset(watched);
        *watched = now;
        fresh
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

fn pass_on(sender: &Sender<()>, event: &notify::Result<Event>) {
    // Our own reading is an event too. An error (the queue overflowed) is a reason to look.
    if !matches!(event, Ok(Event { kind: EventKind::Access(_), .. })) {
        // Full: a wake-up waits already.
        let _ = sender.try_send(());
    }
}
