//! Amazon Bedrock's Converse and ConverseStream, which is Nova's own shape too. Enters: an answer, whole or as events. Leaves:
//! facts, and the text of a streamed answer at the paths that the whole answer would have
//! (`$.output.message.content[0].text`). No answer says which model it came from, but for a prompt router's trace.
//!
//! Shapes: docs.aws.amazon.com, Bedrock API reference, `Converse`, `ConverseStreamOutput`.

use serde_json::{Map, Value};

use super::{
    facts::{Facts, MAX_LISTED, Seen, elements, error_code, replace, text},
    path::Path,
    stream::{Stream, parse_pieces},
    text::{Joined, Mode},
    usage,
};

/// Events of a stream. Some gateways and Nova's own stream have the event's name as the only member around it.
const EVENTS: [&str; 6] =
    ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"];

/// Reads a whole answer.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    replace(&mut facts.error, error_code(doc));
    facts.finish_reasons.extend(text(doc, "stopReason"));
    let message = doc.get("output").and_then(|output| output.get("message")).unwrap_or(&Value::Null);
    for block in elements(message, "content").iter().take(MAX_LISTED) {
        tool(block, facts);
    }
    metadata(doc, facts);
}

/// A tool call in a block, or at its start. The vendor runs some itself (`server_tool_use`).
fn tool(block: &Value, facts: &mut Facts) {
    let Some(call) = block.get("toolUse") else { return };
    let by_vendor = call.get("type").is_some_and(|kind| kind == "server_tool_use");
    let calls = if by_vendor { &mut facts.server_tool_calls } else { &mut facts.tool_calls };
    if calls.len() < MAX_LISTED {
        calls.push(text(call, "name").unwrap_or_default());
    }
}

/// What stands beside the answer: at the top of a whole one, in the last event of a stream.
fn metadata(doc: &Value, facts: &mut Facts) {
    usage::take(facts, doc.get("usage"), usage::converse);
    replace(&mut facts.service_tier, doc.get("serviceTier").and_then(|tier| text(tier, "type")));
    let router = doc.get("trace").and_then(|trace| trace.get("promptRouter"));
    replace(&mut facts.response_model, router.and_then(|router| text(router, "invokedModelId")));
}

/// A streamed answer. State: one path a tool call, at most [`MAX_LISTED`].
#[derive(Debug, Default)]
pub(super) struct Events {
    facts: Facts,
    /// Blocks whose input comes as pieces of JSON text.
    inputs: Vec<u64>,
}

/// Whether an event of a stream is one of these, by its only member.
pub(super) fn is_event(doc: &Value) -> bool {
    inner(doc).is_some()
}

fn inner(doc: &Value) -> Option<(&'static str, &Value)> {
    EVENTS.iter().find_map(|event| doc.get(event).filter(|inner| inner.is_object()).map(|inner| (*event, inner)))
}

impl Stream for Events {
    fn event(&mut self, name: &str, doc: &Value, joined: &mut Joined) {
        let (name, doc) = match inner(doc) {
            Some(named) if !EVENTS.contains(&name) => named,
            _ => (name, doc),
        };
        match name {
            "messageStart" | "contentBlockStop" => {}
            "contentBlockStart" => {
                let Some(start) = doc.get("start") else { return };
                tool(start, &mut self.facts);
                joined.walk(start, &mut place(index(doc)), "", Mode::Set);
            }
            "contentBlockDelta" => {
                let Some(delta) = doc.get("delta").and_then(Value::as_object) else { return };
                self.delta(delta, index(doc), joined);
            }
            "messageStop" => {
                if self.facts.finish_reasons.len() < MAX_LISTED {
                    self.facts.finish_reasons.extend(text(doc, "stopReason"));
                }
                rest(doc, joined);
            }
            "metadata" => {
                metadata(doc, &mut self.facts);
                rest(doc, joined);
            }
            _ => {
                replace(&mut self.facts.error, error_code(doc));
                joined.walk(doc, &mut Path::new("$"), "", Mode::Append);
            }
        }
    }

    fn finish(mut self: Box<Self>, _: Seen, joined: &mut Joined) -> Facts {
        for index in &self.inputs {
            let mut path = place(*index);
            path.key("toolUse");
            let length = path.len();
            path.key("input");
            let input = parse_pieces(path.as_str(), joined);
            path.truncate(length);
            let beside = |name: &str| joined.at(&format!("{}.{name}", path.as_str())).unwrap_or_default();
            // Those that the vendor runs itself have a type.
            if beside("type").is_empty() {
                self.facts.written.call(beside("name"), &input);
            }
        }
        self.facts
    }
}

impl Events {
    fn delta(&mut self, delta: &Map<String, Value>, index: u64, joined: &mut Joined) {
        for (key, value) in delta {
            let mut path = place(index);
            path.key(key);
            if key == "reasoningContent"
                && let Some(parts) = value.as_object()
            {
                reasoning(parts, &path, joined);
                continue;
            }
            if key == "toolUse" && self.inputs.last() != Some(&index) && self.inputs.len() < MAX_LISTED {
                self.inputs.push(index);
            }
            if key == "toolResult" {
                path.key("content");
            }
            joined.walk(value, &mut path, key, Mode::Append);
        }
    }
}

/// The whole answer has text and signature one level down.
fn reasoning(parts: &Map<String, Value>, place: &Path, joined: &mut Joined) {
    for (key, value) in parts {
        let mut path = place.clone();
        if key == "text" || key == "signature" {
            path.key("reasoningText");
        }
        path.key(key);
        joined.walk(value, &mut path, key, Mode::Append);
    }
}

/// Other members, but for numbers and for the padding (`p`) that hides how long an event is.
fn rest(doc: &Value, joined: &mut Joined) {
    let Some(map) = doc.as_object() else { return };
    for (key, value) in map.iter().filter(|(key, _)| !matches!(key.as_str(), "p" | "usage" | "metrics")) {
        let mut path = Path::new("$");
        path.key(key);
        joined.walk(value, &mut path, key, Mode::Set);
    }
}

fn index(doc: &Value) -> u64 {
    doc.get("contentBlockIndex").and_then(Value::as_u64).unwrap_or(0)
}

fn place(index: u64) -> Path {
    let mut path = Path::new("$.output.message.content");
    path.index(usize::try_from(index).unwrap_or(usize::MAX));
    path
}
