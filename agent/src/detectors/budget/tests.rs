//! What is told of budgets, when, and that a restart changes nothing of it.

use std::collections::BTreeMap;

use globset::Glob;
use proptest::prelude::*;

use super::{
    tell::{duration, window_name},
    *,
};
use crate::{
    detectors::call_scope::By,
    exchange::{Cost, CostSource, sample},
    units::{Severity, Timestamp},
};

mod fleet;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;
const CENT: u64 = 10_000_000;

fn scope(patterns: &[(By, &str)]) -> CallScope {
    CallScope::new(patterns.iter().map(|(by, text)| (*by, Glob::new(text).unwrap().compile_matcher())).collect())
}

fn budget(service: &str, dollars: u64, window_ns: u64) -> Budget {
    Budget {
        name: None,
        scope: scope(&[(By::Service, service)]),
        shared: false,
        fleet: false,
        limit: Limit::Usd(NanoUsd(dollars * 100 * CENT)),
        window_ns,
        warn_at_percent: vec![50, 80, 100, 200],
    }
}

fn watch(budgets: Vec<Budget>) -> BudgetWatch {
    BudgetWatch::new(Budgets::new(budgets))
}

/// A call that ended `at` nanoseconds past midnight; the vendor itself named its cost.
fn call(service: &str, at: u64, nano: u64) -> Exchange {
    let mut exchange = sample::exchange("openai", "gpt-4o-mini");
    exchange.origin = Arc::new(crate::sources::Origin { service: service.into(), ..Default::default() });
    exchange.ended_at = Timestamp(sample::MIDNIGHT.0 + at);
    exchange.cost = Some(Cost { nano_usd: NanoUsd(nano), source: CostSource::Provider, catalogue: String::new() });
    exchange
}

/// What was spent in the windows that the accounts stand in.
fn spent(watch: &BudgetWatch) -> Vec<Spend> {
    watch.spend(Timestamp(0))
}

type Seen = (&'static str, Severity, String);

fn see(watch: &mut BudgetWatch, exchange: &Exchange) -> Vec<Seen> {
    let mut seen = Vec::new();
    watch.inspect(exchange, &mut |hit| match hit {
        Hit::Behaviour(hit) => seen.push((hit.rule, hit.severity, format!("{} [{}]", hit.title, hit.key))),
        Hit::Leak(_) => panic!("this detector knows no leaks"),
    });
    seen
}

fn rules_seen(watch: &mut BudgetWatch, exchange: &Exchange) -> Vec<(&'static str, Severity)> {
    see(watch, exchange).into_iter().map(|(rule, severity, _)| (rule, severity)).collect()
}

#[test]
fn each_threshold_is_told_once_a_window() {
    let mut watch = watch(vec![budget("summarizer", 10, DAY)]);
    // One call an hour and a half, $1.24 each: no rate to speak of.
    let mut told = Vec::new();
    for number in 0..16 {
        told.extend(see(&mut watch, &call("summarizer", number * 3 * HOUR / 2, 124 * CENT)));
    }
    let day = "[50% of day from 1795392000]";
    assert_eq!(
        told[0],
        ("cost.budget", Severity::Medium, format!("summarizer spent $6.20 of its $10.00 budget for the day {day}"))
    );
    let rest: Vec<_> = told.iter().map(|(rule, severity, _)| (*rule, *severity)).collect();
    assert_eq!(
        rest,
        [("cost.budget", Severity::Medium), ("cost.budget", Severity::Medium), ("cost.budget", Severity::High)]
    );
    assert!(told[2].2.starts_with("summarizer spent $11.16 of its $10.00"), "{told:?}");
    assert_eq!(spent(&watch)[0].spent, 16 * 124 * CENT);
    // The next day begins anew.
    assert_eq!(watch.spend(Timestamp(sample::MIDNIGHT.0 + DAY))[0].spent, 0);
    assert!(see(&mut watch, &call("summarizer", DAY, 124 * CENT)).is_empty());
    assert_eq!(spent(&watch)[0].spent, 124 * CENT);
}

#[test]
fn one_call_that_crosses_several_thresholds_tells_the_highest() {
    let mut watch = watch(vec![budget("*", 10, DAY)]);
    assert_eq!(rules_seen(&mut watch, &call("a", HOUR, 2500 * CENT)), [("cost.budget", Severity::Critical)]);
    assert!(see(&mut watch, &call("a", HOUR, 2500 * CENT)).is_empty());
}

#[test]
fn thresholds_are_exact() {
    let mut watch = watch(vec![budget("*", 10, DAY)]);
    assert!(see(&mut watch, &call("a", HOUR, 500 * CENT - 1)).is_empty());
    assert_eq!(see(&mut watch, &call("a", 10 * HOUR, 1)).len(), 1);
}

#[test]
fn the_exact_name_wins_and_then_the_first_pattern() {
    let all = Budgets::new(vec![budget("*", 1, DAY), budget("shop-*", 2, DAY), budget("shop-eu", 3, DAY)]);
    let limits = |all: &Budgets, service: &str| -> Vec<u64> {
        all.of(&call(service, 0, 1)).map(|budget| budget.limit.amount() / (100 * CENT)).collect()
    };
    assert_eq!(limits(&all, "shop-eu"), [3]);
    assert_eq!(limits(&all, "shop-us"), [1]);
    assert!(limits(&Budgets::new(vec![budget("shop", 1, DAY)]), "shop-eu").is_empty());
    // One with a name counts besides, and so does one that is told apart by something else.
    let named = Budget { name: Some("month".into()), ..budget("*", 4, 30 * DAY) };
    let by_model = Budget { scope: scope(&[(By::Model, "gpt-*")]), ..budget("*", 5, DAY) };
    let all = Budgets::new(vec![named, budget("*", 1, DAY), by_model, budget("shop-eu", 3, DAY)]);
    assert_eq!(limits(&all, "shop-eu"), [4, 3, 5]);
    assert_eq!(limits(&all, "x"), [4, 1, 5]);
    let mut watch = watch(vec![budget("shop", 1, DAY)]);
    assert!(see(&mut watch, &call("other", 0, 9900 * CENT)).is_empty(), "no budget, no finding");
    assert!(spent(&watch).is_empty());
}

#[test]
fn services_do_not_share_a_pattern_s_budget() {
    let mut watch = watch(vec![budget("*", 10, DAY)]);
    assert!(see(&mut watch, &call("a", 0, 400 * CENT)).is_empty());
    assert!(see(&mut watch, &call("b", 0, 400 * CENT)).is_empty());
    assert_eq!(see(&mut watch, &call("b", 0, 400 * CENT)).len(), 1);
}

#[test]
fn a_rate_that_goes_on_is_told_before_the_budget_is_gone() {
    let mut watch = watch(vec![budget("agent", 10, DAY)]);
    // A loop: five cents every 30 seconds, $6 an hour, from 08:00 on.
    let mut first = None;
    for number in 0..60 {
        let at = 8 * HOUR + number * 30 * SECOND;
        for seen in see(&mut watch, &call("agent", at, 5 * CENT)) {
            first.get_or_insert((at - 8 * HOUR, seen));
        }
    }
    let (after, (rule, severity, title)) = first.unwrap();
    assert_eq!((rule, severity), ("cost.burn_rate", Severity::High));
    assert!(after < HOUR / 2, "told after {} s", after / SECOND);
    assert!(title.starts_with("agent is on its way to $"), "{title}");
    // Some ten cents a minute lately, for the rest of the budget.
    assert!(
        title.ends_with("of its $10.00 budget for the day, which is gone in 1 h 17 min [day from 1795392000]"),
        "{title}"
    );
}

#[test]
fn a_slow_burn_is_told_too_and_an_even_one_is_not() {
    for (cents_an_hour, expected) in [(95, Some(Severity::Medium)), (41, None)] {
        let mut watch = watch(vec![budget("agent", 10, DAY)]);
        let mut rates = Vec::new();
        for minute in 0..8 * 60 {
            let told = rules_seen(&mut watch, &call("agent", minute * 60 * SECOND, cents_an_hour * CENT / 60));
            rates.extend(told.into_iter().filter(|(rule, _)| *rule == "cost.burn_rate").map(|(_, severity)| severity));
        }
        assert_eq!(rates, expected.into_iter().collect::<Vec<_>>(), "{cents_an_hour} cents an hour");
    }
}

#[test]
fn few_calls_and_bursts_that_are_over_are_no_rate() {
    let mut watch = watch(vec![budget("agent", 10, DAY)]);
    for number in 0..3 {
        assert!(see(&mut watch, &call("agent", number * SECOND, 150 * CENT)).is_empty(), "three calls");
    }
    let mut watch = self::watch(vec![budget("agent", 10, DAY)]);
    for number in 0..20 {
        assert!(see(&mut watch, &call("agent", number * SECOND, 4 * CENT)).is_empty(), "below a tenth");
    }
    // Then an hour of silence, and a cheap call that takes the sum past a tenth.
    assert!(see(&mut watch, &call("agent", HOUR, 21 * CENT)).is_empty(), "the burst is over");
}

#[test]
fn late_calls_do_not_reopen_a_window_and_a_clock_set_back_is_taken() {
    let mut watch = watch(vec![budget("*", 10, HOUR)]);
    see(&mut watch, &call("a", HOUR, 100 * CENT));
    assert!(see(&mut watch, &call("a", HOUR - 1, 900 * CENT)).is_empty(), "it belongs to the hour before");
    assert_eq!(spent(&watch)[0].spent, 100 * CENT);
    see(&mut watch, &call("a", 9 * HOUR, 100 * CENT));
    see(&mut watch, &call("a", 2 * HOUR, 300 * CENT));
    assert_eq!(spent(&watch)[0].spent, 300 * CENT);
}

#[test]
fn new_budgets_count_from_the_next_call_on() {
    let mut watch = watch(vec![budget("*", 10, DAY)]);
    assert_eq!(see(&mut watch, &call("a", 0, 600 * CENT)).len(), 1);
    watch.set_budgets(Budgets::new(vec![budget("*", 5, DAY)]));
    assert_eq!(rules_seen(&mut watch, &call("a", HOUR, CENT)), [("cost.budget", Severity::High)], "$6.01 of $5");
    watch.set_budgets(Budgets::new(vec![budget("*", 5, HOUR)]));
    assert!(see(&mut watch, &call("a", HOUR, CENT)).is_empty(), "another window, another account");
    watch.set_budgets(Budgets::default());
    assert!(see(&mut watch, &call("a", HOUR, 9900 * CENT)).is_empty());
}

#[test]
fn calls_without_a_price_cost_nothing() {
    let mut watch = watch(vec![budget("*", 10, DAY)]);
    let unknown = Exchange { cost: None, ..call("a", 0, 0) };
    let unknown = Exchange { request_model: Some("acme-1".into()), response_model: None, ..unknown };
    assert!(see(&mut watch, &unknown).is_empty() && spent(&watch).is_empty());
}

#[test]
fn state_is_bounded_and_tells_what_went() {
    let mut watch = watch(vec![budget("*", 10, DAY)]);
    let count = 3 * ACCOUNTS_MAX;
    for number in 0..count {
        see(&mut watch, &call(&format!("service-{number}"), 0, CENT));
    }
    see(&mut watch, &call(&"x".repeat(1000), 0, CENT));
    assert_eq!(spent(&watch).len(), ACCOUNTS_MAX);
    let mut kept = BTreeMap::new();
    watch.changes(&mut |change| {
        assert_eq!(change.detector, "budget");
        kept.insert(change.key.clone(), change.text());
    });
    assert_eq!(kept.len(), 2 * ACCOUNTS_MAX);
    assert_eq!(kept.values().filter(|value| value.is_some()).count(), ACCOUNTS_MAX);
    watch.changes(&mut |change| panic!("told twice: {change:?}"));
}

#[test]
fn what_is_no_state_is_not_taken_back() {
    let mut watch = watch(vec![budget("*", 10, DAY)]);
    for value in [
        "",
        "{}",
        "7",
        "{\"limit\":1,\"window_ns\":0,\"window_start\":0,\"spent\":1,\"told_percent\":0,\"told_rate\":null,\"day_start\":0,\"looks\":[]}",
        "{\"limit\":1,\"window_ns\":86400000000000,\"window_start\":0,\"spent\":1,\"told_percent\":0,\"told_rate\":null,\"day_start\":0,\"looks\":[]}",
    ] {
        watch.restore("[\"\",\"usd\",[[\"service\",\"a\"]]]", value);
        watch.restore("a", value);
    }
    assert!(spent(&watch).is_empty());
}

#[test]
fn windows_have_names() {
    for (ns, name) in [
        (DAY, "day"),
        (HOUR, "hour"),
        (7 * DAY, "week"),
        (90 * 60 * SECOND, "window of 90 minutes"),
        (6 * HOUR, "window of 6 hours"),
        (3 * DAY, "window of 3 days"),
        (90 * SECOND, "window of 90 seconds"),
    ] {
        assert_eq!(window_name(ns), name);
    }
}

#[test]
fn durations_have_two_units() {
    for (ns, text) in
        [(59 * SECOND, "59 s"), (7 * 60 * SECOND, "7 min"), (HOUR + 600 * SECOND, "1 h 10 min"), (26 * HOUR, "1 d 2 h")]
    {
        assert_eq!(duration(ns), text);
    }
}

#[test]
fn a_batch_is_told_in_its_first_night_and_a_runaway_after_it_is_not_missed() {
    let mut watch = watch(vec![budget("batch", 10, DAY)]);
    // Six dollars in the hour from 02:00 on, every night; little else.
    let mut nights = Vec::new();
    for night in 0..12 {
        for minute in 0..60 {
            for told in rules_seen(&mut watch, &call("batch", night * DAY + 2 * HOUR + minute * 60 * SECOND, 10 * CENT))
            {
                if told.0 == "cost.burn_rate" {
                    nights.push(night);
                }
            }
        }
    }
    assert_eq!(nights, [0]);
    // A loop of $30 an hour in the following afternoon.
    let mut told = Vec::new();
    for number in 0..40 {
        told.extend(rules_seen(&mut watch, &call("batch", 11 * DAY + 15 * HOUR + number * 12 * SECOND, 10 * CENT)));
    }
    assert_eq!(told.first(), Some(&("cost.budget", Severity::Medium)), "{told:?}");
}

#[test]
fn nights_of_which_a_month_is_not_used_up_are_silent() {
    let month = Budget { name: Some("month".into()), ..budget("batch", 300, 30 * DAY) };
    let mut watch = watch(vec![month]);
    // Eight dollars in an hour of each night are 80 % of the budget in 30 days, and burn 19 times too fast meanwhile.
    let mut nights = Vec::new();
    for night in 0..9 {
        for minute in 0..60 {
            let at = night * DAY + 2 * HOUR + minute * 60 * SECOND;
            for told in rules_seen(&mut watch, &call("batch", at, 800 * CENT / 60)) {
                if told.0 == "cost.burn_rate" {
                    nights.push(night);
                }
            }
        }
    }
    // A tenth of the budget is gone in the fourth night, and the nights before it did no harm.
    assert_eq!(nights, [0_u64; 0]);
}

#[test]
fn what_is_spent_on_weekdays_alone_is_no_rate_of_a_month() {
    let month = Budget { name: Some("month".into()), ..budget("desk", 1000, 30 * DAY) };
    let mut watch = watch(vec![month]);
    // $40 on each of five days in seven, within eight hours: 86 % of the budget in 30 days. Midnight is a Monday's.
    let mut told = Vec::new();
    for day in (0..60).filter(|day| day % 7 < 5) {
        for number in 0..96 {
            let at = day * DAY + 9 * HOUR + number * 300 * SECOND;
            told.extend(rules_seen(&mut watch, &call("desk", at, 4000 * CENT / 96)));
        }
    }
    assert!(told.iter().all(|(rule, _)| *rule == "cost.budget"), "{told:?}");
}

#[test]
fn a_month_pages_by_the_pairs_of_the_book() {
    // 14.4 times the even rate of $1000 in 30 days is $20 an hour; 6 times is $8.33.
    for (cents_an_hour, hours, severity) in
        [(2400, 5, Some(Severity::High)), (900, 12, Some(Severity::High)), (160, 10, None)]
    {
        let month = Budget { name: Some("month".into()), ..budget("agent", 1000, 30 * DAY) };
        let mut watch = watch(vec![month]);
        // The window began on 2026-11-09, so that this is its fifteenth day; $110 were spent before.
        see(&mut watch, &call("agent", 0, 11_000 * CENT));
        let mut told = Vec::new();
        for minute in 0..hours * 60 {
            let at = 12 * HOUR + minute * 60 * SECOND;
            told.extend(rules_seen(&mut watch, &call("agent", at, cents_an_hour * CENT / 60)));
        }
        let rates: Vec<_> =
            told.iter().filter(|(rule, _)| *rule == "cost.burn_rate").map(|(_, severity)| *severity).collect();
        assert_eq!(rates, severity.into_iter().collect::<Vec<_>>(), "{cents_an_hour} cents an hour");
    }
}

#[test]
fn tokens_features_and_shared_budgets_have_accounts_of_their_own() {
    let tokens = Budget {
        scope: scope(&[(By::Service, "*"), (By::Feature, "*")]),
        limit: Limit::Tokens(2000),
        ..budget("*", 1, DAY)
    };
    let shared = Budget { name: Some("all".into()), shared: true, warn_at_percent: vec![100], ..budget("*", 10, DAY) };
    let mut watch = watch(vec![tokens, shared]);
    // 1100 tokens each.
    let featured = |service: &str, at| Exchange { feature: Some("search".into()), ..call(service, at, 400 * CENT) };
    let day = 1_795_392_000;
    assert_eq!(
        see(&mut watch, &featured("a", 0)),
        [(
            "cost.budget",
            Severity::Medium,
            format!(
                "a, feature `search` spent 1100 tokens of its 2000 tokens budget for the day [50% of day from {day} of *, feature * a, feature `search` tokens]"
            )
        )]
    );
    assert!(see(&mut watch, &call("a", HOUR, CENT)).is_empty(), "no feature");
    assert_eq!(see(&mut watch, &featured("b", HOUR)).len(), 1, "another service");
    let told = see(&mut watch, &call("c", HOUR, 300 * CENT));
    assert_eq!(told.len(), 1);
    assert!(told[0].2.starts_with("budget `all` spent $11.01 of its $10.00 budget for the day"), "{told:?}");
}

#[test]
fn what_is_exhausted_is_known_until_the_window_ends() {
    let mut watch = watch(vec![budget("*", 10, DAY)]);
    let at = |ns| Timestamp(sample::MIDNIGHT.0 + ns);
    see(&mut watch, &call("a", HOUR, 999 * CENT));
    see(&mut watch, &call("b", HOUR, 400 * CENT));
    assert!(watch.exhausted(at(HOUR)).is_empty());
    see(&mut watch, &call("a", 2 * HOUR, CENT));
    let exhausted = watch.exhausted(at(2 * HOUR));
    assert_eq!(exhausted.len(), 1);
    assert_eq!(
        (exhausted[0].budget.as_str(), exhausted[0].owner.service(), exhausted[0].until),
        ("*", Some("a"), at(DAY))
    );
    assert!(watch.exhausted(at(DAY)).is_empty(), "a new window");
    watch.set_budgets(Budgets::new(vec![budget("*", 11, DAY)]));
    assert!(watch.exhausted(at(3 * HOUR)).is_empty(), "raised");
    watch.set_budgets(Budgets::default());
    assert!(watch.exhausted(at(3 * HOUR)).is_empty(), "no budget any more");
}

/// Puts the state where a store would, and a new detector takes it from there.
fn restarted(old: &mut BudgetWatch, store: &mut Vec<(String, Option<String>)>) -> BudgetWatch {
    old.changes(&mut |change| {
        store.retain(|(key, _)| *key != change.key);
        store.push((change.key.clone(), change.text()));
    });
    let mut new = watch(vec![budget("a", 3, HOUR), budget("*", 1, DAY)]);
    for (key, value) in store.iter() {
        if let Some(value) = value {
            new.restore(key, value);
        }
    }
    new
}

proptest! {
    #[test]
    fn a_restart_changes_nothing(
        calls in prop::collection::vec((0..3_u8, 0..900_u64, 0..20 * CENT), 1..120),
        restarts in prop::collection::vec(0..120_usize, 0..4),
    ) {
        let mut at = 0;
        let calls: Vec<Exchange> = calls.into_iter().map(|(service, seconds, nano)| {
            at += seconds * SECOND;
            call(["a", "b", "c"][usize::from(service)], at, nano)
        }).collect();
        let budgets = || vec![budget("a", 3, HOUR), budget("*", 1, DAY)];
        let mut whole = watch(budgets());
        let expected: Vec<Vec<Seen>> = calls.iter().map(|call| see(&mut whole, call)).collect();
        let mut store = Vec::new();
        let mut cut = watch(budgets());
        for (number, call) in calls.iter().enumerate() {
            if restarts.contains(&number) {
                cut = restarted(&mut cut, &mut store);
            }
            prop_assert_eq!(&see(&mut cut, call), &expected[number]);
        }
        prop_assert_eq!(cut.spend(Timestamp(sample::MIDNIGHT.0 + at)), whole.spend(Timestamp(sample::MIDNIGHT.0 + at)));
    }

    #[test]
    fn nothing_overflows(calls in prop::collection::vec((0..u64::MAX / 4, 0..u64::MAX), 1..20), limit in 1..u64::MAX, window in 0..u64::MAX / 4) {
        let mut account = Account::new(limit, window, Timestamp(0));
        for (at, nano) in calls {
            account.spend(Timestamp(at), nano, limit, window, &[1, 1000], None);
            prop_assert!(account.is_sound());
        }
    }
}
