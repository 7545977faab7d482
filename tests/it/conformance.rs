//! What we understand of recorded exchanges equals what their index says. The records are not ours and are not in this
//! repository: `OUTFLOW_EXCHANGES` names their folder; `OUTFLOW_REQUIRE_EXCHANGES=1` makes their absence a failure.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use outflow::{
    cli::replay::{exchanges, facts},
    exchange::Exchange,
    rules::{RuleSource, VendorTable},
    sources::{
        StreamId,
        replay::{Options, Record},
    },
    units::Timestamp,
};
use serde_json::{Value, json};

const APIS: [&str; 4] = ["chat_completions", "responses", "messages", "embeddings"];

/// Facts that must be equal.
const FACTS: [&str; 17] = [
    "vendor",
    "api",
    "request_model",
    "response_model",
    "status",
    "streaming",
    "response_id",
    "input_tokens_total",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "tool_calls",
    "finish_reasons",
    "system_fingerprint",
    "service_tier",
    "error",
];

/// Facts that are numbers: with losses they are right or unknown.
const NUMBERS: [&str; 6] =
    ["input_tokens_total", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "tool_calls"];

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
    let mut cases = Vec::new();
    for line in index.lines() {
        let index: Value = serde_json::from_str(line).unwrap();
        if APIS.iter().any(|api| index["api"] == *api) {
            let path = folder.join(index["file"].as_str().unwrap());
            let raw = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let record = Record::read(&path).unwrap();
            cases.push(Case { id: index["id"].as_str().unwrap().to_owned(), index, raw, record });
        }
    }
    assert!(cases.len() >= 290, "only {} records found", cases.len());
    cases
}

fn vendors() -> Arc<VendorTable> {
    Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap())
}

fn replay(case: &Case, options: Options, vendors: &Arc<VendorTable>) -> Vec<Exchange> {
    exchanges(&case.record.inputs(StreamId(1), Timestamp(1), options), vendors)
}

/// What the index says, with the few places where we know more or mean something else. Each is a rule with its reason.
fn expected(case: &Case, name: &str) -> Value {
    let index = &case.index;
    let usage = &index["usage_raw"];
    let headers = &case.raw["response"]["headers"];
    match name {
        // Azure says in a header which model stands behind the alias that the body repeats.
        "response_model" if headers["x-ms-served-model"].is_string() => headers["x-ms-served-model"].clone(),
        // The index does not read Mistral's name for cached tokens.
        "cached_tokens" if usage["num_cached_tokens"].is_u64() => usage["num_cached_tokens"].clone(),
        // Voyage counts only a total, which for embeddings is the input; Google's count stands where the index does not look.
        "input_tokens_total" if index["api"] == "embeddings" && index[name].is_null() => {
            let body: Value = serde_json::from_str(case.raw["response"]["body"].as_str().unwrap_or("null")).unwrap();
            let total = [&usage["total_tokens"], &body["usageMetadata"]["promptTokenCount"]];
            total.into_iter().find(|count| count.is_u64()).cloned().unwrap_or_default()
        }
        _ => index[name].clone(),
    }
}

/// The index holds a sorted set of finish reasons; we keep one a choice, in the order of the wire.
fn actual(facts: &Value, name: &str) -> Value {
    let mut value = facts[name].clone();
    if name == "finish_reasons"
        && let Some(reasons) = value.as_array_mut()
    {
        reasons.sort_by_key(ToString::to_string);
        reasons.dedup();
    }
    value
}

/// Dollars of the index against our nano-dollars: equal to the last of ours.
fn same_cost(facts: &Value, index: &Value) -> bool {
    let cost = |value: &Value| value["vendor_reported_cost_usd"].as_f64();
    match (cost(facts), cost(index)) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() <= 0.6e-9,
        (ours, theirs) => ours == theirs,
    }
}

fn differences(case: &Case, facts: &Value) -> Vec<String> {
    let mut differences: Vec<_> = FACTS
        .iter()
        .map(|name| (name, actual(facts, name), expected(case, name)))
        .filter(|(_, ours, theirs)| ours != theirs)
        .map(|(name, ours, theirs)| format!("{} {name}: {ours}, the index says {theirs}", case.id))
        .collect();
    if !same_cost(facts, &case.index) {
        let cost = "vendor_reported_cost_usd";
        differences.push(format!("{} {cost}: {}, the index says {}", case.id, facts[cost], case.index[cost]));
    }
    differences
}

#[test]
fn facts_equal_the_index_whole_and_split() {
    let (cases, vendors) = (cases(), vendors());
    let mut by_api: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut differ, mut compared) = (Vec::new(), 0);
    for case in &cases {
        *by_api.entry(case.index["api"].as_str().unwrap()).or_default() += 1;
        let mut texts = Vec::new();
        for split in [None, Some(1), Some(2), Some(3)] {
            let found = replay(case, Options { split, drop: None }, &vendors);
            let [exchange] = &found[..] else {
                panic!("{}: {} exchanges instead of one (split {split:?})", case.id, found.len());
            };
            assert!(exchange.view.complete, "{}: not complete (split {split:?})", case.id);
            differ.extend(
                differences(case, &facts(exchange)).into_iter().map(|line| format!("{line} (split {split:?})")),
            );
            compared += FACTS.len() + 1;
            texts.push((exchange.request_text.clone(), exchange.response_text.clone()));
        }
        assert!(texts.iter().all(|text| *text == texts[0]), "{}: text depends on where pieces end", case.id);
    }
    println!("{} records {by_api:?}, 4 runs each, {compared} facts compared, {} differ", cases.len(), differ.len());
    assert!(differ.is_empty(), "{} differences:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn with_losses_every_number_is_right_or_unknown() {
    let (cases, vendors) = (cases(), vendors());
    let (mut runs, mut found, mut known, mut unknown, mut wrong) = (0, 0, 0, 0, Vec::new());
    for case in &cases {
        for seed in 0..20_u64 {
            runs += 1;
            let options = Options { split: (seed % 2 == 1).then_some(seed), drop: Some(seed) };
            for exchange in replay(case, options, &vendors) {
                found += 1;
                let facts = facts(&exchange);
                for name in NUMBERS {
                    match (&facts[name], expected(case, name)) {
                        (Value::Null, _) => unknown += 1,
                        (ours, theirs) if *ours == theirs => known += 1,
                        (ours, theirs) => wrong.push(format!("{} {name}: {ours}, not {theirs} (drop {seed})", case.id)),
                    }
                }
                if !facts["vendor_reported_cost_usd"].is_null() && !same_cost(&facts, &case.index) {
                    wrong.push(format!("{} cost {} (drop {seed})", case.id, facts["vendor_reported_cost_usd"]));
                }
            }
        }
    }
    println!("{runs} lossy runs, {found} exchanges, {known} numbers right, {unknown} unknown, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} wrong numbers:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn streamed_text_is_what_the_events_say() {
    let (cases, vendors) = (cases(), vendors());
    let mut checked = 0;
    for case in cases.iter().filter(|case| case.index["framing"] == "sse") {
        let found = replay(case, Options { split: Some(5), drop: None }, &vendors);
        let text = &found[0].response_text;
        let leaves: BTreeMap<_, _> = text.iter().map(|(path, range)| (path.to_owned(), &text.text()[range])).collect();
        let expected = joined(case.raw["response"]["body"].as_str().unwrap(), case.index["api"].as_str().unwrap());
        for (path, want) in expected.iter().filter(|(_, want)| !want.is_empty()) {
            // A text that is JSON is opened: its strings stand below it.
            let is_json = serde_json::from_str::<Value>(want).is_ok_and(|value| value.is_object() || value.is_array());
            if is_json && leaves.keys().any(|leaf| leaf.starts_with(&format!("{path}.$"))) {
                continue;
            }
            let have = leaves.get(path).copied().unwrap_or_default();
            assert_eq!(have, want, "{} {path}", case.id);
            checked += 1;
        }
    }
    println!("{checked} joined texts equal");
    assert!(cases.is_empty() || checked > 50, "only {checked} joined texts checked");
}

/// The plain way to join the text of a stream, apart from the code under test.
fn joined(body: &str, api: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::<String, String>::new();
    let events = body.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?.trim()).ok());
    let mut starts = 0;
    for event in events {
        starts += usize::from(event["type"] == "message_start" || event["type"] == "response.created");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match api {
            "chat_completions" => {
                for choice in event["choices"].as_array().into_iter().flatten() {
                    let path = format!("$.choices[{}].message.content", choice["index"]);
                    *texts.entry(path).or_default() += &text(&choice["delta"]["content"]);
                }
            }
            "messages" => {
                let path = format!("$.content[{}].text", event["index"]);
                *texts.entry(path).or_default() += &text(&event["delta"]["text"]);
            }
            _ if event["type"] == "response.output_text.delta" => {
                let path = format!("$.output[{}].content[{}].text", event["output_index"], event["content_index"]);
                *texts.entry(path).or_default() += &text(&event["delta"]);
            }
            // Some recorders shortened the deltas: these say nothing of how to join them.
            _ if event["type"] == "response.output_text.done" => {
                let path = format!("$.output[{}].content[{}].text", event["output_index"], event["content_index"]);
                if texts.get(&path).is_some_and(|joined| *joined != text(&event["text"])) {
                    texts.remove(&path);
                }
            }
            _ => {}
        }
    }
    // A few recordings lay several answers end to end, whose parts have the same indexes: not a stream that a vendor sends.
    if starts > 1 { BTreeMap::new() } else { texts }
}

#[test]
fn the_command_prints_facts() {
    let exchange = json!({
        "request": {"method": "POST", "url": "https://api.openai.com/v1/chat/completions", "headers": {},
            "body": json!({"model": "gpt-4o", "messages": []}).to_string()},
        "response": {"status": 200, "headers": {"content-type": "application/json"},
            "body": json!({"id": "c1", "model": "gpt-4o-2024-08-06", "choices": [{"finish_reason": "stop", "message": {}}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}).to_string()},
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
        ("complete", json!(true)),
    ] {
        assert_eq!(facts[name], value, "{name}");
    }
}
