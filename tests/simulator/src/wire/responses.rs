//! OpenAI's Responses API (developers.openai.com/api/reference, "Responses"): the last event of a stream carries the whole
//! answer, usage included.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{parameters, pieces};
use crate::talk::{Ask, Finish, Item, Reply, Wrapping};

pub(super) fn request(ask: &Ask) -> Value {
    let mut input = Vec::new();
    for item in &ask.items {
        match item {
            Item::User(text) => input.push(json!({"role": "user", "content": text})),
            Item::Assistant { text, calls } => {
                if !text.is_empty() {
                    input.push(json!({"role": "assistant", "content": text}));
                }
                input.extend(calls.iter().map(|call| {
                    json!({
                        "type": "function_call",
                        "call_id": call.id,
                        "name": call.name,
                        "arguments": call.arguments.to_string(),
                    })
                }));
            }
            Item::Results(results) => input.extend(results.iter().map(
                |result| json!({"type": "function_call_output", "call_id": result.call_id, "output": result.text}),
            )),
        }
    }
    let mut body = json!({"model": ask.model, "instructions": ask.system, "input": input});
    if ask.max_tokens > 0 {
        body["max_output_tokens"] = ask.max_tokens.into();
    }
    if ask.is_stream {
        body["stream"] = true.into();
    }
    if !ask.tools.is_empty() {
        let tools = ask.tools.iter();
        body["tools"] =
            tools.map(|name| json!({"type": "function", "name": name, "parameters": parameters()})).collect();
    }
    if let Some(schema) = &ask.schema {
        body["text"] = json!({"format": {"type": "json_schema", "name": "answer", "strict": true, "schema": schema}});
    }
    if let Some(tier) = &ask.tier {
        body["service_tier"] = tier.as_str().into();
    }
    body
}

pub(super) fn response(ask: &Ask, reply: &Reply, wrapping: &Wrapping) -> String {
    let whole = whole(reply, wrapping);
    if !ask.is_stream {
        return whole.to_string();
    }
    let mut events = String::new();
    let mut number = 0;
    let mut send = |kind: &str, mut event: Value| {
        event["type"] = kind.into();
        event["sequence_number"] = number.into();
        number += 1;
        let _ = write!(events, "event: {kind}\ndata: {event}\n\n");
    };
    let begun =
        json!({"id": reply.id, "object": "response", "status": "in_progress", "model": reply.model, "output": []});
    send("response.created", json!({"response": begun}));
    for piece in pieces(&reply.text) {
        let delta = json!({"item_id": "msg_0", "output_index": 0, "content_index": 0, "delta": piece});
        send("response.output_text.delta", delta);
    }
    let last = if reply.finish == Finish::Length { "response.incomplete" } else { "response.completed" };
    send(last, json!({"response": whole}));
    events
}

fn whole(reply: &Reply, wrapping: &Wrapping) -> Value {
    let mut output = Vec::new();
    if !reply.text.is_empty() {
        let content = if reply.finish == Finish::Refusal {
            json!({"type": "refusal", "refusal": reply.text})
        } else {
            json!({"type": "output_text", "text": reply.text, "annotations": []})
        };
        output.push(
            json!({"id": "msg_0", "type": "message", "role": "assistant", "status": "completed", "content": [content]}),
        );
    }
    output.extend(reply.calls.iter().map(|call| {
        json!({
            "id": format!("fc_{}", call.id),
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments.to_string(),
            "status": "completed",
        })
    }));
    let (status, details) = match reply.finish {
        Finish::Length => ("incomplete", json!({"reason": "max_output_tokens"})),
        Finish::Filter => ("incomplete", json!({"reason": "content_filter"})),
        _ => ("completed", Value::Null),
    };
    let tokens = reply.tokens;
    json!({
        "id": reply.id,
        "object": "response",
        "created_at": wrapping.created_s,
        "status": status,
        "error": null,
        "incomplete_details": details,
        "model": reply.model,
        "output": output,
        "service_tier": reply.tier.as_deref().unwrap_or("default"),
        "usage": {
            "input_tokens": tokens.input,
            "input_tokens_details": {"cached_tokens": tokens.cached},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens.input + tokens.output,
        },
    })
}
