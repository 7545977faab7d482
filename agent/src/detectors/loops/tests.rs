//! Runs of agents, call by call, as their requests repeat them; beside each positive what tempts.

use super::*;
use crate::{
    exchange::{AssistantText, CalledTool, Cost, CostSource, Said, ToolResult, sample},
    units::{NanoUsd, Severity, Timestamp},
};

const CENT: u64 = 10_000_000;

fn result(turn: u32, name: &str, arguments: u64, digest: u64, said: Said) -> ToolResult {
    let call_id = Some(format!("{name}-{turn}-{arguments}"));
    ToolResult { call_id, name: Some(name.into()), arguments: Some(arguments), turn, is_error: false, said, digest }
}

/// The call of a run whose request repeats so many turns, a cent each.
fn call(run: u64, turns: u32, results: &[ToolResult]) -> Exchange {
    let mut exchange = sample::exchange("openai", "gpt-4o");
    exchange.history = History {
        turns,
        turns_alone: turns,
        prompt: Some(run),
        opening: (turns > 0).then_some(run + 1000),
        texts: Vec::new(),
    };
    exchange.tool_results = results.iter().filter(|result| result.turn <= turns).cloned().collect();
    exchange.tool_calls = vec!["f".into()];
    exchange.cost = Some(Cost { nano_usd: NanoUsd(CENT), source: CostSource::Catalogue, catalogue: String::new() });
    exchange.started_at = Timestamp(sample::MIDNIGHT.0 + u64::from(turns) * 1_000_000_000);
    exchange
}

/// Rule, title, severity, and key.
type Seen = (String, String, Severity, String);

fn see(detector: &mut Loops, exchange: &Exchange) -> Vec<Seen> {
    let mut seen = Vec::new();
    detector.inspect(exchange, &mut |hit| match hit {
        Hit::Behaviour(hit) => seen.push((hit.rule.into(), hit.title, hit.severity, hit.key)),
        Hit::Leak(_) => panic!("this detector knows no leaks"),
    });
    seen
}

/// What is told of a run, from its first call to the one that repeats `last` turns.
fn told(detector: &mut Loops, run: u64, last: u32, results: &[ToolResult]) -> Vec<Seen> {
    (0..=last).flat_map(|turns| see(detector, &call(run, turns, results))).collect()
}

#[test]
fn a_loop_is_told_from_its_third_round_with_what_it_cost() {
    let results: Vec<_> = (1..=30).map(|turn| result(turn, "look_up", 1, 7, Said::Little)).collect();
    let seen = told(&mut Loops::new(), 1, 30, &results);
    assert_eq!(seen.len(), 28, "each turn from the third on");
    let title = |times: u32, cost: &str| {
        format!("agent called `look_up` {times} times with the same arguments and the same result, {cost} so far")
    };
    // Three calls asked for the three, and one handed the third result back.
    assert_eq!((seen[0].0.as_str(), seen[0].1.clone(), seen[0].2), ("agent.loop", title(3, "$0.04"), Severity::Low));
    assert_eq!((seen[27].1.clone(), seen[27].2), (title(30, "$0.31"), Severity::Medium));
    assert!(seen.iter().all(|hit| hit.3 == seen[0].3), "one finding a run");
}

#[test]
fn only_what_the_loop_cost_is_counted() {
    let mut results: Vec<_> = (1..=5).map(|turn| result(turn, "work", u64::from(turn), 1, Said::Much)).collect();
    for step in &mut results {
        step.digest = step.turn.into();
    }
    results.extend((6..=8).map(|turn| result(turn, "look_up", 1, 7, Said::Little)));
    let seen = told(&mut Loops::new(), 1, 8, &results);
    assert_eq!(seen.len(), 1);
    assert!(seen[0].1.ends_with("$0.04 so far"), "{seen:?}");
}

#[test]
fn the_other_signals() {
    let back_and_forth: Vec<_> = (1..=6)
        .map(|turn| result(turn, if turn % 2 == 0 { "to_billing" } else { "to_support" }, 1, 7, Said::Little))
        .collect();
    let failing: Vec<_> = (1..=5).map(|turn| result(turn, "query", turn.into(), turn.into(), Said::Failure)).collect();
    let empty: Vec<_> = (1..=5).map(|turn| result(turn, "search", turn.into(), 7, Said::Nothing)).collect();
    for (results, expected) in [
        (
            &back_and_forth,
            ("agent.cycle", "agent went through the same 2 turns 3 times, last `to_billing`, $0.07 so far"),
        ),
        (&failing, ("agent.no_progress", "agent called `query` in 5 turns, and it failed each time, $0.06 so far")),
        (
            &empty,
            (
                "agent.no_progress",
                "agent called `search` in 5 turns with other arguments, and it said the same each time, $0.06 so far",
            ),
        ),
    ] {
        let last = results.last().unwrap().turn;
        let seen = told(&mut Loops::new(), 1, last, results);
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!((seen[0].0.as_str(), seen[0].1.as_str()), expected);
    }
}

#[test]
fn what_tempts_is_not_told() {
    let polling: Vec<_> = (1..=9).map(|turn| result(turn, "status", 1, turn.into(), Said::Little)).collect();
    let parallel: Vec<_> = (0..6).map(|face| result(1, "roll_die", 1, face, Said::Little)).collect();
    let same_parallel: Vec<_> = (0..6).map(|_| result(1, "roll_die", 1, 3, Said::Little)).collect();
    let retried = [
        result(1, "query", 1, 7, Said::Failure),
        result(2, "query", 1, 7, Said::Failure),
        result(3, "query", 1, 8, Said::Little),
    ];
    let writing: Vec<_> = (1..=9).map(|turn| result(turn, "write_file", turn.into(), 7, Said::Little)).collect();
    let tested: Vec<_> = (1..=9)
        .map(|turn| match turn % 2 {
            0 => result(turn, "edit", turn.into(), 7, Said::Little),
            _ => result(turn, "run_tests", 1, 8, Said::Failure),
        })
        .collect();
    for (name, results) in [
        ("polling", &polling[..]),
        ("parallel", &parallel),
        ("same parallel", &same_parallel),
        ("retried", &retried),
        ("writing", &writing),
        ("tested", &tested),
    ] {
        assert_eq!(told(&mut Loops::new(), 1, 9, results), [], "{name}");
    }
}

#[test]
fn the_same_call_in_other_conversations_is_no_loop() {
    let mut detector = Loops::new();
    for run in 0..20 {
        let results = [result(1, "look_up", 1, 7, Said::Little), result(2, "look_up", 1, 7, Said::Little)];
        assert_eq!(told(&mut detector, run * 10, 2, &results), []);
    }
}

#[test]
fn a_person_who_asks_again_is_no_loop() {
    let results: Vec<_> = (1..=5).map(|turn| result(turn, "status", 1, 7, Said::Little)).collect();
    let mut detector = Loops::new();
    for turns in 0..=5 {
        let mut exchange = call(1, turns, &results);
        exchange.history.turns_alone = turns.min(1);
        assert_eq!(see(&mut detector, &exchange), []);
    }
}

#[test]
fn a_request_that_is_sent_again_is_told_once() {
    let results: Vec<_> = (1..=3).map(|turn| result(turn, "look_up", 1, 7, Said::Little)).collect();
    let mut detector = Loops::new();
    assert_eq!(told(&mut detector, 1, 3, &results).len(), 1);
    assert_eq!(see(&mut detector, &call(1, 3, &results)), []);
}

#[test]
fn a_window_that_slides_is_one_run() {
    let results: Vec<_> = (1..=40).map(|turn| result(turn, "look_up", 1, 7, Said::Little)).collect();
    let mut detector = Loops::new();
    let mut keys = Vec::new();
    for first in 1..30_usize {
        // Ten turns, of which the oldest goes when a new one comes: the opening is another one each time.
        let mut exchange = call(1, 10, &[]);
        exchange.history.opening = Some(first as u64);
        exchange.tool_results = results[first..first + 10].to_vec();
        let renumbered = exchange.tool_results.iter_mut().zip(1..);
        renumbered.for_each(|(result, turn)| result.turn = turn);
        keys.extend(see(&mut detector, &exchange).into_iter().map(|hit| hit.3));
    }
    assert_eq!(keys.len(), 29, "a round each");
    keys.dedup();
    assert_eq!(keys.len(), 1, "{keys:?}");
}

/// The vendor keeps the conversation: a request has the newest results, and the id of the answer that it goes on from.
#[test]
fn a_conversation_that_the_vendor_keeps() {
    let mut detector = Loops::new();
    let mut seen = Vec::new();
    for turn in 0..=5_u32 {
        let mut exchange = call(1, 0, &[]);
        exchange.history = History { prompt: Some(turn.into()), ..History::default() };
        exchange.response_id = Some(format!("resp-{turn}"));
        exchange.called = vec![CalledTool { id: format!("c{turn}"), name: "look_up".into(), arguments: Some(1) }];
        if let Some(before) = turn.checked_sub(1) {
            exchange.conversation = Some(format!("resp-{before}"));
            let mut handed = result(0, "", 0, 7, Said::Little);
            (handed.call_id, handed.name, handed.arguments) = (Some(format!("c{before}")), None, None);
            exchange.tool_results = vec![handed];
        }
        seen.extend(see(&mut detector, &exchange));
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    let title = "agent called `look_up` 3 times with the same arguments and the same result, $0.04 so far";
    assert_eq!((seen[0].0.as_str(), seen[0].1.as_str()), ("agent.loop", title));
}

fn talking(detector: &mut Loops, texts: &[u64], alone: bool) -> Vec<Seen> {
    let mut seen = Vec::new();
    for turns in 1..=u32::try_from(texts.len()).unwrap() {
        let mut exchange = call(1, turns, &[]);
        let said = (1..=turns).zip(texts).map(|(turn, simhash)| AssistantText { turn, simhash: *simhash });
        exchange.history.texts = said.collect();
        if !alone {
            exchange.history.turns_alone = 0;
        }
        seen.extend(see(detector, &exchange));
    }
    seen
}

#[test]
fn nearly_the_same_answer_again_and_again() {
    for (texts, alone, count) in [
        (&[0xff00, 0xff01, 0xff03][..], true, 1),
        (&[0xff00, 0xff01, 0xff1e], true, 0),
        (&[0xff00, 0x1234_5678, 0xff00, 0x1234_5678], true, 0),
        (&[0xff00, 0xff00, 0xff00, 0xff00], false, 0),
        (&[0xff00, 0xff00, 0xff00, 0xff00, 0xff00], false, 1),
    ] {
        let seen = talking(&mut Loops::new(), texts, alone);
        assert_eq!(seen.len(), count, "{texts:x?} {seen:?}");
        assert!(seen.iter().all(|hit| hit.0 == "agent.repeated_text"), "{seen:?}");
    }
    // Examples in a prompt stand in each request.
    let mut detector = Loops::new();
    for _ in 0..10 {
        let mut exchange = call(1, 3, &[]);
        exchange.history.texts = (1..=3).map(|turn| AssistantText { turn, simhash: 5 }).collect();
        assert_eq!(see(&mut detector, &exchange), []);
    }
}

/// A run that makes progress: each call is another one.
fn at_work(run: u64, turns: u32) -> Exchange {
    let results: Vec<_> =
        (turns.max(1)..=turns).map(|turn| result(turn, "work", turn.into(), turn.into(), Said::Much)).collect();
    call(run, turns, &results)
}

#[test]
fn more_turns_than_usual_are_a_runaway() {
    let mut detector = Loops::new();
    let seen: Vec<_> = (0..=101).flat_map(|turns| see(&mut detector, &at_work(1, turns))).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].1, "agent took 101 turns by itself, usual are up to 100, $1.02 so far");
    // Where runs of 90 turns are usual, 150 are no news and 181 are.
    let mut detector = Loops::new();
    for run in 1..=5 {
        (0..=90).for_each(|turns| assert_eq!(see(&mut detector, &at_work(run * 10, turns)), []));
    }
    let mut states = Vec::new();
    detector.changes(&mut |change| states.push(change));
    let [state] = states.as_slice() else { panic!("{states:?}") };
    let mut restored = Loops::new();
    restored.restore(&state.key, &state.text().unwrap());
    restored.restore("x", "{\"runs\":7}");
    for detector in [&mut detector, &mut restored] {
        let seen: Vec<_> = (0..=181).flat_map(|turns| see(detector, &at_work(100, turns))).collect();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(seen[0].1.starts_with("agent took 181 turns by itself, usual are up to 180"), "{seen:?}");
    }
}

/// A run of so many turns, each call a cent, whose context grows or stays.
fn growing(detector: &mut Loops, run: u64, last: u32, per_turn: u64) -> Vec<Seen> {
    let calls = (0..=last).flat_map(|turns| {
        let mut exchange = at_work(run, turns);
        exchange.usage.input_tokens = Some(1000 + per_turn * u64::from(turns));
        see(detector, &exchange)
    });
    calls.collect()
}

#[test]
fn far_more_than_the_last_runs_is_a_runaway_however_little_it_is() {
    let mut detector = Loops::new();
    for run in 0..15 {
        assert_eq!(growing(&mut detector, 10 * run, 4, 200), []);
    }
    let seen = growing(&mut detector, 500, 31, 200);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].1, "agent took 31 turns by itself, usual are up to 30, $0.32 so far");
    // The next one is none the less odd.
    assert_eq!(growing(&mut detector, 600, 31, 200).len(), 1);
    assert_eq!(growing(&mut detector, 700, 60, 10), [], "its context hardly grows");
    // Nobody knows what is usual, and where runs of twenty turns are, forty are no news.
    assert_eq!(growing(&mut Loops::new(), 500, 60, 200), []);
    for (turns, told) in [(40, 0), (62, 0), (70, 8)] {
        let mut detector = Loops::new();
        (0..15).for_each(|run| assert_eq!(growing(&mut detector, 10 * run, 20, 200), []));
        let seen = growing(&mut detector, 500, turns, 200);
        assert_eq!(seen.len(), told, "{turns} turns; it takes three times the money, too");
    }
}

#[test]
fn a_context_that_only_grows_is_told_by_its_cost() {
    let run = |per_call: u64, growth: u64| {
        let mut detector = Loops::new();
        let calls = (0..=40).flat_map(|turns| {
            let mut exchange = at_work(1, turns);
            exchange.cost = exchange.cost.map(|cost| Cost { nano_usd: NanoUsd(per_call), ..cost });
            exchange.usage.input_tokens = Some(10_000 + growth * u64::from(turns));
            see(&mut detector, &exchange)
        });
        calls.collect::<Vec<_>>()
    };
    let seen = run(20 * CENT, 2000);
    assert!(seen.iter().all(|hit| hit.0 == "agent.runaway"), "{seen:?}");
    assert_eq!(seen[0].1, "agent's context grew in 26 calls from 10000 to 60000 tokens, $5.20 so far");
    assert_eq!(run(CENT, 2000), [], "cheap");
    assert_eq!(run(20 * CENT, 100), [], "it hardly grows");
}

#[test]
fn state_is_bounded() {
    let mut detector = Loops::new();
    for run in 0..50_000 {
        see(&mut detector, &call(run * 5, 1, &[result(1, "f", 1, 1, Said::Little)]));
    }
    assert_eq!((detector.runs.len(), detector.anchors.len()), (MAX_RUNS, MAX_ANCHORS));
    assert!(size_of::<Run>() + 48 * 24 + 20 * size_of::<Step>() <= 2048, "{}", size_of::<Step>());
}
