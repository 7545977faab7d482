//! The row of a finding, and what of it is in memory while a transaction runs. Enters: a finding. Leaves: one row, inserted or updated. When that is
//! is not decided here.

use rusqlite::{Connection, params};

use super::{
    apply::{Failure, int, rank},
    schema::has_id,
};
use crate::{findings::Finding, units::Timestamp};

/// Room for the JSON of most findings.
const PAYLOAD_BYTES: usize = 2048;

/// A finding as the transaction will leave it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) finding: Finding,
    pub(super) told_count: u64,
    pub(super) told_at: Timestamp,
    /// What its row says.
    pub(super) row: Row,
    /// It is among those that this transaction changed.
    pub(super) is_changed: bool,
    /// The finding as JSON, when the outbox has just got the same.
    pub(super) payload: Option<String>,
}

/// The row of a finding that was seen once.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) rule: String,
    pub(super) category: &'static str,
    pub(super) severity: i64,
    pub(super) service: String,
    pub(super) first_seen: String,
    pub(super) last_seen: String,
    pub(super) count: u64,
    pub(super) revision: u32,
    pub(super) told_at: Timestamp,
    /// As the outbox has it.
    pub(super) payload: String,
    /// Of its revision.
    pub(super) seq: u64,
}

/// What of a finding's row the partial index is about; it is only touched when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// It began with this revision.
    Missing {
        first_seq: u64,
    },
    Stored {
        revision: u32,
        news: bool,
    },
}

/// As JSON.
pub(super) fn written(finding: &Finding) -> serde_json::Result<String> {
    let mut json = Vec::with_capacity(PAYLOAD_BYTES);
    serde_json::to_writer(&mut json, finding)?;
    String::from_utf8(json).map_err(serde::ser::Error::custom)
}

/// Both kinds of row. No upsert: SQLite copies every page that it touches, to take one half of it back.
const INSERT_FINDING: &str =
    "INSERT INTO finding (id, rule, category, severity, service, first_seen, last_seen, count, revision,
         told_count, told_at_ns, news, payload, first_seq)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

impl Fresh {
    /// Writes the row.
    pub(super) fn write(&self, db: &Connection, id: &str) -> Result<(), Failure> {
        let (count, told_at_ns) = (int(self.count), int(self.told_at.0));
        db.prepare_cached(INSERT_FINDING)?.execute(params![
            id,
            self.rule,
            self.category,
            self.severity,
            self.service,
            self.first_seen,
            self.last_seen,
            count,
            self.revision,
            count,
            told_at_ns,
            false,
            self.payload,
            int(self.seq)
        ])?;
        Ok(())
    }
}

impl Known {
    /// Writes the row.
    pub(super) fn write(&mut self, db: &Connection, id: &str) -> Result<(), Failure> {
        let finding = &self.finding;
        let payload = match self.payload.take() {
            Some(payload) => payload,
            None => written(finding)?,
        };
        let (severity, count) = (rank(finding.severity), int(finding.count));
        let row = Row::Stored { revision: finding.revision, news: finding.count > self.told_count };
        let (told_count, told_at_ns) = (int(self.told_count), int(self.told_at.0));
        let news = finding.count > self.told_count;
        match self.row {
            before if before == row => db
                .prepare_cached(concat!(
                    "UPDATE finding SET severity = ?2, first_seen = ?3, last_seen = ?4, count = ?5, payload = ?6 WHERE ",
                    has_id!()
                ))?
                .execute(params![id, severity, finding.first_seen, finding.last_seen, count, payload])?,
            Row::Stored { .. } => db
                .prepare_cached(concat!(
                    "UPDATE finding SET severity = ?2, first_seen = ?3, last_seen = ?4, count = ?5, revision = ?6,
                         told_count = ?7, told_at_ns = ?8, news = ?9, payload = ?10
                     WHERE ",
                    has_id!()
                ))?
                .execute(params![
                    id,
                    severity,
                    finding.first_seen,
                    finding.last_seen,
                    count,
                    finding.revision,
                    told_count,
                    told_at_ns,
                    news,
                    payload
                ])?,
            Row::Missing { first_seq } => db.prepare_cached(INSERT_FINDING)?.execute(params![
                id,
                finding.rule.id,
                finding.category.as_str(),
                severity,
                finding.process.service,
                finding.first_seen,
                finding.last_seen,
                count,
                finding.revision,
                told_count,
                told_at_ns,
                news,
                payload,
                int(first_seq)
            ])?,
        };
        self.row = row;
        self.is_changed = false;
        Ok(())
    }
}
