//! The log half: one thread a shard, bounded channels, by file. Enters: [`LogInput`]. Leaves: to the store one batch an input, the findings of
//! a block together with its checkpoint. A block that cannot be stored is followed by none of its file; nothing is dropped: a full
//! store makes the worker wait, a waiting worker the tail, and then the files wait.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    LiveRules, LiveScanner, LoadError, LoggedSession, Silenced,
    found::{Found, add_silenced},
};
use crate::{
    findings::{Finding, FingerprintKey, Maker},
    sources::{
        log::LogBlock,
        tail::{LogInput, Mark},
    },
    store::{Batch, Receipt, Store, StoreError},
};

/// Inputs that may wait for one worker. A block is about a megabyte, so this bounds memory.
const QUEUE: usize = 4;
/// Files of which a worker may have a batch on its way.
const UNDER_WAY: usize = 64;
/// Rows that they may have together; a finding takes about 2 KiB.
const ROWS_UNDER_WAY: usize = 10_000;

/// Told of the findings of every input, before they are stored.
pub type Watch = Arc<dyn Fn(&[Finding]) + Send + Sync>;

/// The threads.
#[derive(Debug)]
pub struct LogWorkers {
    queues: Vec<Sender<LogInput>>,
    threads: Vec<JoinHandle<Result<(), StoreError>>>,
    unseen: Arc<Unseen>,
}

/// What was not looked at, or not told.
#[derive(Debug, Default)]
pub struct Unseen {
    /// Blocks that the scanner refused.
    pub refused_blocks: AtomicU64,
    silenced: Mutex<Silenced>,
}

impl Unseen {
    /// Hits that were not told, by reason.
    pub fn silenced(&self) -> Silenced {
        self.silenced.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, found: &Found) {
        self.refused_blocks.fetch_add(found.refused_blocks, Relaxed);
        if !found.silenced.is_empty() {
            add_silenced(&mut self.silenced.lock().unwrap_or_else(PoisonError::into_inner), &found.silenced);
        }
    }
}

/// Hands inputs to the workers.
#[derive(Clone, Debug)]
pub struct LogDeliver {
    queues: Vec<Sender<LogInput>>,
}

impl LogWorkers {
    /// Starts `count` workers, at least one.
    pub fn start(
        rules: &Arc<LiveRules>,
        key: &FingerprintKey,
        store: &Arc<Store>,
        logged: &Arc<LoggedSession>,
        watch: &Watch,
        count: usize,
    ) -> Result<Self, LoadError> {
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        let unseen = Arc::new(Unseen::default());
        for index in 0..count.max(1) {
            let (sender, receiver) = bounded(QUEUE);
            let worker = Worker {
                scanner: LiveScanner::new(Arc::clone(rules))?,
                maker: Maker::new(key.clone()),
                store: Arc::clone(store),
                logged: Arc::clone(logged),
                watch: Arc::clone(watch),
                unseen: Arc::clone(&unseen),
                under_way: HashMap::new(),
                rows: 0,
            };
            let work = move || worker.run(&receiver);
            let name = format!("outflow-log-{index}");
            threads.push(std::thread::Builder::new().name(name).spawn(work).map_err(LoadError::Thread)?);
            queues.push(sender);
        }
        Ok(Self { queues, threads, unseen })
    }

    /// A handle for the tail.
    pub fn deliver(&self) -> LogDeliver {
        LogDeliver { queues: self.queues.clone() }
    }

    /// A worker has ended by itself: the store took something no more.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// What was not looked at, or not told.
    pub fn unseen(&self) -> &Unseen {
        &self.unseen
    }

    /// Waits until everything delivered is stored. All [`LogDeliver`]s must be gone by then.
    pub fn finish(self) -> Result<(), StoreError> {
        drop(self.queues);
        let ended = self.threads.into_iter().map(|thread| thread.join().unwrap_or(Err(StoreError::Closed)));
        // All are waited for, also after one that failed.
        ended.fold(Ok(()), Result::and)
    }
}

impl LogDeliver {
    /// Waits while the worker's channel is full. False when the worker has ended.
    pub fn input(&self, input: LogInput) -> bool {
        let mut hasher = DefaultHasher::new();
        path_of(&input).hash(&mut hasher);
        let shard = usize::try_from(hasher.finish() % self.queues.len().max(1) as u64).unwrap_or(0);
        self.queues.get(shard).is_some_and(|queue| queue.send(input).is_ok())
    }
}

/// All inputs of one log, rotated siblings too, take the same way.
fn path_of(input: &LogInput) -> &str {
    match input {
        LogInput::Block(block) => &block.file.path,
        LogInput::Mark(mark) => &mark.file.path,
    }
}

struct Worker {
    scanner: LiveScanner,
    maker: Maker,
    store: Arc<Store>,
    logged: Arc<LoggedSession>,
    watch: Watch,
    unseen: Arc<Unseen>,
    /// The last batch of each file, until it is known to be stored: the next one's checkpoint must not pass it.
    under_way: HashMap<String, Receipt>,
    /// Rows of all batches since nothing was under way.
    rows: usize,
}

impl Worker {
    fn run(mut self, inputs: &Receiver<LogInput>) -> Result<(), StoreError> {
        for input in inputs {
            self.take(input)?;
        }
        self.settle()
    }

    fn take(&mut self, input: LogInput) -> Result<(), StoreError> {
        let path = path_of(&input).to_owned();
        let (block, batch) = self.batch(input);
        if let Some(before) = self.under_way.remove(&path) {
            before.wait()?;
        }
        if self.under_way.len() >= UNDER_WAY || self.rows > ROWS_UNDER_WAY {
            self.settle()?;
            self.rows = 0;
        }
        let Self { store, watch, rows, .. } = self;
        let mut submit = |batch: Batch| {
            watch(&batch.findings);
            *rows += batch.rows();
            store.submit(batch)
        };
        let receipt = match &block {
            Some(block) => self.logged.submit(block, batch, submit),
            None => submit(batch),
        };
        self.under_way.insert(path, receipt?);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        self.under_way.drain().try_for_each(|(_, receipt)| receipt.wait())
    }

    /// What is to be stored for an input, and the lines in it.
    fn batch(&mut self, input: LogInput) -> (Option<LogBlock>, Batch) {
        match input {
            LogInput::Block(block) => {
                let (scanner, policy) = self.scanner.parts();
                let found = Found::in_block(scanner, &self.maker, policy, &block, |finding, seen| {
                    finding.absorb(seen, true);
                });
                self.unseen.count(&found);
                let (findings, checkpoints) = (found.findings, block.checkpoint.clone().into_iter().collect());
                (Some(block), Batch { findings, checkpoints, ..Batch::default() })
            }
            LogInput::Mark(mark) => {
                let (_, policy) = self.scanner.parts();
                let findings = mark.gap.iter().map(|gap| self.maker.gap(&mark.file, gap, mark.at, policy)).collect();
                let Mark { checkpoints, forgotten, .. } = mark;
                (None, Batch { findings, checkpoints, forgotten, ..Batch::default() })
            }
        }
    }
}
