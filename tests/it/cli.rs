//! The command line as a person meets it: help, mistakes, and what the rules commands say. Snapshots, so that every change of a
//! text is seen; `INSTA_UPDATE=always` takes a new one. The texts are those of a full build: others have fewer commands and backends.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Output},
};

/// Runs the program in `folder`; gives exit code, standard output and standard error in one text.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
    let Output { status, stdout, stderr } =
        command.args(arguments).current_dir(folder).env("STATE_DIRECTORY", folder.join("state")).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let said = format!("exit {}\n-- stdout\n{}-- stderr\n{}", status.code().unwrap(), text(&stdout), text(&stderr));
    said.replace(folder.to_str().unwrap(), "FOLDER")
}

fn shown(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/it/snapshots"), prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, text);
    });
}

/// Help of the program and of every command.
#[test]
fn help_says_what_each_command_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = String::new();
    for arguments in [
        &["--help"][..],
        &["tap", "--help"],
        &["scan", "--help"],
        &["replay", "--help"],
        &["rules", "--help"],
        &["rules", "list", "--help"],
        &["rules", "check", "--help"],
        &["rules", "test", "--help"],
        &["rules", "explain", "--help"],
        &["models", "--help"],
        &["doctor", "--help"],
        &["findings", "--help"],
        &["run", "--help"],
        &["findings", "list", "--help"],
        &["findings", "show", "--help"],
        &["verify", "--help"],
        &["budget", "--help"],
        &["budget", "list", "--help"],
        &["budget", "reset", "--help"],
    ] {
        writeln!(all, "$ outflow {}\n{}", arguments.join(" "), run(folder.path(), arguments)).unwrap();
    }
    shown("cli_help", &all);
}

#[test]
fn mistakes_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("broken.json"), "{\"request\": 7}").unwrap();
    fs::write(folder.path().join("broken.har"), "{\"log\": {\"entries\": [{}]}}").unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let mut all = String::new();
    for arguments in [
        &["tap"][..],
        &["tap", "--host", "not a host", "--", "true"],
        &["tap", "--pid", "1", "--", "true"],
        &["tap", "--rules", "no-such-folder", "--", "true"],
        &["tap", "--fail-on", "terrible", "--", "true"],
        &["scan"],
        &["scan", "no-such-file.log"],
        &["scan", "--jobs", "0", "."],
        &["replay"],
        &["replay", "no-such-file.json"],
        &["replay", "broken.json"],
        &["replay", "broken.har"],
        &["replay", "empty"],
        &["replay", "--wire", "h9", "broken.json"],
        &["rules", "check", "--rules", "no-such-folder"],
        &["serve"],
        &["findings", "list"],
        &["findings", "list", "--store", "broken.json"],
        &["findings", "list", "--since", "yesterday"],
        &["findings", "list", "--category", "spam"],
        &["findings", "show", "--store", "no-such-file.db", "4f1d"],
        &["verify", "--store", "no-such-file.db"],
        &["replay", "--store", "broken.json", "broken.json"],
    ] {
        writeln!(all, "$ outflow {}\n{}", arguments.join(" "), run(folder.path(), arguments)).unwrap();
    }
    shown("cli_mistakes", &all);
}

/// A folder of rules with one rule file of our own.
fn with_rule(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for group in ["pii", "secrets", "vendors", "models"] {
        fs::create_dir_all(folder.path().join("rules").join(group)).unwrap();
    }
    fs::write(folder.path().join("rules/secrets/own.toml"), text).unwrap();
    folder
}

const RULE: &str = r#"[[rule]]
id = "secret.own-token"
entity = "OWN_TOKEN"
title = "Our own token"
severity = "high"
confidence = 90
pattern = '\bowntok_[0-9a-z]{16}\b'
remedy = "Ask for a new one."
references = ["https://own.example/tokens"]
examples = ["owntok_0123456789abcdef", "x owntok_fedcba9876543210", "key=owntok_00ff00ff00ff00ff"]
counter_examples = ["owntok_short", "OWNTOK_0123456789ABCDEF", "owntok-0123456789abcdef"]
"#;

#[test]
fn rules_of_ones_own_are_checked_with_file_line_and_key() {
    let mut all = String::new();
    for (what, text) in [
        ("a good rule", RULE.to_owned()),
        ("an unknown key", RULE.replace("confidence = 90", "confidence = 90\nlevel = 3")),
        ("a bad severity", RULE.replace("\"high\"", "\"terrible\"")),
        ("a pattern that does not parse", RULE.replace("{16}", "{16")),
        ("a pattern without an end", RULE.replace("{16}\\b", "*")),
        ("an example that is not found", RULE.replace("owntok_fedcba9876543210", "owntok_FEDCBA9876543210")),
        ("a counter-example that is found", RULE.replace("owntok_short", "owntok_1111111111111111")),
        ("an unknown validator", RULE.replace("confidence = 90", "confidence = 90\nvalidator = \"mod12\"")),
    ] {
        let folder = with_rule(&text);
        writeln!(all, "# {what}\n{}", run(folder.path(), &["rules", "check", "--rules", "rules"])).unwrap();
    }
    shown("cli_rules_check", &all);
}

#[test]
fn the_list_names_every_rule_once() {
    let folder = tempfile::tempdir().unwrap();
    let text = run(folder.path(), &["rules", "list", "--format", "text"]);
    shown("cli_rules_list", &text);
}

/// A call with two leaks, as a recorder writes it.
const LEAKY: &str = r#"{
    "request": {"method": "POST", "url": "https://api.openai.com/v1/chat/completions", "headers": {"content-type": "application/json"},
        "body": "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"write to jane.doe@example.com, card 4111 1111 1111 1111\"}]}"},
    "response": {"status": 200, "headers": {"content-type": "application/json"},
        "body": "{\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"message\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":1}}"}
}"#;

/// That call, once a minute.
fn three_calls() -> String {
    let call = |minute: u64| {
        let started = 1_767_225_600_000_000_000 + minute * 60_000_000_000;
        let times = format!("\"outflow\": {{\"started_at_ns\": {started}, \"ended_at_ns\": {}}}", started + 2_000_000);
        format!("{}, {times}}}", LEAKY.strip_suffix('}').unwrap())
    };
    format!("[{}]", [0, 1, 2].map(call).join(","))
}

/// A folder with a state folder whose store holds the findings of one call that was made three times.
fn with_store() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("state")).unwrap();
    // Ids depend on the key.
    fs::write(folder.path().join("state/fingerprint.key"), "07".repeat(32)).unwrap();
    fs::write(folder.path().join("call.json"), LEAKY).unwrap();
    fs::write(folder.path().join("calls.json"), three_calls()).unwrap();
    let said = run(folder.path(), &["replay", "--store", "state/outflow.db", "--format", "jsonl", "calls.json"]);
    assert!(said.starts_with("exit 0\n") && said.ends_with("-- stderr\n"), "{said}");
    let without = run(folder.path(), &["replay", "--format", "jsonl", "calls.json"]);
    assert_eq!(said, without, "a store changes nothing of what is printed");
    folder
}

#[test]
fn the_store_is_listed_shown_and_verified() {
    let folder = with_store();
    let listed = run(folder.path(), &["findings", "list", "--format", "jsonl", "--rule", "pii.credit*"]);
    let line = listed.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{listed}"));
    let finding: serde_json::Value = serde_json::from_str(line).unwrap();
    let id = finding["finding_id"].as_str().unwrap();
    let mut all = String::new();
    for arguments in [
        &["findings", "list", "--format", "text"][..],
        &["findings", "list", "--format", "text", "--severity", "high"],
        &["findings", "list", "--format", "text", "--service", "nobody"],
        &["findings", "list", "--format", "text", "--limit", "1", "--since", "2026-01-01"],
        &["findings", "list", "--category", "leak"],
        &["findings", "show", &id[..6], "--format", "text"],
        &["findings", "show", id],
        &["findings", "show", "0123456789"],
        &["findings", "show", "secret"],
        &["verify", "--format", "text"],
        &["verify"],
    ] {
        writeln!(all, "$ outflow {}\n{}", arguments.join(" "), run(folder.path(), arguments)).unwrap();
    }
    assert!(!all.contains("jane") && !all.contains("4111 1111"), "{all}");
    shown("cli_findings", &all);
}

/// One id of each class, what a store has seen, and what the rules know without one.
#[test]
fn models_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let stored = with_store();
    let mut all = String::new();
    for arguments in [
        &["gpt-4o"][..],
        &["claude-sonnet-4-6"],
        &["bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"],
        &["mistral/mistral-large-latest"],
        &["google/gemini-3-pro-preview"],
        &["azure/my-deployment"],
        &["groq/openai/gpt-oss-120b"],
        &["computer-use-preview"],
        &["--vendor", "openai", "acme-private-1"],
        &["acme-private-1"],
        &["--vendor", "opena", "gpt-4o"],
        &["--format", "jsonl", "gpt-4o"],
        &["--vendor", "cohere"],
        &["--store", "no-such-store.db"],
    ] {
        let format: &[&str] = if arguments.contains(&"jsonl") { &[] } else { &["--format", "text"] };
        let said = run(folder.path(), &[&["models", "--at", "2026-11-23"], format, arguments].concat());
        writeln!(all, "$ outflow models {}\n{said}", arguments.join(" ")).unwrap();
    }
    for format in ["text", "jsonl"] {
        let said = run(stored.path(), &["models", "--at", "2026-11-23", "--format", format]);
        writeln!(all, "$ outflow models (a store, {format})\n{said}").unwrap();
    }
    shown("cli_models", &all);
}

#[test]
fn a_second_session_goes_on_in_the_same_store() {
    let folder = with_store();
    let again = run(folder.path(), &["replay", "--store", "state/outflow.db", "--format", "text", "call.json"]);
    assert!(again.starts_with("exit 0\n"), "{again}");
    let listed = run(folder.path(), &["findings", "list", "--rule", "model.unpinned"]);
    assert!(listed.contains("\"count\":4,"), "{listed}");
    let verified = run(folder.path(), &["verify", "--format", "text"]);
    assert!(verified.starts_with("exit 0\n"), "{verified}");
}

#[test]
fn a_store_that_was_edited_does_not_verify() {
    let folder = with_store();
    let db = rusqlite::Connection::open(folder.path().join("state/outflow.db")).unwrap();
    db.execute_batch(
        "DROP TRIGGER outbox_stays; UPDATE outbox SET payload = replace(payload, 'gpt', 'GPT') WHERE seq = 2",
    )
    .unwrap();
    let text = run(folder.path(), &["verify", "--format", "text"]);
    assert_eq!(text, "exit 1\n-- stdout\nBROKEN at revision 2: its payload was changed\n-- stderr\n");
    let json = run(folder.path(), &["verify"]);
    assert!(json.starts_with("exit 1\n-- stdout\n{\"seq\":2,\"verdict\":\"broken\","), "{json}");
}

/// Whoever closes the pipe has seen enough; the store is to have everything.
#[test]
fn a_closed_pipe_does_not_stop_the_store() {
    use std::{os::fd::OwnedFd, process::Stdio};
    let folder = with_store();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_outflow"))
        .args(["replay", "--store", "state/outflow.db", "call.json", "call.json"])
        .current_dir(folder.path())
        .env("STATE_DIRECTORY", folder.path().join("state"))
        .stdout(Stdio::from(OwnedFd::from(writer)))
        .status()
        .unwrap();
    assert!(status.success());
    let listed = run(folder.path(), &["findings", "list", "--rule", "model.unpinned"]);
    assert!(listed.contains("\"count\":5,"), "{listed}");
}
