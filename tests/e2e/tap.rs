//! The tap itself: what a real client sent and got is recovered byte for byte, a host that is no vendor yields nothing, and
//! every call is accounted for. The tap runs inside the test's own process, so that its input can be compared.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex},
};

use outflow::{
    rules::{RuleSource, VendorTable},
    sources::{
        Direction, Input, StreamEvent, StreamId,
        tap::{Ledger, Outcome, Scope, Settings, Tally, Tap},
    },
};
use serde_json::Value;
use testbed::Bench;

use crate::support::{bench, bpf_or_skip, run_client};

/// What came of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) server_name: Option<String>,
    pub(crate) service: String,
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
    pub(crate) gaps: usize,
    /// Sent, as it came, with its place.
    pieces: Vec<(u64, Vec<u8>)>,
    closed: Option<(Option<u64>, Option<u64>)>,
}

impl Seen {
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// It is this, without a gap.
    pub(crate) fn is_exactly(&self, sent: &[u8], received: &[u8]) -> bool {
        self.gaps == 0 && self.sent == sent && self.received == received
    }

    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        (self.sent.len(), self.received.len(), self.gaps)
    }

    /// These bytes were handed on, in whichever direction.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        [&self.sent, &self.received].iter().any(|side| memchr::memmem::find(side, bytes).is_some())
            || self.pieces.iter().any(|(_, piece)| memchr::memmem::find(piece, bytes).is_some())
    }

    /// Pieces that did not continue what came before them.
    pub(crate) fn gaps(&self) -> usize {
        self.gaps
    }

    /// What was sent, in pieces, with their places.
    pub(crate) fn pieces(&self) -> &[(u64, Vec<u8>)] {
        &self.pieces
    }
}

pub(crate) type Streams = Arc<Mutex<BTreeMap<StreamId, Seen>>>;

pub(crate) fn collect(streams: &Streams, input: &Input) {
    let mut streams = streams.lock().unwrap();
    let seen = streams.entry(input.stream).or_default();
    seen.service.clone_from(&input.origin.service);
    match &input.event {
        StreamEvent::Opened { server_name } => seen.server_name = Some(server_name.to_string()),
        StreamEvent::Bytes { direction, offset, bytes } => {
            if *direction == Direction::Sent {
                seen.pieces.push((*offset, bytes.to_vec()));
            }
            let side = if *direction == Direction::Sent { &mut seen.sent } else { &mut seen.received };
            if *offset == side.len() as u64 {
                side.extend_from_slice(bytes);
            } else {
                seen.gaps += 1;
            }
        }
        StreamEvent::Closed { sent_bytes, received_bytes } => seen.closed = Some((*sent_bytes, *received_bytes)),
    }
}

/// Taps what `work` starts and gives what was seen, with the ledger.
pub(crate) fn tapped<T>(bench: &Bench, settings: Settings, work: impl FnOnce() -> T) -> (T, Vec<Seen>, Ledger) {
    tapped_until(bench, settings, |_| {}, work)
}

/// As [`tapped`], and shows every input to `watch` as it comes.
fn tapped_until<T>(
    bench: &Bench,
    settings: Settings,
    watch: impl Fn(&Input) + Send + 'static,
    work: impl FnOnce() -> T,
) -> (T, Vec<Seen>, Ledger) {
    let streams = Streams::default();
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
    let into = Arc::clone(&streams);
    let deliver = move |input: Input| {
        collect(&into, &input);
        watch(&input);
        true
    };
    let tap =
        Tap::start(&Scope::Children, std::slice::from_ref(&bench.tls.libssl), settings, &vendors, deliver, |notice| {
            println!("{notice:?}");
        })
        .unwrap();
    let value = work();
    let ledger = tap.stop().unwrap();
    let seen = streams.lock().unwrap().values().cloned().collect();
    (value, seen, ledger)
}

/// Each connection of the server's journal to a listed host was recovered whole, in both directions. A client may hang up
/// before it has read all that the server wrote: then what it did read is whole.
pub(crate) fn assert_byte_exact(bench: &Bench, seen: &[Seen]) -> usize {
    let journal = bench.connections().unwrap();
    let vendors = ["api.openai.com", "api.anthropic.com"];
    let mut compared = 0;
    for connection in journal.iter().filter(|connection| vendors.contains(&connection.server_name.as_str())) {
        assert!(!connection.received.is_empty());
        assert!(
            seen.iter().any(|seen| {
                seen.gaps == 0
                    && seen.server_name.as_deref() == Some(connection.server_name.as_str())
                    && seen.sent == connection.received
                    && connection.sent.starts_with(&seen.received)
                    && seen.closed == Some((Some(seen.sent.len() as u64), Some(seen.received.len() as u64)))
            }),
            "connection {} to {} ({} bytes out, {} in) is not among {:?}",
            connection.number,
            connection.server_name,
            connection.received.len(),
            connection.sent.len(),
            seen.iter().map(|s| (&s.server_name, s.sent.len(), s.received.len(), s.gaps)).collect::<Vec<_>>(),
        );
        compared += 1;
    }
    compared
}

pub(crate) fn assert_no_loss(ledger: &Ledger) {
    assert_eq!(ledger.losses().collect::<Vec<_>>(), [], "{ledger:#?}");
    assert_eq!(ledger.gapped_calls(), 0, "{ledger:#?}");
    assert_eq!((ledger.opens_lost, ledger.forks_lost), (0, 0));
}

#[test]
fn sync_client_is_recovered_byte_for_byte() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-sync");
    let (facts, seen, ledger) = tapped(&bench, Settings::default(), || run_client(&bench, "sync_client.py", &[]));
    assert!(assert_byte_exact(&bench, &seen) >= 2, "{facts}");
    assert_no_loss(&ledger);
    assert!(seen.iter().all(|seen| seen.service == "sync_client.py"), "{:?}", seen.iter().map(|s| &s.service));
}

#[test]
fn concurrent_asyncio_clients_are_recovered_byte_for_byte() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-async");
    let (facts, seen, ledger) = tapped(&bench, Settings::default(), || run_client(&bench, "async_client.py", &[]));
    assert!(assert_byte_exact(&bench, &seen) >= 2, "{facts}");
    assert_no_loss(&ledger);
}

#[test]
fn streams_are_recovered_byte_for_byte() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-stream");
    let (facts, seen, ledger) = tapped(&bench, Settings::default(), || run_client(&bench, "stream_client.py", &[]));
    assert!(assert_byte_exact(&bench, &seen) >= 2, "{facts}");
    assert_no_loss(&ledger);
}

#[test]
fn a_request_of_eight_mebibytes_is_whole() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-big");
    let (facts, seen, ledger) = tapped(&bench, Settings::default(), || run_client(&bench, "big_client.py", &[]));
    assert!(facts["largest_send_bytes"].as_u64() >= Some(8 << 20), "one TLS call carried it all: {facts}");
    assert_eq!(assert_byte_exact(&bench, &seen), 1);
    assert_no_loss(&ledger);
}

#[test]
fn a_call_past_the_cap_is_a_counted_gap() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-cap");
    let cap = 1 << 20;
    let settings = Settings { call_bytes_max: cap, ..Settings::default() };
    let (facts, seen, ledger) =
        tapped(&bench, settings, || run_client(&bench, "big_client.py", &["--size", "3000000"]));
    let sent = facts["sent_bytes"].as_u64().unwrap();
    let largest = facts["largest_send_bytes"].as_u64().unwrap();
    assert_eq!(ledger.of(Outcome::OverCap).bytes, largest - cap);
    assert_eq!((ledger.gapped_calls(), ledger.lost_calls()), (1, 0), "{ledger:#?}");
    let stream = seen.iter().find(|seen| !seen.sent.is_empty()).unwrap();
    // What came before the gap is kept as it was, and the end of the connection tells how much there was.
    assert!(bench.connections().unwrap()[0].received.starts_with(&stream.sent));
    assert_eq!(stream.sent.len() as u64, sent - (largest - cap));
    assert_eq!(stream.closed.map(|closed| closed.0), Some(Some(sent)));
}

#[test]
fn a_host_that_is_no_vendor_yields_no_byte() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-other");
    let canary = "canary-7f3a-must-never-be-copied";
    let (facts, seen, ledger) =
        tapped(&bench, Settings::default(), || run_client(&bench, "other_host.py", &["--canary", canary]));
    assert_eq!(ledger.of(Outcome::Copied), Tally::default());
    assert_eq!(ledger.of(Outcome::Peeked), Tally::default());
    assert!(ledger.of(Outcome::Unlisted).calls >= facts["sends"].as_u64().unwrap());
    assert!(ledger.of(Outcome::Unlisted).bytes > canary.len() as u64 * 3);
    assert!(seen.is_empty(), "not even its name is handed on: {seen:?}");
    // The canary did cross the wire.
    assert!(bench.connections().unwrap().iter().any(|c| String::from_utf8_lossy(&c.received).contains(canary)));
}

#[test]
fn a_connection_without_a_name_is_decided_by_its_host_header() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-no-sni");
    // How many requests pass before the verdict is up to the machine: the client goes on until an answer was copied.
    let stop = bench.dir().join("stop");
    let listed = ["--no-sni", "--address", "127.0.0.1", "--requests", "20000", "--stop", stop.to_str().unwrap()];
    let seen_enough = stop.clone();
    let enough = move |input: &Input| {
        if let StreamEvent::Bytes { direction: Direction::Received, .. } = input.event {
            std::fs::write(&seen_enough, "").unwrap();
        }
    };
    let (_, seen, ledger) =
        tapped_until(&bench, Settings::default(), enough, || run_client(&bench, "raw_client.py", &listed));
    let journal = bench.connections().unwrap();
    let stream = seen.iter().find(|seen| !seen.sent.is_empty()).expect("the Host header names a vendor");
    assert_eq!(stream.server_name, None);
    assert!(journal[0].received.starts_with(&stream.sent), "nothing was spliced over what was not copied");
    assert!(ledger.of(Outcome::Peeked).bytes > 0 && ledger.of(Outcome::Peeked).bytes <= 4096);
    // Once the verdict is there, whole calls are copied.
    assert!(ledger.of(Outcome::Copied).calls > 0, "{ledger:#?}");
}

#[test]
fn a_connection_without_a_name_to_another_host_is_peeked_at_and_no_more() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-no-sni-other");
    let other =
        ["--no-sni", "--address", "127.0.0.1", "--host", "www.example.test", "--requests", "5", "--size", "9000"];
    let (_, seen, ledger) = tapped(&bench, Settings::default(), || run_client(&bench, "raw_client.py", &other));
    assert!(seen.iter().all(|seen| seen.sent.is_empty() && seen.received.is_empty()), "nothing became input");
    assert_eq!(ledger.of(Outcome::Copied), Tally::default());
    assert!(ledger.of(Outcome::Peeked).bytes <= 4096, "{ledger:#?}");
}

/// A reader that stands still, with a ring that is far too small: each call is either copied or lost, none is forgotten.
#[test]
fn with_a_stopped_reader_the_ledger_sums_to_the_calls_made() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-stopped");
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let reader_gate = Arc::clone(&gate);
    let streams = Streams::default();
    let into = Arc::clone(&streams);
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
    let deliver = move |input: Input| {
        let (open, opened) = &*reader_gate;
        drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        collect(&into, &input);
        true
    };
    let settings = Settings { ring_bytes: 256 << 10, ..Settings::default() };
    let tap =
        Tap::start(&Scope::Children, std::slice::from_ref(&bench.tls.libssl), settings, &vendors, deliver, |_| {})
            .unwrap();
    let many = ["--requests", "200", "--size", "20000", "--answer-size", "3000"];
    let facts: Value = run_client(&bench, "raw_client.py", &many);
    let stopped = tap.ledger().unwrap();
    {
        let (open, opened) = &*gate;
        *open.lock().unwrap() = true;
        opened.notify_all();
    }
    let ledger = tap.stop().unwrap();

    let journal = bench.connections().unwrap();
    let (sent, received): (u64, u64) =
        journal.iter().fold((0, 0), |sum, c| (sum.0 + c.received.len() as u64, sum.1 + c.sent.len() as u64));
    assert_eq!(facts["sent_bytes"].as_u64(), Some(sent), "the client's count is the server's");
    // The local server is in scope too; where its TLS is one that is tapped, its calls are left alone: it names no vendor.
    let left_alone = ledger.of(Outcome::Undecided);
    assert_eq!(ledger.seen().bytes - left_alone.bytes, sent + received, "{ledger:#?}");
    let reads = ledger.seen().calls - left_alone.calls - facts["sends"].as_u64().unwrap();
    assert!(reads >= facts["requests"].as_u64().unwrap(), "{ledger:#?}");
    let (full, copied) = (stopped.of(Outcome::RingFull), stopped.of(Outcome::Copied));
    assert!(full.calls > 0 && full.bytes > 1_000_000, "the reader stood still: {stopped:#?}");
    assert!(copied.bytes < 256 << 10);
    // What arrived is a part of what was sent, at the right place, and the end says how much there was in all.
    let streams = streams.lock().unwrap();
    let stream = streams.values().find(|seen| !seen.sent.is_empty()).unwrap();
    assert!(journal[0].received.starts_with(&stream.sent));
    let arrived: u64 = streams.values().map(|seen| (seen.sent.len() + seen.received.len()) as u64).sum();
    assert!(arrived <= ledger.of(Outcome::Copied).bytes);
}
