//! OpenAI chat completions. A stream carries usage if and only if `stream_options.include_usage` was asked, then in a last
//! chunk without choices, as the API reference says (platform.openai.com/docs/api-reference/chat/create).

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Draft, EPOCH_S, data};
use crate::{models, reply::Reply};

/// `GET /v1/models`.
pub(super) fn models() -> Reply {
    let list: Vec<Value> = models::snapshots(&["gpt-", "o3", "o4"])
        .map(|id| json!({"id": id, "object": "model", "created": EPOCH_S, "owned_by": "system"}))
        .collect();
    Reply::json(StatusCode::OK, json!({"object": "list", "data": list}))
}

/// `POST /v1/chat/completions`.
pub(super) fn reply(draft: &Draft) -> Reply {
    if draft.ask.stream { Reply::events(events(draft)) } else { Reply::json(StatusCode::OK, completion(draft)) }
}

fn usage(draft: &Draft) -> Value {
    let (prompt, completion) = (draft.ask.prompt_tokens, draft.answer_tokens());
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    })
}

/// The tool call of the answer: id, name, arguments as a JSON text.
fn call(draft: &Draft) -> Option<(String, &str, String)> {
    let tool = draft.ask.call.as_ref()?;
    Some((draft.id("call_"), &tool.name, tool.arguments().to_string()))
}

fn completion(draft: &Draft) -> Value {
    let (message, finish) = match call(draft) {
        Some((id, name, arguments)) => {
            let function = json!({"name": name, "arguments": arguments});
            let calls = json!([{"id": id, "type": "function", "function": function}]);
            (json!({"role": "assistant", "content": null, "tool_calls": calls, "refusal": null}), "tool_calls")
        }
        None => (json!({"role": "assistant", "content": draft.text, "refusal": null, "annotations": []}), "stop"),
    };
    json!({
        "id": draft.id("chatcmpl-"),
        "object": "chat.completion",
        "created": draft.created_s(),
        "model": draft.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": usage(draft),
        "service_tier": "default",
        "system_fingerprint": "fp_outflow0001",
    })
}

fn events(draft: &Draft) -> Vec<String> {
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": draft.id("chatcmpl-"),
            "object": "chat.completion.chunk",
            "created": draft.created_s(),
            "model": draft.model,
            "service_tier": "default",
            "system_fingerprint": "fp_outflow0001",
            "choices": choices,
        });
        // With include_usage every chunk has the field, null until the last.
        if let (true, Some(fields)) = (draft.ask.include_usage, chunk.as_object_mut()) {
            fields.insert("usage".to_owned(), usage.unwrap_or(Value::Null));
        }
        data(&chunk)
    };
    let delta = |delta: Value, finish: Option<&str>| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]), None)
    };
    let mut events = Vec::new();
    if let Some((id, name, arguments)) = call(draft) {
        let first = json!([{"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]);
        events.push(delta(json!({"role": "assistant", "content": null, "tool_calls": first}), None));
        for piece in super::pieces(&arguments) {
            let part = json!([{"index": 0, "function": {"arguments": piece}}]);
            events.push(delta(json!({"tool_calls": part}), None));
        }
        events.push(delta(json!({}), Some("tool_calls")));
    } else {
        events.push(delta(json!({"role": "assistant", "content": "", "refusal": null}), None));
        events.extend(draft.pieces().into_iter().map(|piece| delta(json!({"content": piece}), None)));
        events.push(delta(json!({}), Some("stop")));
    }
    if draft.ask.include_usage {
        events.push(chunk(json!([]), Some(usage(draft))));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}
