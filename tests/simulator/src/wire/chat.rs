//! OpenAI's chat completions, and the vendors that speak it (developers.openai.com/api/reference, "Chat Completions"). A stream
//! has usage if the request asks for it, in a last chunk without choices; other vendors always send it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{parameters, pieces};
use crate::{
    talk::{Ask, Finish, Item, Reply, ToolCall, Wrapping},
    traffic::Vendor,
};

pub(super) fn url(vendor: Vendor, ask: &Ask) -> String {
    match vendor {
        Vendor::Azure => format!(
            "https://simulated.openai.azure.com/openai/deployments/{}/chat/completions?api-version=2025-04-01-preview",
            ask.model
        ),
        Vendor::Openrouter => "https://openrouter.ai/api/v1/chat/completions".to_owned(),
        Vendor::Mistral => "https://api.mistral.ai/v1/chat/completions".to_owned(),
        Vendor::Groq => "https://api.groq.com/openai/v1/chat/completions".to_owned(),
        Vendor::Deepseek => "https://api.deepseek.com/chat/completions".to_owned(),
        Vendor::Xai => "https://api.x.ai/v1/chat/completions".to_owned(),
        _ => "https://api.openai.com/v1/chat/completions".to_owned(),
    }
}

pub(super) fn request(vendor: Vendor, ask: &Ask) -> Value {
    let mut messages = vec![json!({"role": "system", "content": ask.system})];
    for item in &ask.items {
        match item {
            Item::User(text) => messages.push(json!({"role": "user", "content": text})),
            Item::Assistant { text, calls } => messages.push(assistant(text, calls)),
            Item::Results(results) => messages.extend(
                results
                    .iter()
                    .map(|result| json!({"role": "tool", "tool_call_id": result.call_id, "content": result.text})),
            ),
        }
    }
    let mut body = json!({"model": ask.model, "messages": messages});
    let mut set = |name: &str, value: Value| body[name] = value;
    if ask.max_tokens > 0 {
        set(if vendor == Vendor::Openai { "max_completion_tokens" } else { "max_tokens" }, ask.max_tokens.into());
    }
    if ask.is_stream {
        set("stream", true.into());
        if ask.wants_usage {
            set("stream_options", json!({"include_usage": true}));
        }
    }
    if !ask.tools.is_empty() {
        let tools = ask.tools.iter().map(|name| {
            json!({"type": "function", "function": {"name": name, "description": "", "parameters": parameters()}})
        });
        set("tools", tools.collect());
    }
    if let Some(schema) = &ask.schema {
        set(
            "response_format",
            json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}}),
        );
    } else if ask.wants_json {
        set("response_format", json!({"type": "json_object"}));
    }
    if let Some(tier) = &ask.tier {
        set("service_tier", tier.as_str().into());
    }
    if let Some(user) = &ask.user {
        set("user", user.as_str().into());
    }
    if !ask.fallbacks.is_empty() {
        set("models", ask.fallbacks.iter().map(String::as_str).collect());
    }
    body
}

fn assistant(text: &str, calls: &[ToolCall]) -> Value {
    let content = if text.is_empty() { Value::Null } else { text.into() };
    let mut message = json!({"role": "assistant", "content": content});
    if !calls.is_empty() {
        message["tool_calls"] = calls.iter().map(called).collect();
    }
    message
}

fn called(call: &ToolCall) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments.to_string()},
    })
}

pub(super) fn response(vendor: Vendor, ask: &Ask, reply: &Reply, wrapping: &Wrapping) -> String {
    let reason = match reply.finish {
        Finish::Stop | Finish::Refusal => "stop",
        Finish::Length => "length",
        Finish::Filter => "content_filter",
        Finish::Tools => "tool_calls",
    };
    let mut shared = json!({"id": reply.id, "created": wrapping.created_s, "model": reply.model});
    if vendor != Vendor::Openrouter {
        shared["system_fingerprint"] = reply.fingerprint.as_str().into();
    }
    if let Some(tier) = &reply.tier {
        shared["service_tier"] = tier.as_str().into();
    }
    if ask.is_stream { stream(vendor, ask, reply, shared, reason) } else { whole(reply, shared, reason) }
}

fn whole(reply: &Reply, mut body: Value, reason: &str) -> String {
    let mut message = assistant(&reply.text, &reply.calls);
    message["refusal"] = Value::Null;
    if reply.finish == Finish::Refusal {
        message["content"] = Value::Null;
        message["refusal"] = reply.text.as_str().into();
    }
    body["object"] = "chat.completion".into();
    body["choices"] = json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": reason}]);
    body["usage"] = usage(reply);
    body.to_string()
}

fn usage(reply: &Reply) -> Value {
    let tokens = reply.tokens;
    let mut usage = json!({
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    });
    if let Some(cost) = reply.cost_usd {
        usage["cost"] = cost.into();
        usage["is_byok"] = (cost == 0.0).into();
    }
    usage
}

fn stream(vendor: Vendor, ask: &Ask, reply: &Reply, mut shared: Value, reason: &str) -> String {
    shared["object"] = "chat.completion.chunk".into();
    let has_usage = ask.wants_usage || !matches!(vendor, Vendor::Openai | Vendor::Azure);
    let mut events = String::new();
    let mut send = |choices: Value, usage: Value| {
        let mut chunk = shared.clone();
        chunk["choices"] = choices;
        if has_usage {
            chunk["usage"] = usage;
        }
        let _ = write!(events, "data: {chunk}\n\n");
    };
    let delta = |delta: Value| json!([{"index": 0, "delta": delta, "finish_reason": null}]);
    send(delta(json!({"role": "assistant", "content": ""})), Value::Null);
    for piece in pieces(&reply.text) {
        send(delta(json!({"content": piece})), Value::Null);
    }
    for (index, call) in reply.calls.iter().enumerate() {
        let mut call = called(call);
        call["index"] = index.into();
        send(delta(json!({"tool_calls": [call]})), Value::Null);
    }
    send(json!([{"index": 0, "delta": {}, "finish_reason": reason}]), Value::Null);
    if has_usage {
        send(json!([]), usage(reply));
    }
    events.push_str("data: [DONE]\n\n");
    events
}
