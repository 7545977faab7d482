//! What we understand of recorded exchanges equals what their index says. The records are not ours and are not in this
//! repository: `OUTFLOW_EXCHANGES` names their folder; `OUTFLOW_REQUIRE_EXCHANGES=1` makes their absence a failure.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use outflow::{
    cli::replay::{exchanges, facts},
    exchange::Exchange,
    rules::{RuleSource, VendorTable},
    sources::{
        StreamId,
        replay::{Options, Record, WireVersion},
    },
    units::Timestamp,
};
use serde_json::{Value, json};

use self::expected::{FACTS, expected, is_response_only, same_cost};

mod expected;
mod joined;
mod realtime;

/// Ways to cut each recording, beside not at all.
const SPLIT_SEEDS: u64 = 20;
/// Ways to lose parts of each recording.
const DROP_SEEDS: u64 = 10;

struct Case {
    id: String,
    index: Value,
    raw: Value,
    record: Record,
}

fn folder() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/exchanges");
    let folder = env::var_os("OUTFLOW_EXCHANGES").map_or(default, PathBuf::from);
    if folder.join("index.jsonl").is_file() {
        return Some(folder);
    }
    let required = env::var_os("OUTFLOW_REQUIRE_EXCHANGES").is_some_and(|value| value == "1");
    assert!(!required, "no recorded exchanges in {}", folder.display());
    println!("skipped: no recorded exchanges in {} (set OUTFLOW_EXCHANGES)", folder.display());
    None
}

fn cases() -> Vec<Case> {
    let Some(folder) = folder() else { return Vec::new() };
    let index = fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let case = |line: &str| {
        let index: Value = serde_json::from_str(line).unwrap();
        let path = folder.join(index["file"].as_str().unwrap());
        let raw = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let record = Record::read(&path).unwrap();
        Case { id: index["id"].as_str().unwrap().to_owned(), index, raw, record }
    };
    let cases: Vec<_> = index.lines().map(case).collect();
    assert!(cases.len() >= 400, "only {} records found", cases.len());
    cases
}

fn vendors() -> Arc<VendorTable> {
    Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap())
}

fn replay(case: &Case, options: Options, vendors: &Arc<VendorTable>) -> Vec<Exchange> {
    exchanges(&case.record.inputs(StreamId(1), Timestamp(1), options), vendors)
}

/// The protocols that a case can have come by: nobody speaks HTTP/2 without TLS to a server on the same host.
fn wires(case: &Case) -> &'static [WireVersion] {
    let is_tls = case.raw["request"]["url"].as_str().unwrap().starts_with("https://");
    if is_tls { &[WireVersion::H1, WireVersion::H2] } else { &[WireVersion::H1] }
}

/// A few recordings hold several answers end to end, which no vendor sends: which of them is read depends on what was lost.
fn is_stitched(case: &Case) -> bool {
    let body = case.raw["response"]["body"].as_str().unwrap_or_default();
    ["event: message_start", "event: response.created"].iter().any(|start| body.matches(start).count() > 1)
}

/// What became of some cases.
#[derive(Default)]
struct Tally {
    runs: usize,
    found: usize,
    compared: usize,
    unknown: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn add(mut self, other: Self) -> Self {
        self.runs += other.runs;
        self.found += other.found;
        self.compared += other.compared;
        self.unknown += other.unknown;
        self.wrong.extend(other.wrong);
        self
    }
}

/// Runs all cases, on all cores.
fn over_all(cases: &[Case], check: impl Fn(&Case) -> Tally + Sync) -> Tally {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let check = &check;
        let work = |core| move || cases.iter().skip(core).step_by(cores).map(check).fold(Tally::default(), Tally::add);
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(work(core))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Tally::default(), Tally::add)
    })
}

/// The differences, the commonest kind first, so that one cause is seen as one.
fn report(wrong: &[String]) -> String {
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in wrong {
        let (kind, rest) = line.split_once(": ").unwrap_or((line, ""));
        kinds.entry(kind).or_default().insert(rest);
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, lines)| std::cmp::Reverse(lines.len()));
    let shown = |(kind, lines): &(&str, BTreeSet<&str>)| {
        let some: Vec<_> = lines.iter().take(5).copied().collect();
        format!("{kind}: {} ways\n    {}", lines.len(), some.join("\n    "))
    };
    kinds.iter().map(shown).collect::<Vec<_>>().join("\n")
}

fn check_facts(case: &Case, facts: &Value, tally: &mut Tally) {
    let api = case.index["api"].as_str().unwrap();
    for name in FACTS {
        let Some(theirs) = expected(case, name) else { continue };
        tally.compared += 1;
        if facts[name] != theirs {
            tally.wrong.push(format!("{api} {name}: {}: {}, the index says {theirs}", case.id, facts[name]));
        }
    }
    let cost = "vendor_reported_cost_usd";
    tally.compared += 1;
    if !same_cost(facts, &case.index) {
        let line = format!("{api} {cost}: {}: {}, the index says {}", case.id, facts[cost], case.index[cost]);
        tally.wrong.push(line);
    }
}

#[test]
fn facts_equal_the_index_whole_and_split() {
    let (cases, vendors) = (cases(), vendors());
    let tally = over_all(&cases, |case| {
        let mut tally = Tally::default();
        let mut first: Option<Exchange> = None;
        for wire in wires(case) {
            for split in std::iter::once(None).chain((1..=SPLIT_SEEDS).map(Some)) {
                tally.runs += 1;
                let found = replay(case, Options { split, drop: None, wire: *wire }, &vendors);
                let [exchange] = &found[..] else {
                    tally.wrong.push(format!(
                        "exchanges: {}: {} instead of one ({wire:?}, split {split:?})",
                        case.id,
                        found.len()
                    ));
                    continue;
                };
                tally.found += 1;
                if !exchange.view.complete {
                    tally.wrong.push(format!("complete: {}: it is not ({wire:?}, split {split:?})", case.id));
                }
                check_facts(case, &facts(exchange), &mut tally);
                let first = first.get_or_insert_with(|| exchange.clone());
                if (&first.request_text, &first.response_text) != (&exchange.request_text, &exchange.response_text) {
                    tally
                        .wrong
                        .push(format!("text: {}: depends on where pieces end ({wire:?}, split {split:?})", case.id));
                }
                // More of what we know than the index does.
                if timeless(first) != timeless(exchange) {
                    tally.wrong.push(format!("facts: {}: depend on the cut ({wire:?}, split {split:?})", case.id));
                }
            }
        }
        tally
    });
    let alone = cases.iter().filter(|case| is_response_only(case)).count();
    println!(
        "{} records ({alone} without a request), {} runs, {} facts compared, {} differ",
        cases.len(),
        tally.runs,
        tally.compared,
        tally.wrong.len()
    );
    assert!(tally.wrong.is_empty(), "{} differences:\n{}", tally.wrong.len(), report(&tally.wrong));
}

/// Facts without those that tell when pieces came, and how the protocol framed them.
fn timeless(exchange: &Exchange) -> Value {
    let mut facts = facts(exchange);
    for name in ["started_at", "time_to_first_token_ns", "duration_ns"] {
        facts[name] = Value::Null;
    }
    facts
}

#[test]
fn with_losses_every_fact_is_right_or_unknown() {
    let (cases, vendors) = (cases(), vendors());
    let tally = over_all(&cases, |case| {
        let mut tally = Tally::default();
        if is_stitched(case) {
            return tally;
        }
        for (wire, seed) in wires(case).iter().flat_map(|wire| (0..DROP_SEEDS).map(move |seed| (wire, seed))) {
            tally.runs += 1;
            let options = Options { split: (seed % 2 == 1).then_some(seed), drop: Some(seed), wire: *wire };
            for exchange in replay(case, options, &vendors) {
                tally.found += 1;
                let mut facts = facts(&exchange);
                // Half a body has no shape: a call that is not understood is not a wrong one.
                if facts["api"] == "other" {
                    facts["api"] = Value::Null;
                }
                for name in FACTS {
                    match (&facts[name], expected(case, name)) {
                        (_, None) => {}
                        (Value::Null, _) => tally.unknown += 1,
                        (ours, Some(theirs)) if *ours == theirs => tally.compared += 1,
                        (ours, Some(theirs)) => {
                            let api = case.index["api"].as_str().unwrap();
                            let line =
                                format!("{api} {name}: {}: {ours}, not {theirs} ({wire:?}, drop {seed})", case.id);
                            tally.wrong.push(line);
                        }
                    }
                }
                let cost = &facts["vendor_reported_cost_usd"];
                if !cost.is_null() && !same_cost(&facts, &case.index) {
                    tally.wrong.push(format!("cost: {}: {cost} (drop {seed})", case.id));
                }
            }
        }
        tally
    });
    let Tally { runs, found, compared, unknown, wrong } = &tally;
    println!("{runs} lossy runs, {found} exchanges, {compared} facts right, {unknown} unknown, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} wrong facts:\n{}", wrong.len(), report(wrong));
}

#[test]
fn the_command_prints_facts() {
    let exchange = json!({
        "request": {"method": "POST", "url": "https://api.openai.com/v1/chat/completions", "headers": {},
            "body": json!({"model": "gpt-4o", "messages": []}).to_string()},
        "response": {"status": 200, "headers": {"content-type": "application/json"},
            "body": json!({"id": "c1", "model": "gpt-4o-2024-08-06", "choices": [{"finish_reason": "stop", "message": {}}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}).to_string()},
        "outflow": {"started_at_ns": 1_000_000_000, "first_byte_ns": 1_200_000_000, "ended_at_ns": 1_500_000_000, "feature": "search"},
    });
    let record = Record::parse(exchange.to_string().as_bytes()).unwrap();
    let found = exchanges(&record.inputs(StreamId(1), Timestamp(1), Options::default()), &vendors());
    let facts = facts(&found[0]);
    for (name, value) in [
        ("vendor", json!("openai")),
        ("api", json!("chat_completions")),
        ("request_model", json!("gpt-4o")),
        ("response_model", json!("gpt-4o-2024-08-06")),
        ("input_tokens_total", json!(3)),
        ("output_tokens", json!(4)),
        ("finish_reasons", json!(["stop"])),
        ("error", json!(false)),
        ("framing", json!("json")),
        ("azure_deployment", Value::Null),
        ("service", json!("replay")),
        ("feature", json!("search")),
        ("started_at", json!("1970-01-01T00:00:01.000Z")),
        ("time_to_first_token_ns", json!(200_000_000)),
        ("duration_ns", json!(500_000_000)),
        ("complete", json!(true)),
    ] {
        assert_eq!(facts[name], value, "{name}");
    }
}
