//! Calls of tools over MCP and as conversations show them; beside each positive what tempts.

use super::*;
use crate::{
    exchange::{Api, CalledTool, History, ToolResult, sample},
    units::Timestamp,
};

type Change = fn(&mut Exchange);
type Seen = (String, String, Severity, u8);

fn see(detector: &mut Tools, exchange: &Exchange) -> Vec<Seen> {
    let mut seen = Vec::new();
    detector.inspect(exchange, &mut |hit| match hit {
        Hit::Behaviour(hit) => seen.push((hit.rule.into(), hit.title, hit.severity, hit.confidence)),
        Hit::Leak(_) => panic!("this detector knows no leaks"),
    });
    seen
}

/// A call over MCP that began at a millisecond and took so many.
fn mcp(at_ms: u64, took_ms: u64) -> Exchange {
    let mut exchange = sample::exchange("openai", "");
    exchange.api = Api::McpStreamableHttp;
    exchange.host = "tools.example".into();
    exchange.mcp = Some(McpCall {
        method: Some("tools/call".into()),
        id: Some("1".into()),
        tool: Some("look_up".into()),
        ..McpCall::default()
    });
    exchange.started_at = Timestamp(sample::MIDNIGHT.0 + at_ms * 1_000_000);
    exchange.ended_at = Timestamp(exchange.started_at.0 + took_ms * 1_000_000);
    exchange
}

/// A hundred calls, one after the other, of 80 to 120 ms; the last one ends before 100 s.
fn learned() -> Tools {
    let mut detector = Tools::new();
    for index in 0..100 {
        assert_eq!(see(&mut detector, &mcp(index * 1000, 80 + index % 41)), []);
    }
    detector
}

#[test]
fn calls_that_wait_for_each_other() {
    let mut detector = learned();
    let mut seen = Vec::new();
    // Ten at once, over and over, that are served one by one.
    for burst in 0..8 {
        for place in 1..=10 {
            seen.extend(see(&mut detector, &mcp(200_000 + burst * 10_000, place * 150)));
        }
    }
    assert_eq!(seen.len(), 2, "when it begins, and when all calls are new: {seen:?}");
    let (rule, title, severity, confidence) = &seen[0];
    assert_eq!((rule.as_str(), *severity, *confidence), ("tool.slow", Severity::Medium, 85));
    assert!(title.starts_with("`look_up` of `tools.example` takes 1350 ms (p95), usual are 112 ms: "), "{title}");
    assert!(title.ends_with(" calls at once wait for each other"), "{title}");
}

#[test]
fn a_tool_that_became_slow_by_itself() {
    let mut detector = learned();
    let seen: Vec<_> = (0..48).flat_map(|index| see(&mut detector, &mcp(200_000 + index * 2000, 900))).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].1.starts_with("`look_up` of `tools.example` takes 900 ms (p95)"), "{seen:?}");
    assert!(!seen[0].1.contains("at once"), "{seen:?}");
}

#[test]
fn what_tempts_is_not_slow() {
    for (name, at, took) in [
        ("more at once and as fast", (|index| index / 10 * 1000) as fn(u64) -> u64, (|_| 110) as fn(u64) -> u64),
        ("one in twenty", |index| index * 2000, |index| if index % 20 == 0 { 5000 } else { 100 }),
        ("somewhat slower", |index| index * 2000, |_| 350),
    ] {
        let mut detector = learned();
        for index in 0..100 {
            assert_eq!(see(&mut detector, &mcp(200_000 + at(index), took(index))), [], "{name}");
        }
    }
    // Nothing is known of what was before.
    let mut detector = Tools::new();
    for index in 0..40 {
        assert_eq!(see(&mut detector, &mcp(index * 60_000, 30_000)), []);
    }
}

#[test]
fn endings() {
    let timed_out = |exchange: &mut Exchange| exchange.status = Some(504);
    let timed_out_too = |exchange: &mut Exchange| exchange.error = Some("-32001".into());
    let failed = |exchange: &mut Exchange| exchange.mcp.as_mut().unwrap().tool_failed = true;
    let refused = |exchange: &mut Exchange| exchange.error = Some("-32602".into());
    let silent = |exchange: &mut Exchange| exchange.status = None;
    for (name, change, every, rules) in [
        ("504", timed_out as Change, 6, &["tool.timeouts"][..]),
        ("request timeout", timed_out_too, 6, &["tool.timeouts"]),
        ("one in forty", timed_out, 40, &[]),
        ("isError", failed, 2, &["tool.errors"]),
        ("error of the protocol", refused, 2, &["tool.errors"]),
        ("one in ten", failed, 10, &[]),
        ("no reply at all", silent, 1, &["tool.timeouts", "tool.hung"]),
        ("now and then no reply", silent, 30, &[]),
    ] {
        let mut detector = learned();
        let mut seen = Vec::new();
        for index in 0..40 {
            let mut exchange = mcp(200_000 + index * 1000, 100);
            if index % every == 0 {
                change(&mut exchange);
            }
            seen.extend(see(&mut detector, &exchange).into_iter().map(|hit| hit.0));
        }
        assert_eq!(seen, rules, "{name}");
    }
    let mut detector = learned();
    let mut listening = mcp(200_000, 3_600_000);
    listening.mcp = Some(McpCall { method: Some("notifications/initialized".into()), ..McpCall::default() });
    listening.status = None;
    (0..10).for_each(|_| assert_eq!(see(&mut detector, &listening), []));
}

#[test]
fn a_tool_that_always_fails_a_little_is_usual() {
    let mut detector = Tools::new();
    for index in 0..400 {
        let mut exchange = mcp(index * 1000, 100);
        exchange.mcp.as_mut().unwrap().tool_failed = index % 3 == 0;
        assert_eq!(see(&mut detector, &exchange), []);
    }
}

/// A turn of a conversation: it hands back the result of the turn before, and asks for the tool again.
fn turn(tool: &str, index: u64, at_ms: u64, returns: bool) -> Exchange {
    let mut exchange = sample::exchange("openai", "gpt-4o");
    exchange.started_at = Timestamp(sample::MIDNIGHT.0 + at_ms * 1_000_000);
    exchange.ended_at = exchange.started_at;
    exchange.tool_calls = vec![tool.into()];
    exchange.called = vec![CalledTool { id: format!("c{index}"), name: tool.into(), arguments: None }];
    exchange.history = History { turns: 1, ..History::default() };
    if let Some(before) = index.checked_sub(1).filter(|_| returns) {
        exchange.tool_results = vec![ToolResult {
            call_id: Some(format!("c{before}")),
            name: Some(tool.into()),
            arguments: None,
            turn: 1,
            is_error: false,
            said: Said::Little,
            digest: index,
        }];
    }
    exchange
}

#[test]
fn what_a_conversation_shows_is_told_with_less_confidence() {
    let run = |tool: &str| {
        let mut detector = Tools::new();
        let (mut now, mut seen) = (0, Vec::new());
        for index in 0..200 {
            now += if index < 120 { 1000 } else { 20_000 };
            seen.extend(see(&mut detector, &turn(tool, index, now, true)));
        }
        seen
    };
    let seen = run("query_db");
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!((seen[0].0.as_str(), seen[0].3), ("tool.slow", 45));
    assert!(seen[0].1.starts_with("`query_db` takes 20000 ms (p95)"), "{seen:?}");
    assert_eq!(run("ask_human"), [], "people take their time");
}

#[test]
fn nobody_comes_back() {
    let hour = 3_600_000;
    // Longer than a call is waited for.
    let pause = 1_200_000;
    let mut detector = Tools::new();
    let mut seen = Vec::new();
    for index in 0..110 {
        seen.extend(see(&mut detector, &turn("query_db", index, index * 1000, true)));
    }
    for index in 0..6 {
        seen.extend(see(&mut detector, &turn("query_db", 1000 + 10 * index, (index + 1) * pause, false)));
    }
    assert_eq!(seen.iter().map(|hit| (hit.0.as_str(), hit.3)).collect::<Vec<_>>(), [("tool.hung", 50)], "{seen:?}");
    // A tool that ends a run is never answered.
    let mut detector = Tools::new();
    for index in 0..200 {
        assert_eq!(see(&mut detector, &turn("final_result", 10 * index, index * hour, false)), []);
    }
}

#[test]
fn what_was_learned_is_restored() {
    let mut detector = learned();
    let mut states = Vec::new();
    detector.changes(&mut |change| states.push(change));
    let [state] = states.as_slice() else { panic!("{states:?}") };
    assert!(state.text().unwrap().len() < 2048);
    let mut restored = Tools::new();
    restored.restore(&state.key, &state.text().unwrap());
    for (key, value) in [("x", "{}"), ("[\"a\",\"b\",\"c\",true]", "7"), ("[\"a\",\"b\",\"c\",true]", "{\"calls\":-1}")]
    {
        restored.restore(key, value);
    }
    assert_eq!(restored.lanes.len(), 1);
    let seen: Vec<_> = (0..48).flat_map(|index| see(&mut restored, &mcp(200_000 + index * 2000, 900))).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn state_is_bounded() {
    let mut detector = Tools::new();
    for index in 0..10_000 {
        let mut exchange = mcp(index, 1);
        exchange.host = format!("{index}.example");
        see(&mut detector, &exchange);
    }
    assert_eq!(detector.lanes.len(), MAX_TOOLS);
    let mut huge = mcp(1, 1);
    huge.host = "x".repeat(10_000);
    assert_eq!(see(&mut detector, &huge), []);
}
