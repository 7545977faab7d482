//! What one service spent: the running window, and the last part of it in slices. Enters: amounts with their times. Leaves: what
//! was crossed. Pure, and bounded by [`SLICES_MAX`]; integers only, so that the same calls always give the same answer.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::units::{NanoUsd, Timestamp};

/// Slices of a window: five minutes of a day.
pub(super) const SLICES: u64 = 288;

/// Slices that are kept: the longest look back, and the running one.
pub(super) const SLICES_MAX: usize = 49;

/// A rate is judged by two looks back at once, as in "The Site Reliability Workbook", chapter 5, section 6, "Multiwindow,
/// Multi-Burn-Rate Alerts" (sre.google/workbook/alerting-on-slos): the long one says that it matters, the short one that it
/// still goes on. The short one is 1/12 of the long one, as there. The factors are ours: the book's 14.4 and 6 are for an error
/// budget of 30 days, and a budget of a day at 14.4 is gone before anybody has read the finding.
pub(super) const PAIRS: [Pair; 2] = [
    // An hour and five minutes of a day; a quarter of the budget went within that hour.
    Pair { long: 12, short: 1, factor: 6, is_fast: true },
    // Four hours and twenty minutes of a day; a third of the budget went within these.
    Pair { long: 48, short: 4, factor: 2, is_fast: false },
];

/// Part of the limit that must be spent in the window before its rate is judged, in percent: three calls are no rate.
const SPENT_MIN_PERCENT: u64 = 10;

/// Calls in the long look back before its rate is judged.
const CALLS_MIN: u64 = 10;

/// Two looks back and the burn rate that both must reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    long: u64,
    short: u64,
    factor: u64,
    is_fast: bool,
}

/// What one service spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) limit: NanoUsd,
    pub(super) window_ns: u64,
    pub(super) window_start: u64,
    pub(super) spent: NanoUsd,
    /// The highest threshold that was told in this window.
    told_percent: u16,
    /// The rate was told in this window.
    told_rate: bool,
    slices: VecDeque<Slice>,
}

/// Number of the slice since the epoch, nano-USD, calls. A short array in JSON, because it is written with every call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Slice(u64, u64, u64);

/// What a call crossed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Crossed {
    /// The highest of the thresholds that it reached and that were not told yet.
    Threshold(u16),
    /// The budget will not last.
    Rate {
        /// Spend at the end of the window if it goes on like this.
        projected: NanoUsd,
        /// How many times faster than the budget allows, in tenths.
        burn_tenths: u64,
        is_fast: bool,
    },
}

impl Account {
    /// Nothing spent in the window that holds `at`.
    pub(super) fn new(limit: NanoUsd, window_ns: u64, at: Timestamp) -> Self {
        let window_ns = window_ns.max(SLICES);
        Self {
            limit,
            window_ns,
            window_start: at.0 - at.0 % window_ns,
            spent: NanoUsd(0),
            told_percent: 0,
            told_rate: false,
            slices: VecDeque::new(),
        }
    }

    /// What was written by another version, or by hand, must not do harm.
    pub(super) fn is_sound(&self) -> bool {
        self.window_ns >= SLICES && self.window_start.is_multiple_of(self.window_ns) && self.slices.len() <= SLICES_MAX
    }

    /// Spend of the window that holds `at`: nothing, when the last call was in an earlier one.
    pub(super) fn spent_at(&self, at: Timestamp) -> NanoUsd {
        if at.0.saturating_sub(self.window_start) < self.window_ns { self.spent } else { NanoUsd(0) }
    }

    /// Takes in what a call cost. A budget that was changed meanwhile counts from here on: another window length begins a new
    /// account, another limit is told anew.
    pub(super) fn spend(
        &mut self,
        at: Timestamp,
        cost: NanoUsd,
        limit: NanoUsd,
        window_ns: u64,
        percents: &[u16],
    ) -> Option<Crossed> {
        let window_ns = window_ns.max(SLICES);
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
            *self = Self { slices: std::mem::take(&mut self.slices), ..Self::new(limit, window_ns, at) };
        }
        if limit != self.limit {
            (self.limit, self.told_percent, self.told_rate) = (limit, 0, false);
        }
        self.spent = NanoUsd(self.spent.0.saturating_add(cost.0));
        self.slice(at, cost);
        self.threshold(percents).or_else(|| self.rate(at))
    }

    fn slice(&mut self, at: Timestamp, cost: NanoUsd) {
        let number = at.0 / self.slice_ns();
        match self.slices.back_mut() {
            // A call that ended a little earlier than the one before counts with it.
            Some(Slice(last, nano, calls)) if *last >= number => {
                *nano = nano.saturating_add(cost.0);
                *calls = calls.saturating_add(1);
            }
            _ => self.slices.push_back(Slice(number, cost.0, 1)),
        }
        let oldest = number.saturating_sub(SLICES_MAX as u64 - 1);
        while self.slices.len() > SLICES_MAX || self.slices.front().is_some_and(|Slice(first, ..)| *first < oldest) {
            self.slices.pop_front();
        }
    }

    fn slice_ns(&self) -> u64 {
        self.window_ns / SLICES
    }

    fn threshold(&mut self, percents: &[u16]) -> Option<Crossed> {
        let is_reached = |percent: u16| product(self.spent.0, 100) >= product(self.limit.0, u64::from(percent));
        let highest = percents.iter().copied().filter(|percent| is_reached(*percent)).max()?;
        if highest <= self.told_percent {
            return None;
        }
        self.told_percent = highest;
        Some(Crossed::Threshold(highest))
    }

    /// The first pair whose looks back both burn fast enough, when the budget will then not last until the end of the window.
    fn rate(&mut self, at: Timestamp) -> Option<Crossed> {
        let is_over = self.spent >= self.limit;
        if self.told_rate || is_over || product(self.spent.0, 100) < product(self.limit.0, SPENT_MIN_PERCENT) {
            return None;
        }
        let pair = PAIRS.iter().find(|pair| {
            let calls = self.look_back(at, pair.long).1;
            calls >= CALLS_MIN && [pair.long, pair.short].iter().all(|back| self.burns(at, *back) >= pair.factor * 10)
        })?;
        let (nano, _, ns) = self.look_back(at, pair.long);
        let left_ns = (self.window_start + self.window_ns).saturating_sub(at.0);
        let more = product(nano, left_ns) / u128::from(ns.max(1));
        let projected = u64::try_from(more).unwrap_or(u64::MAX).saturating_add(self.spent.0);
        if projected <= self.limit.0 {
            return None;
        }
        self.told_rate = true;
        let burn_tenths = self.burns(at, pair.long);
        Some(Crossed::Rate { projected: NanoUsd(projected), burn_tenths, is_fast: pair.is_fast })
    }

    /// Spend, calls and length of the running slice and the `back` slices before it.
    fn look_back(&self, at: Timestamp, back: u64) -> (u64, u64, u64) {
        let slice_ns = self.slice_ns();
        let first = (at.0 / slice_ns).saturating_sub(back);
        let seen = self.slices.iter().filter(|Slice(number, ..)| *number >= first);
        let (nano, calls) = seen
            .fold((0_u64, 0_u64), |(nano, calls), slice| (nano.saturating_add(slice.1), calls.saturating_add(slice.2)));
        (nano, calls, back * slice_ns + at.0 % slice_ns)
    }

    /// Burn rate in tenths: the part of the budget that was spent, over the part of the window in which it was. At 10 the budget
    /// lasts exactly one window.
    fn burns(&self, at: Timestamp, back: u64) -> u64 {
        let (nano, _, ns) = self.look_back(at, back);
        let part = product(nano, self.window_ns) / product(self.limit.0.max(1), ns.max(1)).max(1);
        // Whole parts first, so that three large factors cannot overflow.
        let tenths = if part > 1_000_000 {
            part.saturating_mul(10)
        } else {
            product(nano, self.window_ns).saturating_mul(10) / product(self.limit.0.max(1), ns.max(1)).max(1)
        };
        u64::try_from(tenths).unwrap_or(u64::MAX)
    }
}

fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}
