//! Joined text of streams against a plain way to join it, apart from the code under test.

use std::collections::BTreeMap;

use outflow::sources::replay::Options;
use serde_json::Value;

use super::{cases, replay, vendors};

#[test]
fn streamed_text_is_what_the_events_say() {
    let (cases, vendors) = (cases(), vendors());
    let mut checked = 0;
    let apis = ["chat_completions", "responses", "messages"];
    let is_joined = |index: &Value| index["framing"] == "sse" && apis.iter().any(|api| index["api"] == *api);
    for case in cases.iter().filter(|case| is_joined(&case.index)) {
        let found = replay(case, Options { split: Some(5), ..Options::default() }, &vendors);
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
