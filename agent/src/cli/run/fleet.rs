//! What the fleet spent, for the budgets of a running agent. Enters: the view of the state topic, once a tick. Leaves: totals for the detector, or none
//! while they are stale, and then a finding that is closed when they are fresh again. It waits neither for brokers nor for the store.

use super::notices::notice;
use crate::{
    config::{Config, Fleet},
    detectors::budget::BudgetWatch,
    findings::{FleetStale, Policy, fleet_stale_id},
    fleet::{Counts, FleetError, Follower, Standing},
    store::{Batch, Receipt, Store},
    telemetry::{Metric, Metrics},
    units::Timestamp,
};

/// Follows the topic.
pub(super) struct FleetWatch {
    follower: Follower,
    fleet: Fleet,
    started: Timestamp,
    /// What the store was told last: that the totals are fresh, or that they are not.
    told: Option<bool>,
    /// What it is being told.
    telling: Option<(bool, Receipt)>,
}

impl FleetWatch {
    /// Begins to follow, when the config names brokers.
    pub(super) fn start(config: &Config, now: Timestamp) -> Result<Option<Self>, FleetError> {
        if config.fleet.brokers.is_empty() {
            return Ok(None);
        }
        let fleet = config.fleet.clone();
        let follower = Follower::start(fleet.clone())?;
        Ok(Some(Self { follower, fleet, started: now, told: None, telling: None }))
    }

    /// Hands the totals over, and tells when they become stale and when they are fresh again.
    pub(super) fn tick(
        &mut self,
        now: Timestamp,
        config: &Config,
        budgets: &BudgetWatch,
        (store, policy): (&Store, &Policy),
        metrics: &Metrics,
    ) {
        let stale_after_ns = self.fleet.stale_after.nanos();
        let (standing, totals, counts) = self.follower.view(|view| {
            view.prune(now);
            (view.standing(now, stale_after_ns), view.totals(now, stale_after_ns), view.counts())
        });
        budgets.set_fleet(totals);
        count(metrics, counts, standing, now);
        self.settle();
        // Totals are waited for as long as they may be old, and nobody misses what nothing is judged by.
        let is_early = self.told.is_none() && now.since_ns(self.started) < stale_after_ns;
        let is_fresh = standing.is_fresh() || !config.has_fleet();
        if self.telling.is_some() || self.told == Some(is_fresh) || (is_early && !is_fresh) {
            return;
        }
        let mut batch = Batch::default();
        match standing {
            Standing::Stale(as_of) if !is_fresh => {
                let stale = self.stale(as_of, config);
                let finding = stale.finding(now, policy);
                metrics.add(Metric::Findings, &[finding.severity.as_str(), finding.category.as_str()], 1);
                notice!("{}", said(&finding.title, stale.reason.as_deref()));
                batch.findings.push(finding);
            }
            _ => {
                if self.told.is_some() {
                    notice!("what the fleet spends is known again");
                }
                // Also after a restart: the one before may have ended while it was not.
                batch.closed.push((fleet_stale_id(self.fleet.state_topic.as_str()), now));
            }
        }
        // Without room it is tried again at the next tick.
        self.telling = store.offer(batch).ok().map(|receipt| (is_fresh, receipt));
    }

    fn settle(&mut self) {
        match self.telling.as_ref().and_then(|(is_fresh, receipt)| Some((*is_fresh, receipt.try_wait()?))) {
            Some((is_fresh, Ok(()))) => (self.told, self.telling) = (Some(is_fresh), None),
            Some((_, Err(_))) => self.telling = None,
            None => {}
        }
    }

    fn stale(&self, as_of: Option<Timestamp>, config: &Config) -> FleetStale {
        let of_fleet = || config.budget.iter().filter(|budget| budget.fleet);
        FleetStale {
            topic: self.fleet.state_topic.to_string(),
            as_of,
            stale_after_seconds: self.fleet.stale_after.get().as_secs(),
            reason: self.follower.trouble(),
            budgets: of_fleet().map(crate::config::Budget::label).collect(),
            enforces: of_fleet().any(|budget| budget.enforce),
        }
    }
}

fn said(title: &str, reason: Option<&str>) -> String {
    reason.map_or_else(|| title.to_owned(), |reason| format!("{title} ({reason})"))
}

fn count(metrics: &Metrics, counts: Counts, standing: Standing, now: Timestamp) {
    let Counts { taken, tombstones, overtaken, unknown_version, invalid, evicted } = counts;
    for (outcome, records) in [
        ("taken", taken),
        ("tombstone", tombstones),
        ("overtaken", overtaken),
        ("unknown_version", unknown_version),
        ("invalid", invalid),
        ("evicted", evicted),
    ] {
        metrics.set(Metric::FleetRecords, &[outcome], records);
    }
    metrics.clear(Metric::FleetAge);
    if let Standing::Fresh(as_of) | Standing::Stale(Some(as_of)) = standing {
        metrics.set(Metric::FleetAge, &[], now.since_ns(as_of));
    }
}
