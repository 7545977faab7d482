//! OpenAI responses. Enters: an answer, whole or as events. Leaves: facts, and the text of a streamed answer at the paths
//! that the whole answer would have (`$.output[0].content[0].text`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    facts::{Facts, MAX_LISTED, Seen, elements, error_code, replace, text},
    path::Path,
    stream::Stream,
    text::{Joined, Mode},
    tree::Node,
    usage, written,
};

/// Items that ask the client to run something. All other `*_call` items are run by the vendor.
const CLIENT_CALLS: [&str; 6] =
    ["function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call", "apply_patch_call"];

/// Members of an answer that repeat the request: they did not come from the model, and are scanned where they were sent.
const ECHOES: [&str; 3] = ["instructions", "tools", "metadata"];

/// Whether the text at a path of an answer repeats the request.
pub(super) fn is_echo(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("$.") else { return false };
    ECHOES.iter().any(|key| rest.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])))
}

/// Reads a whole answer.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    envelope(doc, facts);
    facts.finish_reasons.extend(text(doc, "status"));
    let mut calls = BTreeMap::new();
    list(elements(doc, "output"), &mut calls);
    give(calls, facts);
    usage::take(facts, doc.get("usage"), usage::responses);
}

fn envelope(doc: &Value, facts: &mut Facts) {
    facts.envelope(doc);
    if doc.get("status").and_then(Value::as_str) == Some("failed") {
        facts.error.get_or_insert_with(|| "failed".to_owned());
    }
}

/// Reads the answer of a compaction: a list of items that stands for a conversation. Its calls were made before.
pub(super) fn compaction(doc: &Value, facts: &mut Facts) {
    facts.envelope(doc);
    usage::take(facts, doc.get("usage"), usage::responses);
}

/// Who runs a call, and its name.
#[derive(Debug)]
enum Call {
    Client(String),
    Server(String),
}

fn call(item: &Value) -> Option<Call> {
    let kind = item.get("type")?.as_str()?;
    let name = || text(item, "name").unwrap_or_else(|| kind.to_owned());
    if CLIENT_CALLS.contains(&kind) {
        return Some(Call::Client(name()));
    }
    kind.ends_with("_call").then(|| Call::Server(name()))
}

fn list(output: &[Value], calls: &mut BTreeMap<u64, Call>) {
    *calls = output.iter().filter_map(call).take(MAX_LISTED).zip(0..).map(|(call, index)| (index, call)).collect();
}

fn give(calls: BTreeMap<u64, Call>, facts: &mut Facts) {
    for call in calls.into_values() {
        match call {
            Call::Client(name) => facts.tool_calls.push(name),
            Call::Server(name) => facts.server_tool_calls.push(name),
        }
    }
}

/// A streamed answer. State: one entry a tool call, at most [`MAX_LISTED`].
#[derive(Debug, Default)]
pub(super) struct Events {
    facts: Facts,
    calls: BTreeMap<u64, Call>,
    /// Items of the present response came one by one.
    items: bool,
    /// Items of earlier responses in the same stream.
    base: u64,
    next: u64,
}

impl Stream for Events {
    fn event(&mut self, name: &str, doc: &Value, joined: &mut Joined) {
        let kind = doc.get("type").and_then(Value::as_str).unwrap_or(name);
        match kind {
            "response.output_item.added" | "response.output_item.done" => self.item(doc, joined),
            "response.completed" | "response.incomplete" | "response.failed" => self.last(doc, joined),
            "response.created" | "response.in_progress" | "response.queued" => {
                let Some(response) = doc.get("response") else { return };
                if kind == "response.created" {
                    (self.base, self.items) = (self.next, false);
                }
                replace(&mut self.facts.response_model, text(response, "model"));
                replace(&mut self.facts.response_id, text(response, "id"));
            }
            "error" => {
                // Either `{"type":"error","error":{…}}` or the error's members beside the type.
                let code = error_code(doc).or_else(|| text(doc, "code")).unwrap_or_else(|| "error".to_owned());
                self.facts.error = error_code(&serde_json::json!({"error":{"code":code}}));
                joined.walk(doc, &mut Path::new("$.error"), "", Mode::Set);
            }
            _ => {
                let index = self.index(doc.get("output_index").and_then(Value::as_u64));
                part(kind, doc, index, joined);
            }
        }
    }

    fn has_deltas(&self) -> bool {
        true
    }

    fn delta(&mut self, _: &str, doc: Node<'_>, joined: &mut Joined) -> bool {
        let kind = doc.get("type").and_then(Node::as_str).unwrap_or_default();
        let what = kind.strip_prefix("response.").and_then(|kind| kind.strip_suffix(".delta"));
        let (Some(what), Some(delta)) = (what, doc.get("delta")) else { return false };
        let number = |key: &str| doc.get(key).and_then(Node::as_u64);
        let item = self.index(number("output_index"));
        let mut path = joined.path("$.output");
        path.index(usize::try_from(item).unwrap_or(usize::MAX));
        let key = continued(what, &number, &mut path);
        joined.walk_node(delta, &mut path, key, Mode::Append);
        joined.give_back(path);
        true
    }

    fn finish(mut self: Box<Self>, _: Seen, _: &mut Joined) -> Facts {
        give(self.calls, &mut self.facts);
        self.facts
    }
}

impl Events {
    fn index(&mut self, index: Option<u64>) -> u64 {
        let index = index.unwrap_or(0).saturating_add(self.base);
        self.next = self.next.max(index.saturating_add(1));
        index
    }

    fn item(&mut self, doc: &Value, joined: &mut Joined) {
        let Some(item) = doc.get("item") else { return };
        self.items = true;
        let index = self.index(doc.get("output_index").and_then(Value::as_u64));
        if let Some(call) = call(item)
            && self.calls.len() < MAX_LISTED
        {
            self.calls.insert(index, call);
        }
        joined.walk(item, &mut place(index), "", Mode::Set);
    }

    /// The last event carries the whole answer. Its output repeats the items, at xAI without the tool calls and so at other
    /// indexes: the items as they were streamed are what was sent.
    fn last(&mut self, doc: &Value, joined: &mut Joined) {
        let Some(response) = doc.get("response") else { return };
        envelope(response, &mut self.facts);
        self.facts.finish_reasons = text(response, "status").into_iter().collect();
        self.facts.written.stopped_by = written::stopped_by(response);
        usage::take(&mut self.facts, response.get("usage"), usage::responses);
        if !self.items {
            list(elements(response, "output"), &mut self.calls);
        }
        let Some(map) = response.as_object() else { return };
        let is_news = |key: &str| !ECHOES.contains(&key) && (!self.items || key != "output");
        for (key, value) in map.iter().filter(|(key, _)| is_news(key)) {
            let mut path = Path::new("$");
            path.key(key);
            joined.walk(value, &mut path, key, Mode::Set);
        }
    }
}

fn place(index: u64) -> Path {
    let mut path = Path::new("$.output");
    path.index(usize::try_from(index).unwrap_or(usize::MAX));
    path
}

/// A part of an item: `response.<what>.delta` continues a text, and everything else repeats what `output_item.done` says
/// once more, except what is cut before that: so it is set where the delta would have put it.
fn part(kind: &str, doc: &Value, item: u64, joined: &mut Joined) {
    let number = |key: &str| doc.get(key).and_then(Value::as_u64);
    let Some(what) = kind.strip_prefix("response.").and_then(|kind| kind.rsplit_once('.')) else {
        return joined.walk(doc, &mut Path::new("$.event"), "", Mode::Append);
    };
    let ("delta", Some(delta)) = (what.1, doc.get("delta")) else { return };
    let mut path = place(item);
    let key = continued(what.0, &number, &mut path);
    joined.walk(delta, &mut path, key, Mode::Append);
}

/// Goes from an item to the text that a `response.<what>.delta` continues; gives its key.
fn continued<'k>(what: &'k str, number: &dyn Fn(&str) -> Option<u64>, path: &mut Path) -> &'k str {
    let number = |key: &str| number(key).and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
    let mut inner = |list: &str, index: &str| {
        path.key(list);
        path.index(number(index));
    };
    let key = match what {
        "output_text" | "reasoning_text" => {
            inner("content", "content_index");
            "text"
        }
        "refusal" => {
            inner("content", "content_index");
            "refusal"
        }
        "reasoning_summary_text" => {
            inner("summary", "summary_index");
            "text"
        }
        "function_call_arguments" | "mcp_call_arguments" => "arguments",
        "custom_tool_call_input" => "input",
        "code_interpreter_call_code" => "code",
        "shell_call_command" => {
            path.key("action");
            path.key("commands");
            path.index(number("command_index"));
            ""
        }
        other => other,
    };
    if !key.is_empty() {
        path.key(key);
    }
    key
}
