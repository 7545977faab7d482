//! `outflow findings show --context` on what a real agent found: the lines around a leak, also after the log was rotated and packed, and a
//! plain word when it is gone. Nothing that was planted is ever printed.

use std::{fs, process::Command};

use outflow::store::Filter;
use serde_json::Value;

use super::{log::Log, oracle, place::Place};

/// Stand in the lines around the leak; the rules of the place know the first two.
const PLANTED: [&str; 4] = [
    "maria.keller@outflow-demo-shop.com",
    "lin_api_Zk3vQ9xW2mT7pL5nB8cR4dF6gH1jK0sA3vQ9xW2m",
    "Winter-Garten",
    "4111 1111 1111 1111",
];

/// Runs `findings show` for the leak; nothing planted may be in what it prints.
fn shown(place: &Place, arguments: &[&str]) -> String {
    let id = leak(place);
    let rules = place.rules().unwrap().to_str().unwrap();
    let told = oracle::outflow(place, &[&["findings", "show", &id, "--rules", rules], arguments].concat());
    for planted in PLANTED.iter().chain(&["user0@outflow"]) {
        assert!(!told.contains(planted), "{planted} is in {told}");
    }
    told
}

fn leak(place: &Place) -> String {
    let findings = place.reader().findings(&Filter::default()).unwrap();
    let of_log =
        findings.iter().find(|finding| finding.excerpt.as_ref().is_some_and(|it| it.as_str().contains("order")));
    of_log.unwrap_or_else(|| panic!("{findings:#?}")).finding_id.clone()
}

fn context(place: &Place) -> Value {
    let told = shown(place, &["--context=1", "--format", "jsonl"]);
    serde_json::from_str::<Value>(&told).unwrap()["context"].clone()
}

#[test]
fn the_lines_around_a_leak_are_shown_masked_wherever_the_log_went() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    let [mail, key, password, card] = PLANTED;
    log.text(&format!("INFO started\npassword={password} for card {card}\nsigned in as {mail}\n"));
    log.line();
    log.text(&format!("using {key} now\nand \u{1b}[31m red\u{7} once more\n"));
    let mut agent = place.start().ready();
    agent.until("all findings", |_| place.stored() == 3);
    agent.terminate();

    let told = shown(&place, &["--context", "--format", "text"]);
    let path = log.path();
    assert!(told.contains(&format!("{} still has it where it was found", path.display())), "{told}");
    for line in [
        "            1  INFO started\n",
        "            2  ••• for card ••• ••• ••• •••\n",
        "            3  signed in as •••\n",
        "          > 4  ••• INFO order shipped, receipt to u•••@•••.org\n",
        "            5  using ••• now\n",
        "            6  and [31m red once more\n",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
    let before = context(&place);
    assert_eq!((&before["state"], &before["line"]), (&"in_place".into(), &4.into()), "{before}");
    let lines = |context: &Value| {
        let lines = context["lines"].as_array().unwrap();
        lines.iter().map(|line| (line["line"].as_u64().unwrap(), line["leak"].as_bool().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(lines(&before), [(3, false), (4, true), (5, false)]);

    // Without the option nothing is read.
    let plain = shown(&place, &["--format", "jsonl"]);
    assert!(serde_json::from_str::<Value>(&plain).unwrap().get("context").is_none(), "{plain}");

    log.rename();
    log.text("a new log\n");
    let rotated = context(&place);
    assert_eq!((&rotated["state"], &rotated["lines"]), (&"rotated".into(), &before["lines"]), "{rotated}");
    let old = place.logs().join("app.log.1");
    assert_eq!(rotated["file"], old.to_str().unwrap());

    fs::remove_file(&old).unwrap();
    let gone = context(&place);
    assert_eq!(gone["state"], "gone");
    let why = gone["why"].as_str().unwrap();
    assert!(why.contains("has changed: it was at line 4") && gone.get("lines").is_none(), "{why}");
}

#[test]
fn whoever_asks_needs_the_key_and_the_rules_and_a_leak_in_a_file() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    log.line();
    let mut agent = place.start().ready();
    agent.until("a finding", |_| place.stored() == 1);
    agent.terminate();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
        let id = leak(&place);
        command.args(["findings", "show", &id, "--store"]).arg(place.store()).args(arguments).arg("--context");
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let rules = place.rules().unwrap().to_str().unwrap();
    let other = place.logs().join("other.key");
    fs::write(&other, "0b".repeat(32)).unwrap();
    let (code, said) = run(&["--rules", rules, "--fingerprint-key", other.to_str().unwrap()]);
    assert!(code == 2 && said.contains("was made with the key"), "{code} {said}");
    let none = place.logs().join("none.key");
    let (code, said) = run(&["--rules", rules, "--fingerprint-key", none.to_str().unwrap()]);
    assert!(code == 2 && said.contains("none.key") && !none.exists(), "{code} {said}");
    let file = fs::read_to_string(place.rules().unwrap().join("pii/contact.toml")).unwrap();
    fs::write(place.rules().unwrap().join("pii/contact.toml"), file.replace("pii.email", "pii.letter")).unwrap();
    let (code, said) = run(&["--rules", rules]);
    assert!(code == 2 && said.contains("pii.email is none of these rules"), "{code} {said}");
}
