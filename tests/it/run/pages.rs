//! The admin page of a running agent, with all rules; and what a config that cannot be used is answered with.

use std::{fs, process::Command};

use super::{log::Log, oracle, place::Place};

#[test]
fn the_page_says_what_the_agent_does() {
    let place = Place::with_all_rules();
    let mut log = Log::new(&place.logs());
    log.lines(3);
    let bytes = fs::metadata(log.path()).unwrap().len() as f64;
    let mut agent = place.start().ready();
    agent.until("three findings", |_| place.stored() == 3);

    let (health, ready) = (agent.get("/healthz"), agent.get("/readyz"));
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    // Figures are gathered once a tick.
    agent.until("figures", |agent| agent.get("/metrics").value("outflow_log_read_bytes_total") >= bytes);
    let page = agent.get("/metrics");
    assert!(page.head.contains("application/openmetrics-text; version=1.0.0"), "{}", page.head);
    let findings = "outflow_findings_total{severity=\"low\",category=\"leak\"}";
    for (series, value) in [
        ("outflow_log_files", 1.0),
        ("outflow_log_lag_bytes{file=\"other\"}", 0.0),
        ("outflow_log_gap_bytes_total", 0.0),
        ("outflow_log_read_bytes_total", bytes),
        ("outflow_unscanned_blocks_total", 0.0),
        ("outflow_ready{component=\"logs\"}", 1.0),
        ("outflow_ready{component=\"store\"}", 1.0),
        ("outflow_store_dropped_total", 0.0),
        (findings, 3.0),
    ] {
        assert!((page.value(series) - value).abs() < f64::EPSILON, "{series}\n{}", page.body);
    }
    assert!(page.value("outflow_store_commits_total") >= 1.0 && page.value("outflow_store_bytes") > 4096.0);
    assert_eq!(agent.get("/").status, 404);

    // A second agent must not touch the store of the first.
    let second = Command::new(env!("CARGO_BIN_EXE_outflow")).args(["run", "--config"]).arg(place.config()).output();
    let second = second.unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("is being written by"), "{} {said}", second.status);

    agent.terminate();
    oracle::check(&place, &log.written);
}

#[test]
fn a_config_that_cannot_be_used_ends_it_with_2() {
    let place = Place::new();
    for (text, said) in [
        ("[logs]\nscan_intervall = \"1s\"\n", ":2:1: logs.scan_intervall: unknown key; did you mean `scan_interval`?"),
        ("", "watches nothing"),
    ] {
        fs::write(place.config(), text).unwrap();
        let run = Command::new(env!("CARGO_BIN_EXE_outflow")).args(["run", "--config"]).arg(place.config()).output();
        let run = run.unwrap();
        let stderr = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
        assert!(run.stdout.is_empty() && !place.state().exists());
    }
}
