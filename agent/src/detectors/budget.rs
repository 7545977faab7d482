//! Finds who spends more than they may. Enters: exchanges, in order, and what may be spent. Leaves: `cost.budget` when a threshold
//! of a budget is reached, once a window each, and `cost.burn_rate` when a budget will not last, once a window; in a window of a
//! week and more once a day. It never blocks a call, and a call whose cost nobody knows costs nothing here (`cost.untracked` tells
//! of these).
//!
//! Windows begin at multiples of their length since the epoch, in UTC. A call counts in the window in which it ended. Of several
//! thresholds that one call reaches, the highest is told. A rate that a budget survived in one of the eight windows before is no
//! news, so a batch job is told in its first night at most.
//!
//! State: at most [`ACCOUNTS_MAX`] accounts, with at most 39 slices each; the one that was used least recently goes first. What
//! changed since it was last asked for is remembered for twice as many.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    account::{Account, Crossed},
    fleet::{Fleet, FleetSpend},
};
use super::{
    Detector, Hit, StateChange,
    call_scope::{CallScope, Owner},
};
use crate::{
    exchange::Exchange,
    lru::Lru,
    units::{NanoUsd, Timestamp},
};

mod account;
mod fleet;
mod tell;
#[cfg(test)]
mod tests;

pub use self::fleet::{FLEET_TOTALS_MAX, FleetTotal};

/// Bound of the table.
pub const ACCOUNTS_MAX: usize = 1024;

/// Longer names are not tracked: state must not grow with what a process calls itself.
const NAME_BYTES_MAX: usize = 256;

/// How much may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Money.
    Usd(NanoUsd),
    /// Tokens, of input and output together.
    Tokens(u64),
}

impl Limit {
    /// In its unit.
    pub fn amount(self) -> u64 {
        match self {
            Self::Usd(NanoUsd(amount)) | Self::Tokens(amount) => amount,
        }
    }

    /// What it limits.
    pub fn unit(self) -> Unit {
        match self {
            Self::Usd(_) => Unit::Usd,
            Self::Tokens(_) => Unit::Tokens,
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Nano-USD.
    Usd,
    /// Tokens.
    Tokens,
}

impl Unit {
    /// What a call takes of it.
    pub fn of(self, exchange: &Exchange) -> u64 {
        match self {
            Self::Usd => exchange.cost.as_ref().map_or(0, |cost| cost.nano_usd.0),
            Self::Tokens => {
                let usage = &exchange.usage;
                let counted = usage.input_tokens.unwrap_or(0).saturating_add(usage.output_tokens.unwrap_or(0));
                let estimate = exchange.estimate.filter(|_| counted == 0);
                estimate.map_or(counted, |tokens| tokens.input_tokens.saturating_add(tokens.output_tokens))
            }
        }
    }

    /// For people.
    pub fn shown(self, amount: u64) -> String {
        match self {
            Self::Usd => NanoUsd(amount).to_string(),
            Self::Tokens => format!("{amount} tokens"),
        }
    }
}

/// What may be spent.
#[derive(Clone, Debug)]
pub struct Budget {
    /// What the operator calls it.
    pub name: Option<String>,
    /// Whose calls count. Each owner has this budget for itself.
    pub scope: CallScope,
    /// All owners have it together.
    pub shared: bool,
    /// All hosts have it together: it is judged by what the fleet spent, where that is known.
    pub fleet: bool,
    /// What may be spent in a window.
    pub limit: Limit,
    /// Length of a window, nanoseconds.
    pub window_ns: u64,
    /// Percentages of the limit at which a finding is told.
    pub warn_at_percent: Vec<u16>,
}

impl Budget {
    /// Its name, or else what it is for.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.scope.label())
    }

    fn key(&self, exchange: &Exchange) -> Option<Key> {
        let owner = self.scope.owner(exchange)?;
        let owner = if self.shared { Owner::default() } else { owner };
        Some(Key(self.name.clone().unwrap_or_default(), self.limit.unit(), owner))
    }

    /// This account is one of this budget.
    fn holds(&self, key: &Key) -> bool {
        let Key(name, unit, owner) = key;
        let is_owner = if self.shared { owner.parts().is_empty() } else { self.scope.fits(owner) };
        self.name.as_deref().unwrap_or_default() == name && self.limit.unit() == *unit && is_owner
    }
}

/// All budgets. One with a name counts for every call that it is for. Of those without a name that are told apart by the same
/// traits, one counts: that which names the call's exactly, else the first whose patterns fit.
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    budgets: Vec<Budget>,
    /// Indices, of which at most one counts for a call.
    groups: Vec<Vec<usize>>,
}

impl Budgets {
    /// In the order in which patterns are tried.
    pub fn new(budgets: Vec<Budget>) -> Self {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let like = |a: &Budget, b: &Budget| {
            let is_bare = a.name.is_none() && b.name.is_none();
            is_bare && a.scope.kinds() == b.scope.kinds() && a.limit.unit() == b.limit.unit() && a.shared == b.shared
        };
        for (index, budget) in budgets.iter().enumerate() {
            let of_first = |group: &&mut Vec<usize>| {
                group.first().and_then(|first| budgets.get(*first)).is_some_and(|first| like(first, budget))
            };
            match groups.iter_mut().find(of_first) {
                Some(group) => group.push(index),
                None => groups.push(vec![index]),
            }
        }
        Self { budgets, groups }
    }

    /// Those that all hosts have together.
    pub fn of_fleet(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.iter().filter(|budget| budget.fleet)
    }

    /// The budgets of a call.
    pub fn of<'a>(&'a self, exchange: &'a Exchange) -> impl Iterator<Item = &'a Budget> {
        self.groups.iter().filter_map(|group| {
            let fitting = || {
                let of_group = group.iter().filter_map(|index| self.budgets.get(*index));
                of_group.filter_map(|budget| budget.scope.owner(exchange).map(|owner| (budget, owner)))
            };
            let exact = fitting().find(|(budget, owner)| budget.scope.names(owner));
            exact.or_else(|| fitting().next()).map(|(budget, _)| budget)
        })
    }

    /// The budget that an account is of.
    fn holding(&self, key: &Key) -> Option<&Budget> {
        let holding = || self.budgets.iter().filter(|budget| budget.holds(key));
        holding().find(|budget| budget.scope.names(&key.2)).or_else(|| holding().next())
    }
}

/// Name of the budget, empty when it has none; what it counts; who spends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Key(String, Unit, Owner);

/// What was spent of a budget in the running window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    /// The budget: its name, or what it is for.
    pub budget: String,
    /// By whom; nobody in particular, when the budget is shared.
    pub owner: Owner,
    /// What is counted.
    pub unit: Unit,
    /// So far, in `unit`, on this host.
    pub spent: u64,
    /// The same of the whole fleet, when the budget is the fleet's and its total is known.
    pub fleet_spent: Option<u64>,
    /// What may be spent.
    pub limit: u64,
    /// When the window ends.
    pub until: Timestamp,
}

/// A budget of which nothing is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Its name, or what it is for.
    pub budget: String,
    /// Who spent it; nobody in particular, when the budget is shared.
    pub owner: Owner,
    /// The next window begins.
    pub until: Timestamp,
}

/// The detector. A clone shares everything with it, so that budgets can be changed and spend be read while it works.
#[derive(Clone)]
pub struct BudgetWatch {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    budgets: Arc<Budgets>,
    fleet: Fleet,
    accounts: Lru<Key, Account>,
    /// Accounts that changed since [`Detector::changes`], and whether they are gone.
    changed: Lru<Key, bool>,
}

impl BudgetWatch {
    /// A detector that has seen nothing yet.
    pub fn new(budgets: Budgets) -> Self {
        let shared = Shared {
            budgets: Arc::new(budgets),
            fleet: Fleet::default(),
            accounts: Lru::new(ACCOUNTS_MAX),
            changed: Lru::new(2 * ACCOUNTS_MAX),
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// These budgets count from the next call on. Spend is kept where the length of the window stays.
    pub fn set_budgets(&self, budgets: Budgets) {
        self.lock().budgets = Arc::new(budgets);
    }

    /// What the fleet spent, all that is known of it now. Nothing: budgets are judged by what this host spent alone.
    pub fn set_fleet(&self, totals: Vec<FleetTotal>) {
        let mut shared = self.lock();
        shared.fleet = Fleet::new(totals, &shared.budgets);
    }

    /// What was spent of each budget in the window that holds `at`, by budget and owner.
    pub fn spend(&self, at: Timestamp) -> Vec<Spend> {
        let shared = self.lock();
        let of = |(key, account): (&Key, &Account)| {
            let budget = shared.budgets.holding(key);
            Spend {
                budget: budget.map_or_else(|| key.0.clone(), Budget::label),
                owner: key.2.clone(),
                unit: key.1,
                spent: account.spent_at(at),
                fleet_spent: shared.fleet.spend(key, at).map(|fleet| fleet.spent),
                limit: account.limit,
                until: Timestamp(account.window_end()),
            }
        };
        let mut all: Vec<Spend> = shared.accounts.iter().map(of).collect();
        all.sort_unstable_by(|a, b| (&a.budget, &a.owner, a.unit).cmp(&(&b.budget, &b.owner, b.unit)));
        all
    }

    /// The budgets of which nothing is left at `at`, as they are now: one that was raised or taken out of the config meanwhile is
    /// not among them.
    pub fn exhausted(&self, at: Timestamp) -> Vec<Exhausted> {
        let shared = self.lock();
        let of = |(key, account): (&Key, &Account)| {
            let budget = shared.budgets.holding(key).filter(|budget| budget.window_ns == account.window_ns)?;
            let is_gone = account.spent_at(at) >= budget.limit.amount();
            let until = Timestamp(account.window_end());
            is_gone.then(|| Exhausted { budget: budget.label(), owner: key.2.clone(), until })
        };
        let mut all: Vec<Exhausted> = shared.accounts.iter().filter_map(of).collect();
        all.extend(shared.fleet.exhausted(&shared.budgets, at));
        all.sort_unstable_by(|a, b| (&a.budget, &a.owner).cmp(&(&b.budget, &b.owner)));
        all.dedup_by(|a, b| (&a.budget, &a.owner) == (&b.budget, &b.owner));
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
        let budgets = Arc::clone(&self.lock().budgets);
        for budget in budgets.of(exchange) {
            let amount = budget.limit.unit().of(exchange);
            let Some(key) = budget.key(exchange).filter(|_| amount > 0) else { continue };
            if key.2.parts().iter().any(|(_, name)| name.len() > NAME_BYTES_MAX) {
                continue;
            }
            let told = self.lock().spend(&key, exchange, amount, budget);
            if let Some(told) = told {
                emit(Hit::Behaviour(tell::tell(exchange, budget, &key.2, &told)));
            }
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        let mut shared = self.lock();
        while let Some((key, is_gone)) = shared.changed.pop() {
            let account = shared.accounts.peek(&key).filter(|_| !is_gone).cloned().map(Arc::new);
            if let Ok(key) = serde_json::to_string(&key) {
                emit(StateChange::new("budget", key, account));
            }
        }
    }

    fn restore(&mut self, key: &str, value: &str) {
        if let (Ok(key), Ok(account)) = (serde_json::from_str::<Key>(key), serde_json::from_str::<Account>(value))
            && account.is_sound()
        {
            self.lock().accounts.insert(key, account.with_all_looks());
        }
    }
}

/// What is to be told, and the account as it is then.
struct Told {
    account: Account,
    crossed: Crossed,
    fleet: Option<FleetSpend>,
}

impl Shared {
    /// Books a call; gives the account as it is then, when something is to be told.
    fn spend(&mut self, key: &Key, exchange: &Exchange, amount: u64, budget: &Budget) -> Option<Told> {
        let (at, limit) = (exchange.ended_at, budget.limit.amount());
        if self.accounts.touch(key).is_none() {
            let account = Account::new(limit, budget.window_ns, at);
            if let Some((evicted, _)) = self.accounts.insert(key.clone(), account) {
                self.changed.insert(evicted, true);
            }
        }
        let fleet = if budget.fleet { self.fleet.spend(key, at) } else { None };
        let account = self.accounts.touch(key)?;
        let crossed = account.spend(at, amount, limit, budget.window_ns, &budget.warn_at_percent, fleet);
        let told = crossed.map(|crossed| Told { account: account.clone(), crossed, fleet });
        self.changed.insert(key.clone(), false);
        told
    }
}
