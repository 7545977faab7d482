//! OpenAI Responses. A stream is named events with a running `sequence_number`; the last one carries the whole object
//! (platform.openai.com/docs/api-reference/responses-streaming).

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Draft, named};
use crate::reply::Reply;

/// `POST /v1/responses`.
pub(super) fn reply(draft: &Draft) -> Reply {
    if draft.ask.stream {
        Reply::events(events(draft))
    } else {
        Reply::json(StatusCode::OK, response(draft, "completed", &json!([item(draft, true)])))
    }
}

/// The response object; usage stands in it only once it is complete.
fn response(draft: &Draft, status: &str, output: &Value) -> Value {
    let field = |name: &str| draft.ask.body.get(name).cloned().unwrap_or(Value::Null);
    let (input, answer) = (draft.ask.prompt_tokens, draft.answer_tokens());
    let usage = json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input + answer,
    });
    json!({
        "id": draft.id("resp_"),
        "object": "response",
        "created_at": draft.created_s(),
        "status": status,
        "error": null,
        "incomplete_details": null,
        "instructions": field("instructions"),
        "metadata": {},
        "model": draft.model,
        "output": output,
        "parallel_tool_calls": true,
        "previous_response_id": field("previous_response_id"),
        "service_tier": "default",
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": draft.ask.body.get("tools").cloned().unwrap_or_else(|| json!([])),
        "top_p": 1.0,
        "usage": if status == "completed" { usage } else { Value::Null },
    })
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

/// The one output item: a message, or a call of the offered tool.
fn item(draft: &Draft, done: bool) -> Value {
    let status = if done { "completed" } else { "in_progress" };
    if let Some(tool) = &draft.ask.call {
        let arguments = if done { tool.arguments().to_string() } else { String::new() };
        json!({"type": "function_call", "id": draft.id("fc_"), "call_id": draft.id("call_"), "name": tool.name,
            "arguments": arguments, "status": status})
    } else {
        let content = if done { json!([part(&draft.text)]) } else { json!([]) };
        json!({"type": "message", "id": draft.id("msg_"), "role": "assistant", "status": status, "content": content})
    }
}

fn events(draft: &Draft) -> Vec<String> {
    let mut events = vec![
        json!({"type": "response.created", "response": response(draft, "in_progress", &json!([]))}),
        json!({"type": "response.in_progress", "response": response(draft, "in_progress", &json!([]))}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item(draft, false)}),
    ];
    if let Some(tool) = &draft.ask.call {
        let (id, arguments) = (draft.id("fc_"), tool.arguments().to_string());
        events.extend(super::pieces(&arguments).into_iter().map(|piece| {
            json!({"type": "response.function_call_arguments.delta", "item_id": id, "output_index": 0, "delta": piece})
        }));
        events.push(json!({"type": "response.function_call_arguments.done", "item_id": id, "output_index": 0,
            "name": tool.name, "arguments": arguments}));
    } else {
        let id = draft.id("msg_");
        let at = |kind: &str| json!({"type": kind, "item_id": id, "output_index": 0, "content_index": 0});
        let with = |mut event: Value, name: &str, value: Value| {
            if let Some(fields) = event.as_object_mut() {
                fields.insert(name.to_owned(), value);
            }
            event
        };
        let delta =
            |piece: &str| with(with(at("response.output_text.delta"), "delta", json!(piece)), "logprobs", json!([]));
        events.push(with(at("response.content_part.added"), "part", part("")));
        events.extend(draft.pieces().into_iter().map(delta));
        let done = with(at("response.output_text.done"), "text", json!(draft.text));
        events.push(with(done, "logprobs", json!([])));
        events.push(with(at("response.content_part.done"), "part", part(&draft.text)));
    }
    events.push(json!({"type": "response.output_item.done", "output_index": 0, "item": item(draft, true)}));
    let whole = response(draft, "completed", &json!([item(draft, true)]));
    events.push(json!({"type": "response.completed", "response": whole}));
    let numbered = events.into_iter().enumerate().map(|(number, mut event)| {
        if let Some(fields) = event.as_object_mut() {
            fields.insert("sequence_number".to_owned(), json!(number));
        }
        named(&event)
    });
    numbered.collect()
}
