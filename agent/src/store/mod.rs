//! Room 6: what was found becomes durable. Enters: [`Batch`], all that one subject leaves. Leaves: rows in one SQLite file, and
//! revisions of findings in its outbox, in order, for the sinks. It never holds matched text, for findings hold none.
//!
//! ```text
//!   submit ──►┌───────┐   one thread, one transaction:     finding   current state, counted up by every batch
//!   submit ──►│ queue │──► what waits, batches whole  ───► outbox    a revision at once, then one an interval; hash chain
//! try_submit ►└───────┘   WAL, synchronous=FULL            usage, call, detector_state, source_checkpoint, cursors
//! ```
//! A receipt says that a batch is on the disk; what was not acknowledged, the source reads again from its checkpoint, which commits in
//! the same transaction. Bounds: [`Limits`]; what goes again: [`Retention`]. When there is no room, [`Store::submit`] waits and [`Store::try_submit`] refuses and
//! counts; what is committed stays, and it goes on by itself when there is room again. [`StoreReader`] reads beside the writer.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

mod apply;
mod ballast;
mod batch;
mod calls;
mod chain;
mod damage;
mod error;
mod file;
mod ids;
mod prune;
mod reader;
mod room;
mod rows;
mod schema;
mod stats;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use self::{
    batch::{Batch, DeadLetter, Receipt, UsageRow, WhenFull},
    calls::CallRow,
    damage::Damage,
    error::StoreError,
    prune::{Pruned, Retention},
    reader::{Filter, OutboxRow, Revision, StoreReader},
    stats::Stats,
    verify::{Verdict, Whole},
};
use self::{
    file::Lock,
    schema::Found,
    stats::Shared,
    writer::{Asked, Pending, Request, Writer},
};
use crate::{
    findings::{Policy, UPDATE_INTERVAL_NS},
    sources::Checkpoint,
    units::Timestamp,
};

/// Name of the store in the state folder.
pub const STORE_FILE: &str = "outflow.db";

/// Bytes of a page, fixed when a store is made: earlier versions made them half as large. A revision takes a little more than one KB, so three have room
/// in such a page and seven in one of these, and each page that is written costs calls of the kernel.
const PAGE_BYTES: u64 = 8192;

/// Least bound that a store can live with: its empty tables take 160 KB.
const LEAST_BYTES: u64 = 1024 * 1024;

/// The log keeps this much of the disk for the next time: what it has when it is folded, for a file that shrinks and grows again is laid out anew
/// each time.
const LOG_KEPT_BYTES: u64 = LOG_FOLDED_BYTES + 4 * 1024 * 1024;

/// What SQLite keeps in memory, bytes: ids are random, so the upper pages of the indexes are needed all the time.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Size of the log from which on it is folded into the file, bytes.
const LOG_FOLDED_BYTES: u64 = 8 * 1024 * 1024;

/// Requests that may wait beside the batches.
const REQUESTS: usize = 16;

/// Bounds of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest size of the file, bytes; at least 1 MiB.
    pub max_bytes: u64,
    /// Largest size of the log beside it, bytes. Reached only while somebody reads an old state for long.
    pub log_bytes: u64,
    /// Batches that may wait for the writer.
    pub queue: usize,
    /// Rows after which a commit takes no further batch.
    pub commit_rows: usize,
    /// Milliseconds after which it takes no further batch.
    pub commit_ms: u64,
    /// Least time between two revisions of a finding, nanoseconds.
    pub update_interval_ns: u64,
    /// Bytes of calls that may wait for sinks that stream them; beyond that the oldest are dropped and counted. 0: nobody streams
    /// calls, and none are kept.
    pub max_call_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 1024 * 1024 * 1024,
            log_bytes: 64 * 1024 * 1024,
            queue: 256,
            commit_rows: 1000,
            commit_ms: 50,
            update_interval_ns: UPDATE_INTERVAL_NS,
            max_call_bytes: 0,
        }
    }
}

/// A store that is open for writing. Shared by all who write; the last one closes it.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    batches: Sender<Pending>,
    requests: Sender<Asked>,
    shared: Arc<Shared>,
    keeps_calls: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens a store for writing, or makes one: the file with mode 0600, its folder with 0700. Older ones are brought to this version. A
    /// damaged one is set aside and a new one made: [`Stats::damage`] says so.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::default());
        let (db, lock) = damage::open(path, &limits, &shared)?;
        let (batches, waiting) = bounded(limits.queue.max(1));
        let (requests, asked) = bounded(REQUESTS);
        let keeps_calls = limits.max_call_bytes > 0;
        let thread = start(path, (db, lock), limits, (waiting, asked), Arc::clone(&shared))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { path: path.to_owned(), batches, requests, shared, keeps_calls, thread })
    }

    /// Hands a batch over. Waits while the queue is full, and its batch waits while there is no room: for sources that can wait.
    pub fn submit(&self, batch: Batch) -> Result<Receipt, StoreError> {
        let (pending, receipt) = pending(batch, WhenFull::Wait);
        self.batches.send(pending).map_err(|_| StoreError::Closed)?;
        Ok(receipt)
    }

    /// Hands a batch over without waiting, for live sources. When the queue is full or there is no room, it is refused and counted:
    /// at once, or later by its receipt.
    pub fn try_submit(&self, batch: Batch) -> Result<Receipt, StoreError> {
        self.hand_over(batch, WhenFull::Fail).inspect_err(|error| {
            if matches!(error, StoreError::Busy) {
                self.shared.refused(1);
            }
        })
    }

    /// Likewise for who tries it again: it is refused without being counted.
    pub fn offer(&self, batch: Batch) -> Result<Receipt, StoreError> {
        self.hand_over(batch, WhenFull::Retry)
    }

    fn hand_over(&self, batch: Batch, when_full: WhenFull) -> Result<Receipt, StoreError> {
        // One goes through to see whether there is room again.
        if self.shared.is_full() && !self.batches.is_empty() {
            return Err(StoreError::Busy);
        }
        let (pending, receipt) = pending(batch, when_full);
        match self.batches.try_send(pending) {
            Ok(()) => Ok(receipt),
            Err(TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(StoreError::Closed),
        }
    }

    /// Cuts a revision of each finding that was counted up and whose last revision is an update interval old. Returns how many.
    pub fn cut_due(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.ask(Request::CutDue(now))
    }

    /// Commits what waits, and cuts a revision of each finding that was counted up. Returns how many. [`close`](Self::close) does the same.
    pub fn settle(&self) -> Result<usize, StoreError> {
        self.ask(Request::Settle)
    }

    /// Takes away what is kept of a finding. Its revisions stay in the outbox as tombstones, so the chain still verifies. Returns how
    /// many payloads were erased.
    pub fn erase(&self, finding_id: &str) -> Result<usize, StoreError> {
        self.ask(Request::Erase(finding_id.to_owned()))
    }

    /// Remembers that a sink has everything up to `seq`, but for these, which its receiver will never take.
    pub fn deliver(&self, sink: &str, seq: u64, dead: Vec<DeadLetter>) -> Result<(), StoreError> {
        self.ask(Request::Deliver(sink.to_owned(), seq, dead)).map(drop)
    }

    /// From now on rows go that were kept long enough, and near the bound of the store what every sink has. Without this everything is kept.
    pub fn keep(&self, retention: Retention) -> Result<(), StoreError> {
        self.ask(Request::Keep(retention)).map(drop)
    }

    /// Takes away some of what was kept long enough by `now`, a few milliseconds at a time: to be asked again and again. Returns how many rows went.
    pub fn prune(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.ask(Request::Prune(now))
    }

    /// From now on, the user's words are said of the findings that the store makes about itself.
    pub fn say(&self, policy: Arc<Policy>) {
        self.shared.say(policy);
    }

    /// Tells of the newest revision in the outbox, now and whenever one is committed. It ends with the store.
    pub fn watch_head(&self) -> watch::Receiver<u64> {
        self.shared.watch_head()
    }

    /// Which file it is, by number: a [`reader`](Self::reader) of an earlier one reads what was set aside.
    pub fn generation(&self) -> u64 {
        self.shared.generation()
    }

    /// A reader of this file has met damage: it is set aside, unless that was done before.
    pub fn report_damage(&self, generation: u64, error: &StoreError) -> Result<(), StoreError> {
        self.ask(Request::Damaged(generation, error.clone())).map(drop)
    }

    /// Somebody streams calls: they belong into batches.
    pub fn keeps_calls(&self) -> bool {
        self.keeps_calls
    }

    /// Says which sinks stream calls. Others are forgotten, and so is what waited for them; a new one begins with the oldest call that is kept.
    pub fn stream_calls(&self, sinks: Vec<String>) -> Result<(), StoreError> {
        self.ask(Request::StreamCalls(sinks)).map(drop)
    }

    /// Remembers that a stream has all calls up to `seq`, but for these. Calls that every stream has are forgotten.
    pub fn deliver_calls(&self, sink: &str, seq: u64, dead: Vec<DeadLetter>) -> Result<(), StoreError> {
        self.ask(Request::DeliverCalls(sink.to_owned(), seq, dead)).map(drop)
    }

    /// Tells of the newest call, as [`watch_head`](Self::watch_head) does of revisions.
    pub fn watch_calls(&self) -> watch::Receiver<u64> {
        self.shared.watch_calls()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A reader of what is committed.
    pub fn reader(&self) -> Result<StoreReader, StoreError> {
        StoreReader::open(&self.path)
    }

    /// The checkpoints whose keys begin with `prefix`, by key.
    pub fn checkpoints(&self, prefix: &str) -> Result<Vec<Checkpoint>, StoreError> {
        self.read(|reader| reader.checkpoints(prefix))
    }

    /// Keys and values of one detector's state, in the order in which they changed.
    pub fn states(&self, detector: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.read(|reader| reader.states(detector))
    }

    /// What is damaged is set aside; then the new store says that there is nothing.
    fn read<T>(&self, read: impl Fn(&StoreReader) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let generation = self.generation();
        match self.reader().and_then(|reader| read(&reader)) {
            Err(error) if error.is_damage() => {
                self.report_damage(generation, &error)?;
                read(&self.reader()?)
            }
            done => done,
        }
    }

    /// How it is doing.
    pub fn stats(&self) -> Stats {
        Stats { queued: self.batches.len(), ..self.shared.stats() }
    }

    /// Commits what waits, cuts the last revisions and closes the file. Never waits for room: a batch that finds none then is
    /// refused, by its receipt. Closing again does nothing.
    pub fn close(&self) -> Result<(), StoreError> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        let asked = self.ask(Request::Close).map(drop);
        thread.join().map_err(|_| StoreError::Closed)?;
        asked
    }

    fn ask(&self, request: Request) -> Result<usize, StoreError> {
        let (answer, answered) = bounded(1);
        self.requests.send(Asked { request, answer }).map_err(|_| StoreError::Closed)?;
        answered.recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Whoever wants to know closes it.
        let _ = self.close();
    }
}

fn pending(batch: Batch, when_full: WhenFull) -> (Pending, Receipt) {
    let (answer, receipt) = bounded(1);
    (Pending { batch, when_full, answer }, Receipt(receipt))
}

fn start(
    path: &Path,
    file: (Connection, Lock),
    limits: Limits,
    queues: (Receiver<Pending>, Receiver<Asked>),
    shared: Arc<Shared>,
) -> Result<JoinHandle<()>, StoreError> {
    let writer = Writer::new(path.to_owned(), file, limits, queues, shared)?;
    std::thread::Builder::new()
        .name("outflow-store".to_owned())
        .spawn(move || writer.run())
        .map_err(|error| StoreError::file(path, &error))
}

/// Bytes of a page of this database.
fn page_bytes(db: &Connection) -> rusqlite::Result<u64> {
    db.pragma_query_value(None, "page_size", |row| row.get::<_, u64>(0)).map(|bytes| bytes.max(1))
}

/// The file grows no larger; one that is larger, no further.
fn bound(db: &Connection, limits: &Limits) -> rusqlite::Result<()> {
    let pages = limits.max_bytes.max(LEAST_BYTES) / page_bytes(db)?;
    db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
}

/// Steps write tables anew: the log then has the new rows, and the old ones overwritten, before the file grows.
fn has_room_to_migrate(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let (needed, free) = (file::bytes(path).0.saturating_mul(3), ballast::free_bytes(path));
    if needed <= free {
        return Ok(());
    }
    // In case that an earlier try left it large.
    let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    let reason =
        format!("to bring it to this version takes up to {needed} bytes of the disk for a while, and {free} are free");
    Err(StoreError::Full { path: path.to_owned(), reason })
}

/// Opens the database for its one writer.
fn connect(path: &Path, limits: &Limits) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error| StoreError::sqlite(path, &error);
    let mut db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.pragma_update(None, "page_size", PAGE_BYTES).map_err(failed)?;
    let found = schema::look(&db, path)?;
    if found == Found::Empty {
        // Before anything is in it: free pages can be given back.
        db.pragma_update(None, "auto_vacuum", "incremental").map_err(failed)?;
    }
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        let reason = "its file system has no shared memory, which the log needs: put it on a local disk".to_owned();
        return Err(StoreError::Sqlite { path: path.to_owned(), reason });
    }
    let set = || -> rusqlite::Result<()> {
        // A commit that was acknowledged survives a power cut.
        db.pragma_update(None, "synchronous", "full")?;
        // What is deleted is overwritten.
        db.pragma_update(None, "secure_delete", true)?;
        db.pragma_update(None, "cell_size_check", true)?;
        db.pragma_update(None, "trusted_schema", false)?;
        db.pragma_update(None, "temp_store", "memory")?;
        let page_bytes = page_bytes(&db)?;
        db.pragma_update(None, "cache_size", CACHE_BYTES / page_bytes)?;
        db.pragma_update_and_check(None, "wal_autocheckpoint", LOG_FOLDED_BYTES / page_bytes, |_| Ok(()))?;
        db.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT_BYTES, |_| Ok(()))?;
        // The log stays beside the file when it is closed: another user who may only read cannot make one.
        db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // A plan does not depend on values: else SQLite plans a statement anew for each, which took a fifth of the writer's time.
        db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        db.set_prepared_statement_cache_capacity(32);
        Ok(())
    };
    set().map_err(failed)?;
    if let Found::Version(version) = found
        && version < schema::current()
    {
        has_room_to_migrate(&db, path)?;
    }
    if let Err(error) = schema::migrate(&mut db, path, found) {
        // What it wrote is in the log, and of no use.
        let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        return Err(error);
    }
    // A full store has no room for what a step writes anew.
    bound(&db, limits).map_err(failed)?;
    if found == Found::Empty {
        // So that the head of the file says whose it is, whatever becomes of its log.
        db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(failed)?;
    } else {
        room::rebuild(&db).map_err(failed)?;
    }
    Ok(db)
}
