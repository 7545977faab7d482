//! Findings reach a real collector that is stopped, killed and started again, from an agent that is killed too.

use std::collections::BTreeSet;

use testbed::{Collector, Value};

use super::{
    collector::{dead_letters, outbox, place_for},
    log::Log,
};

/// Seconds until what was taken must be printed.
const PRINTED_S: u64 = 60;

/// Ids of all records that it says it received.
fn received(collector: &Collector) -> BTreeSet<String> {
    let id = |record: &testbed::Record| {
        record.attributes.get("outflow.finding.record_id").and_then(Value::text).map(str::to_owned)
    };
    collector.records().unwrap().iter().filter_map(id).collect()
}

#[test]
fn a_real_collector_has_all_findings_whoever_was_killed() {
    if let Some(missing) = testbed::missing_for_collector() {
        assert!(std::env::var_os("OUTFLOW_REQUIRE_BPF").is_none(), "{missing}");
        println!("skipped: {missing}");
        return;
    }
    for protocol in ["grpc", "http"] {
        let folder = tempfile::tempdir().unwrap();
        let mut collector = Collector::start(folder.path()).unwrap();
        if !collector.skip_unless_ours() {
            return;
        }
        let endpoint = if protocol == "grpc" { collector.grpc_endpoint() } else { collector.http_endpoint() };
        let place = place_for(protocol, endpoint);
        let mut log = Log::new(&place.logs());
        for life in 0..4 {
            let before = received(&collector).len();
            log.lines(200);
            let mut agent = place.start();
            agent.until("some received", |_| received(&collector).len() > before);
            // With requests on their way it ends with 1; that it has ended is what matters.
            let _ = match life {
                0 => collector.terminate(),
                1 => collector.kill(),
                _ => Ok(()),
            };
            log.lines(50);
            if life % 2 == 1 {
                agent.kill();
            } else {
                agent.until("all stored", |_| place.stored() >= log.written.len() as u64);
                agent.terminate();
            }
            if life < 2 {
                collector.start_again().unwrap();
            }
        }
        let mut agent = place.start().ready();
        agent.until("all stored", |_| place.stored() >= log.written.len() as u64);
        let all = outbox(&place);
        let has_all =
            |records: &[testbed::Record]| records.len() >= all.len() && received(&collector).is_superset(&all);
        collector.records_until(PRINTED_S, has_all).unwrap();
        agent.terminate();
        assert_eq!(received(&collector), outbox(&place), "{protocol}");
        assert!(dead_letters(&place).is_empty());
    }
}
