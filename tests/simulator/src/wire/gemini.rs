//! Gemini's generateContent (ai.google.dev/api/generate-content): the model stands in the path, every chunk of a stream has
//! usage.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{parameters, pieces};
use crate::talk::{Ask, Finish, Item, Reply};

pub(super) fn url(ask: &Ask) -> String {
    let method = if ask.is_stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    format!("https://generativelanguage.googleapis.com/v1beta/models/{}:{method}", ask.model)
}

pub(super) fn request(ask: &Ask) -> Value {
    let contents: Vec<Value> = ask.items.iter().map(content).collect();
    let mut body = json!({
        "contents": contents,
        "systemInstruction": {"parts": [{"text": ask.system}], "role": "user"},
        "generationConfig": {},
    });
    if ask.max_tokens > 0 {
        body["generationConfig"]["maxOutputTokens"] = ask.max_tokens.into();
    }
    if ask.schema.is_some() || ask.wants_json {
        body["generationConfig"]["responseMimeType"] = "application/json".into();
    }
    if let Some(schema) = &ask.schema {
        body["generationConfig"]["responseJsonSchema"] = schema.clone();
    }
    if !ask.tools.is_empty() {
        let tools = ask.tools.iter();
        let declared: Value =
            tools.map(|name| json!({"name": name, "description": "", "parameters": parameters()})).collect();
        body["tools"] = json!([{"functionDeclarations": declared}]);
    }
    body
}

fn content(item: &Item) -> Value {
    match item {
        Item::User(text) => json!({"role": "user", "parts": [{"text": text}]}),
        Item::Assistant { text, calls } => {
            let said = (!text.is_empty()).then(|| json!({"text": text}));
            let called = calls
                .iter()
                .map(|call| json!({"functionCall": {"name": call.name, "args": call.arguments, "id": call.id}}));
            json!({"role": "model", "parts": said.into_iter().chain(called).collect::<Value>()})
        }
        Item::Results(results) => {
            let parts = results.iter().map(|result| {
                let name = if result.is_error { "error" } else { "result" };
                json!({"functionResponse": {"name": result.name, "id": result.call_id, "response": {name: result.text}}})
            });
            json!({"role": "user", "parts": parts.collect::<Value>()})
        }
    }
}

pub(super) fn response(ask: &Ask, reply: &Reply) -> String {
    let reason = match reply.finish {
        Finish::Stop | Finish::Tools => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Filter => "SAFETY",
        Finish::Refusal => "PROHIBITED_CONTENT",
    };
    let chunk = |text: &str, is_last: bool| {
        let calls = if is_last { reply.calls.clone() } else { Vec::new() };
        let mut candidate = json!({"index": 0, "content": content(&Item::Assistant { text: text.to_owned(), calls })});
        if is_last {
            candidate["finishReason"] = reason.into();
        }
        json!({
            "candidates": [candidate],
            "modelVersion": reply.model,
            "responseId": reply.id,
            "usageMetadata": {
                "promptTokenCount": reply.tokens.input,
                "cachedContentTokenCount": reply.tokens.cached,
                "candidatesTokenCount": reply.tokens.output,
                "totalTokenCount": reply.tokens.input + reply.tokens.output,
            },
        })
    };
    if !ask.is_stream {
        return chunk(&reply.text, true).to_string();
    }
    let (pieces, mut events) = (pieces(&reply.text), String::new());
    for (index, piece) in pieces.iter().enumerate() {
        let _ = write!(events, "data: {}\r\n\r\n", chunk(piece, index + 1 == pieces.len()));
    }
    if pieces.is_empty() {
        let _ = write!(events, "data: {}\r\n\r\n", chunk("", true));
    }
    events
}
