//! What one partition of the usage topic adds up to. Enters: its records, with their offsets; totals and progress as they were written before. Leaves:
//! totals that changed. Pure: the same records give the same totals, whenever and how often they are read.
//!
//! That a kill loses and doubles nothing rests on two marks. **Each total** carries the offset behind the last call in it: a record before that offset is
//! in it already. **The progress** is written only when all totals before it were: reading begins there. So records between both are read again,
//! and each total takes what it lacks. Repeats of a call are known by the ids of the offsets before ([`super::seen`]), which are read again, too.
//!
//! State: at most [`ACCOUNTS_MAX`] totals, and the ids of the last 100,000 offsets.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    record::{Identity, PROGRESS_EVENT, Progress, STATE_SCHEMA_VERSION, StateKey, StateRecord, TOTAL_EVENT, Total},
    seen::{CallId, REMEMBERED, Seen},
};
use crate::{
    detectors::{
        budget::{Budget, Unit},
        call_scope::{By, Owner},
    },
    sinks::usage::{USAGE_EVENT, USAGE_SCHEMA_VERSION, UsageRecord},
    units::Timestamp,
};

/// Totals of a partition, those of windows that are over included.
const ACCOUNTS_MAX: usize = 65_536;

/// A window takes late calls for so long after its end; then its totals go.
pub const KEPT_MS: u64 = 2 * 24 * 3600 * 1000;

/// Longest record, bytes.
const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Longest name, bytes: that of the detector of budgets.
const NAME_BYTES_MAX: usize = 256;

const NS_IN_MS: u64 = 1_000_000;

/// What became of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Counted, for whatever budget or none.
    pub counted: u64,
    /// Calls that were counted before.
    pub repeated: u64,
    /// Of an unknown version of the schema.
    pub unknown_version: u64,
    /// No records of usage.
    pub invalid: u64,
    /// Calls of a window that is over for more than [`KEPT_MS`].
    pub too_late: u64,
    /// Additions to a total for which there was no room.
    pub refused: u64,
}

impl Counts {
    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            counted: self.counted + other.counted,
            repeated: self.repeated + other.repeated,
            unknown_version: self.unknown_version + other.unknown_version,
            invalid: self.invalid + other.invalid,
            too_late: self.too_late + other.too_late,
            refused: self.refused + other.refused,
        }
    }
}

/// One partition.
#[derive(Debug)]
pub struct Tally {
    part: i32,
    totals: BTreeMap<Identity, Total>,
    seen: Seen,
    /// Everything before it is counted.
    next_offset: u64,
    /// To be written.
    changed: BTreeSet<Identity>,
    counts: Counts,
}

impl Tally {
    /// A partition as it was written; of nothing, one of which nothing was counted.
    pub fn restore(part: i32, totals: impl IntoIterator<Item = Total>, progress: Option<&Progress>) -> Self {
        let totals = totals.into_iter().filter(|total| total.identity.part == part);
        Self {
            part,
            totals: totals.map(|total| (total.identity.clone(), total)).collect(),
            seen: Seen::default(),
            next_offset: progress.and_then(|progress| progress.next_offset).unwrap_or(0),
            changed: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Where reading begins, when the partition holds the offsets from `low` to before `high`.
    ///
    /// A partition that ends before what was counted was made anew, or its broker lost records: what comes from its end on is new, whatever its
    /// offset. What was in it before is not counted; the second value says so.
    pub fn begin(&mut self, low: u64, high: u64) -> (u64, Option<Oddity>) {
        let mut oddity = None;
        if self.next_offset > high {
            oddity = Some(Oddity::Shorter { counted_to: self.next_offset, end: high });
            self.next_offset = high;
            for (identity, total) in &mut self.totals {
                if total.next_offset > Some(high) {
                    total.next_offset = Some(high);
                    self.changed.insert(identity.clone());
                }
            }
        } else if self.next_offset > 0 && self.next_offset < low {
            oddity = Some(Oddity::Removed { records: low - self.next_offset });
            self.next_offset = low;
        }
        (self.next_offset.saturating_sub(REMEMBERED).max(low), oddity)
    }

    /// Takes a record of the partition. Offsets rise.
    pub fn take(&mut self, offset: u64, payload: Option<&[u8]>, budgets: &[Budget], now: Timestamp) {
        let is_new = offset >= self.next_offset;
        let read = read(payload);
        if is_new {
            self.next_offset = offset.saturating_add(1);
        }
        let (record, id) = match read {
            Ok(read) => read,
            Err(_) if !is_new => return,
            Err(Unread::UnknownVersion) => return self.counts.unknown_version += 1,
            Err(Unread::Invalid) => return self.counts.invalid += 1,
            Err(Unread::Beat) => return,
        };
        let is_first = self.seen.add(offset, id);
        if !is_new {
            return;
        }
        if !is_first {
            self.counts.repeated += 1;
            return;
        }
        self.counts.counted += 1;
        for budget in budgets {
            self.add(offset, &record, budget, now);
        }
    }

    fn add(&mut self, offset: u64, record: &UsageRecord, budget: &Budget, now: Timestamp) {
        let unit = budget.limit.unit();
        let amount = spent(record, unit);
        let Some(name) = budget.name.as_deref().filter(|_| amount > 0) else { return };
        let Some(owner) = budget.scope.owner_by(|by| named(record, by)) else { return };
        if owner.parts().iter().any(|(_, name)| name.len() > NAME_BYTES_MAX) {
            self.counts.refused += 1;
            return;
        }
        let owner = if budget.shared { Owner::default() } else { owner };
        let period_ms = (budget.window_ns / NS_IN_MS).max(1);
        let period_start_ms = record.at_ms - record.at_ms % period_ms;
        if period_start_ms.saturating_add(period_ms).saturating_add(KEPT_MS) < now.0 / NS_IN_MS {
            self.counts.too_late += 1;
            return;
        }
        let identity = Identity::new(name, unit, &owner, self.part, period_start_ms);
        if self.totals.len() >= ACCOUNTS_MAX && !self.totals.contains_key(&identity) {
            self.counts.refused += 1;
            return;
        }
        let total = self.totals.entry(identity.clone()).or_insert_with(|| empty(&identity));
        if total.next_offset > Some(offset) {
            return;
        }
        // Another length of the window began it; a window that both lengths begin is counted anew.
        if total.period_ms != period_ms {
            *total = empty(&identity);
            total.period_ms = period_ms;
        }
        total.spent = total.spent.saturating_add(amount);
        total.calls = total.calls.saturating_add(1);
        total.watermark_ms = total.watermark_ms.max(record.at_ms);
        total.next_offset = Some(offset.saturating_add(1));
        self.changed.insert(identity);
    }

    /// Everything before it is counted.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// What became of records so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What is to be written: totals that changed, and tombstones of those whose window is over for long.
    pub fn changes(&mut self, now: Timestamp) -> Vec<StateRecord> {
        let over = |total: &Total| total.period_end_ms().saturating_add(KEPT_MS) < now.0 / NS_IN_MS;
        let gone: Vec<Identity> =
            self.totals.values().filter(|total| over(total)).map(|total| total.identity.clone()).collect();
        for identity in gone {
            self.totals.remove(&identity);
            self.changed.insert(identity);
        }
        let record = |identity: Identity| match self.totals.get(&identity) {
            Some(total) => StateRecord::Total(total.clone()),
            None => StateRecord::Tombstone(StateKey::Total(identity)),
        };
        std::mem::take(&mut self.changed).into_iter().map(record).collect()
    }

    /// These could not be written, and are to be written again.
    pub fn not_written(&mut self, changes: &[StateRecord]) {
        for record in changes {
            if let StateKey::Total(identity) = record.key() {
                self.changed.insert(identity);
            }
        }
    }

    /// All totals of windows that last are to be written again: one that was stopped for long and goes on may have put an old one over ours.
    pub fn write_all(&mut self, now: Timestamp) {
        let lasts = |total: &&Total| total.period_end_ms() > now.0 / NS_IN_MS;
        self.changed.extend(self.totals.values().filter(lasts).map(|total| total.identity.clone()));
    }

    /// To be written when the changes are.
    pub fn progress(&self, as_of: Timestamp) -> StateRecord {
        StateRecord::Progress(Progress {
            schema_version: STATE_SCHEMA_VERSION,
            event_name: PROGRESS_EVENT.to_owned(),
            part: self.part,
            as_of_ms: as_of.0 / NS_IN_MS,
            next_offset: Some(self.next_offset),
        })
    }
}

/// Something that is not as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// The partition ends before what was counted.
    Shorter {
        /// Offset up to which was counted.
        counted_to: u64,
        /// Offset at which it ends.
        end: u64,
    },
    /// Records went before they were counted.
    Removed {
        /// How many at most.
        records: u64,
    },
}

/// What `deploy/flink/budgets.sql` sends through the topic to see how far it is.
const BEAT_EVENT: &str = "outflow.beat";

enum Unread {
    UnknownVersion,
    Invalid,
    /// No call, and meant to be there.
    Beat,
}

fn read(payload: Option<&[u8]>) -> Result<(UsageRecord, CallId), Unread> {
    #[derive(serde::Deserialize)]
    struct Head {
        schema_version: u32,
        event_name: String,
    }
    let payload = payload.filter(|payload| payload.len() <= RECORD_BYTES_MAX).ok_or(Unread::Invalid)?;
    let head: Head = serde_json::from_slice(payload).map_err(|_| Unread::Invalid)?;
    match (head.schema_version, head.event_name.as_str()) {
        (USAGE_SCHEMA_VERSION, USAGE_EVENT) => {}
        (_, USAGE_EVENT) => return Err(Unread::UnknownVersion),
        (_, BEAT_EVENT) => return Err(Unread::Beat),
        _ => return Err(Unread::Invalid),
    }
    let record: UsageRecord = serde_json::from_slice(payload).map_err(|_| Unread::Invalid)?;
    let id = CallId::parse(&record.usage_id).ok_or(Unread::Invalid)?;
    Ok((record, id))
}

fn empty(identity: &Identity) -> Total {
    Total {
        schema_version: STATE_SCHEMA_VERSION,
        event_name: TOTAL_EVENT.to_owned(),
        identity: identity.clone(),
        period_ms: 0,
        spent: 0,
        calls: 0,
        watermark_ms: 0,
        next_offset: None,
    }
}

/// What a call takes of a unit, as the detector counts it, but for tokens that were estimated: they are in no record.
fn spent(record: &UsageRecord, unit: Unit) -> u64 {
    match unit {
        Unit::Usd => record.cost_nano_usd.map_or(0, |cost| cost.0),
        Unit::Tokens => record.input_tokens.unwrap_or(0).saturating_add(record.output_tokens.unwrap_or(0)),
    }
}

/// A trait of a call, as the detector takes it.
fn named(record: &UsageRecord, by: By) -> Option<&str> {
    match by {
        By::Service => Some(&record.service),
        By::Feature => record.feature.as_deref(),
        By::Model => record.requested_model.as_deref().or(record.model.as_deref()),
        By::Key => record.caller.as_deref(),
        By::Host => Some(&record.server),
    }
}

#[cfg(test)]
mod tests;
