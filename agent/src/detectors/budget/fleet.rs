//! What a whole fleet spent of its budgets, as a detector takes it. Enters: totals, by budget and owner, from whoever read them. Leaves: the spend
//! of one window. It never asks how old a total is: whoever hands it in says so by handing in none.
//!
//! State: at most [`FLEET_TOTALS_MAX`] totals; those that are too many are left out.

use std::collections::HashMap;

use super::{Budgets, Exhausted, Key, Unit};
use crate::{
    detectors::call_scope::{By, Owner},
    units::Timestamp,
};

/// Bound of the table.
pub const FLEET_TOTALS_MAX: usize = 16_384;

/// What the fleet spent of one budget in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetTotal {
    /// Name of the budget.
    pub budget: String,
    /// What is counted.
    pub unit: Unit,
    /// Who spent it; a trait that the budget does not tell apart is empty.
    pub owner: [(By, String); 5],
    /// When the window began.
    pub window_start: Timestamp,
    /// How long it is, nanoseconds.
    pub window_ns: u64,
    /// In `unit`.
    pub spent: u64,
}

/// The spend of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FleetSpend {
    window_start: u64,
    window_ns: u64,
    pub(super) spent: u64,
}

impl FleetSpend {
    /// It is of this window.
    pub(super) fn holds(&self, window_start: u64, window_ns: u64) -> bool {
        self.window_start == window_start && self.window_ns == window_ns
    }

    fn end(&self) -> u64 {
        self.window_start.saturating_add(self.window_ns)
    }

    fn spent_at(&self, at: Timestamp) -> u64 {
        if (self.window_start..self.end()).contains(&at.0) { self.spent } else { 0 }
    }
}

/// All of them, by account and window: a host whose clock is a little behind still needs the window before.
#[derive(Debug, Default)]
pub(super) struct Fleet(HashMap<Key, Vec<FleetSpend>>);

impl Fleet {
    /// Those that are of a budget of the fleet.
    pub(super) fn new(totals: Vec<FleetTotal>, budgets: &Budgets) -> Self {
        let mut known: HashMap<Key, Vec<FleetSpend>> = HashMap::new();
        for total in totals.into_iter().take(FLEET_TOTALS_MAX) {
            let FleetTotal { budget: name, unit, owner, window_start, window_ns, spent } = total;
            let is_it = |budget: &&super::Budget| {
                budget.fleet && budget.name.as_ref() == Some(&name) && budget.limit.unit() == unit
            };
            let Some(budget) = budgets.budgets.iter().find(is_it) else { continue };
            let kinds = if budget.shared { Vec::new() } else { budget.scope.kinds() };
            let owner = Owner::new(owner.into_iter().filter(|(by, _)| kinds.contains(by)).collect());
            let spend = FleetSpend { window_start: window_start.0, window_ns, spent };
            known.entry(Key(name, unit, owner)).or_default().push(spend);
        }
        Self(known)
    }

    /// What is known of an account in the window that holds `at`.
    pub(super) fn spend(&self, key: &Key, at: Timestamp) -> Option<FleetSpend> {
        self.0.get(key)?.iter().copied().find(|spend| (spend.window_start..spend.end()).contains(&at.0))
    }

    /// The budgets of which the fleet left nothing, also where nothing was spent on this host.
    pub(super) fn exhausted(&self, budgets: &Budgets, at: Timestamp) -> Vec<Exhausted> {
        let of = |(key, spends): (&Key, &Vec<FleetSpend>)| {
            let budget = budgets.holding(key).filter(|budget| budget.fleet)?;
            let is_gone = |spend: &&FleetSpend| {
                spend.window_ns == budget.window_ns && spend.spent_at(at) >= budget.limit.amount()
            };
            let spend = spends.iter().find(is_gone)?;
            Some(Exhausted { budget: budget.label(), owner: key.2.clone(), until: Timestamp(spend.end()) })
        };
        self.0.iter().filter_map(of).collect()
    }
}
