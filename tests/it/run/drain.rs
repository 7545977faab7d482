//! SIGTERM: the agent ends in bounded time whatever goes on, and the next one goes on exactly where it stopped.

use rustix::process::{Signal, kill_process};

use super::{full, log::Log, oracle, place::Place};

/// Lines that are written while an agent ends, at most: they must find room afterwards.
const MORE: usize = 3000;

/// The next agent stores what is missing, and ends.
fn goes_on(place: &Place, log: &Log) {
    let mut agent = place.start().ready();
    agent.until("all lines", |_| place.stored() >= log.written.len() as u64);
    agent.terminate();
    oracle::check(place, &log.written);
}

#[test]
fn it_ends_while_the_log_goes_on_growing() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    for _ in 0..5 {
        let stored = place.stored();
        let mut agent = place.start().ready();
        agent.until("findings of a new life", |_| {
            log.lines(5);
            place.stored() > stored
        });
        let (status, said) = agent.terminate_while(|| log.lines(20));
        assert!(status.success(), "{status} {said:?}");
        let stored = oracle::check_so_far(&place, &log.written);
        assert!(stored > 0);
    }
    goes_on(&place, &log);
}

#[test]
fn it_ends_while_its_disk_is_full_and_the_log_goes_on_growing() {
    let Some(disk) = full::disk() else { return };
    let place = Place::on(disk.path());
    let mut log = Log::new(&place.logs());
    let mut agent = place.start().ready();
    full::fill(&place, &mut agent, &mut log);
    let acknowledged = oracle::check_so_far(&place, &log.written);
    let most = log.written.len() + MORE;
    let (status, said) = agent.terminate_while(|| {
        if log.written.len() < most {
            log.line();
        }
    });
    // It could not store all that it had read, and says so.
    assert_eq!(status.code(), Some(3), "{said:?}");
    assert!(said.iter().any(|line| line.contains("read again by the next run")), "{said:?}");
    let stored = oracle::check_so_far(&place, &log.written);
    assert!(stored >= acknowledged && stored < log.written.len(), "{acknowledged} {stored}");
    disk.free();
    goes_on(&place, &log);
}

/// Whoever does not want to wait for a full disk asks twice.
#[test]
fn it_ends_at_once_when_it_is_asked_twice() {
    let Some(disk) = full::disk() else { return };
    let place = Place::on(disk.path());
    let mut log = Log::new(&place.logs());
    let mut agent = place.start().ready();
    full::fill(&place, &mut agent, &mut log);
    let pid = agent.pid();
    let (status, said) = agent.terminate_while(|| kill_process(pid, Signal::TERM).unwrap());
    assert_eq!(status.code(), Some(3), "{said:?}");
    assert!(said.iter().any(|line| line.contains("ended at once by a second signal")), "{said:?}");
    disk.free();
    goes_on(&place, &log);
}

/// Before it is ready it ends as well, and has done no harm.
#[test]
fn it_ends_while_it_starts() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    log.lines(50);
    for start in ["outflow: admin page", "outflow: ready"] {
        let mut agent = place.start();
        agent.says(start);
        agent.terminate();
    }
    goes_on(&place, &log);
}
