//! What models write, and by which schemas, in every shape, whole and as events; through assembly and correlation.

use serde_json::{Value, json};

use super::*;

const CHAT: &str = "https://api.openai.com/v1/chat/completions";
const RESPONSES: &str = "https://api.openai.com/v1/responses";
const MESSAGES: &str = "https://api.anthropic.com/v1/messages";
const GEMINI: &str = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent";
const CONVERSE: &str = "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse";
const OLLAMA: &str = "http://localhost:11434/api/chat";
const COHERE: &str = "https://api.cohere.com/v2/chat";

fn exchange(url: &str, request: &Value, content_type: &str, answer: &str) -> Exchange {
    let record = json!({
        "request": {"method": "POST", "url": url, "headers": {}, "body": request.to_string()},
        "response": {"status": 200, "headers": {"content-type": content_type}, "body": answer},
    });
    let record = Record::parse(record.to_string().as_bytes()).unwrap();
    let inputs = record.inputs(StreamId(1), Timestamp(1), Options::default());
    let mut exchanges = crate::cli::replay::exchanges(&inputs, &vendors());
    assert_eq!(exchanges.len(), 1);
    exchanges.remove(0)
}

fn whole(url: &str, answer: &Value) -> Written {
    exchange(url, &json!({"model": "m"}), "application/json", &answer.to_string()).written
}

fn streamed(url: &str, events: &[Value]) -> Written {
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    exchange(url, &json!({"model": "m", "stream": true}), "text/event-stream", &events).written
}

/// Longer than what facts are read from.
fn long() -> String {
    "many words ".repeat(40)
}

fn ticket() -> Value {
    json!({"id": 7, "tags": [1, "two"], "note": long()})
}

fn json_reply(written: &Written) -> Vec<&Value> {
    written.replies.iter().filter_map(|reply| reply.form.json()).collect()
}

fn calls(written: &Written) -> Vec<(&str, Option<&Value>)> {
    written.tool_arguments.iter().map(|call| (call.tool.as_str(), call.form.json())).collect()
}

#[test]
fn replies_and_arguments_of_whole_answers() {
    let (said, args) = (ticket().to_string(), ticket());
    let item = |kind: &str| json!({"type": kind, "name": "save", "arguments": said, "call_id": "c"});
    let cases = [
        (
            CHAT,
            json!({"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": said, "tool_calls":
                [{"id": "c", "type": "function", "function": {"name": "save", "arguments": said}}]}, "finish_reason": "stop"}]}),
        ),
        (
            RESPONSES,
            json!({"object": "response", "status": "completed", "output": [
                {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}, item("mcp_call"),
                {"type": "message", "content": [{"type": "output_text", "text": said}]}, item("function_call")]}),
        ),
        (
            MESSAGES,
            json!({"type": "message", "role": "assistant", "content": [{"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": said}, {"type": "server_tool_use", "name": "search", "input": {"q": 1}},
                {"type": "tool_use", "name": "save", "input": args}], "stop_reason": "tool_use"}),
        ),
        (
            GEMINI,
            json!({"candidates": [{"content": {"parts": [{"text": "hm", "thought": true}, {"text": said},
                {"functionCall": {"name": "save", "args": args}}]}, "finishReason": "STOP"}], "usageMetadata": {}}),
        ),
        (
            CONVERSE,
            json!({"output": {"message": {"content": [{"text": said}, {"toolUse": {"name": "save", "input": args}}]}},
                "stopReason": "tool_use"}),
        ),
        (
            OLLAMA,
            json!({"model": "m", "done": true, "message": {"content": said, "tool_calls":
                [{"function": {"name": "save", "arguments": args}}]}}),
        ),
        (
            COHERE,
            json!({"id": "a", "finish_reason": "TOOL_CALL", "message": {"content": [{"type": "text", "text": said}],
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "save", "arguments": said}}]}}),
        ),
    ];
    for (url, answer) in cases {
        let written = whole(url, &answer);
        assert_eq!(json_reply(&written), [&args], "{url}");
        assert_eq!(calls(&written), [("save", Some(&args))], "{url}");
    }
}

#[test]
fn replies_and_arguments_of_streams() {
    let (said, args) = (ticket().to_string(), ticket());
    let (first, second) = said.split_at(9);
    let chunk = |delta: Value| json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]});
    let call = |function: Value| chunk(json!({"tool_calls": [{"index": 0, "function": function}]}));
    let block = |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let cases = [
        (
            CHAT,
            vec![
                chunk(json!({"role": "assistant", "content": first})),
                chunk(json!({"content": second})),
                call(json!({"name": "save", "arguments": first})),
                call(json!({"arguments": second})),
            ],
        ),
        (
            RESPONSES,
            vec![
                json!({"type": "response.created", "response": {"id": "r"}}),
                json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "content": []}}),
                json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": first}),
                json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": second}),
                json!({"type": "response.output_item.done", "output_index": 1,
                    "item": {"type": "function_call", "name": "save", "arguments": said}}),
                json!({"type": "response.output_item.done", "output_index": 2,
                    "item": {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}}),
                json!({"type": "response.completed", "response": {"status": "completed", "output": []}}),
            ],
        ),
        (
            MESSAGES,
            vec![
                json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant"}}),
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                block(0, json!({"type": "text_delta", "text": first})),
                block(0, json!({"type": "text_delta", "text": second})),
                json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "save", "input": {}}}),
                block(1, json!({"type": "input_json_delta", "partial_json": first})),
                block(1, json!({"type": "input_json_delta", "partial_json": second})),
                json!({"type": "content_block_start", "index": 2, "content_block": {"type": "server_tool_use", "name": "search", "input": {}}}),
                block(2, json!({"type": "input_json_delta", "partial_json": "{}"})),
            ],
        ),
        (
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            vec![
                json!({"candidates": [{"content": {"parts": [{"text": "hm", "thought": true}]}}], "usageMetadata": {}}),
                json!({"candidates": [{"content": {"parts": [{"text": first}]}}]}),
                json!({"candidates": [{"content": {"parts": [{"text": second}]}}]}),
                json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "save", "args": args}}]}}]}),
            ],
        ),
        (
            COHERE,
            vec![
                json!({"type": "message-start", "delta": {"message": {"role": "assistant"}}}),
                json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": first}}}}),
                json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": second}}}}),
                json!({"type": "tool-call-start", "index": 0,
                    "delta": {"message": {"tool_calls": {"type": "function", "function": {"name": "save", "arguments": first}}}}}),
                json!({"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": second}}}}}),
            ],
        ),
    ];
    for (url, events) in cases {
        let written = streamed(url, &events);
        assert_eq!(json_reply(&written), [&args], "{url}");
        assert_eq!(calls(&written), [("save", Some(&args))], "{url}");
    }
}

#[test]
fn forms_of_a_reply() {
    let cases = [
        (" {\"a\": 1}\n", Form::Json(json!({"a": 1}))),
        ("[1]", Form::Json(json!([1]))),
        ("```json\n{\"a\": 1}\n```", Form::Fenced(json!({"a": 1}))),
        ("```\n[1]\n```\n", Form::Fenced(json!([1]))),
        ("```python\nprint(1)\n```", Form::Prose),
        ("```json\n{}\n```\nand\n```json\n{}\n```", Form::Prose),
        ("Here it is: {\"a\": 1}", Form::Prose),
        ("42", Form::Prose),
        ("", Form::Prose),
        ("{\"a\": 1", Form::Broken),
        ("```json\n{\"a\": \n```", Form::Broken),
    ];
    for (text, form) in cases {
        assert_eq!(Form::of(text), form, "{text}");
    }
    assert_eq!(Form::of(&format!("[\"{}\"]", "x".repeat(256 << 10))), Form::Unread);
    assert_eq!(Form::of(&"[".repeat(100_000)), Form::Broken, "deep nesting is no stack overflow");
}

#[test]
fn refusals_and_reasons_beside_the_finish_reason() {
    let refused =
        json!({"object": "chat.completion", "choices": [{"message": {"content": null, "refusal": "I cannot."}}]});
    assert!(whole(CHAT, &refused).is_refused);
    let plain = json!({"object": "chat.completion", "choices": [{"message": {"content": "Yes.", "refusal": null}}]});
    let written = whole(CHAT, &plain);
    assert!(!written.is_refused);
    assert_eq!((written.replies[0].opening.as_str(), written.replies[0].bytes), ("Yes.", 4));
    let chunk = json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"refusal": "I can"}}]});
    assert!(streamed(CHAT, &[chunk]).is_refused);
    let stopped =
        json!({"object": "response", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}});
    assert_eq!(whole(RESPONSES, &stopped).stopped_by.as_deref(), Some("max_output_tokens"));
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {}});
    assert_eq!(whole(GEMINI, &blocked).stopped_by.as_deref(), Some("SAFETY"));
}

/// Tool or nothing, strict or not, dialect, and the schema of each.
fn schemas(url: &str, request: &Value, answer: &Value) -> Vec<(Option<String>, bool, Dialect, Value)> {
    let exchange = exchange(url, request, "application/json", &answer.to_string());
    let read = |schema: Schema| {
        (schema.tool, schema.is_strict, schema.dialect, serde_json::from_str(&schema.text).unwrap_or_default())
    };
    exchange.schemas.into_iter().map(read).collect()
}

#[test]
fn schemas_of_every_shape() {
    let schema =
        json!({"type": "object", "properties": {"n": {"type": "integer", "maximum": [9, 8]}}, "required": ["n"]});
    let user = json!({"role": "user", "content": "text with \"tools\": [{}]"});
    let chat = json!({"object": "chat.completion", "choices": [{"message": {"content": "{}", "tool_calls":
        [{"function": {"name": "save", "arguments": "{}"}}]}, "finish_reason": "stop"}]});
    let called =
        json!({"type": "message", "role": "assistant", "content": [{"type": "tool_use", "name": "save", "input": {}}]});
    let google = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "save", "args": {}}}]}}], "usageMetadata": {}});
    let function =
        |name: &str| json!({"type": "function", "function": {"name": name, "strict": true, "parameters": schema}});
    let reply = |strict: bool, dialect| (None, strict, dialect, schema.clone());
    let tool = |strict: bool, dialect| (Some("save".to_owned()), strict, dialect, schema.clone());
    let cases = [
        (
            CHAT,
            json!({"messages": [user], "tools": [function("other"), function("save"), function("save")], "response_format":
                {"type": "json_schema", "json_schema": {"name": "t", "strict": true, "schema": schema}}}),
            &chat,
            vec![reply(true, Dialect::JsonSchema), tool(true, Dialect::JsonSchema)],
        ),
        (
            CHAT,
            json!({"messages": [user], "functions": [{"name": "save", "parameters": schema}],
                "response_format": {"type": "json_object"}}),
            &chat,
            vec![tool(false, Dialect::JsonSchema)],
        ),
        (
            RESPONSES,
            json!({"input": "a", "text": {"format": {"type": "json_schema", "name": "t", "schema": schema}},
                "tools": [{"type": "web_search"}, {"type": "function", "name": "save", "parameters": schema}]}),
            &json!({"object": "response", "status": "completed", "output": [{"type": "function_call", "name": "save", "arguments": "{}"}]}),
            vec![reply(false, Dialect::JsonSchema), tool(false, Dialect::JsonSchema)],
        ),
        (
            MESSAGES,
            json!({"max_tokens": 9, "messages": [user], "output_config": {"format": {"type": "json_schema", "schema": schema}},
                "tools": [{"name": "save", "description": "d", "input_schema": schema}]}),
            &called,
            vec![reply(true, Dialect::JsonSchema), tool(false, Dialect::JsonSchema)],
        ),
        (
            GEMINI,
            json!({"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"responseSchema": schema},
                "tools": [{"functionDeclarations": [{"name": "save", "parameters": schema}]}]}),
            &google,
            vec![reply(false, Dialect::OpenApi), tool(false, Dialect::OpenApi)],
        ),
        (
            GEMINI,
            json!({"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"responseJsonSchema": schema},
                "tools": [{"functionDeclarations": [{"name": "save", "parametersJsonSchema": schema}]}]}),
            &google,
            vec![reply(false, Dialect::JsonSchema), tool(false, Dialect::JsonSchema)],
        ),
        (
            CONVERSE,
            json!({"messages": [user], "toolConfig": {"tools": [{"toolSpec": {"name": "save", "inputSchema": {"json": schema}}}]}}),
            &json!({"output": {"message": {"content": [{"toolUse": {"name": "save", "input": {}}}]}}, "stopReason": "tool_use"}),
            vec![tool(false, Dialect::JsonSchema)],
        ),
        (
            OLLAMA,
            json!({"model": "m", "stream": false, "messages": [user], "format": schema}),
            &json!({"model": "m", "done": true, "message": {"content": "{}"}}),
            vec![reply(false, Dialect::JsonSchema)],
        ),
        (
            COHERE,
            json!({"model": "m", "messages": [user], "response_format": {"type": "json_object", "json_schema": schema}}),
            &json!({"id": "a", "message": {"content": [{"type": "text", "text": "{}"}]}}),
            vec![reply(false, Dialect::JsonSchema)],
        ),
        (CHAT, json!({"messages": [user], "tools": [function("save")]}), &json!({"error": {"code": "x"}}), vec![]),
        (CHAT, json!({"messages": [user], "tools": "none", "response_format": [1]}), &chat, vec![]),
    ];
    for (url, request, answer, expected) in cases {
        assert_eq!(schemas(url, &request, answer), expected, "{url} {request}");
    }
}
