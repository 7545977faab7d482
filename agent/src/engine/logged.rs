//! The calls that logs tell of. Enters: a block of a log, and the batch that is to be stored for it. Leaves: that batch with usage and findings of
//! the calls in it, and with what detectors learned, so that all commits together with the block's checkpoint: read again after a
//! crash, a line counts once. Only detectors that need no more of a call than a log has take part.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{KnownCalls, Rules, Session, Sink, Told, detectors};
use crate::{
    detectors::Detector,
    exchange::{LoggedCalls, Subject},
    findings::FingerprintKey,
    sources::log::LogBlock,
    store::{Batch, UsageRow},
};

/// Shared by the log workers.
pub struct LoggedSession {
    /// Held from learning to storing, by one block at a time.
    turn: Mutex<()>,
    /// Never held while somebody waits for the store.
    inner: Mutex<Inner>,
    known: Arc<KnownCalls>,
    /// Calls that counted.
    pub counted: AtomicU64,
    /// Calls that somebody had told of before.
    pub repeated: AtomicU64,
}

struct Inner {
    session: Session,
    calls: LoggedCalls,
    told: Arc<Mutex<Batch>>,
}

impl LoggedSession {
    /// Nothing seen yet. Calls that `known` has count nothing.
    pub fn new(rules: &Rules, key: FingerprintKey, known: Arc<KnownCalls>) -> Self {
        let told = Arc::new(Mutex::new(Batch::default()));
        let sink = Box::new(Collects(Arc::clone(&told)));
        let session = Session::with_detectors(rules, key, sink, detectors::of_logs(rules));
        let calls = LoggedCalls { vendors: Arc::clone(&rules.vendors), models: Arc::clone(&rules.models) };
        let inner = Mutex::new(Inner { session, calls, told });
        Self { turn: Mutex::default(), inner, known, counted: AtomicU64::new(0), repeated: AtomicU64::new(0) }
    }

    /// Watches one thing more.
    pub fn watch(&self, detector: Box<dyn Detector + Send>) {
        self.with(|inner| inner.session.watch(detector));
    }

    /// Asks the session inside.
    pub fn session<R>(&self, ask: impl FnOnce(&Session) -> R) -> R {
        self.with(|inner| ask(&inner.session))
    }

    /// Goes on with other rules.
    pub fn reload(&self, rules: &Rules) {
        self.with(|inner| {
            inner.session.reload(rules);
            inner.calls = LoggedCalls { vendors: Arc::clone(&rules.vendors), models: Arc::clone(&rules.models) };
        });
    }

    /// Adds to `batch` what the calls in `block` are worth, and has it submitted. While that waits for room so do the other blocks with
    /// calls: what detectors learned must be stored in the order in which they learned it.
    pub fn submit<R>(&self, block: &LogBlock, mut batch: Batch, submit: impl FnOnce(Batch) -> R) -> R {
        let reader = self.with(|inner| inner.calls.clone());
        let mut calls = Vec::new();
        reader.read(block.text(), block.at, &mut |position, call| calls.push((position, call)));
        // Lines that the window before had already.
        calls.retain(|(position, _)| block.raw_at(*position) >= block.overlap);
        if calls.is_empty() {
            return submit(batch);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let learned = self.with(|Inner { session, told, .. }| {
            for (position, mut call) in calls {
                call.origin = block.author(block.raw_at(position));
                let is_new = self.known.logged(&call);
                (if is_new { &self.counted } else { &self.repeated }).fetch_add(1, Relaxed);
                if is_new {
                    session.complete(&mut call);
                    session.record(&call, &[]);
                }
            }
            std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner))
        });
        batch.findings.extend(learned.findings);
        batch.usage.extend(learned.usage);
        batch.states.extend(learned.states);
        submit(batch)
    }

    fn with<R>(&self, ask: impl FnOnce(&mut Inner) -> R) -> R {
        ask(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for LoggedSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoggedSession").finish_non_exhaustive()
    }
}

/// A sink that keeps what it is told until somebody takes it.
struct Collects(Arc<Mutex<Batch>>);

impl Sink for Collects {
    fn told(&mut self, told: Told<'_>) -> io::Result<()> {
        let mut batch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Subject::Exchange(exchange) = told.subject {
            batch.usage.push(UsageRow::of(exchange, told.cost));
        }
        batch.findings.extend(told.findings);
        batch.states.extend(told.states);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
