//! Calls that grow, those that only vary, and that a restart changes nothing of it.

use super::*;
use crate::{
    exchange::{Cost, CostSource, Usage, sample},
    units::Timestamp,
};

const MINUTE: u64 = 60 * 1_000_000_000;

fn call(at: u64, input: u64, nano_usd: u64) -> Exchange {
    let mut call = sample::exchange("openai", "gpt-4o");
    call.ended_at = Timestamp(sample::MIDNIGHT.0 + at);
    call.usage = Usage { input_tokens: Some(input), output_tokens: Some(100), ..Usage::default() };
    call.cost = Some(Cost { nano_usd: NanoUsd(nano_usd), source: CostSource::Catalogue, catalogue: String::new() });
    call
}

fn see(detector: &mut Creep, exchange: &Exchange) -> Vec<String> {
    let mut seen = Vec::new();
    detector.inspect(exchange, &mut |hit| match hit {
        Hit::Behaviour(hit) => seen.push(format!("{} {} {}", hit.rule, hit.severity, hit.title)),
        Hit::Leak(_) => panic!("this detector knows no leaks"),
    });
    seen
}

/// A call every two minutes with prompts of `tokens(day)` tokens, ± 30 % without a pattern; a cent a thousand. Gives the hours in
/// which something was told.
fn hours(days: u64, tokens: impl Fn(f64) -> f64) -> Vec<(u64, String)> {
    let mut detector = Creep::new();
    let mut told = Vec::new();
    for number in 0..days * 720 {
        let noise = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 1000;
        let input = tokens(number as f64 / 720.0) * (0.7 + 0.6 * noise as f64 / 1000.0);
        let input = input.round().to_string().parse::<u64>().unwrap();
        let seen = see(&mut detector, &call(number * 2 * MINUTE, input, input * 10_000));
        told.extend(seen.into_iter().map(|title| (number / 30, title)));
    }
    told
}

#[test]
fn a_prompt_that_grew_by_a_third_is_told_once() {
    let told = hours(10, |day| if day < 4.0 { 1000.0 } else { 1600.0 });
    assert_eq!(told.len(), 1, "{told:?}");
    let (hour, title) = &told[0];
    assert!((136..140).contains(hour), "a day after the mean of a day is a fifth higher: hour {hour}");
    // Prompts of 1000 tokens became 1600; an answer of 100 weighs as 400 of these: 2000 instead of 1400.
    assert!(title.starts_with("cost.creep low calls of `gpt-4o` take 4"), "{title}");
    assert!(title.contains(" a day: prompts of 1") && title.contains(" tokens instead of "), "{title}");
}

#[test]
fn slow_growth_is_told_and_goes_on_being_told() {
    // Seven percent a day, doubled after ten days.
    let told = hours(20, |day| 1000.0 * (1.0 + 0.07 * day));
    assert!((2..=4).contains(&told.len()), "{told:?}");
}

#[test]
fn what_stays_falls_or_changes_by_the_hour_is_silent() {
    assert_eq!(hours(20, |_| 1000.0), []);
    assert_eq!(hours(10, |day| if day < 4.0 { 1000.0 } else { 600.0 }), []);
    let daily = |day: f64| 1000.0 * (1.0 + 0.4 * (day * std::f64::consts::TAU).sin());
    assert_eq!(hours(14, daily), []);
    assert_eq!(hours(10, |day| if day < 4.0 { 1000.0 } else { 1080.0 }), [], "8 %");
    // Weekends; the first day is a Monday.
    let weekends = |day: f64| if day % 7.0 >= 5.0 { 2400.0 } else { 1000.0 };
    assert_eq!(hours(28, weekends), []);
    // Two hours of long prompts are over before three blocks agree.
    assert_eq!(hours(10, |day| if (5.0..5.08).contains(&day) { 3000.0 } else { 1000.0 }), []);
}

#[test]
fn what_costs_nothing_much_or_is_not_counted_is_silent() {
    let mut detector = Creep::new();
    for number in 0..7200_u64 {
        let input = if number < 3600 { 1000 } else { 2000 };
        assert_eq!(see(&mut detector, &call(number * 2 * MINUTE, input, 10)), [""; 0]);
        assert_eq!(
            see(&mut detector, &Exchange { status: Some(500), ..call(number * 2 * MINUTE, 90_000, 10) }),
            [""; 0]
        );
    }
}

#[test]
fn a_restart_changes_nothing_and_state_is_small() {
    let calls: Vec<Exchange> = (0..6000_u64)
        .map(|number| {
            let input = (if number < 3000 { 1000 } else { 1700 }) + number * 7919 % 300;
            call(number * 2 * MINUTE, input, input * 10_000)
        })
        .collect();
    let mut whole = Creep::new();
    let expected: Vec<_> = calls.iter().map(|call| see(&mut whole, call)).collect();
    assert_eq!(expected.iter().flatten().count(), 1);
    let mut kept: Option<(String, String)> = None;
    let mut detector = Creep::new();
    for (number, call) in calls.iter().enumerate() {
        if number % 331 == 0 {
            detector = Creep::new();
            if let Some((key, value)) = &kept {
                detector.restore(key, value);
            }
        }
        assert_eq!(see(&mut detector, call), expected[number], "{number}");
        detector.changes(&mut |change| {
            let value = change.text().unwrap();
            assert!(value.len() <= 1024, "{} bytes", value.len());
            kept = Some((change.key, value));
        });
    }
    let (key, value) = kept.unwrap();
    for nonsense in ["{}", "null", &value.replace("\"calls\":", "\"calls\":-")] {
        let mut detector = Creep::new();
        detector.restore(&key, nonsense);
        assert_eq!(detector.sites.len(), 0);
    }
}
