//! Calls that cost far more than their like, heavy tails that do not alarm, and that a restart changes nothing of it.

use super::*;
use crate::exchange::{Cost, CostSource, sample};

const CENT: u64 = 10_000_000;

fn call(nano_usd: u64) -> Exchange {
    let mut call = sample::exchange("openai", "gpt-4o");
    call.cost = Some(Cost { nano_usd: NanoUsd(nano_usd), source: CostSource::Catalogue, catalogue: String::new() });
    call
}

fn see(detector: &mut RequestOutlier, exchange: &Exchange) -> Vec<String> {
    let mut seen = Vec::new();
    detector.inspect(exchange, &mut |hit| match hit {
        Hit::Behaviour(hit) => seen.push(format!("{} {} {}", hit.rule, hit.severity, hit.title)),
        Hit::Leak(_) => panic!("this detector knows no leaks"),
    });
    seen
}

/// What is told of the last call, after the others.
fn last(costs: impl IntoIterator<Item = u64>, exchange: &Exchange) -> Vec<String> {
    let mut detector = RequestOutlier::new();
    for nano_usd in costs {
        assert_eq!(see(&mut detector, &call(nano_usd)), [""; 0], "{nano_usd}");
    }
    see(&mut detector, exchange)
}

/// Between one and two cents, in no order.
fn usual(calls: u64) -> impl Iterator<Item = u64> {
    (0..calls).map(|number| CENT + (number * 7919 % 100) * CENT / 100)
}

#[test]
fn a_call_that_costs_far_more_than_the_others_is_told() {
    let mut long = call(300 * CENT);
    long.usage.output_tokens = Some(60_000);
    let seen = last(usual(200), &long);
    // The median of 1.00 to 1.99 cents is in the class of 1.468 to 1.573 cents.
    assert_eq!(
        seen,
        [
            "cost.request_outlier medium a call of `gpt-4o` cost $3.00, 204 times the usual $0.01: answers of 60000 tokens instead of 100"
        ]
    );
    assert_eq!(last([CENT; 60], &call(6 * CENT)).len(), 1, "all the same before: 5 % of the median is the spread");
    assert_eq!(last(usual(200), &call(2000 * CENT)).len(), 1);
}

#[test]
fn what_is_not_far_not_dear_or_not_rare_is_not_told() {
    assert_eq!(last(usual(49), &call(300 * CENT)), [""; 0], "nothing is known yet");
    assert_eq!(last(usual(200), &call(7 * CENT)), [""; 0], "five times");
    assert_eq!(last(vec![1000; 200], &call(CENT - 1)), [""; 0], "less than a cent");
    // Every twentieth call is a report that costs 40 times as much.
    let reports = (0..200).map(|number| if number % 20 == 3 { 40 * CENT } else { CENT });
    assert_eq!(last(reports, &call(41 * CENT)), [""; 0], "a kind of call that is known");
    // Costs from a hundredth of a cent to a dollar, evenly over the octaves: eight times the median is nothing there.
    let wide = (0..200).map(|number| (CENT / 100) << (number * 7919 % 13));
    assert_eq!(last(wide, &call(10 * CENT)), [""; 0]);
    assert_eq!(last([0; 200], &Exchange { cost: None, ..call(0) }), [""; 0]);
}

#[test]
fn a_site_that_became_dearer_is_learned() {
    let mut detector = RequestOutlier::new();
    for nano_usd in usual(400) {
        see(&mut detector, &call(nano_usd));
    }
    let told = (0..400).filter(|_| !see(&mut detector, &call(60 * CENT)).is_empty()).count();
    assert!((1..=3).contains(&told), "{told}");
}

#[test]
fn classes_are_exact() {
    for (nano_usd, class, least) in [
        (1, 0, 1),
        (8, 24, 8),
        (9, 25, 9),
        (15, 31, 15),
        (16, 32, 16),
        (17, 32, 16),
        (18, 33, 18),
        (u64::MAX, 511, 15 << 60),
    ] {
        assert_eq!((class_of(nano_usd), lower_bound(class_of(nano_usd))), (class, least), "{nano_usd}");
    }
}

#[test]
fn a_restart_changes_nothing_and_state_is_small() {
    let calls: Vec<Exchange> = (0..900_u64)
        .map(|number| {
            let mut call =
                call(if number % 211 == 100 { 500 * CENT } else { CENT + (number * 7919 % 977) * CENT / 300 });
            call.asking.system_digest = Some(number % 2);
            call
        })
        .collect();
    let mut whole = RequestOutlier::new();
    let expected: Vec<_> = calls.iter().map(|call| see(&mut whole, call)).collect();
    assert!(expected.iter().flatten().count() > 0);
    let mut kept: Vec<(String, String)> = Vec::new();
    let mut detector = RequestOutlier::new();
    for (number, call) in calls.iter().enumerate() {
        if number % 97 == 0 {
            detector = RequestOutlier::new();
            for (key, value) in &kept {
                detector.restore(key, value);
            }
        }
        assert_eq!(see(&mut detector, call), expected[number], "{number}");
        detector.changes(&mut |change| {
            let value = change.text().unwrap();
            assert!(value.len() <= 1024, "{} bytes", value.len());
            kept.retain(|(key, _)| *key != change.key);
            kept.push((change.key, value));
        });
    }
    assert_eq!(kept.len(), 2);
}

#[test]
fn nonsense_is_ignored() {
    let mut detector = RequestOutlier::new();
    let many: Vec<String> = (0..100).map(|class| format!("[{class},1]")).collect();
    let mix = r#"{"spans":0,"calls":1,"nano_usd":1,"input":1,"cached":0,"output":1,"kinds":[]}"#;
    for value in [
        "{}".to_owned(),
        format!(r#"{{"classes":[{}],"mix":{mix}}}"#, many.join(",")),
        format!(r#"{{"classes":[[2,1],[1,1]],"mix":{mix}}}"#),
        format!(r#"{{"classes":[],"mix":{}}}"#, mix.replace("\"calls\":1", "\"calls\":-1")),
    ] {
        detector.restore("00000000000000aa", &value);
        detector.restore("no key", &value);
    }
    assert_eq!(detector.sites.len(), 0);
    detector.restore("00000000000000aa", &format!(r#"{{"classes":[[1,60000],[65535,65535]],"mix":{mix}}}"#));
    assert_eq!(detector.sites.len(), 1);
    for _ in 0..60 {
        see(&mut detector, &call(CENT));
    }
}
