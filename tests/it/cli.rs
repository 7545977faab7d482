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
    format!("exit {}\n-- stdout\n{}-- stderr\n{}", status.code().unwrap(), text(&stdout), text(&stderr))
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
        &["doctor", "--help"],
    ] {
        writeln!(all, "$ outflow {}\n{}", arguments.join(" "), run(folder.path(), arguments)).unwrap();
    }
    shown("cli_help", &all);
}

#[test]
fn mistakes_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("broken.json"), "{\"request\": 7}").unwrap();
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
        &["rules", "check", "--rules", "no-such-folder"],
        &["serve"],
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
