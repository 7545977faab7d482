//! Metrics on their way to collectors. Enters: the sinks of the config, each call with its cost. Leaves: exports by the SDK, one an interval.
//! It holds nobody up: an export that fails is made good by the next.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::Context as _;

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
    /// Starts them.
    pub(super) fn start(sinks: &config::Sinks, metrics: &Metrics, host: &Host) -> anyhow::Result<Self> {
        let start = || {
            let wanted = sinks.otlp.iter().filter(|sink| sink.metrics);
            let started = wanted.map(|sink| {
                let settings = OtlpSettings::read(sink);
                settings
                    .and_then(|settings| OtlpMetrics::start(&settings, sink.metrics_interval.get(), metrics, host))
                    .with_context(|| format!("metrics of sink {}", sink.name))
            });
            started.collect::<anyhow::Result<Vec<_>>>()
        };
        // What starts and ends them waits, and we may be inside a runtime, where nothing may.
        let started = thread::scope(|scope| scope.spawn(start).join());
        let started = started.map_err(|_| anyhow::anyhow!("starting metrics panicked; this is a bug in outflow"))?;
        Ok(Self(Mutex::new(started?)))
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
