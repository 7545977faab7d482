//! What nobody can read any more is told: once, with what is known of it.

use std::fs;

use outflow::{
    findings::{Category, Finding},
    store::Filter,
    units::Severity,
};

use super::{log::Log, oracle, place::Place};

const RULE: &str = "coverage.log-gap";

/// The gaps in the store.
fn gaps(place: &Place) -> Vec<Finding> {
    place.reader().findings(&Filter { rule: Some(RULE.to_owned()), ..Filter::default() }).unwrap()
}

/// An agent has read two lines and has seen the beginning of a third, and is gone. Gives how long that beginning is.
fn half_read(place: &Place, log: &mut Log) -> u64 {
    let begun = "2026-11-24T10:00:00Z INFO order shipped, rec";
    // At once: whoever sees the two lines sees the third, too.
    log.text(&format!("to user0@outflow-fake.org\nto user1@outflow-fake.org\n{begun}"));
    let mut agent = place.start().ready();
    agent.until("two findings", |_| place.stored() == 2);
    agent.kill();
    begun.len() as u64
}

/// The next agent tells one gap and goes on; the one after it tells nothing new.
fn told_once(place: &Place, log: &mut Log, findings: u64) -> Finding {
    let mut agent = place.start().ready();
    agent.until("a gap", |_| !gaps(place).is_empty());
    agent.until("the lines after it", |_| place.stored() == findings);
    agent.until("its metric", |agent| agent.get("/metrics").value("outflow_log_gap_bytes_total") > 0.0);
    agent.terminate();
    log.text("one more, for user3@outflow-fake.org\n");
    let mut agent = place.start().ready();
    agent.until("another line", |_| place.stored() == findings + 1);
    agent.until("no open question", |_| super::kill::open_questions(&place.reader()) == 0);
    agent.terminate();
    let listed = oracle::outflow(place, &["findings", "list", "--category", "coverage", "--format", "jsonl"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    oracle::verify(place);
    let [gap] = &gaps(place)[..] else { panic!("{:?}", gaps(place)) };
    gap.clone()
}

fn check(gap: &Finding, place: &Place, reason: &str, from: u64, bytes: u64) {
    assert_eq!((gap.category, gap.severity, gap.count), (Category::Coverage, Severity::Medium, 1));
    assert_eq!(gap.attributes["gap.reason"], reason);
    assert_eq!(gap.attributes["gap.known_bytes"], bytes);
    assert!(gap.attributes["gap.from"].as_str() < gap.attributes["gap.until"].as_str(), "{:?}", gap.attributes);
    let location = gap.location.as_ref().unwrap();
    let path = place.logs().join("app.log").display().to_string();
    assert_eq!((location.file.as_ref(), location.start, location.end), (Some(&path), from, from + bytes));
    assert_eq!(gap.process.service, "shop");
}

#[test]
fn a_log_that_was_truncated_without_a_copy_is_a_gap() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    let bytes = half_read(&place, &mut log);
    let read = fs::metadata(log.path()).unwrap().len() - bytes;
    log.truncate();
    log.text("the log begins again, for user2@outflow-fake.org\n");
    let gap = told_once(&place, &mut log, 4);
    check(&gap, &place, "truncated", read, bytes);
}

#[test]
fn a_log_that_was_deleted_while_nobody_looked_is_a_gap() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    let bytes = half_read(&place, &mut log);
    let read = fs::metadata(log.path()).unwrap().len() - bytes;
    fs::remove_file(log.path()).unwrap();
    let mut log = Log::new(&place.logs());
    log.text("another log under the same name, for user2@outflow-fake.org\n");
    let gap = told_once(&place, &mut log, 4);
    // ext4 gives the new file the old inode; then it looks like a truncation, and it is as lost.
    let reason = gap.attributes["gap.reason"].as_str().unwrap().to_owned();
    check(&gap, &place, &reason, read, bytes);
    assert!(["gone", "truncated"].contains(&reason.as_str()));
}

#[test]
fn a_log_that_is_gone_for_good_is_a_gap() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    let bytes = half_read(&place, &mut log);
    let read = fs::metadata(log.path()).unwrap().len() - bytes;
    fs::remove_file(log.path()).unwrap();
    let mut agent = place.start().ready();
    agent.until("a gap", |_| !gaps(&place).is_empty());
    agent.terminate();
    let [gap] = &gaps(&place)[..] else { panic!("{:?}", gaps(&place)) };
    check(gap, &place, "gone", read, bytes);
}
