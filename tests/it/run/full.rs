//! No room for the store: the agent waits, says why it is not ready, and goes on when there is room. Nothing is lost.

use super::{agent::Agent, log::Log, oracle, place::Place};
use crate::disk::Disk;

/// Lines that are written ahead of what is stored, at most: so many more must find room afterwards.
const AHEAD: u64 = 300;

/// A disk with room for about a thousand findings at first, and for ten thousand in the end.
pub(super) fn disk() -> Option<Disk> {
    if let Some(why) = testbed::missing_for_sandbox() {
        println!("skipped: {why}");
        return None;
    }
    let disk = Disk::new(48);
    disk.fill(3 << 20);
    Some(disk)
}

/// Writes lines until the agent says that its store is full.
pub(super) fn fill(place: &Place, agent: &mut Agent, log: &mut Log) {
    agent.until("a full store", |agent| {
        if (log.written.len() as u64) < place.stored() + AHEAD {
            log.lines(50);
        }
        agent.get("/readyz").status == 503
    });
}

#[test]
fn a_full_disk_is_said_and_waited_out_and_then_everything_arrives() {
    let Some(disk) = disk() else { return };
    let place = Place::on(disk.path());
    let mut log = Log::new(&place.logs());
    let mut agent = place.start().ready();
    for round in 0..2 {
        if round > 0 {
            disk.fill(1 << 20);
        }
        fill(&place, &mut agent, &mut log);
        let ready = agent.get("/readyz");
        assert!(ready.body.starts_with("store is full: ") && ready.body.contains("free space"), "{}", ready.body);
        assert_eq!(agent.get("/healthz").status, 200);
        let metrics = agent.get("/metrics");
        assert_eq!(metrics.value("outflow_ready{component=\"store\"}").to_string(), "0");
        assert_eq!(metrics.value("outflow_store_dropped_total").to_string(), "0", "log files wait");
        let stored = oracle::check_so_far(&place, &log.written);
        assert!(stored < log.written.len(), "nothing waits");
        // More is written while nothing goes on.
        log.lines(100);
        log.rename();
        log.lines(100);

        disk.free();
        agent.until("all lines", |_| place.stored() == log.written.len() as u64);
        agent.until("a store with room", |agent| agent.get("/readyz").status == 200);
        oracle::check(&place, &log.written);
    }
    agent.terminate();
    oracle::check(&place, &log.written);
}
