//! Calls that wait for the sinks that stream them. Enters: calls, in the transaction of their batch; cursors. Leaves: rows in order, and none that
//! every stream has. Findings are kept for ever and calls are not: there are a thousand times as many.
//!
//! Bound: `max_bytes` of payloads. Beyond it the oldest calls go, whoever waits for them, and are counted.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    DeadLetter, StoreError, StoreReader,
    apply::{Failure, bury, int},
    stats::Shared,
};
use crate::findings::Call;

/// A call as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRow {
    /// Its number, from 1 on; none is used twice.
    pub seq: u64,
    /// The call, JSON.
    pub payload: String,
}

/// What the writer knows of the calls.
#[derive(Debug)]
pub(super) struct Calls {
    /// Before the oldest that is kept.
    before: u64,
    /// The newest that ever was.
    newest: u64,
    /// Bytes of the payloads that are kept.
    bytes: u64,
    max_bytes: u64,
    /// In this transaction, before every stream had them.
    dropped: u64,
}

impl Calls {
    pub(super) fn open(db: &Connection, max_bytes: u64) -> rusqlite::Result<Self> {
        let newest = newest(db)?;
        let (before, bytes) =
            db.query_row("SELECT min(seq) - 1, coalesce(sum(octet_length(payload)), 0) FROM call", [], |row| {
                Ok((row.get::<_, Option<u64>>(0)?.unwrap_or(newest), row.get(1)?))
            })?;
        Ok(Self { before, newest, bytes, max_bytes, dropped: 0 })
    }

    /// Appends a call, unless nobody streams them.
    pub(super) fn add(&mut self, db: &Connection, call: &Call) -> Result<(), Failure> {
        if self.max_bytes == 0 {
            return Ok(());
        }
        let payload = serde_json::to_string(call)?;
        db.prepare_cached("INSERT INTO call (payload) VALUES (?1)")?.execute([&payload])?;
        self.newest = u64::try_from(db.last_insert_rowid()).unwrap_or_default();
        self.bytes = self.bytes.saturating_add(payload.len() as u64);
        Ok(())
    }

    /// Drops the oldest until there are few enough.
    pub(super) fn bound(&mut self, db: &Connection) -> rusqlite::Result<()> {
        // A program that keeps none leaves those of the agent alone.
        if self.max_bytes == 0 || self.bytes <= self.max_bytes {
            return Ok(());
        }
        let (mut left, mut until) = (self.bytes, self.before);
        let mut oldest = db.prepare_cached("SELECT seq, octet_length(payload) FROM call ORDER BY seq")?;
        let mut rows = oldest.query([])?;
        while left > self.max_bytes
            && let Some(row) = rows.next()?
        {
            until = row.get(0)?;
            left = left.saturating_sub(row.get(1)?);
        }
        drop(rows);
        self.dropped += self.forget(db, until)?;
        Ok(())
    }

    /// These streams are wanted, and no other.
    pub(super) fn wanted_by(&mut self, db: &Connection, sinks: &[String]) -> rusqlite::Result<usize> {
        let known: Vec<String> = db
            .prepare_cached("SELECT sink FROM call_cursor")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for sink in known.iter().filter(|sink| !sinks.contains(sink)) {
            db.prepare_cached("DELETE FROM call_cursor WHERE sink = ?1")?.execute([sink])?;
        }
        for sink in sinks {
            db.prepare_cached("INSERT OR IGNORE INTO call_cursor (sink, seq) VALUES (?1, ?2)")?
                .execute(params![sink, int(self.before)])?;
        }
        self.prune(db)?;
        Ok(sinks.len())
    }

    /// Moves the cursor of a stream, past what can never be delivered, and forgets what every stream has.
    pub(super) fn deliver(
        &mut self,
        db: &Connection,
        sink: &str,
        seq: u64,
        dead: &[DeadLetter],
    ) -> rusqlite::Result<usize> {
        bury(db, sink, dead)?;
        let sql = "INSERT OR REPLACE INTO call_cursor (sink, seq) VALUES (?1, ?2)";
        let moved = db.prepare_cached(sql)?.execute(params![sink, int(seq)])?;
        self.prune(db)?;
        Ok(moved)
    }

    /// Tells of a committed state.
    pub(super) fn tell(&mut self, shared: &Shared) {
        shared.calls(self.newest, self.newest.saturating_sub(self.before), std::mem::take(&mut self.dropped));
    }

    fn prune(&mut self, db: &Connection) -> rusqlite::Result<()> {
        // Without any stream nothing is waited for.
        let until: Option<u64> =
            db.prepare_cached("SELECT min(seq) FROM call_cursor")?.query_row([], |row| row.get(0))?;
        let until = until.unwrap_or(self.newest).min(self.newest);
        if until > self.before {
            self.forget(db, until)?;
        }
        Ok(())
    }

    /// Returns how many there were.
    fn forget(&mut self, db: &Connection, until: u64) -> rusqlite::Result<u64> {
        let mut forget = db.prepare_cached("DELETE FROM call WHERE seq <= ?1 RETURNING octet_length(payload)")?;
        let mut count = 0;
        for bytes in forget.query_map([int(until)], |row| row.get::<_, u64>(0))? {
            self.bytes = self.bytes.saturating_sub(bytes?);
            count += 1;
        }
        self.before = self.before.max(until);
        Ok(count)
    }
}

fn newest(db: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'call'";
    Ok(db.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or(0))
}

impl StoreReader {
    /// Names this store among all: 16 hexadecimal digits, made with it.
    pub fn store_id(&self) -> Result<String, StoreError> {
        let ids = self.all("SELECT value FROM meta WHERE key = 'store_id'", &[], |row| row.get(0))?;
        Ok(ids.into_iter().next().unwrap_or_default())
    }

    /// Calls behind a number, in order; at most `limit`.
    pub fn calls_after(&self, seq: u64, limit: u64) -> Result<Vec<CallRow>, StoreError> {
        self.all(
            "SELECT seq, payload FROM call WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            params![int(seq), int(limit)],
            |row| Ok(CallRow { seq: row.get(0)?, payload: row.get(1)? }),
        )
    }

    /// Up to which call each stream has all.
    pub fn call_cursors(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.all("SELECT sink, seq FROM call_cursor ORDER BY sink", &[], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Up to which call a stream has all.
    pub fn call_cursor(&self, sink: &str) -> Result<u64, StoreError> {
        let rows = self.all("SELECT seq FROM call_cursor WHERE sink = ?1", params![sink], |row| row.get(0))?;
        Ok(rows.first().copied().unwrap_or(0))
    }

    /// The newest call that ever was.
    pub fn newest_call(&self) -> Result<u64, StoreError> {
        newest(&self.db).map_err(|error| self.failed(&error))
    }
}
