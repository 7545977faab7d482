//! One thread of a scan. Enters: files, and blocks of the files of others. Leaves: what is in a file, in order. Whoever gets a file
//! reads it and puts the results together; blocks after the first may be scanned by whoever has nothing to do, so that one large
//! file keeps all of them busy. Which of them scanned a block changes nothing of what is told.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select};

use super::{ScanOptions, Scanned, Task, repeats::Repeats};
use crate::{
    detectors::{model_ids::is_code, scan::ScanDetector},
    engine::{
        LoadError, Rules, Silenced,
        found::{Found, Shown, add_silenced},
    },
    findings::{Maker, Policy, UNPINNED},
    sources::{files::Blocks, files::Target, log::LogBlock},
    units::Timestamp,
};

/// Blocks of one file that may be handed out or done and not yet be told, a worker.
const BLOCKS_AHEAD: usize = 4;
/// Findings that one block may bring from another worker; a block with more is scanned again by the file's own, so that few of
/// such wait at a time.
const BLOCK_FINDINGS_MAX: usize = 4096;

/// A block of a file that another worker reads.
pub(super) struct Share {
    block: LogBlock,
    answer: Sender<Answer>,
}

enum Answer {
    Found(Found),
    TooMany(LogBlock),
}

/// A block whose findings are to be told next, after those before it.
enum Waiting {
    Done(Found),
    Shared(Receiver<Answer>),
}

/// Nobody listens any more.
struct Unheard;

pub(super) struct Worker<'a> {
    rules: &'a Rules,
    maker: &'a Maker,
    policy: Arc<Policy>,
    options: &'a ScanOptions,
    give: Sender<Share>,
    shared: Receiver<Share>,
    looks_for_models: bool,
    /// Made for the first block: a scan of one small file needs one.
    scanner: Option<ScanDetector>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        rules: &'a Rules,
        maker: &'a Maker,
        options: &'a ScanOptions,
        give: Sender<Share>,
        shared: Receiver<Share>,
    ) -> Self {
        let looks_for_models = !rules.disabled.iter().any(|id| id == UNPINNED);
        let policy = Arc::clone(&rules.policy);
        Self { rules, maker, policy, options, give, shared, looks_for_models, scanner: None }
    }

    /// Until there is neither a file nor a block.
    pub(super) fn run(mut self, files: &Receiver<Task>) -> Result<(), LoadError> {
        loop {
            // What was begun comes first: its findings are told before those of the next file.
            while let Ok(share) = self.shared.try_recv() {
                self.help(share)?;
            }
            select! {
                recv(self.shared) -> share => if let Ok(share) = share { self.help(share)? },
                recv(files) -> task => match task {
                    // A closed channel means that nobody listens; then the next file ends this worker, because there is none.
                    Ok((target, tell)) => drop(self.file(&target, &tell)?),
                    Err(_) => break,
                },
            }
        }
        // No file is left for this one; those of the others end when all have come here.
        let (nobody, _) = bounded(0);
        self.give = nobody;
        let shared = self.shared.clone();
        for share in shared {
            self.help(share)?;
        }
        Ok(())
    }

    fn found(&mut self, block: &LogBlock) -> Result<Found, LoadError> {
        let scanner = match &mut self.scanner {
            Some(scanner) => scanner,
            none => none.insert(self.rules.scanner()?),
        };
        let mut found = Found::in_block(scanner, self.maker, &self.policy, block, Shown::First);
        if self.looks_for_models && is_code(&block.file.path) {
            found.models_in_block(&self.rules.models, self.maker, &self.policy, block);
        }
        Ok(found)
    }

    /// Scans a block of another worker's file. Never waits: the answer has room.
    fn help(&mut self, Share { block, answer }: Share) -> Result<(), LoadError> {
        let found = self.found(&block)?;
        let many = found.findings.len() > BLOCK_FINDINGS_MAX;
        // Whose file it is may have found that nobody listens.
        drop(answer.send(if many { Answer::TooMany(block) } else { Answer::Found(found) }));
        Ok(())
    }

    fn file(&mut self, target: &Target, out: &Sender<Scanned>) -> Result<Result<(), Unheard>, LoadError> {
        let tell = |scanned| out.send(scanned).map_err(|_| Unheard);
        let options = self.options;
        let mut blocks = match Blocks::open(target, options.limits, options.caps, options.binary) {
            Ok(Ok(blocks)) => blocks,
            Ok(Err(skip)) => return Ok(tell(Scanned::Skipped(skip))),
            Err(error) => return Ok(tell(Scanned::Failed(error))),
        };
        let mut telling = Telling { out, repeats: Repeats::new(), silenced: Silenced::new(), refused_blocks: 0 };
        let mut waiting: VecDeque<(Timestamp, Waiting)> = VecDeque::new();
        let ahead = BLOCKS_AHEAD * options.workers.max(1);
        let mut is_first = true;
        let failed = loop {
            let block = match blocks.next_block() {
                Ok(Some(block)) => block,
                Ok(None) => break None,
                Err(error) => break Some(error),
            };
            let at = block.at;
            options.progress_bytes.fetch_add((block.bytes.len() - block.overlap) as u64, Relaxed);
            // A small file is done before another worker has woken up.
            let next =
                if is_first || options.workers < 2 { Waiting::Done(self.found(&block)?) } else { self.share(block)? };
            is_first = false;
            waiting.push_back((at, next));
            while let Some((at, next)) = waiting.pop_front() {
                let found = match next {
                    Waiting::Done(found) => found,
                    Waiting::Shared(answer) if waiting.len() + 1 >= ahead => self.wait(&answer)?,
                    Waiting::Shared(answer) => match answer.try_recv() {
                        Ok(answer) => self.settle(answer)?,
                        Err(TryRecvError::Empty) => {
                            waiting.push_front((at, Waiting::Shared(answer)));
                            break;
                        }
                        Err(TryRecvError::Disconnected) => lost(),
                    },
                };
                if telling.take(found, at).is_err() {
                    return Ok(Err(Unheard));
                }
            }
        };
        for (at, next) in waiting {
            let found = match next {
                Waiting::Done(found) => found,
                Waiting::Shared(answer) => self.wait(&answer)?,
            };
            if telling.take(found, at).is_err() {
                return Ok(Err(Unheard));
            }
        }
        let told = telling
            .flush()
            .and_then(|()| failed.map_or(Ok(()), |error| tell(Scanned::Failed(error))))
            .and_then(|()| tell(telling.file(blocks.bytes())));
        Ok(told)
    }

    /// Gives a block to whoever has nothing to do; when there is nobody, scans it.
    fn share(&mut self, block: LogBlock) -> Result<Waiting, LoadError> {
        let (answer, receiver) = bounded(1);
        match self.give.try_send(Share { block, answer }) {
            Ok(()) => Ok(Waiting::Shared(receiver)),
            Err(full) => Ok(Waiting::Done(self.found(&full.into_inner().block)?)),
        }
    }

    /// Waits for an answer, and works meanwhile: perhaps on the very block.
    fn wait(&mut self, answer: &Receiver<Answer>) -> Result<Found, LoadError> {
        let shared = self.shared.clone();
        loop {
            select! {
                recv(answer) -> answer => return match answer {
                    Ok(answer) => self.settle(answer),
                    Err(_) => Ok(lost()),
                },
                recv(shared) -> share => if let Ok(share) = share { self.help(share)? },
            }
        }
    }

    fn settle(&mut self, answer: Answer) -> Result<Found, LoadError> {
        match answer {
            Answer::Found(found) => Ok(found),
            Answer::TooMany(block) => self.found(&block),
        }
    }
}

/// Whoever had the block is gone with an error, which is told when the threads are joined.
fn lost() -> Found {
    Found { refused_blocks: 1, ..Found::default() }
}

/// Puts the results of one file together.
struct Telling<'a> {
    out: &'a Sender<Scanned>,
    repeats: Repeats,
    silenced: Silenced,
    refused_blocks: u64,
}

impl Telling<'_> {
    fn take(&mut self, found: Found, at: Timestamp) -> Result<(), Unheard> {
        self.refused_blocks += found.refused_blocks;
        add_silenced(&mut self.silenced, &found.silenced);
        for finding in found.findings {
            self.repeats.count(finding, at);
            if self.repeats.is_full() {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Unheard> {
        let tell = |scanned| self.out.send(scanned).map_err(|_| Unheard);
        self.repeats.take().try_for_each(|finding| tell(Scanned::Finding(finding)))
    }

    fn file(&mut self, bytes: u64) -> Scanned {
        Scanned::File { bytes, refused_blocks: self.refused_blocks, silenced: std::mem::take(&mut self.silenced) }
    }
}
