//! Findings of one session, in memory: what standard output is told. Enters: occurrences, one call at a time. Leaves: a finding at
//! once, then a new revision at most once per update interval, and what is left when the session ends. Bound: [`MAX_OPEN`]
//! findings; the least recently seen goes first, with a last revision.

use std::collections::HashSet;

use super::{Activity, Finding};
use crate::{lru::Lru, units::Timestamp};

/// Findings that are counted at the same time.
pub const MAX_OPEN: usize = 8192;

/// How often a finding that repeats is told again, by default.
pub const UPDATE_INTERVAL_NS: u64 = 60 * 1_000_000_000;

/// Counts repeats and says when there is something to tell.
#[derive(Debug)]
pub struct Findings {
    update_interval_ns: u64,
    open: Lru<String, Open>,
}

#[derive(Debug)]
struct Open {
    finding: Finding,
    told_at: Timestamp,
    told_count: u64,
}

impl Findings {
    /// No findings yet. `update_interval_ns` is the least time between two revisions of one finding.
    pub fn new(update_interval_ns: u64) -> Self {
        Self::with_capacity(update_interval_ns, MAX_OPEN)
    }

    pub(super) fn with_capacity(update_interval_ns: u64, capacity: usize) -> Self {
        Self { update_interval_ns, open: Lru::new(capacity) }
    }

    /// Counts the occurrences of one call (or of one block of a log), which happened at `at`. Returns what there is to tell now: new
    /// findings, revisions whose last one is old enough, and the last revisions of findings that had to make room.
    pub fn count(&mut self, occurrences: Vec<Finding>, at: Timestamp) -> Vec<Finding> {
        let (mut news, mut gone, mut counted) = (Vec::new(), Vec::new(), HashSet::new());
        for seen in occurrences {
            let same_call = !counted.insert(seen.finding_id.clone());
            if let Some(open) = self.open.touch(&seen.finding_id) {
                open.finding.absorb(seen, same_call);
                if at.since_ns(open.told_at) >= self.update_interval_ns {
                    news.push(open.tell(at));
                }
                continue;
            }
            news.push(seen.clone());
            let open = Open { told_at: at, told_count: seen.count, finding: seen };
            if let Some((_, evicted)) = self.open.insert(open.finding.finding_id.clone(), open) {
                gone.extend(evicted.last());
            }
        }
        news.extend(gone);
        news
    }

    /// Ends the session: a last revision of every finding whose count went up since it was told, oldest first.
    pub fn finish(&mut self) -> Vec<Finding> {
        std::iter::from_fn(|| self.open.pop()).filter_map(|(_, open)| open.last()).collect()
    }

    /// Findings that are counted now.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// None yet.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl Open {
    /// Cuts the next revision.
    fn tell(&mut self, at: Timestamp) -> Finding {
        self.told_at = at;
        self.told_count = self.finding.count;
        self.finding.revise(self.finding.revision.saturating_add(1), Activity::Update);
        self.finding.clone()
    }

    /// The last revision, when there is anything new in it.
    fn last(mut self) -> Option<Finding> {
        (self.finding.count > self.told_count).then(|| self.tell(self.told_at))
    }
}
