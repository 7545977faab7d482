//! What the tap cannot see is told: a process that talks to a vendor through TLS that is not tapped, and none that is.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use testbed::{Bench, Job};

use crate::{
    leaks::of_kind,
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, outflow, sandbox_or_skip},
};

const RULE: &str = "coverage.unknown_tls_stack";

/// `outflow tap` around a command in the sandbox; its records, and what it said.
fn tap(bench: &Bench, options: &[&str], command: Vec<OsString>) -> (Vec<Value>, String, Option<i32>) {
    let data = bench.dir().join("data.jsonl");
    let mut all = vec![outflow().as_os_str().to_owned(), "tap".into()];
    all.extend(options.iter().map(Into::into));
    all.extend(["--output".into(), data.clone().into_os_string(), "--".into()]);
    all.extend(command);
    let mut sandbox = bench.sandboxed(&all);
    sandbox.env("STATE_DIRECTORY", bench.dir().join("state")).env("OUTFLOW_TEST_OUTPUT", &data);
    let ended = Job::start(sandbox, bench.dir(), "tap").unwrap().wait(CLIENT_TIMEOUT_S).unwrap();
    let text = std::fs::read_to_string(&data).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    let records = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    println!("{}\n{}", ended.stdout, ended.stderr);
    (records, ended.stderr, ended.status.code())
}

fn unseen(records: &[Value]) -> Vec<&Value> {
    of_kind(records, "outflow.finding").into_iter().filter(|finding| finding["rule"]["id"] == RULE).collect()
}

fn source(name: &str) -> PathBuf {
    testbed::workspace().join("tests/e2e/clients").join(name)
}

/// Java that runs a source file, when there is one.
fn java() -> Option<PathBuf> {
    let java = Path::new("/usr/bin/java");
    let has_compiler = Command::new(java).arg("--list-modules").output().is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).lines().any(|module| module.starts_with("jdk.compiler@"))
    });
    if !has_compiler {
        println!("skipped: no JDK: `cargo xtask setup` installs openjdk-17-jdk-headless");
    }
    has_compiler.then(|| java.to_owned())
}

#[test]
fn java_that_talks_to_a_vendor_is_told_by_name() {
    if !bpf_or_skip() {
        return;
    }
    let Some(java) = java() else { return };
    let bench = bench("java");
    let command = vec![java.into_os_string(), source("JavaClient.java").into_os_string(), "api.openai.com".into()];
    let (records, talk, status) = tap(&bench, &[], command);
    assert_eq!(status, Some(0), "the status is the command's own: {talk}");
    // It did talk to the vendor, and nothing of what it said was seen.
    let connections = bench.connections().unwrap();
    assert!(connections.iter().any(|one| String::from_utf8_lossy(&one.received).contains("canary-java")));
    assert_eq!(of_kind(&records, "outflow.exchange").len(), 0);

    let [finding] = unseen(&records)[..] else { panic!("one finding: {records:#?}") };
    assert_eq!((&finding["category"], &finding["severity"]), (&"coverage".into(), &"medium".into()));
    assert!(finding["title"].as_str().unwrap().contains("through Java (JSSE)"), "{finding:#}");
    assert!(finding["process"]["name"] == "java" && finding["process"]["pid"].as_u64() > Some(0), "{finding:#}");
    let attributes = &finding["attributes"];
    assert_eq!(attributes["coverage.seen"], "not_seen");
    assert!(attributes["coverage.file"].as_str().unwrap().ends_with("/libjvm.so"), "{finding:#}");
    assert_eq!(attributes["coverage.address"], "127.0.0.1:443");
    // All vendors' names lead to one address here, so it may be any of them.
    let hosts = attributes["coverage.hosts"].as_array().unwrap();
    assert!(hosts.contains(&"api.openai.com".into()) && hosts.contains(&"api.anthropic.com".into()), "{finding:#}");
    assert!(!hosts.contains(&"www.example.test".into()), "only listed hosts are named: {finding:#}");
    let [summary] = of_kind(&records, "outflow.summary")[..] else { panic!("one summary: {records:#?}") };
    assert_eq!(summary["tls_calls"]["seen"], 0);
}

/// The process that reads the ring has no right to look at Java: the one that attaches does.
#[test]
fn java_is_told_by_two_processes_too_and_is_incomplete_where_that_counts() {
    if !bpf_or_skip() {
        return;
    }
    let Some(java) = java() else { return };
    let bench = bench("java-split");
    let command = vec![java.into_os_string(), source("JavaClient.java").into_os_string(), "api.openai.com".into()];
    let (records, talk, status) = tap(&bench, &["--split", "--fail-on", "critical"], command);
    assert_eq!(status, Some(3), "{talk}");
    let [finding] = unseen(&records)[..] else { panic!("one finding: {records:#?}") };
    assert_eq!(finding["attributes"]["coverage.seen"], "not_seen");
    assert_eq!(finding["process"]["service"], "JavaClient.java");
}

#[test]
fn a_process_without_any_tls_is_told_with_less_confidence() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("no-tls");
    let (records, talk, status) = tap(&bench, &["--fail-on", "high"], bench.client("no_tls.py", &[]));
    // Perhaps it only passes bytes on: nothing says that anything was missed.
    assert_eq!(status, Some(0), "{talk}");
    let [finding] = unseen(&records)[..] else { panic!("one finding: {records:#?}") };
    assert_eq!(
        (finding["confidence"].as_u64(), &finding["attributes"]["coverage.seen"]),
        (Some(60), &"unknown".into())
    );
    assert_eq!(finding["process"]["service"], "no_tls.py");
}

#[test]
fn a_client_that_is_tapped_is_not_told() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tapped");
    let (records, talk, status) = tap(&bench, &[], bench.client("sync_client.py", &[]));
    assert_eq!(status, Some(0), "{talk}");
    assert_eq!(unseen(&records), [&Value::Null; 0]);
    let [summary] = of_kind(&records, "outflow.summary")[..] else { panic!("one summary: {records:#?}") };
    let calls = &summary["tls_calls"];
    let of = |name: &str| calls[name].as_u64().unwrap();
    assert!(of("whole") > 0, "{summary:#}");
    assert_eq!(of("seen"), of("whole") + of("with_gaps") + of("left_alone") + of("lost"), "{summary:#}");
}

/// The doctor looks, and attaches to nothing: also without the rights to.
#[test]
fn the_doctor_says_how_a_process_is_seen() {
    if !sandbox_or_skip() {
        return;
    }
    let bench = bench("doctor");
    let mut meeting = bench.rendezvous().unwrap();
    let (ready, go) = (meeting.ready_path.to_str().unwrap().to_owned(), meeting.go_path.to_str().unwrap().to_owned());
    let client = bench.start(&bench.client("raw_client", &["--ready", &ready, "--go", &go]), "client").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    let [pid] = bench.tls.mapped_by().unwrap()[..] else { panic!("one process maps the private library") };

    let doctor = |options: &[&str]| {
        let mut doctor = Command::new(outflow());
        doctor.arg("doctor").args(options).env("STATE_DIRECTORY", bench.dir().join("state"));
        let output = doctor.output().unwrap();
        println!("{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let one = doctor(&["--pid", &pid.to_string(), "--verbose", "--format", "jsonl"]);
    let records: Vec<Value> = one.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| records.iter().filter(|record| record["coverage"] == kind).collect::<Vec<_>>();
    let [process] = of("process")[..] else { panic!("one process: {one}") };
    assert_eq!((&process["pid"], &process["seen"]), (&pid.into(), &"attached".into()), "{process:#}");
    assert_eq!(process["service"], "raw_client.py");
    let files = process["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["file"] == bench.tls.libssl.to_str().unwrap()), "{process:#}");
    let connection = &process["connections"][0];
    assert_eq!((&connection["address"], &connection["known_by"]), (&"127.0.0.1:443".into(), &"hosts_file".into()));
    let sites = of("sites");
    let site = |text: &str| {
        let mut all = sites.iter().flat_map(|sites| sites["sites"].as_array().unwrap());
        all.any(|site| site.as_str().unwrap().contains(text))
    };
    assert!(site("SSL_write_ex") && site("which the kernel emulates"), "{sites:#?}");

    // Without a process all that are connected to a vendor are told; this one is.
    let all = doctor(&["--format", "text"]);
    let line = all.lines().find(|line| line.starts_with(&format!("{pid} "))).unwrap_or_else(|| panic!("{all}"));
    assert!(line.contains("raw_client.py") && line.contains(" yes "), "{line}");

    meeting.go().unwrap();
    client.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
}
