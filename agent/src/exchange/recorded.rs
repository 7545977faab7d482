//! Recorded calls that are not ours (`OUTFLOW_EXCHANGES`) against what their index says of them, as far as the shapes of this
//! room go. `tests/it/conformance.rs` holds the whole of them; here a difference is found without the command line.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value, json};

use super::*;
use crate::{
    assembly::{Assembled, Assembler, Limits},
    rules::{RuleSource, VendorTable},
    sources::replay::{Options, Record},
};

/// Vendors whose calls `tests_recorded.rs` looks at.
const NOT_HERE: [&str; 2] = ["aws_bedrock", "cohere"];

struct Case {
    id: String,
    index: Value,
    body: Value,
    record: Record,
    headers: Value,
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

fn cases() -> Option<Vec<Case>> {
    let folder = folder()?;
    let index = fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let mut cases = Vec::new();
    for line in index.lines() {
        let index: Value = serde_json::from_str(line).unwrap();
        if NOT_HERE.iter().any(|vendor| index["vendor"] == *vendor) {
            continue;
        }
        let path = folder.join(index["file"].as_str().unwrap());
        let raw: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        cases.push(Case {
            id: index["id"].as_str().unwrap().to_owned(),
            body: serde_json::from_str(raw["response"]["body"].as_str().unwrap_or("null")).unwrap_or_default(),
            record: Record::read(&path).unwrap(),
            headers: raw["response"]["headers"].clone(),
            index,
        });
    }
    assert!(cases.len() > 300, "{} records", cases.len());
    Some(cases)
}

fn exchanges(record: &Record, options: Options, vendors: &Arc<VendorTable>) -> Vec<Exchange> {
    let (mut assembler, mut correlator) = (Assembler::new(Limits::default()), Correlator::new(Arc::clone(vendors)));
    let (mut events, mut found) = (Vec::new(), Vec::new());
    for input in record.inputs(StreamId(1), Timestamp(1), options) {
        assembler.push(&input, &mut events);
    }
    assembler.finish(Timestamp(2), &mut events);
    for event in events {
        match event {
            Assembled::Message(message) => correlator.push(*message, &mut found),
            Assembled::Closed(stream) => correlator.closed(stream, &mut found),
            Assembled::CallOver { stream, call } => correlator.call_over(stream, call, &mut found),
            Assembled::Frame(frame) => correlator.frame(*frame, &mut found),
            Assembled::Anomaly(_) => {}
        }
    }
    correlator.finish(&mut found);
    found
}

/// Under the names of the index. It holds a sorted set of finish reasons; numbers are numbers there.
fn facts(exchange: &Exchange) -> Value {
    let usage = exchange.usage;
    let mut reasons: Vec<Value> = exchange
        .finish_reasons
        .iter()
        .map(|reason| reason.parse::<u64>().map_or_else(|_| json!(reason), |number| json!(number)))
        .collect();
    reasons.sort_by_key(ToString::to_string);
    reasons.dedup();
    let mcp = exchange.mcp.clone().unwrap_or_default();
    json!({
        "vendor": exchange.vendor.as_deref(),
        "api": exchange.api,
        "request_model": exchange.request_model,
        "response_model": exchange.response_model,
        "status": exchange.status,
        "response_id": exchange.response_id,
        "input_tokens_total": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "tool_calls": exchange.tool_calls.len(),
        "server_tool_calls": exchange.server_tool_calls.len(),
        "finish_reasons": reasons,
        "service_tier": exchange.service_tier,
        "error": exchange.error.is_some(),
        "mcp_method": mcp.method,
        "mcp_id": mcp.id.map(|id| serde_json::from_str::<Value>(&id).unwrap()),
        "mcp_tool": mcp.tool,
    })
}

/// What the index says, but where we know more. Each is a rule with its reason.
fn expected(case: &Case, name: &str) -> Value {
    let (index, usage) = (&case.index, &case.index["usage_raw"]);
    match name {
        // Azure says in a header which model stands behind the alias that the body repeats.
        "response_model" if case.headers["x-ms-served-model"].is_string() => case.headers["x-ms-served-model"].clone(),
        // Mistral's name for cached tokens.
        "cached_tokens" if usage["num_cached_tokens"].is_u64() => usage["num_cached_tokens"].clone(),
        // Voyage counts only a total, which for embeddings is the input; Google's count stands where the index does not look.
        "input_tokens_total" if index["api"] == "embeddings" && index[name].is_null() => {
            let total = [&usage["total_tokens"], &case.body["usageMetadata"]["promptTokenCount"]];
            total.into_iter().find(|count| count.is_u64()).cloned().unwrap_or_default()
        }
        _ => index[name].clone(),
    }
}

/// Google streams the arguments of a call in pieces without a name (`partialArgs`); the index counts each piece, we the calls.
fn is_in_pieces(case: &Case, ours: &Value) -> bool {
    case.index["api"] == "generate_content"
        && case.index["framing"] == "sse"
        && ours.as_u64() < case.index["tool_calls"].as_u64()
        && case.record_says("partialArgs")
}

impl Case {
    fn record_says(&self, word: &str) -> bool {
        let folder = folder().unwrap();
        fs::read_to_string(folder.join(self.index["file"].as_str().unwrap())).unwrap().contains(word)
    }
}

#[test]
fn facts_equal_the_index_however_the_bytes_are_cut() {
    let Some(cases) = cases() else { return };
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
    let (mut differ, mut compared) = (Vec::new(), 0);
    for case in &cases {
        let mut first = None;
        for split in [None, Some(1), Some(2), Some(3), Some(4)] {
            let mut found = exchanges(&case.record, Options { split, ..Options::default() }, &vendors);
            assert_eq!(found.len(), 1, "{} (split {split:?})", case.id);
            let exchange = found.remove(0);
            let facts = facts(&exchange);
            for (name, ours) in facts.as_object().unwrap() {
                compared += 1;
                let theirs = expected(case, name);
                if *ours != theirs && !(name == "tool_calls" && is_in_pieces(case, ours)) {
                    differ.push(format!("{} {name}: {ours}, the index says {theirs} (split {split:?})", case.id));
                }
            }
            let rest = (exchange.tool_results, exchange.conversation, exchange.headers, exchange.response_text);
            match &first {
                None => first = Some(rest),
                Some(first) => assert!(*first == rest, "{}: depends on where pieces end (split {split:?})", case.id),
            }
        }
    }
    println!("{} records, {compared} facts compared, {} differ", cases.len(), differ.len());
    assert!(differ.is_empty(), "{} differences:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn with_losses_a_fact_is_right_or_missing() {
    let Some(cases) = cases() else { return };
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
    let (mut wrong, mut known) = (Vec::new(), 0);
    for case in &cases {
        for seed in 0..6_u64 {
            let mut options = Options::default();
            (options.split, options.drop) = ((seed % 2 == 1).then_some(seed), Some(seed));
            for exchange in exchanges(&case.record, options, &vendors) {
                let facts = facts(&exchange);
                for (name, ours) in facts.as_object().unwrap() {
                    let counts =
                        matches!(name.as_str(), "tool_calls" | "server_tool_calls" | "finish_reasons" | "error");
                    // An answer without its end, or its request, may have fewer; and a kind that is not certain is no kind.
                    if ours.is_null() || *ours == "other" || (counts && !exchange.view.complete) {
                        continue;
                    }
                    known += 1;
                    let theirs = expected(case, name);
                    // Without its headers an answer of Azure has but the alias; of a recording that lays several answers
                    // end to end the first id may be the last one seen.
                    let azure_alias = name == "response_model" && *ours == case.index[name];
                    let other_id = name == "response_id" && ours.as_str().is_some_and(|id| case.record_says(id));
                    let in_pieces = name == "tool_calls" && is_in_pieces(case, ours);
                    if *ours != theirs && !(azure_alias || other_id || in_pieces) {
                        wrong.push(format!("{} {name}: {ours}, the index says {theirs} (drop {seed})", case.id));
                    }
                }
            }
        }
    }
    println!("{} records, {known} facts right, {} wrong", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What requests hand back, by what an independent count of the recordings says.
#[test]
fn tool_results_of_requests_are_all_found() {
    let Some(cases) = cases() else { return };
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
    let folder = folder().unwrap();
    let mut total = 0;
    for case in &cases {
        let raw: Value =
            serde_json::from_slice(&fs::read(folder.join(case.index["file"].as_str().unwrap())).unwrap()).unwrap();
        let request: Value =
            serde_json::from_str(raw["request"]["body"].as_str().unwrap_or("null")).unwrap_or_default();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut count = 0;
        for message in list(&request["messages"]) {
            count += usize::from(message["role"] == "tool");
            count += list(&message["content"]).iter().filter(|block| block["type"] == "tool_result").count();
        }
        count += list(&request["input"])
            .iter()
            .filter(|item| item["type"].as_str().is_some_and(|kind| kind.ends_with("_call_output")))
            .count();
        for content in list(&request["contents"]) {
            count += list(&content["parts"]).iter().filter(|part| part["functionResponse"].is_object()).count();
        }
        let found = exchanges(&case.record, Options::default(), &vendors);
        assert_eq!(found[0].tool_results.len(), count, "{}", case.id);
        total += count;
    }
    println!("{total} tool results");
    assert!(total > 50, "{total}");
}
