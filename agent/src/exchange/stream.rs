//! Streamed answers. Enters: server-sent events. Leaves: facts and joined text, as if the answer had come whole. An event
//! that cannot be read is kept as text, so that nothing that was sent escapes the scan.

use serde_json::Value;

use super::{
    Leaves,
    facts::{Facts, Seen, named_code, replace},
    json::{self, Ended},
    path::Path,
    shapes,
    text::{Joined, Mode},
    tree::{Node, Tree},
    written,
};
use crate::{
    assembly::{Event, UNVERIFIED},
    rules::vendors::Api,
};

/// Longer events are no bits of text.
const DELTA_BYTES: usize = 4 << 10;

/// Reads the events of one shape.
pub(super) trait Stream {
    /// Takes an event that is JSON.
    fn event(&mut self, name: &str, doc: &Value, joined: &mut Joined);
    /// Takes an event that adds a bit of text and says nothing else, which is what nearly all do. False: it may say more, and
    /// nothing of it was taken. Asked only where [`Stream::has_deltas`].
    fn delta(&mut self, _name: &str, _doc: Node<'_>, _joined: &mut Joined) -> bool {
        false
    }
    /// Whether [`Stream::delta`] is worth asking.
    fn has_deltas(&self) -> bool {
        false
    }
    /// Whether an event has arguments that are no text. Their numbers are not in an outline.
    fn has_arguments(&self, _data: &str) -> bool {
        false
    }
    /// The stream said that it is over (`[DONE]`).
    fn done(&mut self) {}
    /// All events were taken.
    fn finish(self: Box<Self>, seen: Seen, joined: &mut Joined) -> Facts;
}

/// Reads a whole stream.
pub(super) fn read(api: Api, events: &[Event], seen: Seen) -> (Facts, Leaves) {
    let stream = shapes::stream(api);
    let has_deltas = stream.has_deltas();
    read_with(stream, has_deltas, written::is_written(api), events, seen)
}

fn read_with(
    mut stream: Box<dyn Stream>,
    has_deltas: bool,
    is_written: bool,
    events: &[Event],
    seen: Seen,
) -> (Facts, Leaves) {
    let (mut joined, mut tree) = (Joined::default(), Tree::default());
    let mut failed = None;
    for (index, event) in events.iter().enumerate() {
        let (name, data) = (event.name.as_str(), event.data.as_str());
        if name == UNVERIFIED {
            unreadable(index, data, &mut joined);
            continue;
        }
        // An exception of an AWS event stream: the same in every shape, and none of its events.
        if let Some(what) = name.strip_prefix('!') {
            failed = Some(named_code(what));
            unreadable(index, data, &mut joined);
            continue;
        }
        if data == "[DONE]" {
            stream.done();
            continue;
        }
        if has_deltas && data.len() <= DELTA_BYTES && data.starts_with('{') {
            let is_whole = json::tree(data, &mut tree);
            if is_whole && tree.root().is_some_and(|doc| stream.delta(name, doc, &mut joined)) {
                continue;
            }
        }
        if !json::looks_like_json(data.as_bytes()) {
            joined.put(&format!("$.events[{index}]"), "", data, Mode::Set);
            continue;
        }
        let mut outline = json::outline(data, usize::MAX);
        if stream.has_arguments(data)
            && let Ok(doc) = serde_json::from_str(data)
        {
            outline.doc = doc;
        }
        match outline.end {
            Ended::Whole => stream.event(name, &outline.doc, &mut joined),
            Ended::Cut | Ended::Malformed(_) => unreadable(index, data, &mut joined),
        }
    }
    let mut facts = stream.finish(seen, &mut joined);
    if is_written {
        written::streamed(&joined, &mut facts.written);
    }
    replace(&mut facts.error, failed);
    (facts, joined.finish())
}

/// Half an event says nothing certain, but its text was sent.
fn unreadable(index: usize, data: &str, joined: &mut Joined) {
    let root = format!("$.events[{index}]");
    let end = json::strings(data, &root, &mut |path: &str, key: &str, text: &str| {
        joined.put(path, key, text, Mode::Set);
    });
    if let Ended::Malformed(at) = end {
        joined.put(&root, "", data.get(at..).unwrap_or(data), Mode::Append);
    }
}

/// Pieces of JSON text, joined at a path, become the members that the whole answer would have. Gives the text that they were.
pub(super) fn parse_pieces(path: &str, joined: &mut Joined) -> String {
    let pieces = joined.take(path).unwrap_or_default();
    let end = json::strings(&pieces, path, &mut |path: &str, key: &str, text: &str| {
        joined.put(path, key, text, Mode::Set);
    });
    if let Ended::Malformed(at) = end {
        joined.put(path, "", pieces.get(at..).unwrap_or(&pieces), Mode::Set);
    }
    pieces
}

/// Events of a shape that is not understood: strings that stand at the same path in several events are taken as parts of one
/// text, which is what all vendors' streams do.
#[derive(Debug, Default)]
pub(super) struct Plain {
    facts: Facts,
}

impl Stream for Plain {
    fn event(&mut self, _: &str, doc: &Value, joined: &mut Joined) {
        self.facts.envelope(doc);
        joined.walk(doc, &mut Path::new("$"), "", Mode::Append);
    }

    fn finish(self: Box<Self>, _: Seen, _: &mut Joined) -> Facts {
        self.facts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::units::Timestamp;

    /// Events of all kinds that a delta may be taken for, and of those that it may not.
    fn pool(api: Api) -> Vec<Value> {
        let chunk = |id: &str, choices: Value, usage: Value| {
            json!({"id": id, "object": "chat.completion.chunk", "created": 1_795_392_000, "model": "m-1", "choices": choices,
                "usage": usage, "obfuscation": "xyz", "account": 123_456_789_012_u64})
        };
        let delta = |delta: Value| json!([{"index": 0, "delta": delta, "finish_reason": null}]);
        let call = |call: Value| delta(json!({"tool_calls": [call]}));
        let part = |kind: &str, index: u64, text: &str| json!({"type": format!("response.{kind}"), "output_index": index, "content_index": index % 2, "delta": text});
        let block = |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
        match api {
            Api::ChatCompletions => vec![
                chunk("a", delta(json!({"role": "assistant", "content": ""})), Value::Null),
                chunk("a", delta(json!({"content": "he said \"no\"\n"})), Value::Null),
                chunk("a", delta(json!({"reasoning_content": "hm", "jane@fake.example": "x"})), Value::Null),
                chunk("b", delta(json!({"content": "another id"})), Value::Null),
                chunk(
                    "a",
                    json!([{"delta": {"content": "no index"}, "finish_reason": "stop"}]),
                    json!({"prompt_tokens": 3}),
                ),
                chunk("a", json!([{"index": 1, "delta": {"content": "two"}}, {"index": 0, "delta": {}}]), Value::Null),
                chunk("a", json!([{"index": 0, "message": {"content": "whole"}}]), Value::Null),
                chunk(
                    "a",
                    call(json!({"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}})),
                    Value::Null,
                ),
                chunk("a", call(json!({"index": 0, "function": {"arguments": "{\"q\":"}})), Value::Null),
                chunk("a", call(json!({"index": 7, "function": {"arguments": "1}"}})), Value::Null),
                chunk("a", call(json!({"function": {"arguments": "no index"}})), Value::Null),
                chunk("a", delta(json!({"function_call": {"name": "old", "arguments": "{}"}})), Value::Null),
                json!({"error": {"code": "overloaded", "message": "m"}}),
                json!({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}),
                json!([1, "two"]),
            ],
            Api::Messages => vec![
                json!({"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 4}}}),
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "t"}}),
                block(0, json!({"type": "text_delta", "text": "half a \u{1f600} word"})),
                block(0, json!({"type": "thinking_delta", "thinking": "hm"})),
                block(0, json!({"type": "citations_delta", "citation": {"url": "u", "index": 3}})),
                block(1, json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
                block(1, json!({"type": "input_json_delta", "partial_json": "\"b\"}"})),
                json!({"type": "content_block_delta", "delta": {"text": "no index"}}),
                json!({"type": "content_block_delta", "index": 0, "delta": "no object"}),
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
                json!({"type": "message_stop"}),
            ],
            _ => vec![
                json!({"type": "response.created", "response": {"id": "r", "model": "m"}}),
                json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message"}}),
                json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": "function_call", "name": "f"}}),
                part("output_text.delta", 0, "a word"),
                part("output_text.delta", 1, "\\ another"),
                part("function_call_arguments.delta", 1, "{}"),
                part("shell_call_command.delta", 2, "ls"),
                part("reasoning_summary_text.delta", 0, "hm"),
                part("output_text.done", 0, "a word"),
                part("something.new.delta", 3, "text"),
                json!({"type": "response.audio.delta", "delta": {"deep": ["x", 123_456_789]}}),
                json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}}),
                json!({"type": "other.delta", "delta": "x"}),
                json!({"delta": "no type"}),
            ],
        }
    }

    proptest! {
        #[test]
        fn a_delta_says_what_the_event_says(
            api in prop::sample::select(vec![Api::ChatCompletions, Api::Messages, Api::Responses]),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let pool = pool(api);
            let event = |pick: &prop::sample::Index| {
                let data = pick.get(&pool).to_string().into();
                Event { data, at: Timestamp(1), ..Event::default() }
            };
            let events: Vec<Event> = picks.iter().map(event).collect();
            let quick = read(api, &events, Seen::Whole);
            let thorough = read_with(shapes::stream(api), false, true, &events, Seen::Whole);
            prop_assert_eq!(quick, thorough);
        }
    }
}
