//! What was spent on one budget: the running window, and its last parts in slices. Enters: amounts with their times. Leaves: what
//! was crossed. Pure, and bounded by [`SLICES_MAX`]; integers only, so that the same calls always give the same answer. An amount
//! is nano-USD or tokens; it never asks which.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::fleet::FleetSpend;
use crate::units::{Severity, Timestamp};

const HOUR_NS: u64 = 3600 * 1_000_000_000;
const DAY_NS: u64 = 24 * HOUR_NS;

/// The shortest window; shorter ones are taken as this long, so that no slice is empty.
pub(super) const WINDOW_MIN_NS: u64 = 576;

/// Slices of a long look back. A short one is one slice: 1/12 of the long one.
const SLICES: u64 = 12;

/// Slices that are kept for a look back: those of the long one, and the running one.
pub(super) const SLICES_MAX: usize = 13;

/// Part of the limit that must be spent in the window before its rate is judged, in percent: three calls are no rate.
const SPENT_MIN_PERCENT: u64 = 10;

/// Calls in the long look back before its rate is judged.
const CALLS_MIN: u64 = 10;

/// A window whose budget lasted proves that its rate does no harm; so many windows long. Eight, so that what runs once a week is
/// remembered by the budget of a day.
const PROOF_WINDOWS: u64 = 8;

/// A look back and the burn rate that it and its twelfth must both reach, as in "The Site Reliability Workbook", chapter 5, section
/// 6, "Multiwindow, Multi-Burn-Rate Alerts" (sre.google/workbook/alerting-on-slos): the long one says that it matters, the short
/// one that it still goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    long_ns: u64,
    factor_tenths: u64,
    severity: Severity,
    /// The first half of the long look back must burn two thirds as fast, too.
    is_even: bool,
}

/// The pairs of a window, the fastest first.
///
/// For a week and more they are the book's that page, 14.4 in an hour and 6 in six. Its third, 1 in three days, would be reached
/// in the middle of every week by a service that rests on weekends, so ours looks back a whole week, and needs a window of four.
///
/// For shorter windows the factors are ours: a budget of a day at 14.4 is gone before anybody has read the finding. In half an hour of
/// a day at 6 an eighth of the budget is gone, in an hour at 4 a sixth, in four hours at 2 a third. Half an hour is short enough for
/// a job that is soon over, so both of its halves must burn.
pub(super) fn pairs(window_ns: u64) -> Vec<Pair> {
    let pair = |long_ns, factor_tenths, severity| Pair { long_ns, factor_tenths, severity, is_even: false };
    if window_ns < 7 * DAY_NS {
        return vec![
            Pair { is_even: true, ..pair(window_ns / 48, 60, Severity::High) },
            pair(window_ns / 24, 40, Severity::High),
            pair(window_ns / 6, 20, Severity::Medium),
        ];
    }
    let mut pairs = vec![pair(HOUR_NS, 144, Severity::High), pair(6 * HOUR_NS, 60, Severity::High)];
    if window_ns >= 28 * DAY_NS {
        pairs.push(pair(7 * DAY_NS, 10, Severity::Medium));
    }
    pairs
}

/// What was spent on one budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) limit: u64,
    pub(super) window_ns: u64,
    pub(super) window_start: u64,
    pub(super) spent: u64,
    /// The highest threshold that was told in this window.
    told_percent: u16,
    /// The rate that was told last in this window: how grave, and when.
    told_rate: Option<(Severity, u64)>,
    /// Start of the day of the last call, in a window of a week and more.
    day_start: u64,
    /// One for each of [`pairs`].
    looks: Vec<Look>,
}

/// One look back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    slices: VecDeque<Slice>,
    /// The highest burn rate of this window, in tenths.
    peak: u64,
    /// The highest burn rate of a window whose budget lasted, and the start of that window.
    proof: (u64, u64),
}

/// Number of the slice since the epoch, amount, calls. A short array in JSON, because it is written with every call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Slice(u64, u64, u64);

/// What a call crossed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Crossed {
    /// The highest of the thresholds that it reached and that were not told yet.
    Threshold(u16),
    /// The budget will not last.
    Rate(Rate),
}

/// How fast a budget goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Spend at the end of the window if it goes on like this.
    pub(super) projected: u64,
    /// How many times faster than the budget allows, in tenths.
    pub(super) burn_tenths: u64,
    /// How far back was looked.
    pub(super) long_ns: u64,
    /// How long the rest of the budget lasts if it goes on like this.
    pub(super) left_ns: u64,
    pub(super) severity: Severity,
}

impl Account {
    /// Nothing spent in the window that holds `at`.
    pub(super) fn new(limit: u64, window_ns: u64, at: Timestamp) -> Self {
        let window_ns = window_ns.max(WINDOW_MIN_NS);
        Self {
            limit,
            window_ns,
            window_start: at.0 - at.0 % window_ns,
            spent: 0,
            told_percent: 0,
            told_rate: None,
            day_start: at.0 - at.0 % DAY_NS,
            looks: vec![Look::default(); pairs(window_ns).len()],
        }
    }

    /// What was written by another version, or by hand, must not do harm.
    pub(super) fn is_sound(&self) -> bool {
        self.window_ns >= WINDOW_MIN_NS
            && self.window_start.is_multiple_of(self.window_ns)
            && self.has_looks()
            && self.looks.iter().all(|look| look.slices.len() <= SLICES_MAX)
    }

    /// All of them, or all but the first, which versions before this one did not have.
    fn has_looks(&self) -> bool {
        let all = pairs(self.window_ns).len();
        self.looks.len() == all || (self.window_ns < 7 * DAY_NS && self.looks.len() + 1 == all)
    }

    /// Looks that another version did not know begin empty; what was spent counts.
    pub(super) fn with_all_looks(mut self) -> Self {
        let missing = pairs(self.window_ns).len().saturating_sub(self.looks.len());
        self.looks.splice(0..0, std::iter::repeat_with(Look::default).take(missing));
        self
    }

    /// When the window ends.
    pub(super) fn window_end(&self) -> u64 {
        self.window_start.saturating_add(self.window_ns)
    }

    /// Spend of the window that holds `at`: nothing, when the last call was in an earlier one.
    pub(super) fn spent_at(&self, at: Timestamp) -> u64 {
        if at.0.saturating_sub(self.window_start) < self.window_ns { self.spent } else { 0 }
    }

    /// Takes in what a call cost. A budget that was changed meanwhile counts from here on: another window length begins a new
    /// account, another limit is told anew. Thresholds are judged by what the fleet spent, where that is more.
    pub(super) fn spend(
        &mut self,
        at: Timestamp,
        amount: u64,
        limit: u64,
        window_ns: u64,
        percents: &[u16],
        fleet: Option<FleetSpend>,
    ) -> Option<Crossed> {
        let window_ns = window_ns.max(WINDOW_MIN_NS);
        let start = at.0 - at.0 % window_ns;
        // A clock that was set back by more than a window had been wrong before.
        if window_ns != self.window_ns || self.window_start.saturating_sub(start) > window_ns {
            *self = Self::new(limit, window_ns, at);
        }
        if start < self.window_start {
            // It ended in the window before, which is closed.
            return None;
        }
        if start > self.window_start {
            let lasted = self.spent <= self.limit;
            let mut looks = std::mem::take(&mut self.looks);
            for look in &mut looks {
                look.close(self.window_start, window_ns, lasted);
            }
            *self = Self { limit: self.limit, looks, ..Self::new(limit, window_ns, at) };
        }
        self.prove_day(at);
        if limit != self.limit {
            (self.limit, self.told_percent, self.told_rate) = (limit, 0, None);
            for look in &mut self.looks {
                (look.peak, look.proof) = (0, (0, 0));
            }
        }
        self.spent = self.spent.saturating_add(amount);
        let rate = self.rate(at, amount);
        let spent = self.spent_with(fleet);
        self.threshold(percents, spent).or_else(|| self.tell_rate(at, rate?))
    }

    /// A long window has proof before it ends: a day after which no more is spent than its part of the window allows.
    fn prove_day(&mut self, at: Timestamp) {
        let start = at.0 - at.0 % DAY_NS;
        if self.window_ns < 7 * DAY_NS || start <= self.day_start {
            return;
        }
        let day = std::mem::replace(&mut self.day_start, start);
        let gone = start.saturating_sub(self.window_start);
        let is_on_track = product(self.spent, self.window_ns) <= product(self.limit, gone);
        for look in &mut self.looks {
            look.close(day, self.window_ns, is_on_track);
        }
    }

    /// What was spent in this window, here or by the whole fleet: of both the larger, for what is spent here is part of what the fleet
    /// spends as soon as it is known there, and a sum would count it twice.
    pub(super) fn spent_with(&self, fleet: Option<FleetSpend>) -> u64 {
        let of_window = fleet.filter(|fleet| fleet.holds(self.window_start, self.window_ns));
        of_window.map_or(self.spent, |fleet| fleet.spent.max(self.spent))
    }

    fn threshold(&mut self, percents: &[u16], spent: u64) -> Option<Crossed> {
        let is_reached = |percent: u16| product(spent, 100) >= product(self.limit, u64::from(percent));
        let highest = percents.iter().copied().filter(|percent| is_reached(*percent)).max()?;
        if highest <= self.told_percent {
            return None;
        }
        self.told_percent = highest;
        Some(Crossed::Threshold(highest))
    }

    /// Books the amount in all looks back, and gives the first pair whose two looks burn fast enough, faster than in any window
    /// whose budget lasted, when the budget will not last until the end of this one.
    fn rate(&mut self, at: Timestamp, amount: u64) -> Option<Rate> {
        let (limit, window_ns, window_start, spent) = (self.limit, self.window_ns, self.window_start, self.spent);
        let is_judged = spent < limit && product(spent, 100) >= product(limit, SPENT_MIN_PERCENT);
        let window_end = self.window_end();
        let mut found = None;
        for (pair, look) in pairs(window_ns).iter().zip(&mut self.looks) {
            let slice_ns = (pair.long_ns / SLICES).max(1);
            look.add(at, amount, slice_ns);
            let long = look.back(at, SLICES, slice_ns);
            let burn_tenths = long.burn_tenths(limit, window_ns);
            look.peak = look.peak.max(burn_tenths);
            let is_known = product(window_start, 1) <= product(look.proof.1, 1) + product(window_ns, PROOF_WINDOWS);
            let proven = if is_known { look.proof.0 } else { 0 };
            // Half as fast again as what did no harm.
            let factor = pair.factor_tenths.max(proven.saturating_add(proven / 2));
            let short = look.back(at, 1, slice_ns);
            let is_fast = burn_tenths >= factor && short.burn_tenths(limit, window_ns) >= factor;
            let half = look.back(at, SLICES / 2, slice_ns);
            let is_even = !pair.is_even || long.before(&half).burn_tenths(limit, window_ns) >= factor * 2 / 3;
            if found.is_some() || !is_judged || long.calls < CALLS_MIN || !is_fast || !is_even {
                continue;
            }
            let rest_ns = window_end.saturating_sub(at.0);
            if long.projected(spent, rest_ns) > limit {
                found = Some(Rate {
                    // Told as it goes now, which the long look back, if it holds calmer times, would make look better.
                    projected: short.projected(spent, rest_ns),
                    burn_tenths,
                    long_ns: pair.long_ns,
                    left_ns: short.lasts_ns(limit.saturating_sub(spent)),
                    severity: pair.severity,
                });
            }
        }
        found
    }

    /// Once a window, and again when it is graver or, in a long window, after a day.
    fn tell_rate(&mut self, at: Timestamp, rate: Rate) -> Option<Crossed> {
        let is_told = self
            .told_rate
            .is_some_and(|(severity, told_at)| rate.severity <= severity && at.0.saturating_sub(told_at) < DAY_NS);
        if is_told {
            return None;
        }
        self.told_rate = Some((rate.severity, at.0));
        Some(Crossed::Rate(rate))
    }
}

/// The sum of a look back.
struct Back {
    amount: u64,
    calls: u64,
    ns: u64,
}

impl Look {
    fn add(&mut self, at: Timestamp, amount: u64, slice_ns: u64) {
        let number = at.0 / slice_ns;
        match self.slices.back_mut() {
            // A call that ended a little earlier than the one before counts with it.
            Some(Slice(last, sum, calls)) if *last >= number => {
                *sum = sum.saturating_add(amount);
                *calls = calls.saturating_add(1);
            }
            _ => self.slices.push_back(Slice(number, amount, 1)),
        }
        let oldest = number.saturating_sub(SLICES);
        while self.slices.len() > SLICES_MAX || self.slices.front().is_some_and(|Slice(first, ..)| *first < oldest) {
            self.slices.pop_front();
        }
    }

    /// Spend, calls and length of the running slice and the `back` slices before it.
    fn back(&self, at: Timestamp, back: u64, slice_ns: u64) -> Back {
        let first = (at.0 / slice_ns).saturating_sub(back);
        let seen = self.slices.iter().filter(|Slice(number, ..)| *number >= first);
        let (amount, calls) = seen.fold((0_u64, 0_u64), |(amount, calls), slice| {
            (amount.saturating_add(slice.1), calls.saturating_add(slice.2))
        });
        Back { amount, calls, ns: back.saturating_mul(slice_ns).saturating_add(at.0 % slice_ns) }
    }

    /// The window is over.
    fn close(&mut self, start: u64, window_ns: u64, lasted: bool) {
        let peak = std::mem::take(&mut self.peak);
        let is_old = product(self.proof.1, 1) + product(window_ns, PROOF_WINDOWS) < u128::from(start);
        if lasted && peak > 0 && (peak >= self.proof.0 || is_old) {
            self.proof = (peak, start);
        }
    }
}

impl Back {
    /// What of it lies before a shorter look back.
    fn before(&self, shorter: &Self) -> Self {
        Self {
            amount: self.amount.saturating_sub(shorter.amount),
            calls: self.calls.saturating_sub(shorter.calls),
            ns: self.ns.saturating_sub(shorter.ns),
        }
    }

    /// Spend at the end of the window, if it goes on like this for so long.
    fn projected(&self, spent: u64, rest_ns: u64) -> u64 {
        let more = product(self.amount, rest_ns) / u128::from(self.ns.max(1));
        u64::try_from(more).unwrap_or(u64::MAX).saturating_add(spent)
    }

    /// How long so much lasts, if it goes on like this.
    fn lasts_ns(&self, left: u64) -> u64 {
        u64::try_from(product(left, self.ns) / u128::from(self.amount.max(1))).unwrap_or(u64::MAX)
    }

    /// Burn rate in tenths: the part of the budget that was spent, over the part of the window in which it was. At 10 the budget
    /// lasts exactly one window.
    fn burn_tenths(&self, limit: u64, window_ns: u64) -> u64 {
        let whole = product(limit.max(1), self.ns.max(1)).max(1);
        let spent = product(self.amount, window_ns);
        // Whole parts first, so that three large factors cannot overflow.
        let part = spent / whole;
        let tenths = if part > 1_000_000 { part.saturating_mul(10) } else { spent.saturating_mul(10) / whole };
        u64::try_from(tenths).unwrap_or(u64::MAX)
    }
}

fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}
