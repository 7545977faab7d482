//! Go's own TLS: what a Go program sends and gets is recovered byte for byte, over HTTP/1.1 and HTTP/2, with symbols and without,
//! from many goroutines, from one write of a megabyte, and on a connection that was there before the tap.
//!
//! The program is built from tests/e2e/clients/go and copied for each test, since a probe sits on a file.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use outflow::{
    rules::{RuleSource, VendorTable},
    sources::tap::{Ledger, Notice, Outcome, Scope, Settings, Stack, Tap},
};
use serde_json::Value;
use testbed::Bench;

use crate::{
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, outflow},
    tap::{Seen, Streams, assert_byte_exact, assert_no_loss, collect},
};

/// The folder of built clients, or `None` where there is no Go to build them with.
fn clients() -> Option<PathBuf> {
    let go = std::env::var_os("GO").unwrap_or_else(|| OsString::from("go"));
    if Command::new(&go).arg("version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: no Go compiler here (Debian: golang-go)");
        return None;
    }
    let target = outflow().ancestors().nth(2).unwrap().join("go-client");
    let script = testbed::workspace().join("tests/e2e/clients/go/build.sh");
    let built = Command::new(script).arg(&target).stdin(Stdio::null()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(target)
}

/// A place with a client of its own in it, when both can be had.
fn place(label: &str, shape: &str) -> Option<(Bench, PathBuf)> {
    if !bpf_or_skip() {
        return None;
    }
    let clients = clients()?;
    let bench = bench(label);
    let client = bench.dir().join("go-client");
    fs::copy(clients.join(shape), &client).unwrap();
    Some((bench, client))
}

fn command(client: &Path, arguments: &[&str]) -> Vec<OsString> {
    std::iter::once(client.into()).chain(arguments.iter().map(OsString::from)).collect()
}

/// Taps the client alone while it runs; gives its line of facts, what was seen, and the ledger.
fn tapped(bench: &Bench, client: &Path, arguments: &[&str]) -> (Value, Vec<Seen>, Ledger) {
    let (tap, streams) = start(&Scope::Children, client);
    let job = bench.start(&command(client, arguments), "go").unwrap();
    let stdout = job.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    let ledger = tap.stop().unwrap();
    let seen = streams.lock().unwrap().values().cloned().collect();
    (serde_json::from_str(stdout.lines().last().unwrap()).unwrap(), seen, ledger)
}

fn start(scope: &Scope, client: &Path) -> (Tap, Streams) {
    let streams = Streams::default();
    let into = Arc::clone(&streams);
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
    let deliver = move |input| {
        collect(&into, &input);
        true
    };
    let probed = client.to_owned();
    let notice = move |notice: Notice| {
        println!("{notice:?}");
        if let Notice::Tapped { library, stacks, .. } = notice
            && library == probed
        {
            assert_eq!(stacks, [Stack::Go]);
        }
    };
    let tap = Tap::start(scope, &[client.to_owned()], Settings::default(), &vendors, deliver, notice).unwrap();
    (tap, streams)
}

/// One run in which every connection must be recovered whole.
fn check(label: &str, shape: &str, arguments: &[&str], protocol: &str, connections: usize) {
    let Some((bench, client)) = place(label, shape) else { return };
    let (facts, seen, ledger) = tapped(&bench, &client, arguments);
    assert_eq!(facts["protocol"], protocol, "{facts}");
    assert_eq!(assert_byte_exact(&bench, &seen), connections, "{facts}");
    assert_no_loss(&ledger);
    assert!(ledger.of(Outcome::Copied).calls > 0, "{ledger:#?}");
    assert!(seen.iter().all(|seen| seen.service == "go-client"), "{:?}", seen.iter().map(|seen| &seen.service));
}

#[test]
fn requests_on_kept_connections_are_recovered_byte_for_byte() {
    check("go-plain", "plain", &["--requests", "20", "--size", "3000"], "HTTP/1.1", 2);
}

#[test]
fn a_stripped_program_is_recovered_byte_for_byte() {
    check("go-stripped", "stripped", &["--requests", "5", "--stream"], "HTTP/1.1", 2);
}

#[test]
fn a_program_that_may_lie_anywhere_is_recovered_byte_for_byte() {
    check("go-pie", "pie", &["--requests", "5", "--answer-size", "100000"], "HTTP/1.1", 2);
}

/// Its `Read` is seen at each `ret`.
#[test]
fn a_program_made_for_a_debugger_is_recovered_byte_for_byte() {
    check("go-debug", "debug", &["--requests", "5", "--answer-size", "100000"], "HTTP/1.1", 2);
}

#[test]
fn a_megabyte_in_one_write_and_an_answer_on_a_stack_that_moves_are_whole() {
    let arguments = ["--direct", "--size", "1048576", "--answer-size", "200000", "--requests", "3"];
    check("go-direct", "stripped", &arguments, "one write", 4);
}

#[test]
fn many_goroutines_are_told_apart() {
    let arguments = ["--parallel", "32", "--requests", "10", "--size", "20000", "--answer-size", "5000"];
    check("go-many", "plain", &arguments, "HTTP/1.1", 33);
}

/// Starts the client with a server that speaks HTTP/2: a copy of the same program, in a file of its own.
fn over_http2(label: &str, shape: &str, arguments: &[&str], connections: usize) {
    let Some((bench, client)) = place(label, shape) else { return };
    let recorder = bench.dir().join("go-recorder");
    fs::copy(&client, &recorder).unwrap();
    // In the journal of the bench, whose own server is not asked here; it makes the folder before it starts the client.
    let journal = bench.dir().join("journal");
    let server = ["--recorder", recorder.to_str().unwrap(), "--journal", journal.to_str().unwrap()];
    let (facts, seen, ledger) = tapped(&bench, &client, &[&server, arguments].concat());
    assert_eq!(facts["protocol"], "HTTP/2.0", "{facts}");
    assert_eq!(assert_byte_exact(&bench, &seen), connections, "{facts}");
    assert_no_loss(&ledger);
}

#[test]
fn http2_with_a_megabyte_is_recovered_byte_for_byte() {
    over_http2("go-h2", "stripped", &["--requests", "3", "--size", "1048576", "--answer-size", "300000"], 1);
}

#[test]
fn goroutines_that_share_an_http2_connection_are_recovered_byte_for_byte() {
    over_http2("go-h2-many", "pie", &["--parallel", "16", "--requests", "5", "--size", "20000"], 1);
}

/// The one process that runs a program.
fn running(program: &Path) -> u32 {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let runs = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == program);
    let found: Vec<u32> = pids.filter(runs).collect();
    let [pid] = found[..] else { panic!("{found:?} run {}", program.display()) };
    pid
}

/// The name was said before the probes were there; the Host header says it again. A goroutine waits in `Read` meanwhile, and what it
/// gets is seen all the same.
#[test]
fn a_connection_that_was_there_before_is_decided_by_its_host_header() {
    let Some((bench, client)) = place("go-before", "stripped") else { return };
    let mut meeting = bench.rendezvous().unwrap();
    let pipes = [meeting.ready_path.clone(), meeting.go_path.clone()];
    let [ready, go] = pipes.each_ref().map(|path| path.to_str().unwrap());
    let arguments = ["--http1", "--requests", "200", "--ready", ready, "--go", go];
    let job = bench.start(&command(&client, &arguments), "go").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    // The process itself: the sandbox around it is a TLS program too.
    let (tap, streams) = start(&Scope::Processes(vec![running(&client)]), &client);
    meeting.go().unwrap();
    let stdout = job.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    let ledger = tap.stop().unwrap();
    let journal = bench.connections().unwrap();
    let (sent, received): (u64, u64) =
        journal.iter().fold((0, 0), |sum, c| (sum.0 + c.received.len() as u64, sum.1 + c.sent.len() as u64));
    assert_eq!(ledger.seen().bytes, sent + received, "no byte passed unseen: {stdout} {ledger:#?}");
    let peeked = ledger.of(Outcome::Peeked).bytes;
    assert!((1..=4096).contains(&peeked), "{ledger:#?}");
    assert!(ledger.of(Outcome::Copied).calls > 0, "{ledger:#?}");
    assert!(!streams.lock().unwrap().is_empty());
}

#[test]
fn a_host_that_is_no_vendor_yields_no_byte() {
    let Some((bench, client)) = place("go-other", "plain") else { return };
    let (_, seen, ledger) = tapped(&bench, &client, &["--host", "www.example.test", "--requests", "3"]);
    assert!(seen.is_empty(), "not even its name is handed on: {seen:?}");
    assert_eq!(ledger.of(Outcome::Copied).bytes + ledger.of(Outcome::Peeked).bytes, 0, "{ledger:#?}");
    let journal = bench.connections().unwrap();
    let crossed: usize = journal.iter().map(|connection| connection.received.len() + connection.sent.len()).sum();
    assert_eq!(ledger.of(Outcome::Unlisted).bytes, crossed as u64, "{ledger:#?}");
}
