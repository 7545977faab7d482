//! The behaviour detectors against simulated traffic whose labels are known: `tests/scenarios/`. Every label is found in time, and
//! nothing else is found. `cargo xtask bench scenarios` says how soon.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    slice::from_ref,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use outflow::{
    cli::replay,
    engine::Rules,
    findings::Finding,
    rules::{BehaviourRules, RuleSource},
    sources::{
        StreamId,
        replay::{Options, Record},
    },
    units::Timestamp,
};
use simulator::{Scenario, Scored, Simulation, report};

use self::rooms::{Way, play};

#[path = "../../benches/scenarios/rooms.rs"]
mod rooms;

/// Scenarios in which a label is missed or found late, or something else is found, as far as we know why. One that gets better
/// must be taken out here.
const KNOWN: [(&str, &str); 0] = [];

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::load(&RuleSource::Embedded, &[]).unwrap());

fn scenarios() -> Vec<Scenario> {
    simulator::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios")).unwrap()
}

/// All of them, played: scores, and a finding of each rule.
static PLAYED: LazyLock<(Vec<Scored>, BTreeMap<String, Finding>)> = LazyLock::new(|| {
    let scenarios = scenarios();
    let (next, done, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
            let see = |finding: &Finding| {
                let mut found = found.lock().unwrap();
                if !found.contains_key(&finding.rule.id) {
                    found.insert(finding.rule.id.clone(), finding.clone());
                }
            };
            let scored = play(scenario, &RULES, Way::WithoutScanner, see).unwrap();
            done.lock().unwrap().insert(scenario.name.clone(), scored);
        }
    };
    thread::scope(|scope| (0..2).for_each(|_| _ = scope.spawn(work)));
    (done.into_inner().unwrap().into_values().collect(), found.into_inner().unwrap())
});

/// What detectors find in simulated traffic, besides the samples that tests make by hand: together all that there is.
pub(crate) fn findings() -> impl Iterator<Item = (String, Finding)> {
    PLAYED.1.iter().map(|(rule, finding)| (format!("{rule} in a scenario"), finding.clone()))
}

/// Rules of behaviour of which neither has a finding.
pub(crate) fn without_finding(samples: &[(String, Finding)]) -> Vec<String> {
    let seen: BTreeSet<&str> = samples.iter().map(|(_, finding)| finding.rule.id.as_str()).collect();
    let rules = BehaviourRules::embedded();
    rules.iter().map(|rule| rule.id.clone()).filter(|id| !seen.contains(id.as_str())).collect()
}

#[test]
fn every_label_is_found_in_time_and_nothing_else() {
    let scored = &PLAYED.0;
    assert!(scored.len() >= 60, "{} scenarios", scored.len());
    println!("{}", report::markdown(scored));
    let (weeks, alarms) = report::calm(scored);
    assert!(weeks >= 4.0, "{weeks} service-weeks of normal traffic");
    assert!(alarms as f64 <= weeks, "{alarms} false alarms in {weeks} service-weeks of normal traffic");
    let wrongs = report::wrongs(scored);
    let wrong: BTreeSet<&str> = wrongs.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    let known = BTreeSet::from(KNOWN.map(|(name, _)| name));
    assert_eq!(wrong, known, "\n{wrongs}");
}

#[test]
fn a_sample_gives_the_same_score_the_whole_way() {
    for name in ["moving-ids", "stream-without-usage", "gateway-falls-back"] {
        let scenario = scenarios().into_iter().find(|scenario| scenario.name == name).unwrap();
        let score = |way| {
            let scored = play(&scenario, &RULES, way, |_| {}).unwrap();
            (scored.calls, report::markdown(from_ref(&scored)), report::wrongs(from_ref(&scored)))
        };
        assert_eq!(score(Way::Whole), score(Way::WithoutScanner), "{name}");
    }
}

/// What must have been understood of the calls of a service: vendor, api, model asked, model answered; empty: none.
const UNDERSTOOD: [(&str, &[[&str; 4]]); 16] = [
    ("openai", &[["openai", "chat_completions", "gpt-4.1-2025-04-14", "gpt-4.1-2025-04-14"]]),
    ("responses", &[["openai", "responses", "gpt-4.1-2025-04-14", "gpt-4.1-2025-04-14"]]),
    ("responses-stream", &[["openai", "responses", "gpt-4.1-2025-04-14", "gpt-4.1-2025-04-14"]]),
    ("anthropic", &[["anthropic", "messages", "claude-sonnet-4-6", "claude-sonnet-4-6"]]),
    ("anthropic-stream", &[["anthropic", "messages", "claude-sonnet-4-6", "claude-sonnet-4-6"]]),
    ("gemini", &[["gemini", "generate_content", "gemini-2.5-flash", "gemini-2.5-flash"]]),
    ("gemini-stream", &[["gemini", "generate_content", "gemini-2.5-flash", "gemini-2.5-flash"]]),
    ("bedrock", &[["aws_bedrock", "converse", "anthropic.claude-sonnet-4-6", ""]]),
    ("azure", &[["azure", "chat_completions", "prod-chat", "gpt-4.1-2025-04-14"]]),
    ("openrouter", &[["openrouter", "chat_completions", "openai/gpt-4.1", "openai/gpt-4.1"]]),
    ("mcp", &[["mcp", "mcp_streamable_http", "", ""]]),
    (
        "query",
        &[
            ["openai", "embeddings", "text-embedding-3-small", "text-embedding-3-small"],
            ["pinecone", "vector_query", "", ""],
            ["openai", "chat_completions", "gpt-4.1-2025-04-14", "gpt-4.1-2025-04-14"],
        ],
    ),
    (
        "query2",
        &[
            ["openai", "embeddings", "text-embedding-3-small", "text-embedding-3-small"],
            ["qdrant", "vector_query", "", ""],
            ["openai", "chat_completions", "gpt-4.1-2025-04-14", "gpt-4.1-2025-04-14"],
        ],
    ),
    (
        "ingest",
        &[
            ["openai", "embeddings", "text-embedding-3-small", "text-embedding-3-small"],
            ["pinecone", "vector_upsert", "", ""],
        ],
    ),
    (
        "ingest2",
        &[
            ["openai", "embeddings", "text-embedding-3-small", "text-embedding-3-small"],
            ["qdrant", "vector_upsert", "", ""],
        ],
    ),
    ("batch", &[["openai", "batches", "", ""]]),
];

#[test]
fn calls_are_understood_as_they_were_simulated() {
    let scenario = scenarios().into_iter().find(|scenario| scenario.name == "wire-shapes").unwrap();
    let mut simulation = Simulation::new(&scenario).unwrap();
    let mut understood: BTreeMap<String, BTreeSet<[String; 4]>> = BTreeMap::new();
    let mut kinds: BTreeMap<(String, &str), u64> = BTreeMap::new();
    while let Some(call) = simulation.next_call().unwrap() {
        let record = Record::parse(call.record("").to_string().as_bytes()).unwrap();
        let inputs = record.inputs(StreamId(1), Timestamp::default(), Options::default());
        let exchanges = replay::exchanges(&inputs, &RULES.vendors);
        assert_eq!(exchanges.len(), 1, "{}", call.service);
        let exchange = &exchanges[0];
        assert_eq!(exchange.ended_at.0 - exchange.started_at.0, call.ended_at_ns - call.started_at_ns);
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        if exchange.status.is_some() && exchange.error.is_none() {
            assert!(exchange.view.complete, "{}", call.service);
            let facts = [
                text(exchange.vendor.as_deref()),
                exchange.api.as_str().to_owned(),
                text(exchange.request_model.as_deref()),
                text(exchange.response_model.as_deref()),
            ];
            understood.entry(call.service.clone()).or_default().insert(facts);
        }
        let mut count = |kind, is_so: bool| *kinds.entry((call.service.clone(), kind)).or_default() += u64::from(is_so);
        count("calls", true);
        count("unanswered", exchange.status.is_none());
        count("errors", exchange.error.is_some());
        count("retries", exchange.headers.retry_count.is_some_and(|count| count > 0));
        count("waits", exchange.headers.retry_after_ns == Some(5_000_000_000));
        count("tool calls", !exchange.tool_calls.is_empty());
        count("tool results", !exchange.tool_results.is_empty());
        count("failed tools", exchange.mcp.as_ref().is_some_and(|mcp| mcp.tool_failed));
        count("tokens", exchange.usage.input_tokens.is_some() && exchange.usage.output_tokens.is_some());
        count("cached", exchange.usage.cache_read_tokens.is_some_and(|tokens| tokens > 0));
        count("costs", exchange.reported_cost.is_some());
    }
    let expected: BTreeMap<_, BTreeSet<_>> = UNDERSTOOD
        .iter()
        .map(|(service, all)| ((*service).to_owned(), all.iter().map(|facts| facts.map(str::to_owned)).collect()))
        .collect();
    assert_eq!(understood, expected);
    let share = |service: &str, kind| {
        let of = |kind| kinds.get(&(service.to_owned(), kind)).copied().unwrap_or_default() as f64;
        (of(kind) / of("calls") * 100.0).round()
    };
    // Percent of the calls, within what the scenario's shares leave to chance.
    for (service, kind, low, high) in [
        ("openai", "errors", 5.0, 20.0),
        ("openai", "retries", 5.0, 20.0),
        ("openai", "waits", 2.0, 15.0),
        ("openai", "tokens", 80.0, 95.0),
        ("openrouter", "unanswered", 4.0, 20.0),
        ("openrouter", "costs", 80.0, 96.0),
        ("mcp", "unanswered", 3.0, 20.0),
        ("mcp", "failed tools", 3.0, 20.0),
        ("responses", "tool calls", 70.0, 90.0),
        ("responses", "tool results", 70.0, 90.0),
        ("anthropic", "tool results", 70.0, 90.0),
        ("anthropic-stream", "tool calls", 70.0, 90.0),
        ("anthropic-stream", "tokens", 100.0, 100.0),
        ("anthropic-stream", "cached", 100.0, 100.0),
        ("gemini", "tool results", 70.0, 90.0),
        ("gemini-stream", "tokens", 100.0, 100.0),
        ("bedrock", "tool results", 70.0, 90.0),
        ("bedrock", "tokens", 100.0, 100.0),
    ] {
        let share = share(service, kind);
        assert!((low..=high).contains(&share), "{service}: {share} % {kind}");
    }
}
