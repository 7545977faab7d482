//! Between a session and a store. Enters: what a session tells. Leaves: one batch a subject, so that its findings, its usage and what
//! detectors learned commit together. It prints nothing; [`Both`] tells two sinks the same.

use std::{collections::VecDeque, io, sync::Arc};

use super::{Sink, Told};
use crate::{
    exchange::Subject,
    findings::Call,
    store::{Batch, Receipt, Store, StoreError, UsageRow, WhenFull},
    units::Timestamp,
};

/// A store as a session writes to it.
#[derive(Debug)]
pub struct Durable {
    store: Arc<Store>,
    when_full: WhenFull,
    /// Of batches that are not known to be on the disk; as many as the store's queue and one commit hold.
    receipts: VecDeque<Receipt>,
    /// When revisions were last asked for, in the time of what is told.
    cut_at: Timestamp,
    cut_every_ns: u64,
}

impl Durable {
    /// Writes to `store`; with [`WhenFull::Fail`] what finds no room is counted in [`Store::stats`], with [`WhenFull::Wait`] the
    /// session waits. Revisions are cut every `cut_every_ns`, by the time of what is told.
    pub fn new(store: Arc<Store>, when_full: WhenFull, cut_every_ns: u64) -> Self {
        Self { store, when_full, receipts: VecDeque::new(), cut_at: Timestamp::default(), cut_every_ns }
    }

    /// Looks at the receipts that have come. A batch that was refused for want of room was counted; anything else is an error.
    fn look(&mut self) -> Result<(), StoreError> {
        while let Some(result) = self.receipts.front().and_then(Receipt::try_wait) {
            self.receipts.pop_front();
            self.judge(result)?;
        }
        Ok(())
    }

    fn judge(&self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        match result {
            Err(error) if self.when_full == WhenFull::Fail && (error.is_passing() || is_busy(&error)) => Ok(()),
            result => result,
        }
    }

    fn submit(&mut self, batch: Batch) -> Result<(), StoreError> {
        let receipt = match self.when_full {
            WhenFull::Wait => self.store.submit(batch),
            WhenFull::Fail => self.store.try_submit(batch),
            WhenFull::Retry => self.store.offer(batch),
        };
        match receipt {
            Ok(receipt) => self.receipts.push_back(receipt),
            Err(error) => self.judge(Err(error))?,
        }
        self.look()
    }

    fn cut(&mut self, at: Timestamp) -> Result<(), StoreError> {
        if at.since_ns(self.cut_at) < self.cut_every_ns {
            return Ok(());
        }
        self.cut_at = at;
        match self.store.cut_due(at) {
            // The counts are kept: it is cut another time.
            Err(error) if error.is_passing() => Ok(()),
            result => result.map(drop),
        }
    }
}

impl Sink for Durable {
    fn told(&mut self, told: Told<'_>) -> io::Result<()> {
        let at = told.subject.at();
        let mut batch = Batch { findings: told.findings, states: told.states, ..Batch::default() };
        match told.subject {
            Subject::Exchange(exchange) if told.is_new => {
                batch.usage.push(UsageRow::of(exchange, told.cost));
                if self.store.keeps_calls() {
                    batch.calls.push(Call::of(exchange, told.cost, told.caller));
                }
            }
            Subject::Log { block, .. } => batch.checkpoints.extend(block.checkpoint.clone()),
            Subject::Exchange(_) | Subject::Unseen(_) | Subject::Handshake(_) => {}
        }
        self.submit(batch).and_then(|()| self.cut(at)).map_err(io::Error::other)
    }

    /// Closes the store: what has no room by then is refused. The first batch that was not kept is the error.
    fn finish(&mut self) -> io::Result<()> {
        let closed = self.store.close();
        let receipts = std::mem::take(&mut self.receipts);
        let kept = receipts.into_iter().try_for_each(|receipt| self.judge(receipt.wait()));
        kept.and(closed).map_err(io::Error::other)
    }
}

fn is_busy(error: &StoreError) -> bool {
    matches!(error, StoreError::Busy)
}

/// Tells two sinks the same: one that people read, and one that keeps. A reader that goes away is no reason to stop keeping; any other
/// error of either ends both.
pub struct Both {
    read: Box<dyn Sink>,
    kept: Box<dyn Sink>,
    /// The error that said that nobody reads any more.
    unread: Option<io::Error>,
}

impl Both {
    /// `read` may lose its reader, `kept` goes on.
    pub fn new(read: Box<dyn Sink>, kept: Box<dyn Sink>) -> Self {
        Self { read, kept, unread: None }
    }

    fn note(&mut self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.unread = Some(error);
                Ok(())
            }
            result => result,
        }
    }
}

impl Sink for Both {
    fn told(&mut self, told: Told<'_>) -> io::Result<()> {
        let kept = self.kept.told(told.clone());
        let read = if self.unread.is_none() { self.read.told(told) } else { Ok(()) };
        self.note(read).and(kept)
    }

    fn finish(&mut self) -> io::Result<()> {
        let kept = self.kept.finish();
        let read = self.read.finish();
        self.note(read).and(kept)?;
        self.unread.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        exchange::{Cost, CostSource, Exchange, sample},
        findings::{Finding, FingerprintKey, Maker},
        store::{Filter, Limits, StoreReader},
        units::NanoUsd,
    };

    fn store(folder: &tempfile::TempDir) -> Arc<Store> {
        Arc::new(Store::open(&folder.path().join("s.db"), Limits::default()).unwrap())
    }

    fn call(minute: u64) -> Exchange {
        let mut call = sample::exchange("openai", "gpt-4o");
        call.started_at = Timestamp(sample::MIDNIGHT.0 + minute * 60_000_000_000);
        call.ended_at = call.started_at;
        call
    }

    fn found(call: &Exchange) -> Vec<Finding> {
        let hit = crate::detectors::Hit::Behaviour(crate::detectors::Behaviour {
            rule: "model.unpinned",
            references: Vec::new(),
            key: "gpt-4o".into(),
            severity: crate::units::Severity::Medium,
            confidence: 95,
            title: "it can change".into(),
            case: None,
            facts: Vec::new(),
            exchange: call,
        });
        vec![Maker::new(FingerprintKey::new([7; 32])).occurrence(&hit, call.ended_at, None)]
    }

    fn tell(sink: &mut dyn Sink, minutes: std::ops::Range<u64>) -> io::Result<()> {
        let cost = Cost { nano_usd: NanoUsd(5), source: CostSource::Catalogue, catalogue: String::new() };
        for minute in minutes {
            let call = call(minute);
            let (subject, findings) = (Subject::Exchange(&call), found(&call));
            sink.told(Told { subject, cost: Some(&cost), is_new: true, caller: None, findings, states: Vec::new() })?;
        }
        Ok(())
    }

    #[test]
    fn a_session_is_kept_with_its_usage_and_its_revisions() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let mut sink = Durable::new(Arc::clone(&store), WhenFull::Wait, 60_000_000_000);
        tell(&mut sink, 0..3).unwrap();
        tell(&mut sink, 2..3).unwrap();
        sink.finish().unwrap();

        let reader = StoreReader::open(store.path()).unwrap();
        let usage: Vec<_> = reader
            .usage(0)
            .unwrap()
            .into_iter()
            .map(|row| (row.calls, row.input_tokens, row.cost_nano_usd.0))
            .collect();
        assert_eq!(usage, [(1, 1000, 5), (1, 1000, 5), (2, 2000, 10)]);
        let [finding] = &reader.findings(&Filter::default()).unwrap()[..] else { panic!("one finding") };
        assert_eq!((finding.count, finding.last_seen.as_str()), (4, "2026-11-23T00:02:00.000Z"));
        let history = reader.history(&finding.finding_id).unwrap();
        assert_eq!(history.last().and_then(|revision| revision.finding.as_ref()), Some(finding));
        assert!(history.len() > 1, "{history:?}");
        assert_eq!(tell(&mut sink, 3..4).unwrap_err().to_string(), "the store is closed");
    }

    /// Fails after some subjects, and counts how often it was finished.
    struct Reader {
        left: usize,
        then: io::ErrorKind,
        finished: Arc<Mutex<usize>>,
    }

    impl Sink for Reader {
        fn told(&mut self, _told: Told<'_>) -> io::Result<()> {
            self.left = self.left.checked_sub(1).ok_or(self.then)?;
            Ok(())
        }

        fn finish(&mut self) -> io::Result<()> {
            *self.finished.lock().unwrap() += 1;
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_goes_away_stops_nothing_and_a_full_disk_does() {
        for (then, kept) in [(io::ErrorKind::BrokenPipe, 5), (io::ErrorKind::StorageFull, 3)] {
            let folder = tempfile::tempdir().unwrap();
            let store = store(&folder);
            let finished = Arc::new(Mutex::new(0));
            let reader = Reader { left: 2, then, finished: Arc::clone(&finished) };
            let durable = Durable::new(Arc::clone(&store), WhenFull::Wait, u64::MAX);
            let mut both = Both::new(Box::new(reader), Box::new(durable));
            let told = tell(&mut both, 0..5);
            let ended = both.finish();
            let error = told.and(ended).unwrap_err();
            assert_eq!(error.kind(), then);
            // Whatever happened to the reader: what was told is kept, and the last revision is cut.
            let reader = StoreReader::open(store.path()).unwrap();
            let counts: Vec<u64> =
                reader.findings(&Filter::default()).unwrap().iter().map(|finding| finding.count).collect();
            assert_eq!((counts, *finished.lock().unwrap()), (vec![kept], 1));
            assert_eq!(reader.outbox_after(0, 10).unwrap().len(), 2);
        }
    }
}
