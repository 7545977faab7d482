//! Ollama's own chat and generate. Enters: an answer, whole or a line at a time. Leaves: facts, and the text of a streamed
//! answer at the paths that the whole answer would have (`$.message.content`, `$.response`).
//!
//! Shapes: docs.ollama.com, "Generate a chat message", "Generate a response", "Streaming".

use serde_json::Value;

use super::{
    facts::{Facts, MAX_LISTED, Seen, elements, error_code, replace, text},
    path::Path,
    stream::Stream,
    text::{Joined, Mode},
    usage,
};

/// Reads a whole answer.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    replace(&mut facts.response_model, text(doc, "model"));
    replace(&mut facts.error, error_code(doc));
    facts.tool_calls.extend(calls(doc).iter().map(tool_name).take(MAX_LISTED));
    last(doc, facts);
}

/// What the answer ends with: also the last line of a stream.
fn last(doc: &Value, facts: &mut Facts) {
    if doc.get("done").and_then(Value::as_bool) == Some(true) {
        facts.finish_reasons.extend(text(doc, "done_reason"));
        facts.usage = usage::ollama(doc);
    }
}

fn calls(doc: &Value) -> &[Value] {
    doc.get("message").map_or(&[], |message| elements(message, "tool_calls"))
}

fn tool_name(call: &Value) -> String {
    call.get("function").and_then(|function| text(function, "name")).unwrap_or_default()
}

/// A streamed answer.
#[derive(Debug, Default)]
pub(super) struct Lines {
    facts: Facts,
    /// Tool calls come whole, in one line or several.
    calls: usize,
}

impl Stream for Lines {
    fn event(&mut self, _: &str, doc: &Value, joined: &mut Joined) {
        replace(&mut self.facts.response_model, text(doc, "model"));
        replace(&mut self.facts.error, error_code(doc));
        for call in calls(doc) {
            let mut path = Path::new("$.message.tool_calls");
            path.index(self.calls);
            self.calls = self.calls.saturating_add(1);
            if self.facts.tool_calls.len() < MAX_LISTED {
                self.facts.tool_calls.push(tool_name(call));
            }
            if let Some(arguments) = call.get("function").and_then(|function| function.get("arguments")) {
                self.facts.written.called(&tool_name(call), arguments);
            }
            joined.walk(call, &mut path, "", Mode::Set);
        }
        if self.facts.finish_reasons.len() < MAX_LISTED {
            last(doc, &mut self.facts);
        }
        let Some(map) = doc.as_object() else { return };
        // Each line has a time of its own, which is no text.
        for (key, value) in map.iter().filter(|(key, _)| !matches!(key.as_str(), "message" | "created_at")) {
            let mut path = Path::new("$");
            path.key(key);
            let is_part = key == "response" || key == "thinking";
            joined.walk(value, &mut path, key, if is_part { Mode::Append } else { Mode::Set });
        }
        let message = doc.get("message").and_then(Value::as_object).into_iter().flatten();
        for (key, value) in message.filter(|(key, _)| *key != "tool_calls") {
            let mut path = Path::new("$.message");
            path.key(key);
            joined.walk(value, &mut path, key, Mode::Append);
        }
    }

    fn has_arguments(&self, data: &str) -> bool {
        memchr::memmem::find(data.as_bytes(), b"\"tool_calls\"").is_some()
    }

    fn finish(self: Box<Self>, _: Seen, _: &mut Joined) -> Facts {
        self.facts
    }
}
