//! Spans as a collector gets them: a real one, field by field, over both transports, and none at all.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use outflow::{
    clock,
    exchange::{Api, Cost, CostSource, Exchange, McpCall, Usage},
    sinks::{
        SinkNotice,
        otlp::{Compression, OtlpSettings, OtlpTraces, Protocol},
    },
    telemetry::{Metric, Metrics},
    units::{NanoUsd, Timestamp},
};
use testbed::{
    Attributes, Collector, Span, Value,
    fake_collector::{Behaviour, FakeCollector},
};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::client::{BOTH, LIMIT, fixed, heard, host, settings, to_nobody};

/// Seconds until what was taken must be printed.
const PRINTED_S: u64 = 120;
/// What a collector asks to be left alone for.
const WAIT: Duration = Duration::from_secs(3);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

pub(super) fn call(model: &str) -> Exchange {
    let mut exchange = crate::schema::exchange(model, model);
    exchange.usage = Usage {
        input_tokens: Some(1234),
        output_tokens: Some(5),
        cache_read_tokens: Some(1000),
        cache_write_tokens: Some(30),
        reasoning_tokens: Some(4),
        ..Usage::default()
    };
    exchange.headers.traceparent = Some(format!("00-{TRACE}-{PARENT}-01"));
    exchange.response_id = Some("chatcmpl-1".into());
    exchange.feature = Some("search".into());
    exchange.streaming = true;
    exchange.first_token_at = Some(Timestamp(exchange.started_at.0 + 500_000_000));
    exchange.ended_at = Timestamp(exchange.started_at.0 + 2_500_000_000);
    exchange
}

fn tool_call(tool: &str) -> Exchange {
    let call = McpCall {
        method: Some("tools/call".into()),
        id: Some("7".into()),
        tool: Some(tool.into()),
        session: Some("s-1".into()),
        version: Some("2025-11-25".into()),
        tool_failed: true,
    };
    Exchange {
        vendor: None,
        host: "mcp.example.com".into(),
        api: Api::McpStreamableHttp,
        request_model: None,
        response_model: None,
        usage: Usage::default(),
        mcp: Some(call),
        ..crate::schema::exchange("", "")
    }
}

fn sent(metrics: &Metrics, outcome: &str) -> u64 {
    metrics.get(Metric::SinkSpans, &["otlp", outcome]).unwrap_or(0)
}

#[test]
fn a_real_collector_has_the_span_of_each_call() {
    if let Some(missing) = testbed::missing_for_collector() {
        assert!(std::env::var_os("OUTFLOW_REQUIRE_BPF").is_none(), "{missing}");
        println!("skipped: {missing}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path()).unwrap();
    if !collector.skip_unless_ours() {
        return;
    }
    let cost = Cost { nano_usd: NanoUsd(987_654), source: CostSource::Catalogue, catalogue: "c".into() };
    for (protocol, experimental_names) in [(Protocol::Grpc, false), (Protocol::Http, true)] {
        let endpoint = match protocol {
            Protocol::Grpc => collector.grpc_endpoint(),
            Protocol::Http => collector.http_endpoint(),
        };
        let model = format!("gpt-4o-by-{protocol:?}");
        let metrics = Metrics::new();
        let to = OtlpSettings { experimental_names, ..settings(endpoint.to_owned(), protocol) };
        let traces = OtlpTraces::start(fixed(&to), "otlp", &metrics, &host(), to_nobody()).unwrap();
        traces.exchange(&call(&model), Some(&cost));
        traces.exchange(&tool_call(&model), None);
        traces.shutdown();
        assert_eq!((sent(&metrics, "sent"), sent(&metrics, "dropped")), (2, 0), "{model}");
        let proposed = attributes([
            ("gen_ai.usage.cost.amount", Value::Double(0.000_987_654)),
            ("gen_ai.usage.cost.currency", text("USD")),
            ("gen_ai.usage.cost.source", text("local")),
        ]);
        let mut expected = [expected_call(&model), expected_tool_call(&model)];
        if experimental_names {
            expected[0].attributes.extend(proposed);
        }
        // The last attributes of a span may be on their way.
        let whole = |spans: &[Span], ours: &Span| {
            let is_whole = |span: &&Span| span.name == ours.name && span.attributes.len() >= ours.attributes.len();
            spans.iter().find(is_whole).cloned()
        };
        let spans =
            collector.spans_until(PRINTED_S, |spans| expected.iter().all(|ours| whole(spans, ours).is_some())).unwrap();
        for expected in &expected {
            let mut span = whole(&spans, expected).unwrap_or_else(|| panic!("{expected:#?} is not in {spans:#?}"));
            // What it is made of is the agent's own affair; that it is one span's is not.
            assert_eq!(std::mem::take(&mut span.id).len(), 16, "{span:?}");
            if expected.parent_id.is_empty() {
                assert_eq!(std::mem::take(&mut span.trace_id).len(), 32, "{span:?}");
            }
            assert_eq!(span, *expected, "{protocol:?}");
        }
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn attributes<const N: usize>(all: [(&str, Value); N]) -> Attributes {
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a collector must have of [`call`].
fn expected_call(model: &str) -> Span {
    Span {
        resource: attributes([
            ("service.name", text("shop")),
            ("container.id", text("c0ffee")),
            ("host.name", text("node-17")),
            ("host.id", text("0123456789abcdef0123456789abcdef")),
            ("cloud.provider", text("aws")),
            ("cloud.region", text("eu-central-1")),
            ("cloud.availability_zone", text("eu-central-1a")),
            ("cloud.account.id", text("123456789012")),
        ]),
        scope: format!("outflow {}", env!("CARGO_PKG_VERSION")),
        schema_url: "https://opentelemetry.io/schemas/gen-ai/1.42.0".to_owned(),
        trace_id: TRACE.to_owned(),
        parent_id: PARENT.to_owned(),
        id: String::new(),
        name: format!("chat {model}"),
        kind: "CLIENT".to_owned(),
        start_ns: 1_795_392_000_000_000_000,
        end_ns: 1_795_392_002_500_000_000,
        status: "UNSET".to_owned(),
        attributes: attributes([
            ("server.address", text("api.openai.com")),
            ("gen_ai.provider.name", text("openai")),
            ("gen_ai.request.model", text(model)),
            ("gen_ai.response.model", text(model)),
            ("gen_ai.operation.name", text("chat")),
            ("gen_ai.response.id", text("chatcmpl-1")),
            ("gen_ai.response.time_to_first_chunk", Value::Double(0.5)),
            ("gen_ai.usage.input_tokens", Value::Int(1234)),
            ("gen_ai.usage.output_tokens", Value::Int(5)),
            ("gen_ai.usage.cache_read.input_tokens", Value::Int(1000)),
            ("gen_ai.usage.cache_creation.input_tokens", Value::Int(30)),
            ("gen_ai.usage.reasoning.output_tokens", Value::Int(4)),
            ("process.pid", Value::Int(7)),
            ("process.executable.name", text("python3")),
            ("http.response.status_code", Value::Int(200)),
            ("outflow.feature", text("search")),
            ("outflow.cost.nano_usd", Value::Int(987_654)),
            ("outflow.cost.source", text("catalogue")),
        ]),
    }
}

/// What a collector must have of [`tool_call`]: a root, for its request names no span.
fn expected_tool_call(model: &str) -> Span {
    let call = expected_call(model);
    Span {
        // The first half of the digest that makes the ids of a call's own.
        trace_id: String::new(),
        parent_id: String::new(),
        name: format!("tools/call {model}"),
        status: "ERROR".to_owned(),
        attributes: attributes([
            ("server.address", text("mcp.example.com")),
            ("gen_ai.operation.name", text("execute_tool")),
            ("gen_ai.tool.name", text(model)),
            ("mcp.method.name", text("tools/call")),
            ("mcp.session.id", text("s-1")),
            ("mcp.protocol.version", text("2025-11-25")),
            ("jsonrpc.request.id", text("7")),
            ("process.pid", Value::Int(7)),
            ("process.executable.name", text("python3")),
            ("http.response.status_code", Value::Int(200)),
            ("error.type", text("tool_error")),
        ]),
        end_ns: call.start_ns,
        ..call
    }
}

#[test]
fn without_a_collector_spans_are_dropped_and_counted() {
    // Ours, and nobody listens.
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap();
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let metrics = Metrics::new();
        let (tell, told) = heard();
        let nobody = settings(format!("http://{address}"), protocol);
        let traces = OtlpTraces::start(fixed(&nobody), "otlp", &metrics, &host(), tell).unwrap();
        for _ in 0..3 {
            traces.exchange(&call("gpt-4o"), None);
        }
        traces.shutdown();
        assert_eq!((sent(&metrics, "sent"), sent(&metrics, "dropped")), (0, 3));
        let told: Vec<SinkNotice> = told.iter().collect();
        let [SinkNotice::Drops { sink, what: "spans", reason }] = told.as_slice() else { panic!("{told:?}") };
        assert!(sink == "otlp" && reason.starts_with("cannot reach http://127.0.0.1:"), "{reason}");
    }
}

#[test]
fn what_the_collector_cannot_unpack_goes_out_as_it_is() {
    for (protocol, wire) in BOTH {
        for (compression, encoding) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
            for reads in [true, false] {
                let collector = FakeCollector::start(wire).unwrap();
                collector.rules(|rules| rules.compressed = reads);
                let metrics = Metrics::new();
                let to = OtlpSettings { compression, ..settings(collector.endpoint(), protocol) };
                let traces = OtlpTraces::start(fixed(&to), "otlp", &metrics, &host(), to_nobody()).unwrap();
                traces.exchange(&call("first"), None);
                assert!(collector.wait(1, 0, LIMIT));
                traces.exchange(&call("second"), None);
                traces.shutdown();
                assert_eq!((sent(&metrics, "sent"), sent(&metrics, "dropped")), (2, 0));
                let encodings: Vec<Option<String>> =
                    collector.asked().into_iter().map(|asked| asked.encoding).collect();
                let packed = Some(encoding.to_owned());
                let expected = if reads { vec![packed.clone(), packed] } else { vec![packed, None, None] };
                assert_eq!(encodings, expected, "{protocol:?}");
            }
        }
    }
}

#[test]
fn what_the_collector_refuses_is_counted_and_told_once() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        collector.rules(|rules| rules.reject = Box::new(|name| name.contains("bad")));
        let metrics = Metrics::new();
        let (tell, told) = heard();
        let to = settings(collector.endpoint(), protocol);
        let traces = OtlpTraces::start(fixed(&to), "otlp", &metrics, &host(), tell).unwrap();
        for model in ["good", "bad-1", "bad-2"] {
            traces.exchange(&call(model), None);
        }
        assert!(collector.wait(1, 0, LIMIT));
        traces.exchange(&call("bad-3"), None);
        traces.shutdown();
        let counted = ["sent", "refused", "dropped"].map(|outcome| sent(&metrics, outcome));
        assert_eq!(counted, [1, 3, 0], "{protocol:?}");
        let told: Vec<SinkNotice> = told.iter().collect();
        let [SinkNotice::Drops { what: "spans", reason, .. }] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(reason, "the collector refuses spans: not this one");
    }
}

#[test]
fn a_collector_that_says_later_is_asked_again() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        // UNAVAILABLE, and 503 over HTTP; then with a wait.
        collector.then(Behaviour::Status { code: 14, message: "starting", details: Vec::new() });
        let wait = ErrorDetails::with_retry_info(Some(WAIT));
        collector.then(match protocol {
            Protocol::Grpc => {
                let status = Status::with_error_details(Code::Unavailable, "busy", wait);
                Behaviour::Status { code: 14, message: "busy", details: status.details().to_vec() }
            }
            Protocol::Http => {
                let headers = vec![("retry-after", WAIT.as_secs().to_string())];
                Behaviour::Http { status: 503, headers, body: Vec::new() }
            }
        });
        collector.then(Behaviour::Close);
        let metrics = Metrics::new();
        let (tell, told) = heard();
        let to = settings(collector.endpoint(), protocol);
        let begun = clock::instant();
        let traces = OtlpTraces::start(fixed(&to), "otlp", &metrics, &host(), tell).unwrap();
        traces.exchange(&call("gpt-4o"), None);
        assert!(collector.wait(1, 0, LIMIT), "{protocol:?}");
        assert!(clock::instant().duration_since(begun) >= WAIT, "{protocol:?}: it asked to be left alone");
        traces.shutdown();
        assert_eq!((sent(&metrics, "sent"), sent(&metrics, "dropped")), (1, 0), "{protocol:?}");
        assert_eq!(collector.asked().len(), 4, "{protocol:?}");
        assert_eq!(told.iter().count(), 0, "nothing was lost");
    }
}

#[test]
fn a_new_token_is_read_after_the_old_one_was_refused() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        // UNAUTHENTICATED, and 401 over HTTP.
        collector.then(match protocol {
            Protocol::Grpc => Behaviour::Status { code: 16, message: "who are you", details: Vec::new() },
            Protocol::Http => Behaviour::Http { status: 401, headers: Vec::new(), body: Vec::new() },
        });
        let asked = AtomicU64::new(0);
        let to = settings(collector.endpoint(), protocol);
        let tokens = move || {
            let number = asked.fetch_add(1, Relaxed);
            Ok(OtlpSettings { headers: vec![("authorization".into(), format!("Bearer FAKE{number}"))], ..to.clone() })
        };
        let metrics = Metrics::new();
        let traces = OtlpTraces::start(tokens, "otlp", &metrics, &host(), to_nobody()).unwrap();
        traces.exchange(&call("gpt-4o"), None);
        assert!(collector.wait(1, 0, LIMIT), "{protocol:?}");
        traces.shutdown();
        let sent: Vec<_> =
            collector.asked().iter().map(|asked| asked.header("authorization").unwrap().to_owned()).collect();
        let [first, second] = &sent[..] else { panic!("{sent:?}") };
        assert_ne!(first, second, "{protocol:?}");
    }
}

#[test]
fn what_finds_no_room_is_counted_and_told_once_and_the_end_is_not_held_up() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        collector.then(Behaviour::Silent);
        let metrics = Metrics::new();
        let (tell, told) = heard();
        // The end is ten seconds away at most.
        let to = OtlpSettings { timeout: Duration::from_mins(5), ..settings(collector.endpoint(), protocol) };
        let traces = OtlpTraces::start(fixed(&to), "otlp", &metrics, &host(), tell).unwrap();
        for _ in 0..9_000 {
            traces.exchange(&call("gpt-4o"), None);
        }
        let lost = sent(&metrics, "dropped");
        // A request of 512 may have left the queue of 8,192.
        assert!((9_000 - 8_192 - 512..=9_000 - 8_192).contains(&lost), "{lost}");
        traces.shutdown();
        assert_eq!((sent(&metrics, "sent"), sent(&metrics, "dropped")), (0, 9_000), "{protocol:?}");
        let told: Vec<SinkNotice> = told.iter().collect();
        let [SinkNotice::Drops { reason, .. }, SinkNotice::Drops { reason: ended, .. }] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!(reason, "there is no room for more: the collector takes them too slowly, or not at all");
        assert_eq!(ended, "the collector had not taken all of them at the end");
    }
}

#[test]
fn a_collector_that_was_away_too_long_has_the_later_ones_and_what_it_refuses_is_told() {
    for (protocol, wire) in BOTH {
        // Ours, and nobody listens until then.
        let reserved = tokio::net::TcpSocket::new_v4().unwrap();
        reserved.set_reuseaddr(true).unwrap();
        reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = reserved.local_addr().unwrap();
        let metrics = Metrics::new();
        let (tell, told) = heard();
        let to = OtlpSettings { timeout: Duration::from_secs(1), ..settings(format!("http://{address}"), protocol) };
        let traces = OtlpTraces::start(fixed(&to), "otlp", &metrics, &host(), tell).unwrap();
        traces.exchange(&call("too-early"), None);
        let first = told.recv_timeout(LIMIT);
        assert!(
            matches!(&first, Ok(SinkNotice::Drops { reason, .. }) if reason.starts_with("cannot reach")),
            "{first:?}"
        );
        assert_eq!((sent(&metrics, "sent"), sent(&metrics, "dropped")), (0, 1), "{protocol:?}");
        drop(reserved);
        let collector = FakeCollector::start_at(address, wire, None).unwrap();
        collector.rules(|rules| rules.invalid = Box::new(|name| name.contains("bad")));
        // Alone in its request, for all of one are refused: it is no sign that spans are taken again.
        traces.exchange(&call("bad"), None);
        let second = told.recv_timeout(LIMIT);
        assert!(
            matches!(&second, Ok(SinkNotice::Drops { reason, .. }) if reason.starts_with("the collector refuses spans: ")),
            "{second:?}"
        );
        traces.exchange(&call("good"), None);
        let third = told.recv_timeout(LIMIT);
        assert!(matches!(&third, Ok(SinkNotice::Sends { what: "spans", .. })), "{third:?}");
        traces.shutdown();
        let counted = ["sent", "refused", "dropped"].map(|outcome| sent(&metrics, outcome));
        assert_eq!((counted, told.iter().count()), ([1, 1, 1], 0), "{protocol:?}");
    }
}
