//! Spans as a collector gets them: a real one, over both transports, and none at all.

use outflow::{
    exchange::{Cost, CostSource, Exchange, Usage},
    sinks::otlp::{OtlpTraces, Protocol},
    telemetry::{Metric, Metrics},
    units::NanoUsd,
};
use testbed::Collector;

use super::client::{host, settings};

/// Seconds until what was taken must be printed.
const PRINTED_S: u64 = 120;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn call(model: &str) -> Exchange {
    let mut exchange = crate::schema::exchange(model, model);
    exchange.usage = Usage { input_tokens: Some(1234), output_tokens: Some(5), ..Usage::default() };
    exchange.headers.traceparent = Some(format!("00-{TRACE}-b7ad6b7169203331-01"));
    exchange
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
    for (protocol, model) in [(Protocol::Grpc, "gpt-4o-by-grpc"), (Protocol::Http, "gpt-4o-by-http")] {
        let endpoint = match protocol {
            Protocol::Grpc => collector.grpc_endpoint(),
            Protocol::Http => collector.http_endpoint(),
        };
        let metrics = Metrics::new();
        let traces = OtlpTraces::start(&settings(endpoint.to_owned(), protocol), "otlp", &metrics, &host()).unwrap();
        traces.exchange(&call(model), Some(&cost));
        traces.shutdown();
        assert_eq!((sent(&metrics, "sent"), sent(&metrics, "dropped")), (1, 0), "{model}");
        let name = format!("chat {model}");
        let text = collector.printed_until(PRINTED_S, |text| text.contains(&name)).unwrap();
        let span = text.split("Span #").find(|span| span.contains(&name)).unwrap_or(&text);
        for part in [TRACE, "b7ad6b7169203331", "gen_ai.usage.input_tokens", "1234", "outflow.cost.nano_usd", "987654"]
        {
            assert!(span.contains(part), "{part} is not in\n{span}");
        }
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
        let traces =
            OtlpTraces::start(&settings(format!("http://{address}"), protocol), "otlp", &metrics, &host()).unwrap();
        for _ in 0..3 {
            traces.exchange(&call("gpt-4o"), None);
        }
        traces.shutdown();
        assert_eq!((sent(&metrics, "sent"), sent(&metrics, "dropped")), (0, 3));
    }
}
