//! Anthropic messages. Every stream carries usage: the input's in `message_start`, the cumulative output's in
//! `message_delta` (docs.anthropic.com/en/api/messages-streaming). Input excludes cache reads and writes.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Draft, named};
use crate::{models, reply::Reply};

/// `GET /v1/models`.
pub(super) fn models() -> Reply {
    let ids: Vec<&str> = models::snapshots(&["claude-"]).collect();
    let list: Vec<Value> = ids
        .iter()
        .map(|id| json!({"type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z"}))
        .collect();
    Reply::json(
        StatusCode::OK,
        json!({"data": list, "first_id": ids.first(), "last_id": ids.last(), "has_more": false}),
    )
}

/// `POST /v1/messages`.
pub(super) fn reply(draft: &Draft) -> Reply {
    if draft.ask.stream { Reply::events(events(draft)) } else { Reply::json(StatusCode::OK, whole(draft)) }
}

fn usage(draft: &Draft, output_tokens: u64) -> Value {
    json!({
        "input_tokens": draft.ask.prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    })
}

fn message(draft: &Draft, content: &Value, stop_reason: Option<&str>, output_tokens: u64) -> Value {
    json!({
        "id": draft.id("msg_01"),
        "type": "message",
        "role": "assistant",
        "model": draft.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": usage(draft, output_tokens),
    })
}

fn stop_reason(draft: &Draft) -> &'static str {
    if draft.ask.call.is_some() { "tool_use" } else { "end_turn" }
}

fn whole(draft: &Draft) -> Value {
    let block = match &draft.ask.call {
        Some(tool) => {
            json!({"type": "tool_use", "id": draft.id("toolu_01"), "name": tool.name, "input": tool.arguments()})
        }
        None => json!({"type": "text", "text": draft.text}),
    };
    message(draft, &json!([block]), Some(stop_reason(draft)), draft.answer_tokens())
}

fn events(draft: &Draft) -> Vec<String> {
    let arguments = draft.ask.call.as_ref().map(|tool| tool.arguments().to_string());
    let (block, deltas): (Value, Vec<Value>) = match (&draft.ask.call, &arguments) {
        (Some(tool), Some(arguments)) => (
            json!({"type": "tool_use", "id": draft.id("toolu_01"), "name": tool.name, "input": {}}),
            super::pieces(arguments)
                .into_iter()
                .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}))
                .collect(),
        ),
        _ => (
            json!({"type": "text", "text": ""}),
            draft.pieces().into_iter().map(|piece| json!({"type": "text_delta", "text": piece})).collect(),
        ),
    };
    let mut events = vec![
        json!({"type": "message_start", "message": message(draft, &json!([]), None, 1)}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "ping"}),
    ];
    events.extend(deltas.into_iter().map(|delta| json!({"type": "content_block_delta", "index": 0, "delta": delta})));
    events.push(json!({"type": "content_block_stop", "index": 0}));
    let end = json!({"stop_reason": stop_reason(draft), "stop_sequence": null});
    let counted = json!({"output_tokens": draft.answer_tokens()});
    events.push(json!({"type": "message_delta", "delta": end, "usage": counted}));
    events.push(json!({"type": "message_stop"}));
    events.iter().map(named).collect()
}
