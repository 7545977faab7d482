//! Follows log files. Enters: patterns of paths, and what an earlier life remembered. Leaves: [`LogInput`]s: blocks of whole lines,
//! each with the checkpoint behind it, and marks where a file starts again, is gone, or lost bytes. It never interprets a line,
//! and never drops one: when nobody takes blocks, files wait.
//!
//! ```text
//!  wake     inotify, or the scan interval ──► step                                      (one thread)
//!  follow   patterns ──► files ──► which file is it? ──► read ──► cut at line ends ──► blocks
//! ```
//!
//! Polling is the truth and inotify only a hint, of when to look and at which files: events overflow, and network file systems have none. No crate follows files with
//! checkpoints through rotation and truncation, so this is ours; how others lose lines stands in the project's notes. What is
//! promised stands in the README.

mod archive;
mod departed;
mod file;
mod finished;
mod follow;
mod glob;
mod judge;
mod nuls;
mod packed;
mod rate;
mod record;
#[cfg(test)]
mod tests;
mod wake;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::TryRecvError;

use self::{follow::Follower, wake::Wake};
use super::{
    Checkpoint,
    log::{CutLimits, LogBlock, LogFile, Messages},
};
use crate::{clock, units::Timestamp};

/// Prefix of the keys of all checkpoints of the tail.
pub const CHECKPOINTS: &str = "tail/";

/// Where each write is an event, and nothing comes with time, everything is looked at after so many scan intervals all the same.
const SURE_INTERVALS: u32 = 10;
/// And after this at the latest, or the interval when that is longer.
const SURE_MAX: Duration = Duration::from_mins(1);

/// Files whose lag is told one by one.
pub const LAGGING_MAX: usize = 100;

/// What to follow, and how.
#[derive(Clone, Debug)]
pub struct TailSettings {
    /// Which files.
    pub groups: Vec<LogGroup>,
    /// How often everything is looked at when nothing wakes us: the longest time until a new file or line is noticed. Ten times as long where the
    /// kernel tells of everything that happens.
    pub scan_interval: Duration,
    /// How long a file that was rotated away or is gone must stand still before it is let go, nanoseconds. So long, too, a
    /// truncated file's bytes are waited for in a copy.
    pub rotate_wait_ns: u64,
    /// Sizes of blocks and lines.
    pub cut: CutLimits,
    /// Most files that are followed at the same time.
    pub max_files: usize,
}

impl Default for TailSettings {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            scan_interval: Duration::from_secs(1),
            rotate_wait_ns: 30_000_000_000,
            cut: CutLimits::default(),
            max_files: 10_000,
        }
    }
}

/// Files that belong together.
#[derive(Clone, Debug, Default)]
pub struct LogGroup {
    /// Absolute patterns; `**` is any number of folders. They should match rotated names too.
    pub globs: Vec<String>,
    /// Patterns of paths that are left out.
    pub exclude: Vec<String>,
    /// Service whose logs they are; without it, the file's name without its extension.
    pub service: Option<String>,
    /// Where their messages begin.
    pub messages: Messages,
    /// Most bytes of all these files that are scanned a second; what is more is skipped and told as a gap. None: all are scanned.
    pub max_bytes_per_second: Option<u64>,
}

/// What the tail hands on; for one path always in order.
#[derive(Clone, Debug)]
pub enum LogInput {
    /// Lines.
    Block(LogBlock),
    /// Something to remember, or lost.
    Mark(Mark),
}

/// What to remember of files besides their lines.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Which file.
    pub file: Arc<LogFile>,
    /// When it was noticed.
    pub at: Timestamp,
    /// To store.
    pub checkpoints: Vec<Checkpoint>,
    /// Keys of checkpoints to delete.
    pub forgotten: Vec<String>,
    /// Bytes that are lost.
    pub gap: Option<Gap>,
}

impl Mark {
    fn at(now: Timestamp) -> Self {
        Self { file: Arc::default(), at: now, checkpoints: Vec::new(), forgotten: Vec::new(), gap: None }
    }
}

/// Lines that nobody can read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// Position in the file up to which it was read.
    pub offset: u64,
    /// Bytes behind it that were there when it was looked at last. How many were written between that look and the loss nobody
    /// knows: `from` and `until` bound the time.
    pub known_bytes: u64,
    /// When it was last looked at and whole.
    pub from: Timestamp,
    /// When it was given up.
    pub until: Timestamp,
}

/// Why bytes of a log are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The file was truncated, and no copy of it turned up.
    Truncated,
    /// The file disappeared while the agent was not running.
    Gone,
    /// A compressed file cannot be unpacked to its end; the offset is one in its contents.
    Damaged,
    /// More was written than the group's [`LogGroup::max_bytes_per_second`] lets through.
    RateCap,
    /// For some seconds the agent could not read it: it may not, or the file system does not give it. It is tried again at every look.
    Unreadable,
    /// It is not followed, because [`TailSettings::max_files`] are.
    TooMany,
}

/// News about coverage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailNotice {
    /// A file is followed from now on.
    Following {
        /// Which.
        path: PathBuf,
        /// Position from which it is read, bytes.
        from: u64,
    },
    /// A file or folder that cannot be read; it is tried again at every look.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why, for people.
        why: String,
    },
    /// A file that is not followed because there are too many.
    TooMany {
        /// Which.
        path: PathBuf,
        /// The bound.
        max: usize,
    },
    /// inotify is not to be had, for any folder or for some: there, lines are noticed at the next look. Told once.
    NoWakeUp {
        /// Why, for people.
        why: String,
    },
}

/// Figures, readable at any time.
#[derive(Debug, Default)]
pub struct TailStats {
    /// Files that are followed.
    pub files: AtomicU64,
    /// Files and folders that the globs fit and that could not be read at the last look, or were too many; at most 4,096.
    pub unread: AtomicU64,
    /// Bytes read since the start.
    pub read_bytes: AtomicU64,
    /// Bytes that are there and were not handed on at the last look.
    pub lag_bytes: AtomicU64,
    /// The files among them that lag most, at most [`LAGGING_MAX`], with their bytes.
    pub lagging: Mutex<Vec<(String, u64)>>,
    /// Truncations noticed.
    pub truncations: AtomicU64,
    /// Gaps told.
    pub gaps: AtomicU64,
    /// Bytes known to be lost in them.
    pub gap_bytes: AtomicU64,
    /// Bytes that were not scanned because their group was over its rate.
    pub capped_bytes: AtomicU64,
    /// Looks at everything.
    pub looks: AtomicU64,
}

/// Why the tail does not start or stops.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// A pattern that is none.
    #[error("{pattern:?} is no pattern of log files: {why}; write for example /var/log/app/*.log*")]
    Pattern {
        /// Which.
        pattern: String,
        /// Why.
        why: String,
    },
    /// No thread to be had.
    #[error("cannot start the tail's thread: {0}")]
    Thread(io::Error),
    /// The thread panicked.
    #[error("the tail panicked; this is a bug in outflow")]
    Panicked,
}

/// Nobody takes inputs any more.
#[derive(Debug)]
struct Stopped;

/// Where the follower's words go.
struct Out<'a> {
    deliver: &'a mut dyn FnMut(LogInput) -> bool,
    notice: &'a mut dyn FnMut(TailNotice),
    /// How long whoever takes inputs let us wait: that is not the time that a look takes.
    waited: Duration,
}

impl Out<'_> {
    fn input(&mut self, input: LogInput) -> Result<(), Stopped> {
        let begun = clock::instant();
        let is_taken = (self.deliver)(input);
        self.waited += begun.elapsed();
        if is_taken { Ok(()) } else { Err(Stopped) }
    }
}

/// A running tail.
#[derive(Debug)]
pub struct Tail {
    stop: crossbeam_channel::Sender<()>,
    thread: JoinHandle<()>,
    stats: Arc<TailStats>,
}

impl Tail {
    /// Starts to follow. `remembered` are the checkpoints under [`CHECKPOINTS`] that are stored. `deliver` may wait; false ends
    /// the tail.
    pub fn start(
        settings: TailSettings,
        remembered: &[Checkpoint],
        mut deliver: impl FnMut(LogInput) -> bool + Send + 'static,
        mut notice: impl FnMut(TailNotice) + Send + 'static,
    ) -> Result<Self, TailError> {
        let stats = Arc::new(TailStats::default());
        let interval = settings.scan_interval;
        let mut follower = Follower::new(settings, remembered, Arc::clone(&stats))?;
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let seen = Arc::clone(&stats);
        let ending = stopped.clone();
        let mut deliver = move |input| {
            // A step may have much to read: the end comes in the middle of it.
            !matches!(ending.try_recv(), Err(TryRecvError::Disconnected)) && deliver(input)
        };
        let follow = move || {
            let mut wake = Wake::new(stopped, &mut notice);
            let (mut hints, mut looked, mut look_rest) = (None, clock::instant(), Duration::ZERO);
            loop {
                let started = clock::instant();
                let is_all = hints.is_none();
                let mut out = Out { deliver: &mut deliver, notice: &mut notice, waited: Duration::ZERO };
                let more = match hints {
                    None => follower.step(clock::now(), &mut out),
                    Some(paths) => follower.step_at(paths, clock::now(), &mut out),
                };
                let took = started.elapsed().saturating_sub(out.waited);
                let Ok(more) = more else { return };
                let mut fresh = false;
                if is_all {
                    (looked, look_rest) = (clock::instant(), (took * wake::REST).min(interval));
                    // What happened in a folder before it was watched wakes nobody, so it is looked at once more.
                    fresh = wake.watch(follower.folders(), &mut notice);
                    seen.looks.fetch_add(1, Relaxed);
                }
                let is_quiet = wake.is_sure() && follower.is_settled();
                let every = if is_quiet { (interval * SURE_INTERVALS).min(SURE_MAX.max(interval)) } else { interval };
                let rest = look_rest.saturating_sub(looked.elapsed());
                let until_look = if wake.asks_for_all() { rest } else { every.saturating_sub(looked.elapsed()) };
                let wait = if more || fresh { Duration::ZERO } else { until_look.max(wake::REST_MIN).min(interval) };
                if !wake.wait(wait, took) {
                    return;
                }
                hints = wake.next(fresh || looked.elapsed() >= every, looked.elapsed() < look_rest);
            }
        };
        let thread =
            std::thread::Builder::new().name("outflow-tail".to_owned()).spawn(follow).map_err(TailError::Thread)?;
        Ok(Self { stop, thread, stats })
    }

    /// Figures.
    pub fn stats(&self) -> Arc<TailStats> {
        Arc::clone(&self.stats)
    }

    /// The thread has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it after the read that is under way.
    pub fn stop(self) -> Result<(), TailError> {
        drop(self.stop);
        self.thread.join().map_err(|_| TailError::Panicked)
    }
}
