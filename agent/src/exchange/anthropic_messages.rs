//! Anthropic messages. Enters: an answer, whole or as events. Leaves: facts, and the text of a streamed answer at the paths
//! that the whole answer would have (`$.content[1].text`, `$.content[2].input.city`).

use serde_json::{Map, Value};

use super::{
    facts::{Facts, MAX_LISTED, Seen, elements, error_code, replace, text},
    path::Path,
    stream::{Stream, parse_pieces},
    text::{Joined, Mode},
    tree::Node,
    usage,
};

/// Reads a whole answer.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    facts.envelope(doc);
    facts.finish_reasons.extend(text(doc, "stop_reason"));
    for block in elements(doc, "content").iter().take(MAX_LISTED) {
        tool_call(block, facts);
    }
    usage::take(facts, doc.get("usage"), usage::messages);
    tier(facts, doc.get("usage"));
}

/// `tool_use` is for the client to run; `server_tool_use` and `mcp_tool_use` the vendor ran itself.
fn tool_call(block: &Value, facts: &mut Facts) {
    let calls = match block.get("type").and_then(Value::as_str) {
        Some("tool_use") => &mut facts.tool_calls,
        Some("server_tool_use" | "mcp_tool_use") => &mut facts.server_tool_calls,
        _ => return,
    };
    if calls.len() < MAX_LISTED {
        calls.push(text(block, "name").unwrap_or_default());
    }
}

fn tier(facts: &mut Facts, usage: Option<&Value>) {
    replace(&mut facts.usage_tier, usage.and_then(|usage| text(usage, "service_tier")));
}

/// A streamed answer. State: the usage so far and one index a tool call, at most [`MAX_LISTED`].
#[derive(Debug, Default)]
pub(super) struct Events {
    facts: Facts,
    usage: Map<String, Value>,
    /// Blocks whose input comes as pieces of JSON text.
    inputs: Vec<u64>,
    /// Blocks of earlier messages in the same stream.
    base: u64,
    next: u64,
    /// `message_delta` was seen: the usage is final, unless another one follows.
    counted: bool,
    stopped: bool,
}

impl Stream for Events {
    fn event(&mut self, name: &str, doc: &Value, joined: &mut Joined) {
        let kind = doc.get("type").and_then(Value::as_str).unwrap_or(name);
        match kind {
            "message_start" => self.start(doc, joined),
            "content_block_start" => self.block(doc, joined),
            "content_block_delta" => self.delta(doc, joined),
            "message_delta" => {
                self.facts.finish_reasons.extend(doc.get("delta").and_then(|delta| text(delta, "stop_reason")));
                self.facts.finish_reasons.truncate(MAX_LISTED);
                self.count(doc.get("usage"));
                self.counted = true;
            }
            "message_stop" => self.stopped = true,
            "content_block_stop" | "ping" => {}
            _ => {
                replace(&mut self.facts.error, error_code(doc));
                joined.walk(doc, &mut Path::new("$"), "", Mode::Set);
            }
        }
    }

    fn has_deltas(&self) -> bool {
        true
    }

    fn delta(&mut self, _: &str, doc: Node<'_>, joined: &mut Joined) -> bool {
        if doc.get("type").and_then(Node::as_str) != Some("content_block_delta") {
            return false;
        }
        let Some(delta) = doc.get("delta").filter(|delta| delta.is_object()) else { return false };
        let index = self.index(doc.get("index").and_then(Node::as_u64));
        let mut path = joined.path("$.content");
        path.index(usize::try_from(index).unwrap_or(usize::MAX));
        let length = path.len();
        for member in delta.below().filter(|member| member.key() != "type") {
            path.key(self.member(index, member.key()));
            joined.walk_node(member, &mut path, member.key(), Mode::Append);
            path.truncate(length);
        }
        joined.give_back(path);
        true
    }

    fn finish(mut self: Box<Self>, seen: Seen, joined: &mut Joined) -> Facts {
        for index in &self.inputs {
            let mut path = place(*index);
            let length = path.len();
            path.key("input");
            let input = parse_pieces(path.as_str(), joined);
            path.truncate(length);
            let beside = |name: &str| joined.at(&format!("{}.{name}", path.as_str())).unwrap_or_default();
            if beside("type") == "tool_use" {
                self.facts.written.call(beside("name"), &input);
            }
        }
        let total = Value::Object(std::mem::take(&mut self.usage));
        let final_usage = self.counted && (self.stopped || seen == Seen::Whole);
        // The output of `message_start` counts what was written when it was sent, not the answer. Its input is the input,
        // as far as it goes; behind a hole a later figure may stand.
        if final_usage || seen == Seen::Start {
            usage::take(&mut self.facts, Some(&total), usage::messages);
        }
        if !final_usage {
            self.facts.usage.output_tokens = None;
            self.facts.usage.reasoning_tokens = None;
        }
        tier(&mut self.facts, Some(&total));
        self.facts
    }
}

impl Events {
    fn start(&mut self, doc: &Value, joined: &mut Joined) {
        let Some(message) = doc.get("message") else { return };
        self.facts.envelope(message);
        self.usage.clear();
        self.count(message.get("usage"));
        (self.counted, self.stopped) = (false, false);
        self.base = self.next;
        let Some(map) = message.as_object() else { return };
        for (key, value) in map.iter().filter(|(key, _)| !matches!(key.as_str(), "content" | "usage")) {
            let mut path = Path::new("$");
            path.key(key);
            joined.walk(value, &mut path, key, Mode::Set);
        }
    }

    fn count(&mut self, usage: Option<&Value>) {
        let newer = usage.and_then(Value::as_object).into_iter().flatten().filter(|(_, value)| !value.is_null());
        for (key, value) in newer.take(64) {
            self.usage.insert(key.clone(), value.clone());
        }
    }

    fn index(&mut self, index: Option<u64>) -> u64 {
        let index = index.unwrap_or(0).saturating_add(self.base);
        self.next = self.next.max(index.saturating_add(1));
        index
    }

    fn block(&mut self, doc: &Value, joined: &mut Joined) {
        let index = self.index(doc.get("index").and_then(Value::as_u64));
        let Some(block) = doc.get("content_block") else { return };
        tool_call(block, &mut self.facts);
        joined.walk(block, &mut place(index), "", Mode::Set);
    }

    fn delta(&mut self, doc: &Value, joined: &mut Joined) {
        let index = self.index(doc.get("index").and_then(Value::as_u64));
        let Some(delta) = doc.get("delta").and_then(Value::as_object) else { return };
        let mut path = place(index);
        let length = path.len();
        for (key, value) in delta.iter().filter(|(key, _)| *key != "type") {
            path.key(self.member(index, key));
            joined.walk(value, &mut path, key, Mode::Append);
            path.truncate(length);
        }
    }

    /// The member of a block that a member of a delta goes on with.
    fn member<'k>(&mut self, index: u64, key: &'k str) -> &'k str {
        if key != "partial_json" {
            return key;
        }
        if self.inputs.last() != Some(&index) && self.inputs.len() < MAX_LISTED {
            self.inputs.push(index);
        }
        "input"
    }
}

fn place(index: u64) -> Path {
    let mut path = Path::new("$.content");
    path.index(usize::try_from(index).unwrap_or(usize::MAX));
    path
}
