//! Findings and metrics to a collector: one that answers as it is told, over gRPC and HTTP, and a real one.

mod answers;
mod client;
mod faults;
mod metrics;
mod real;
mod traces;
mod transport;

use std::{fs, path::PathBuf};

/// `OUTFLOW_BLESS=1` writes the file.
#[test]
fn the_reference_is_the_generated_one() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/OTLP.md");
    let generated = outflow::sinks::otlp::reference();
    if std::env::var_os("OUTFLOW_BLESS").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "docs/OTLP.md is out of date: run this test with OUTFLOW_BLESS=1");
}
