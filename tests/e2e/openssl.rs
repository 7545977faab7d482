//! What programs rarely do with OpenSSL, by a program of our own that counts its calls: peeks, retries, parts, early data, objects that
//! follow each other at one address. Every call is accounted for, and what was sent to a vendor comes back byte for byte.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Condvar, Mutex},
};

use outflow::{
    rules::{RuleSource, VendorTable},
    sources::{
        Input,
        tap::{Ledger, Outcome, Scope, Settings, Tally, Tap},
    },
};
use serde_json::Value;
use testbed::{Bench, Job};

use crate::{
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip},
    tap::{Seen, Streams, collect},
};

/// Requests of each phase of the bulk run, and the size of one.
const BULK: usize = 200;
const BULK_BYTES: usize = 30_000;

fn build(bench: &Bench) -> PathBuf {
    let (source, out) = (testbed::client("openssl_cases.c").with_extension("c"), bench.dir().join("openssl_cases"));
    let mut cc = Command::new("cc");
    let status = cc.args(["-O1", "-o"]).args([&out, &source]).args(["-lssl", "-lcrypto"]).status().unwrap();
    assert!(status.success(), "cc and libssl-dev are needed: `cargo xtask setup`");
    out
}

/// Starts it with the bench's own libssl; it needs no server and no sandbox.
fn start(bench: &Bench, program: &Path, arguments: &[OsString]) -> Job {
    let mut command = Command::new(program);
    command.arg(bench.dir()).args(arguments).env("LD_LIBRARY_PATH", &bench.tls.dir);
    Job::start(command, bench.dir(), "openssl_cases").unwrap()
}

fn facts(job: Job) -> Value {
    let out = job.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

/// The program's own figures and ours agree, call for call and byte for byte, and each call has one fate.
fn assert_adds_up(facts: &Value, ledger: &Ledger) {
    let tally = |calls: &str, bytes: &str| Tally {
        calls: facts[calls].as_u64().unwrap(),
        bytes: facts[bytes].as_u64().unwrap(),
    };
    assert_eq!(ledger.seen(), tally("calls", "bytes"), "{ledger:#?}");
    assert_eq!(ledger.reread, tally("peeks", "peeked_bytes"), "{ledger:#?}");
    let fates = ledger.whole_calls() + ledger.gapped_calls() + ledger.refused_calls() + ledger.lost_calls();
    assert_eq!(fates, ledger.seen().calls, "{ledger:#?}");
    assert_eq!((ledger.unpaired, ledger.opens_lost), (0, 0), "{ledger:#?}");
}

#[test]
fn peeks_retries_parts_early_data_and_reused_objects_are_told_apart() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("openssl-cases");
    let program = build(&bench);
    let streams = Streams::default();
    let into = Arc::clone(&streams);
    let deliver = move |input: Input| {
        collect(&into, &input);
        true
    };
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
    let known = [bench.tls.libssl.clone()];
    let tap = Tap::start(&Scope::Children, &known, Settings::default(), &vendors, deliver, |news| println!("{news:?}"));
    let tap = tap.unwrap();
    let facts = facts(start(&bench, &program, &[]));
    let ledger = tap.stop().unwrap();
    println!("{facts}");
    assert_adds_up(&facts, &ledger);
    for (what, least) in [("retries", 1), ("partial", 2), ("reused", 3), ("early_bytes", 50)] {
        assert!(facts[what].as_u64() >= Some(least), "{what} did not happen: {facts}");
    }

    let streams = streams.lock().unwrap();
    let listed: Vec<&Seen> = streams.values().filter(|seen| seen.server_name().is_some()).collect();
    assert_eq!(listed.len() as u64, facts["connections"].as_u64().unwrap(), "each has a stream of its own");
    for number in 0..listed.len() {
        let of = |end: &str| std::fs::read(bench.dir().join(format!("{number}.{end}"))).unwrap();
        let (sent, received) = (of("sent"), of("received"));
        assert!(
            listed.iter().any(|seen| seen.is_exactly(&sent, &received)),
            "connection {number} sent {} and received {} bytes: {:?}",
            sent.len(),
            received.len(),
            listed.iter().map(|seen| seen.sizes()).collect::<Vec<_>>()
        );
    }
    assert!(!streams.values().any(|seen| seen.holds(b"CANARY")), "another host's bytes became input");
    assert!(ledger.of(Outcome::Unlisted).calls >= 2 && ledger.of(Outcome::Undecided).calls >= 2, "{ledger:#?}");
}

/// The reader stands still while a ring that is far too small runs over, then goes on, and so does the program.
#[test]
fn the_sums_are_exact_when_the_reader_stops_and_goes_on() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("openssl-stopped");
    let program = build(&bench);
    let mut meeting = bench.rendezvous().unwrap();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (reader_gate, streams) = (Arc::clone(&gate), Streams::default());
    let into = Arc::clone(&streams);
    let deliver = move |input: Input| {
        let (open, opened) = &*reader_gate;
        drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        collect(&into, &input);
        true
    };
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
    let settings = Settings { ring_bytes: 256 << 10, ..Settings::default() };
    let known = [bench.tls.libssl.clone()];
    let tap = Tap::start(&Scope::Children, &known, settings, &vendors, deliver, |_| {}).unwrap();
    let arguments = [
        meeting.ready_path.clone().into_os_string(),
        meeting.go_path.clone().into_os_string(),
        BULK.to_string().into(),
    ];
    let job = start(&bench, &program, &arguments);
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    meeting.go().unwrap();
    // Ready again: the first phase is over, and nobody has read.
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    let stopped = tap.ledger().unwrap();
    assert!(stopped.of(Outcome::RingFull).calls > 0 && stopped.gapped_calls() > 0, "{stopped:#?}");
    {
        let (open, opened) = &*gate;
        *open.lock().unwrap() = true;
        opened.notify_all();
    }
    meeting.go().unwrap();
    let facts = facts(job);
    let ledger = tap.stop().unwrap();
    assert_adds_up(&facts, &ledger);
    // The reader was there again: the second phase was not lost like the first. What it lost, if the ring ran over once more, is counted.
    assert!(ledger.of(Outcome::Copied).bytes > stopped.of(Outcome::Copied).bytes, "{ledger:#?}");

    // What arrived stands where it was sent, and what did not is a gap: nothing is spliced over it.
    let sent = std::fs::read(bench.dir().join("0.sent")).unwrap();
    assert_eq!(sent.len(), 2 * BULK * BULK_BYTES);
    let streams = streams.lock().unwrap();
    let seen = streams.values().find(|seen| seen.server_name().is_some()).unwrap();
    assert!(seen.gaps() > 0);
    for (offset, bytes) in seen.pieces() {
        let at = usize::try_from(*offset).unwrap();
        assert!(sent[at..].starts_with(bytes), "{} bytes at {at} are not what was sent there", bytes.len());
    }
    let arrived: u64 = streams.values().flat_map(Seen::pieces).map(|(_, bytes)| bytes.len() as u64).sum();
    assert_eq!(arrived, ledger.of(Outcome::Copied).bytes, "what the kernel handed over is what came out");
}
