//! What we read of the recorded calls to Bedrock, Cohere and Ollama is what the index of the recordings says. The records are
//! not ours and not in this repository: `OUTFLOW_EXCHANGES` names their folder; `OUTFLOW_REQUIRE_EXCHANGES=1` makes their absence
//! a failure.

use std::{collections::BTreeSet, env, fs, path::PathBuf, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{
    assembly::{Assembled, Assembler, Limits},
    rules::{RuleSource, VendorTable},
    sources::replay::{Options, Record},
};

const VENDORS: [&str; 3] = ["aws_bedrock", "cohere", "ollama"];
const SEEDS: u64 = 8;

fn folder() -> Option<PathBuf> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/exchanges");
    let folder = env::var_os("OUTFLOW_EXCHANGES").map_or(default, PathBuf::from);
    if folder.join("index.jsonl").is_file() {
        return Some(folder);
    }
    let required = env::var_os("OUTFLOW_REQUIRE_EXCHANGES").is_some_and(|value| value == "1");
    assert!(!required, "no recorded exchanges in {}", folder.display());
    println!("skipped: no recorded exchanges in {} (set OUTFLOW_EXCHANGES)", folder.display());
    None
}

fn exchanges(record: &Record, options: Options, vendors: &Arc<VendorTable>) -> Vec<Exchange> {
    let (mut assembler, mut correlator) = (Assembler::new(Limits::default()), Correlator::new(Arc::clone(vendors)));
    let (mut out, mut exchanges) = (Vec::new(), Vec::new());
    for input in record.inputs(StreamId(1), Timestamp(1), options) {
        assembler.push(&input, &mut out);
    }
    assembler.finish(Timestamp(9), &mut out);
    for assembled in out {
        match assembled {
            Assembled::Message(message) => correlator.push(*message, &mut exchanges),
            Assembled::Closed(stream) => correlator.closed(stream, &mut exchanges),
            _ => {}
        }
    }
    correlator.finish(&mut exchanges);
    exchanges
}

/// The facts under the names of the index.
fn facts(exchange: &Exchange) -> Value {
    let reasons: BTreeSet<_> = exchange.finish_reasons.iter().collect();
    json!({
        "vendor": exchange.vendor.as_deref(),
        "api": exchange.api,
        "response_id": exchange.response_id,
        "system_fingerprint": exchange.system_fingerprint,
        "request_model": exchange.request_model,
        "response_model": exchange.response_model,
        "status": exchange.status,
        "streaming": exchange.streaming,
        "framing": exchange.framing,
        "input_tokens_total": exchange.usage.input_tokens,
        "output_tokens": exchange.usage.output_tokens,
        "cached_tokens": exchange.usage.cache_read_tokens,
        "cache_write_tokens": exchange.usage.cache_write_tokens,
        "reasoning_tokens": exchange.usage.reasoning_tokens,
        "tool_calls": exchange.tool_calls.len(),
        "server_tool_calls": exchange.server_tool_calls.len(),
        "finish_reasons": reasons,
        "service_tier": exchange.service_tier,
        "error": exchange.error.is_some(),
    })
}

#[test]
fn recorded_calls_say_what_their_index_says() {
    let Some(folder) = folder() else { return };
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
    let (mut records, mut compared, mut lossy, mut wrong) = (0, 0, 0, Vec::new());
    for line in fs::read_to_string(folder.join("index.jsonl")).unwrap().lines() {
        let index: Value = serde_json::from_str(line).unwrap();
        if !VENDORS.iter().any(|vendor| index["vendor"] == *vendor) {
            continue;
        }
        records += 1;
        let file = folder.join(index["file"].as_str().unwrap());
        let record = Record::read(&file).unwrap();
        let mut texts = Vec::new();
        for split in (0..SEEDS).map(|seed| (seed > 0).then_some(seed)) {
            let found = exchanges(&record, Options { split, drop: None, ..Options::default() }, &vendors);
            assert_eq!(found.len(), 1, "{}", file.display());
            let facts = facts(&found[0]);
            for (name, ours) in facts.as_object().unwrap() {
                compared += 1;
                if *ours != index[name] {
                    wrong.push(format!("{} {name}: {ours}, the index says {}", index["id"], index[name]));
                }
            }
            texts.push(found[0].response_text.clone());
        }
        assert!(texts.iter().all(|text| *text == texts[0]), "{}: text depends on where pieces end", file.display());
        for seed in 0..SEEDS {
            for exchange in
                exchanges(&record, Options { split: Some(seed), drop: Some(seed), ..Options::default() }, &vendors)
            {
                lossy += 1;
                for (name, ours) in facts(&exchange).as_object().unwrap() {
                    let counts = ["tool_calls", "server_tool_calls"].contains(&name.as_str());
                    let fewer = counts && ours.as_u64() <= index[name].as_u64();
                    let none = ours.is_null() || *ours == json!([]) || *ours == json!(false) || *ours == json!("other");
                    let unseen = (name == "framing" || name == "streaming") && exchange.first_token_at.is_none();
                    if *ours != index[name] && !fewer && !none && !unseen {
                        wrong.push(format!("{} {name}: {ours}, not {} (lossy)", index["id"], index[name]));
                    }
                }
            }
        }
    }
    println!("{records} records, {SEEDS} splits each, {compared} facts compared, {lossy} lossy exchanges");
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(records >= 50, "only {records} records");
}
