//! How long the runs of a service usually are. Enters: runs as they grow. Leaves: how long one may be before it is unusual. Pure.
//!
//! Two measures: of the long runs, as many turns and as much money as nobody needs to know a service for; and of the last runs of any
//! length, twice the turns of the longest and three times the money of the dearest, for a service whose runs are short.
//!
//! State: of each service the longest runs it had lately, at most [`MAX_RUNS`], and its last ones, at most [`MAX_RECENT`]; kept over a
//! restart.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::units::NanoUsd;

/// Long runs that are remembered of a service.
const MAX_RUNS: usize = 16;
/// Turns without a person from which on a run is a runaway, where nothing is known of a service. Frameworks give up at 10 to 25
/// (LangGraph's `recursion_limit` is 25, CrewAI's `max_iter` 25); coding agents work for a hundred.
const LIMIT_TURNS: u32 = 100;
/// Money without a person from which on a context that grows with every call is a runaway.
const LIMIT_NANO_USD: u64 = 5_000_000_000;
/// So many times the usual is unusual.
const FACTOR: u32 = 2;
/// Last runs that are remembered of a service, and how many it takes to say what is usual.
const MAX_RECENT: usize = 24;
const RECENT_MIN: usize = 12;
/// No run of fewer turns is a runaway: frameworks give up at 25.
const LEAST_TURNS: u32 = 30;
/// So many times the money of the dearest of these is unusual.
const RECENT_SPENT: u64 = 3;
/// Runs that ran away are no measure, unless they are more than one in so many.
const TOLD_PART: usize = 4;

/// What is usual for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usual {
    /// Key of the run, its turns, and what it cost. The newest last.
    runs: Vec<(u64, u32, u64)>,
    /// The last runs of any length: key, turns, cost, and whether it was told. The newest last.
    #[serde(default)]
    recent: VecDeque<(u64, u32, u64, bool)>,
}

/// What the last runs of a service make unusual: more turns and more money than this, both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub(super) turns: u32,
    pub(super) spent: NanoUsd,
}

impl Usual {
    /// Notes how far a run is. True: it is worth remembering over a restart.
    pub(super) fn note(&mut self, run: u64, turns: u32, spent: Option<NanoUsd>) -> bool {
        let spent = spent.unwrap_or_default().0;
        if turns < LIMIT_TURNS / 2 && spent < LIMIT_NANO_USD / 2 {
            return false;
        }
        if let Some(known) = self.runs.iter_mut().find(|(key, ..)| *key == run) {
            (known.1, known.2) = (known.1.max(turns), known.2.max(spent));
        } else {
            if self.runs.len() >= MAX_RUNS {
                self.runs.remove(0);
            }
            self.runs.push((run, turns, spent));
        }
        true
    }

    /// Notes how far one of the last runs is. True: it is a new one, or it is told.
    pub(super) fn note_recent(&mut self, run: u64, turns: u32, spent: Option<NanoUsd>, is_told: bool) -> bool {
        let spent = spent.unwrap_or_default().0;
        if let Some(known) = self.recent.iter_mut().rev().find(|(key, ..)| *key == run) {
            let is_news = is_told && !known.3;
            *known = (run, known.1.max(turns), known.2.max(spent), known.3 || is_told);
            return is_news;
        }
        if self.recent.len() >= MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((run, turns, spent, is_told));
        true
    }

    /// What the other runs make unusual, when enough of them are known.
    pub(super) fn short(&self, run: u64) -> Option<Short> {
        let others = || self.recent.iter().filter(|(key, ..)| *key != run);
        let (count, told) = (others().count(), others().filter(|(.., told)| *told).count());
        if count < RECENT_MIN {
            return None;
        }
        let is_usual = told * TOLD_PART > count;
        let measured = || others().filter(|(.., told)| is_usual || !told);
        let turns = measured().map(|(_, turns, ..)| *turns).max().unwrap_or_default();
        let spent = measured().map(|(_, _, spent, _)| *spent).max().unwrap_or_default();
        let turns = turns.saturating_mul(FACTOR).max(LEAST_TURNS);
        Some(Short { turns, spent: NanoUsd(spent.saturating_mul(RECENT_SPENT)) })
    }

    /// Most turns that are usual.
    pub(super) fn turns(&self, run: u64) -> u32 {
        self.middle(run, |known| known.1).saturating_mul(FACTOR).max(LIMIT_TURNS)
    }

    /// Most money that is usual.
    pub(super) fn spent(&self, run: u64) -> NanoUsd {
        NanoUsd(self.middle(run, |known| known.2).saturating_mul(u64::from(FACTOR)).max(LIMIT_NANO_USD))
    }

    /// Median of the other long runs: one that ran away does not make it usual.
    fn middle<T: Ord + Default + Copy>(&self, run: u64, of: impl Fn(&(u64, u32, u64)) -> T) -> T {
        let mut others: Vec<T> = self.runs.iter().filter(|(key, ..)| *key != run).map(of).collect();
        others.sort_unstable();
        others.get(others.len() / 2).copied().unwrap_or_default()
    }

    /// What came from outside is within bounds.
    pub(super) fn is_sound(&self) -> bool {
        self.runs.len() <= MAX_RUNS && self.recent.len() <= MAX_RECENT
    }
}
