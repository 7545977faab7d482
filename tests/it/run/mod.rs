//! `outflow run` as a service meets the world: killed, out of room, told to reload, told to end, its logs cut from under it.
//!
//! Each test has a folder of its own with config, rules, state and one log. Every line of the log holds one e-mail address that no other
//! line has, so what must be in the store at the end is known to the line: [`oracle`].

mod agent;
#[cfg(all(feature = "kafka", feature = "otlp"))]
mod chaos;
#[cfg(feature = "otlp")]
mod collector;
mod context;
mod damage;
mod dice;
mod digest;
mod drain;
#[cfg(feature = "kafka")]
mod fleet;
#[cfg(feature = "kafka")]
mod flink;
mod full;
mod gap;
mod journal;
mod kill;
mod log;
mod node;
mod oracle;
mod page;
mod pages;
mod place;
mod reload;
#[cfg(feature = "otlp")]
mod rotel;
#[cfg(feature = "otlp")]
mod sink_file;
#[cfg(all(feature = "kafka", feature = "otlp"))]
mod sink_kafka_rsyslog;
mod sink_silence;
#[cfg(feature = "otlp")]
mod sink_syslog;
#[cfg(feature = "kafka")]
mod streams;
mod unheard;
#[cfg(feature = "kafka")]
mod used;

use std::time::Duration;

/// Longest wait for something that must happen: far beyond what a loaded machine takes, so that only "never" fails.
const LIMIT: Duration = Duration::from_mins(2);
