//! A real collector, rotel: what it says it received is what was sent, field by field, and nothing is missing when it was away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc::sync_channel},
    thread,
};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Sent};
use outflow::{
    sinks::{
        Answer, Record,
        otlp::{Compression, OtlpMetrics, OtlpSettings, Protocol, request},
    },
    telemetry::{self, Metrics},
};
use testbed::{Attributes, Collector, Metric, Point, Record as Received, Value};

use super::{
    client::{Client, LIMIT, batch, host, ids, settings, to_nobody},
    faults::pump,
    metrics,
};

/// Seconds until what was taken must be printed.
const PRINTED_S: u64 = 120;

/// The name of the attribute that tells records apart.
const RECORD_ID: &str = "outflow.finding.record_id";

/// A folder and a collector that writes there; `None` when it cannot run here.
fn collector() -> Option<(tempfile::TempDir, Collector)> {
    if let Some(missing) = testbed::missing_for_collector() {
        assert!(std::env::var_os("OUTFLOW_REQUIRE_BPF").is_none(), "{missing}");
        println!("skipped: {missing}");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path()).unwrap();
    Some((folder, collector))
}

fn endpoint(collector: &Collector, protocol: Protocol) -> String {
    match protocol {
        Protocol::Grpc => collector.grpc_endpoint(),
        Protocol::Http => collector.http_endpoint(),
    }
    .to_owned()
}

fn id(record: &Received) -> &str {
    record.attributes.get(RECORD_ID).and_then(Value::text).unwrap_or_default()
}

/// The records with these ids, once there are so many.
fn received(collector: &Collector, wanted: &BTreeSet<String>) -> Vec<Received> {
    let ours = |records: &[Received]| records.iter().filter(|record| wanted.contains(id(record))).count();
    let mut records = collector.records_until(PRINTED_S, |records| ours(records) >= wanted.len()).unwrap();
    records.retain(|record| wanted.contains(id(record)));
    records
}

/// A value as the collector prints it.
fn value(value: Option<&AnyValue>) -> Value {
    match value.and_then(|value| value.value.clone()).unwrap() {
        Sent::StringValue(text) => Value::Text(text),
        Sent::IntValue(number) => Value::Int(number),
        Sent::BoolValue(value) => Value::Bool(value),
        Sent::DoubleValue(number) => Value::Double(number),
        list => Value::Other(shown(&list)),
    }
}

/// Likewise, within a list.
fn shown(value: &Sent) -> String {
    let inner = |value: &Option<AnyValue>| shown(value.as_ref().and_then(|value| value.value.as_ref()).unwrap());
    match value {
        Sent::StringValue(text) => format!("Str({text})"),
        Sent::IntValue(number) => format!("Int({number})"),
        Sent::BoolValue(value) => format!("Bool({value})"),
        Sent::DoubleValue(number) => format!("Double({number})"),
        Sent::ArrayValue(list) => {
            let all: Vec<_> = list.values.iter().map(|value| inner(&Some(value.clone()))).collect();
            format!("Slice({})", all.join(", "))
        }
        Sent::KvlistValue(map) => {
            let all: Vec<_> = map.values.iter().map(|pair| format!("{}:{}", pair.key, inner(&pair.value))).collect();
            format!("Map({})", all.join(", "))
        }
        other => panic!("{other:?}"),
    }
}

fn printed(attributes: &[KeyValue]) -> Attributes {
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute.value.as_ref()))).collect()
}

/// What was sent, as the collector would print it.
fn expected(sent: &[Record], experimental_names: bool) -> BTreeMap<String, Received> {
    let mut all = BTreeMap::new();
    for group in request(sent, &host(), experimental_names).resource_logs {
        let resource = printed(&group.resource.unwrap().attributes);
        for scope in group.scope_logs {
            let from = scope.scope.unwrap();
            for log in scope.log_records {
                let body = log.body.and_then(|body| body.value);
                let record = Received {
                    resource: resource.clone(),
                    scope: format!("{} {}", from.name, from.version),
                    schema_url: "https://opentelemetry.io/schemas/gen-ai/1.42.0".to_owned(),
                    time_ns: log.time_unix_nano,
                    observed_time_ns: log.observed_time_unix_nano,
                    severity_text: log.severity_text,
                    severity_number: log.severity_number.try_into().unwrap(),
                    event_name: log.event_name,
                    body: body.map(|body| match body {
                        Sent::StringValue(text) => Value::Text(text),
                        other => panic!("{other:?}"),
                    }),
                    attributes: printed(&log.attributes),
                };
                all.insert(id(&record).to_owned(), record);
            }
        }
    }
    all
}

#[test]
fn it_receives_what_was_sent() {
    let Some((_folder, collector)) = collector() else { return };
    let mut first = 1;
    for protocol in [Protocol::Grpc, Protocol::Http] {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let sent = batch(first..first + 200);
            first += 200;
            let experimental_names = protocol == Protocol::Http;
            let settings =
                OtlpSettings { compression, experimental_names, ..settings(endpoint(&collector, protocol), protocol) };
            let answer = Client::new(settings).send(&sent);
            assert!(matches!(&answer, Answer::Taken(refused) if refused.is_empty()), "{protocol:?} {compression:?}");
            if !collector.is_ours() {
                continue;
            }
            let expected = expected(&sent, experimental_names);
            let has_proposed =
                |record: &Received| record.attributes.keys().any(|name| name.starts_with("gen_ai.security."));
            assert_eq!(expected.values().any(has_proposed), experimental_names);
            let received = received(&collector, &expected.keys().cloned().collect());
            assert_eq!(received.len(), 200, "{protocol:?} {compression:?}");
            for record in received {
                assert_eq!(record, expected[id(&record)], "{protocol:?} {compression:?}");
            }
        }
    }
}

/// Batches of one life of the collector: so many that it ends while they are on their way.
const BATCHES: u64 = 20;

#[test]
fn it_was_away_and_nothing_is_missing() {
    let Some((_folder, mut collector)) = collector() else { return };
    if !collector.skip_unless_ours() {
        return;
    }
    for (protocol, mut first) in [(Protocol::Grpc, 1_u64), (Protocol::Http, 10_001)] {
        let mut client = Client::new(settings(endpoint(&collector, protocol), protocol));
        let (portions, taken) = sync_channel::<Vec<Arc<[Record]>>>(1);
        let sending = thread::spawn(move || taken.iter().flat_map(|batches| pump(&mut client, &batches)).count());
        let (mut all, mut killed) = (BTreeSet::new(), Vec::new());
        for kill in [false, true, false] {
            let ended = first + BATCHES * 20;
            let batches: Vec<_> = (first..ended).step_by(20).map(|seq| batch(seq..seq + 20)).collect();
            let begun: BTreeSet<String> = ids(&batches[0]).into_iter().collect();
            if kill {
                killed = batches.iter().map(|batch| ids(batch).into_iter().collect::<BTreeSet<String>>()).collect();
            } else {
                all.extend(batches.iter().flat_map(|batch| ids(batch)));
            }
            first = ended;
            portions.send(batches).unwrap();
            assert!(!received(&collector, &begun).is_empty(), "{protocol:?}");
            // With requests on their way it ends with 1; that it has ended is what matters.
            let _ = if kill { collector.kill() } else { collector.terminate() };
            collector.start_again().unwrap();
        }
        drop(portions);
        assert_eq!(sending.join().unwrap(), 0, "none is refused");
        let found: BTreeSet<String> = received(&collector, &all).iter().map(|record| id(record).to_owned()).collect();
        assert_eq!(found, all, "{protocol:?}");
        // It answers before it prints: killed in between, it takes what it had confirmed along. That is a request or two, each whole.
        let printed: BTreeSet<String> =
            collector.records().unwrap().iter().map(|record| id(record).to_owned()).collect();
        assert!(killed.iter().all(|batch| batch.is_subset(&printed) || batch.is_disjoint(&printed)), "{protocol:?}");
        assert!(killed.iter().filter(|batch| batch.is_disjoint(&printed)).count() <= 2, "{protocol:?}: {printed:?}");
    }
}

#[test]
fn it_receives_metrics() {
    let Some((_folder, collector)) = collector() else { return };
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let registry = Metrics::new();
        registry.add(telemetry::Metric::Findings, &["high", "leak"], 7);
        let to = settings(endpoint(&collector, protocol), protocol);
        let sending = OtlpMetrics::start(&to, "otlp", LIMIT, &registry, &host(), to_nobody()).unwrap();
        let model = format!("mistral-small-by-{protocol:?}");
        sending.exchange(&metrics::exchange(&model), Some(&metrics::cost(2_500_000_000)));
        sending.shutdown();
        if !collector.skip_unless_ours() {
            continue;
        }
        let found = |name: &str| {
            let name = name.to_owned();
            testbed::Deadline::after(PRINTED_S)
                .until(&name, || Ok(collector.metrics()?.into_iter().rfind(|metric| metric.name == name)))
                .unwrap()
        };
        of_a_call(&collector, &model);
        let findings = found("outflow_findings_total");
        let labels: Attributes = [("severity", "high"), ("category", "leak")]
            .map(|(key, value)| (key.into(), Value::Text(value.into())))
            .into();
        assert_eq!((findings.points[0].attributes.clone(), findings.points[0].value), (labels, Some(7.0)));
        assert_eq!(findings.resource.get("service.name").and_then(Value::text), Some("outflow"));
        assert_eq!(found("outflow_build_info").points[0].value, Some(1.0));
    }
}

/// The three metrics that a call of [`metrics::exchange`] makes, field by field.
fn of_a_call(collector: &Collector, model: &str) {
    let has_model = |metric: &Metric| {
        let models = metric.points.iter().map(|point| point.attributes.get("gen_ai.request.model"));
        models.into_iter().any(|name| name.and_then(Value::text) == Some(model))
    };
    let names = ["gen_ai.client.token.usage", "gen_ai.client.operation.duration", "outflow.cost"];
    let ours = |metrics: &[Metric]| -> Vec<Metric> {
        let ours = names.map(|name| metrics.iter().rfind(|metric| metric.name == name && has_model(metric)));
        ours.into_iter().flatten().cloned().collect()
    };
    // The last line of a point is a bucket, or the value.
    let is_whole = |metric: &Metric| {
        let of = |point: &Point| point.value.is_some() || point.buckets.len() == point.bounds.len() + 1;
        metric.points.iter().all(of)
    };
    let metrics = collector
        .metrics_until(PRINTED_S, |metrics| {
            let ours = ours(metrics);
            ours.len() == names.len() && ours.iter().all(is_whole) && ours[0].points.len() == 2
        })
        .unwrap();
    let mut ours = ours(&metrics);
    assert_eq!(ours.len(), names.len(), "{ours:#?}");
    let call = Attributes::from(
        [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "mistral_ai"),
            ("gen_ai.request.model", model),
            ("outflow.service", "shop"),
            ("server.address", "api.mistral.ai"),
        ]
        .map(|(name, value)| (name.to_owned(), Value::Text(value.to_owned()))),
    );
    let with = |name: &str, value: &str| {
        let mut all = call.clone();
        all.insert("server.port".to_owned(), Value::Int(8443));
        if !name.is_empty() {
            all.insert(name.to_owned(), Value::Text(value.to_owned()));
        }
        all
    };
    // In the conventions' words: powers of four, and 0.01 doubled.
    let tokens: Vec<f64> = (0..14).map(|power| 4_f64.powi(power)).collect();
    let seconds = vec![0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
    let counted = |attributes, sum: f64, bounds: &[f64]| {
        let buckets = (0..=bounds.len()).map(|bucket| u64::from(bounds.partition_point(|end| *end < sum) == bucket));
        let (buckets, bounds) = (buckets.collect(), bounds.to_vec());
        Point { attributes, value: None, count: Some(1), sum: Some(sum), bounds, buckets }
    };
    let cost = Point { attributes: with("outflow.cost.source", "catalogue"), value: Some(2.5), ..Point::default() };
    let kind = "gen_ai.token.type";
    let expected = [
        (
            "{token}",
            "Histogram",
            vec![counted(with(kind, "input"), 1000.0, &tokens), counted(with(kind, "output"), 3.0, &tokens)],
        ),
        ("s", "Histogram", vec![counted(with("", ""), 1.25, &seconds)]),
        ("{USD}", "Sum", vec![cost]),
    ];
    let order = |point: &Point| point.attributes.get(kind).and_then(Value::text).map(str::to_owned);
    for (metric, (unit, data, points)) in ours.iter_mut().zip(expected) {
        metric.points.sort_by_key(order);
        assert_eq!((metric.unit.as_str(), metric.kind.as_str()), (unit, data), "{}", metric.name);
        assert_eq!(metric.temporality, "CUMULATIVE", "{}", metric.name);
        assert_eq!(metric.points, points, "{}", metric.name);
        let of = |name: &str| metric.resource.get(name).and_then(Value::text);
        let resource = ["service.name", "host.name", "cloud.provider"].map(of);
        assert_eq!(resource, [Some("outflow"), Some("node-17"), Some("aws")], "{}", metric.name);
        assert_eq!(metric.scope, format!("outflow {}", env!("CARGO_PKG_VERSION")));
        assert_eq!(metric.schema_url, "https://opentelemetry.io/schemas/gen-ai/1.42.0");
    }
}
