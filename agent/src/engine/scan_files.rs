//! Scans files in parallel and tells in order. Enters: a walk over files. Leaves: [`Scanned`], file by file in the order of the walk,
//! whatever worker was first.
//!
//! ```text
//!   walk ──file + its channel──► worker 0, 1, … ──Scanned──► the file's channel ─┐
//!        ──the channel's other end, in order─────────────────────────────────────┴─► tell
//! ```
//! Bounds: files under way, events a file may be ahead of the telling, findings counted at a time in one file. A worker that is
//! ahead waits; the file whose turn it is always has a worker, because files are handed out in the order in which they are told.

use std::{collections::HashMap, io, thread};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{LoadError, Rules};
use crate::{
    detectors::{Hit, scan::ScanDetector},
    findings::{Finding, Findings, FingerprintKey, MAX_OPEN, Maker},
    sources::{
        files::{Blocks, Caps, ReadError, Skip, Target, Walked},
        log::CutLimits,
    },
    units::Timestamp,
};

/// Findings that a worker may be ahead of the telling, a file.
const AHEAD: usize = 64;
/// Files that may be under way, a worker.
const FILES_AHEAD: usize = 4;

/// How to scan files.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions {
    /// Threads; at least one.
    pub workers: usize,
    /// How files are cut.
    pub limits: CutLimits,
    /// How much a compressed file may become.
    pub caps: Caps,
    /// Also files that are no text.
    pub binary: bool,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            workers: thread::available_parallelism().map_or(1, usize::from),
            limits: CutLimits::default(),
            caps: Caps::default(),
            binary: false,
        }
    }
}

/// What there is to tell of a scan, in order.
#[derive(Debug)]
pub enum Scanned {
    /// A finding of the file in work, with its count. Told once a file, unless the file has more than [`MAX_OPEN`] of them.
    Finding(Box<Finding>),
    /// A file was read to its end, or as far as it could be.
    File {
        /// Its bytes, decompressed.
        bytes: u64,
        /// Blocks that the scanner refused.
        refused_blocks: u64,
    },
    /// A file was left alone.
    Skipped(Skip),
    /// A file or folder could not be read, or not to its end.
    Failed(ReadError),
}

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
    let (give_file, files) = bounded::<(Target, Sender<Scanned>)>(workers);
    let (give_turn, turns) = bounded::<Receiver<Scanned>>(workers * FILES_AHEAD);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..workers {
            let files = files.clone();
            let work = move || work(rules, maker, &files, options);
            let name = format!("outflow-scan-{number}");
            threads.push(thread::Builder::new().name(name).spawn_scoped(scope, work).map_err(LoadError::Thread)?);
        }
        // Only the workers hold it now: when all have failed, the walk ends.
        drop(files);
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
fn hand_out(
    walk: impl IntoIterator<Item = Walked>,
    give_file: &Sender<(Target, Sender<Scanned>)>,
    give_turn: &Sender<Receiver<Scanned>>,
) {
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

fn work(
    rules: &Rules,
    maker: &Maker,
    files: &Receiver<(Target, Sender<Scanned>)>,
    options: &ScanOptions,
) -> Result<(), LoadError> {
    let mut scanner: Option<ScanDetector> = None;
    for (target, tell) in files {
        // Made on the first file: a scan of one file needs one.
        let scanner = match &mut scanner {
            Some(scanner) => scanner,
            none => none.insert(rules.scanner()?),
        };
        // A closed channel means that nobody listens; then the next file ends this worker, because there is none.
        let _ = scan_file(scanner, maker, &target, options, &tell);
    }
    Ok(())
}

/// Nobody listens any more.
struct Unheard;

fn scan_file(
    scanner: &mut ScanDetector,
    maker: &Maker,
    target: &Target,
    options: &ScanOptions,
    out: &Sender<Scanned>,
) -> Result<(), Unheard> {
    let tell = |scanned| out.send(scanned).map_err(|_| Unheard);
    let mut blocks = match Blocks::open(target, options.limits, options.caps, options.binary) {
        Ok(Ok(blocks)) => blocks,
        Ok(Err(skip)) => return tell(Scanned::Skipped(skip)),
        Err(error) => return tell(Scanned::Failed(error)),
    };
    let refused = scanner.failed_blocks();
    let mut repeats = Repeats::new(maker);
    let failed = loop {
        let block = match blocks.next_block() {
            Ok(Some(block)) => block,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        let mut heard = Ok(());
        scanner.inspect_log(&block, &mut |hit| {
            repeats.count(&hit, block.at);
            if repeats.is_full() && heard.is_ok() {
                heard = repeats.take().try_for_each(|finding| tell(Scanned::Finding(finding)));
            }
        });
        heard?;
    };
    repeats.take().try_for_each(|finding| tell(Scanned::Finding(finding)))?;
    failed.map_or(Ok(()), |error| tell(Scanned::Failed(error)))?;
    tell(Scanned::File { bytes: blocks.bytes(), refused_blocks: scanner.failed_blocks() - refused })
}

/// The findings of one file: each with the place where it was first seen, and how often it was.
struct Repeats<'a> {
    maker: &'a Maker,
    counts: Findings,
    first_seen: Vec<Finding>,
}

impl<'a> Repeats<'a> {
    fn new(maker: &'a Maker) -> Self {
        Self { maker, counts: Findings::new(u64::MAX), first_seen: Vec::new() }
    }

    fn count(&mut self, hit: &Hit<'_>, at: Timestamp) {
        self.first_seen.extend(self.counts.count(vec![self.maker.occurrence(hit, at, None)], at));
    }

    fn is_full(&self) -> bool {
        self.first_seen.len() >= MAX_OPEN
    }

    /// All findings, by their first place; counts start anew.
    fn take(&mut self) -> impl Iterator<Item = Box<Finding>> + use<> {
        let mut last: HashMap<String, Finding> =
            self.counts.finish().into_iter().map(|finding| (finding.finding_id.clone(), finding)).collect();
        self.counts = Findings::new(u64::MAX);
        std::mem::take(&mut self.first_seen).into_iter().map(move |mut finding| {
            if let Some(last) = last.remove(&finding.finding_id) {
                finding.count = last.count;
                finding.confidence = last.confidence;
                finding.last_seen = last.last_seen;
            }
            Box::new(finding)
        })
    }
}

#[cfg(test)]
mod tests;
