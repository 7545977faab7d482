//! Reads a store, also while it is being written and as another user who may only read. Enters: a file. Leaves: what was committed.
//! It changes nothing, not even the version.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, ToSql, config::DbConfig, params};

use super::{
    DeadLetter, StoreError, UsageRow,
    apply::{int, rank},
    chain::{Head, payload_hash},
    file, schema,
    schema::{Found, has_id, has_id_prefix},
};
use crate::{
    findings::{Finding, record_id},
    sources::Checkpoint,
    units::{NanoUsd, Severity, Timestamp},
};

/// How long a reader waits for the writer to put a crashed log in order, milliseconds.
const BUSY_MS: u64 = 5000;

/// A store that is open for reading.
#[derive(Debug)]
pub struct StoreReader {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
}

/// Which findings.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// This severity or a graver one.
    pub severity: Option<Severity>,
    /// Rule id; `*` stands for any text.
    pub rule: Option<String>,
    /// Kind of trouble, `leak`.
    pub category: Option<String>,
    /// Service.
    pub service: Option<String>,
    /// Seen then or later.
    pub since: Option<Timestamp>,
    /// At most so many, the newest first.
    pub limit: Option<u64>,
}

/// One row of the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Position in the outbox, from 1 on.
    pub seq: u64,
    /// Whose.
    pub finding_id: String,
    /// Number of the revision.
    pub revision: u32,
    /// `create`, `update` or `close`.
    pub activity: String,
    /// The finding as it was then; `None` when it was erased.
    pub finding: Option<Finding>,
}

/// One row of the outbox as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Position in the outbox, from 1 on.
    pub seq: u64,
    /// Whose.
    pub finding_id: String,
    /// Number of the revision.
    pub revision: u32,
    /// `create`, `update` or `close`.
    pub activity: String,
    /// The finding as it was then, JSON; `None` when it was erased.
    pub payload: Option<String>,
    /// SHA-256 of the payload as it was written.
    pub payload_hash: Vec<u8>,
}

impl OutboxRow {
    /// The payload is the one that was written, or was erased.
    pub fn is_as_written(&self) -> bool {
        self.payload.as_deref().is_none_or(|payload| payload_hash(payload)[..] == self.payload_hash)
    }

    /// Finding id and revision.
    pub fn record_id(&self) -> String {
        record_id(&self.finding_id, self.revision)
    }
}

/// Opens a database and looks what it is. `address` is the path, or a URI of it.
fn look(path: &Path, address: &Path) -> Result<(Connection, Found), StoreError> {
    let failed = |error| StoreError::sqlite(path, &error);
    let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // A path may begin with `file:` as well.
    flags.set(OpenFlags::SQLITE_OPEN_URI, address != path);
    let db = Connection::open_with_flags(address, flags).map_err(failed)?;
    db.busy_timeout(std::time::Duration::from_millis(BUSY_MS)).map_err(failed)?;
    // As the writer has it: a plan does not depend on values, so a statement is planned once.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed)?;
    let found = schema::look(&db, path)?;
    Ok((db, found))
}

/// The path as a URI that promises that the file does not change (sqlite.org/uri.html).
fn immutable(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let escaped = absolute.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Some(format!("file:{escaped}?immutable=1").into())
}

impl StoreReader {
    /// Opens a store for reading.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        file::readable(path)?;
        let (db, found) = match look(path, path) {
            // A copy on a medium that nobody can write: SQLite wants a log beside it, unless it is told that nothing will change.
            Err(StoreError::Blocked { .. } | StoreError::Permission { .. }) if !file::beside(path, "-wal").exists() => {
                look(path, &immutable(path).unwrap_or_else(|| path.to_owned()))?
            }
            opened => opened?,
        };
        match found {
            Found::Empty => Err(StoreError::Missing(path.to_owned())),
            Found::Version(found) if found < schema::current() => {
                Err(StoreError::Older { path: path.to_owned(), found, known: schema::current() })
            }
            Found::Version(_) => Ok(Self { db, path: path.to_owned() }),
        }
    }

    /// Current states of findings, the newest first.
    pub fn findings(&self, filter: &Filter) -> Result<Vec<Finding>, StoreError> {
        let since = filter.since.map(Timestamp::rfc3339);
        let severity = filter.severity.map(rank);
        let limit = filter.limit.map_or(-1, int);
        self.all(
            "SELECT payload FROM finding WHERE severity >= coalesce(?1, 0) AND (?2 IS NULL OR rule GLOB ?2)
                 AND (?3 IS NULL OR category = ?3) AND (?4 IS NULL OR service = ?4) AND (?5 IS NULL OR last_seen >= ?5)
             ORDER BY last_seen DESC, id LIMIT ?6",
            params![severity, filter.rule, filter.category, filter.service, since, limit],
            |row| row.get::<_, String>(0),
        )?
        .iter()
        .map(|payload| self.finding_of(payload))
        .collect()
    }

    /// How many findings the filter lets through, whatever its limit.
    pub fn count(&self, filter: &Filter) -> Result<u64, StoreError> {
        let since = filter.since.map(Timestamp::rfc3339);
        let counts = self.all(
            "SELECT count(*) FROM finding WHERE severity >= coalesce(?1, 0) AND (?2 IS NULL OR rule GLOB ?2)
                 AND (?3 IS NULL OR category = ?3) AND (?4 IS NULL OR service = ?4) AND (?5 IS NULL OR last_seen >= ?5)",
            params![filter.severity.map(rank), filter.rule, filter.category, filter.service, since],
            |row| row.get(0),
        )?;
        Ok(counts.first().copied().unwrap_or(0))
    }

    /// The current state of one finding; `None` when there is none, or it was erased.
    pub fn finding(&self, id: &str) -> Result<Option<Finding>, StoreError> {
        let payload: Option<String> = self
            .db
            .query_row(concat!("SELECT payload FROM finding WHERE ", has_id!()), [id], |row| row.get(0))
            .optional()
            .map_err(|error| self.failed(&error))?;
        payload.map(|payload| self.finding_of(&payload)).transpose()
    }

    /// Ids that begin with these hexadecimal digits, erased ones included; at most `limit`.
    pub fn ids(&self, prefix: &str, limit: u64) -> Result<Vec<String>, StoreError> {
        let ids = |sql| self.all(sql, params![prefix, int(limit)], |row| row.get(0));
        // `g` comes behind every digit.
        let known: Vec<String> = ids(concat!(
            "SELECT id FROM finding WHERE ",
            has_id_prefix!(),
            " UNION SELECT finding_id FROM outbox WHERE finding_id >= ?1 AND finding_id < ?1 || 'g' AND activity <> 'create'
             UNION SELECT finding_id FROM outbox WHERE finding_id >= ?1 AND finding_id < ?1 || 'g' AND payload IS NULL
             ORDER BY 1 LIMIT ?2"
        ))?;
        if !known.is_empty() {
            return Ok(known);
        }
        // Its state was not kept as long as its one revision: all are looked through.
        ids(
            "SELECT DISTINCT finding_id FROM outbox WHERE finding_id >= ?1 AND finding_id < ?1 || 'g' ORDER BY 1 LIMIT ?2",
        )
    }

    /// All revisions of one finding, the first one first.
    pub fn history(&self, id: &str) -> Result<Vec<Revision>, StoreError> {
        let is_known = concat!("SELECT EXISTS (SELECT 1 FROM finding WHERE ", has_id!(), ")");
        let is_known = self.all(is_known, params![id], |row| row.get::<_, bool>(0))?.contains(&true);
        // As with ids.
        let all = "finding_id = ?1 ORDER BY revision";
        let indexed = concat!(
            "seq IN (SELECT seq FROM outbox WHERE finding_id = ?1 AND activity <> 'create'
                 UNION SELECT seq FROM outbox WHERE finding_id = ?1 AND payload IS NULL
                 UNION SELECT first_seq FROM finding WHERE ",
            has_id!(),
            ") ORDER BY revision"
        );
        self.revisions(if is_known { indexed } else { all }, params![id])
    }

    /// Revisions of all findings behind a position, in order; at most `limit`.
    pub fn outbox_after(&self, seq: u64, limit: u64) -> Result<Vec<Revision>, StoreError> {
        self.revisions("seq > ?1 ORDER BY seq LIMIT ?2", params![int(seq), int(limit)])
    }

    /// The same as they stand: for sinks, which must get past a row that no finding can be read from.
    pub fn outbox_rows_after(&self, seq: u64, limit: u64) -> Result<Vec<OutboxRow>, StoreError> {
        self.rows("seq > ?1 ORDER BY seq LIMIT ?2", params![int(seq), int(limit)])
    }

    /// What a sink's receiver will never take, in the order of the outbox, with the sink's name; at most `limit`.
    pub fn dead_letters(&self, limit: u64) -> Result<Vec<(String, DeadLetter)>, StoreError> {
        self.all(
            "SELECT sink, seq, record_id, reason, detail, at FROM dead_letter ORDER BY sink, seq LIMIT ?1",
            params![int(limit)],
            |row| {
                let (seq, record_id, reason) = (row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((row.get(0)?, DeadLetter { seq, record_id, reason, detail: row.get(4)?, at: row.get(5)? }))
            },
        )
    }

    /// Up to which position each sink that ever delivered has everything.
    pub fn cursors(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.all("SELECT sink, seq FROM sink_cursor ORDER BY sink", params![], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Position of the newest revision; 0: there is none.
    pub fn head(&self) -> Result<u64, StoreError> {
        // Not of the outbox: the newest one may have left it.
        let head = self.all("SELECT value FROM meta WHERE key = 'head'", params![], |row| row.get::<_, String>(0))?;
        Ok(head.first().and_then(|text| Head::parse(text)).map_or(0, |head| head.seq))
    }

    /// Up to which position a sink has everything.
    pub fn cursor(&self, sink: &str) -> Result<u64, StoreError> {
        let rows = self.all("SELECT seq FROM sink_cursor WHERE sink = ?1", params![sink], |row| row.get(0))?;
        Ok(rows.first().copied().unwrap_or(0))
    }

    /// The checkpoints whose keys begin with `prefix`, by key.
    pub fn checkpoints(&self, prefix: &str) -> Result<Vec<Checkpoint>, StoreError> {
        self.all(
            "SELECT key, value FROM source_checkpoint WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key",
            params![prefix],
            |row| Ok(Checkpoint { key: row.get(0)?, value: row.get(1)? }),
        )
    }

    /// Keys and values of one detector's state, in the order in which they changed.
    pub fn states(&self, detector: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.all("SELECT key, value FROM detector_state WHERE detector = ?1 ORDER BY id", params![detector], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// Use since a minute (of the Unix epoch), by minute and call site.
    pub fn usage(&self, since_minute: u64) -> Result<Vec<UsageRow>, StoreError> {
        self.all(
            "SELECT minute, service, feature, host, api, model, calls, input_tokens, output_tokens, cache_read_tokens,
                 cache_write_tokens, reasoning_tokens, cost_nano_usd, estimated_nano_usd, unpriced
             FROM usage WHERE minute >= ?1 ORDER BY minute, service, feature, host, api, model",
            params![int(since_minute)],
            |row| {
                Ok(UsageRow {
                    minute: row.get(0)?,
                    service: row.get(1)?,
                    feature: row.get(2)?,
                    host: row.get(3)?,
                    api: row.get(4)?,
                    model: row.get(5)?,
                    calls: row.get(6)?,
                    input_tokens: row.get(7)?,
                    output_tokens: row.get(8)?,
                    cache_read_tokens: row.get(9)?,
                    cache_write_tokens: row.get(10)?,
                    reasoning_tokens: row.get(11)?,
                    cost_nano_usd: NanoUsd(row.get(12)?),
                    estimated_nano_usd: NanoUsd(row.get(13)?),
                    unpriced: row.get(14)?,
                })
            },
        )
    }

    fn revisions(&self, which: &str, values: &[&dyn ToSql]) -> Result<Vec<Revision>, StoreError> {
        let read = |OutboxRow { seq, finding_id, revision, activity, payload, .. }| {
            let finding = payload.map(|payload| self.finding_of(&payload)).transpose()?;
            Ok(Revision { seq, finding_id, revision, activity, finding })
        };
        self.rows(which, values)?.into_iter().map(read).collect()
    }

    fn rows(&self, which: &str, values: &[&dyn ToSql]) -> Result<Vec<OutboxRow>, StoreError> {
        let sql =
            format!("SELECT seq, finding_id, revision, activity, payload, payload_hash FROM outbox WHERE {which}");
        self.all(&sql, values, |row| {
            Ok(OutboxRow {
                seq: row.get(0)?,
                finding_id: row.get(1)?,
                revision: row.get(2)?,
                activity: row.get(3)?,
                payload: row.get(4)?,
                payload_hash: row.get(5)?,
            })
        })
    }

    pub(super) fn all<T>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = || self.db.prepare_cached(sql)?.query_map(values, read)?.collect::<rusqlite::Result<_>>();
        rows().map_err(|error| self.failed(&error))
    }

    fn finding_of(&self, payload: &str) -> Result<Finding, StoreError> {
        serde_json::from_str(payload)
            .map_err(|error| StoreError::Finding { path: self.path.clone(), reason: error.to_string() })
    }

    pub(super) fn failed(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::sqlite(&self.path, error)
    }
}
