//! One integration binary: a file a topic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on is to say so")]

#[cfg(all(feature = "tap", feature = "vectorscan"))]
mod cli;
mod config;
mod conformance;
mod disk;
mod ecs;
mod metrics;
mod ocsf;
#[cfg(feature = "otlp")]
mod otlp;
mod recorded_facts;
mod run;
mod scan;
mod scan_control;
mod scenarios;
mod schema;
mod store;
