//! The detectors of this folder on traffic made by hand: what they must see, and what looks like it and is none.

use std::sync::Arc;

use super::{outage::VendorOutage, rate_limited::VendorRateLimited, slow::VendorSlow};
use crate::{
    detectors::{
        Detector, Hit,
        chance::{Chance, whole},
    },
    exchange::{Exchange, View, sample},
    sources::Origin,
    units::Timestamp,
};

fn call(service: &str, second: u64, status: u16) -> Exchange {
    let mut call = sample::exchange("openai", "gpt-4o");
    call.origin = Arc::new(Origin { service: service.into(), ..(*call.origin).clone() });
    call.started_at = Timestamp(sample::MIDNIGHT.0 + second * 1_000_000_000);
    call.ended_at = Timestamp(call.started_at.0 + 1_000_000_000);
    call.first_token_at = Some(Timestamp(call.started_at.0 + 500_000_000));
    call.status = Some(status);
    call.error = (status >= 400).then(|| format!("http_{status}"));
    call.asking.body_digest = Some(second);
    call
}

/// Titles with severity and confidence.
fn told(detector: &mut dyn Detector, calls: &[Exchange]) -> Vec<String> {
    let mut seen = Vec::new();
    for call in calls {
        detector.inspect(call, &mut |hit| match hit {
            Hit::Behaviour(hit) => {
                seen.push(format!("{} {} {}: {}", hit.rule, hit.severity, hit.confidence, hit.title));
            }
            Hit::Leak(_) => panic!("these detectors know no leaks"),
        });
    }
    seen
}

/// A detector that is stopped after every call and knows only what it saved.
fn told_restarted<D: Detector>(new: impl Fn() -> D, calls: &[Exchange]) -> Vec<String> {
    let mut kept: Vec<(String, String)> = Vec::new();
    let mut seen = Vec::new();
    for call in calls {
        let mut detector = new();
        for (key, value) in &kept {
            detector.restore(key, value);
        }
        seen.extend(told(&mut detector, std::slice::from_ref(call)));
        let name = detector.name();
        detector.changes(&mut |change| {
            assert_eq!(change.detector, name);
            kept.retain(|(key, _)| *key != change.key);
            kept.extend(change.text().map(|value| (change.key, value)));
        });
    }
    seen
}

fn mix(services: &[&str], seconds: std::ops::Range<u64>, status: impl Fn(&str, u64) -> u16) -> Vec<Exchange> {
    seconds
        .flat_map(|second| services.iter().map(move |service| (*service, second)))
        .map(|(service, second)| call(service, second, status(service, second)))
        .collect()
}

#[test]
fn an_outage_is_what_several_services_see() {
    let three = ["checkout", "search", "mail"];
    let seen = told(&mut VendorOutage::new(), &mix(&three, 0..60, |_, _| 503));
    assert_eq!(seen, ["vendor.outage high 90: `openai` fails: 100 % of calls in 5 minutes, in 3 of 3 services"]);
    let half = told(&mut VendorOutage::new(), &mix(&three, 0..60, |_, second| if second % 2 == 0 { 529 } else { 200 }));
    assert_eq!(half.len(), 1, "{half:?}");

    let five = ["a", "b", "c", "d", "e"];
    let some = |service: &str, second: u64| if service < "d" && !second.is_multiple_of(5) { 500 } else { 200 };
    let seen = told(&mut VendorOutage::new(), &mix(&five, 0..30, some));
    assert!(seen[0].starts_with("vendor.outage high 90"), "{seen:?}");
    assert!(seen[0].ends_with("in 3 of 5 services"), "{seen:?}");

    let one = told(&mut VendorOutage::new(), &mix(&["alone"], 0..30, |_, _| 502));
    assert_eq!(one, ["vendor.outage medium 60: `openai` fails: 100 % of calls in 5 minutes, in 1 of 1 service"]);

    let mut silent = mix(&three, 0..60, |_, _| 200);
    for call in &mut silent {
        (call.status, call.view) = (None, View::default());
    }
    let seen = told(&mut VendorOutage::new(), &silent);
    assert!(seen.len() == 1 && seen[0].starts_with("vendor.outage high 65"), "{seen:?}");
}

#[test]
fn what_is_no_outage() {
    let three = ["checkout", "search", "mail"];
    let cases: [(&str, Vec<Exchange>); 7] = [
        ("all is well", mix(&three, 0..300, |_, _| 200)),
        ("wrong requests", mix(&three, 0..300, |_, second| [400, 401, 404, 422][second as usize % 4])),
        ("throttled", mix(&three, 0..300, |_, _| 429)),
        ("one service of three", mix(&three, 0..300, |service, _| if service == "mail" { 500 } else { 200 })),
        ("some fail", mix(&three, 0..300, |_, second| if second % 4 == 0 { 500 } else { 200 })),
        ("few failures of one service", mix(&["alone"], 0..19, |_, _| 500)),
        ("slowly, over hours", (0..60).flat_map(|hour| three.map(|service| call(service, hour * 3600, 500))).collect()),
    ];
    for (name, calls) in cases {
        assert_eq!(told(&mut VendorOutage::new(), &calls), [""; 0], "{name}");
    }
    // One request that the vendor cannot take, sent again and again.
    let mut poison = mix(&["alone"], 0..200, |_, _| 500);
    for call in &mut poison {
        call.asking.body_digest = Some(7);
    }
    assert_eq!(told(&mut VendorOutage::new(), &poison), [""; 0]);
    // A server of one's own is no vendor.
    let mut own = mix(&three, 0..60, |_, _| 500);
    for call in &mut own {
        call.host = "localhost".into();
    }
    assert_eq!(told(&mut VendorOutage::new(), &own), [""; 0]);
}

#[test]
fn an_outage_is_told_by_one_service_and_anew_while_it_lasts() {
    let three = ["checkout", "search", "mail"];
    let mut calls = mix(&three, 0..900, |_, _| 503);
    let mut detector = VendorOutage::new();
    assert_eq!(told(&mut detector, &calls).len(), 3, "at once, after five minutes and after ten");
    // It is over, and comes again.
    calls = mix(&three, 900..1800, |_, _| 200);
    assert_eq!(told(&mut detector, &calls), [""; 0]);
    calls = mix(&three, 1800..2200, |_, _| 503);
    assert_eq!(told(&mut detector, &calls).len(), 1, "half of the window must fail first");
    // A restart does not tell it again.
    let mut next = VendorOutage::new();
    detector.changes(&mut |change| {
        if let Some(value) = change.text() {
            next.restore(&change.key, &value);
        }
    });
    assert_eq!(told(&mut next, &mix(&three, 2200..2240, |_, _| 503)), [""; 0]);
}

#[test]
fn throttling_is_told_after_two_windows() {
    let one = ["checkout"];
    let share = |part: u64| move |_: &str, second: u64| if second % 100 < part { 429 } else { 200 };
    let bad = mix(&one, 0..1300, share(10));
    let expected = [
        "vendor.rate_limited medium 95: `openai` throttles 10 % of calls for `gpt-4o`: 30 of 300",
        "vendor.rate_limited medium 95: `openai` throttles 10 % of calls for `gpt-4o`: 30 of 300",
        "vendor.rate_limited medium 95: `openai` throttles 10 % of calls for `gpt-4o`: 30 of 300",
    ];
    assert_eq!(told(&mut VendorRateLimited::new(), &bad), expected);
    let cases: [(&str, Vec<Exchange>); 6] = [
        ("few", mix(&one, 0..3000, share(4))),
        ("one burst", mix(&one, 0..3000, |_, second| if (900..1200).contains(&second) { 429 } else { 200 })),
        ("other errors", mix(&one, 0..3000, |_, _| 500)),
        ("two of twenty, by chance", {
            let by_chance = |window: u64| {
                (0..20).map(move |turn| call("checkout", window * 300 + turn * 16, if turn < 2 { 429 } else { 200 }))
            };
            (0..4).flat_map(by_chance).collect()
        }),
        ("too few calls", (0..19).map(|call_of| call("checkout", call_of * 200, 429)).collect()),
        ("no more than before", {
            let mut calls = mix(&one, 0..30_000, share(4));
            calls.extend(mix(&one, 30_000..33_000, share(7)));
            calls
        }),
    ];
    for (name, calls) in cases {
        assert_eq!(told(&mut VendorRateLimited::new(), &calls), [""; 0], "{name}");
    }
    // Two services each with half of it are two findings.
    assert_eq!(told(&mut VendorRateLimited::new(), &mix(&["a", "b"], 0..700, share(50))).len(), 2);
}

/// A stream: first token after `first_ms`, then 100 tokens of `token_ms`.
fn stream(second: u64, first_ms: u64, token_ms: u64) -> Exchange {
    let mut call = call("checkout", second, 200);
    call.streaming = true;
    // A little apart, as calls are: nine tenths to eleven tenths.
    let part = 90 + second * 7 % 21;
    let wait_ns = first_ms * part * 10_000;
    call.first_token_at = Some(Timestamp(call.started_at.0 + wait_ns));
    call.ended_at = Timestamp(call.started_at.0 + wait_ns + 100 * token_ms * part * 10_000);
    call
}

fn streams(seconds: std::ops::Range<u64>, first_ms: u64, token_ms: u64) -> Vec<Exchange> {
    seconds.map(|second| stream(second, first_ms, token_ms)).collect()
}

#[test]
fn a_model_that_became_slow() {
    let mut calls = streams(0..200, 600, 20);
    calls.extend(streams(200..340, 3000, 20));
    let seen = told(&mut VendorSlow::new(), &calls);
    assert_eq!(seen.len(), 1, "{seen:?}");
    let begin = "vendor.slow medium 75: `gpt-4o` at `openai` takes ";
    assert!(
        seen[0].starts_with(begin) && seen[0].ends_with("as usual to its first token: 2.9 s, was 0.6 s"),
        "{seen:?}"
    );

    let mut calls = streams(0..200, 600, 20);
    calls.extend(streams(200..340, 600, 90));
    let seen = told(&mut VendorSlow::new(), &calls);
    assert!(seen.len() == 1 && seen[0].contains(" a token: ") && seen[0].ends_with("was 20 ms"), "{seen:?}");

    let whole = |seconds: std::ops::Range<u64>, ms: u64| {
        seconds.map(move |second| {
            let mut call = call("checkout", second, 200);
            call.ended_at = Timestamp(call.started_at.0 + ms * 1_000_000);
            call
        })
    };
    let calls: Vec<Exchange> = whole(0..200, 3000).chain(whole(200..340, 15_000)).collect();
    let seen = told(&mut VendorSlow::new(), &calls);
    assert!(seen.len() == 1 && seen[0].contains("streaming not: "), "{seen:?}");
}

#[test]
fn what_is_not_slow() {
    let usual = || streams(0..200, 600, 20);
    let after = |rest: Vec<Exchange>| {
        let mut calls = usual();
        calls.extend(rest);
        calls
    };
    let altered = |change: fn(&mut Exchange)| {
        let mut calls = streams(200..300, 6000, 60);
        for call in &mut calls {
            change(call);
        }
        calls
    };
    let cases = [
        ("as ever", after(streams(200..2000, 600, 20))),
        ("no baseline yet", streams(0..60, 600, 20).into_iter().chain(streams(60..95, 6000, 20)).collect()),
        ("half as slow again", after(streams(200..600, 900, 28))),
        ("twice, but less than a second", after(streams(200..600, 1400, 20))),
        (
            "a few hangs",
            after((200..600).map(|second| stream(second, if second % 20 == 0 { 60_000 } else { 600 }, 20)).collect()),
        ),
        ("nineteen", after((0..19).map(|turn| stream(200 + turn * 20, 3000, 20)).collect())),
        ("two minutes", after(streams(200..310, 3000, 20))),
        ("longer inputs", after(altered(|call| call.usage.input_tokens = Some(100_000)))),
        ("a cheaper tier", after(altered(|call| call.service_tier = Some("flex".into())))),
        ("the vendor searches the web", after(altered(|call| call.server_tool_calls = vec!["web_search".into()]))),
        ("another model", after(altered(|call| call.response_model = Some("o3".into())))),
        ("errors", after(altered(|call| call.error = Some("x".into())))),
    ];
    for (name, calls) in cases {
        assert_eq!(told(&mut VendorSlow::new(), &calls), [""; 0], "{name}");
    }
    // Answers of ten times the length take ten times as long.
    let longer = streams(200..400, 600, 200).into_iter().map(|mut call| {
        call.usage.output_tokens = Some(1000);
        call
    });
    assert_eq!(told(&mut VendorSlow::new(), &after(longer.collect())), [""; 0]);
}

#[test]
fn slowness_ends_and_what_stays_is_the_usual() {
    let mut detector = VendorSlow::new();
    told(&mut detector, &streams(0..200, 600, 20));
    assert_eq!(told(&mut detector, &streams(200..500, 3000, 20)).len(), 1);
    assert_eq!(told(&mut detector, &streams(500..600, 600, 20)), [""; 0]);
    assert_eq!(told(&mut detector, &streams(600..740, 3000, 20)).len(), 1, "again");
    let minutes = |range: std::ops::Range<u64>| -> Vec<Exchange> {
        range.map(|minute| stream(1000 + minute * 60, 3000, 20)).collect()
    };
    assert!(!told(&mut detector, &minutes(0..1400)).is_empty(), "not a day yet");
    told(&mut detector, &minutes(1400..1600));
    assert_eq!(told(&mut detector, &minutes(1600..3000)), [""; 0]);
}

#[test]
fn after_a_day_twice_the_usual_is_slow() {
    let minutes = |range: std::ops::Range<u64>, first_ms: u64| -> Vec<Exchange> {
        range.map(|minute| stream(minute * 60 + minute % 7, first_ms, 20)).collect()
    };
    let after = |usual: u64, first_ms: u64| {
        let mut calls = minutes(0..usual, 2000);
        calls.extend(minutes(usual..usual + 90, first_ms));
        !told(&mut VendorSlow::new(), &calls).is_empty()
    };
    assert_eq!([after(1500, 4600), after(1500, 3600), after(500, 4600)], [true, false, false]);
}

#[test]
fn what_they_know_survives_a_restart() {
    let limited = mix(&["checkout"], 0..1300, |_, second| if second % 10 == 0 { 429 } else { 200 });
    let mut stopped = VendorRateLimited::new();
    let (early, late) = limited.split_at(650);
    let mut seen = told(&mut stopped, early);
    let mut next = VendorRateLimited::new();
    stopped.changes(&mut |change| next.restore(&change.key, &change.text().unwrap_or_default()));
    seen.extend(told(&mut next, late));
    // At most the window that was open is lost: it was not saved.
    assert_eq!((seen.len(), told(&mut VendorRateLimited::new(), &limited).len()), (3, 3), "{seen:?}");

    // A call every two minutes, so that all of them are saved.
    let slow: Vec<Exchange> =
        (0..200).map(|minute| stream(minute * 120, if minute < 150 { 600 } else { 3000 }, 20)).collect();
    let expected = told(&mut VendorSlow::new(), &slow);
    assert!(!expected.is_empty());
    assert_eq!(told_restarted(VendorSlow::new, &slow), expected);
    for nonsense in ["", "{}", "[]", r#"{"calls":1,"mean":1e300}"#, "null"] {
        VendorSlow::new().restore("00", nonsense);
        VendorRateLimited::new().restore("0000000000000000", nonsense);
        VendorOutage::new().restore("openai", nonsense);
    }
}

#[test]
fn weeks_of_ordinary_traffic_are_calm() {
    for seed in 0..4 {
        let mut chance = Chance::new(seed);
        let (mut outage, mut limited, mut slow) = (VendorOutage::new(), VendorRateLimited::new(), VendorSlow::new());
        let mut mood = 0.0;
        let mut seen = Vec::new();
        for minute in 0..7 * 24 * 60_u64 {
            let hour = minute as f64 / 60.0;
            // Slower by day, and for half an hour now and then.
            let day = 0.3 * (hour / 24.0 * std::f64::consts::TAU).sin();
            mood = 0.97 * mood + 0.05 * chance.normal();
            for service in ["checkout", "search", "mail", "chat"] {
                if chance.unit() < 0.3 {
                    continue;
                }
                let status = match chance.unit() {
                    x if x < 0.01 => 500,
                    x if x < 0.03 => 429,
                    x if x < 0.05 => 400,
                    _ => 200,
                };
                let mut call = call(service, minute * 60 + whole(chance.unit() * 60.0), status);
                let factor = (day + mood + 0.6 * chance.normal()).exp();
                call.streaming = chance.unit() < 0.5;
                let tokens = whole(200.0 * chance.normal().exp()) + 1;
                call.usage.output_tokens = Some(tokens);
                let first_ns = whole(8e8 * factor);
                call.first_token_at = Some(Timestamp(call.started_at.0 + first_ns));
                call.ended_at = Timestamp(call.started_at.0 + first_ns + whole(tokens as f64 * 2e7 * factor));
                for detector in [&mut outage as &mut dyn Detector, &mut limited, &mut slow] {
                    seen.extend(told(detector, std::slice::from_ref(&call)));
                }
            }
        }
        assert_eq!(seen, [""; 0], "seed {seed}");
    }
}
