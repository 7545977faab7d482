//! Bedrock's Converse (docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html), never as a stream: the
//! answer does not say which model it is from.

use serde_json::{Value, json};

use super::parameters;
use crate::talk::{Ask, Finish, Item, Reply, Wrapping};

pub(super) fn url(ask: &Ask) -> String {
    let id = ask.model.replace(':', "%3A");
    format!("https://bedrock-runtime.us-east-1.amazonaws.com/model/{id}/converse")
}

pub(super) fn request(ask: &Ask) -> Value {
    let messages: Vec<Value> = ask.items.iter().map(message).collect();
    let mut body = json!({"messages": messages, "system": [{"text": ask.system}], "inferenceConfig": {}});
    if ask.max_tokens > 0 {
        body["inferenceConfig"]["maxTokens"] = ask.max_tokens.into();
    }
    if !ask.tools.is_empty() {
        let tools = ask
            .tools
            .iter()
            .map(|name| json!({"toolSpec": {"name": name, "description": "-", "inputSchema": {"json": parameters()}}}));
        body["toolConfig"] = json!({"tools": tools.collect::<Value>()});
    }
    body
}

fn message(item: &Item) -> Value {
    match item {
        Item::User(text) => json!({"role": "user", "content": [{"text": text}]}),
        Item::Assistant { text, calls } => {
            let said = (!text.is_empty()).then(|| json!({"text": text}));
            let used = calls
                .iter()
                .map(|call| json!({"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments}}));
            json!({"role": "assistant", "content": said.into_iter().chain(used).collect::<Value>()})
        }
        Item::Results(results) => {
            let blocks = results.iter().map(|result| {
                let status = if result.is_error { "error" } else { "success" };
                json!({"toolResult": {"toolUseId": result.call_id, "content": [{"text": result.text}], "status": status}})
            });
            json!({"role": "user", "content": blocks.collect::<Value>()})
        }
    }
}

pub(super) fn response(reply: &Reply, wrapping: &Wrapping) -> String {
    let reason = match reply.finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Filter => "content_filtered",
        Finish::Refusal => "guardrail_intervened",
        Finish::Tools => "tool_use",
    };
    let tokens = reply.tokens;
    json!({
        "output": {"message": message(&Item::Assistant { text: reply.text.clone(), calls: reply.calls.clone() })},
        "stopReason": reason,
        "usage": {
            "inputTokens": tokens.input - tokens.cached,
            "outputTokens": tokens.output,
            "totalTokens": tokens.input + tokens.output,
            "cacheReadInputTokens": tokens.cached,
            "cacheWriteInputTokens": 0,
        },
        "metrics": {"latencyMs": wrapping.latency_ms},
    })
    .to_string()
}
