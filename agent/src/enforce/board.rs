//! Which budgets stand in the way. Enters: what is exhausted at a time, and what the operator lifts. Leaves: what moved. Pure: no kernel, no
//! file, no clock.
//!
//! State: a line for each budget that is exhausted or lifted; whoever calls names only budgets of the config.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// A budget of which nothing is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Its name in the config.
    pub budget: String,
    /// When its period ends, and with it the exhaustion.
    pub until: Timestamp,
}

/// What happened to a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Nothing is left of it.
    Exhausted,
    /// Somebody lifted the stop for the rest of the period.
    Reset,
    /// Its period ended, or its limit was raised.
    Recovered,
}

impl Change {
    /// The word that every output uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Reset => "reset",
            Self::Recovered => "recovered",
        }
    }
}

/// A budget that moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Which.
    pub budget: String,
    /// How.
    pub change: Change,
    /// When.
    pub at: Timestamp,
    /// When its period ends.
    pub until: Timestamp,
}

/// How a budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Something is left of it.
    Good,
    /// Nothing is left of it.
    Exhausted {
        /// Since then.
        since: Timestamp,
        /// Until then at most.
        until: Timestamp,
    },
    /// Nothing may be left of it, and nothing is stopped.
    Lifted {
        /// Until then.
        until: Timestamp,
    },
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// Since and until when.
    exhausted: BTreeMap<String, (Timestamp, Timestamp)>,
    /// Until when.
    lifted: BTreeMap<String, Timestamp>,
}

impl Board {
    /// Goes on with what was lifted before a restart.
    pub fn with_lifted(lifted: impl IntoIterator<Item = (String, Timestamp)>) -> Self {
        Self { exhausted: BTreeMap::new(), lifted: lifted.into_iter().collect() }
    }

    /// What is exhausted at `now`, all of it: what is not named any more has recovered.
    pub fn update(&mut self, now: Timestamp, exhausted: &[Exhausted]) -> Vec<Moved> {
        self.lifted.retain(|_, until| now < *until);
        let mut wanted: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for Exhausted { budget, until } in exhausted.iter().filter(|one| now < one.until) {
            // A budget that several services have each for themselves stands in the way as long as one of them is without.
            let latest = wanted.entry(budget).or_default();
            *latest = (*latest).max(*until);
        }
        wanted.retain(|budget, _| !self.lifted.contains_key(*budget));
        let mut moved = Vec::new();
        self.exhausted.retain(|budget, (_, until)| {
            let stays = wanted.contains_key(budget.as_str());
            if !stays {
                moved.push(Moved { budget: budget.clone(), change: Change::Recovered, at: now, until: *until });
            }
            stays
        });
        for (budget, until) in wanted {
            if let Some((_, known)) = self.exhausted.get_mut(budget) {
                *known = until;
            } else {
                self.exhausted.insert(budget.to_owned(), (now, until));
                moved.push(Moved { budget: budget.to_owned(), change: Change::Exhausted, at: now, until });
            }
        }
        moved
    }

    /// Lets through what an exhausted budget stops, for the rest of its period; `None` when it stops nothing.
    pub fn reset(&mut self, now: Timestamp, budget: &str) -> Option<Moved> {
        let (_, until) = self.exhausted.remove(budget)?;
        self.lifted.insert(budget.to_owned(), until);
        Some(Moved { budget: budget.to_owned(), change: Change::Reset, at: now, until })
    }

    /// How a budget stands.
    pub fn standing(&self, budget: &str) -> Standing {
        match (self.exhausted.get(budget), self.lifted.get(budget)) {
            (Some((since, until)), _) => Standing::Exhausted { since: *since, until: *until },
            (None, Some(until)) => Standing::Lifted { until: *until },
            (None, None) => Standing::Good,
        }
    }

    /// What was lifted, and until when.
    pub fn lifted(&self) -> &BTreeMap<String, Timestamp> {
        &self.lifted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exhausted(all: &[(&str, u64)]) -> Vec<Exhausted> {
        all.iter().map(|(budget, until)| Exhausted { budget: (*budget).to_owned(), until: Timestamp(*until) }).collect()
    }

    fn told(moved: &[Moved]) -> Vec<String> {
        moved
            .iter()
            .map(|moved| format!("{} {} until {}", moved.budget, moved.change.as_str(), moved.until.0))
            .collect()
    }

    /// At a time these are exhausted, or one of them is reset; then this is told and these stand in the way.
    enum Step {
        Update(u64, &'static [(&'static str, u64)]),
        Reset(u64, &'static str),
    }
    use Step::{Reset, Update};

    fn check(steps: &[(Step, &[&str], &[&str])]) {
        let mut board = Board::default();
        for (number, (step, tells, stops)) in steps.iter().enumerate() {
            let moved = match step {
                Update(at, all) => board.update(Timestamp(*at), &exhausted(all)),
                Reset(at, budget) => board.reset(Timestamp(*at), budget).into_iter().collect(),
            };
            assert_eq!(told(&moved), *tells, "step {number}");
            for budget in ["a", "b"] {
                let is_stopped = matches!(board.standing(budget), Standing::Exhausted { .. });
                assert_eq!(is_stopped, stops.contains(&budget), "step {number}, {budget}");
            }
        }
    }

    #[test]
    fn what_is_exhausted_is_told_once_and_recovers_when_it_is_not_named() {
        check(&[
            (Update(1, &[]), &[], &[]),
            (Update(2, &[("a", 10)]), &["a exhausted until 10"], &["a"]),
            (Update(3, &[("a", 10)]), &[], &["a"]),
            (Update(4, &[("a", 10), ("b", 20)]), &["b exhausted until 20"], &["a", "b"]),
            // The limit of `a` was raised.
            (Update(5, &[("b", 20)]), &["a recovered until 10"], &["b"]),
        ]);
    }

    #[test]
    fn the_end_of_a_period_lifts_also_what_is_still_named() {
        check(&[
            (Update(9, &[("a", 10)]), &["a exhausted until 10"], &["a"]),
            (Update(10, &[("a", 10)]), &["a recovered until 10"], &[]),
            (Update(11, &[("a", 20)]), &["a exhausted until 20"], &["a"]),
        ]);
    }

    #[test]
    fn a_reset_holds_for_the_rest_of_the_period_and_no_longer() {
        check(&[
            (Reset(1, "a"), &[], &[]),
            (Update(2, &[("a", 10), ("b", 10)]), &["a exhausted until 10", "b exhausted until 10"], &["a", "b"]),
            (Reset(3, "a"), &["a reset until 10"], &["b"]),
            (Reset(3, "a"), &[], &["b"]),
            (Update(4, &[("a", 10), ("b", 10)]), &[], &["b"]),
            (Update(12, &[("a", 20)]), &["b recovered until 10", "a exhausted until 20"], &["a"]),
        ]);
    }

    #[test]
    fn a_budget_of_several_services_counts_until_the_last_of_them() {
        check(&[
            (Update(1, &[("a", 5), ("a", 9), ("a", 7)]), &["a exhausted until 9"], &["a"]),
            (Update(6, &[("a", 9), ("a", 7)]), &[], &["a"]),
        ]);
    }

    #[test]
    fn what_was_lifted_before_a_restart_stays_lifted() {
        let mut board = Board::with_lifted([("a".to_owned(), Timestamp(10))]);
        assert_eq!(board.update(Timestamp(5), &exhausted(&[("a", 10)])), []);
        assert_eq!(board.standing("a"), Standing::Lifted { until: Timestamp(10) });
        assert_eq!(board.update(Timestamp(10), &[]), []);
        assert!(board.lifted().is_empty());
    }
}
