//! Finds services that spend more than they may. Enters: exchanges, in order, and what services may spend. Leaves: `cost.budget`
//! when a threshold of the budget is reached, once a window each, and `cost.burn_rate` when the budget will not last, once a
//! window. It never blocks a call, and a call whose cost nobody knows costs nothing here (`cost.untracked` tells of these).
//!
//! Windows begin at multiples of their length since the epoch, in UTC. A call counts in the window in which it ended. Of several
//! thresholds that one call reaches, the highest is told.
//!
//! State: the spend of at most [`SERVICES_MAX`] services, with at most 49 slices each; the service that called least recently
//! goes first. What changed since it was last asked for is remembered for twice as many.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use globset::GlobMatcher;
use serde_json::json;

use self::account::{Account, Crossed};
use super::{Behaviour, Detector, Hit, StateChange};
use crate::{
    exchange::Exchange,
    lru::Lru,
    units::{NanoUsd, Severity, Timestamp},
};

mod account;
#[cfg(test)]
mod tests;

/// Bound of the table.
pub const SERVICES_MAX: usize = 1024;

/// Services with longer names are not tracked: state must not grow with what a process calls itself.
const NAME_BYTES_MAX: usize = 256;

/// What a service may spend.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Which services: a name or a pattern. Each has this budget for itself.
    pub service: GlobMatcher,
    /// What it may spend in a window.
    pub limit: NanoUsd,
    /// Length of a window, nanoseconds.
    pub window_ns: u64,
    /// Percentages of the limit at which a finding is told.
    pub warn_at_percent: Vec<u16>,
}

/// All budgets. The one that names a service exactly wins, else the first whose pattern fits.
#[derive(Clone, Debug, Default)]
pub struct Budgets(Vec<Budget>);

impl Budgets {
    /// In the order in which patterns are tried.
    pub fn new(budgets: Vec<Budget>) -> Self {
        Self(budgets)
    }

    /// The budget of a service.
    pub fn of(&self, service: &str) -> Option<&Budget> {
        let exact = self.0.iter().find(|budget| budget.service.glob().glob() == service);
        exact.or_else(|| self.0.iter().find(|budget| budget.service.is_match(service)))
    }
}

/// What a service spent in the running window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Which.
    pub service: String,
    /// So far.
    pub spent: NanoUsd,
    /// What it may spend.
    pub limit: NanoUsd,
}

/// The detector. A clone shares everything with it, so that budgets can be changed and spend be read while it works.
#[derive(Clone)]
pub struct BudgetWatch {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    budgets: Arc<Budgets>,
    accounts: Lru<String, Account>,
    /// Services whose account changed since [`Detector::changes`], and whether it is gone.
    changed: Lru<String, bool>,
}

impl BudgetWatch {
    /// A detector that has seen nothing yet.
    pub fn new(budgets: Budgets) -> Self {
        let shared = Shared {
            budgets: Arc::new(budgets),
            accounts: Lru::new(SERVICES_MAX),
            changed: Lru::new(2 * SERVICES_MAX),
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// These budgets count from the next call on. Spend is kept where the length of the window stays.
    pub fn set_budgets(&self, budgets: Budgets) {
        self.lock().budgets = Arc::new(budgets);
    }

    /// What each service spent in the window that holds `at`, by name.
    pub fn spend(&self, at: Timestamp) -> Vec<Spend> {
        let shared = self.lock();
        let mut all: Vec<Spend> = shared
            .accounts
            .iter()
            .map(|(service, account)| Spend {
                service: service.clone(),
                spent: account.spent_at(at),
                limit: account.limit,
            })
            .collect();
        all.sort_unstable_by(|a, b| a.service.cmp(&b.service));
        all
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BudgetWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetWatch").finish_non_exhaustive()
    }
}

impl Detector for BudgetWatch {
    fn name(&self) -> &'static str {
        "budget"
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let service = &exchange.origin.service;
        if service.len() > NAME_BYTES_MAX {
            return;
        }
        let budgets = Arc::clone(&self.lock().budgets);
        let Some(budget) = budgets.of(service) else { return };
        let Some(cost) = exchange.cost.as_ref().map(|cost| cost.nano_usd).filter(|cost| cost.0 > 0) else {
            return;
        };
        let told = self.lock().spend(service, exchange, cost, budget);
        if let Some((account, crossed)) = told {
            emit(Hit::Behaviour(tell(exchange, &account, &crossed)));
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        let mut shared = self.lock();
        while let Some((key, is_gone)) = shared.changed.pop() {
            let account = shared.accounts.peek(&key).filter(|_| !is_gone);
            let value = account.and_then(|account| serde_json::to_string(account).ok());
            emit(StateChange { detector: "budget", key, value });
        }
    }

    fn restore(&mut self, key: &str, value: &str) {
        if let Ok(account) = serde_json::from_str::<Account>(value)
            && account.is_sound()
        {
            self.lock().accounts.insert(key.to_owned(), account);
        }
    }
}

impl Shared {
    /// Books a call; gives the account as it is then, when something is to be told.
    fn spend(
        &mut self,
        service: &str,
        exchange: &Exchange,
        cost: NanoUsd,
        budget: &Budget,
    ) -> Option<(Account, Crossed)> {
        let (at, key) = (exchange.ended_at, service.to_owned());
        if self.accounts.touch(&key).is_none() {
            let account = Account::new(budget.limit, budget.window_ns, at);
            if let Some((evicted, _)) = self.accounts.insert(key.clone(), account) {
                self.changed.insert(evicted, true);
            }
        }
        let account = self.accounts.touch(&key)?;
        let crossed = account.spend(at, cost, budget.limit, budget.window_ns, &budget.warn_at_percent);
        let told = crossed.map(|crossed| (account.clone(), crossed));
        self.changed.insert(key, false);
        told
    }
}

fn tell<'a>(exchange: &'a Exchange, account: &Account, crossed: &Crossed) -> Behaviour<'a> {
    let Account { limit, window_ns, window_start, spent, .. } = *account;
    let service = &exchange.origin.service;
    let window = window_name(window_ns);
    let start = window_start / 1_000_000_000;
    let percent = u128::from(spent.0) * 100 / u128::from(limit.0.max(1));
    let mut facts = vec![
        ("budget.spent_nano_usd", json!(spent)),
        ("budget.limit_nano_usd", json!(limit)),
        ("budget.spent_percent", json!(u64::try_from(percent).unwrap_or(u64::MAX))),
        ("budget.window_seconds", json!(window_ns / 1_000_000_000)),
        ("budget.window_start_unix", json!(start)),
    ];
    let (rule, rule_title, key, severity, confidence, title) = match *crossed {
        Crossed::Threshold(percent) => {
            facts.push(("budget.threshold_percent", json!(percent)));
            (
                "cost.budget",
                "Budget of a service",
                format!("{percent}% of {window} from {start}"),
                match percent {
                    0..100 => Severity::Medium,
                    100..200 => Severity::High,
                    200.. => Severity::Critical,
                },
                95,
                format!("{service} spent {spent} of its {limit} budget for the {window}"),
            )
        }
        Crossed::Rate { projected, burn_tenths, is_fast } => {
            facts.push(("budget.projected_nano_usd", json!(projected)));
            facts.push(("budget.burn_rate_tenths", json!(burn_tenths)));
            (
                "cost.burn_rate",
                "Budget that will not last",
                format!("{window} from {start}"),
                if is_fast { Severity::High } else { Severity::Medium },
                75,
                format!("{service} is on its way to {projected}, with a budget of {limit} for the {window}"),
            )
        }
    };
    Behaviour {
        rule,
        rule_title,
        references: vec!["https://sre.google/workbook/alerting-on-slos/".to_owned()],
        key,
        severity,
        confidence,
        title,
        remedy: "Look for loops, retries and growing prompts of this service, or raise its budget in the config.",
        facts,
        exchange,
    }
}

/// As people say it: `day`, `hour`, else `window of 90 minutes`.
fn window_name(ns: u64) -> String {
    const MINUTE: u64 = 60 * 1_000_000_000;
    let known = [(7 * 24 * 60, "week"), (24 * 60, "day"), (60, "hour"), (1, "minute")];
    if let Some((_, name)) = known.iter().find(|(minutes, _)| minutes * MINUTE == ns) {
        return (*name).to_owned();
    }
    let parts = known.iter().filter(|(minutes, name)| *name != "week" && ns.is_multiple_of(minutes * MINUTE));
    match parts.max_by_key(|(minutes, _)| *minutes) {
        Some((minutes, name)) => format!("window of {} {name}s", ns / (minutes * MINUTE)),
        None => format!("window of {} seconds", ns / 1_000_000_000),
    }
}
