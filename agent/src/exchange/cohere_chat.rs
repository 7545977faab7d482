//! Cohere's chat, v2 and v1. Enters: an answer, whole or as events (v2: server-sent events; v1: lines, or server-sent events).
//! Leaves: facts, and the text of a streamed answer at the paths that the whole answer would have
//! (`$.message.content[0].text`, in v1 `$.text`). No answer says which model it came from.
//!
//! Shapes: docs.cohere.com, "Chat API", "Streaming", and their v1 counterparts.

use serde_json::Value;

use super::{
    facts::{Facts, MAX_LISTED, Seen, elements, error_code, named_code, replace, text},
    path::Path,
    stream::Stream,
    text::{Joined, Mode},
    usage,
};

/// Reads a whole answer.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    replace(&mut facts.error, error_code(doc));
    replace(&mut facts.response_id, text(doc, "id").or_else(|| text(doc, "response_id")));
    // v2 has them in the message, v1 beside the text.
    let message = doc.get("message").filter(|message| message.is_object()).unwrap_or(doc);
    let calls = elements(message, "tool_calls").iter().map(tool_name);
    facts.tool_calls.extend(calls.take(MAX_LISTED));
    ended(doc, facts);
}

fn tool_name(call: &Value) -> String {
    call.get("function").and_then(|function| text(function, "name")).or_else(|| text(call, "name")).unwrap_or_default()
}

/// What stands beside the message: in the whole answer, and in the last event of a stream.
fn ended(doc: &Value, facts: &mut Facts) {
    let reason = text(doc, "finish_reason");
    // A stream that broke down says so where it says why it ended, and tells more under `error`.
    if let Some(reason) = reason.as_deref().filter(|reason| reason.starts_with("ERROR")) {
        facts.error.get_or_insert_with(|| named_code(reason));
    }
    facts.finish_reasons.extend(reason);
    usage::take(facts, doc.get("usage").or_else(|| doc.get("meta")), usage::cohere);
}

/// A streamed answer. State: one entry a tool call, at most [`MAX_LISTED`].
#[derive(Debug, Default)]
pub(super) struct Events {
    facts: Facts,
    /// v1 repeats the calls at the end.
    repeated: Vec<String>,
}

impl Stream for Events {
    fn event(&mut self, name: &str, doc: &Value, joined: &mut Joined) {
        let kind = text(doc, "type").or_else(|| text(doc, "event_type"));
        let message = doc.get("delta").and_then(|delta| delta.get("message"));
        match (kind.as_deref().unwrap_or(name), message) {
            ("message-start", message) => {
                joined.walk(message.unwrap_or(&Value::Null), &mut Path::new("$.message"), "", Mode::Set);
            }
            (
                kind @ ("content-start" | "content-delta" | "citation-start" | "tool-call-start" | "tool-call-delta"),
                Some(message),
            ) => {
                if kind == "tool-call-start" && self.facts.tool_calls.len() < MAX_LISTED {
                    self.facts.tool_calls.extend(message.get("tool_calls").map(tool_name));
                }
                part(message, doc, joined);
            }
            ("tool-plan-delta", Some(message)) => {
                joined.walk(message, &mut Path::new("$.message"), "", Mode::Append);
            }
            ("content-end" | "citation-end" | "tool-call-end", _) => {}
            ("message-end", _) => {
                let delta = doc.get("delta").unwrap_or(&Value::Null);
                if delta.get("error").is_some_and(|error| !error.is_null()) {
                    self.facts.error = error_code(delta);
                }
                ended(delta, &mut self.facts);
                joined.walk(delta, &mut Path::new("$"), "", Mode::Set);
            }
            (kind, _) => self.version_1(kind, doc, joined),
        }
    }

    fn finish(mut self: Box<Self>, _: Seen, _: &mut Joined) -> Facts {
        if self.facts.tool_calls.is_empty() {
            self.facts.tool_calls = self.repeated;
        }
        self.facts.finish_reasons.truncate(MAX_LISTED);
        self.facts
    }
}

impl Events {
    fn version_1(&mut self, kind: &str, doc: &Value, joined: &mut Joined) {
        match kind {
            "stream-start" => replace(&mut self.facts.response_id, text(doc, "generation_id")),
            "text-generation" => {
                joined.walk(doc.get("text").unwrap_or(&Value::Null), &mut Path::new("$.text"), "text", Mode::Append);
            }
            // The parts of a call: `tool-calls-generation` has the calls whole.
            "tool-calls-chunk" => {}
            "stream-end" => {
                let answer = doc.get("response").unwrap_or(&Value::Null);
                replace(&mut self.facts.response_id, text(answer, "response_id"));
                self.calls(answer);
                ended(answer, &mut self.facts);
                if self.facts.finish_reasons.is_empty() {
                    self.facts.finish_reasons.extend(text(doc, "finish_reason"));
                }
                joined.walk(answer, &mut Path::new("$"), "", Mode::Set);
            }
            _ => {
                if kind == "tool-calls-generation" {
                    self.calls(doc);
                }
                replace(&mut self.facts.error, error_code(doc));
                joined.walk(doc, &mut Path::new("$"), "", Mode::Set);
            }
        }
    }

    fn calls(&mut self, doc: &Value) {
        let calls = elements(doc, "tool_calls");
        if !calls.is_empty() {
            self.repeated = calls.iter().map(tool_name).take(MAX_LISTED).collect();
        }
    }
}

/// A part of the message: each list has one element, as an object, whose place stands beside.
fn part(message: &Value, doc: &Value, joined: &mut Joined) {
    let index = doc.get("index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
    let Some(map) = message.as_object() else { return };
    for (key, value) in map {
        let mut path = Path::new("$.message");
        path.key(key);
        if value.is_object() {
            path.index(index);
        }
        joined.walk(value, &mut path, key, Mode::Append);
    }
}
