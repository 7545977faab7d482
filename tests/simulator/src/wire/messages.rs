//! Anthropic's Messages API (platform.claude.com/docs/en/api/messages): what was read from a cache is not part of
//! `input_tokens`; a stream tells the input first and the output last.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{parameters, pieces};
use crate::talk::{Ask, Finish, Item, Reply};

pub(super) fn request(ask: &Ask) -> Value {
    let messages: Vec<Value> = ask.items.iter().map(message).collect();
    // The API insists on a limit.
    let max_tokens = if ask.max_tokens > 0 { ask.max_tokens } else { 4096 };
    let mut body = json!({"model": ask.model, "max_tokens": max_tokens, "system": ask.system, "messages": messages});
    if ask.is_stream {
        body["stream"] = true.into();
    }
    if !ask.tools.is_empty() {
        let tools = ask.tools.iter();
        body["tools"] =
            tools.map(|name| json!({"name": name, "description": "", "input_schema": parameters()})).collect();
    }
    if let Some(schema) = &ask.schema {
        body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    }
    if let Some(user) = &ask.user {
        body["metadata"] = json!({"user_id": user});
    }
    body
}

fn message(item: &Item) -> Value {
    match item {
        Item::User(text) => json!({"role": "user", "content": text}),
        Item::Assistant { .. } => json!({"role": "assistant", "content": content(item)}),
        Item::Results(results) => {
            let blocks = results.iter().map(|result| {
                json!({
                    "type": "tool_result",
                    "tool_use_id": result.call_id,
                    "content": result.text,
                    "is_error": result.is_error,
                })
            });
            json!({"role": "user", "content": blocks.collect::<Value>()})
        }
    }
}

fn content(item: &Item) -> Value {
    let Item::Assistant { text, calls } = item else { return json!([]) };
    let said = (!text.is_empty()).then(|| json!({"type": "text", "text": text}));
    let used =
        calls.iter().map(|call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}));
    said.into_iter().chain(used).collect()
}

fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Filter | Finish::Refusal => "refusal",
        Finish::Tools => "tool_use",
    }
}

pub(super) fn response(ask: &Ask, reply: &Reply) -> String {
    let usage = usage(reply, reply.tokens.output);
    let content = content(&Item::Assistant { text: reply.text.clone(), calls: reply.calls.clone() });
    let whole = json!({
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content,
        "stop_reason": reason(reply.finish),
        "stop_sequence": null,
        "usage": usage,
    });
    if ask.is_stream { stream(reply, whole) } else { whole.to_string() }
}

fn usage(reply: &Reply, output: u64) -> Value {
    let tokens = reply.tokens;
    json!({
        "input_tokens": tokens.input - tokens.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tokens.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn stream(reply: &Reply, mut begun: Value) -> String {
    let mut events = String::new();
    let mut send = |kind: &str, mut event: Value| {
        event["type"] = kind.into();
        let _ = write!(events, "event: {kind}\ndata: {event}\n\n");
    };
    begun["content"] = json!([]);
    begun["stop_reason"] = Value::Null;
    begun["usage"] = usage(reply, 1);
    send("message_start", json!({"message": begun}));
    let mut index = 0;
    if !reply.text.is_empty() {
        send("content_block_start", json!({"index": index, "content_block": {"type": "text", "text": ""}}));
        for piece in pieces(&reply.text) {
            send("content_block_delta", json!({"index": index, "delta": {"type": "text_delta", "text": piece}}));
        }
        send("content_block_stop", json!({"index": index}));
        index += 1;
    }
    for call in &reply.calls {
        let block = json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
        send("content_block_start", json!({"index": index, "content_block": block}));
        let delta = json!({"type": "input_json_delta", "partial_json": call.arguments.to_string()});
        send("content_block_delta", json!({"index": index, "delta": delta}));
        send("content_block_stop", json!({"index": index}));
        index += 1;
    }
    let delta = json!({"stop_reason": reason(reply.finish), "stop_sequence": null});
    send("message_delta", json!({"delta": delta, "usage": {"output_tokens": reply.tokens.output}}));
    send("message_stop", json!({}));
    events
}
