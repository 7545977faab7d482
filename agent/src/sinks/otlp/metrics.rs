//! The agent's own metrics to a collector, counted by the SDK. Enters: the registry that the page shows too, and each call that was seen. Leaves:
//! one export an interval. For metrics one try will do: a point that is lost is made good by the next, for all totals count from the start. No
//! prices, texts or names go out that the page or a finding does not show, and a collector that is down holds nobody up.

use std::{sync::Arc, time::Duration};

use opentelemetry::{InstrumentationScope, KeyValue, metrics::Meter, metrics::MeterProvider as _};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    metrics::{
        Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality, data::ResourceMetrics,
        exporter::PushMetricExporter,
    },
};
use sha2::{Digest as _, Sha256};
use tokio::runtime::{Handle, Runtime};

use super::{
    OtlpSettings, SCOPE, Signal,
    collector::Collector,
    genai::{GenAi, SERIES_MAX},
    grpc,
    load::Load,
    names,
};
use crate::{
    clock,
    exchange::{Cost, Exchange},
    sinks::{ConnectError, Host},
    telemetry::{Kind, Metric, Metrics, Unit},
    units::hex,
};

/// Sends metrics until it is shut down.
#[derive(Debug)]
pub struct OtlpMetrics {
    genai: GenAi,
    provider: SdkMeterProvider,
    /// The connection lives here; the SDK's thread only waits.
    runtime: Runtime,
}

impl OtlpMetrics {
    /// Starts the threads that collect and send. Must not be dropped inside a tokio runtime.
    pub fn start(
        settings: &OtlpSettings,
        interval: Duration,
        metrics: &Metrics,
        host: &Host,
    ) -> Result<Self, ConnectError> {
        let runtime = grpc::runtime("outflow-metrics").map_err(|error| failed("metrics", settings, &error))?;
        let collector = {
            let _inside = runtime.enter();
            Arc::new(Collector::new(settings, Signal::Metrics, Arc::default())?)
        };
        let exporter = Exporter { collector, runtime: runtime.handle().clone() };
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
        // With it goes a request that is not answered, and the SDK's thread that waits for it.
        self.runtime.shutdown_background();
    }
}

/// Sends what the SDK collected, once.
struct Exporter {
    collector: Arc<Collector>,
    runtime: Handle,
}

impl PushMetricExporter for Exporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let request = ExportMetricsServiceRequest::from(metrics);
        let collector = Arc::clone(&self.collector);
        // The SDK's thread knows no timers and no sockets.
        let sending = self.runtime.spawn(async move { collector.export(|| Load::Metrics(request.clone())).await });
        match sending.await {
            Ok(outcome) if outcome.is_read() => Ok(()),
            Ok(outcome) => Err(OTelSdkError::InternalFailure(format!("{outcome:?}"))),
            Err(_) => Err(OTelSdkError::AlreadyShutdown),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

pub(super) fn failed(what: &str, settings: &OtlpSettings, error: &dyn std::fmt::Display) -> ConnectError {
    ConnectError(format!("cannot send {what} to {}: {error}", settings.endpoint))
}

/// The agent itself.
fn resource(host: &Host) -> Resource {
    let mut fields = vec![
        KeyValue::new(names::SERVICE, SCOPE),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance_id(host)),
        KeyValue::new(names::HOST_NAME, host.name.clone()),
    ];
    fields.extend(host.id.clone().map(|id| KeyValue::new(names::HOST_ID, id)));
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
