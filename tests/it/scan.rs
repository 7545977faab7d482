//! `outflow scan` as a person meets it: what it prints and how it exits, for every kind of file. Both scan engines give the same.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use outflow::{detectors::scan::RuleSet, rules::RuleSource};
use serde_json::Value;

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn scan(folder: &Path, arguments: &[&str], input: &[u8]) -> Ran {
    outflow(folder, "scan", arguments, input)
}

pub(crate) fn outflow(folder: &Path, subcommand: &str, arguments: &[&str], input: &[u8]) -> Ran {
    // A key that is always the same, so that fingerprints are.
    fs::create_dir_all(folder.join(".state")).unwrap();
    fs::write(folder.join(".state/fingerprint.key"), "07".repeat(32)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
    command.arg(subcommand).args(arguments).current_dir(folder).env("STATE_DIRECTORY", folder.join(".state"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

fn shown(name: &str, ran: &Ran) {
    let times = regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").unwrap();
    let text = format!("exit {}\n-- stdout\n{}-- stderr\n{}", ran.code, ran.stdout, ran.stderr);
    let text = times.replace_all(&text, "[time]");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/it/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The first example of a shipped rule, without its line end.
pub(crate) fn example(id: &str) -> String {
    let rules = RuleSet::load(&RuleSource::Embedded).unwrap();
    let loaded = rules.loaded().find(|loaded| loaded.rule.id == id).unwrap();
    loaded.examples[0].trim_end().to_owned()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Rule, file, line, start and end of each finding.
fn places(stdout: &str) -> Vec<(String, String, u64, u64, u64)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    findings
        .filter(|record| record["event_name"] == "outflow.finding")
        .map(|record| {
            let at = &record["location"];
            let number = |name: &str| at[name].as_u64().unwrap();
            (text(&record["rule"]["id"]), text(&at["file"]), number("line"), number("start"), number("end"))
        })
        .collect()
}

/// A folder as a build leaves one behind.
fn logs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let token = example("secret.github-token");
    fs::create_dir(at("logs")).unwrap();
    fs::write(at(".gitignore"), "*.tmp\n").unwrap();
    fs::write(at("left-out.tmp"), &token).unwrap();
    let app = format!("started\nmail from ann@outflow-fake.org\n{token}\nmail from ann@outflow-fake.org\r\nbye");
    fs::write(at("logs/app.log"), &app).unwrap();
    fs::write(at("logs/app.log.1.gz"), gzip(&app)).unwrap();
    fs::write(at("logs/clean.log"), "nothing to see\n").unwrap();
    let key = format!("2026-11-24 INFO loading\n{}\n2026-11-24 INFO loaded\n", example("secret.private-key"));
    fs::write(at("logs/key.log"), key).unwrap();
    fs::write(at("logs/program"), [b"\x7fELF\0".as_slice(), token.as_bytes()].concat()).unwrap();
    std::os::unix::fs::symlink("app.log", at("logs/current")).unwrap();
    folder
}

#[test]
fn a_folder_as_text() {
    let folder = logs();
    let ran = scan(folder.path(), &["--format", "text", "."], b"");
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ran.stdout);
    shown("scan_text", &ran);
}

#[test]
fn a_folder_as_jsonl() {
    let folder = logs();
    let ran = scan(folder.path(), &["--format", "jsonl", "logs"], b"");
    let validator = jsonschema::validator_for(&outflow::findings::finding_schema()).unwrap();
    let records: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, findings) = records.split_last().unwrap();
    assert_eq!(summary["event_name"], "outflow.summary");
    for finding in findings {
        assert!(validator.is_valid(finding), "{finding:#}");
    }
    shown("scan_jsonl", &ran);
}

#[test]
fn a_clean_folder_exits_with_zero() {
    let folder = logs();
    shown("scan_clean", &scan(folder.path(), &["--format", "text", "logs/clean.log"], b""));
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_is_scanned() {
    let folder = logs();
    let packed = gzip(&"ann@outflow-fake.org was here\n".repeat(3));
    fs::write(folder.path().join("cut.gz"), &packed[..packed.len() - 5]).unwrap();
    let ran = scan(folder.path(), &["--format", "text", "no-such.log", "cut.gz", "logs/clean.log"], b"");
    assert_eq!(ran.code, 3);
    shown("scan_incomplete", &ran);
}

#[test]
fn the_exit_code_follows_fail_on() {
    let folder = logs();
    fs::write(folder.path().join("mail.log"), "ann@outflow-fake.org\n").unwrap();
    for (arguments, code) in [
        (&["mail.log"][..], 0),
        (&["--fail-on", "low", "mail.log"], 1),
        (&["logs/app.log"], 1),
        (&["--fail-on", "critical", "logs/app.log"], 1),
        (&["--fail-on", "critical", "mail.log"], 0),
        (&["logs/app.log", "no-such.log"], 3),
        (&["--rules", "no-such-folder", "mail.log"], 2),
        (&[], 2),
    ] {
        assert_eq!(scan(folder.path(), arguments, b"").code, code, "{arguments:?}");
    }
}

#[test]
fn standard_input_is_scanned_to_its_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let input = b"\xff\xfe\xfd no UTF-8 \x80 ann@outflow-fake.org\r\n\r\nlast: bob@outflow-fake.org";
    for packed in [false, true] {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(input).unwrap();
        let bytes = if packed { encoder.finish().unwrap() } else { input.to_vec() };
        let ran = scan(folder.path(), &["-", "--fail-on", "low"], &bytes);
        let email = |line, start, end| ("pii.email".to_owned(), "<stdin>".to_owned(), line, start, end);
        assert_eq!(places(&ran.stdout), [email(1, 15, 35), email(3, 6, 26)]);
        assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    }
}

#[test]
fn hidden_ignored_and_binary_files_on_request() {
    let folder = logs();
    fs::write(folder.path().join(".npmrc"), example("secret.github-token")).unwrap();
    let files = |arguments: &[&str]| {
        let mut files: Vec<String> =
            places(&scan(folder.path(), arguments, b"").stdout).into_iter().map(|place| place.1).collect();
        files.dedup();
        files
    };
    let plain = ["logs/app.log", "logs/app.log.1.gz", "logs/key.log"];
    let with = |more: &'static str| {
        let mut all: Vec<&'static str> = plain.iter().copied().chain([more]).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(files(&["."]), plain);
    assert_eq!(files(&["--no-ignore", "."]), with("left-out.tmp"));
    assert_eq!(files(&["--hidden", "."]), with(".npmrc"));
    assert_eq!(files(&["--binary", "."]), with("logs/program"));
    assert_eq!(files(&["logs/current"]), ["logs/current"], "a link that was named itself");
}

/// A line of a megabyte is cut into windows; a secret at the edge of one is found once, in its place.
#[test]
fn a_secret_in_an_over_long_line_is_found_once() {
    let folder = tempfile::tempdir().unwrap();
    let token = example("secret.github-token");
    let from = token.find("ghp_").unwrap();
    let window = 256 * 1024;
    for at in [window - token.len() / 2, window - 4096, window - 8192 - 10, 2 * window - 8192 - 20] {
        let mut line = "lorem ipsum dolor ".repeat(60_000).into_bytes();
        line.splice(at..at, format!(" {token} ").into_bytes());
        fs::write(folder.path().join("long.log"), [b"first\n".as_slice(), &line, b"\nlast\n"].concat()).unwrap();
        let ran = scan(folder.path(), &["--format", "jsonl", "long.log"], b"");
        let start = (at + 1 + from) as u64;
        let expected = ("secret.github-token".to_owned(), "long.log".to_owned(), 2, start, start + 40);
        assert_eq!(places(&ran.stdout), [expected], "at {at}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_scan_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let many: Vec<String> = (0..50_000).map(|n| format!("user{n}@outflow-fake.org")).collect();
    fs::write(folder.path().join("many.log"), many.join("\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
    command.args(["scan", "many.log"]).current_dir(folder.path()).env("STATE_DIRECTORY", folder.path().join(".state"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.status.code().is_some_and(|code| code < 2), "{:?}", output.status);
}
