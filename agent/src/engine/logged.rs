//! The calls that logs tell of. Enters: a block of a log. Leaves: a batch with usage and findings of
//! the calls in it, and with what detectors learned, to commit together with the block's checkpoint: read again after a
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
    exchange::{Exchange, LoggedCalls, Subject},
    findings::{Call, FingerprintKey},
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
    /// `keeps_calls` says that the calls themselves are streamed.
    pub fn new(rules: &Rules, key: FingerprintKey, known: Arc<KnownCalls>, keeps_calls: bool) -> Self {
        let told = Arc::new(Mutex::new(Batch::default()));
        let sink = Box::new(Collects { batch: Arc::clone(&told), keeps_calls });
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

    /// The calls that a block tells of, with the positions of their lines.
    pub fn calls(&self, block: &LogBlock) -> Vec<(usize, Exchange)> {
        let reader = self.with(|inner| inner.calls.clone());
        let mut calls = Vec::new();
        reader.read(block.text(), &block.file.messages, block.at, &mut |position, call| calls.push((position, call)));
        // Lines that the window before had already.
        calls.retain(|(position, _)| block.raw_at(*position) >= block.overlap);
        calls
    }

    /// Has submitted what the calls in `block` are worth. While that waits for room so do the other blocks with
    /// calls: what detectors learned must be stored in the order in which they learned it.
    pub fn learn<R>(&self, block: &LogBlock, calls: Vec<(usize, Exchange)>, submit: impl FnOnce(Batch) -> R) -> R {
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
        submit(learned)
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
struct Collects {
    batch: Arc<Mutex<Batch>>,
    keeps_calls: bool,
}

impl Sink for Collects {
    fn told(&mut self, told: Told<'_>) -> io::Result<()> {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Subject::Exchange(exchange) = told.subject {
            batch.usage.push(UsageRow::of(exchange, told.cost));
            if self.keeps_calls {
                batch.calls.push(Call::of(exchange, told.cost, told.caller));
            }
        }
        batch.findings.extend(told.findings);
        batch.states.extend(told.states);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        findings::Finding,
        rules::RuleSource,
        sources::log::LogFile,
        units::{NanoUsd, Timestamp},
    };

    fn block(text: &str) -> LogBlock {
        let file = LogFile { path: "/var/log/shop.log".into(), ..LogFile::default() };
        LogBlock::whole(Arc::new(file), Bytes::from(text.to_owned()), Timestamp(1_795_392_000_000_000_000))
    }

    fn line(id: &str, model: &str, tokens: u64) -> String {
        format!(
            "{{\"gen_ai.provider.name\":\"openai\",\"gen_ai.request.model\":\"gpt-4o\",\"gen_ai.response.model\":\"{model}\",\
             \"gen_ai.response.id\":\"{id}\",\"gen_ai.usage.input_tokens\":{tokens},\"gen_ai.usage.output_tokens\":1}}\n"
        )
    }

    #[test]
    fn calls_in_a_block_go_with_its_batch_and_count_once() {
        let rules = Rules::load(&RuleSource::Embedded, &[]).unwrap();
        let known = Arc::new(KnownCalls::default());
        let session = LoggedSession::new(&rules, FingerprintKey::new([7; 32]), known, true);
        let submitted = |text: &str| {
            let block = block(text);
            session.learn(&block, session.calls(&block), |batch| batch)
        };
        let ids = |findings: &[Finding]| findings.iter().map(|finding| finding.rule.id.clone()).collect::<Vec<_>>();

        let first =
            submitted(&(line("a", "gpt-4o-2024-08-06", 1_000_000) + &line("a", "gpt-4o-2024-08-06", 1_000_000)));
        assert_eq!((first.usage.len(), first.calls.len()), (1, 1));
        let usage = first.usage.first().unwrap();
        assert_eq!((usage.service.as_str(), usage.input_tokens), ("", 1_000_000));
        assert_eq!(usage.cost_nano_usd, NanoUsd(2_500_010_000));
        assert!(ids(&first.findings).contains(&"model.unpinned".to_owned()));
        assert!(!first.states.is_empty(), "what was learned is kept with it");

        let second = submitted(&(line("b", "gpt-4o-2024-11-20", 10) + &line("c", "gpt-4o-2024-11-20", 10)));
        assert!(ids(&second.findings).contains(&"model.resolved_changed".to_owned()), "{:?}", ids(&second.findings));
        assert_eq!(submitted("nothing of that kind\n").usage.len(), 0);
        assert_eq!((session.counted.load(Relaxed), session.repeated.load(Relaxed)), (3, 1));
    }
}
