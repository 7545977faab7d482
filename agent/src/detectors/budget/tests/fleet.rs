//! Budgets that hosts have together: judged by what the fleet spent while that is known, by what this host spent otherwise.

use super::*;

fn of_fleet(name: &str, patterns: &[(By, &str)], shared: bool) -> Budget {
    Budget {
        name: Some(name.into()),
        fleet: true,
        shared,
        scope: scope(patterns),
        warn_at_percent: vec![100],
        ..budget("*", 10, DAY)
    }
}

/// What the fleet spent of a budget on the day of the sample.
fn total(name: &str, service: &str, cents: u64) -> FleetTotal {
    let owner = [
        (By::Service, service.to_owned()),
        (By::Feature, String::new()),
        (By::Model, String::new()),
        (By::Key, String::new()),
        (By::Host, String::new()),
    ];
    FleetTotal {
        budget: name.into(),
        unit: Unit::Usd,
        owner,
        window_start: sample::MIDNIGHT,
        window_ns: DAY,
        spent: cents * CENT,
    }
}

fn exhausted(watch: &BudgetWatch, at: u64) -> Vec<String> {
    let gone = watch.exhausted(Timestamp(sample::MIDNIGHT.0 + at));
    gone.into_iter().map(|one| format!("{}: {}", one.budget, one.owner.label())).collect()
}

#[test]
fn what_others_spent_counts_and_is_told_once() {
    let mut watch = watch(vec![of_fleet("day", &[(By::Service, "*")], false)]);
    assert!(see(&mut watch, &call("shop", HOUR, 600 * CENT)).is_empty());
    assert!(exhausted(&watch, HOUR).is_empty());
    watch.set_fleet(vec![total("day", "shop", 1200), total("day", "search", 300)]);
    assert_eq!(exhausted(&watch, HOUR), ["day: shop"], "before any further call");
    let told = see(&mut watch, &call("shop", 2 * HOUR, 1));
    assert_eq!(told.len(), 1);
    assert!(told[0].2.starts_with("shop spent $12.00 of its $10.00 fleet budget for the day"), "{told:?}");
    assert!(see(&mut watch, &call("shop", 2 * HOUR, 1)).is_empty());
    assert_eq!(spent(&watch)[0].spent, 600 * CENT + 2, "what is spent here stays what it is");
    let at = Timestamp(sample::MIDNIGHT.0 + 2 * HOUR);
    assert_eq!(watch.spend(at)[0].fleet_spent, Some(1200 * CENT));
}

#[test]
fn the_facts_tell_both_sums() {
    let mut watch = watch(vec![of_fleet("day", &[(By::Service, "*")], false)]);
    watch.set_fleet(vec![total("day", "shop", 1200)]);
    let mut facts = Vec::new();
    watch.inspect(&call("shop", HOUR, CENT), &mut |hit| match hit {
        Hit::Behaviour(hit) => facts.extend(hit.facts),
        Hit::Leak(_) => panic!("this detector knows no leaks"),
    });
    let fact = |name: &str| facts.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    assert_eq!(fact("budget.spent_nano_usd"), Some((1200 * CENT).into()));
    assert_eq!(fact("budget.spent_here_nano_usd"), Some(CENT.into()));
    assert_eq!(fact("budget.is_fleet"), Some(true.into()));
}

#[test]
fn a_total_never_adds_to_what_it_may_hold_already() {
    let mut watch = watch(vec![of_fleet("day", &[(By::Service, "*")], false)]);
    watch.set_fleet(vec![total("day", "shop", 600)]);
    assert!(see(&mut watch, &call("shop", HOUR, 900 * CENT)).is_empty(), "of both the larger, not the sum");
    assert!(exhausted(&watch, HOUR).is_empty());
    assert_eq!(see(&mut watch, &call("shop", HOUR, 100 * CENT)).len(), 1, "this host alone has spent all of it");
}

#[test]
fn without_totals_only_what_this_host_spent_counts() {
    let mut watch = watch(vec![of_fleet("day", &[(By::Service, "*")], false)]);
    watch.set_fleet(vec![total("day", "shop", 9_900)]);
    assert_eq!(exhausted(&watch, HOUR), ["day: shop"]);
    watch.set_fleet(Vec::new());
    assert!(exhausted(&watch, HOUR).is_empty(), "it fails open");
    assert!(see(&mut watch, &call("shop", HOUR, 10 * CENT)).is_empty());
    assert_eq!(see(&mut watch, &call("shop", HOUR, 990 * CENT)).len(), 1, "its own budget stays");
}

#[test]
fn a_total_is_of_one_window_and_of_a_budget_of_the_fleet() {
    let mut local = of_fleet("local", &[(By::Service, "*")], false);
    local.fleet = false;
    let mut watch = watch(vec![of_fleet("day", &[(By::Service, "*")], false), local]);
    let hour = FleetTotal { window_ns: HOUR, ..total("day", "shop", 9_900) };
    let tokens = FleetTotal { unit: Unit::Tokens, ..total("day", "shop", 9_900) };
    let others = vec![total("local", "shop", 9_900), total("nobody's", "shop", 9_900), hour, tokens];
    watch.set_fleet(others);
    assert!(exhausted(&watch, HOUR / 2).is_empty());
    assert!(see(&mut watch, &call("shop", HOUR / 2, CENT)).is_empty());
    watch.set_fleet(vec![total("day", "shop", 9_900)]);
    assert_eq!(exhausted(&watch, DAY - 1), ["day: shop"]);
    assert!(exhausted(&watch, DAY).is_empty(), "the next day");
    assert!(see(&mut watch, &call("shop", DAY, CENT)).is_empty());
}

#[test]
fn all_owners_of_a_shared_one_are_one() {
    let mut watch = watch(vec![of_fleet("all", &[(By::Service, "*"), (By::Model, "gpt-*")], true)]);
    watch.set_fleet(vec![total("all", "", 1_000)]);
    assert_eq!(exhausted(&watch, HOUR), ["all: "]);
    assert_eq!(see(&mut watch, &call("shop", HOUR, CENT)).len(), 1);
    watch.set_fleet((0..FLEET_TOTALS_MAX + 7).map(|number| total("all", &number.to_string(), 1)).collect());
    assert!(exhausted(&watch, HOUR).is_empty());
}
