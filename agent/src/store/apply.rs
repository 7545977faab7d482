//! Batches become rows. Enters: a transaction and what is to be in it. Leaves: the changed rows; the caller commits or rolls back, and
//! says which. Findings are counted in memory while the transaction runs, and written once at its end; so are the
//! records of detectors.
//!
//! Bound: [`MAX_KNOWN`] findings stay in memory between transactions, so that a finding that repeats is not read each time.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use hashbrown::{HashMap, HashSet};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    Batch, DeadLetter, StoreError, UsageRow,
    calls::Calls,
    chain::{Head, link, payload_hash},
    ids::Ids,
    rows::{Fresh, Known, Row, written},
    schema::has_id,
};
use crate::{
    detectors::StateChange,
    findings::{Activity, Finding, record_id},
    units::{Severity, Timestamp},
};

/// Findings that stay in memory, about 2 KB each.
const MAX_KNOWN: usize = 4096;

/// Key in `meta` of [`Ledger::raise_floor`].
const REVISION_FLOOR: &str = "revision_floor";

/// What the writer knows of the database.
#[derive(Debug)]
pub(super) struct Ledger {
    head: Head,
    /// What the database says the head is.
    stored_head: u64,
    /// The newest revision that left the outbox.
    anchor: Head,
    /// No revision of a finding of which nothing is kept has a higher number.
    revision_floor: u32,
    /// Some revision was erased.
    has_erased: bool,
    /// Of all findings that have a row, once somebody asked. Also of some that were to have one: after a failure it may be used on.
    pub(super) ids: Option<Ids>,
    known: HashMap<String, Known>,
    /// Those that this transaction began and saw once. Most stay so, and are not known any more when it is committed.
    fresh: BTreeMap<String, Fresh>,
    /// Those of the known that this transaction changed. In order of the id: pages of the index are visited once, and the file is the same in every run.
    changed: BTreeSet<String>,
    states: States,
    calls: Calls,
}

/// What detectors learned in this transaction. Of a record that changed with each of a hundred calls only the last change is
/// written, in the place of that one among the others: they are taken back in the order of change.
#[derive(Debug, Default)]
struct States {
    changes: Vec<Option<StateChange>>,
    places: HashMap<&'static str, HashMap<String, usize>>,
}

impl States {
    fn take(&mut self, change: &StateChange) {
        let place = self.changes.len();
        let places = self.places.entry(change.detector).or_default();
        let before = match places.get_mut(&change.key) {
            Some(known) => Some(std::mem::replace(known, place)),
            None => places.insert(change.key.clone(), place),
        };
        if let Some(before) = before.and_then(|before| self.changes.get_mut(before)) {
            *before = None;
        }
        self.changes.push(Some(change.clone()));
    }

    fn write(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.places.values_mut().for_each(HashMap::clear);
        self.changes.drain(..).flatten().try_for_each(|change| change_state(db, &change))
    }
}

/// Why a batch was not applied.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite said so.
    Sqlite(rusqlite::Error),
    /// A finding, ours or a stored one, that is no JSON.
    Json(serde_json::Error),
}

impl Failure {
    /// In the words of the store.
    pub(super) fn told(self, path: &Path) -> StoreError {
        match self {
            Self::Sqlite(error) => StoreError::sqlite(path, &error),
            Self::Json(error) => StoreError::Finding { path: path.to_owned(), reason: error.to_string() },
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl Ledger {
    /// Reads both ends of the chain, and which calls are kept. At most `max_call_bytes` of calls will be.
    pub(super) fn open(db: &Connection, max_call_bytes: u64) -> Result<Self, Failure> {
        let read = |key: &str| -> rusqlite::Result<Option<String>> {
            db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?.query_row([key], |row| row.get(0)).optional()
        };
        let end =
            |key| -> rusqlite::Result<Head> { Ok(read(key)?.as_deref().and_then(Head::parse).unwrap_or(Head::EMPTY)) };
        let (head, anchor) = (end("head")?, end("anchor")?);
        let revision_floor = read(REVISION_FLOOR)?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let erased = "SELECT EXISTS (SELECT 1 FROM outbox WHERE payload IS NULL)";
        Ok(Self {
            head,
            stored_head: head.seq,
            anchor,
            revision_floor,
            has_erased: db.prepare_cached(erased)?.query_row([], |row| row.get(0))?,
            ids: None,
            known: HashMap::new(),
            fresh: BTreeMap::new(),
            changed: BTreeSet::new(),
            states: States::default(),
            calls: Calls::open(db, max_call_bytes)?,
        })
    }

    /// The newest revision.
    pub(super) fn head(&self) -> u64 {
        self.head.seq
    }

    /// The same with its hash.
    pub(super) fn end(&self) -> Head {
        self.head
    }

    /// The newest revision that left the outbox; 0: none did.
    pub(super) fn anchor(&self) -> u64 {
        self.anchor.seq
    }

    /// Everything up to this revision leaves the outbox, by the caller's next statement.
    pub(super) fn move_anchor(&mut self, db: &Connection, anchor: Head) -> Result<(), Failure> {
        db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('anchor', ?1)")?
            .execute([anchor.text()])?;
        self.anchor = anchor;
        Ok(())
    }

    /// Nothing is kept any more of a finding whose newest revision this was: the id of a record is never used twice.
    pub(super) fn raise_floor(&mut self, db: &Connection, revision: u32) -> Result<(), Failure> {
        if revision > self.revision_floor {
            self.revision_floor = revision;
            db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
                .execute(params![REVISION_FLOOR, revision.to_string()])?;
        }
        Ok(())
    }

    /// Takes the current state of a finding away. Its revisions stay.
    pub(super) fn forget(&mut self, db: &Connection, id: &str, revision: u32) -> Result<(), Failure> {
        self.known.remove(id);
        self.fresh.remove(id);
        db.prepare_cached(concat!("DELETE FROM finding WHERE ", has_id!()))?.execute([id])?;
        self.raise_floor(db, revision)
    }

    /// The calls.
    pub(super) fn calls(&mut self) -> &mut Calls {
        &mut self.calls
    }

    /// Puts one batch into the transaction.
    pub(super) fn apply(&mut self, db: &Connection, batch: &Batch) -> Result<(), Failure> {
        let mut counted = HashSet::new();
        for seen in &batch.findings {
            let same_call = !counted.insert(seen.finding_id.as_str());
            self.count(db, seen, same_call)?;
        }
        for (id, at) in &batch.closed {
            self.close(db, id, *at)?;
        }
        for row in &batch.usage {
            add_usage(db, row)?;
        }
        for call in &batch.calls {
            self.calls.add(db, call)?;
        }
        for key in &batch.forgotten {
            db.prepare_cached("DELETE FROM source_checkpoint WHERE key = ?1")?.execute([key])?;
        }
        for checkpoint in &batch.checkpoints {
            db.prepare_cached("INSERT OR REPLACE INTO source_checkpoint (key, value) VALUES (?1, ?2)")?
                .execute([&checkpoint.key, &checkpoint.value])?;
        }
        batch.states.iter().for_each(|change| self.states.take(change));
        Ok(())
    }

    /// Cuts a revision of findings with news: of all, or of those whose last one is `interval_ns` old at `now`. At most `limit`;
    /// returns how many.
    pub(super) fn cut(
        &mut self,
        db: &Connection,
        now: Timestamp,
        interval_ns: u64,
        limit: usize,
    ) -> Result<usize, Failure> {
        // Told in the future: the clock was set back, and waiting for that time again would hold news for as long.
        let due: Vec<String> = db
            .prepare_cached(
                "SELECT id FROM finding WHERE news = 1 AND (told_at_ns <= ?1 OR told_at_ns > ?2)
                 ORDER BY told_at_ns, id LIMIT ?3",
            )?
            .query_map(params![int(now.0.saturating_sub(interval_ns)), int(now.0), limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for id in &due {
            let Some(mut known) = self.know(db, id)? else { continue };
            self.tell(db, &mut known, Activity::Update, now)?;
            self.put(known);
        }
        Ok(due.len())
    }

    /// Writes what was counted. Nothing may be applied between this and the commit.
    pub(super) fn flush(&mut self, db: &Connection) -> Result<(), Failure> {
        for (id, fresh) in std::mem::take(&mut self.fresh) {
            fresh.write(db, &id)?;
        }
        for id in std::mem::take(&mut self.changed) {
            if let Some(known) = self.known.get_mut(&id) {
                known.write(db, &id)?;
            }
        }
        self.states.write(db)?;
        self.calls.bound(db)?;
        if self.head.seq != self.stored_head {
            db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('head', ?1)")?
                .execute([self.head.text()])?;
            self.stored_head = self.head.seq;
        }
        Ok(())
    }

    /// The transaction was committed.
    pub(super) fn committed(&mut self) {
        if self.known.len() > MAX_KNOWN {
            self.known.clear();
        }
    }

    /// Takes every payload of a finding away, and its current state. The revisions stay as tombstones. Returns how many. No index knows
    /// all of them, so the whole outbox is looked through.
    pub(super) fn erase(&mut self, db: &Connection, id: &str) -> Result<usize, Failure> {
        self.known.remove(id);
        self.fresh.remove(id);
        // When its revisions have left the outbox, no tombstone says which numbers were used.
        let used: Option<u32> = db
            .query_row(
                concat!(
                    "SELECT revision FROM finding WHERE ",
                    has_id!(),
                    " AND revision > coalesce((SELECT max(revision) FROM outbox WHERE finding_id = ?1), 0)"
                ),
                [id],
                |row| row.get(0),
            )
            .optional()?;
        self.raise_floor(db, used.unwrap_or(0))?;
        self.has_erased = true;
        db.execute(concat!("DELETE FROM finding WHERE ", has_id!()), [id])?;
        Ok(db.execute("UPDATE outbox SET payload = NULL WHERE finding_id = ?1 AND payload IS NOT NULL", [id])?)
    }

    /// Counts an occurrence. `same_call`: another one of this call was counted before.
    pub(super) fn count(&mut self, db: &Connection, seen: &Finding, same_call: bool) -> Result<(), Failure> {
        if let Some(mut known) = self.know(db, &seen.finding_id)? {
            known.finding.absorb(seen.clone(), same_call);
            known.payload = None;
            if known.finding.activity == Activity::Close {
                // It was over, and is not: that does not wait for the interval.
                let at = Timestamp::parse(&seen.last_seen).unwrap_or_default();
                self.tell(db, &mut known, Activity::Update, at)?;
            }
            self.put(known);
            return Ok(());
        }
        let revision = self.used_before(db, &seen.finding_id)?.saturating_add(1);
        let mut finding = Cow::Borrowed(seen);
        if seen.activity != Activity::Create || !is_record(seen, revision) {
            finding.to_mut().revise(revision, Activity::Create);
        }
        let finding = &*finding;
        let payload = self.append(db, finding)?;
        let fresh = Fresh {
            rule: finding.rule.id.clone(),
            category: finding.category.as_str(),
            severity: rank(finding.severity),
            service: finding.process.service.clone(),
            first_seen: finding.first_seen.clone(),
            last_seen: finding.last_seen.clone(),
            count: finding.count,
            revision,
            told_at: Timestamp::parse(&finding.last_seen).unwrap_or_default(),
            payload,
            seq: self.head.seq,
        };
        if let Some(ids) = &mut self.ids {
            ids.add(&finding.finding_id);
        }
        self.fresh.insert(finding.finding_id.clone(), fresh);
        Ok(())
    }

    /// The last number that a revision of a finding without a state had. One that was erased goes on behind its tombstones: the id of a record
    /// is never used twice.
    fn used_before(&self, db: &Connection, id: &str) -> Result<u32, Failure> {
        if !self.has_erased {
            return Ok(self.revision_floor);
        }
        let erased: Option<u32> = db
            .prepare_cached(
                "SELECT revision FROM outbox WHERE finding_id = ?1 AND payload IS NULL ORDER BY revision DESC LIMIT 1",
            )?
            .query_row([id], |row| row.get(0))
            .optional()?;
        Ok(erased.unwrap_or(0).max(self.revision_floor))
    }

    /// The trouble of a finding is over: its next revision says so.
    fn close(&mut self, db: &Connection, id: &str, at: Timestamp) -> Result<(), Failure> {
        let Some(mut known) = self.know(db, id)? else { return Ok(()) };
        if known.finding.activity == Activity::Close {
            self.known.insert(id.to_owned(), known);
        } else {
            self.tell(db, &mut known, Activity::Close, at)?;
            self.put(known);
        }
        Ok(())
    }

    /// Cuts a revision of a finding.
    fn tell(&mut self, db: &Connection, known: &mut Known, activity: Activity, at: Timestamp) -> Result<(), Failure> {
        known.finding.revise(known.finding.revision.saturating_add(1), activity);
        known.told_count = known.finding.count;
        known.told_at = at;
        known.payload = Some(self.append(db, &known.finding)?);
        Ok(())
    }

    /// Keeps a finding that changed.
    fn put(&mut self, mut known: Known) {
        let id = known.finding.finding_id.clone();
        if !std::mem::replace(&mut known.is_changed, true) {
            self.changed.insert(id.clone());
        }
        self.known.insert(id, known);
    }

    /// Takes a finding out of memory, or reads it. The caller puts it back.
    fn know(&mut self, db: &Connection, id: &str) -> Result<Option<Known>, Failure> {
        if let Some(known) = self.known.remove(id) {
            return Ok(Some(known));
        }
        let ids = match &mut self.ids {
            Some(ids) => ids,
            none => none.insert(Ids::stored(db)?),
        };
        if !ids.may_have(id) {
            return Ok(None);
        }
        if let Some(Fresh { count, told_at, payload, seq, .. }) = self.fresh.remove(id) {
            let row = Row::Missing { first_seq: seq };
            let finding = serde_json::from_str(&payload)?;
            return Ok(Some(Known { finding, told_count: count, told_at, row, is_changed: false, payload: None }));
        }
        let row = db
            .prepare_cached(concat!(
                "SELECT payload, told_count, told_at_ns, revision, news FROM finding WHERE ",
                has_id!()
            ))?
            .query_row([id], |row| {
                let stored = Row::Stored { revision: row.get(3)?, news: row.get(4)? };
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, stored))
            })
            .optional()?;
        let Some((payload, told_count, told_at_ns, row)) = row else { return Ok(None) };
        let finding = serde_json::from_str(&payload)?;
        Ok(Some(Known { finding, told_count, told_at: Timestamp(told_at_ns), row, is_changed: false, payload: None }))
    }

    /// Appends a revision. Returns its payload.
    fn append(&mut self, db: &Connection, finding: &Finding) -> Result<String, Failure> {
        let payload = written(finding)?;
        let payload_hash = payload_hash(&payload);
        let seq = self.head.seq.saturating_add(1);
        let (activity, revision) = (finding.activity.as_str(), finding.revision);
        db.prepare_cached(
            "INSERT INTO outbox (seq, finding_id, revision, activity, payload, payload_hash, previous_hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            int(seq),
            finding.finding_id,
            revision,
            activity,
            payload,
            payload_hash,
            self.head.hash
        ])?;
        let hash = link(&self.head.hash, seq, &finding.finding_id, revision.into(), activity, &payload_hash);
        self.head = Head { seq, hash };
        Ok(payload)
    }
}

/// It is this revision of itself already.
fn is_record(finding: &Finding, revision: u32) -> bool {
    finding.revision == revision && finding.record_id == record_id(&finding.finding_id, revision)
}

/// Moves the cursor of a sink past what it delivered, and past what can never be delivered, with the reason.
pub(super) fn deliver(db: &Connection, sink: &str, seq: u64, dead: &[DeadLetter]) -> Result<usize, Failure> {
    bury(db, sink, dead)?;
    let sql = "INSERT OR REPLACE INTO sink_cursor (sink, seq) VALUES (?1, ?2)";
    Ok(db.prepare_cached(sql)?.execute(params![sink, int(seq)])?)
}

/// Keeps what can never be delivered, with the reason.
pub(super) fn bury(db: &Connection, sink: &str, dead: &[DeadLetter]) -> rusqlite::Result<()> {
    for DeadLetter { seq, record_id, reason, detail, at } in dead {
        db.prepare_cached(
            "INSERT OR REPLACE INTO dead_letter (sink, seq, record_id, reason, detail, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![sink, int(*seq), record_id, reason, detail, at])?;
    }
    Ok(())
}

/// SQLite's integers have a sign; what does not fit is as much as there can be.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Severities in the order that filters compare them in.
pub(super) fn rank(severity: Severity) -> i64 {
    match severity {
        Severity::Info => 0,
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
        Severity::Critical => 4,
    }
}

/// A sum past the largest integer would become a float, so it stops there.
fn add_usage(db: &Connection, row: &UsageRow) -> rusqlite::Result<()> {
    const COUNTS: [&str; 9] = [
        "calls",
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "cost_nano_usd",
        "estimated_nano_usd",
        "unpriced",
    ];
    let sum = |name: &str| format!("{name} = min({name} + excluded.{name}, 9223372036854775807)");
    let sql = format!(
        "INSERT INTO usage (minute, service, feature, host, api, model, {}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
         ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO UPDATE SET {}",
        COUNTS.join(", "),
        COUNTS.map(sum).join(", "),
    );
    db.prepare_cached(&sql)?.execute(params![
        int(row.minute),
        row.service,
        row.feature,
        row.host,
        row.api,
        row.model,
        int(row.calls),
        int(row.input_tokens),
        int(row.output_tokens),
        int(row.cache_read_tokens),
        int(row.cache_write_tokens),
        int(row.reasoning_tokens),
        int(row.cost_nano_usd.0),
        int(row.estimated_nano_usd.0),
        int(row.unpriced),
    ])?;
    Ok(())
}

fn change_state(db: &Connection, change: &StateChange) -> rusqlite::Result<()> {
    match change.text() {
        Some(value) => db
            .prepare_cached("INSERT OR REPLACE INTO detector_state (detector, key, value) VALUES (?1, ?2, ?3)")?
            .execute([change.detector, &change.key, &value])?,
        None => db
            .prepare_cached("DELETE FROM detector_state WHERE detector = ?1 AND key = ?2")?
            .execute([change.detector, &change.key])?,
    };
    Ok(())
}
