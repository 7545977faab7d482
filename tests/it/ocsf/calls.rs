//! Calls as events of class 6003, and as records of usage: each kind of call is valid against its schema, and `docs/CALLS.md` says what they hold.
//! `OUTFLOW_BLESS=1` writes `docs/schema/usage-v1.json` and the page's examples anew.

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc};

use outflow::{
    exchange::{Api, Catalogue, Exchange, McpCall, Prices, Usage},
    findings::{Call, Fingerprint},
    sinks::{
        Host,
        ocsf::encode_call,
        usage::{UsageRecord, usage_schema},
    },
    sources::{Kubernetes, Origin, StreamId},
    units::Timestamp,
};
use serde_json::Value;

use super::{errors, host, page::replace, python, recommended};
use crate::schema::exchange;

const RECORD_ID: &str = "0123456789abcdef-17";

/// Calls of every kind, each with what is special about it.
fn samples() -> Vec<(&'static str, Call)> {
    let mut success = exchange("gpt-4o", "gpt-4o-2024-08-06");
    success.ended_at.0 += 1_250_000_000;
    success.first_token_at = Some(Timestamp(success.started_at.0 + 300_000_000));
    success.feature = Some("checkout".into());
    success.finish_reasons = vec!["stop".into()];
    success.request_text.push("$.messages[0].content", "write to jane.doe@outflow-fake.net");
    success.usage = Usage { cache_read_tokens: Some(64), reasoning_tokens: Some(4), ..success.usage };

    let mut streaming = success.clone();
    streaming.streaming = true;
    streaming.headers.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
    streaming.headers.request_id = Some("req-1".into());
    streaming.headers.retry_count = Some(1);
    streaming.response_id = Some("chatcmpl-1".into());
    streaming.usage_tier = Some("default".into());
    streaming.tool_calls = vec!["search".into()];
    streaming.server_tool_calls = vec!["web_search".into()];
    streaming.usage.cache_write_tokens = Some(8);

    let mut error = exchange("gpt-4o", "gpt-4o");
    (error.status, error.error) = (Some(429), Some("rate_limit_exceeded".into()));
    (error.response_model, error.usage) = (None, Usage::default());
    let origin = Origin {
        pod: Some("0f1e2d3c".into()),
        unit: Some("shop.service".into()),
        kubernetes: Some(Kubernetes { namespace: "shop".into(), pod: "shop-1".into(), container: "app".into() }),
        ..Origin::clone(&error.origin)
    };
    error.origin = Arc::new(origin);

    let mut tool = exchange("", "");
    (tool.request_model, tool.response_model, tool.usage) = (None, None, Usage::default());
    (tool.api, tool.vendor, tool.path) = (Api::McpStreamableHttp, None, "/mcp".into());
    tool.host = "mcp.example.internal:8443".into();
    tool.mcp = Some(McpCall { method: Some("tools/call".into()), tool: Some("lookup".into()), ..McpCall::default() });
    let mut failed_tool = tool.clone();
    failed_tool.mcp.as_mut().unwrap().tool_failed = true;
    let mut tools = tool.clone();
    tools.mcp = Some(McpCall { method: Some("tools/list".into()), ..McpCall::default() });

    // A line of a log told of it: no process, no status, no path.
    let logged = Exchange {
        vendor: Some("openai".into()),
        api: Api::ChatCompletions,
        request_model: Some("gpt-4o".into()),
        usage: Usage { input_tokens: Some(5), ..Usage::default() },
        ..Exchange::unknown(StreamId(0), Arc::default(), "api.openai.com", success.started_at)
    };
    let other_program = Exchange {
        origin: Arc::new(Origin { process: "python3".into(), container: Some("c0ffee".into()), ..Origin::default() }),
        ..logged.clone()
    };
    let mut vectors = exchange("", "");
    (vectors.request_model, vectors.response_model, vectors.usage) = (None, None, Usage::default());
    (vectors.api, vectors.vendor, vectors.host) = (Api::VectorQuery, Some("qdrant".into()), "10.0.0.7:6333".into());
    let mut deleted = vectors.clone();
    (deleted.api, deleted.method) = (Api::Other, "DELETE".into());
    let mut strange = vectors.clone();
    (strange.api, strange.method, strange.host, strange.path) =
        (Api::Other, "BREW".into(), String::new(), String::new());
    strange.status = None;
    let mut huge = success.clone();
    huge.usage = Usage { input_tokens: Some(u64::MAX), output_tokens: Some(u64::MAX), ..Usage::default() };
    let mut patched = deleted.clone();
    patched.method = "PATCH".into();
    let mut listed = deleted.clone();
    listed.method = "GET".into();

    let caller = Fingerprint { value: "672cd3ebd0202ef60daf4f0a7bc141db".into(), key_id: "d1b1b2cb59e70744".into() };
    let all = vec![
        ("success", success),
        ("streaming", streaming),
        ("error", error),
        ("MCP tool call", tool),
        ("MCP tool that failed", failed_tool),
        ("MCP list of tools", tools),
        ("a line of a log", logged),
        ("a line of a program", other_program),
        ("vector store", vectors),
        ("delete", deleted),
        ("patch", patched),
        ("list", listed),
        ("not understood", strange),
        ("more tokens than a field holds", huge),
    ];
    let prices = Catalogue::bundled();
    let of = |(name, exchange): (&'static str, Exchange)| {
        let caller = (name == "streaming").then_some(&caller);
        (name, Call::of(&exchange, prices.price(&exchange).as_ref(), caller))
    };
    all.into_iter().map(of).collect()
}

fn find(name: &str) -> Call {
    samples().into_iter().find(|(known, _)| *known == name).unwrap().1
}

fn event(call: &Call) -> Value {
    serde_json::from_str(&encode_call(call, RECORD_ID, &host()).unwrap()).unwrap()
}

#[test]
fn calls_of_every_kind_are_valid_events() {
    let Some(python) = python() else { return };
    let hosts = [host(), Host { name: "node-17".into(), id: None, cloud: None }];
    let samples = samples();
    for host in &hosts {
        let events: Vec<_> = samples.iter().map(|(_, call)| encode_call(call, RECORD_ID, host).unwrap()).collect();
        for (((name, _), event), errors) in samples.iter().zip(&events).zip(errors(&python, &events)) {
            assert!(errors.is_empty(), "{name}: {errors:#?} in {event}");
        }
    }
    let events: Vec<_> = samples.iter().map(|(_, call)| encode_call(call, RECORD_ID, &hosts[0]).unwrap()).collect();
    recommended::are_there(&python, &events, recommended::UNKNOWN_OF_CALLS);
    // The check itself.
    let good = event(&find("success"));
    let with = |pointer: &str, name: &str, value: Value| {
        let mut event = good.clone();
        event.pointer_mut(pointer).expect(pointer)[name] = value;
        event.to_string()
    };
    let cases = [
        (with("/ai_model", "colour", "red".into()), "'colour' was unexpected"),
        (with("/message_context", "prompt_tokens", "7".into()), "$.message_context.prompt_tokens"),
        (
            with("/metadata", "profiles", serde_json::json!(["host"])),
            "'ai_model', 'cloud', 'message_context' were unexpected",
        ),
        (with("", "status", "Success!".into()), "$.status_id: 1 is 'Success'"),
        (with("", "actor", Value::Null), "$.actor"),
    ];
    let events: Vec<String> = cases.iter().map(|(event, _)| event.clone()).collect();
    for ((_, expected), errors) in cases.iter().zip(errors(&python, &events)) {
        assert!(errors.iter().any(|error| error.contains(expected)), "{expected} was not found: {errors:#?}");
    }
}

#[test]
fn events_say_what_a_call_did_and_how_it_ended() {
    let check = |name: &str, activity: &str, status: &str, operation: &str| {
        let event = event(&find(name));
        let found = [&event["activity_name"], &event["status"], &event["api"]["operation"]];
        assert_eq!(found, [activity, status, operation], "{name}");
        assert_eq!(event["type_name"], format!("API Activity: {activity}"), "{name}");
    };
    check("success", "Create", "Success", "chat_completions");
    check("error", "Create", "Failure", "chat_completions");
    check("MCP tool call", "Other", "Success", "tools/call");
    check("MCP tool that failed", "Other", "Failure", "tools/call");
    check("MCP list of tools", "Read", "Success", "tools/list");
    check("a line of a log", "Create", "Unknown", "chat_completions");
    check("vector store", "Read", "Success", "vector_query");
    check("delete", "Delete", "Success", "other");
    check("patch", "Update", "Success", "other");
    check("list", "Read", "Success", "other");
    check("not understood", "Unknown", "Unknown", "other");
    let success = event(&find("success"));
    assert_eq!((&success["duration"], &success["http_response"]["code"]), (&1250.into(), &200.into()));
    assert_eq!(success["ai_model"]["version"], "gpt-4o-2024-08-06");
    let tokens = ["prompt_tokens", "completion_tokens", "total_tokens"].map(|name| &success["message_context"][name]);
    assert_eq!(tokens, [&Value::from(100), &Value::from(10), &Value::from(110)]);
    let failed = event(&find("MCP tool that failed"));
    assert_eq!(
        (&failed["status_detail"], &failed["message_context"]["ai_role"]),
        (&"tool_error".into(), &"Tool".into())
    );
    assert_eq!(event(&find("more tokens than a field holds"))["message_context"]["total_tokens"], i32::MAX);
}

#[test]
fn nothing_of_the_text_is_in_either() {
    for (name, call) in samples() {
        let usage = serde_json::to_string(&UsageRecord::new(&call, RECORD_ID, &host())).unwrap();
        for text in [encode_call(&call, RECORD_ID, &host()).unwrap(), usage] {
            assert!(!text.contains("jane") && !text.contains("outflow-fake"), "{name}: {text}");
        }
    }
}

fn docs(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)
}

/// Compares a file with what it should be, or writes it.
fn committed(file: &str, expected: &str) {
    if std::env::var_os("OUTFLOW_BLESS").is_some() {
        fs::write(docs(file), expected).unwrap();
    }
    let found = fs::read_to_string(docs(file)).unwrap_or_default();
    assert!(found == expected, "docs/{file} is out of date: run this test with OUTFLOW_BLESS=1");
}

#[test]
fn the_schema_of_usage_is_the_generated_one_and_records_follow_it() {
    let schema = usage_schema();
    committed("schema/usage-v1.json", &(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (name, call) in samples() {
        let record = UsageRecord::new(&call, RECORD_ID, &host());
        let value = serde_json::to_value(&record).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?} in {value:#}");
        assert_eq!(serde_json::from_value::<UsageRecord>(value).unwrap(), record);
    }
    let mut wrong = serde_json::to_value(UsageRecord::new(&find("success"), RECORD_ID, &host())).unwrap();
    wrong["cost_nano_usd"] = (-1).into();
    assert!(!validator.is_valid(&wrong));
    wrong["cost_nano_usd"] = 1.into();
    wrong["usage_id"] = "x".into();
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn the_page_shows_what_calls_are() {
    let page = fs::read_to_string(docs("CALLS.md")).unwrap();
    let mut event = event(&find("success"));
    // A release does not change the page.
    event["metadata"]["product"]["version"] = "…".into();
    let usage = serde_json::to_value(UsageRecord::new(&find("success"), RECORD_ID, &host())).unwrap();
    let page = replace(&page, "event", &format!("```json\n{event:#}\n```\n"));
    let page = replace(&page, "usage", &format!("```json\n{usage:#}\n```\n"));
    committed("CALLS.md", &page);

    let mut used = BTreeSet::new();
    for (_, call) in samples() {
        fields(&super::calls::event(&call), "", &mut used);
    }
    let named = super::page::named(&page);
    let missing: Vec<_> = used.difference(&named).collect();
    assert!(missing.is_empty(), "docs/CALLS.md does not say what these are: {missing:#?}");
    let stale: Vec<_> = named.difference(&used).collect();
    assert!(stale.is_empty(), "docs/CALLS.md names what no event has: {stale:#?}");
}

/// Paths of the fields below a value.
fn fields(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let dot = if path.is_empty() { "" } else { "." };
                fields(inner, &format!("{path}{dot}{name}"), out);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                fields(item, &format!("{path}[]"), out);
            }
        }
        _ => {
            out.insert(path.to_owned());
        }
    }
}
