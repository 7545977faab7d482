//! Figures of a store, shared between its writer and whoever asks. Enters: what the writer did. Leaves: [`Stats`].

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::watch;

use super::{Damage, StoreError, prune::Pruned};
use crate::{clock, findings::Policy, units::Timestamp};

/// How a store is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows of batches that were committed.
    pub rows_written: u64,
    /// Transactions with batches.
    pub commits: u64,
    /// Batches that wait.
    pub queued: usize,
    /// Bytes of the file and of the log beside it.
    pub bytes: u64,
    /// Batches of live sources that were refused, because there was no room or the queue was full.
    pub refused: u64,
    /// Calls that wait for a sink that streams them.
    pub calls_waiting: u64,
    /// Calls that were dropped before every such sink had them, because more waited than may.
    pub calls_dropped: u64,
    /// There has been no room since then.
    pub full_since: Option<Timestamp>,
    /// Why, in words.
    pub full_because: Option<String>,
    /// Rows that were kept long enough, or that every sink has, and went.
    pub pruned: Pruned,
    /// Rows that went to make room although somebody misses them.
    pub dropped: Pruned,
    /// Times that the file was damaged and a new one took its place.
    pub damages: u64,
    /// The last one.
    pub damage: Option<Damage>,
}

/// The figures as the writer keeps them.
#[derive(Debug, Default)]
pub(super) struct Shared {
    stats: Mutex<Stats>,
    /// The newest committed revision.
    head: watch::Sender<u64>,
    /// What is said of the store's own findings.
    policy: Mutex<Option<Arc<Policy>>>,
    /// Grows with each file.
    generation: AtomicU64,
    /// The newest committed call.
    newest_call: watch::Sender<u64>,
}

impl Shared {
    /// The figures now.
    pub(super) fn stats(&self) -> Stats {
        self.lock().clone()
    }

    /// Tells of the newest revision, now and whenever one is committed.
    pub(super) fn watch_head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Revisions up to this one are committed.
    pub(super) fn head(&self, seq: u64) {
        self.head.send_if_modified(|head| std::mem::replace(head, seq) != seq);
    }

    /// Tells of the newest call.
    pub(super) fn watch_calls(&self) -> watch::Receiver<u64> {
        self.newest_call.subscribe()
    }

    /// Calls up to this one are committed, so many wait, and so many more were dropped.
    pub(super) fn calls(&self, newest: u64, waiting: u64, dropped: u64) {
        let mut stats = self.lock();
        stats.calls_waiting = waiting;
        stats.calls_dropped = stats.calls_dropped.saturating_add(dropped);
        drop(stats);
        self.newest_call.send_if_modified(|known| std::mem::replace(known, newest) != newest);
    }

    /// Is there no room at the moment?
    pub(super) fn is_full(&self) -> bool {
        self.lock().full_since.is_some()
    }

    /// Bytes of the file and of its log.
    pub(super) fn size(&self, (file, log): (u64, u64)) {
        self.lock().bytes = file.saturating_add(log);
    }

    /// A transaction is on the disk.
    pub(super) fn committed(&self, rows: usize) {
        let mut stats = self.lock();
        stats.rows_written = stats.rows_written.saturating_add(u64::try_from(rows).unwrap_or(u64::MAX));
        stats.commits += 1;
        stats.full_since = None;
        stats.full_because = None;
    }

    /// There is no room.
    pub(super) fn full(&self, why: &StoreError) {
        let mut stats = self.lock();
        stats.full_since.get_or_insert_with(clock::now);
        stats.full_because = Some(why.to_string());
    }

    /// So many batches were refused.
    pub(super) fn refused(&self, batches: usize) {
        let mut stats = self.lock();
        stats.refused = stats.refused.saturating_add(u64::try_from(batches).unwrap_or(u64::MAX));
    }

    /// How many were refused since the store was opened.
    pub(super) fn refused_so_far(&self) -> u64 {
        self.lock().refused
    }

    /// These went.
    pub(super) fn pruned(&self, gone: &Pruned) {
        self.lock().pruned.add(gone);
    }

    /// These went, and are missed.
    pub(super) fn dropped(&self, gone: &Pruned) {
        self.lock().dropped.add(gone);
    }

    /// A new file took the place of a damaged one.
    pub(super) fn damaged(&self, damage: Damage) {
        let mut stats = self.lock();
        stats.damages += 1;
        stats.damage = Some(damage);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Which file it is: a reader of an earlier one must be opened anew.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What is said of the store's own findings.
    pub(super) fn policy(&self) -> Arc<Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    /// From now on, this is said.
    pub(super) fn say(&self, policy: Arc<Policy>) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(policy);
    }

    fn lock(&self) -> MutexGuard<'_, Stats> {
        // Counts of a thread that panicked are still counts.
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
