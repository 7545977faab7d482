//! The tables and how they came about. Enters: a connection. Leaves: the same, at the version of this build, or a clear refusal.
//! Steps are only ever added: a step that was released never changes.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

/// `Outf`, in the header of the file: tells our stores from other people's databases (sqlite.org/pragma.html#pragma_application_id).
pub(super) const APPLICATION_ID: i64 = 0x4f75_7466;

/// Version n is reached by the first n steps.
pub(super) const STEPS: &[&str] = &[
    // `finding`: the current state, an id a row. `news`: counted up since the newest revision was cut at `told_at_ns`.
    // `outbox`: every revision, in order; only its payload may ever be taken away.
    "CREATE TABLE finding (
        id TEXT NOT NULL PRIMARY KEY, rule TEXT NOT NULL, category TEXT NOT NULL, severity INTEGER NOT NULL,
        service TEXT NOT NULL, first_seen TEXT NOT NULL, last_seen TEXT NOT NULL, count INTEGER NOT NULL,
        revision INTEGER NOT NULL, told_count INTEGER NOT NULL, told_at_ns INTEGER NOT NULL, news INTEGER NOT NULL,
        payload TEXT NOT NULL
    ) STRICT;
    CREATE INDEX finding_news ON finding (told_at_ns) WHERE news = 1;
    CREATE TABLE outbox (
        seq INTEGER NOT NULL PRIMARY KEY, finding_id TEXT NOT NULL, revision INTEGER NOT NULL, activity TEXT NOT NULL,
        payload TEXT, payload_hash BLOB NOT NULL, previous_hash BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX outbox_revision ON outbox (finding_id, revision);
    CREATE TRIGGER outbox_keeps BEFORE DELETE ON outbox
        BEGIN SELECT RAISE(ABORT, 'the outbox is append-only'); END;
    CREATE TRIGGER outbox_stays BEFORE UPDATE ON outbox WHEN NEW.payload IS NOT NULL OR NEW.seq <> OLD.seq
        OR NEW.finding_id <> OLD.finding_id OR NEW.revision <> OLD.revision OR NEW.activity <> OLD.activity
        OR NEW.payload_hash <> OLD.payload_hash OR NEW.previous_hash <> OLD.previous_hash
        BEGIN SELECT RAISE(ABORT, 'the outbox is append-only'); END;
    CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;",
    // `detector_state.id` grows with every change: a detector gets its keys back in the order in which it used them.
    "CREATE TABLE usage (
        minute INTEGER NOT NULL, service TEXT NOT NULL, host TEXT NOT NULL, api TEXT NOT NULL, model TEXT NOT NULL,
        calls INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
        cost_nano_usd INTEGER NOT NULL, unpriced INTEGER NOT NULL,
        PRIMARY KEY (minute, service, host, api, model)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE detector_state (
        id INTEGER NOT NULL PRIMARY KEY, detector TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
        UNIQUE (detector, key)
    ) STRICT;
    CREATE TABLE source_checkpoint (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE sink_cursor (sink TEXT NOT NULL PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
    // `dead_letter`: a revision that a sink's receiver will never take. The cursor has passed it, the outbox still has it.
    "CREATE TABLE dead_letter (
        sink TEXT NOT NULL, seq INTEGER NOT NULL, record_id TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
        at TEXT NOT NULL, PRIMARY KEY (sink, seq)
    ) STRICT, WITHOUT ROWID;",
    // Use by feature, and what of the cost is an estimate.
    "CREATE TABLE usage_by_feature (
        minute INTEGER NOT NULL, service TEXT NOT NULL, feature TEXT NOT NULL, host TEXT NOT NULL, api TEXT NOT NULL,
        model TEXT NOT NULL, calls INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
        cost_nano_usd INTEGER NOT NULL, estimated_nano_usd INTEGER NOT NULL, unpriced INTEGER NOT NULL,
        PRIMARY KEY (minute, service, feature, host, api, model)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO usage_by_feature SELECT minute, service, '', host, api, model, calls, input_tokens, output_tokens,
        cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd, 0, unpriced FROM usage;
    DROP TABLE usage;
    ALTER TABLE usage_by_feature RENAME TO usage;",
    // The outbox may lose its oldest revisions. `anchor` in `meta` is the newest one that went, written as `head` is: it moves only
    // forward, and only to what the next revision, or the head, says of it. `outbox_mark`: everything up to `seq` was there at `at_ns`.
    "DROP TRIGGER IF EXISTS outbox_keeps;
    CREATE TRIGGER outbox_keeps BEFORE DELETE ON outbox
        WHEN OLD.seq > coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'anchor'), 0)
        BEGIN SELECT RAISE(ABORT, 'the outbox is append-only'); END;
    CREATE TRIGGER anchor_moves BEFORE INSERT ON meta WHEN NEW.key = 'anchor' AND NOT (
            CAST(NEW.value AS INTEGER) > coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'anchor'), 0)
            AND NEW.value = coalesce(
                (SELECT (seq - 1) || ' ' || lower(hex(previous_hash)) FROM outbox
                 WHERE seq = CAST(NEW.value AS INTEGER) + 1),
                (SELECT value FROM meta WHERE key = 'head'), ''))
        BEGIN SELECT RAISE(ABORT, 'the outbox is append-only, and loses its oldest revisions only along its chain'); END;
    CREATE TRIGGER anchor_stays BEFORE UPDATE ON meta WHEN OLD.key = 'anchor' OR NEW.key = 'anchor'
        BEGIN SELECT RAISE(ABORT, 'the outbox is append-only'); END;
    CREATE TRIGGER anchor_keeps BEFORE DELETE ON meta WHEN OLD.key = 'anchor'
        BEGIN SELECT RAISE(ABORT, 'the outbox is append-only'); END;
    CREATE TABLE outbox_mark (at_ns INTEGER NOT NULL PRIMARY KEY, seq INTEGER NOT NULL) STRICT;",
    // `call`: the calls that sinks stream, until each of them has it. A number is never used twice (AUTOINCREMENT), so with `store_id` it names
    // a call for ever. `call_cursor`: how far each stream is.
    "CREATE TABLE call (seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL) STRICT;
    CREATE TABLE call_cursor (sink TEXT NOT NULL PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta (key, value) VALUES ('store_id', lower(hex(randomblob(8))));",
    // What was erased is asked for with every new finding, and is nearly always nothing.
    "CREATE INDEX outbox_erased ON outbox (finding_id, revision) WHERE payload IS NULL;",
    // Most findings are seen once, and their ids are random: with each of them a page of an index over all revisions changed. `first_seq`: the
    // revision that began the finding. (Not by their number: above `revision_floor` none is the first.)
    "ALTER TABLE finding ADD COLUMN first_seq INTEGER NOT NULL DEFAULT 0;
    UPDATE finding SET first_seq = coalesce(
        (SELECT max(seq) FROM outbox WHERE finding_id = finding.id AND activity = 'create'), 0);
    DROP INDEX outbox_revision;
    CREATE UNIQUE INDEX outbox_later ON outbox (finding_id, revision) WHERE activity <> 'create';",
    // Ids are random, so a commit changes most pages of an index over them: whole ids took as many pages of the log as the findings themselves. Eight
    // of their digits tell a million apart as well; a second finding with one id nobody makes but the writer, who looks first.
    "CREATE TABLE finding_by_digits (
        id TEXT NOT NULL, rule TEXT NOT NULL, category TEXT NOT NULL, severity INTEGER NOT NULL,
        service TEXT NOT NULL, first_seen TEXT NOT NULL, last_seen TEXT NOT NULL, count INTEGER NOT NULL,
        revision INTEGER NOT NULL, told_count INTEGER NOT NULL, told_at_ns INTEGER NOT NULL, news INTEGER NOT NULL,
        payload TEXT NOT NULL, first_seq INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    INSERT INTO finding_by_digits SELECT id, rule, category, severity, service, first_seen, last_seen, count, revision, told_count,
        told_at_ns, news, payload, first_seq FROM finding ORDER BY rowid;
    DROP TABLE finding;
    ALTER TABLE finding_by_digits RENAME TO finding;
    CREATE INDEX finding_news ON finding (told_at_ns) WHERE news = 1;
    CREATE INDEX finding_digits ON finding (substr(id, 1, 8));",
];

/// The condition that a row of `finding` is the one whose id is the first parameter, or what is given, by its index.
macro_rules! has_id {
    () => {
        "substr(id, 1, 8) = substr(?1, 1, 8) AND id = ?1"
    };
    ($id:literal) => {
        concat!("substr(id, 1, 8) = substr(", $id, ", 1, 8) AND id = ", $id)
    };
}
pub(super) use has_id;

/// The same for all ids that begin with the first parameter, of hexadecimal digits.
macro_rules! has_id_prefix {
    () => {
        // `g` comes behind every digit.
        "substr(id, 1, 8) >= substr(?1, 1, 8) AND substr(id, 1, 8) < substr(?1, 1, 8) || 'g' AND id >= ?1 AND id < ?1 || 'g'"
    };
}
pub(super) use has_id_prefix;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing in it yet.
    Empty,
    /// A store of this version.
    Version(i64),
}

/// The version of this build.
pub(super) fn current() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Looks at a database without changing it. A newer or a foreign one is refused.
pub(super) fn look(db: &Connection, path: &Path) -> Result<Found, StoreError> {
    let failed = |error| StoreError::sqlite(path, &error);
    let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(failed);
    let version = number("user_version")?;
    let objects: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    match (number("application_id")?, version) {
        (0, 0) if objects == 0 => Ok(Found::Empty),
        (APPLICATION_ID, version) if version > current() => {
            Err(StoreError::Newer { path: path.to_owned(), found: version, known: current() })
        }
        (APPLICATION_ID, version @ 1..) => Ok(Found::Version(version)),
        _ => Err(StoreError::Foreign(path.to_owned())),
    }
}

/// Brings a database to the current version: all steps or none, so that after a failure the program that wrote it can go on with it.
pub(super) fn migrate(db: &mut Connection, path: &Path, found: Found) -> Result<(), StoreError> {
    let done = match found {
        Found::Empty => 0,
        Found::Version(version) if version >= current() => return Ok(()),
        Found::Version(version) => version,
    };
    let mut steps = || -> rusqlite::Result<()> {
        let change = db.transaction()?;
        for (_, step) in (1..).zip(STEPS).filter(|(version, _)| *version > done) {
            change.execute_batch(step)?;
        }
        change.pragma_update(None, "application_id", APPLICATION_ID)?;
        change.pragma_update(None, "user_version", current())?;
        change.commit()
    };
    steps().map_err(|error| StoreError::sqlite(path, &error))
}
