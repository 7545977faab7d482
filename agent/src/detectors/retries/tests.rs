//! Tries of requests, and what the vendor said to them; beside each positive what tempts.

use super::*;
use crate::exchange::sample;

/// A try: when it began in milliseconds, its status (0: no reply), its body.
#[derive(Clone, Copy)]
struct Try {
    at_ms: u64,
    status: u16,
    body: u64,
}

fn exchange(tried: Try) -> Exchange {
    let mut exchange = sample::exchange("openai", "gpt-4o");
    exchange.asking.body_digest = Some(tried.body);
    exchange.status = Some(tried.status).filter(|status| *status > 0);
    exchange.error = (tried.status >= 400).then(|| format!("http_{}", tried.status));
    exchange.started_at = Timestamp(sample::MIDNIGHT.0 + tried.at_ms * 1_000_000);
    exchange.ended_at = Timestamp(exchange.started_at.0 + 100_000_000);
    exchange
}

fn see(detector: &mut Retries, exchange: &Exchange) -> Vec<(String, String, Severity)> {
    let mut seen = Vec::new();
    detector.inspect(exchange, &mut |hit| match hit {
        Hit::Behaviour(hit) => seen.push((hit.rule.into(), hit.title, hit.severity)),
        Hit::Leak(_) => panic!("this detector knows no leaks"),
    });
    seen
}

fn tries(list: &[(u64, u16)]) -> Vec<Try> {
    list.iter().map(|(at_ms, status)| Try { at_ms: *at_ms, status: *status, body: 1 }).collect()
}

/// What is told of tries of one request, and by another call two minutes later.
fn outcome(list: &[(u64, u16)]) -> Vec<(String, String, Severity)> {
    let mut detector = Retries::new();
    let end = list.last().map_or(0, |(at_ms, _)| *at_ms);
    let later = Try { at_ms: end + 120_000, status: 200, body: 99 };
    tries(list).into_iter().chain([later]).flat_map(|tried| see(&mut detector, &exchange(tried))).collect()
}

#[test]
fn a_request_that_fails_three_times_in_a_minute_is_a_storm() {
    for (list, title) in [
        (
            &[(0, 429), (1000, 429), (2000, 429)][..],
            Some("failed 3 times at `api.openai.com` within 3 s, last with `429`"),
        ),
        (
            &[(0, 500), (1000, 503), (2000, 0)],
            Some("failed 3 times at `api.openai.com` within 3 s, last with `no_reply`"),
        ),
        // Patient, but a fourth time.
        (
            &[(0, 429), (1000, 429), (3000, 429), (7000, 429)],
            Some("failed 4 times at `api.openai.com` within 8 s, last with `429`"),
        ),
        // Tempting: what a library does by itself, retries that succeed, a request that fails once a minute and more, one that is
        // wrong, one that is repeated.
        (&[(0, 429), (1000, 429), (3000, 429)], None),
        (&[(0, 429), (4000, 429), (8000, 429)], None),
        (&[(0, 429), (1000, 200)], None),
        (&[(0, 429), (1000, 503), (3000, 200)], None),
        (&[(0, 429), (1000, 503), (2000, 503), (3000, 200)], None),
        (&[(0, 429), (1000, 503), (3000, 503), (7000, 503), (15_000, 200)], None),
        (&[(0, 429), (1000, 200), (2000, 429), (3000, 200), (4000, 429), (5000, 200)], None),
        (&[(0, 429), (50_000, 429), (100_000, 429)], None),
        (&[(0, 500), (70_000, 500), (140_000, 500)], None),
        (&[(0, 400), (1000, 400), (2000, 400)], None),
        (&[(0, 200), (1000, 200), (2000, 200)], None),
        // Sent side by side: none of them is a retry.
        (&[(0, 429), (1, 429), (2, 429), (3, 429)], None),
    ] {
        let seen = outcome(list);
        match title {
            Some(title) => {
                assert_eq!(seen.len(), 1, "{list:?} {seen:?}");
                assert_eq!(
                    (seen[0].0.as_str(), seen[0].1.as_str()),
                    ("vendor.retry_storm", format!("the same request {title}").as_str())
                );
            }
            None => assert_eq!(seen, [], "{list:?}"),
        }
    }
}

#[test]
fn six_failures_and_two_requests_that_fail_are_told_at_once() {
    let mut detector = Retries::new();
    let six = tries(&[(0, 429), (500, 429), (1000, 429), (1500, 429), (2000, 429), (2500, 429)]);
    let seen: Vec<_> = six.into_iter().map(|tried| see(&mut detector, &exchange(tried)).len()).collect();
    assert_eq!(seen, [0, 0, 0, 0, 0, 1]);
    let mut detector = Retries::new();
    let seen: Vec<_> = [1, 2]
        .into_iter()
        .flat_map(|body| [0, 1000, 3000].map(|at_ms| Try { at_ms: body * 100_000 + at_ms, status: 503, body }))
        .map(|tried| see(&mut detector, &exchange(tried)).len())
        .collect();
    assert_eq!(seen, [0, 0, 0, 0, 0, 1]);
}

#[test]
fn other_bodies_are_other_requests_and_an_error_in_a_good_answer_is_one() {
    let mut detector = Retries::new();
    for body in 0..10 {
        assert_eq!(see(&mut detector, &exchange(Try { at_ms: body * 1000, status: 429, body })), []);
    }
    let mut detector = Retries::new();
    let tried = tries(&[(0, 200), (1000, 200), (2000, 200)]).into_iter().map(|tried| {
        let mut exchange = exchange(tried);
        exchange.error = Some("rate_limit_exceeded".into());
        exchange
    });
    let later = exchange(Try { at_ms: 120_000, status: 200, body: 2 });
    let seen: Vec<_> = tried.chain([later]).flat_map(|exchange| see(&mut detector, &exchange)).collect();
    assert!(seen.len() == 1 && seen[0].1.ends_with("last with `rate_limit_exceeded`"), "{seen:?}");
}

#[test]
fn the_number_that_the_library_sends_counts() {
    let told = |number| {
        let mut late = exchange(Try { at_ms: 0, status: 503, body: 1 });
        late.headers.retry_count = Some(number);
        let mut detector = Retries::new();
        let mut seen = see(&mut detector, &late);
        seen.extend(see(&mut detector, &exchange(Try { at_ms: 120_000, status: 200, body: 2 })));
        seen
    };
    assert_eq!(told(1), []);
    assert_eq!(told(2), [], "it gives up after its third try");
    assert!(told(3)[0].1.starts_with("the same request failed 4 times"), "{:?}", told(3));
    assert_eq!(told(9)[0].2, Severity::High);
}

#[test]
fn a_fifth_of_all_calls() {
    let run = |every: u64| {
        let mut detector = Retries::new();
        let calls = (0..200_u64).flat_map(|index| {
            let mut exchange = exchange(Try { at_ms: index * 1000, status: 200, body: index });
            exchange.headers.retry_count = Some(u32::from(index % every == 0));
            see(&mut detector, &exchange)
        });
        calls.collect::<Vec<_>>()
    };
    let seen = run(4);
    assert_eq!(seen.len(), 1, "told once: {seen:?}");
    assert_eq!(seen[0].1, "13 of 50 calls to `api.openai.com` within ten minutes were retries");
    assert_eq!(run(10), []);
}

fn rejected(at_ms: u64, body: u64, wait_ms: u64) -> Exchange {
    let mut exchange = exchange(Try { at_ms, status: 429, body });
    exchange.headers.retry_after_ns = Some(wait_ms * 1_000_000);
    exchange
}

#[test]
fn what_comes_before_its_time_is_told() {
    let rule = |again: Exchange| {
        let mut detector = Retries::new();
        assert_eq!(see(&mut detector, &rejected(0, 1, 20_000)), []);
        see(&mut detector, &again)
    };
    // The answer came after 100 ms.
    let seen = rule(rejected(1100, 1, 20_000));
    let title = "a request was sent again after 1000 ms, `api.openai.com` had asked to wait 20000 ms";
    assert_eq!(seen, [("vendor.retry_after_ignored".into(), title.into(), Severity::Low)]);
    let mut other_model = exchange(Try { at_ms: 1100, status: 200, body: 1 });
    other_model.request_model = Some("gpt-4o-mini".into());
    let mut other_key = exchange(Try { at_ms: 1100, status: 200, body: 1 });
    other_key.caller = Some("another".into());
    for (name, again) in [
        ("in time", exchange(Try { at_ms: 20_200, status: 200, body: 1 })),
        ("as good as in time", exchange(Try { at_ms: 19_900, status: 200, body: 1 })),
        ("under way", exchange(Try { at_ms: 50, status: 200, body: 1 })),
        ("another request", exchange(Try { at_ms: 1100, status: 200, body: 2 })),
        ("another model", other_model),
        ("another key", other_key),
    ] {
        assert_eq!(rule(again), [], "{name}");
    }
}

#[test]
fn workers_that_go_on_and_are_rejected() {
    let mut detector = Retries::new();
    let seen: Vec<_> = (0..6).flat_map(|body| see(&mut detector, &rejected(body * 1000, body, 20_000))).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].1, "calls go on within the 20000 ms that `api.openai.com` asked to wait, and are rejected");
}

#[test]
fn state_is_bounded() {
    let mut detector = Retries::new();
    for body in 0..20_000_u64 {
        let mut exchange = rejected(body, body, 1000);
        exchange.host = format!("{body}.example");
        see(&mut detector, &exchange);
    }
    let lengths = (detector.requests.len(), detector.lanes.len(), detector.waits.len());
    assert_eq!(lengths, (MAX_REQUESTS, MAX_LANES, MAX_LANES));
}
