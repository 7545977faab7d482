//! SIGHUP: rules change while the agent runs, and a config that cannot be used changes nothing.

use std::{collections::BTreeMap, fs};

use outflow::store::Filter;
use rustix::process::Signal;

use super::{agent::Agent, log::Log, oracle, place::Place};

/// Findings by rule.
fn by_rule(place: &Place) -> BTreeMap<String, u64> {
    let mut rules = BTreeMap::new();
    for finding in place.reader().findings(&Filter::default()).unwrap() {
        *rules.entry(finding.rule.id).or_default() += finding.count;
    }
    rules
}

/// Writes a line with an e-mail address, then one with a key of another rule. Who has found the key has looked at the address.
fn looked(place: &Place, agent: &mut Agent, log: &mut Log, round: u64) -> u64 {
    log.line();
    // A made-up key: its length and prefix are all that the rule asks for.
    log.text(&format!("retry with lin_api_OutflowFakeM3HM6cT3sOSluN87uPzuB4aaB{round:05}\n"));
    agent.until("the key", |_| by_rule(place).get("secret.linear-api-key") == Some(&round));
    by_rule(place).get("pii.email").copied().unwrap_or(0)
}

/// Reloads by result, as the page counts them.
fn reloads(agent: &mut Agent) -> String {
    let page = agent.get("/metrics");
    let of = |result| page.value(&format!("outflow_config_reloads_total{{result=\"{result}\"}}")).to_string();
    format!("{} ok, {} failed", of("ok"), of("failed"))
}

#[test]
fn rules_go_and_come_back_and_a_broken_config_changes_nothing() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    let mut agent = place.start().ready();
    let config = place.config().display().to_string();
    assert_eq!(looked(&place, &mut agent, &mut log, 1), 1);
    assert_eq!(reloads(&mut agent), "0 ok, 0 failed");

    place.configure("disable = [\"pii.email\"]\n");
    agent.signal(Signal::HUP);
    assert_eq!(agent.says("outflow: reloaded "), config);
    assert_eq!(looked(&place, &mut agent, &mut log, 2), 1, "it is disabled");
    assert_eq!(reloads(&mut agent), "1 ok, 0 failed");

    // The third key is broken; and nothing of the rest is taken up.
    place.configure("disable = []\nunknown = 1\n");
    let text = fs::read_to_string(place.config()).unwrap();
    let line = text.lines().position(|line| line == "unknown = 1").unwrap() + 1;
    agent.signal(Signal::HUP);
    let why = agent.says("outflow: kept the old config: ");
    assert!(why.starts_with(&format!("{config}:{line}:1: rules.unknown: unknown key")), "{why}");
    assert_eq!(looked(&place, &mut agent, &mut log, 3), 1, "the old config goes on");
    assert_eq!(reloads(&mut agent), "1 ok, 1 failed");

    // A rule that does not exist, and a rule file that is none.
    place.configure("disable = [\"pii.emial\"]\n");
    agent.signal(Signal::HUP);
    let why = agent.says("outflow: kept the old config: ");
    assert!(why.contains("rules.disable") && why.contains("pii.email"), "{why}");

    place.configure("");
    let file = place.rules().unwrap().join("pii/own.toml");
    fs::write(&file, "[[rule]]\nid = \"pii.own\"\npattern = 'x{'\n").unwrap();
    agent.signal(Signal::HUP);
    let why = agent.says("outflow: kept the old config: ");
    assert!(why.contains("pii/own.toml:"), "{why}");
    assert_eq!(looked(&place, &mut agent, &mut log, 4), 1, "the old config goes on");
    assert_eq!(reloads(&mut agent), "1 ok, 3 failed");

    // All is well again, and more than rules has changed.
    fs::remove_file(&file).unwrap();
    let text = fs::read_to_string(place.config()).unwrap().replace("\"100ms\"", "\"200ms\"");
    fs::write(place.config(), text).unwrap();
    agent.signal(Signal::HUP);
    assert_eq!(agent.says("outflow: reloaded "), format!("{config}; changes of [logs] wait for a restart"));
    assert_eq!(looked(&place, &mut agent, &mut log, 5), 2, "it is found again");
    assert_eq!(reloads(&mut agent), "2 ok, 3 failed");
    agent.terminate();
    oracle::verify(&place);
}

/// Many in a row, while lines come: none is lost, none is told twice.
#[test]
fn reloads_lose_no_line() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    let mut agent = place.start().ready();
    for _ in 0..10 {
        log.lines(20);
        agent.signal(Signal::HUP);
        log.lines(20);
        agent.says("outflow: reloaded ");
    }
    agent.until("all lines", |_| place.stored() >= log.written.len() as u64);
    agent.terminate();
    oracle::check(&place, &log.written);
}
