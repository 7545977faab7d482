//! Figures of one sink, shared between its thread and whoever asks. Enters: what the thread did. Leaves: counts, and why it waits.

use std::{
    collections::BTreeMap,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::gate::Withheld;
use crate::units::Timestamp;

/// How a sink is doing.
#[derive(Debug)]
pub struct SinkStats {
    /// The newest row of the outbox.
    head: watch::Receiver<u64>,
    cursor: AtomicU64,
    sent: AtomicU64,
    failures: AtomicU64,
    connections: AtomicU64,
    delivered_at_ns: AtomicU64,
    routed: AtomicU64,
    silenced: AtomicU64,
    digested: AtomicU64,
    dead: Mutex<BTreeMap<&'static str, u64>>,
    waits: Mutex<Option<String>>,
    client: Mutex<Option<ClientFigures>>,
    /// For whoever waits for what is to become of it.
    changed: (Mutex<()>, Condvar),
}

/// What the library behind a sink counts of itself; only Kafka's does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientFigures {
    /// Records that it holds, because the broker has not confirmed them.
    pub queued_records: u64,
    /// Bytes of these.
    pub queued_bytes: u64,
    /// How long an answer takes, of the slowest broker, nanoseconds.
    pub round_trip_ns: u64,
    /// Requests that were not sent or not answered well.
    pub errors: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Requests that were not answered in time.
    pub timeouts: u64,
}

impl SinkStats {
    /// Of a sink that has delivered nothing yet.
    pub(super) fn new(head: watch::Receiver<u64>) -> Self {
        Self {
            head,
            cursor: AtomicU64::default(),
            sent: AtomicU64::default(),
            failures: AtomicU64::default(),
            connections: AtomicU64::default(),
            delivered_at_ns: AtomicU64::default(),
            routed: AtomicU64::default(),
            silenced: AtomicU64::default(),
            digested: AtomicU64::default(),
            dead: Mutex::default(),
            waits: Mutex::default(),
            client: Mutex::default(),
            changed: Default::default(),
        }
    }

    /// Something is another: called behind each change, with nothing locked.
    fn told(&self) {
        let _waiting = self.changed.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.1.notify_all();
    }

    /// Waits until something is true that comes with a change; false when it does not within `limit`.
    #[cfg_attr(not(test), expect(dead_code, reason = "the agent never waits for it, tests do"))]
    pub(super) fn until(&self, limit: Duration, mut is_so: impl FnMut(&Self) -> bool) -> bool {
        let (lock, changed) = &self.changed;
        let waiting = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(waiting, limit, |()| !is_so(self));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Records that the receiver confirmed; a record that was sent twice counts twice.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Revisions in the outbox behind the cursor.
    pub fn pending_records(&self) -> u64 {
        self.head.borrow().saturating_sub(self.cursor.load(Relaxed))
    }

    /// Batches that were not taken, and attempts to connect that failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Connections that were made in place of a broken one.
    pub fn reconnects(&self) -> u64 {
        self.connections.load(Relaxed).saturating_sub(1)
    }

    /// When the receiver last took something.
    pub fn delivered_at(&self) -> Option<Timestamp> {
        Some(Timestamp(self.delivered_at_ns.load(Relaxed))).filter(|at| at.0 > 0)
    }

    /// Records that the receiver will never take, by reason.
    pub fn dead_letters(&self) -> BTreeMap<&'static str, u64> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records that were not sent on purpose, by reason.
    pub fn withheld_records(&self) -> [(&'static str, u64); 3] {
        let counts = [("routed", &self.routed), ("silenced", &self.silenced), ("digested", &self.digested)];
        counts.map(|(reason, count)| (reason, count.load(Relaxed)))
    }

    /// Why it does not deliver at the moment.
    pub fn waits_because(&self) -> Option<String> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the library behind it counts; `None`: it has told nothing yet.
    pub fn client_figures(&self) -> Option<ClientFigures> {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes counts in, which are added, and states, which replace those before when `is_state`.
    #[cfg(feature = "kafka")]
    pub(super) fn client(&self, more: ClientFigures, is_state: bool) {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let known = client.get_or_insert_default();
        for (sum, more) in
            [(&mut known.errors, more.errors), (&mut known.retries, more.retries), (&mut known.timeouts, more.timeouts)]
        {
            *sum = sum.saturating_add(more);
        }
        if is_state {
            known.queued_records = more.queued_records;
            known.queued_bytes = more.queued_bytes;
            // Nobody was asked: the last answer counts.
            if more.round_trip_ns > 0 {
                known.round_trip_ns = more.round_trip_ns;
            }
        }
        drop(client);
        self.told();
    }

    pub(super) fn delivered(&self, records: usize, at: Timestamp) {
        self.sent.fetch_add(records as u64, Relaxed);
        self.delivered_at_ns.store(at.0, Relaxed);
        self.told();
    }

    pub(super) fn withheld(&self, withheld: Withheld) {
        self.routed.fetch_add(withheld.routed, Relaxed);
        self.silenced.fetch_add(withheld.silenced, Relaxed);
        self.digested.fetch_add(withheld.digested, Relaxed);
    }

    pub(super) fn cursor(&self, seq: u64) {
        self.cursor.store(seq, Relaxed);
        self.told();
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(super) fn dead(&self, reason: &'static str) {
        *self.dead.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
        self.told();
    }

    /// Notes why it waits. True when it did not wait before.
    pub(super) fn waits(&self, reason: &str) -> bool {
        let before = self.waits.lock().unwrap_or_else(PoisonError::into_inner).replace(reason.to_owned());
        self.told();
        before.is_none()
    }

    /// Notes that it goes on. True when it waited before.
    pub(super) fn goes_on(&self) -> bool {
        let before = self.waits.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.told();
        before.is_some()
    }
}
