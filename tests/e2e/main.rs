//! End to end: real clients, a real TLS server and, where the rights are there, the kernel. Each test has a place of its own
//! (crate `testbed`), so they may run side by side.
//!
//! A test that lacks rights prints `skipped: reason` and returns; with OUTFLOW_REQUIRE_BPF=1 it fails instead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod boringssl;
mod breaker;
mod container;
mod coverage;
mod discovery;
mod go;
mod handshakes;
mod leaks;
mod openssl;
mod permission;
mod pod;
mod privacy;
mod probes;
mod protocols;
mod run;
mod runtimes;
mod rustls;
#[cfg(feature = "kafka")]
mod sinks;
mod smoke;
mod split;
mod support;
mod tap;
