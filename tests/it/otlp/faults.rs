//! A collector that is not there, does not answer, answers in another tongue, or does all that in turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    sync::Arc,
    time::Duration,
};

use outflow::{
    clock,
    sinks::{
        Answer, Record,
        otlp::{OtlpSettings, Protocol},
    },
};
use testbed::fake_collector::{Behaviour, FakeCollector, Wire};

use super::client::{BOTH, Client, LIMIT, batch, ids, settings};

#[test]
fn nobody_there_is_said_in_words() {
    // Bound and let go: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (protocol, _) in BOTH {
        let endpoint = format!("http://127.0.0.1:{port}");
        let mut client = Client::new(settings(endpoint.clone(), protocol));
        let expected = Answer::Broken { reason: format!("cannot reach {endpoint}: Connection refused") };
        assert_eq!(client.send(&batch([1])), expected);
    }
}

#[test]
fn no_answer_ends_with_the_time() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let short = OtlpSettings { timeout: Duration::from_millis(300), ..settings(collector.endpoint(), protocol) };
        let mut client = Client::new(short);
        collector.then(Behaviour::Silent);
        let reason = format!("no answer from {} within 300ms", collector.endpoint());
        assert_eq!(client.send(&batch([1])), Answer::Broken { reason });
        // One who accepts and says nothing at all, not even TLS or HTTP/2.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let mut client =
            Client::new(OtlpSettings { timeout: Duration::from_millis(300), ..settings(endpoint, protocol) });
        let answer = client.send(&batch([1]));
        assert!(matches!(&answer, Answer::Broken { reason } if reason.contains("within 300ms")), "{answer:?}");
    }
}

#[test]
fn whoever_hangs_up_is_asked_again() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let mut client = Client::to(&collector, protocol);
        collector.then(Behaviour::Close);
        let answer = client.send(&batch([1]));
        assert!(matches!(answer, Answer::NotNow { .. } | Answer::Broken { .. }), "{answer:?}");
        assert_eq!(client.send(&batch([1])), Answer::Taken(Vec::new()));
    }
}

#[test]
fn another_tongue_is_no_answer() {
    let page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello".as_slice();
    let long = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'x'; 1_000_000]].concat();
    for raw in [page, b"220 mail.example.com ESMTP\r\n", b"\0\x01\x02\xff", b"", &long] {
        for (protocol, _) in BOTH {
            let collector = FakeCollector::start(Wire::Raw).unwrap();
            collector.rules(|rules| rules.raw = raw.to_vec());
            let answer = Client::to(&collector, protocol).send(&batch([1]));
            let reason = match &answer {
                Answer::NotNow { reason, .. } | Answer::Broken { reason } => reason,
                Answer::Taken(_) => panic!("{protocol:?} took {:?} for yes", String::from_utf8_lossy(raw)),
            };
            assert!(reason.contains(&collector.endpoint()), "{reason}");
        }
    }
}

/// The other transport's collector is no collector.
#[test]
fn the_wrong_protocol_is_said() {
    let http = FakeCollector::start(Wire::Http).unwrap();
    let answer = Client::to(&http, Protocol::Grpc).send(&batch([1]));
    let (Answer::NotNow { reason, .. } | Answer::Broken { reason }) = &answer else { panic!("{answer:?}") };
    assert!(reason.contains("check `endpoint`") && reason.contains("`protocol`"), "{reason}");
    let grpc = FakeCollector::start(Wire::Grpc).unwrap();
    let answer = Client::to(&grpc, Protocol::Http).send(&batch([1]));
    let (Answer::NotNow { reason, .. } | Answer::Broken { reason }) = &answer else { panic!("{answer:?}") };
    assert!(reason.contains("check `endpoint`") && reason.contains("`protocol`"), "{reason}");
}

/// As the agent's own pump: a batch is handed over until it is taken. Leaves the refused.
pub(super) fn pump(client: &mut Client, batches: &[Arc<[Record]>]) -> Vec<String> {
    let (mut refused, begin) = (Vec::new(), clock::instant());
    for batch in batches {
        loop {
            assert!(begin.elapsed() < LIMIT, "still not taken");
            match client.send(batch) {
                Answer::Taken(bad) => break refused.extend(bad.into_iter().map(|refused| refused.record_id)),
                Answer::NotNow { .. } => {}
                Answer::Broken { .. } => {
                    client.connect();
                    // Nobody signals that a port is listened on again.
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
    refused
}

#[test]
fn nothing_is_lost_while_the_collector_is_away() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let address = collector.address();
        let batches: Vec<_> = (0..40_u64).map(|number| batch(number * 25 + 1..=number * 25 + 25)).collect();
        let mut client = Client::to(&collector, protocol);
        let sending = std::thread::spawn(move || (pump(&mut client, &batches), batches));
        assert!(collector.wait(250, 0, LIMIT));
        // All that it took: it may take one more while we look.
        let before = collector.end();
        let collector = FakeCollector::start_at(address, wire, None).unwrap();
        let (refused, batches) = sending.join().unwrap();
        assert!(refused.is_empty());
        check_sets(before.into_iter().chain(collector.taken()), &batches, &BTreeSet::new());
    }
}

/// Each record was taken at least once, and always as the same bytes; the bad ones never.
fn check_sets(
    taken: impl IntoIterator<Item = testbed::fake_collector::Taken>,
    batches: &[Arc<[Record]>],
    bad: &BTreeSet<String>,
) {
    let mut found = BTreeMap::new();
    for taken in taken {
        let bytes = found.entry(taken.record_id.clone()).or_insert_with(|| taken.bytes.clone());
        assert_eq!(*bytes, taken.bytes, "{} changed", taken.record_id);
    }
    let all: BTreeSet<String> = batches.iter().flat_map(|batch| ids(batch)).filter(|id| !bad.contains(id)).collect();
    assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), all);
}

/// Faults in any order, and two kinds of records that are refused: what is taken and what is refused are all, and nothing is both.
#[test]
fn faults_in_any_order_lose_nothing() {
    for (protocol, wire) in BOTH {
        for seed in 1..=8_u64 {
            let collector = FakeCollector::start(wire).unwrap();
            let batches: Vec<_> = (0..10_u64).map(|number| batch(number * 20 + 1..=number * 20 + 20)).collect();
            let bad: BTreeSet<String> = ids(&batch([seed, 20 + seed * 2, 100 + seed, 199])).into_iter().collect();
            let (rejected, invalid) = (bad.clone(), bad.clone());
            let is_odd = |id: &str| id.bytes().rev().nth(2).is_some_and(|digit| digit % 2 == 1);
            collector.rules(|rules| {
                rules.reject = Box::new(move |id| rejected.contains(id) && is_odd(id));
                rules.invalid = Box::new(move |id| invalid.contains(id) && !is_odd(id));
            });
            let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for _ in 0..60 {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                collector.then(match dice % 8 {
                    0 => Behaviour::Close,
                    1 => Behaviour::Http { status: 503, headers: Vec::new(), body: Vec::new() },
                    2 => Behaviour::Http { status: 429, headers: vec![("retry-after", "0".into())], body: Vec::new() },
                    3 if wire == Wire::Grpc => Behaviour::Status { code: 14, message: "", details: Vec::new() },
                    _ => Behaviour::Rules,
                });
            }
            let refused = pump(&mut Client::to(&collector, protocol), &batches);
            assert_eq!(refused.len(), bad.len(), "seed {seed}: none is refused twice");
            assert_eq!(refused.into_iter().collect::<BTreeSet<_>>(), bad, "seed {seed}");
            check_sets(collector.taken(), &batches, &bad);
        }
    }
}
