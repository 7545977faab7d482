//! How long the runs of a service usually are. Enters: runs as they grow. Leaves: how long one may be before it is unusual. Pure.
//!
//! State: of each service the longest runs it had lately, at most [`MAX_RUNS`]; kept over a restart.

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

/// What is usual for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usual {
    /// Key of the run, its turns, and what it cost. The newest last.
    runs: Vec<(u64, u32, u64)>,
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
        self.runs.len() <= MAX_RUNS
    }
}
