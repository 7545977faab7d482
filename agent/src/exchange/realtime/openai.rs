//! OpenAI's realtime messages, which Azure, xAI and most gateways speak too; and responses over a WebSocket, which has the
//! same ones. Enters: a message. Leaves: facts and text in a [`Turn`]: what the model says at the paths that the answer of
//! the responses API would have (`$.output[0].content[0].transcript`), what the user says at `$.input[0].transcript`.
//! What only repeats the client is not taken twice.

use serde_json::Value;

use super::{
    session::Known,
    turn::{Bounds, Turn},
};
use crate::{
    assembly::Frame,
    exchange::{
        Usage,
        facts::{count, elements, error_code, replace, text},
        path::Path,
        text::Mode,
        usage::{audio, reported_cost},
    },
    sources::Direction,
};

/// Messages that end an answer: the first in realtime, the others in responses.
const ENDS: [&str; 4] = ["response.done", "response.completed", "response.incomplete", "response.failed"];

/// Items that ask the client to run something. All other `*_call` items are run by the vendor.
const CLIENT_CALLS: [&str; 2] = ["function_call", "custom_tool_call"];

fn kind(doc: &Value) -> &str {
    doc.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Whether a message can be no other's.
pub(super) fn is_shape(doc: &Value) -> bool {
    let has = |key: &str| doc.get(key).is_some_and(Value::is_object);
    match kind(doc) {
        "session.created"
        | "session.update"
        | "session.updated"
        | "transcription_session.created"
        | "transcription_session.update" => has("session"),
        "response.create" => true,
        "response.created" => has("response"),
        "conversation.item.create" | "conversation.item.created" | "conversation.item.added" => has("item"),
        "input_audio_buffer.append" => doc.get("audio").is_some_and(Value::is_string),
        kind => ENDS.contains(&kind) && has("response"),
    }
}

/// Whether a turn ends with a message.
pub(super) fn bounds(direction: Direction, doc: &Value) -> Bounds {
    let is_end = direction == Direction::Received && ENDS.contains(&kind(doc));
    if is_end { Bounds::After } else { Bounds::Inside }
}

/// Takes a message of the client; gives the bytes of media in it.
pub(super) fn sent(turn: &mut Turn, doc: &Value, data: &str, known: &mut Known) -> usize {
    let kind = kind(doc);
    if kind == "input_audio_buffer.append" {
        // The text of a session that is all audio would be this word, a thousand times.
        return doc.get("audio").and_then(Value::as_str).map_or(0, str::len);
    }
    for place in [Some(doc), doc.get("session"), doc.get("response")].into_iter().flatten() {
        let is_model = matches!(kind, "session.update" | "response.create");
        replace(&mut known.request_model, text(place, "model").filter(|_| is_model));
        for item in elements(place, "input") {
            result(turn, item);
        }
    }
    if let Some(item) = doc.get("item").filter(|_| kind == "conversation.item.create") {
        result(turn, item);
    }
    turn.send(data, &|_, key| key == "audio")
}

fn result(turn: &mut Turn, item: &Value) {
    let is_result = matches!(kind(item), "function_call_output" | "custom_tool_call_output");
    let Some(output) = item.get("output").filter(|_| is_result) else { return };
    let output = output.as_str().map_or_else(|| output.to_string(), str::to_owned);
    turn.result(text(item, "call_id"), text(item, "name"), false, &output);
}

/// Takes a message of the vendor; gives the bytes of media in it.
pub(super) fn received(turn: &mut Turn, doc: &Value, frame: &Frame, known: &mut Known) -> usize {
    let kind = kind(doc);
    match kind {
        "session.created" | "session.updated" => {
            let Some(session) = doc.get("session") else { return 0 };
            replace(&mut known.response_model, text(session, "model"));
            if known.conversation.is_none() {
                known.conversation = text(session, "id");
            }
        }
        "conversation.created" => {
            replace(&mut known.conversation, doc.get("conversation").and_then(|conversation| text(conversation, "id")));
        }
        "error" => {
            turn.realtime.errors += 1;
            let code = error_code(doc).or_else(|| text(doc, "code")).unwrap_or_else(|| "error".to_owned());
            turn.facts.error = error_code(&serde_json::json!({"error":{"code":code}}));
            turn.joined.walk(doc, &mut Path::new("$.error"), "", Mode::Set);
        }
        "response.created" | "response.in_progress" | "response.queued" => {
            let Some(response) = doc.get("response") else { return 0 };
            turn.response(response.get("id").and_then(Value::as_str));
            replace(&mut turn.facts.response_model, text(response, "model"));
            replace(&mut known.conversation, text(response, "conversation_id"));
        }
        "response.output_item.added" | "response.output_item.done" => {
            let Some(item) = doc.get("item") else { return 0 };
            let response = doc.get("response_id").and_then(Value::as_str);
            tool(turn, response, item);
            let id = item.get("id").and_then(Value::as_str);
            let mut path = place(turn, response, id, doc);
            if kind == "response.output_item.done" {
                turn.item_done(id);
                turn.joined.walk(item, &mut path, "", Mode::Set);
            }
        }
        kind if ENDS.contains(&kind) => done(turn, doc, known),
        kind if kind.starts_with("conversation.item.") => spoken(turn, kind, doc),
        kind if kind.starts_with("response.") => return part(turn, kind, doc, frame),
        "ping" | "rate_limits.updated" => {}
        kind if kind.starts_with("input_audio_buffer.") || kind.starts_with("output_audio_buffer.") => {}
        _ => {
            let root = turn.received_root();
            turn.joined.walk(doc, &mut Path::new(&root), "", Mode::Set);
        }
    }
    0
}

fn tool(turn: &mut Turn, response: Option<&str>, item: &Value) {
    let kind = kind(item);
    let is_client = CLIENT_CALLS.contains(&kind);
    if is_client || kind.ends_with("_call") {
        let id = item.get("call_id").or_else(|| item.get("id")).and_then(Value::as_str).unwrap_or_default();
        let name = text(item, "name").filter(|_| is_client).unwrap_or_else(|| kind.to_owned());
        turn.call(response, id, &name, !is_client);
    }
}

/// Where the text of an item stands. xAI leaves `output_index` out of some messages: an item that was seen has its place.
fn place(turn: &mut Turn, response: Option<&str>, item: Option<&str>, doc: &Value) -> Path {
    let index = doc.get("output_index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
    let (response, index) = turn.item(response, item, index);
    let mut path = Path::new("$");
    if response > 0 {
        path.key("responses");
        path.index(response);
    }
    path.key("output");
    path.index(index);
    path
}

/// `response.<what>.delta` continues a text, `response.<what>.done` repeats it.
fn part(turn: &mut Turn, kind: &str, doc: &Value, frame: &Frame) -> usize {
    let Some((what, end)) = kind.strip_prefix("response.").and_then(|kind| kind.rsplit_once('.')) else { return 0 };
    let (value, mode) = match end {
        "delta" => (doc.get("delta"), Mode::Append),
        "done" => (
            ["text", "transcript", "arguments", "refusal", "input", "code"].iter().find_map(|key| doc.get(*key)),
            Mode::Set,
        ),
        _ => return 0,
    };
    if end == "delta" {
        turn.answers_at(frame.started_at);
    }
    let Some(value) = value else { return 0 };
    let key = match what {
        "output_audio" | "audio" => return value.as_str().map_or(0, str::len),
        "output_audio_transcript" | "audio_transcript" => "transcript",
        "output_text" | "text" | "reasoning_text" | "reasoning_summary_text" => "text",
        "refusal" => "refusal",
        "function_call_arguments" | "mcp_call_arguments" => "arguments",
        "custom_tool_call_input" => "input",
        other => other,
    };
    let of = |key: &str| doc.get(key).and_then(Value::as_str);
    let mut path = place(turn, of("response_id"), of("item_id"), doc);
    if let Some(index) = doc.get("content_index").and_then(Value::as_u64) {
        path.key("content");
        path.index(usize::try_from(index).unwrap_or(usize::MAX));
    }
    path.key(key);
    turn.joined.walk(value, &mut path, key, mode);
    0
}

/// What the vendor heard the user say. Other items only repeat what was sent or what is being answered.
fn spoken(turn: &mut Turn, kind: &str, doc: &Value) {
    let at = |turn: &mut Turn, item: Option<&str>| {
        let mut path = Path::new("$");
        path.key("input");
        path.index(turn.heard(item));
        path.key("transcript");
        path
    };
    if let Some(end) = kind.strip_prefix("conversation.item.input_audio_transcription.") {
        let item = doc.get("item_id").and_then(Value::as_str);
        let (value, mode) = match end {
            "delta" => (doc.get("delta"), Mode::Append),
            // xAI repeats all of it as it grows.
            "completed" | "updated" => (doc.get("transcript"), Mode::Set),
            _ => return,
        };
        let Some(value) = value else { return };
        let path = at(turn, item);
        turn.joined.put(path.as_str(), "transcript", value.as_str().unwrap_or_default(), mode);
        return;
    }
    let Some(item) = doc.get("item").filter(|item| item.get("role").and_then(Value::as_str) == Some("user")) else {
        return;
    };
    let heard = elements(item, "content").iter().filter_map(|content| content.get("transcript")?.as_str());
    for transcript in heard.filter(|transcript| !transcript.is_empty()) {
        let path = at(turn, item.get("id").and_then(Value::as_str));
        turn.joined.put(path.as_str(), "transcript", transcript, Mode::Set);
    }
}

/// The end of an answer carries all of it. Items that came one by one are not taken again.
fn done(turn: &mut Turn, doc: &Value, known: &mut Known) {
    turn.realtime.responses += 1;
    let Some(response) = doc.get("response") else { return };
    let id = response.get("id").and_then(Value::as_str);
    replace(&mut turn.facts.response_id, text(response, "id"));
    replace(&mut turn.facts.response_model, text(response, "model"));
    replace(&mut turn.facts.service_tier, text(response, "service_tier"));
    replace(&mut known.conversation, text(response, "conversation_id"));
    turn.facts.finish_reasons = text(response, "status").into_iter().collect();
    if text(response, "status").as_deref() == Some("failed") {
        let code = response.get("status_details").and_then(error_code).or_else(|| error_code(response));
        turn.facts.error = Some(code.unwrap_or_else(|| "failed".to_owned()));
        if let Some(details) = response.get("status_details") {
            turn.joined.walk(details, &mut Path::new("$.status_details"), "", Mode::Set);
        }
    }
    let inner = response.get("usage").filter(|usage| usage.is_object());
    if let Some(inner) = inner {
        turn.report(inner);
    }
    // xAI leaves the usage of the answer empty and reports beside it.
    let says = |usage: &&Value| count(usage, &["input_tokens"]).or(count(usage, &["output_tokens"])).is_some();
    if let Some(usage) = inner.filter(says).or_else(|| doc.get("usage").filter(says)) {
        turn.realtime.usage_reports += 1;
        turn.facts.usage = usage_of(usage);
        replace(&mut turn.facts.reported_cost, reported_cost(usage));
    }
    for (index, item) in elements(response, "output").iter().enumerate() {
        tool(turn, id, item);
        let item_id = item.get("id").and_then(Value::as_str);
        if !turn.is_item_done(item_id) {
            let mut path = place(turn, id, item_id, &serde_json::json!({"output_index": index}));
            turn.joined.walk(item, &mut path, "", Mode::Set);
        }
    }
}

/// Everything is included. Realtime says `input_token_details`, responses and some gateways `input_tokens_details`.
fn usage_of(usage: &Value) -> Usage {
    let detail = |names: [&str; 2], key: &str| names.iter().find_map(|name| count(usage, &[name, key]));
    let (input, output) =
        (["input_token_details", "input_tokens_details"], ["output_token_details", "output_tokens_details"]);
    Usage {
        input_tokens: count(usage, &["input_tokens"]),
        output_tokens: count(usage, &["output_tokens"]),
        cache_read_tokens: detail(input, "cached_tokens"),
        cache_write_tokens: detail(input, "cache_write_tokens"),
        cache_write_1h_tokens: None,
        reasoning_tokens: detail(output, "reasoning_tokens"),
        input_audio_tokens: detail(input, "audio_tokens").filter(|tokens| *tokens > 0),
        cache_read_audio_tokens: input
            .iter()
            .find_map(|name| audio(usage, &[name, "cached_tokens_details", "audio_tokens"])),
        output_audio_tokens: detail(output, "audio_tokens").filter(|tokens| *tokens > 0),
        hidden_tokens: None,
    }
}
