//! rustls, as a Rust program carries it (reqwest): what it sent and got is recovered byte for byte from the first byte on, over HTTP/1.1
//! and HTTP/2; hosts that are no vendors yield nothing; and connections that come one after the other are not taken for one another.
//!
//! The client is tests/rust-client, copied for each test, since a probe sits on a file.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use outflow::{
    rules::{RuleSource, VendorTable},
    sources::{
        Direction, Input, StreamEvent,
        tap::{Ledger, Notice, Outcome, Scope, Settings, Stack, Tap},
    },
};
use serde_json::Value;
use testbed::Bench;

use crate::{
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, outflow},
    tap::{Seen, Streams, assert_byte_exact, assert_no_loss, collect},
};

/// With what the frame starts that ends an HTTP/2 connection in peace (GOAWAY, RFC 9113, section 6.8), and its length.
const GOAWAY: ([u8; 9], usize) = ([0, 0, 8, 7, 0, 0, 0, 0, 0], 17);

/// A place with a client of its own in it, where there may be taps.
fn place(label: &str) -> Option<(Bench, PathBuf)> {
    if !bpf_or_skip() {
        return None;
    }
    let built = outflow().with_file_name("rust-client");
    assert!(built.is_file(), "{} is missing: run `cargo build -p rust-client`", built.display());
    let bench = bench(label);
    let client = bench.dir().join("rust-client");
    fs::copy(built, &client).unwrap();
    Some((bench, client))
}

/// Taps the client alone while it runs; gives its line of facts, what was seen, and the ledger.
fn tapped(bench: &Bench, client: &Path, arguments: &[&str]) -> (Value, Vec<Seen>, Ledger) {
    tapped_until(bench, client, arguments, |_| {})
}

fn tapped_until(
    bench: &Bench,
    client: &Path,
    arguments: &[&str],
    watch: impl Fn(&Input) + Send + 'static,
) -> (Value, Vec<Seen>, Ledger) {
    let streams = Streams::default();
    let into = Arc::clone(&streams);
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
    let deliver = move |input: Input| {
        collect(&into, &input);
        watch(&input);
        true
    };
    let probed = client.to_owned();
    let notice = move |notice: Notice| {
        println!("{notice:?}");
        if let Notice::Tapped { library, stacks, .. } = notice
            && library == probed
        {
            assert_eq!(stacks, [Stack::Rustls]);
        }
    };
    let known = [client.to_owned()];
    let tap = Tap::start(&Scope::Children, &known, Settings::default(), &vendors, deliver, notice).unwrap();
    let command: Vec<OsString> = std::iter::once(client.into()).chain(arguments.iter().map(OsString::from)).collect();
    let job = bench.start(&command, "rust").unwrap();
    let stdout = job.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    let ledger = tap.stop().unwrap();
    let seen = streams.lock().unwrap().values().cloned().collect();
    (serde_json::from_str(stdout.lines().last().unwrap()).unwrap(), seen, ledger)
}

/// One run in which every connection must be recovered whole.
fn check(label: &str, arguments: &[&str], protocol: &str, connections: usize) {
    let Some((bench, client)) = place(label) else { return };
    let mut all = arguments.to_vec();
    let (recorder, journal) = (bench.dir().join("recorder"), bench.dir().join("journal"));
    if protocol == "HTTP/2.0" {
        // The same program in a file of its own, which no probe sits on.
        fs::copy(&client, &recorder).unwrap();
        all.extend(["--recorder", recorder.to_str().unwrap(), "--journal", journal.to_str().unwrap()]);
    }
    let (facts, seen, ledger) = tapped(&bench, &client, &all);
    assert_eq!(facts["protocol"], protocol, "{facts}");
    assert_eq!(assert_byte_exact(&bench, &seen), connections, "{facts}");
    assert_no_loss(&ledger);
    // Every byte that crossed the wire, and no other, was counted: but for a good-bye that its client did not wait for.
    let journal = bench.connections().unwrap();
    let crossed: usize = journal.iter().map(|connection| connection.received.len() + connection.sent.len()).sum();
    let (goodbye, length) = GOAWAY;
    let last = |sent: &[u8]| sent.len().checked_sub(length).is_some_and(|at| sent[at..].starts_with(&goodbye));
    let goodbyes = journal.iter().filter(|connection| last(&connection.sent)).count();
    let unread = crossed - ledger.of(Outcome::Copied).bytes as usize;
    assert!(unread.is_multiple_of(length) && unread / length <= goodbyes, "{unread} of {crossed}: {ledger:#?}");
}

#[test]
fn requests_on_a_kept_connection_are_recovered_byte_for_byte() {
    check("rustls-http1", &["--requests", "20", "--size", "3000"], "HTTP/1.1", 1);
}

#[test]
fn a_megabyte_is_recovered_byte_for_byte() {
    check("rustls-mega", &["--requests", "3", "--size", "1048576"], "HTTP/1.1", 1);
}

#[test]
fn a_streamed_answer_is_recovered_byte_for_byte() {
    check("rustls-stream", &["--stream", "--size", "20000"], "HTTP/1.1", 1);
}

#[test]
fn connections_at_the_same_time_are_told_apart() {
    check("rustls-many", &["--parallel", "24", "--requests", "10", "--size", "20000"], "HTTP/1.1", 24);
}

#[test]
fn http2_with_a_megabyte_is_recovered_byte_for_byte() {
    check("rustls-http2", &["--requests", "3", "--size", "1048576"], "HTTP/2.0", 1);
}

#[test]
fn http2_connections_at_the_same_time_are_told_apart() {
    check("rustls-http2-many", &["--parallel", "8", "--requests", "10", "--size", "20000"], "HTTP/2.0", 8);
}

#[test]
fn a_host_that_is_no_vendor_yields_no_byte() {
    let Some((bench, client)) = place("rustls-other") else { return };
    let (_, seen, ledger) = tapped(&bench, &client, &["--host", "www.example.test", "--requests", "3"]);
    assert!(seen.is_empty(), "not even its name is handed on: {seen:?}");
    assert_eq!(ledger.of(Outcome::Copied).bytes + ledger.of(Outcome::Peeked).bytes, 0, "{ledger:#?}");
    let journal = bench.connections().unwrap();
    let crossed: usize = journal.iter().map(|connection| connection.received.len() + connection.sent.len()).sum();
    assert_eq!(ledger.of(Outcome::Unlisted).bytes, crossed as u64, "{ledger:#?}");
}

/// The box of a key comes where that of the connection before was: each must be decided by its own name.
#[test]
fn connections_one_after_the_other_are_not_taken_for_one_another() {
    let Some((bench, client)) = place("rustls-turns") else { return };
    let arguments = ["--requests", "60", "--alternate", "www.example.test", "--size", "2000"];
    let (facts, seen, ledger) = tapped(&bench, &client, &arguments);
    assert_eq!(assert_byte_exact(&bench, &seen), 30, "{facts}");
    assert_no_loss(&ledger);
    let crossed = |listed: bool| -> usize {
        let journal = bench.connections().unwrap();
        let these = journal.iter().filter(|connection| (connection.server_name != "www.example.test") == listed);
        these.map(|connection| connection.received.len() + connection.sent.len()).sum()
    };
    assert_eq!(ledger.of(Outcome::Copied).bytes, crossed(true) as u64, "{ledger:#?}");
    assert_eq!(ledger.of(Outcome::Unlisted).bytes, crossed(false) as u64, "{ledger:#?}");
    assert_eq!(ledger.of(Outcome::Peeked).bytes, 0, "{ledger:#?}");
}

/// In TLS 1.2 the name is not told just before the key: the request's head tells it.
#[test]
fn a_connection_of_tls_1_2_is_decided_by_its_host_header() {
    let Some((bench, client)) = place("rustls-tls12") else { return };
    // How many requests pass before the verdict is up to the machine: the client goes on until an answer was copied.
    let stop = bench.dir().join("stop");
    let arguments = ["--tls12", "--requests", "20000", "--stop", stop.to_str().unwrap()];
    let enough = stop.clone();
    let (_, seen, ledger) = tapped_until(&bench, &client, &arguments, move |input| {
        if let StreamEvent::Bytes { direction: Direction::Received, .. } = input.event {
            fs::write(&enough, "").unwrap();
        }
    });
    let journal = bench.connections().unwrap();
    let crossed: usize = journal.iter().map(|connection| connection.received.len() + connection.sent.len()).sum();
    assert_eq!(ledger.seen().bytes, crossed as u64, "no byte passed unseen: {ledger:#?}");
    assert!(ledger.of(Outcome::Copied).calls > 0, "{ledger:#?}");
    assert!((1..=4096).contains(&ledger.of(Outcome::Peeked).bytes), "{ledger:#?}");
    assert!(!seen.is_empty());
}
