//! What each answer of a collector leads to.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use outflow::{
    findings::Activity,
    sinks::{
        Answer, Record,
        otlp::{Compression, OtlpSettings, Protocol, log_record},
    },
};
use prost::Message as _;
use testbed::fake_collector::{Behaviour, FakeCollector, Signals, Wire};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::client::{BOTH, Client, batch, ids, settings, sized};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

/// What is taken is what was sent, byte for byte, however often.
fn assert_bytes(collector: &FakeCollector, records: &[Record]) {
    for taken in collector.taken() {
        let sent = records.iter().find(|record| record.record_id == taken.record_id).unwrap();
        assert_eq!(taken.bytes, log_record(sent, false).encode_to_vec(), "{}", taken.record_id);
    }
}

fn taken_ids(collector: &FakeCollector) -> BTreeSet<String> {
    collector.taken().into_iter().map(|taken| taken.record_id).collect()
}

fn http(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Behaviour {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Behaviour::Http { status, headers, body: body.to_vec() }
}

fn status(code: i32, message: &'static str) -> Behaviour {
    Behaviour::Status { code, message, details: Vec::new() }
}

#[test]
fn a_batch_is_taken_once() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let mut client = Client::to(&collector, protocol);
        let sent = batch(1..=500);
        assert_eq!(client.send(&sent), Answer::Taken(Vec::new()));
        collector.then(Behaviour::Warn("the clock of this host is late"));
        let more = batch(501..=502);
        assert_eq!(client.send(&more), Answer::Taken(Vec::new()), "a warning refuses nothing");
        let all: Vec<Record> = sent.iter().chain(more.iter()).cloned().collect();
        assert_eq!(collector.taken().len(), 502);
        assert_eq!(taken_ids(&collector), ids(&all).into_iter().collect());
        assert_bytes(&collector, &all);
        let Signals::Logs(request) = &collector.asked()[0].request else { panic!("spans") };
        assert_eq!(request.resource_logs.len(), 3, "a service each");
    }
}

#[test]
fn two_batches_are_under_way_at_once() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let mut client = Client::to(&collector, protocol);
        let answers = client.send_both([&batch(1..=50), &batch(51..=100)]);
        assert_eq!(answers, [Answer::Taken(Vec::new()), Answer::Taken(Vec::new())]);
        assert_eq!(taken_ids(&collector).len(), 100);
    }
}

/// The revision after `record`.
fn next(record: &Record) -> Record {
    let mut next = record.clone();
    next.finding.revise(2, Activity::Update);
    (next.seq, next.record_id, next.activity) = (record.seq + 1000, next.finding.record_id.clone(), Activity::Update);
    next
}

#[test]
fn a_later_record_of_a_finding_never_comes_before_an_earlier_one() {
    for (protocol, wire) in BOTH {
        // The first batch is sent again in halves, which takes its time; the second one would be there before.
        let collector = FakeCollector::start(wire).unwrap();
        collector.rules(|rules| rules.reject = Box::new(|id| id.ends_with("3-1")));
        let mut client = Client::to(&collector, protocol);
        let first = batch(1..=50);
        let others: Arc<[Record]> = batch(101..=102).iter().cloned().chain([next(&first[40])]).collect();
        let [one, two] = client.send_both([&first, &others]);
        assert!(matches!(one, Answer::Taken(refused) if refused.len() == 3), "{protocol:?}");
        assert_eq!(two, Answer::Taken(Vec::new()));
        let last = collector.taken().iter().rposition(|taken| taken.record_id == first[40].record_id).unwrap();
        let later = collector.taken().iter().position(|taken| taken.record_id == others[2].record_id).unwrap();
        assert!(last < later, "{protocol:?}");

        // And not at all when the earlier one was not taken.
        let collector = FakeCollector::start(wire).unwrap();
        collector.then(http(503, &[], b""));
        let mut client = Client::to(&collector, protocol);
        let [one, two] = client.send_both([&first, &others]);
        assert!(matches!((&one, &two), (Answer::NotNow { .. }, Answer::NotNow { .. })), "{one:?} {two:?}");
        assert!(collector.taken().is_empty());
        assert_eq!(client.send(&others), Answer::Taken(Vec::new()), "what is over holds nobody up");
    }
}

/// Sends, and expects exactly these refused.
fn check_refused(client: &mut Client, sent: &Arc<[Record]>, bad: &[u64], reason: &str, detail: &str) {
    let Answer::Taken(refused) = client.send(sent) else { panic!("{reason}") };
    assert_eq!(refused.iter().map(|refused| refused.seq).collect::<Vec<_>>(), bad, "{reason}");
    for refused in refused {
        assert_eq!((refused.reason, refused.detail.contains(detail)), (reason, true), "{refused:?}");
        assert_eq!(refused.record_id, sent[usize::try_from(refused.seq).unwrap() - 1].record_id);
    }
}

#[test]
fn what_a_collector_rejects_is_found_in_the_batch() {
    for (protocol, wire) in BOTH {
        for bad in [vec![1], vec![64], vec![3, 4, 17], (1..=64).collect()] {
            let collector = FakeCollector::start(wire).unwrap();
            let mut client = Client::to(&collector, protocol);
            let sent = batch(1..=64);
            let rejected: BTreeSet<String> = ids(&batch(bad.clone())).into_iter().collect();
            let rule = rejected.clone();
            collector.rules(|rules| rules.reject = Box::new(move |id| rule.contains(id)));
            check_refused(&mut client, &sent, &bad, "rejected", "not this one");
            let others: BTreeSet<String> = ids(&sent).into_iter().filter(|id| !rejected.contains(id)).collect();
            assert_eq!(taken_ids(&collector), others);
            assert_bytes(&collector, &sent);
            if bad.len() == 64 {
                assert_eq!(collector.asked().len(), 1, "all is said at once");
            }
        }
    }
}

#[test]
fn a_record_that_spoils_a_batch_is_found() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let mut client = Client::to(&collector, protocol);
        let sent = batch(1..=100);
        let bad: BTreeSet<String> = ids(&batch([5, 77])).into_iter().collect();
        collector.rules(|rules| rules.invalid = Box::new(move |id| bad.contains(id)));
        check_refused(&mut client, &sent, &[5, 77], "invalid", "not this one");
        assert_eq!(collector.taken().len(), 98, "a batch with a bad one was taken not at all, so nothing twice");
        assert!(collector.asked().len() < 30, "{} requests", collector.asked().len());
    }
}

#[test]
fn what_is_too_large_is_sent_in_pieces() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let mut client = Client::to(&collector, protocol);
        collector.rules(|rules| rules.bytes_max = 20_000);
        let sent: Arc<[Record]> =
            (1..=64).map(|seq| sized(seq, &"x".repeat(if seq == 40 { 30_000 } else { 10 }))).collect();
        check_refused(&mut client, &sent, &[40], "too_large", "larger than max");
        assert_eq!(taken_ids(&collector).len(), 63);

        // Beyond what one request holds nobody is asked.
        let collector = FakeCollector::start(wire).unwrap();
        let mut client = Client::to(&collector, protocol);
        let sent: Arc<[Record]> =
            (1..=6).map(|seq| sized(seq, &"x".repeat(if seq == 2 { 4_000_000 } else { 1_500_000 }))).collect();
        check_refused(&mut client, &sent, &[2], "too_large", "a request holds 3500000 at most");
        assert_eq!((taken_ids(&collector).len(), collector.taken().len()), (5, 5));
    }
}

/// One who must wait: nothing is lost, nothing refused, and the reason says what to do.
fn check_waits(protocol: Protocol, wire: Wire, behaviour: &Behaviour, says: &str, after: Option<Duration>) {
    let collector = FakeCollector::start(wire).unwrap();
    let mut client = Client::to(&collector, protocol);
    let sent = batch(1..=10);
    collector.then(behaviour.clone());
    match client.send(&sent) {
        Answer::NotNow { reason, after: asked } => {
            assert!(reason.contains(says) && reason.contains(&collector.endpoint()), "{behaviour:?}: {reason}");
            assert_eq!(asked, after, "{behaviour:?}");
        }
        // Who does not let us in is asked again with what the config says by then.
        Answer::Broken { reason } => {
            assert!(reason.contains(says) && reason.contains(&collector.endpoint()), "{behaviour:?}: {reason}");
            assert_eq!(after, None, "{behaviour:?}");
            client.connect();
        }
        Answer::Taken(_) => panic!("{behaviour:?}"),
    }
    assert!(collector.taken().is_empty());
    assert_eq!(client.send(&sent), Answer::Taken(Vec::new()), "{behaviour:?}");
    assert_eq!(collector.taken().len(), 10);
}

#[test]
fn a_grpc_collector_can_make_us_wait() {
    let details = tonic::Status::with_error_details(
        tonic::Code::ResourceExhausted,
        "slow down",
        ErrorDetails::with_retry_info(Some(Duration::from_secs(7))),
    );
    let throttled = Behaviour::Status { code: 8, message: "slow down", details: details.details().to_vec() };
    for (behaviour, says, after_s) in [
        (throttled, "has no room: slow down", Some(7)),
        (status(14, "starting"), "is unavailable: starting", None),
        (status(10, ""), "answers Aborted", None),
        (status(16, "no token"), "check `headers`", None),
        (status(7, "not yours"), "what the token in `headers` may do", None),
        (status(12, "unknown service"), "its logs pipeline is on", None),
        (status(13, "oh"), "answers Internal: oh", None),
        (http(503, &[], b""), "is unavailable", None),
        (http(404, &[], b""), "its logs pipeline is on", None),
        (http(404, &[("content-type", "text/html")], b"<html>"), "check `endpoint` and `protocol`", None),
        (http(200, &[("content-type", "text/html")], b"<html>hello</html>"), "check `endpoint` and `protocol`", None),
    ] {
        check_waits(Protocol::Grpc, Wire::Grpc, &behaviour, says, after_s.map(Duration::from_secs));
    }
}

#[test]
fn an_http_collector_can_make_us_wait() {
    let long = vec![0; 1_000_000];
    for (behaviour, says, after_s) in [
        (http(429, &[("retry-after", "3")], b""), "has no room (429)", Some(3)),
        (http(429, &[("retry-after", "Wed, 01 Jan 2020 00:00:00 GMT")], b""), "has no room (429)", Some(0)),
        (http(503, &[], b""), "is unavailable (503)", None),
        (http(502, &[("content-type", "text/html")], b"<html>"), "is unavailable (502)", None),
        (http(401, &[], b""), "check `headers`", None),
        (http(403, &[], b""), "what the token in `headers` may do", None),
        (http(404, &[], b""), "its logs pipeline is on", None),
        (http(500, &[("content-type", "text/plain")], b"oh"), "answers 500: oh", None),
        (http(200, &[("content-type", "text/html")], b"<html>"), "not answer as an OTLP/HTTP receiver", None),
        (http(200, &[PROTOBUF], b"\xff\xff\xff\xff"), "not answer as an OTLP/HTTP receiver", None),
        (http(200, &[PROTOBUF], &long), "more than an answer holds", None),
        (http(415, &[], b""), "takes no protobuf (415)", None),
    ] {
        check_waits(Protocol::Http, Wire::Http, &behaviour, says, after_s.map(Duration::from_secs));
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let (collector, other) = (FakeCollector::start(Wire::Http).unwrap(), FakeCollector::start(Wire::Http).unwrap());
    for code in [301, 307, 308] {
        let location = format!("{}/v1/logs", other.endpoint());
        collector.then(http(code, &[("location", &location)], b""));
        let mut client = Client::to(&collector, Protocol::Http);
        let Answer::NotNow { reason, .. } = client.send(&batch([1])) else { panic!("{code}") };
        assert!(reason.contains("a redirect, which is not followed"), "{reason}");
    }
    assert!(other.asked().is_empty());
}

#[test]
fn a_collector_that_takes_nothing_compressed_gets_it_plain() {
    for (protocol, wire) in BOTH {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let collector = FakeCollector::start(wire).unwrap();
            collector.rules(|rules| rules.compressed = false);
            let mut client = Client::new(OtlpSettings { compression, ..settings(collector.endpoint(), protocol) });
            let encodings = || collector.asked().iter().map(|asked| asked.encoding.is_some()).collect::<Vec<_>>();
            assert_eq!(client.send(&batch(1..=10)), Answer::Taken(Vec::new()));
            assert_eq!(client.send(&batch(11..=20)), Answer::Taken(Vec::new()));
            assert_eq!(encodings(), [true, false, false], "once it is tried, then never again");
            client.connect();
            assert_eq!(client.send(&batch(21..=30)), Answer::Taken(Vec::new()));
            assert_eq!(encodings(), [true, false, false, true, false]);
            assert_eq!((collector.taken().len(), taken_ids(&collector).len()), (30, 30));
        }
    }
}

/// rotel 0.0.1a15 answers 400 to zstd over HTTP.
#[test]
fn a_collector_that_cannot_say_that_it_cannot_unpack_gets_it_plain() {
    for (protocol, wire) in BOTH {
        for unpacked in [(3, 400), (13, 500)] {
            let collector = FakeCollector::start(wire).unwrap();
            let bad: BTreeSet<String> = ids(&batch([5])).into_iter().collect();
            collector.rules(|rules| {
                (rules.compressed, rules.unpacked) = (false, unpacked);
                rules.invalid = Box::new(move |id| bad.contains(id));
            });
            let gzip = OtlpSettings { compression: Compression::Gzip, ..settings(collector.endpoint(), protocol) };
            let mut client = Client::new(gzip);
            check_refused(&mut client, &batch(1..=10), &[5], "invalid", "not this one");
            assert_eq!(collector.taken().len(), 9);
            assert_eq!(client.send(&batch(11..=20)), Answer::Taken(Vec::new()));
            assert_eq!(collector.asked().last().unwrap().encoding, None);
        }
        // One that can unpack, and finds fault with a record: compression stays.
        let collector = FakeCollector::start(wire).unwrap();
        let bad: BTreeSet<String> = ids(&batch([5])).into_iter().collect();
        collector.rules(|rules| rules.invalid = Box::new(move |id| bad.contains(id)));
        let gzip = OtlpSettings { compression: Compression::Gzip, ..settings(collector.endpoint(), protocol) };
        let mut client = Client::new(gzip);
        assert_eq!(client.send(&batch(11..=20)), Answer::Taken(Vec::new()));
        check_refused(&mut client, &batch(1..=10), &[5], "invalid", "not this one");
        assert!(collector.asked().iter().all(|asked| asked.encoding.is_some()));
    }
}

#[test]
fn who_refuses_everything_and_took_nothing_is_no_collector() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        collector.rules(|rules| rules.invalid = Box::new(|_| true));
        let mut client = Client::to(&collector, protocol);
        let Answer::NotNow { reason, .. } = client.send(&batch(1..=4)) else { panic!("nothing is given up") };
        assert!(reason.contains("refuses every record") && reason.ends_with("not this one"), "{reason}");
        collector.rules(|rules| rules.invalid = Box::new(|_| false));
        assert_eq!(client.send(&batch(1..=4)), Answer::Taken(Vec::new()));
        // Now it is known to be one; still, several at once are not given up, and one alone is.
        collector.rules(|rules| rules.invalid = Box::new(|_| true));
        client.connect();
        let Answer::NotNow { .. } = client.send(&batch(1..=2)) else { panic!("several are not given up") };
        check_refused(&mut client, &batch([1]), &[1], "invalid", "not this one");
    }
}
