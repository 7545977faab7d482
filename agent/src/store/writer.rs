//! The one thread that writes. Enters: batches and requests, by bounded channels. Leaves: committed transactions and their receipts.
//!
//! A commit takes what waits, up to [`Limits::commit_rows`] rows or [`Limits::commit_ms`] milliseconds, so the more there is to
//! do the fewer times the disk is waited for. A batch goes in whole. When there is no room, the transaction is rolled back, batches
//! that may wait are kept, and it is tried again with growing pauses; requests are still served, for an erasure makes room.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, select_biased};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{
    Batch, DeadLetter, Limits, StoreError, WhenFull,
    apply::{self, Failure, Ledger},
    ballast::Ballast,
    chain::Head,
    damage::Mending,
    file::{self, Lock},
    ids::Ids,
    prune::{Retention, Sweep},
    stats::Shared,
};
use crate::{clock, units::Timestamp};

/// First pause while there is no room.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Revisions that are cut in one transaction, so that batches do not wait for all of them.
const CUT_ROWS: usize = 500;

/// A batch on its way.
pub(super) struct Pending {
    pub(super) batch: Batch,
    pub(super) when_full: WhenFull,
    pub(super) answer: Sender<Result<(), StoreError>>,
}

impl Pending {
    fn answer(self, result: Result<(), StoreError>) {
        // Nobody may care for this receipt.
        let _ = self.answer.send(result);
    }
}

/// What else the writer does, besides batches.
pub(super) enum Request {
    /// Cut the revisions that are due.
    CutDue(Timestamp),
    /// Commit what waits, and cut a revision of everything that has news.
    Settle,
    /// Take away the payloads of a finding.
    Erase(String),
    /// Move the cursor of a sink, past dead letters too.
    Deliver(String, u64, Vec<DeadLetter>),
    /// From now on, keep what this says.
    Keep(Retention),
    /// Take away what was kept long enough.
    Prune(Timestamp),
    /// A reader of this generation has met this.
    Damaged(u64, StoreError),
    /// These streams of calls are wanted, and no other.
    StreamCalls(Vec<String>),
    /// Move the cursor of a stream of calls, past dead letters too.
    DeliverCalls(String, u64, Vec<DeadLetter>),
    /// Commit what waits, and end.
    Close,
}

/// A request, and where its answer goes: how many rows it was about.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) answer: Sender<Result<usize, StoreError>>,
}

/// What the writer was given.
pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) db: Connection,
    pub(super) limits: Limits,
    pub(super) batches: Receiver<Pending>,
    requests: Receiver<Asked>,
    pub(super) shared: Arc<Shared>,
    /// Who streams calls.
    pub(super) streams: Vec<String>,
    /// Without one, everything is kept.
    pub(super) retention: Option<Retention>,
    /// Where pruning goes on: what is old, and what goes when the store is full.
    pub(super) sweep: Sweep,
    pub(super) oldest: Sweep,
    /// How many refused batches a finding tells of.
    pub(super) refused_told: u64,
    /// Room on a full disk.
    pub(super) ballast: Ballast,
    /// What is known of the database; nothing after a transaction failed.
    pub(super) ledger: Option<Ledger>,
    /// Of the ledger that a transaction failed with.
    pub(super) ids: Option<Ids>,
    /// The newest revision that was committed.
    pub(super) last: Head,
    /// The file is damaged, and there is no new one yet.
    pub(super) mending: Option<Mending>,
    ending: bool,
    /// Who wants to know that it ended.
    closers: Vec<Sender<Result<usize, StoreError>>>,
    /// Given back after the database was closed: fields are dropped in this order.
    _lock: Lock,
}

impl Writer {
    /// A writer on an open database.
    pub(super) fn new(
        path: PathBuf,
        (db, lock): (Connection, Lock),
        limits: Limits,
        (batches, requests): (Receiver<Pending>, Receiver<Asked>),
        shared: Arc<Shared>,
    ) -> Result<Self, StoreError> {
        let mut ledger = Ledger::open(&db, limits.max_call_bytes).map_err(|failure| failure.told(&path))?;
        shared.size(file::bytes(&path));
        shared.head(ledger.head());
        ledger.calls().tell(&shared);
        let ballast = Ballast::of(&path);
        Ok(Self {
            path,
            db,
            limits,
            batches,
            requests,
            shared,
            streams: Vec::new(),
            retention: None,
            sweep: Sweep::default(),
            oldest: Sweep::default(),
            ballast,
            last: ledger.end(),
            ledger: Some(ledger),
            ids: None,
            mending: None,
            refused_told: 0,
            ending: false,
            closers: Vec::new(),
            _lock: lock,
        })
    }

    /// Works until somebody asks it to close, or everybody is gone.
    pub(super) fn run(mut self) {
        while !self.ending {
            select_biased! {
                recv(self.requests) -> asked => match asked {
                    Ok(asked) => self.serve(asked),
                    Err(_) => self.ending = true,
                },
                recv(self.batches) -> first => match first {
                    Ok(first) => self.commit(vec![first], true),
                    Err(_) => self.ending = true,
                },
            }
        }
        while let Ok(first) = self.batches.try_recv() {
            self.commit(vec![first], true);
        }
        // Counts are kept already: what cannot be cut now is cut by the next run.
        let _ = self.cut(clock::now(), 0);
        let _ = self.fold();
        let closers = std::mem::take(&mut self.closers);
        drop(self);
        for closer in closers {
            let _ = closer.send(Ok(0));
        }
    }

    /// Commits these batches and, with `gather`, what waits behind them. All are answered when it comes back.
    fn commit(&mut self, mut group: Vec<Pending>, gather: bool) {
        let mut pause = FIRST_PAUSE;
        let mut gather = gather;
        while !group.is_empty() {
            let result = self.attempt(&mut group, gather);
            // The next attempt is for these alone: they have waited long enough.
            gather = false;
            match result {
                Ok(rows) => {
                    self.shared.size(file::bytes(&self.path));
                    self.shared.committed(rows);
                    group.drain(..).for_each(|pending| pending.answer(Ok(())));
                    self.relieve();
                }
                Err(error) if self.takes_damage(&error) => {}
                Err(StoreError::Full { .. }) if !self.is_held() && self.make_room() => {}
                Err(error) if error.is_passing() => {
                    self.shared.full(&error);
                    let waits = |pending: &Pending| pending.when_full == WhenFull::Wait && !self.ending;
                    let refused: Vec<Pending> = group.extract_if(.., |pending| !waits(pending)).collect();
                    let live = refused.iter().filter(|pending| pending.when_full == WhenFull::Fail).count();
                    self.shared.refused(live);
                    for pending in refused {
                        pending.answer(Err(error.clone()));
                    }
                    if !group.is_empty() {
                        self.wait(pause);
                        pause = LONGEST_PAUSE.min(pause * 2);
                    }
                }
                // One of them cannot be written at all; the others are not to suffer for it.
                Err(_) if group.len() > 1 => group.drain(..).for_each(|alone| self.commit(vec![alone], false)),
                Err(error) => group.drain(..).for_each(|pending| pending.answer(Err(error.clone()))),
            }
        }
    }

    /// One transaction. Returns its rows.
    fn attempt(&mut self, group: &mut Vec<Pending>, gather: bool) -> Result<usize, StoreError> {
        self.mend()?;
        self.bound_log()?;
        let until = clock::instant() + Duration::from_millis(self.limits.commit_ms);
        let (most, batches) = (self.limits.commit_rows, self.batches.clone());
        self.transact(|ledger, db| {
            let (mut rows, mut applied) = (0, 0);
            loop {
                for pending in group.iter().skip(applied) {
                    ledger.apply(db, &pending.batch)?;
                    rows += pending.batch.rows();
                }
                applied = group.len();
                if !gather || rows >= most || clock::instant() >= until {
                    return Ok(rows);
                }
                match batches.try_recv() {
                    Ok(pending) => group.push(pending),
                    Err(_) => return Ok(rows),
                }
            }
        })
    }

    /// Pauses, unless somebody wants something.
    fn wait(&mut self, pause: Duration) {
        // What can be folded in makes room on the disk. It may fail for want of room as well.
        let _ = self.fold();
        match self.requests.recv_timeout(pause) {
            Ok(asked) => self.serve(asked),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.ending = true,
        }
    }

    fn serve(&mut self, Asked { request, answer }: Asked) {
        if let Request::Close = request {
            self.ending = true;
            return self.closers.push(answer);
        }
        let mut result = self.perform(&request);
        if result.as_ref().is_err_and(|error| self.takes_damage(error)) {
            result = self.perform(&request);
        }
        // Who asked may be gone.
        let _ = answer.send(result);
    }

    fn perform(&mut self, request: &Request) -> Result<usize, StoreError> {
        match request {
            Request::CutDue(now) => self.cut(*now, self.limits.update_interval_ns),
            Request::Settle => {
                while let Ok(first) = self.batches.try_recv() {
                    self.commit(vec![first], true);
                }
                self.cut(clock::now(), 0)
            }
            Request::Erase(id) => {
                let erased = self.transact(|ledger, db| ledger.erase(db, id));
                // The log still has what was erased, until it is folded in.
                erased.and_then(|rows| self.fold().map(|()| rows))
            }
            Request::Deliver(sink, seq, dead) => match self.transact(|_, db| apply::deliver(db, sink, *seq, dead)) {
                Err(error) if self.has_thrown_ballast(&error) => {
                    let delivered = self.transact(|_, db| apply::deliver(db, sink, *seq, dead));
                    // Before a batch takes the room.
                    self.all_delivered_goes();
                    delivered
                }
                delivered => delivered,
            },
            Request::StreamCalls(sinks) => {
                self.streams.clone_from(sinks);
                self.transact(|ledger, db| Ok(ledger.calls().wanted_by(db, sinks)?))
            }
            Request::DeliverCalls(sink, seq, dead) => {
                self.transact(|ledger, db| Ok(ledger.calls().deliver(db, sink, *seq, dead)?))
            }
            Request::Keep(retention) => {
                self.retention = Some(retention.clone());
                Ok(0)
            }
            Request::Prune(now) => self.prune(*now),
            Request::Damaged(generation, error) => {
                // What was read of an earlier file was mended before.
                if *generation == self.shared.generation() && self.takes_damage(error) {
                    self.mend()?;
                }
                Ok(0)
            }
            // It was served.
            Request::Close => Ok(0),
        }
    }

    /// An interval of 0 cuts all.
    fn cut(&mut self, now: Timestamp, interval_ns: u64) -> Result<usize, StoreError> {
        self.tell_refused();
        let mut cut = 0;
        loop {
            let rows = match self.transact(|ledger, db| ledger.cut(db, now, interval_ns, CUT_ROWS)) {
                Err(StoreError::Full { .. }) if !self.is_held() && self.make_room() => continue,
                rows => rows?,
            };
            cut += rows;
            if rows > 0 {
                self.relieve();
            }
            if rows < CUT_ROWS {
                return Ok(cut);
            }
        }
    }

    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Ledger, &Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.mend()?;
        let Self { db, ledger, ids, path, shared, limits, last, .. } = self;
        let failed = |failure: Failure| failure.told(path);
        let mut known = if let Some(known) = ledger.take() {
            known
        } else {
            let mut known = Ledger::open(db, limits.max_call_bytes).map_err(failed)?;
            known.ids = ids.take();
            known
        };
        let result = (|| {
            let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&mut known, &change)?;
            known.flush(&change)?;
            change.commit()?;
            shared.head(known.head());
            *last = known.end();
            known.calls().tell(shared);
            known.committed();
            Ok(value)
        })();
        // What a transaction that failed left in the ledger is not in the database.
        match &result {
            Ok(_) => *ledger = Some(known),
            Err(_) => *ids = known.ids,
        }
        result.map_err(failed)
    }

    /// Somebody reads an old state, and the log is at its bound: no row that goes would change that.
    fn is_held(&self) -> bool {
        file::bytes(&self.path).1 > self.limits.log_bytes
    }

    /// The log cannot be folded in past the oldest reader; one that stays for hours must not fill the disk.
    fn bound_log(&self) -> Result<(), StoreError> {
        let (_, log) = file::bytes(&self.path);
        if log <= self.limits.log_bytes {
            return Ok(());
        }
        self.fold()?;
        match file::bytes(&self.path) {
            (_, log) if log <= self.limits.log_bytes => Ok(()),
            (_, log) => Err(StoreError::Full {
                path: self.path.clone(),
                reason: format!("its log has {log} bytes, because somebody reads an old state of it"),
            }),
        }
    }

    /// Folds the log into the file, as far as readers let it.
    pub(super) fn fold(&self) -> Result<(), StoreError> {
        let folded = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.shared.size(file::bytes(&self.path));
        folded.map_err(|error| StoreError::sqlite(&self.path, &error))
    }
}
