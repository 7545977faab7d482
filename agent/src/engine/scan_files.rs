//! Scans files in parallel and tells in order. Enters: a walk over files. Leaves: [`Scanned`], file by file in the order of the walk,
//! whatever worker was first.
//!
//! ```text
//!   walk ──file + its channel──► worker 0, 1, … ──Scanned──► the file's channel ─┐
//!        ──the channel's other end, in order─────────────────────────────────────┴─► tell
//!                                worker 0 ──blocks of a large file──► whoever is idle ──findings──► worker 0
//! ```
//! Bounds: files under way, events a file may be ahead of the telling, blocks of a file that are handed out, findings counted at a
//! time in one file. A worker that is ahead waits; the file whose turn it is always has a worker, because files are handed out in
//! the order in which they are told.

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use self::worker::Worker;
use super::{LoadError, Rules, Silenced};
use crate::{
    findings::{Finding, FingerprintKey, Maker},
    sources::{
        files::{Caps, ReadError, Skip, Target, Walked},
        log::CutLimits,
    },
};

mod repeats;
#[cfg(test)]
mod tests;
mod worker;

/// Findings that a worker may be ahead of the telling, a file.
const AHEAD: usize = 64;
/// Files that may be under way, a worker.
const FILES_AHEAD: usize = 4;

/// How to scan files.
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// Threads; at least one.
    pub workers: usize,
    /// How files are cut.
    pub limits: CutLimits,
    /// How much a compressed file may become.
    pub caps: Caps,
    /// Also files that are no text.
    pub binary: bool,
    /// Counts the bytes that were scanned, while it happens.
    pub progress_bytes: Arc<AtomicU64>,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            workers: thread::available_parallelism().map_or(1, usize::from),
            limits: CutLimits::default(),
            caps: Caps::default(),
            binary: false,
            progress_bytes: Arc::default(),
        }
    }
}

/// What there is to tell of a scan, in order.
#[derive(Debug)]
pub enum Scanned {
    /// A finding of the file in work, with its count. Told once a file, unless the file has more than
    /// [`MAX_OPEN`](crate::findings::MAX_OPEN) of them.
    Finding(Box<Finding>),
    /// A file was read to its end, or as far as it could be.
    File {
        /// Its bytes, decompressed.
        bytes: u64,
        /// Blocks that the scanner refused.
        refused_blocks: u64,
        /// What was found and is not told.
        silenced: Silenced,
    },
    /// A file was left alone.
    Skipped(Skip),
    /// A file or folder could not be read, or not to its end.
    Failed(ReadError),
}

/// A file, and where to tell what is in it.
type Task = (Target, Sender<Scanned>);

/// Scans what a walk finds. `tell` says whether anybody still listens; if not, the scan ends early.
pub fn scan_files<W>(
    rules: &Rules,
    key: &FingerprintKey,
    walk: W,
    options: &ScanOptions,
    tell: &mut dyn FnMut(Scanned) -> bool,
) -> Result<(), LoadError>
where
    W: IntoIterator<Item = Walked> + Send,
{
    let workers = options.workers.max(1);
    let maker = &Maker::new(key.clone());
    let (give_file, files) = bounded::<Task>(workers);
    let (give_turn, turns) = bounded::<Receiver<Scanned>>(workers * FILES_AHEAD);
    let (give_block, blocks) = bounded(workers);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..workers {
            let worker = Worker::new(rules, maker, options, give_block.clone(), blocks.clone());
            let files = files.clone();
            let name = format!("outflow-scan-{number}");
            let work = move || worker.run(&files);
            threads.push(thread::Builder::new().name(name).spawn_scoped(scope, work).map_err(LoadError::Thread)?);
        }
        // Only the workers hold these now: when all have failed, the walk ends; when all files are done, so do the workers.
        drop((files, give_block, blocks));
        let hand_out = move || hand_out(walk, &give_file, &give_turn);
        let name = "outflow-walk".to_owned();
        thread::Builder::new().name(name).spawn_scoped(scope, hand_out).map_err(LoadError::Thread)?;
        'files: for turn in &turns {
            for scanned in turn {
                if !tell(scanned) {
                    break 'files;
                }
            }
        }
        // Nobody listens any more: whoever still sends finds that out and ends.
        drop(turns);
        for thread in threads {
            let ended =
                thread.join().map_err(|_| LoadError::Thread(io::Error::other("it panicked: a bug in outflow")))?;
            ended?;
        }
        Ok(())
    })
}

/// Gives each file to the workers, and its turn to the telling.
fn hand_out(walk: impl IntoIterator<Item = Walked>, give_file: &Sender<Task>, give_turn: &Sender<Receiver<Scanned>>) {
    for walked in walk {
        let (sender, turn) = bounded(AHEAD);
        if give_turn.send(turn).is_err() {
            return;
        }
        let given = match walked {
            Walked::Target(target) => give_file.send((target, sender)).is_ok(),
            Walked::Skipped(skip) => sender.send(Scanned::Skipped(skip)).is_ok(),
            Walked::Failed(error) => sender.send(Scanned::Failed(error)).is_ok(),
        };
        if !given {
            return;
        }
    }
}
