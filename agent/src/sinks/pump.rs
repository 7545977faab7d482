//! The heart of a sink, the same for every kind of receiver. Enters: an outbox, a receiver. Leaves: delivered records, a cursor. It never
//! moves the cursor past a batch that was not taken, and it never gives up: it waits, longer each time, and says so once.
//!
//! Several batches are under way at a time, and their answers are taken in order. After one that was not taken nothing new is sent; when
//! the others have answered, everything behind the cursor is sent again. So records of a finding stay in order, but for repeats.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesOrdered};
use tokio::sync::watch;

use super::{
    gate::{Passes, Sorted, Withheld},
    outbox::{Outbox, Stream},
    receiver::{Account, Answer, Receiver, Refused},
    voice::Voice,
};
use crate::{clock, store::StoreError};

/// First pause after a failure.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });

/// Longest one.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A receiver that asks for more is asked again all the same.
const AFTER_MAX: Duration = Duration::from_mins(5);

/// Least time between two moves of the cursor while batches are under way: each is a commit.
const MOVE_INTERVAL: Duration = Duration::from_millis(50);

/// What the owner of a sink wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Deliver.
    #[default]
    Run,
    /// End when all that is there is delivered, or when the receiver takes nothing.
    Drain,
    /// End now.
    Stop,
}

/// A sink at work.
pub(super) struct Pump<R, T: Stream> {
    outbox: Outbox<T>,
    gate: T::Gate,
    receiver: R,
    voice: Voice,
    wanted: watch::Receiver<Wanted>,
    pauses: ExponentialBackoff,
    /// What the store is to be told.
    cursor: Move,
    /// The newest row that the store had when this began, or that was handed over since.
    newest: u64,
}

/// Why nothing more is sent for now.
#[derive(Debug)]
struct Failure {
    reason: String,
    after: Option<Duration>,
    is_broken: bool,
}

/// A batch that was answered.
struct Answered {
    /// Its last row.
    last: u64,
    records: usize,
    /// Rows of its page that nothing could be made of.
    unreadable: Vec<Refused>,
    /// Rows of its page that are not for this sink.
    withheld: Withheld,
    /// Where it counts for the sink's limit.
    window: u64,
    answer: Answer,
}

/// Where the cursor is to go.
#[derive(Debug, Default)]
struct Move {
    to: Option<u64>,
    refused: Vec<Refused>,
}

impl<R: Receiver<T>, T: Stream> Pump<R, T> {
    /// One sink.
    pub(super) fn new(
        outbox: Outbox<T>,
        gate: T::Gate,
        receiver: R,
        voice: Voice,
        wanted: watch::Receiver<Wanted>,
    ) -> Self {
        let newest = outbox.head();
        Self { outbox, gate, receiver, voice, wanted, pauses: pauses(), cursor: Move::default(), newest }
    }

    /// Delivers until it is told to end. An error: the store is of no use any more.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        self.deliver().await?;
        // A store that had no room when it was to be told may have some now.
        match self.cursor.make(&mut self.outbox) {
            Err(StoreError::Closed) => Ok(()),
            made => made,
        }
    }

    async fn deliver(&mut self) -> Result<(), StoreError> {
        let mut is_connected = false;
        loop {
            if !is_connected {
                let (outbox, reached) = (&self.outbox, self.cursor.to.unwrap_or(self.outbox.cursor()));
                let is_idle = || outbox.head() <= reached && !self.gate.has_digest();
                let failed = tokio::select! {
                    connected = self.receiver.connect() => connected.err(),
                    () = ended(&mut self.wanted, is_idle) => return Ok(()),
                };
                if let Some(error) = failed {
                    if !self.pause(Failure { reason: error.0, after: None, is_broken: true }).await {
                        return Ok(());
                    }
                    continue;
                }
                self.voice.stats.connected();
                is_connected = true;
            }
            match self.flow().await {
                // The owner closes the store after its sinks, or because it wants to end at once.
                Ok(None) | Err(StoreError::Closed) => return Ok(()),
                Ok(Some(failure)) => {
                    is_connected = !failure.is_broken;
                    if !self.pause(failure).await {
                        return Ok(());
                    }
                }
                Err(error) if error.is_passing() => {
                    if !self.pause(Failure { reason: error.to_string(), after: None, is_broken: false }).await {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the next batch begins. What a receiver with an account has, and the store did not come to know, is not sent again. An account that is
    /// ahead of all that this store ever had is that of a later state of it: the store was restored from a copy.
    fn reached(&mut self) -> u64 {
        let reached = self.cursor.to.unwrap_or(self.outbox.cursor());
        match self.receiver.account() {
            Account::Until(has) if has > reached && has <= self.newest => {
                self.cursor.to = Some(has);
                has
            }
            _ => reached,
        }
    }

    /// A receiver with an account passes what the store was not told of: so that is told before anything more is sent.
    fn settle(&mut self) -> Result<(), StoreError> {
        if self.receiver.account() == Account::None { Ok(()) } else { self.cursor.write(&mut self.outbox) }
    }

    /// Sends until something fails or there is nothing more to do.
    async fn flow(&mut self) -> Result<Option<Failure>, StoreError> {
        let appetite = self.receiver.appetite();
        let mut under_way = FuturesOrdered::new();
        let mut sent_to = self.reached();
        let mut failure: Option<Failure> = None;
        let mut moved_at = clock::instant();
        self.gate.rewind();
        loop {
            // A page at a time, and answers between them: so the cursor is never far behind what is delivered.
            let wanted = *self.wanted.borrow_and_update();
            let has_room = failure.is_none() && under_way.len() < appetite.batches;
            let is_read = self.outbox.head() <= sent_to;
            let due = self.gate.due_in(clock::instant());
            let is_due = due.is_some_and(|due| due.is_zero() || (wanted == Wanted::Drain && is_read));
            let mut is_busy = false;
            let sorted = if has_room && is_due {
                is_busy = true;
                self.settle()?;
                self.gate.cut()
            } else if has_room && !is_read {
                self.settle()?;
                let page = self.outbox.page(sent_to, appetite)?;
                is_busy = page.last.is_some();
                sent_to = page.last.unwrap_or(sent_to);
                self.newest = self.newest.max(sent_to);
                self.gate.sort(page, clock::instant())
            } else {
                None
            };
            if let Some(Sorted { records, mut unreadable, last, withheld, window }) = sorted {
                if !unreadable.is_empty() && self.receiver.account() != Account::None {
                    self.outbox.deliver(self.outbox.cursor(), &unreadable)?;
                    unreadable.drain(..).for_each(|refused| self.voice.refused(&refused));
                }
                let records: Arc<[T]> = records.into();
                let count = records.len();
                let answering = (count > 0).then(|| self.receiver.send(&records));
                under_way.push_back(async move {
                    let answer = match answering {
                        Some(answering) => answering.await,
                        None => Answer::Taken(Vec::new()),
                    };
                    Answered { last, records: count, unreadable, withheld, window, answer }
                });
            }
            let is_drained = wanted == Wanted::Drain && self.outbox.head() <= sent_to && !self.gate.has_digest();
            // When it is broken, nobody answers for the rest any more.
            let is_broken = failure.as_ref().is_some_and(|failure| failure.is_broken);
            let is_over = under_way.is_empty() && (failure.is_some() || is_drained);
            if under_way.is_empty() || is_broken || wanted == Wanted::Stop {
                self.cursor.make(&mut self.outbox)?;
            }
            if is_over || is_broken || wanted == Wanted::Stop {
                return Ok(failure);
            }
            let mut answered = under_way.next().now_or_never().flatten();
            if answered.is_none() && !is_busy {
                tokio::select! {
                    next = under_way.next(), if !under_way.is_empty() => answered = next,
                    () = self.outbox.news(sent_to), if has_room => {}
                    () = tokio::time::sleep(due.unwrap_or_default()), if has_room && due.is_some() => {}
                    changed = self.wanted.changed() => if changed.is_err() { return Ok(None) },
                }
            }
            while let Some(next) = answered {
                match &mut failure {
                    None => failure = self.take(next),
                    // What it took behind a failure is sent again; that it is gone has to be known.
                    Some(failure) => failure.is_broken |= matches!(next.answer, Answer::Broken { .. }),
                }
                answered = under_way.next().now_or_never().flatten();
            }
            // Whoever moves the bytes of what is under way has its turn.
            tokio::task::yield_now().await;
            if moved_at.elapsed() >= MOVE_INTERVAL {
                self.cursor.make(&mut self.outbox)?;
                moved_at = clock::instant();
            }
        }
    }

    /// Takes an answer in; all batches before it were taken.
    fn take(&mut self, answered: Answered) -> Option<Failure> {
        match answered.answer {
            Answer::Taken(refused) => {
                if answered.records > refused.len() {
                    self.voice.stats.delivered(answered.records - refused.len(), clock::now());
                }
                for refused in answered.unreadable.iter().chain(&refused) {
                    self.voice.refused(refused);
                }
                self.voice.stats.withheld(answered.withheld);
                self.gate.confirm(answered.window, answered.records);
                self.cursor.to = Some(answered.last);
                self.cursor.refused.extend(answered.unreadable);
                self.cursor.refused.extend(refused);
                // What is not for this sink says nothing of its receiver, unless there is nothing else.
                if answered.records > 0 || self.outbox.head() <= answered.last {
                    self.voice.goes_on();
                    self.pauses = pauses();
                }
                None
            }
            Answer::NotNow { reason, after } => Some(Failure { reason, after, is_broken: false }),
            Answer::Broken { reason } => Some(Failure { reason, after: None, is_broken: true }),
        }
    }

    /// Says why, and waits a while. False: it is to end instead.
    async fn pause(&mut self, failure: Failure) -> bool {
        self.voice.fails(&failure.reason);
        let pause = self.pauses.next().unwrap_or(PAUSE_MAX);
        let pause = failure.after.map_or(pause, |after| after.clamp(PAUSE_MIN, AFTER_MAX));
        let until = clock::instant() + pause;
        loop {
            if *self.wanted.borrow_and_update() != Wanted::Run {
                return false;
            }
            tokio::select! {
                () = tokio::time::sleep_until(Instant::into(until)) => return true,
                changed = self.wanted.changed() => if changed.is_err() { return false },
            }
        }
    }
}

impl Move {
    /// Moves the cursor. While the store has no room it stays where it is: what is delivered may be delivered twice, should the agent end meanwhile.
    fn make<T: Stream>(&mut self, outbox: &mut Outbox<T>) -> Result<(), StoreError> {
        match self.write(outbox) {
            Err(error) if error.is_passing() => Ok(()),
            result => result,
        }
    }

    /// Moves the cursor, or says why it cannot.
    fn write<T: Stream>(&mut self, outbox: &mut Outbox<T>) -> Result<(), StoreError> {
        let Some(to) = self.to else { return Ok(()) };
        outbox.deliver(to, &self.refused)?;
        *self = Self::default();
        Ok(())
    }
}

/// Comes back when the sink is to end, and when it is to be drained and has nothing.
async fn ended(wanted: &mut watch::Receiver<Wanted>, is_idle: impl Fn() -> bool) {
    // An error: the owner is gone, and the sink is to end as well.
    let _ = wanted.wait_for(|wanted| *wanted == Wanted::Stop || (*wanted == Wanted::Drain && is_idle())).await;
}

/// Growing pauses, each longer by chance, up to twice as long, so that many agents do not come back at the same moment.
pub(super) fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(PAUSE_MIN)
        .with_max_delay(PAUSE_MAX / 2)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let pauses: Vec<Duration> = pauses().take(1000).collect();
        let longest = pauses.iter().max().unwrap();
        assert!(*longest <= PAUSE_MAX && *longest > PAUSE_MAX / 2, "{longest:?}");
        assert!(pauses[0] < 2 * PAUSE_MIN, "{:?}", pauses[0]);
    }
}
