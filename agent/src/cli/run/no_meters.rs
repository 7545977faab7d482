//! What stands for metrics to collectors in a program that was built without OTLP: nothing; sinks that ask for it are refused elsewhere.

use crate::{
    config,
    exchange::{Cost, Exchange},
    sinks::{Host, SinkNotice},
    telemetry::Metrics,
};

/// None.
pub(super) struct Meters;

impl Meters {
    pub(super) fn start(_: &config::Sinks, _: &Metrics, _: &Host, _: fn(SinkNotice)) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the other one has something")]
    pub(super) fn exchange(&self, _: &Exchange, _: Option<&Cost>) {}

    #[expect(clippy::unused_self, reason = "the other one has something")]
    pub(super) fn end(&self) {}
}
