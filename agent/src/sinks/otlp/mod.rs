//! Findings and metrics to an OpenTelemetry collector.
