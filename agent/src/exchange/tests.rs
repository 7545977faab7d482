//! Cases of `tests/cases/exchange`: one call each, through assembly and correlation. And pairing.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::{
    assembly::{Assembled, Assembler, Body, Content, End, Head, Headers, Limits, Message, Protocol, aws_events},
    rules::{RuleSource, VendorTable},
    sources::{
        Direction, StreamEvent,
        replay::{Options, Record},
    },
};

mod asking;
mod properties;
mod retrieval;
mod written;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "post")]
    method: String,
    url: String,
    #[serde(default)]
    request: String,
    #[serde(default)]
    request_headers: BTreeMap<String, String>,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default = "json_type")]
    content_type: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    response: String,
    /// The answer is an AWS event stream: event (for an exception with `!` in front) and payload of each frame.
    #[serde(default)]
    frames: Vec<(String, String)>,
    /// The answer is an AWS event stream of chunks: each is the model maker's own event.
    #[serde(default)]
    chunks: Vec<String>,
    /// The connection closes when the answer has come up to this text.
    cut_before: Option<String>,
    /// The bytes from here on to the end are lost.
    lost_from: Option<String>,
    /// Facts that are not listed must be empty.
    facts: toml::Table,
    request_text: Option<Vec<(String, String)>>,
    response_text: Option<Vec<(String, String)>>,
}

fn post() -> String {
    "POST".to_owned()
}

fn ok() -> u16 {
    200
}

fn json_type() -> String {
    "application/json".to_owned()
}

fn vendors() -> Arc<VendorTable> {
    Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap())
}

fn frame((event, payload): (String, String)) -> Vec<u8> {
    let kind = if event.starts_with('!') { ":exception-type" } else { ":event-type" };
    aws_events::frame(&[(kind, event.trim_start_matches('!'))], payload.as_bytes())
}

fn run(case: &Case) -> Exchange {
    let mut headers = case.headers.clone();
    headers.insert("content-type".to_owned(), case.content_type.clone());
    let chunk = |event: &String| ("chunk".to_owned(), json!({"bytes": STANDARD.encode(event), "p": "abc"}).to_string());
    let frames: Vec<u8> = case.frames.iter().cloned().chain(case.chunks.iter().map(chunk)).flat_map(frame).collect();
    let response = if frames.is_empty() {
        json!({"status": case.status, "headers": headers, "body": case.response})
    } else {
        json!({"status": case.status, "headers": headers, "body_base64": STANDARD.encode(frames)})
    };
    let record = json!({
        "request": {"method": case.method, "url": case.url, "headers": case.request_headers, "body": case.request},
        "response": response,
    });
    let record = Record::parse(record.to_string().as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let mut inputs = record.inputs(StreamId(1), Timestamp(1), Options::default());
    let stop = case.cut_before.as_ref().or(case.lost_from.as_ref());
    if let Some(stop) = stop {
        let mut stopped = false;
        inputs.retain_mut(|input| match &mut input.event {
            StreamEvent::Bytes { direction: Direction::Received, .. } if stopped => false,
            StreamEvent::Bytes { direction: Direction::Received, bytes, .. } => {
                if let Some(at) = memchr::memmem::find(bytes, stop.as_bytes()) {
                    stopped = true;
                    bytes.truncate(at);
                }
                true
            }
            StreamEvent::Closed { received_bytes, .. } => {
                if case.cut_before.is_some() {
                    *received_bytes = None;
                }
                true
            }
            _ => true,
        });
        assert!(stopped, "{}: {stop:?} is not in the answer", case.name);
    }
    let (mut assembler, mut correlator) = (Assembler::new(Limits::default()), Correlator::new(vendors()));
    let (mut events, mut exchanges) = (Vec::new(), Vec::new());
    for input in &inputs {
        assembler.push(input, &mut events);
    }
    for event in events {
        match event {
            Assembled::Message(message) => correlator.push(*message, &mut exchanges),
            Assembled::Closed(stream) => correlator.closed(stream, &mut exchanges),
            Assembled::CallOver { stream, call } => correlator.call_over(stream, call, &mut exchanges),
            Assembled::Frame(frame) => correlator.frame(*frame, &mut exchanges),
            Assembled::Anomaly(_) => {}
        }
    }
    assert_eq!(exchanges.len(), 1, "{}", case.name);
    exchanges.remove(0)
}

/// Facts that are there, by name.
fn facts(exchange: &Exchange) -> Value {
    let all = json!({
        "vendor": exchange.vendor.as_deref(),
        "api": exchange.api,
        "status": exchange.status,
        "request_model": exchange.request_model,
        "response_model": exchange.response_model,
        "response_id": exchange.response_id,
        "streaming": exchange.streaming,
        "framing": exchange.framing,
        "input": exchange.usage.input_tokens,
        "output": exchange.usage.output_tokens,
        "cache_read": exchange.usage.cache_read_tokens,
        "cache_write": exchange.usage.cache_write_tokens,
        "reasoning": exchange.usage.reasoning_tokens,
        "finish_reasons": exchange.finish_reasons,
        "tool_calls": exchange.tool_calls,
        "server_tool_calls": exchange.server_tool_calls,
        "conversation": exchange.conversation,
        "mcp": exchange.mcp.as_ref().map(|call| json!({
            "method": call.method, "id": call.id, "tool": call.tool, "session": call.session, "version": call.version,
            "failed": call.tool_failed,
        }).as_object().unwrap().iter().filter(|(_, value)| !matches!(value, Value::Null | Value::Bool(false)))
            .map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>()),
        "tool_results": exchange.tool_results.iter()
            .map(|result| result.call_id.clone().or(result.name.clone()).unwrap_or_default()).collect::<Vec<_>>(),
        "request_id": exchange.headers.request_id,
        "service_tier": exchange.service_tier,
        "usage_tier": exchange.usage_tier,
        "system_fingerprint": exchange.system_fingerprint,
        "error": exchange.error,
        "cost_nano_usd": exchange.reported_cost,
        "complete": exchange.view.complete,
    });
    let is_said = |value: &Value| !matches!(value, Value::Null | Value::Bool(false)) && *value != json!([]);
    all.as_object().unwrap().iter().filter(|(_, value)| is_said(value)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn leaves(text: &Leaves) -> Vec<(String, String)> {
    let mut leaves: Vec<_> =
        text.iter().map(|(path, range)| (path.to_owned(), text.text()[range].to_owned())).collect();
    leaves.sort();
    leaves
}

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/exchange");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file: Cases = toml::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in file.case {
            count += 1;
            let exchange = run(&case);
            let name = format!("{}: {}", path.display(), case.name);
            let expected = serde_json::to_value(&case.facts).unwrap();
            let mut found = facts(&exchange);
            if expected.get("framing").is_none() {
                found.as_object_mut().unwrap().remove("framing");
            }
            assert_eq!(found, expected, "{name}");
            for (expected, text) in
                [(case.request_text, &exchange.request_text), (case.response_text, &exchange.response_text)]
            {
                if let Some(mut expected) = expected {
                    expected.sort();
                    assert_eq!(leaves(text), expected, "{name}");
                }
            }
        }
    }
    assert!(count >= 20, "only {count} cases found");
}

fn message(direction: Direction, stream: u64, call: Option<u64>) -> Message {
    let number = call.map_or(0, |call| 200 + call as u16);
    let headers = Headers::default();
    Message {
        stream: StreamId(stream),
        origin: Arc::new(Origin::default()),
        server_name: None,
        direction,
        call,
        protocol: Protocol::Http1,
        head: match direction {
            Direction::Sent => Head::Request { method: "POST".into(), target: format!("/{number}"), headers },
            Direction::Received => Head::Response { status: number, headers },
        },
        body: Body {
            content: Content::Bytes(vec![b'x'; 1 << 20]),
            wire_bytes: 1 << 20,
            missing_bytes: 0,
            unread_bytes: 0,
        },
        started_at: Timestamp(1),
        body_at: None,
        ended_at: Timestamp(2),
        end: End::Complete,
    }
}

#[test]
fn requests_find_their_own_answers() {
    use Direction::{Received, Sent};
    let mut correlator = Correlator::new(vendors());
    let mut out = Vec::new();
    let mut push = |direction, stream, call| {
        correlator.push(message(direction, stream, call), &mut out);
        let found: Vec<_> = out.drain(..).map(|exchange: Exchange| (exchange.path, exchange.status)).collect();
        found
    };
    assert_eq!(push(Sent, 1, Some(0)), []);
    assert_eq!(push(Sent, 2, Some(0)), []);
    assert_eq!(push(Sent, 1, Some(1)), []);
    assert_eq!(push(Received, 1, Some(0)), [("/200".to_owned(), Some(200))]);
    assert_eq!(push(Sent, 1, Some(2)), []);
    assert_eq!(
        push(Received, 1, Some(2)),
        [("/201".to_owned(), None), ("/202".to_owned(), Some(202))],
        "the answer to 1 was lost"
    );
    assert_eq!(push(Received, 1, Some(3)), [], "an answer may end before its request");
    assert_eq!(push(Sent, 1, Some(3)), [("/203".to_owned(), Some(203))]);
    assert_eq!(push(Received, 1, None), [], "late join");
    correlator.closed(StreamId(2), &mut out);
    assert_eq!(out.drain(..).map(|exchange| exchange.path).collect::<Vec<_>>(), ["/200"]);
    assert_eq!(correlator.unpaired(), Unpaired { answers: 1, evicted: 0 });
    correlator.push(message(Sent, 3, Some(0)), &mut out);
    correlator.push(message(Received, 4, Some(0)), &mut out);
    correlator.finish(&mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(correlator.unpaired(), Unpaired { answers: 2, evicted: 0 });
}

#[test]
fn a_call_without_an_answer_lasts_until_its_client_gives_up() {
    let mut correlator = Correlator::new(vendors());
    let mut out = Vec::new();
    correlator.push(message(Direction::Sent, 1, Some(0)), &mut out);
    correlator.push(message(Direction::Sent, 2, Some(0)), &mut out);
    correlator.push(message(Direction::Received, 2, Some(0)), &mut out);
    correlator.advance(Timestamp(60));
    correlator.closed(StreamId(1), &mut out);
    correlator.closed(StreamId(2), &mut out);
    correlator.push(message(Direction::Sent, 3, Some(0)), &mut out);
    correlator.advance(Timestamp(90));
    correlator.call_over(StreamId(3), 0, &mut out);
    let ended: Vec<_> = out.iter().map(|exchange| (exchange.status.is_some(), exchange.ended_at.0)).collect();
    assert_eq!(ended, [(true, 2), (false, 60), (false, 90)]);
}

#[test]
fn waiting_is_bounded() {
    let mut correlator = Correlator::new(vendors());
    let mut out = Vec::new();
    for call in 0..300 {
        correlator.push(message(Direction::Sent, call, Some(0)), &mut out);
    }
    assert_eq!(correlator.unpaired().evicted, out.len() as u64);
    assert!((44..=50).contains(&out.len()), "{} of 300 MiB were let go", out.len());
    assert_eq!(out[0].stream, StreamId(0), "the oldest goes first");
}

/// One call whose two messages have these bodies.
fn call(request: Body, response: Body, end: End) -> Exchange {
    let mut correlator = Correlator::new(vendors());
    let mut out = Vec::new();
    let mut asked = message(Direction::Sent, 1, Some(0));
    asked.body = request;
    let mut answer = message(Direction::Received, 1, Some(0));
    (answer.body, answer.end) = (response, end);
    correlator.push(asked, &mut out);
    correlator.push(answer, &mut out);
    out.remove(0)
}

fn bytes(text: &[u8], unread_bytes: u64) -> Body {
    let wire_bytes = text.len() as u64 + unread_bytes;
    let content = if text.is_empty() { Content::Empty } else { Content::Bytes(text.to_vec()) };
    Body { content, wire_bytes, missing_bytes: 0, unread_bytes }
}

#[test]
fn what_was_not_read_is_not_scanned() {
    let image = format!(r#"{{"url":"data:image/png;base64,{}"}}"#, "QUJD".repeat(250));
    let exchange = call(bytes(image.as_bytes(), 0), bytes(b"", 700), End::Unreadable);
    assert_eq!((exchange.view.request_unread_bytes, exchange.view.response_unread_bytes), (1000, 700));
    let exchange = call(bytes(b"plain", 0), bytes(b"up to the cap", 50), End::TooLarge);
    assert_eq!((exchange.view.request_unread_bytes, exchange.view.response_unread_bytes), (0, 50));
    assert!(!exchange.view.complete);
}

#[test]
fn a_bad_escape_or_byte_hides_nothing() {
    let exchange = call(
        bytes(br#"{"content":"key AKIA in C:\Users and more"}"#, 0),
        bytes(b"name;J\xfcrgen;j@example.com and so on and so on", 0),
        End::Complete,
    );
    assert_eq!(exchange.request_text.text(), "key AKIA in C:\n\\Users and more\"}\n");
    assert!(exchange.response_text.text().contains("j@example.com"));
}
