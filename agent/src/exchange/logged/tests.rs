//! Lines as libraries, gateways and vendors' clients log them, made by hand after their sources; and lines that are no calls.

use serde_json::json;

use super::{hints::PIECE_BYTES, *};
use crate::rules::RuleSource;

const AT: Timestamp = Timestamp(1_795_392_000_000_000_000);

static READER: LazyLock<LoggedCalls> = LazyLock::new(|| LoggedCalls {
    vendors: Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap()),
    models: Arc::new(ModelRules::load(&RuleSource::Embedded).unwrap()),
});

fn calls(text: &str) -> Vec<Exchange> {
    let mut calls = Vec::new();
    READER.read(text.as_bytes(), &Messages::default(), AT, &mut |_, exchange| calls.push(exchange));
    calls
}

/// Vendor, models asked and answered, tokens in and out.
fn seen(text: &str) -> Vec<(String, String, String, u64, u64)> {
    let shown = |text: &Option<String>| text.clone().unwrap_or_default();
    calls(text)
        .iter()
        .map(|call| {
            let vendor = call.vendor.as_deref().unwrap_or_default().to_owned();
            let usage = call.usage;
            let tokens = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
            (vendor, shown(&call.request_model), shown(&call.response_model), tokens.0, tokens.1)
        })
        .collect()
}

#[test]
fn what_libraries_and_gateways_log_is_read() {
    let otel = json!({"timestamp": "2026-11-23T01:00:00Z", "name": "chat gpt-4o", "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "azure.ai.openai", "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 30, "gen_ai.response.finish_reasons": ["stop"]}});
    let otlp = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "chat", "attributes": [
        {"key": "gen_ai.system", "value": {"stringValue": "anthropic"}},
        {"key": "gen_ai.request.model", "value": {"stringValue": "claude-sonnet-4-0"}},
        {"key": "gen_ai.response.model", "value": {"stringValue": "claude-sonnet-4-20250514"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "7"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "8"}}]}]}]}]});
    let litellm = json!({"id": "chatcmpl-2", "call_type": "acompletion", "custom_llm_provider": "openai", "model": "openai/gpt-4o-mini",
        "prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16, "response_cost": 0.00001, "startTime": 1_795_395_600.5});
    let langchain = json!({"generations": [[{"text": "hidden", "type": "ChatGeneration"}]], "llm_output": {
        "token_usage": {"prompt_tokens": 9, "completion_tokens": 2}, "model_name": "gpt-4o-2024-08-06"}, "model_name": "gpt-4o-2024-08-06"});
    let message = json!({"type": "ai", "usage_metadata": {"input_tokens": 50, "output_tokens": 6, "input_token_details": {"cache_read": 40}},
        "model_provider": "anthropic", "model_name": "claude-3-5-haiku-latest", "id": "msg_1"});
    let vercel = json!({"ai.model.id": "gpt-4.1", "ai.model.provider": "openai.responses", "ai.usage.promptTokens": 3, "ai.usage.completionTokens": 4});
    let body = json!({"id": "chatcmpl-3", "object": "chat.completion", "model": "gpt-4o-2024-08-06", "choices": [{"index": 0,
        "message": {"role": "assistant", "content": "hidden"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}});
    let beside = json!({"level": "debug", "request": {"model": "gpt-4o", "messages": []}, "response": body, "request_id": "req_9"});
    let anthropic = json!({"id": "msg_2", "type": "message", "role": "assistant", "model": "claude-sonnet-4-20250514", "content": [],
        "stop_reason": "end_turn", "usage": {"input_tokens": 4, "cache_read_input_tokens": 100, "output_tokens": 2}});
    let nested = json!({"MESSAGE": anthropic.to_string(), "_SYSTEMD_UNIT": "x.service"});
    let gemini = json!({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}], "modelVersion": "gemini-2.5-flash",
        "usageMetadata": {"promptTokenCount": 6, "candidatesTokenCount": 7, "thoughtsTokenCount": 1, "totalTokenCount": 14}});
    for (line, expected) in [
        (otel.to_string(), ("azure", "gpt-4o", "gpt-4o-2024-08-06", 120, 30)),
        (otlp.to_string(), ("anthropic", "claude-sonnet-4-0", "claude-sonnet-4-20250514", 7, 8)),
        (litellm.to_string(), ("openai", "gpt-4o-mini", "", 11, 5)),
        (langchain.to_string(), ("openai", "gpt-4o-2024-08-06", "", 9, 2)),
        (message.to_string(), ("anthropic", "claude-3-5-haiku-latest", "", 50, 6)),
        (vercel.to_string(), ("openai", "gpt-4.1", "", 3, 4)),
        (format!("DEBUG 12:00 answer: {body}"), ("openai", "", "gpt-4o-2024-08-06", 5, 1)),
        (beside.to_string(), ("openai", "gpt-4o", "gpt-4o-2024-08-06", 5, 1)),
        (nested.to_string(), ("anthropic", "", "claude-sonnet-4-20250514", 104, 2)),
        (gemini.to_string(), ("gemini", "", "gemini-2.5-flash", 6, 8)),
        (
            "ts=2026-11-23T01:00:00Z level=info msg=\"llm call \\\"x\\\"\" provider=groq model=llama-3.3-70b-versatile prompt_tokens=2 completion_tokens=3".to_owned(),
            ("groq", "llama-3.3-70b-versatile", "", 2, 3),
        ),
    ] {
        let (vendor, asked, answered, input, output) = expected;
        let expected = (vendor.to_owned(), asked.to_owned(), answered.to_owned(), input, output);
        assert_eq!(seen(&format!("before\n{line}\nafter\n")), [expected], "{line}");
    }
    let call = calls(&otel.to_string()).remove(0);
    assert_eq!(
        (call.response_id.as_deref(), call.started_at),
        (Some("chatcmpl-1"), Timestamp(AT.0 + 3_600_000_000_000))
    );
    assert_eq!((call.finish_reasons, call.status), (vec!["stop".to_owned()], Some(200)));
    assert_eq!(calls(&litellm.to_string())[0].started_at, Timestamp(AT.0 + 3_600_500_000_000));
    assert_eq!(calls(&message.to_string())[0].usage.cache_read_tokens, Some(40));
    assert_eq!(calls(&beside.to_string())[0].headers.request_id.as_deref(), Some("req_9"));
    let mut with_feature = otel.clone();
    with_feature["attributes"]["outflow.feature"] = "search".into();
    assert_eq!(calls(&with_feature.to_string())[0].feature.as_deref(), Some("search"));
    let around = json!({"outflow.feature": "search", "response": body});
    assert_eq!(calls(&around.to_string())[0].feature.as_deref(), Some("search"));
    assert_eq!(calls(&body.to_string())[0].started_at, AT);
    assert_eq!(calls(&body.to_string())[0].host, "api.openai.com", "the vendor's usual one");
    let named = json!({"model": "gpt-4o", "api_base": "https://Gate.example.com/v1", "usage": {"prompt_tokens": 1}});
    assert_eq!(calls(&named.to_string())[0].host, "gate.example.com");
}

#[test]
fn errors_of_the_python_sdks_are_read() {
    let line = "openai.RateLimitError: Error code: 429 - {'error': {'message': 'Rate limit reached for gpt-4o', 'type': 'tokens', \
                'param': None, 'code': 'rate_limit_exceeded'}}";
    let call = calls(line).remove(0);
    assert_eq!(
        (call.vendor.as_deref(), call.status, call.error.as_deref()),
        (Some("openai"), Some(429), Some("rate_limit_exceeded"))
    );
    let line = "anthropic.APIStatusError: Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}";
    let call = calls(line).remove(0);
    assert_eq!(
        (call.vendor.as_deref(), call.status, call.error.as_deref()),
        (Some("anthropic"), Some(529), Some("overloaded_error"))
    );
}

#[test]
fn nothing_is_made_up() {
    for line in [
        r#"{"model":"X5","input_tokens":"many"}"#,
        r#"{"model":"BMW X5","prompt_tokens":5}"#,
        r#"{"msg":"refresh_tokens rotated","model":"user"}"#,
        r#"{"model":"gpt-4o","max_tokens":500,"messages":[]}"#,
        r#"{"object":"chat.completion.chunk","id":"chatcmpl-1","model":"gpt-4o","choices":[{"delta":{"content":"a"}}],"usage_tokens":null}"#,
        r#"{"model":"gpt-4o","prompt_tokens":5"#,
        "model=gpt-4o max_tokens=5",
        "model gpt-4o used 5 prompt_tokens",
        "Error code: 429 - {'error'",
        "myapp.SomeError: Error code: 429 - {}",
        r#"{"model":"gpt-4o","usage":{"prompt_tokens":-1}}"#,
        "\u{0}\u{1}_tokens model {",
    ] {
        assert_eq!(calls(line).len(), 0, "{line}: {:?}", seen(line));
    }
    let deep = format!("{}\"model\":\"gpt-4o\",\"prompt_tokens\":1{}", "{\"a\":".repeat(200) + "{", "}".repeat(201));
    assert_eq!(calls(&deep).len(), 0);
}

proptest::proptest! {
    #[test]
    fn no_line_makes_it_panic(text in r#"[\{\}\[\]":,= a-z_0-9\\\n]{0,200}"#) {
        calls(&format!("{text} _tokens model={text}"));
        calls(&format!("{{\"model\":{text},\"prompt_tokens\":1,{text}"));
    }
}

#[test]
fn a_document_over_many_lines_is_one_call() {
    let body = json!({"id": "chatcmpl-9", "object": "chat.completion", "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hidden"}}],
        "usage": {"prompt_tokens": 21, "completion_tokens": 4, "total_tokens": 25,
            "prompt_tokens_details": {"cached_tokens": 16}}});
    let body = serde_json::to_string_pretty(&body).unwrap();
    let one = || ("openai".to_owned(), String::new(), "gpt-4o-2024-08-06".to_owned(), 21, 4);
    let messages = Messages::Begin(Arc::new(Regex::new(r"^(\d\d:\d\d|<--|content)").unwrap()));
    // OkHttp writes a body as it came; Python and Java put it behind a head of their own.
    for text in [
        format!(
            "<-- 200 OK https://api.openai.com/v1/chat/completions (81ms)\ncontent-type: application/json\n{body}\n<-- END HTTP\n"
        ),
        format!("10:00:01 DEBUG c.shop.Llm - answer: {body}\n10:00:02 INFO on\n"),
        format!("10:00:01 DEBUG {{attempt=1}}\n  answer {{}}:\n{body}\n"),
    ] {
        let mut calls = 0;
        READER.read(text.as_bytes(), &messages, AT, &mut |_, _| calls += 1);
        assert_eq!(calls, 1, "{text}");
    }
    assert_eq!(seen(&format!("10:00:01 DEBUG c.shop.Llm - answer: {body}\n10:00:02 INFO on\n")), [one()]);
    assert_eq!(seen(&format!("{body}\n{body}\n")), [one(), one()]);
    // Lines that have a call each stay calls each, also where they are indented.
    let line = "  model=gpt-4o prompt_tokens=5 completion_tokens=1 vendor=openai\n";
    assert_eq!(seen(&format!("calls:\n{line}{line}")).len(), seen(line).len() * 2);
    // Without its end it is nothing.
    assert!(seen(body.trim_end_matches(['}', '\n', ' '])).is_empty());
}

#[test]
fn hints_are_found_wherever_a_piece_ends() {
    for offset in PIECE_BYTES - 20..PIECE_BYTES + 4 {
        for model in ["", "model"] {
            let text =
                format!("{}Error code: , tokens, eval_count{}{model}", ".".repeat(offset), ".".repeat(2 * offset));
            let text = text + "oken Error code: ";
            let mut hints = Hints::of(text.as_bytes());
            let mut found = Vec::new();
            while let Some(hint) = hints.next_from(found.last().map_or(0, |last| last + 1)) {
                found.push(hint);
            }
            let known = if model.is_empty() { &["Error code: "][..] } else { &["Error code: ", "oken", "eval_count"] };
            let mut expected: Vec<usize> =
                known.iter().flat_map(|hint| text.match_indices(hint).map(|(at, _)| at)).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{offset} {model}");
        }
    }
}
