//! The circuit breakers of a config. Enters: budgets that enforce, what is spent. Leaves: breakers that follow it, and answers to `outflow
//! budget`. It knows of money only whether a limit is reached.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    control::{Ask, BudgetRow, GroupRow, Say, SpendRow},
    notices::notice,
};
use crate::{
    config::{Budget, Config},
    detectors::budget::BudgetWatch,
    enforce::{Breakers, EnforceError, Exhausted, Moved, Signals, Standing},
    rules::VendorTable,
    units::Timestamp,
};

/// The breakers, and what they were started with.
pub(super) struct Enforcement {
    breakers: Breakers,
    started_with: Vec<(String, Vec<std::path::PathBuf>)>,
}

impl Enforcement {
    /// Attaches them, while there are rights.
    pub(super) fn attach(config: &Config) -> Result<Self, EnforceError> {
        let started_with = config.enforced();
        let breakers = Breakers::attach(&started_with, config.breaker.unreadable, &config.breaker.networks)?;
        Ok(Self { breakers, started_with })
    }

    /// From now on they can open.
    pub(super) fn start(&mut self, config: &Config, state: &Path, vendors: &VendorTable) -> Result<(), EnforceError> {
        let targets = Some(config.breaker.targets()).filter(|targets| self.is_on() && !targets.is_empty());
        let tell = |why: &str| notice!("{why}");
        let signals = targets.map(|targets| Signals::start(targets, tell)).transpose()?;
        self.breakers.start(state, signals)?;
        self.breakers.list(&vendors.llm_hosts())?;
        for (group, ..) in self.breakers.groups() {
            let (folder, budgets) = (group.folder.display(), group.budgets.join(", "));
            notice!("circuit breaker on {folder} for the budgets {budgets}");
        }
        Ok(())
    }

    /// A budget enforces something.
    pub(super) fn is_on(&self) -> bool {
        !self.breakers.is_empty()
    }

    /// Other rules, with perhaps other vendors.
    pub(super) fn reload(&mut self, vendors: &VendorTable) -> Result<(), EnforceError> {
        self.breakers.list(&vendors.llm_hosts())
    }

    /// What another config enforces is not what was attached.
    pub(super) fn differs(&self, other: &Config) -> bool {
        self.started_with != other.enforced()
    }

    /// Opens and closes them as the spend is now.
    pub(super) fn follow(
        &mut self,
        budgets: &[Budget],
        watch: &BudgetWatch,
        now: Timestamp,
    ) -> Result<(), EnforceError> {
        if self.is_on() {
            let moved = self.breakers.update(now, &exhausted(budgets, watch, now))?;
            moved.iter().for_each(tell);
        }
        Ok(())
    }

    /// Answers `outflow budget`.
    pub(super) fn answer(&mut self, ask: Ask, watch: &BudgetWatch, now: Timestamp) -> Say {
        match ask {
            Ask::List => Say::Budgets { budgets: self.rows(), groups: self.groups(), spend: spend(watch, now) },
            Ask::Reset { budget } => match self.breakers.reset(now, &budget) {
                Ok(Some(moved)) => {
                    tell(&moved);
                    Say::Done { what: moved.told() }
                }
                Ok(None) if self.breakers.budgets().contains(&budget) => {
                    Say::Refused { why: format!("budget {budget} stops nothing now") }
                }
                Ok(None) => {
                    Say::Refused { why: format!("no budget {budget} enforces anything; these do: {}", self.names()) }
                }
                Err(error) => Say::Refused { why: error.to_string() },
            },
            Ask::Silence { .. } => Say::Refused { why: "that is no question about a budget".to_owned() },
        }
    }

    fn names(&self) -> String {
        if self.breakers.is_empty() { "none".to_owned() } else { self.breakers.budgets().join(", ") }
    }

    fn rows(&self) -> Vec<BudgetRow> {
        let row = |budget: &String| {
            let (state, since, until) = match self.breakers.standing(budget) {
                Standing::Good => ("good", None, None),
                Standing::Exhausted { since, until } => ("exhausted", Some(since), Some(until)),
                Standing::Lifted { until } => ("reset", None, Some(until)),
            };
            let time = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
            BudgetRow { budget: budget.clone(), state: state.to_owned(), since: time(since), until: time(until) }
        };
        self.breakers.budgets().iter().map(row).collect()
    }

    /// The control groups.
    pub(super) fn groups(&self) -> Vec<GroupRow> {
        let row = |(group, is_open, counts): (&crate::enforce::Group, bool, Result<_, EnforceError>)| GroupRow {
            cgroup: group.folder.display().to_string(),
            budgets: group.budgets.clone(),
            stops: is_open,
            counts: counts.unwrap_or_default(),
        };
        self.breakers.groups().map(row).collect()
    }
}

fn tell(moved: &Moved) {
    notice!("{}", moved.told());
}

/// The budgets that enforce and of which nothing is left, until the last of its owners has a new window.
fn exhausted(budgets: &[Budget], watch: &BudgetWatch, now: Timestamp) -> Vec<Exhausted> {
    let enforced: BTreeSet<String> = budgets.iter().filter(|budget| budget.enforce).map(Budget::label).collect();
    let mut all = BTreeMap::new();
    for one in watch.exhausted(now).into_iter().filter(|one| enforced.contains(&one.budget)) {
        let until = all.entry(one.budget).or_insert(one.until);
        *until = one.until.max(*until);
    }
    all.into_iter().map(|(budget, until)| Exhausted { budget, until }).collect()
}

fn spend(watch: &BudgetWatch, now: Timestamp) -> Vec<SpendRow> {
    let row = |spend: crate::detectors::budget::Spend| SpendRow {
        budget: spend.budget,
        owner: spend.owner.label(),
        unit: spend.unit,
        spent: spend.spent,
        fleet_spent: spend.fleet_spent,
        limit: spend.limit,
    };
    watch.spend(now).into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        detectors::Detector as _,
        exchange::{Cost, CostSource, sample},
        units::NanoUsd,
    };

    const HOUR: u64 = 3600 * 1_000_000_000;
    const CENT: u64 = 10_000_000;

    /// What is exhausted an hour and a minute past midnight, when these services spent so many cents at one in the morning.
    fn check(spent: &[(&str, u64)], expected: &[(&str, u64)]) {
        let text = "[tap]\nenabled = true\nscope = \"host\"\n[breaker]\nfile = \"/f\"\n\
             [[budget]]\nservice = \"batch-*\"\nlimit_usd = 0.10\nwindow = \"1h\"\nenforce = true\n\
             [[budget]]\nservice = \"batch-free\"\nlimit_usd = 0.10\nwindow = \"1h\"\n\
             [[budget]]\nservice = \"shop\"\nlimit_usd = 0.10\nwindow = \"1d\"\nenforce = true\n";
        let config = Config::parse("outflow.toml", text).unwrap();
        let mut watch = BudgetWatch::new(config.budgets());
        for (service, cents) in spent {
            let mut exchange = sample::exchange("openai", "gpt-4o-mini");
            exchange.origin = Arc::new(crate::sources::Origin { service: (*service).into(), ..Default::default() });
            exchange.ended_at = Timestamp(sample::MIDNIGHT.0 + HOUR);
            exchange.cost =
                Some(Cost { nano_usd: NanoUsd(cents * CENT), source: CostSource::Provider, catalogue: String::new() });
            watch.inspect(&exchange, &mut |_| {});
        }
        let now = Timestamp(sample::MIDNIGHT.0 + HOUR + HOUR / 60);
        let found: Vec<(String, u64)> = exhausted(&config.budget, &watch, now)
            .into_iter()
            .map(|one| (one.budget, (one.until.0 - sample::MIDNIGHT.0) / HOUR))
            .collect();
        let expected: Vec<(String, u64)> = expected.iter().map(|(name, hour)| ((*name).to_owned(), *hour)).collect();
        assert_eq!(found, expected, "{spent:?}");
    }

    #[test]
    fn a_budget_is_exhausted_when_its_last_cent_is_spent_until_its_window_ends() {
        check(&[], &[]);
        check(&[("shop", 9), ("batch-a", 9)], &[]);
        check(&[("shop", 10)], &[("shop", 24)]);
        // Two services of one pattern have it each for themselves: one of them is enough.
        check(&[("batch-a", 9), ("batch-b", 11)], &[("batch-*", 2)]);
        // The exact name wins, and its budget does not enforce; nobody has a budget for the last one.
        check(&[("batch-free", 99), ("other", 99)], &[]);
    }
}
