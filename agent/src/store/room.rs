//! Room in the store, as its writer makes it. Enters: the retention, the clock of whoever asks, commits that grow the file. Leaves: small
//! transactions of [`prune`], and pages given back to the file system. It drops what somebody misses only when the store is at its bound
//! and the operator said so; then it counts it, and a finding tells of it in the same transaction.

use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::{
    LEAST_BYTES, StoreError,
    apply::Failure,
    ballast, bound, page_bytes,
    prune::{self, Pruned, Retention},
    writer::Writer,
};
use crate::{
    clock,
    findings::{store_full, store_refused},
    units::Timestamp,
};

/// Longest that batches wait for what is pruned because of its age.
const PRUNE_TIME: Duration = Duration::from_millis(20);

/// Steps after a commit that took the store near its bound. Each takes away as many rows as a commit brings.
const STEPS_AFTER_COMMIT: usize = 4;

/// Rows of a step while there is no room: it needs some itself.
const ROWS_WITHOUT_ROOM: u64 = 100;

/// Steps of these when the disk is full: then batches wait anyway.
const STEPS_ON_A_FULL_DISK: usize = 500;

/// Pages that are given back in one step.
const GIVEN_BACK_PAGES: u64 = 256;

/// Free pages that stay in any case.
const FREE_PAGES_KEPT: u64 = 64;

/// The largest file that is rebuilt when it is opened: a fraction of a second of writing.
const REBUILT_BYTES: u64 = 32 * 1024 * 1024;

/// A disk with less is full, whatever the bound of the store is.
const FULL_DISK_BYTES: u64 = 4 * 1024 * 1024;

/// `PRAGMA auto_vacuum` of a file whose free pages can be given back.
const INCREMENTAL: u64 = 2;

/// A file that was made without it learns to give its pages back, when it is so small that this takes no time that anybody waits for. Of errors only
/// damage is one: the file is as good as before.
pub(super) fn rebuild(db: &Connection) -> rusqlite::Result<()> {
    let number = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, u64>(0));
    if number("auto_vacuum")? == INCREMENTAL || number("page_count")?.saturating_mul(page_bytes(db)?) > REBUILT_BYTES {
        return Ok(());
    }
    match db.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM") {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => Err(error),
        _ => Ok(()),
    }
}

impl Writer {
    /// What was kept long enough goes: some steps of it. Returns the rows that went.
    pub(super) fn prune(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        let Some(retention) = self.retention.clone() else { return Ok(0) };
        let until = clock::instant() + PRUNE_TIME;
        let mut rows = 0;
        loop {
            let mut sweep = self.sweep;
            let gone = self.transact(|ledger, db| prune::by_age(ledger, db, &retention, &mut sweep, now))?;
            self.sweep = sweep;
            self.shared.pruned(&gone);
            rows += gone.rows();
            if gone.rows() < prune::STEP_ROWS || !self.batches.is_empty() || clock::instant() >= until {
                break;
            }
        }
        self.give_back()?;
        self.ballast.lay();
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }

    /// After a commit: near its bound the store loses what every sink has, so that it does not become full.
    pub(super) fn relieve(&mut self) {
        let max = self.limits.max_bytes.max(LEAST_BYTES);
        if self.retention.is_none() {
            return;
        }
        for _ in 0..STEPS_AFTER_COMMIT {
            let is_near = self.used_bytes().is_ok_and(|used| used > max - max / 16);
            if !is_near || self.delivered_goes(prune::STEP_ROWS).unwrap_or(0) == 0 {
                return;
            }
        }
    }

    /// There was no room for a batch. True: now there is more.
    pub(super) fn make_room(&mut self) -> bool {
        match self.delivered_goes(ROWS_WITHOUT_ROOM) {
            Ok(0) => {}
            Ok(_) => return true,
            // To take rows away needs a little room itself.
            Err(error) => return self.has_thrown_ballast(&error) && self.all_delivered_goes() > 0,
        }
        match self.retention.clone() {
            Some(retention) if retention.drop_oldest && self.is_at_bound() => self.oldest_goes(&retention) > 0,
            _ => false,
        }
    }

    /// The disk is full, and what the store had kept back of it is free now.
    pub(super) fn has_thrown_ballast(&mut self, error: &StoreError) -> bool {
        if !matches!(error, StoreError::Full { .. }) || !self.ballast.throw() {
            return false;
        }
        // The log first: it is as large as what is free.
        let _ = self.fold();
        true
    }

    /// Everything that every sink has goes: free pages in the file are room that nobody else takes. Returns the rows.
    pub(super) fn all_delivered_goes(&mut self) -> u64 {
        let mut rows = 0;
        for step in 1..=STEPS_ON_A_FULL_DISK {
            match self.delivered_goes(ROWS_WITHOUT_ROOM) {
                Ok(gone) if gone > 0 => rows += gone,
                _ => break,
            }
            if step % 4 == 0 {
                let _ = self.fold();
            }
        }
        let _ = self.fold();
        rows
    }

    /// Rows that went.
    fn delivered_goes(&mut self, rows: u64) -> Result<u64, StoreError> {
        let Some(retention) = self.retention.clone() else { return Ok(0) };
        let gone = self.transact(|ledger, db| prune::delivered(ledger, db, &retention, rows))?;
        self.shared.pruned(&gone);
        Ok(gone.rows())
    }

    fn oldest_goes(&mut self, retention: &Retention) -> u64 {
        let (mut sweep, at, max_bytes) = (self.oldest, clock::now(), self.limits.max_bytes);
        let (path, policy) = (self.path.clone(), self.shared.policy());
        let gone = self.transact(|ledger, db| {
            let before = retention.delivered(ledger, db)?.max(ledger.anchor());
            let gone = prune::oldest(ledger, db, &mut sweep, ROWS_WITHOUT_ROOM)?;
            // What every sink has is missed by nobody.
            let missed =
                if retention.sinks.is_empty() { gone.revisions } else { ledger.anchor().saturating_sub(before) };
            let missed = Pruned { revisions: missed, ..gone };
            if missed.rows() > 0 {
                let finding = store_full(&path, (missed.revisions, missed.findings), max_bytes, at, &policy);
                ledger.count(db, &finding, false)?;
            }
            Ok::<_, Failure>((gone, missed))
        });
        let Ok((gone, missed)) = gone else { return 0 };
        self.oldest = sweep;
        self.shared.dropped(&missed);
        gone.rows()
    }

    /// A finding tells of what was refused since the last time: when revisions are cut, for a commit more after each batch would be time that
    /// batches lack. When there is no room for it either, the next time tells it.
    pub(super) fn tell_refused(&mut self) {
        let refused = self.shared.refused_so_far();
        let untold = refused.saturating_sub(self.refused_told);
        if untold == 0 {
            return;
        }
        let finding = store_refused(&self.path, untold, self.limits.max_bytes, clock::now(), &self.shared.policy());
        if self.transact(|ledger, db| ledger.count(db, &finding, false)).is_ok() {
            self.refused_told = refused;
        }
    }

    /// The store itself is full, not the disk.
    fn is_at_bound(&self) -> bool {
        let max = self.limits.max_bytes.max(LEAST_BYTES);
        let is_large = self.used_bytes().is_ok_and(|used| used > max - max / 4);
        is_large && ballast::free_bytes(&self.path) >= FULL_DISK_BYTES
    }

    /// Bytes of the pages that hold something.
    fn used_bytes(&self) -> rusqlite::Result<u64> {
        let pages = self.number("page_count")?.saturating_sub(self.number("freelist_count")?);
        Ok(pages.saturating_mul(page_bytes(&self.db)?))
    }

    /// Gives free pages back to the file system, some at a time, and keeps some for the next rows.
    fn give_back(&self) -> Result<(), StoreError> {
        let given = || -> rusqlite::Result<()> {
            let (pages, free) = (self.number("page_count")?, self.number("freelist_count")?);
            let kept = FREE_PAGES_KEPT.max(pages / 8);
            if free <= kept || self.number("auto_vacuum")? != INCREMENTAL {
                return Ok(());
            }
            let pages = (free - kept).min(GIVEN_BACK_PAGES);
            // A page a row.
            let mut vacuum = self.db.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            // A file that was larger than its bound has the next lower one.
            bound(&self.db, &self.limits)
        };
        given().map_err(|error| StoreError::sqlite(&self.path, &error))
    }

    fn number(&self, pragma: &str) -> rusqlite::Result<u64> {
        self.db.pragma_query_value(None, pragma, |row| row.get(0))
    }
}
