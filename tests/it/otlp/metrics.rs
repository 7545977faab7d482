//! The agent's own metrics as a collector gets them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{HistogramDataPoint, NumberDataPoint, metric::Data, number_data_point},
};
use outflow::{
    exchange::{Api, Cost, CostSource, Exchange, Usage},
    sinks::{
        SinkNotice,
        otlp::{OtlpMetrics, OtlpSettings, Protocol},
    },
    telemetry::{Health, Metric, Metrics},
    units::{NanoUsd, Timestamp},
};
use testbed::fake_collector::FakeCollector;

use super::client::{BOTH, LIMIT, heard, host, settings, to_nobody};

const TICK: Duration = Duration::from_millis(50);

pub(super) fn exchange(model: &str) -> Exchange {
    let at = 1_795_392_000_000_000_000;
    Exchange {
        vendor: Some("mistral".into()),
        host: "api.mistral.ai:8443".into(),
        request_model: Some(model.into()),
        response_model: None,
        usage: Usage { input_tokens: Some(1000), output_tokens: Some(3), ..Usage::default() },
        ended_at: Timestamp(at + 1_250_000_000),
        ..crate::schema::exchange(model, model)
    }
}

pub(super) fn cost(nano: u64) -> Cost {
    Cost { nano_usd: NanoUsd(nano), source: CostSource::Catalogue, catalogue: "c".into() }
}

type Labels = BTreeMap<String, String>;

fn labels(attributes: &[KeyValue]) -> Labels {
    let value = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect()
}

/// One metric as it came.
#[derive(Debug, Default)]
struct Came {
    unit: String,
    numbers: Vec<(Labels, f64)>,
    histograms: Vec<(Labels, HistogramDataPoint)>,
}

fn number(point: &NumberDataPoint) -> (Labels, f64) {
    let value = match point.value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        None => f64::NAN,
    };
    (labels(&point.attributes), value)
}

/// The metrics of one export, by name.
fn by_name(request: &ExportMetricsServiceRequest) -> BTreeMap<String, Came> {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let mut found = BTreeMap::new();
    for metric in scopes.flat_map(|scope| &scope.metrics) {
        let mut came = Came { unit: metric.unit.clone(), ..Came::default() };
        match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => came.numbers = gauge.data_points.iter().map(number).collect(),
            Data::Sum(sum) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{}: cumulative", metric.name);
                came.numbers = sum.data_points.iter().map(number).collect();
            }
            Data::Histogram(histogram) => {
                let points = histogram.data_points.iter();
                came.histograms = points.map(|point| (labels(&point.attributes), point.clone())).collect();
            }
            other => panic!("{other:?}"),
        }
        assert!(found.insert(metric.name.clone(), came).is_none(), "{} twice", metric.name);
    }
    found
}

/// The last export of a shutdown, with everything in it.
fn last(collector: &FakeCollector, metrics: OtlpMetrics) -> ExportMetricsServiceRequest {
    let before = collector.metrics().len();
    metrics.shutdown();
    assert!(collector.wait(0, before + 1, LIMIT), "the last export comes with the end");
    collector.metrics().pop().unwrap()
}

#[test]
fn everything_on_the_page_goes_out() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let metrics = Metrics::new();
        let sending =
            OtlpMetrics::start(&settings(collector.endpoint(), protocol), "otlp", TICK, &metrics, &host(), to_nobody())
                .unwrap();
        for metric in Metric::ALL {
            metrics.add(metric, &vec!["x"; metric.about().labels.len()], 5_000_000_000);
        }
        let health = Health::new(&["store"]);
        metrics.ready(&health);
        let request = last(&collector, sending);
        let came = by_name(&request);
        for metric in Metric::ALL {
            let about = metric.about();
            let one = came.get(&about.name()).unwrap_or_else(|| panic!("{} is missing", about.name()));
            let names: BTreeSet<&str> = one.numbers[0].0.keys().map(String::as_str).collect();
            assert_eq!(names, about.labels.iter().copied().collect(), "{}", about.name());
        }
        let value = |name: &str, label: (&str, &str)| {
            let is_it = |labels: &Labels| labels.get(label.0).is_some_and(|value| value == label.1);
            came[name].numbers.iter().find(|(labels, _)| is_it(labels)).map(|(_, value)| *value)
        };
        assert_eq!(value("outflow_findings_total", ("severity", "x")), Some(5e9));
        assert_eq!(value("outflow_budget_spend_usd", ("owner", "x")), Some(5.0), "nano-USD became USD");
        assert_eq!(value("outflow_ready", ("component", "store")), Some(0.0));
        assert_eq!(came["outflow_budget_spend_usd"].unit, "{USD}");
        assert_eq!(came["outflow_log_read_bytes_total"].unit, "By");
        let resource = labels(&request.resource_metrics[0].resource.as_ref().unwrap().attributes);
        assert_eq!((resource["service.name"].as_str(), resource["host.name"].as_str()), ("outflow", "node-17"));
        assert_eq!(resource["service.instance.id"].len(), 32);
        let scope = &request.resource_metrics[0].scope_metrics[0];
        assert_eq!(scope.scope.as_ref().unwrap().name, "outflow");
    }
}

#[test]
fn what_goes_from_the_page_goes_from_the_export() {
    let (protocol, wire) = BOTH[0];
    let collector = FakeCollector::start(wire).unwrap();
    let metrics = Metrics::new();
    metrics.set(Metric::BudgetLimit, &["daily", "checkout"], 1);
    let sending =
        OtlpMetrics::start(&settings(collector.endpoint(), protocol), "otlp", TICK, &metrics, &host(), to_nobody())
            .unwrap();
    assert!(collector.wait(0, 1, LIMIT));
    let has = |request: &ExportMetricsServiceRequest| by_name(request).contains_key("outflow_budget_limit_usd");
    assert!(has(&collector.metrics()[0]));
    metrics.clear(Metric::BudgetLimit);
    assert!(!has(&last(&collector, sending)), "a service that has no budget any more");
}

#[test]
fn calls_are_measured_as_the_conventions_say() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let sending = OtlpMetrics::start(
            &settings(collector.endpoint(), protocol),
            "otlp",
            TICK,
            &Metrics::new(),
            &host(),
            to_nobody(),
        )
        .unwrap();
        sending.exchange(&exchange("m1"), Some(&cost(1_500_000)));
        sending.exchange(&exchange("m1"), Some(&cost(500_000)));
        let failed = Exchange { status: Some(429), error: Some("rate_limited".into()), ..exchange("m1") };
        sending.exchange(&Exchange { usage: Usage::default(), ..failed }, None);
        sending.exchange(&Exchange { api: Api::CountTokens, ..exchange("m1") }, None);
        // What a peer wrote in the place of a name.
        sending.exchange(&exchange("sk-proj-FAKEfakeFAKEfakeFAKE1234"), None);
        let request = last(&collector, sending);
        assert!(!format!("{request:?}").contains("FAKE"), "{request:?}");
        let came = by_name(&request);

        let call: Labels = [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "mistral_ai"),
            ("gen_ai.request.model", "m1"),
            ("server.address", "api.mistral.ai"),
            ("server.port", "Some(IntValue(8443))"),
            ("outflow.service", "shop"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let with = |name: &str, value: &str| {
            let mut all = call.clone();
            all.insert(name.to_owned(), value.to_owned());
            all
        };
        let histogram = |name: &str, labels: &Labels| {
            let points = &came[name].histograms;
            points
                .iter()
                .find(|(found, _)| found == labels)
                .unwrap_or_else(|| panic!("{labels:?}\n{points:#?}"))
                .1
                .clone()
        };
        let tokens = "gen_ai.client.token.usage";
        let input = histogram(tokens, &with("gen_ai.token.type", "input"));
        assert_eq!((input.count, input.sum, came[tokens].unit.as_str()), (2, Some(2000.0), "{token}"));
        assert_eq!((input.explicit_bounds.len(), input.explicit_bounds[1]), (14, 4.0));
        assert_eq!(histogram(tokens, &with("gen_ai.token.type", "output")).sum, Some(6.0));
        let counted = came[tokens].histograms.iter().filter(|(labels, _)| labels["gen_ai.operation.name"] != "chat");
        assert_eq!(counted.count(), 0, "tokens that are only counted are not billed");

        let seconds = "gen_ai.client.operation.duration";
        let good = histogram(seconds, &call);
        assert_eq!((good.count, good.sum, came[seconds].unit.as_str()), (2, Some(2.5), "s"));
        let bounds: Vec<f64> = (0..14).map(|power| 0.01 * f64::from(1 << power)).collect();
        assert_eq!(good.explicit_bounds, bounds);
        assert_eq!(histogram(seconds, &with("error.type", "rate_limited")).count, 1);

        let spent = &came["outflow.cost"];
        assert_eq!(spent.numbers, [(with("outflow.cost.source", "catalogue"), 0.002)]);
        assert_eq!(spent.unit, "{USD}");
    }
}

#[test]
fn models_without_end_make_no_series_without_end() {
    let (protocol, wire) = BOTH[0];
    let collector = FakeCollector::start(wire).unwrap();
    let sending = OtlpMetrics::start(
        &settings(collector.endpoint(), protocol),
        "otlp",
        LIMIT,
        &Metrics::new(),
        &host(),
        to_nobody(),
    )
    .unwrap();
    for number in 0..3000 {
        sending.exchange(&exchange(&format!("m{number}")), Some(&cost(1_000_000_000)));
    }
    let came = by_name(&last(&collector, sending));
    let spent = &came["outflow.cost"].numbers;
    assert!(spent.len() <= 1001, "{} series", spent.len());
    let all: f64 = spent.iter().map(|(_, usd)| usd).sum();
    assert!((all - 3000.0).abs() < 1e-6, "none is lost: {all}");
    let is_rest = |labels: &Labels| labels.contains_key("otel.metric.overflow");
    assert_eq!(spent.iter().filter(|(labels, _)| is_rest(labels)).count(), 1);
}

#[test]
fn a_collector_that_is_away_holds_nobody_up() {
    // Ours, and nobody listens: a port that was only found free belongs to another test a moment later, which may take what comes and
    // answer nothing.
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = format!("http://{}", reserved.local_addr().unwrap());
    for (protocol, _) in BOTH {
        let nobody = settings(nobody.clone(), protocol);
        let (tell, told) = heard();
        let sending = OtlpMetrics::start(&nobody, "otlp", TICK, &Metrics::new(), &host(), tell).unwrap();
        sending.exchange(&exchange("m1"), None);
        sending.shutdown();
        let told: Vec<_> = told.iter().collect();
        assert!(matches!(told.as_slice(), [SinkNotice::Drops { what: "metrics", .. }]), "it is told once: {told:?}");

        // One who accepts and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let slow = OtlpSettings { timeout: Duration::from_mins(5), ..settings(endpoint, protocol) };
        let sending = OtlpMetrics::start(&slow, "otlp", TICK, &Metrics::new(), &host(), to_nobody()).unwrap();
        sending.exchange(&exchange("m1"), None);
        // It waits for no answer: this one would come in five minutes, when the test has long been ended for its time.
        sending.shutdown();
        drop(silent);
    }
}

#[test]
fn a_collector_that_comes_back_gets_the_totals() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let address = collector.address();
        let (tell, told) = heard();
        let sending =
            OtlpMetrics::start(&settings(collector.endpoint(), protocol), "otlp", TICK, &Metrics::new(), &host(), tell)
                .unwrap();
        sending.exchange(&exchange("m1"), Some(&cost(1_000_000_000)));
        assert!(collector.wait(0, 1, LIMIT));
        drop(collector);
        let failed = told.recv_timeout(LIMIT);
        assert!(matches!(failed, Ok(SinkNotice::Drops { what: "metrics", .. })), "{failed:?}");
        sending.exchange(&exchange("m1"), Some(&cost(1_000_000_000)));
        let collector = FakeCollector::start_at(address, wire, None).unwrap();
        assert!(collector.wait(0, 1, LIMIT), "it is tried again");
        let back = told.recv_timeout(LIMIT);
        assert!(matches!(back, Ok(SinkNotice::Sends { what: "metrics", .. })), "{back:?}");
        sending.exchange(&exchange("m1"), Some(&cost(1_000_000_000)));
        let came = by_name(&last(&collector, sending));
        let all = came["outflow.cost"].numbers[0].1;
        assert!((all - 3.0).abs() < 1e-9, "{all}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let bad = OtlpSettings {
        ca_file: Some("/nowhere/ca.pem".into()),
        ..settings("https://localhost:1".into(), Protocol::Http)
    };
    let error = OtlpMetrics::start(&bad, "otlp", TICK, &Metrics::new(), &host(), to_nobody()).unwrap_err().to_string();
    assert!(error.contains("cannot read /nowhere/ca.pem"), "{error}");
}
