//! Metrics on their way to collectors. Enters: the sinks of the config, each call with its cost. Leaves: exports by the SDK, one an interval.
//! It holds nobody up: an export that fails is made good by the next.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::{
    config,
    exchange::{Cost, Exchange},
    sinks::{
        Host,
        otlp::{OtlpMetrics, OtlpSettings},
    },
    telemetry::Metrics,
};

/// One for each collector that takes metrics.
#[derive(Default)]
pub(super) struct Meters(Mutex<Vec<OtlpMetrics>>);

impl Meters {
    /// Starts them. Where one cannot be started, everything else goes on without it: findings matter more.
    pub(super) fn start(sinks: &config::Sinks, metrics: &Metrics, host: &Host) -> Self {
        let start = || {
            let wanted = sinks.otlp.iter().filter(|sink| sink.metrics);
            let started = wanted.filter_map(|sink| {
                let settings = OtlpSettings::read(sink);
                let interval = sink.metrics_interval.get();
                settings
                    .and_then(|settings| OtlpMetrics::start(&settings, interval, metrics, host))
                    .inspect_err(|error| {
                        let name = &sink.name;
                        anstream::eprintln!("outflow: sink {name} sends no metrics until the next start: {error}");
                    })
                    .ok()
            });
            started.collect()
        };
        // What starts and ends them waits, and we may be inside a runtime, where nothing may.
        let started = thread::scope(|scope| scope.spawn(start).join());
        Self(Mutex::new(started.unwrap_or_default()))
    }

    /// Measures a call.
    pub(super) fn exchange(&self, exchange: &Exchange, cost: Option<&Cost>) {
        for meter in self.lock().iter() {
            meter.exchange(exchange, cost);
        }
    }

    /// Sends what there is once more, in bounded time. Ending again does nothing.
    pub(super) fn end(&self) {
        let meters = std::mem::take(&mut *self.lock());
        // All at once: a collector that is down takes its time.
        thread::scope(|scope| {
            for meter in meters {
                scope.spawn(move || meter.shutdown());
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OtlpMetrics>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Meters {
    fn drop(&mut self) {
        self.end();
    }
}
