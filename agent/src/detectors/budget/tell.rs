//! What is said of a budget. Enters: an account and what a call crossed. Leaves: a finding's facts and words. Pure, no state.

use serde_json::{Value, json};

use super::{
    Budget, Told, Unit,
    account::{Account, Crossed, Rate},
};
use crate::{
    detectors::{
        Behaviour,
        call_scope::{By, Owner},
    },
    exchange::Exchange,
    units::{Severity, Timestamp},
};

const SECOND_NS: u64 = 1_000_000_000;

pub(super) fn tell<'a>(exchange: &'a Exchange, budget: &Budget, owner: &Owner, told: &Told) -> Behaviour<'a> {
    let Told { account, crossed, fleet } = told;
    let Account { limit, window_ns, window_start, spent: spent_here, .. } = *account;
    let spent = account.spent_with(*fleet);
    let unit = budget.limit.unit();
    let label = if owner.parts().is_empty() { format!("budget `{}`", budget.label()) } else { owner.label() };
    let window = window_name(window_ns);
    let start = window_start / SECOND_NS;
    let percent = u128::from(spent) * 100 / u128::from(limit.max(1));
    let [spent_name, limit_name, projected_name] = names(unit);
    let mut facts = vec![
        (spent_name, json!(spent)),
        (limit_name, json!(limit)),
        ("budget.spent_percent", json!(u64::try_from(percent).unwrap_or(u64::MAX))),
        ("budget.window_seconds", json!(window_ns / SECOND_NS)),
        ("budget.window_start_unix", json!(start)),
    ];
    if let Some(name) = &budget.name {
        facts.push(("budget.name", json!(name)));
    }
    if budget.fleet {
        let here = if unit == Unit::Usd { "budget.spent_here_nano_usd" } else { "budget.spent_here_tokens" };
        facts.extend([("budget.is_fleet", json!(true)), (here, json!(spent_here))]);
    }
    facts.extend(owner.parts().iter().map(|(by, name)| (owner_name(*by), json!(name))));
    let (spent, limit) = (unit.shown(spent), unit.shown(limit));
    let kind = if budget.fleet { "fleet budget" } else { "budget" };
    // A budget of a service alone has no further name: its service is in the finding's id.
    let is_plain = budget.name.is_none() && unit == Unit::Usd && owner.parts().len() == 1 && owner.service().is_some();
    let which = if is_plain { String::new() } else { format!(" of {} {label} {}", budget.label(), unit_word(unit)) };
    let (rule, key, severity, confidence, title) = match *crossed {
        Crossed::Threshold(percent) => {
            facts.push(("budget.threshold_percent", json!(percent)));
            (
                "cost.budget",
                format!("{percent}% of {window} from {start}{which}"),
                match percent {
                    0..100 => Severity::Medium,
                    100..200 => Severity::High,
                    200.. => Severity::Critical,
                },
                95,
                format!("{label} spent {spent} of its {limit} {kind} for the {window}"),
            )
        }
        Crossed::Rate(rate) => {
            facts.extend(rate_facts(&rate, projected_name, exchange.ended_at));
            let projected = unit.shown(rate.projected);
            let left = duration(rate.left_ns);
            (
                "cost.burn_rate",
                format!("{window} from {start}{which}"),
                rate.severity,
                75,
                format!(
                    "{label} is on its way to {projected} of its {limit} {kind} for the {window}, which is gone in {left}"
                ),
            )
        }
    };
    Behaviour { rule, references: Vec::new(), key, severity, confidence, title, case: None, facts, exchange }
}

fn rate_facts(rate: &Rate, projected_name: &'static str, at: Timestamp) -> [(&'static str, Value); 5] {
    [
        (projected_name, json!(rate.projected)),
        ("budget.burn_rate_tenths", json!(rate.burn_tenths)),
        ("budget.burn_window_seconds", json!(rate.long_ns / SECOND_NS)),
        ("budget.exhausted_in_seconds", json!(rate.left_ns / SECOND_NS)),
        ("budget.exhausted_at_unix", json!(at.0.saturating_add(rate.left_ns) / SECOND_NS)),
    ]
}

fn names(unit: Unit) -> [&'static str; 3] {
    match unit {
        Unit::Usd => ["budget.spent_nano_usd", "budget.limit_nano_usd", "budget.projected_nano_usd"],
        Unit::Tokens => ["budget.spent_tokens", "budget.limit_tokens", "budget.projected_tokens"],
    }
}

fn owner_name(by: By) -> &'static str {
    match by {
        By::Service => "budget.service",
        By::Feature => "budget.feature",
        By::Model => "budget.model",
        By::Key => "budget.key",
        By::Host => "budget.host",
    }
}

fn unit_word(unit: Unit) -> &'static str {
    match unit {
        Unit::Usd => "USD",
        Unit::Tokens => "tokens",
    }
}

/// As people say it: `day`, `hour`, else `window of 90 minutes`.
pub(super) fn window_name(ns: u64) -> String {
    const MINUTE: u64 = 60 * SECOND_NS;
    let known = [(7 * 24 * 60, "week"), (24 * 60, "day"), (60, "hour"), (1, "minute")];
    if let Some((_, name)) = known.iter().find(|(minutes, _)| minutes * MINUTE == ns) {
        return (*name).to_owned();
    }
    let parts = known.iter().filter(|(minutes, name)| *name != "week" && ns.is_multiple_of(minutes * MINUTE));
    match parts.max_by_key(|(minutes, _)| *minutes) {
        Some((minutes, name)) => format!("window of {} {name}s", ns / (minutes * MINUTE)),
        None => format!("window of {} seconds", ns / SECOND_NS),
    }
}

/// The two largest units: `2 h 10 min`.
pub(super) fn duration(ns: u64) -> String {
    let minutes = ns / (60 * SECOND_NS);
    let (days, hours, rest) = (minutes / (24 * 60), minutes / 60 % 24, minutes % 60);
    match (days, hours) {
        (0, 0) if rest == 0 => format!("{} s", ns / SECOND_NS),
        (0, 0) => format!("{rest} min"),
        (0, _) => format!("{hours} h {rest} min"),
        _ => format!("{days} d {hours} h"),
    }
}
