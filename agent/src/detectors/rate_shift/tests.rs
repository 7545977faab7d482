//! Spend that shifts, the tempting seasons, and that a restart changes nothing of it.

use super::*;
use crate::{
    exchange::{Cost, CostSource, Usage, sample},
    units::Timestamp,
};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;
const CENT: u64 = 10_000_000;

/// A call that ended `at` nanoseconds past midnight of a Monday.
fn call(at: u64, nano_usd: u64) -> Exchange {
    let mut call = sample::exchange("openai", "gpt-4o");
    call.ended_at = Timestamp(sample::MIDNIGHT.0 + at);
    call.cost = Some(Cost { nano_usd: NanoUsd(nano_usd), source: CostSource::Catalogue, catalogue: String::new() });
    call
}

struct Seen {
    at: u64,
    severity: Severity,
    title: String,
}

fn see(detector: &mut RateShift, exchange: &Exchange) -> Vec<Seen> {
    let mut seen = Vec::new();
    let at = exchange.ended_at.0 - sample::MIDNIGHT.0;
    detector.inspect(exchange, &mut |hit| match hit {
        Hit::Behaviour(hit) => {
            assert_eq!(hit.rule, "cost.rate_shift");
            seen.push(Seen { at, severity: hit.severity, title: hit.title });
        }
        Hit::Leak(_) => panic!("this detector knows no leaks"),
    });
    seen
}

/// Calls every `every` ns with a jitter that is no pattern, each a cent or two.
fn steady(from: u64, until: u64, every: u64) -> impl Iterator<Item = Exchange> {
    let count = (until - from) / every;
    (0..count).map(move |number| {
        let mixed = (from / every + number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        call(from + number * every + mixed.wrapping_mul(every) % every, CENT + mixed % CENT)
    })
}

fn all(detector: &mut RateShift, calls: impl Iterator<Item = Exchange>) -> Vec<Seen> {
    calls.flat_map(|call| see(detector, &call)).collect()
}

/// An agent that calls ten times a second instead of every 20 s.
fn runaway(from: u64, length: u64) -> impl Iterator<Item = Exchange> {
    (0..length * 10 / SECOND).map(move |number| call(from + number * SECOND / 10, 2 * CENT))
}

#[test]
fn a_runaway_is_told_within_two_minutes_and_goes_on_as_one() {
    let mut detector = RateShift::new();
    assert!(all(&mut detector, steady(0, 2 * DAY, 20 * SECOND)).is_empty());
    let begin = 2 * DAY + 10 * HOUR;
    assert!(all(&mut detector, steady(2 * DAY, begin, 20 * SECOND)).is_empty());
    let told = all(&mut detector, runaway(begin, HOUR));
    assert!(told[0].at - begin <= 120 * SECOND, "after {} s", (told[0].at - begin) / SECOND);
    assert_eq!(told[0].severity, Severity::High);
    assert!(told[0].title.starts_with("checkout spends $"), "{}", told[0].title);
    assert!(told[0].title.contains("times as many calls"), "{}", told[0].title);
    assert!((5..=7).contains(&told.len()), "every ten minutes: {}", told.len());
    // It is over, and a second one is told again.
    assert!(all(&mut detector, steady(begin + HOUR, begin + 4 * HOUR, 20 * SECOND)).is_empty());
    assert!(!all(&mut detector, runaway(begin + 4 * HOUR, 600 * SECOND)).is_empty());
}

#[test]
fn batch_nights_and_weekends_are_silent_after_they_were_seen() {
    let mut detector = RateShift::new();
    let mut told = Vec::new();
    for day in 0..21 {
        let midnight = day * DAY;
        // A batch of 20 minutes at two, not always on time; ten calls a second.
        told.extend(all(&mut detector, runaway(midnight + 2 * HOUR + day % 3 * 600 * SECOND, 1200 * SECOND)));
        if day % 7 < 5 {
            told.extend(all(&mut detector, steady(midnight + 9 * HOUR, midnight + 17 * HOUR, 5 * SECOND)));
        } else {
            told.extend(all(&mut detector, steady(midnight + 9 * HOUR, midnight + 17 * HOUR, 120 * SECOND)));
        }
    }
    assert!(told.is_empty(), "{:?}", told.iter().map(|seen| seen.at / HOUR).collect::<Vec<_>>());
}

#[test]
fn a_nightly_batch_that_is_new_is_told_in_its_first_night() {
    let mut detector = RateShift::new();
    let mut nights = Vec::new();
    for day in 0..12 {
        let (midnight, two) = (day * DAY, day * DAY + 2 * HOUR);
        assert!(all(&mut detector, steady(midnight, two, 60 * SECOND)).is_empty());
        if day >= 8 {
            let told = all(&mut detector, runaway(two + day % 3 * 300 * SECOND, 1200 * SECOND));
            nights.extend(told.iter().map(|_| day));
        }
        assert!(all(&mut detector, steady(two + HOUR, midnight + DAY, 60 * SECOND)).is_empty());
    }
    nights.dedup();
    assert_eq!(nights, [8]);
}

#[test]
fn what_a_rollout_adds_is_silent_and_few_calls_too() {
    let mut detector = RateShift::new();
    assert!(all(&mut detector, steady(0, 2 * DAY, 10 * SECOND)).is_empty());
    assert!(all(&mut detector, steady(2 * DAY, 3 * DAY, 6 * SECOND)).is_empty(), "two thirds more");
    let mut detector = RateShift::new();
    assert!(all(&mut detector, steady(0, 2 * DAY, 600 * SECOND)).is_empty());
    let burst = (0..9).map(|number| call(2 * DAY + number * 10 * SECOND, 50 * CENT));
    assert!(all(&mut detector, burst).is_empty(), "nine calls");
}

#[test]
fn a_new_service_is_judged_by_what_was_seen_and_says_so() {
    let mut detector = RateShift::new();
    assert!(all(&mut detector, runaway(0, 600 * SECOND)).is_empty(), "nothing is known");
    let mut detector = RateShift::new();
    assert!(all(&mut detector, steady(0, 3 * HOUR, 20 * SECOND)).is_empty());
    let mut learning = None;
    for call in runaway(3 * HOUR, 300 * SECOND) {
        detector.inspect(&call, &mut |hit| {
            if let Hit::Behaviour(hit) = hit {
                let fact = hit.facts.iter().find(|(name, _)| *name == "cost.learning").map(|(_, value)| value.clone());
                learning.get_or_insert((hit.confidence, fact));
            }
        });
    }
    assert_eq!(learning, Some((60, Some(json!("learning (3 h/24 h)")))));
}

#[test]
fn a_dearer_model_is_named() {
    let mut detector = RateShift::new();
    let cheap = |call: Exchange| Exchange { response_model: Some("gpt-4o-mini".into()), ..call };
    assert!(all(&mut detector, steady(0, 2 * DAY, 5 * SECOND).map(cheap)).is_empty());
    let dear = steady(2 * DAY, 2 * DAY + HOUR, 5 * SECOND).map(|call| Exchange {
        response_model: Some("gpt-5-pro".into()),
        cost: call.cost.map(|cost| Cost { nano_usd: NanoUsd(cost.nano_usd.0 * 16), ..cost }),
        ..call
    });
    let told = all(&mut detector, dear);
    assert!(told[0].title.ends_with(": `gpt-5-pro` instead of `gpt-4o-mini`"), "{}", told[0].title);
}

/// What is told of a spender of a tenth of a cent every ten minutes whose calls cost `times` as much and come `often` as often
/// after ten days: hours after that, and titles.
fn small(times: u64, often: u64) -> Vec<(u64, String)> {
    let (mut detector, begin) = (RateShift::new(), 10 * DAY + 9 * HOUR);
    let tenth = |call: Exchange, times: u64| Exchange {
        cost: call.cost.map(|cost| Cost { nano_usd: NanoUsd(cost.nano_usd.0 / 10 * times), ..cost }),
        ..call
    };
    assert!(all(&mut detector, steady(0, begin, 600 * SECOND).map(|call| tenth(call, 1))).is_empty());
    let after = steady(begin, begin + DAY, 600 * SECOND / often).map(|call| tenth(call, times));
    all(&mut detector, after).into_iter().map(|seen| ((seen.at - begin) / HOUR, seen.title)).collect()
}

#[test]
fn who_spends_little_is_told_by_the_hour() {
    for (times, often, hours, said) in [(1, 20, 0..2, "times as many calls"), (30, 1, 0..3, "price of a token")] {
        let told = small(times, often);
        assert!((1..=3).contains(&told.len()), "{told:?}");
        let (after, title) = &told[0];
        assert!(hours.contains(after) && title.contains(said), "{told:?}");
        assert!(
            title.starts_with("checkout spent $0.") && title.contains(" times the most of the days before"),
            "{title}"
        );
    }
    for (times, often) in [(1, 1), (1, 2), (3, 1)] {
        let told: Vec<_> = small(times, often).into_iter().filter(|(hours, _)| *hours < 3).collect();
        assert_eq!(told, [], "{times} times the cost, {often} times as often: chance, or next to nothing");
    }
}

#[test]
fn a_job_of_sundays_is_known_and_a_rise_over_days_is_not() {
    let mut detector = RateShift::new();
    for week in 0..5 {
        let two = week * 7 * DAY + 6 * DAY + 2 * HOUR;
        assert!(all(&mut detector, steady(two, two + HOUR, 20 * SECOND)).is_empty(), "week {week}");
    }
    let grown = |percent_a_day: u64| {
        let mut detector = RateShift::new();
        let told = (0..25_u64).flat_map(|day| {
            let pause = 600 * SECOND * 100 / (100 + percent_a_day * day.saturating_sub(14));
            all(&mut detector, steady(day * DAY, (day + 1) * DAY, pause))
        });
        told.map(|seen| (seen.at / DAY, seen.title)).collect::<Vec<_>>()
    };
    assert_eq!(grown(5), []);
    let told = grown(30);
    assert!((1..=2).contains(&told.len()) && told[0].1.contains(" in two days, 2."), "{told:?}");
}

#[test]
fn a_monday_after_a_weekend_is_no_news_to_who_began_on_saturday() {
    let mut detector = RateShift::new();
    assert!(all(&mut detector, steady(5 * DAY, 7 * DAY, 1800 * SECOND)).is_empty());
    assert!(all(&mut detector, steady(7 * DAY, 8 * DAY, 120 * SECOND)).is_empty());
}

#[test]
fn a_restart_changes_nothing_and_state_is_small() {
    let mut calls: Vec<Exchange> = steady(0, 26 * HOUR, 60 * SECOND).collect();
    calls.extend(runaway(26 * HOUR, 200 * SECOND));
    for (number, call) in calls.iter_mut().enumerate() {
        call.feature = (number % 2 == 0).then(|| "a \"quoted\" feature".into());
        call.usage = Usage { input_tokens: Some(1000 + number as u64 * 31 % 77), ..call.usage };
    }
    let titles = |seen: Vec<Seen>| seen.into_iter().map(|seen| seen.title).collect::<Vec<_>>();
    let mut whole = RateShift::new();
    let expected: Vec<Vec<String>> = calls.iter().map(|call| titles(see(&mut whole, call))).collect();
    assert!(expected.iter().flatten().count() >= 2);
    let mut kept: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let mut detector = RateShift::new();
    for (number, call) in calls.iter().enumerate() {
        if number % 331 == 0 {
            detector = RateShift::new();
            for (key, value) in &kept {
                detector.restore(key, value);
            }
        }
        assert_eq!(titles(see(&mut detector, call)), expected[number], "{number}");
        detector.changes(&mut |change| {
            let value = change.text().unwrap();
            let bound = if change.key.starts_with(SEASON_MARK) { 2048 } else { 1024 };
            assert!(value.len() <= bound, "{} bytes", value.len());
            kept.insert(change.key, value);
        });
    }
    assert_eq!(kept.len(), 4, "two tracks with their seasons");
}

#[test]
fn hostile_state_and_clocks_do_no_harm() {
    let mut detector = RateShift::new();
    for (key, value) in [("x", "{}"), ("[\"a\",null]", "7"), ("season [\"a\",null]", "00"), ("season x", "00")] {
        detector.restore(key, value);
    }
    let mut kept = Vec::new();
    see(&mut detector, &call(0, CENT));
    detector.changes(&mut |change| kept.push(change));
    let hostile =
        kept[0].text().unwrap().replace("\"mean\":0.0", "\"mean\":3e38").replace("\"bucket\":", "\"bucket\":9");
    detector.restore("[\"checkout\",null]", &hostile);
    for at in [0, u64::MAX / 4, 5, u64::MAX - sample::MIDNIGHT.0, 0, DAY] {
        let mut call = call(0, u64::MAX);
        call.ended_at = Timestamp(sample::MIDNIGHT.0.saturating_add(at));
        let _ = see(&mut detector, &Exchange { ended_at: call.ended_at, ..call.clone() }.clone());
    }
}
