//! `docs/METRICS.md` is what the code makes. `OUTFLOW_BLESS=1` writes the file.

use std::{fs, path::PathBuf};

#[test]
fn the_reference_is_the_generated_one() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let generated = outflow::telemetry::reference();
    if std::env::var_os("OUTFLOW_BLESS").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "docs/METRICS.md is out of date: run this test with OUTFLOW_BLESS=1");
}
