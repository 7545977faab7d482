//! Metrics and spans on their way to collectors. Enters: the sinks of the config, each call with its cost. Leaves: exports. It holds
//! nobody up: an export of metrics that fails is made good by the next, spans are dropped and counted.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::notices::notice;
use crate::{
    config,
    exchange::{Cost, Exchange},
    sinks::{
        Host, SinkNotice,
        otlp::{OtlpMetrics, OtlpSettings, OtlpTraces, Signal, variable},
    },
    telemetry::Metrics,
};

/// One for each collector that takes metrics, and for each that takes spans.
#[derive(Default)]
pub(super) struct Meters(Mutex<Vec<Meter>>);

enum Meter {
    Metrics(OtlpMetrics),
    Traces(OtlpTraces),
}

impl Meters {
    /// Starts them. Where one cannot be started, everything else goes on without it: findings matter more.
    pub(super) fn start(sinks: &config::Sinks, metrics: &Metrics, host: &Host, tell: fn(SinkNotice)) -> Self {
        let start = || {
            let mut started = Vec::new();
            for sink in &sinks.otlp {
                let settings = |signal| OtlpSettings::read(sink, signal, &variable);
                let name = sink.name.as_str();
                let meter = sink.metrics.then(|| {
                    let interval = sink.metrics_interval.get();
                    let meter = settings(Signal::Metrics).and_then(|settings| {
                        OtlpMetrics::start(&settings, name, interval, metrics, host, Arc::new(tell))
                    });
                    ("metrics", meter.map(Meter::Metrics))
                });
                let traces = sink.traces.then(|| {
                    let of_sink = sink.clone();
                    let settings = move || OtlpSettings::read(&of_sink, Signal::Traces, &variable);
                    let traces = OtlpTraces::start(settings, name, metrics, host, Arc::new(tell));
                    ("spans", traces.map(Meter::Traces))
                });
                for (what, meter) in meter.into_iter().chain(traces) {
                    match meter {
                        Ok(meter) => started.push(meter),
                        Err(error) => {
                            notice!("sink {name} sends no {what} until the next start: {error}");
                        }
                    }
                }
            }
            started
        };
        // What starts and ends them waits, and we may be inside a runtime, where nothing may.
        let started = thread::scope(|scope| scope.spawn(start).join());
        Self(Mutex::new(started.unwrap_or_default()))
    }

    /// Measures a call.
    pub(super) fn exchange(&self, exchange: &Exchange, cost: Option<&Cost>) {
        for meter in self.lock().iter() {
            match meter {
                Meter::Metrics(metrics) => metrics.exchange(exchange, cost),
                Meter::Traces(traces) => traces.exchange(exchange, cost),
            }
        }
    }

    /// Sends what there is once more, in bounded time. Ending again does nothing.
    pub(super) fn end(&self) {
        let meters = std::mem::take(&mut *self.lock());
        // All at once: a collector that is down takes its time.
        thread::scope(|scope| {
            for meter in meters {
                scope.spawn(move || match meter {
                    Meter::Metrics(metrics) => metrics.shutdown(),
                    Meter::Traces(traces) => traces.shutdown(),
                });
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Meter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Meters {
    fn drop(&mut self) {
        self.end();
    }
}
