//! What the searches of one index find. Enters: the facts of a search. Leaves: that they find nothing more often than before, that all find the
//! same, or that what they find is older than it was. Numbers alone are kept.

use serde::{Deserialize, Serialize};

use crate::{exchange::RetrievalFacts, units::Timestamp};

/// Searches that are looked at together.
const WINDOW: u64 = 20;
/// Searches from which on it is known how many find nothing.
const BASELINE: u64 = 100;
/// After so many, older ones count half.
const MEMORY: u64 = 2000;
/// Hundredths by which the share of empty ones must rise, and times the usual deviation.
const RISE_PERCENT: f64 = 0.25;
const RISE_DEVIATIONS: f64 = 5.0;
/// Smallest share that is believed.
const SHARE_MIN: f64 = 0.02;

/// Different searches in a row with the same matches, and how often matches must have changed before.
const SAME_MIN: u32 = 20;
const CHANGES_MIN: u32 = 20;

/// Searches whose newest document is dated before its age is known; weight of the newest one in what is usual, and in what is recent.
const AGES_MIN: u32 = 50;
const AGE_USUAL: f64 = 1.0 / 500.0;
const AGE_RECENT: f64 = 1.0 / 20.0;
/// Times the usual age, and days more.
const AGE_TIMES: f64 = 3.0;
const AGE_DAYS: f64 = 14.0;

const DAY_NS: u64 = 86_400_000_000_000;

/// What is known of the searches of one index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answers {
    /// Body of the last search: the same one again says nothing new.
    last_body: Option<u64>,
    /// The running window, and all before.
    calls: u64,
    empty: u64,
    usual_calls: u64,
    usual_empty: u64,
    /// Matches of the last search, how often in a row, how often others before.
    same: u64,
    same_run: u32,
    changes: u32,
    /// Logarithms of the age in days, plus one, of the newest document found.
    ages: u32,
    usual_age: f64,
    recent_age: f64,
}

/// What a search says about those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Of the window that ended with it.
    pub(super) window: Option<Window>,
    /// So many different searches in a row found the same.
    pub(super) same: Option<u32>,
    /// Age of the newest documents in days: recent, usual.
    pub(super) old: Option<(f64, f64)>,
}

/// Searches that were looked at together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) calls: u64,
    pub(super) empty: u64,
    /// Usual share of empty ones.
    pub(super) usual: f64,
    pub(super) is_bad: bool,
}

impl Answers {
    /// A search that was answered; `None` for one that says nothing. `body`: hash of the request.
    pub(super) fn searched(&mut self, facts: &RetrievalFacts, body: Option<u64>, at: Timestamp) -> Option<Seen> {
        let matches = facts.matches?;
        if body.is_some() && self.last_body == body {
            return None;
        }
        self.last_body = body;
        let window = self.counted(matches == 0);
        let same = facts.matches_digest.and_then(|digest| self.compared(digest));
        let age_ns = |day: u32| at.since_ns(Timestamp(u64::from(day).saturating_mul(DAY_NS)));
        let old = facts.dates.and_then(|dates| self.aged(age_ns(dates.newest) / DAY_NS));
        Some(Seen { window, same, old })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    fn counted(&mut self, is_empty: bool) -> Option<Window> {
        self.calls += 1;
        self.empty += u64::from(is_empty);
        if self.calls < WINDOW {
            return None;
        }
        let (calls, empty) = (std::mem::take(&mut self.calls), std::mem::take(&mut self.empty));
        let usual = self.usual_empty as f64 / self.usual_calls.max(1) as f64;
        let believed = usual.clamp(SHARE_MIN, 1.0);
        let rise = empty as f64 / calls as f64 - believed;
        let deviation = (believed * (1.0 - believed) / calls as f64).sqrt();
        let is_bad = self.usual_calls >= BASELINE && rise > RISE_PERCENT && rise > RISE_DEVIATIONS * deviation;
        if !is_bad {
            self.usual_calls += calls;
            self.usual_empty += empty;
            if self.usual_calls > MEMORY {
                self.usual_calls /= 2;
                self.usual_empty /= 2;
            }
        }
        Some(Window { calls, empty, usual, is_bad })
    }

    fn compared(&mut self, digest: u64) -> Option<u32> {
        if self.same != digest {
            // An index of three documents answers all alike, and always did.
            if self.same_run < SAME_MIN {
                self.changes = self.changes.saturating_add(1);
            }
            (self.same, self.same_run) = (digest, 1);
            return None;
        }
        self.same_run = self.same_run.saturating_add(1);
        (self.same_run >= SAME_MIN && self.changes >= CHANGES_MIN).then_some(self.same_run)
    }

    #[expect(clippy::cast_precision_loss, reason = "days are few")]
    fn aged(&mut self, days: u64) -> Option<(f64, f64)> {
        let age = (days as f64 + 1.0).ln();
        self.ages = self.ages.saturating_add(1);
        let learning = 1.0 / f64::from(self.ages);
        self.recent_age += learning.max(AGE_RECENT) * (age - self.recent_age);
        let days_of = |age: f64| age.exp() - 1.0;
        let (recent, usual) = (days_of(self.recent_age), days_of(self.usual_age));
        let is_old = self.ages > AGES_MIN && recent > AGE_TIMES * usual + AGE_DAYS;
        if !is_old {
            self.usual_age += learning.max(AGE_USUAL) * (age - self.usual_age);
        }
        is_old.then_some((recent, usual))
    }

    /// Numbers from elsewhere: counts that cannot overflow, ages that are ages.
    pub(super) fn is_sane(&self) -> bool {
        let is_age = |age: f64| (0.0..20.0).contains(&age);
        let counts = [self.calls, self.empty, self.usual_calls, self.usual_empty];
        is_age(self.usual_age) && is_age(self.recent_age) && counts.iter().all(|count| *count <= 2 * MEMORY)
    }
}
