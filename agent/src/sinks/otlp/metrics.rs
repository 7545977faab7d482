//! The agent's own metrics to a collector, by way of the SDK. Enters: the registry that the page shows too, and each call that was seen. Leaves:
//! one export an interval. For metrics the SDK will do: a point that is lost is made good by the next, for all totals count from the start. No
//! prices, texts or names go out that the page or a finding does not show, and a collector that is down holds nobody up.

use std::{collections::HashMap, time::Duration};

use opentelemetry::{InstrumentationScope, KeyValue, metrics::Meter, metrics::MeterProvider as _};
use opentelemetry_otlp::{
    MetricExporter, RetryPolicy, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{
        Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality, data::ResourceMetrics,
        exporter::PushMetricExporter,
    },
};
use reqwest::header::HeaderMap;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use super::{
    OtlpSettings, Protocol, SCOPE, Signal,
    collector::checked,
    genai::{GenAi, SERIES_MAX},
    grpc, http, names,
    sdk::{OwnClient, failed, only},
    voice::SideVoice,
    words::Words,
};
use crate::{
    clock,
    exchange::{Cost, Exchange},
    sinks::{ConnectError, Host, Tell},
    telemetry::{Kind, Metric, Metrics, Unit},
    units::hex,
};

/// Sends metrics until it is shut down.
#[derive(Debug)]
pub struct OtlpMetrics {
    genai: GenAi,
    provider: SdkMeterProvider,
    /// gRPC's connection lives here; HTTP's client has a thread of its own.
    runtime: Option<Runtime>,
}

impl OtlpMetrics {
    /// Starts the thread that sends; `tell` hears when `sink` begins to fail at it, and when it sends again. Must not be called inside a tokio runtime, and neither must the drop: HTTP's client waits.
    pub fn start(
        settings: &OtlpSettings,
        sink: &str,
        interval: Duration,
        metrics: &Metrics,
        host: &Host,
        tell: Tell,
    ) -> Result<Self, ConnectError> {
        let headers = checked(settings)?;
        let (exporter, runtime) = match settings.protocol {
            Protocol::Grpc => {
                let (exporter, runtime) = over_grpc(settings, headers)?;
                (exporter, Some(runtime))
            }
            Protocol::Http => (over_http(settings, headers)?, None),
        };
        let exporter = Telling { exporter, voice: SideVoice::new(sink, "metrics", tell), words: settings.words() };
        let provider = SdkMeterProvider::builder()
            .with_resource(resource(host))
            .with_reader(PeriodicReader::builder(exporter).with_interval(interval).build())
            .with_view(|_: &Instrument| Stream::builder().with_cardinality_limit(SERIES_MAX).build().ok())
            .build();
        let scope = InstrumentationScope::builder(SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(names::SCHEMA_URL)
            .build();
        let meter = provider.meter_with_scope(scope);
        for metric in Metric::ALL {
            observe(&meter, metric, metrics);
        }
        Ok(Self { genai: GenAi::new(&meter), provider, runtime })
    }

    /// Measures a call. It takes a lock or two, and no time.
    pub fn exchange(&self, exchange: &Exchange, cost: Option<&Cost>) {
        self.genai.record(exchange, cost);
    }

    /// Sends what there is once more, for at most the five seconds that the SDK waits, and ends.
    pub fn shutdown(self) {
        // That the collector did not take the last points is told by nobody else, and is of no use to know by then.
        let _ = self.provider.shutdown();
        drop(self.provider);
        if let Some(runtime) = self.runtime {
            runtime.shutdown_background();
        }
    }
}

/// Says when exports begin to fail and when they go on, which the SDK does to nobody.
struct Telling {
    exporter: MetricExporter,
    voice: SideVoice,
    words: Words,
}

impl PushMetricExporter for Telling {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let exported = self.exporter.export(metrics).await;
        match &exported {
            Ok(()) => self.voice.goes_on(),
            Err(error) => self.voice.fails(&self.words.quoted(&error.to_string())),
        }
        exported
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

fn over_grpc(settings: &OtlpSettings, headers: HeaderMap) -> Result<(MetricExporter, Runtime), ConnectError> {
    // The SDK's thread only waits; whoever moves the bytes must run meanwhile.
    let runtime = grpc::runtime().map_err(|error| failed("metrics", settings, &error))?;
    let channel = {
        let _inside = runtime.enter();
        grpc::channel(settings)?
    };
    let exporter = MetricExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_interceptor(only(headers))
        .with_timeout(settings.timeout)
        .with_retry_policy(RetryPolicy::disabled())
        .with_temporality(Temporality::Cumulative)
        .build()
        .map_err(|error| failed("metrics", settings, &error))?;
    Ok((exporter, runtime))
}

fn over_http(settings: &OtlpSettings, headers: HeaderMap) -> Result<MetricExporter, ConnectError> {
    let client = OwnClient::new(settings, headers)?;
    MetricExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_headers(HashMap::new())
        .with_endpoint(http::url(settings, Signal::Metrics))
        .with_timeout(settings.timeout)
        .with_retry_policy(RetryPolicy::disabled())
        .with_temporality(Temporality::Cumulative)
        .build()
        .map_err(|error| failed("metrics", settings, &error))
}

/// The agent itself.
fn resource(host: &Host) -> Resource {
    let mut fields = vec![
        KeyValue::new(names::SERVICE, SCOPE),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance_id(host)),
    ];
    fields.extend(names::of_host(host).map(|(name, value)| KeyValue::new(name, value.to_owned())));
    Resource::builder_empty().with_attributes(fields).build()
}

/// Another one for each start of the agent, so that two of them never write to one series.
fn instance_id(host: &Host) -> String {
    let mut hash = Sha256::new().chain_update(b"outflow instance\0").chain_update(&host.name);
    hash.update(host.id.as_deref().unwrap_or_default());
    hash.update(std::process::id().to_le_bytes());
    hash.update(clock::now().0.to_le_bytes());
    hex(&hash.finalize(), 32)
}

/// The unit in UCUM, as OTLP wants it.
fn ucum(unit: Unit) -> &'static str {
    match unit {
        Unit::None => "1",
        Unit::Bytes => "By",
        Unit::Seconds | Unit::Span => "s",
        Unit::Usd => "{USD}",
    }
}

/// Lets the SDK read a metric of the page whenever it sends.
fn observe(meter: &Meter, metric: Metric, metrics: &Metrics) {
    let (about, metrics) = (metric.about(), metrics.clone());
    let (name, unit) = (about.name(), ucum(about.unit));
    let points = move || {
        metrics.series(metric).into_iter().map(move |(values, value)| {
            let labels: Vec<KeyValue> =
                about.labels.iter().zip(values).map(|(label, value)| KeyValue::new(*label, value)).collect();
            (labels, value)
        })
    };
    match (about.kind, about.unit) {
        (Kind::Counter, _) => {
            let builder = meter.u64_observable_counter(name).with_unit(unit).with_description(about.help);
            builder
                .with_callback(move |sink| points().for_each(|(labels, value)| sink.observe(value, &labels)))
                .build();
        }
        (Kind::Gauge, Unit::Usd | Unit::Span) => {
            let builder = meter.f64_observable_gauge(name).with_unit(unit).with_description(about.help);
            builder
                .with_callback(move |sink| {
                    points().for_each(|(labels, value)| sink.observe(value as f64 / 1e9, &labels));
                })
                .build();
        }
        (Kind::Gauge, _) => {
            let builder = meter.u64_observable_gauge(name).with_unit(unit).with_description(about.help);
            builder
                .with_callback(move |sink| points().for_each(|(labels, value)| sink.observe(value, &labels)))
                .build();
        }
    }
}
