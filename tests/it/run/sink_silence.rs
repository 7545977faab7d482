//! A finding is silenced by a word to the running agent: no sink hears of it, also after a restart, until somebody says so.

use std::{
    fs,
    process::{Command, Output},
};

use outflow::store::Filter;

use super::{agent::Agent, log::Log, place::Place};

/// `outflow findings set` with these arguments: exit code and what it said.
fn set(place: &Place, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
    command.args(["findings", "set"]).args(arguments).arg("--config").arg(place.config());
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn a_finding_is_silenced_while_the_agent_runs() {
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("findings.jsonl");
    place.configure(&format!("[[sinks.file]]\npath = {path:?}\n"));
    let revisions = || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let number =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["revision"].as_u64().unwrap();
        text.lines().map(number).collect::<Vec<_>>()
    };
    let count = |place: &Place| place.reader().findings(&Filter::default()).unwrap()[0].count;
    let mut log = Log::new(&place.logs());
    let again = |log: &mut Log, agent: &mut Agent| {
        let before = count(&place);
        log.text("2026-11-24T10:00:00Z INFO order shipped again, receipt to user0@outflow-fake.org\n");
        agent.until("one more", |_| count(&place) > before);
    };
    let mut agent = place.start().ready();
    log.line();
    agent.until("the first", |_| revisions() == [1]);
    let id = place.reader().findings(&Filter::default()).unwrap()[0].finding_id.clone();

    let (code, said) = set(&place, &[&id[..8], "--silence", "7d"]);
    assert!(code != Some(0) && said.contains("give a --reason"), "{said}");
    let (code, said) = set(&place, &[&id[..8], "--silence", "7d", "--reason", "known"]);
    assert!(code == Some(0) && said.starts_with(&format!("no sink is told of finding {id} until ")), "{said}");
    again(&mut log, &mut agent);
    // The end of the agent cuts a revision of all that was counted up.
    agent.terminate();
    assert_eq!(revisions(), [1]);
    let (code, said) = set(&place, &[&id[..8], "--silence", "off"]);
    assert!(code != Some(0) && said.contains("does `outflow run` run?"), "{said}");

    let mut agent = place.start().ready();
    again(&mut log, &mut agent);
    // It was kept over the restart, else there were nothing to end.
    let (code, said) = set(&place, &[&id, "--silence", "off"]);
    assert!(code == Some(0) && said.contains("are told of finding"), "{said}");
    again(&mut log, &mut agent);
    agent.terminate();
    // The second revision was passed over and does not come back.
    assert_eq!(revisions(), [1, 3]);
    assert_eq!(count(&place), 4);
}
