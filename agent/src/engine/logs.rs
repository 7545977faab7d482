//! The log half: one thread a shard, bounded channels, by file. Enters: [`LogInput`]. Leaves: to the store a batch of all inputs that waited, the findings of
//! a block together with its checkpoint. A batch that cannot be stored is followed by none; nothing is dropped: a full
//! store makes the worker wait, a waiting worker the tail, and then the files wait.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use hashbrown::HashMap;

use super::{
    LiveRules, LiveScanner, LoadError, LoggedSession, Silenced,
    found::{Found, Shown, add_silenced},
};
use crate::{
    clock,
    findings::{Finding, FingerprintKey, Maker},
    sources::tail::{LogInput, Mark},
    store::{Batch, Receipt, Store, StoreError},
};

/// Inputs that may wait for one worker. A block is about a megabyte, so this bounds memory.
const QUEUE: usize = 4;
/// What a worker gathers at most while more inputs wait: a commit costs the more, a row, the fewer it has. A finding takes about 2 KiB.
const GATHERED_ROWS: usize = 1000;
/// Of text; blocks without findings have checkpoints.
const GATHERED_BYTES: usize = 16 << 20;
/// Blocks of about a megabyte that are gathered when all are full.
const GATHERED_BLOCKS: usize = GATHERED_BYTES >> 20;
/// And for how long: whoever waits for the first of them waits that much longer.
const GATHERED_FOR: Duration = Duration::from_millis(100);

/// Least time between two batches of a worker, when nothing waits: with a thousand files it is the tail that is behind, and each would be a commit.
const PAUSE: Duration = Duration::from_millis(5);

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
                gathered: Gathered::default(),
                under_way: None,
                submitted: None,
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
    gathered: Gathered,
    /// The last batch, until it is known to be stored: the checkpoints of the next one must not pass it.
    under_way: Option<Receipt>,
    /// When it was handed over.
    submitted: Option<Instant>,
}

/// What the store has not been given yet.
#[derive(Default)]
struct Gathered {
    batch: Batch,
    /// Where a finding stands in it: of those that repeat there is one.
    by_id: HashMap<String, usize>,
    bytes: usize,
    since: Option<Instant>,
}

impl Gathered {
    fn add(&mut self, mut batch: Batch, bytes: usize) {
        // PERF: where one block has many, the next have as well.
        let expected = (batch.findings.len() * GATHERED_BLOCKS).min(GATHERED_ROWS);
        self.batch.findings.reserve(expected.saturating_sub(self.batch.findings.len()));
        for seen in batch.findings.drain(..) {
            if let Some(finding) =
                self.by_id.get(&seen.finding_id).and_then(|index| self.batch.findings.get_mut(*index))
            {
                finding.absorb(seen, true);
            } else {
                self.by_id.insert(seen.finding_id.clone(), self.batch.findings.len());
                self.batch.findings.push(seen);
            }
        }
        self.batch.append(batch);
        self.bytes += bytes;
        self.since.get_or_insert_with(clock::instant);
    }

    fn is_due(&self) -> bool {
        self.batch.rows() >= GATHERED_ROWS
            || self.bytes >= GATHERED_BYTES
            || self.since.is_some_and(|since| since.elapsed() >= GATHERED_FOR)
    }
}

impl Worker {
    fn run(mut self, inputs: &Receiver<LogInput>) -> Result<(), StoreError> {
        loop {
            // Nothing waits: what was gathered is not to wait either, or not long.
            let rest = self.submitted.map_or(Duration::ZERO, |at| PAUSE.saturating_sub(at.elapsed()));
            let next = match self.gathered.since {
                Some(_) => inputs.recv_timeout(rest),
                None => inputs.recv().map_err(RecvTimeoutError::from),
            };
            let input = match next {
                Ok(input) => input,
                Err(RecvTimeoutError::Timeout) => {
                    self.submit(Batch::default())?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.take(input)?;
            if self.gathered.is_due() {
                self.submit(Batch::default())?;
            }
        }
        self.submit(Batch::default())?;
        self.settle()
    }

    fn take(&mut self, input: LogInput) -> Result<(), StoreError> {
        let (_, policy) = self.scanner.parts();
        let block = match input {
            LogInput::Mark(mark) => {
                let findings = mark.gap.iter().map(|gap| self.maker.gap(&mark.file, gap, mark.at, policy)).collect();
                let Mark { checkpoints, forgotten, .. } = mark;
                self.gathered.add(Batch { findings, checkpoints, forgotten, ..Batch::default() }, 0);
                return Ok(());
            }
            LogInput::Block(block) => block,
        };
        let (scanner, policy) = self.scanner.parts();
        let found = Found::in_block(scanner, &self.maker, policy, &block, Shown::Newest);
        self.unseen.count(&found);
        let checkpoints = block.checkpoint.clone().into_iter().collect();
        self.gathered.add(Batch { findings: found.findings, checkpoints, ..Batch::default() }, block.bytes.len());
        let calls = self.logged.calls(&block);
        if calls.is_empty() {
            return Ok(());
        }
        // So that nobody waits for this worker's last batch while others wait for their turn.
        self.settle()?;
        let logged = Arc::clone(&self.logged);
        logged.learn(&block, calls, |learned| self.submit(learned))
    }

    /// Hands over what was gathered, and `more` with it.
    fn submit(&mut self, more: Batch) -> Result<(), StoreError> {
        let mut batch = std::mem::take(&mut self.gathered).batch;
        batch.append(more);
        if batch.is_empty() {
            return Ok(());
        }
        self.settle()?;
        (self.watch)(&batch.findings);
        self.under_way = Some(self.store.submit(batch)?);
        self.submitted = Some(clock::instant());
        Ok(())
    }

    /// Waits for the last batch.
    fn settle(&mut self) -> Result<(), StoreError> {
        self.under_way.take().map_or(Ok(()), Receipt::wait)
    }
}
