//! What leaves the store again, and in which order. Enters: a transaction, what was asked to be kept. Leaves: fewer rows, and their count by
//! kind. One call is one small step, so that batches never wait for long; it never takes what is not told of a finding yet.
//!
//! Revisions leave the outbox at its old end only, and the anchor of the chain moves with them. A finding's current state goes when it was
//! not seen for long; what a sink does not have goes only when the store is full and the operator said so.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    apply::{Failure, Ledger, int},
    chain::{Hash, Head, ROOT, link},
    schema::has_id,
};
use crate::units::Timestamp;

/// Rows that one step takes away at most.
pub(super) const STEP_ROWS: u64 = 500;

/// Findings that one step looks at, to see which were not seen for long.
const SWEPT_ROWS: u64 = 500;

/// Minutes of usage that one step takes away at most.
const STEP_MINUTES: u64 = 60;

/// How often it is noted which revision is the newest: what is older than the retention goes that much later.
const MARK_INTERVAL_NS: u64 = 3_600_000_000_000;

/// How long what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Nanoseconds that delivered revisions, findings that are not seen again, usage and dead letters are kept.
    pub keep_ns: u64,
    /// The sinks that must have a revision before it goes. With none, age alone counts.
    pub sinks: Vec<String>,
    /// When the store is full: the oldest goes, delivered or not, instead of everybody waiting.
    pub drop_oldest: bool,
}

/// Rows that went, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Revisions.
    pub revisions: u64,
    /// Current states of findings.
    pub findings: u64,
    /// Rows of usage.
    pub usage: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

impl Pruned {
    /// All of them.
    pub fn rows(&self) -> u64 {
        let Self { revisions, findings, usage, dead_letters } = self;
        revisions + findings + usage + dead_letters
    }

    /// These as well.
    pub(super) fn add(&mut self, more: &Self) {
        self.revisions = self.revisions.saturating_add(more.revisions);
        self.findings = self.findings.saturating_add(more.findings);
        self.usage = self.usage.saturating_add(more.usage);
        self.dead_letters = self.dead_letters.saturating_add(more.dead_letters);
    }
}

/// Where the next step goes on: findings are looked at in turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sweep {
    rowid: i64,
    /// When a mark was made last.
    marked_at: Option<Timestamp>,
    /// Dead letters have no index on their time; they are looked at when a mark is made, until all that are old are gone.
    has_dead_letters: bool,
}

impl Retention {
    /// What is older goes.
    fn cutoff(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_sub(self.keep_ns))
    }

    /// The newest revision that every sink has; without sinks the newest of all.
    pub(super) fn delivered(&self, ledger: &Ledger, db: &Connection) -> rusqlite::Result<u64> {
        self.sinks.iter().try_fold(ledger.head(), |least, sink| {
            let mut find = db.prepare_cached("SELECT seq FROM sink_cursor WHERE sink = ?1")?;
            let cursor: Option<u64> = find.query_row([sink], |row| row.get(0)).optional()?;
            // One that has not begun yet has nothing.
            Ok(least.min(cursor.unwrap_or(0)))
        })
    }
}

/// One step of what was kept long enough. Findings are looked at in turn: that none went does not say that none is old.
pub(super) fn by_age(
    ledger: &mut Ledger,
    db: &Connection,
    retention: &Retention,
    sweep: &mut Sweep,
    now: Timestamp,
) -> Result<Pruned, Failure> {
    let cutoff = retention.cutoff(now);
    // The clock may have been set back.
    if sweep.marked_at.is_none_or(|at| now < at || now.since_ns(at) >= MARK_INTERVAL_NS) {
        mark(ledger, db, now)?;
        (sweep.marked_at, sweep.has_dead_letters) = (Some(now), true);
    }
    let old: Option<u64> = db
        .prepare_cached("SELECT seq FROM outbox_mark WHERE at_ns <= ?1 ORDER BY at_ns DESC LIMIT 1")?
        .query_row([int(cutoff.0)], |row| row.get(0))
        .optional()?;
    let upto = old.unwrap_or(0).min(retention.delivered(ledger, db)?);
    let mut gone = Pruned { revisions: revisions(ledger, db, upto, STEP_ROWS)?, ..Pruned::default() };
    gone.usage = usage(db, cutoff.0 / 60_000_000_000)?;
    gone.findings = unseen_since(ledger, db, sweep, cutoff)?;
    if sweep.has_dead_letters {
        gone.dead_letters = dead_letters(db, cutoff)?;
        sweep.has_dead_letters = gone.dead_letters >= STEP_ROWS;
    }
    Ok(gone)
}

/// One step of what every sink has, however new it is. Without a sink nothing is known to be kept elsewhere.
pub(super) fn delivered(
    ledger: &mut Ledger,
    db: &Connection,
    retention: &Retention,
    rows: u64,
) -> Result<Pruned, Failure> {
    if retention.sinks.is_empty() {
        return Ok(Pruned::default());
    }
    let upto = retention.delivered(ledger, db)?;
    Ok(Pruned { revisions: revisions(ledger, db, upto, rows)?, ..Pruned::default() })
}

/// One step of what is missed by somebody: states of findings whose revisions are all gone, the oldest first; when there are none here, the oldest
/// revisions.
pub(super) fn oldest(ledger: &mut Ledger, db: &Connection, sweep: &mut Sweep, rows: u64) -> Result<Pruned, Failure> {
    let findings = told_and_gone(ledger, db, sweep, rows)?;
    if findings > 0 {
        return Ok(Pruned { findings, ..Pruned::default() });
    }
    Ok(Pruned { revisions: revisions(ledger, db, ledger.head(), rows)?, ..Pruned::default() })
}

/// Notes which revision is the newest now, unless that is known from an earlier time.
fn mark(ledger: &Ledger, db: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let last: Option<u64> = db
        .prepare_cached("SELECT seq FROM outbox_mark ORDER BY at_ns DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if last == Some(ledger.head()) {
        return Ok(());
    }
    db.prepare_cached("INSERT OR REPLACE INTO outbox_mark (at_ns, seq) VALUES (?1, ?2)")?
        .execute([int(now.0), int(ledger.head())])?;
    db.prepare_cached("DELETE FROM outbox_mark WHERE seq < ?1")?.execute([int(ledger.anchor())])?;
    Ok(())
}

/// Takes the oldest revisions away, at most `rows` and none behind `upto`.
fn revisions(ledger: &mut Ledger, db: &Connection, upto: u64, rows: u64) -> Result<u64, Failure> {
    let anchor = ledger.anchor();
    if upto <= anchor {
        return Ok(0);
    }
    let last = upto.min(anchor.saturating_add(rows));
    let next: Option<Head> = db
        .prepare_cached(
            "SELECT seq, finding_id, revision, activity, payload_hash, previous_hash FROM outbox
             WHERE seq > ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([int(anchor), int(last)], |row| {
            let hash = |bytes: Vec<u8>| Hash::try_from(bytes.as_slice()).unwrap_or(ROOT);
            let (seq, id, activity): (u64, String, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
            let (payload, previous) = (hash(row.get(4)?), hash(row.get(5)?));
            Ok(Head { seq, hash: link(&previous, seq, &id, row.get(2)?, &activity, &payload) })
        })
        .optional()?;
    let Some(next) = next else { return Ok(0) };
    let forgotten: Option<u32> = db
        .prepare_cached(concat!(
            "SELECT max(revision) FROM outbox WHERE seq <= ?1 AND NOT EXISTS (SELECT 1 FROM finding WHERE ",
            has_id!("outbox.finding_id"),
            ")"
        ))?
        .query_row([int(next.seq)], |row| row.get(0))?;
    ledger.raise_floor(db, forgotten.unwrap_or(0))?;
    ledger.move_anchor(db, next)?;
    let gone = db.prepare_cached("DELETE FROM outbox WHERE seq <= ?1")?.execute([int(next.seq)])?;
    Ok(gone as u64)
}

/// Looks at the next findings in turn, and takes away those that were not seen for long and have nothing to tell.
fn unseen_since(ledger: &mut Ledger, db: &Connection, sweep: &mut Sweep, cutoff: Timestamp) -> Result<u64, Failure> {
    let cutoff = cutoff.rfc3339();
    let looked: Vec<(i64, String, u32, bool)> = db
        .prepare_cached(
            "SELECT rowid, id, revision, news = 0 AND last_seen < ?2 FROM finding WHERE rowid > ?1 ORDER BY rowid LIMIT ?3",
        )?
        .query_map(params![sweep.rowid, cutoff, SWEPT_ROWS], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<_, _>>()?;
    let is_last = (looked.len() as u64) < SWEPT_ROWS;
    sweep.rowid = looked.last().filter(|_| !is_last).map_or(0, |(rowid, ..)| *rowid);
    let mut gone = 0;
    for (_, id, revision, _) in looked.iter().filter(|(.., is_old)| *is_old) {
        ledger.forget(db, id, *revision)?;
        gone += 1;
    }
    Ok(gone)
}

/// The same for findings of which no revision is left.
fn told_and_gone(ledger: &mut Ledger, db: &Connection, sweep: &mut Sweep, rows: u64) -> Result<u64, Failure> {
    let looked: Vec<(i64, String, u32, bool)> = db
        .prepare_cached(
            "SELECT rowid, id, revision,
                 news = 0 AND NOT EXISTS (SELECT 1 FROM outbox WHERE seq = finding.first_seq)
                     AND NOT EXISTS (SELECT 1 FROM outbox WHERE finding_id = finding.id AND activity <> 'create')
             FROM finding WHERE rowid > ?1 ORDER BY rowid LIMIT ?2",
        )?
        .query_map(params![sweep.rowid, 4 * rows], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    let is_last = (looked.len() as u64) < 4 * rows;
    sweep.rowid = looked.last().filter(|_| !is_last).map_or(0, |(rowid, ..)| *rowid);
    let mut gone = 0;
    for (_, id, revision, _) in looked.iter().filter(|(.., is_gone)| *is_gone) {
        ledger.forget(db, id, *revision)?;
        gone += 1;
    }
    Ok(gone)
}

/// Takes away the oldest minutes of usage before this one.
fn usage(db: &Connection, before: u64) -> rusqlite::Result<u64> {
    let mut gone = 0;
    for _ in 0..STEP_MINUTES {
        let oldest: Option<u64> =
            db.prepare_cached("SELECT min(minute) FROM usage")?.query_row([], |row| row.get(0))?;
        let Some(oldest) = oldest.filter(|oldest| *oldest < before) else { break };
        gone += db.prepare_cached("DELETE FROM usage WHERE minute = ?1")?.execute([int(oldest)])? as u64;
        if gone >= STEP_ROWS {
            break;
        }
    }
    Ok(gone)
}

fn dead_letters(db: &Connection, cutoff: Timestamp) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM dead_letter WHERE (sink, seq) IN
        (SELECT sink, seq FROM dead_letter WHERE at < ?1 ORDER BY sink, seq LIMIT ?2)";
    Ok(db.prepare_cached(sql)?.execute(params![cutoff.rfc3339(), STEP_ROWS])? as u64)
}
