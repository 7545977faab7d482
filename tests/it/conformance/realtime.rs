//! The recorded WebSocket sessions: one line a session, as their own index has it. Each split seed also changes what the peers
//! do: fragments, pings, compression.

use std::fs;

use outflow::{
    cli::replay::exchanges,
    exchange::facts_of_session,
    sources::{
        StreamId,
        replay::{Options, Record},
    },
    units::Timestamp,
};
use serde_json::Value;

use super::{DROP_SEEDS, SPLIT_SEEDS, folder, vendors};

/// Facts that are compared: all of the index but where the session stands.
const FACTS: [&str; 12] = [
    "vendor",
    "api",
    "response_model",
    "frames",
    "responses",
    "input_tokens_sum",
    "output_tokens_sum",
    "cached_tokens_sum",
    "tool_calls",
    "errors",
    "gemini_usage_messages",
    "gemini_usage_last",
];

#[test]
fn sessions_equal_their_index_whole_split_and_lossy() {
    let Some(folder) = folder().map(|folder| folder.join("realtime")) else { return };
    let vendors = vendors();
    let index = fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let (mut sessions, mut runs, mut compared, mut unknown, mut wrong) = (0, 0, 0, 0, Vec::new());
    for line in index.lines() {
        let index: Value = serde_json::from_str(line).unwrap();
        let record = Record::read(&folder.join(index["file"].as_str().unwrap())).unwrap();
        sessions += 1;
        let splits = std::iter::once(None).chain((1..=SPLIT_SEEDS).map(Some)).map(|split| (split, None));
        let losses = (0..DROP_SEEDS).map(|drop| ((drop % 2 == 1).then_some(drop), Some(drop)));
        for (split, drop) in splits.chain(losses) {
            runs += 1;
            let options = Options { split, drop, ..Options::default() };
            let found = exchanges(&record.inputs(StreamId(1), Timestamp(1), options), &vendors);
            let facts = facts_of_session(&found);
            for name in FACTS {
                match (&facts[name], &index[name]) {
                    (ours, theirs) if ours == theirs => compared += 1,
                    (Value::Null, _) if drop.is_some() => unknown += 1,
                    // Without its upgrade nobody knows what a connection is.
                    (Value::String(ours), _) if drop.is_some() && ours == "other" => unknown += 1,
                    (ours, theirs) => wrong.push(format!(
                        "{} {name}: {ours}, the index says {theirs} (split {split:?}, drop {drop:?})",
                        index["id"]
                    )),
                }
            }
        }
    }
    println!("{sessions} sessions, {runs} runs, {compared} facts right, {unknown} unknown, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(sessions >= 22, "only {sessions} sessions");
}
