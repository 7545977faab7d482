//! OpenAI chat completions, and everything compatible with it. Enters: an answer, whole or as events. Leaves: facts, and the
//! text of a streamed answer at the paths that the whole answer would have (`$.choices[0].message.content`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    facts::{Facts, MAX_LISTED, Seen, elements, text},
    path::Path,
    stream::Stream,
    text::{Joined, Mode},
    tree::Node,
    usage,
};

/// Reads a whole answer.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    facts.envelope(doc);
    usage::take(facts, doc.get("usage"), usage::chat);
    for choice in elements(doc, "choices").iter().take(MAX_LISTED) {
        facts.finish_reasons.extend(text(choice, "finish_reason"));
        let Some(message) = choice.get("message") else { continue };
        for call in elements(message, "tool_calls").iter().take(MAX_LISTED - facts.tool_calls.len().min(MAX_LISTED)) {
            facts.tool_calls.push(tool_name(call).unwrap_or_default());
        }
        // The legacy form. Snowflake sends it beside the new one, without a name: a call all the same.
        if let Some(call) = message.get("function_call").filter(|call| call.is_object()) {
            facts.tool_calls.push(text(call, "name").unwrap_or_default());
        }
    }
}

fn tool_name(call: &Value) -> Option<String> {
    ["function", "custom"].iter().find_map(|kind| text(call.get(kind)?, "name"))
}

/// A streamed answer. State: one entry a choice and one a tool call, at most [`MAX_LISTED`] of each.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    facts: Facts,
    usage: Option<Value>,
    reasons: BTreeMap<u64, String>,
    calls: BTreeMap<(u64, u64), String>,
    done: bool,
}

impl Stream for Chunks {
    fn event(&mut self, _: &str, doc: &Value, joined: &mut Joined) {
        self.facts.envelope(doc);
        // Groq puts it below `x_groq`.
        let usage = [doc.get("usage"), doc.get("x_groq").and_then(|extra| extra.get("usage"))];
        if let Some(usage) = usage.into_iter().flatten().find(|usage| usage.is_object()) {
            self.usage = Some(usage.clone());
        }
        for choice in elements(doc, "choices") {
            self.choice(choice, joined);
        }
        let Some(map) = doc.as_object() else { return };
        for (key, value) in map.iter().filter(|(key, _)| *key != "choices") {
            let mut path = Path::new("$");
            path.key(key);
            joined.walk(value, &mut path, key, Mode::Set);
        }
    }

    fn has_deltas(&self) -> bool {
        true
    }

    fn delta(&mut self, _: &str, doc: Node<'_>, joined: &mut Joined) -> bool {
        let Some(choices) = self.deltas(doc) else { return false };
        for choice in choices.below() {
            let index = choice.get("index").and_then(Node::as_u64).unwrap_or(0);
            let Some(delta) = choice.get("delta") else { continue };
            let mut path = joined.path("$.choices");
            path.index(usize::try_from(index).unwrap_or(usize::MAX));
            path.key("message");
            joined.walk_node(delta, &mut path, "", Mode::Append);
            joined.give_back(path);
        }
        for member in doc.below().filter(|member| !matches!(member.key(), "choices" | "id" | "model")) {
            let mut path = joined.path("$");
            path.key(member.key());
            joined.walk_node(member, &mut path, member.key(), Mode::Set);
            joined.give_back(path);
        }
        true
    }

    fn done(&mut self) {
        self.done = true;
    }

    fn finish(mut self: Box<Self>, seen: Seen, _: &mut Joined) -> Facts {
        // Many vendors report the usage so far in each chunk: only the last one of a whole stream is the usage.
        if self.done || seen == Seen::Whole {
            usage::take(&mut self.facts, self.usage.as_ref(), usage::chat);
        }
        self.facts.finish_reasons = self.reasons.into_values().collect();
        self.facts.tool_calls = self.calls.into_values().collect();
        self.facts
    }
}

impl Chunks {
    /// The choices of an event from which no new fact comes: it has the envelope of the events before it, and each of its
    /// choices goes on with a text or with a tool call that has its name.
    fn deltas<'t>(&self, doc: Node<'t>) -> Option<Node<'t>> {
        let mut choices = None;
        for member in doc.below() {
            let is_known = |fact: &Option<String>| member.is_null() || member.as_str() == fact.as_deref();
            let is_plain = match member.key() {
                "choices" => {
                    choices = Some(member);
                    member.is_array()
                }
                "id" => is_known(&self.facts.response_id),
                "model" => is_known(&self.facts.response_model),
                "service_tier" => is_known(&self.facts.service_tier),
                "system_fingerprint" => is_known(&self.facts.system_fingerprint),
                "usage" | "x_groq" | "error" => member.is_null(),
                _ => true,
            };
            if !is_plain {
                return None;
            }
        }
        choices.filter(|choices| choices.below().all(|choice| self.is_delta(choice)))
    }

    fn is_delta(&self, choice: Node<'_>) -> bool {
        let index = choice.get("index").and_then(Node::as_u64).unwrap_or(0);
        let is_named = |call: Node<'_>| {
            ["function", "custom"].iter().any(|kind| call.get(kind).and_then(|call| call.get("name")).is_some())
        };
        let goes_on = |call: Node<'_>| {
            let call_index = call.get("index").and_then(Node::as_u64);
            call_index.is_some_and(|call_index| self.calls.contains_key(&(index, call_index))) && !is_named(call)
        };
        choice.get("finish_reason").is_none_or(Node::is_null)
            && choice.get("delta").is_some_and(|delta| {
                delta.is_object()
                    && delta.below().all(|member| match member.key() {
                        "tool_calls" => member.is_null() || (member.is_array() && member.below().all(goes_on)),
                        "function_call" => false,
                        _ => true,
                    })
            })
    }

    fn choice(&mut self, choice: &Value, joined: &mut Joined) {
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        if let Some(reason) = text(choice, "finish_reason")
            && self.reasons.len() < MAX_LISTED
        {
            self.reasons.insert(index, reason);
        }
        let mut path = Path::new("$.choices");
        path.index(usize::try_from(index).unwrap_or(usize::MAX));
        path.key("message");
        match choice.get("delta") {
            Some(delta) => {
                joined.walk(delta, &mut path, "", Mode::Append);
                self.calls(index, delta);
            }
            None => {
                if let Some(message) = choice.get("message") {
                    joined.walk(message, &mut path, "", Mode::Set);
                    self.calls(index, message);
                }
            }
        }
    }

    fn calls(&mut self, choice: u64, delta: &Value) {
        for (position, call) in elements(delta, "tool_calls").iter().enumerate() {
            let index = call.get("index").and_then(Value::as_u64).unwrap_or(position as u64);
            self.call(choice, index, tool_name(call));
        }
        if let Some(call) = delta.get("function_call").filter(|call| call.is_object()) {
            self.call(choice, u64::MAX, text(call, "name"));
        }
    }

    fn call(&mut self, choice: u64, index: u64, name: Option<String>) {
        if self.calls.len() < MAX_LISTED || self.calls.contains_key(&(choice, index)) {
            let known = self.calls.entry((choice, index)).or_default();
            if let Some(name) = name {
                *known = name;
            }
        }
    }
}
