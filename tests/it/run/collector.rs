//! Findings reach a collector: all of them, those that it refuses as dead letters, whatever happens to it and to the agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use outflow::store::StoreReader;
use testbed::fake_collector::{Behaviour, FakeCollector, Taken, Wire};

use super::{agent::Agent, dice::Dice, log::Log, place::Place};

/// More than any test writes.
const ALL: u64 = 1_000_000;

/// Both transports, as the config and the collector call them.
const BOTH: [(&str, Wire); 2] = [("grpc", Wire::Grpc), ("http", Wire::Http)];

fn place(protocol: &str, address: SocketAddr) -> Place {
    place_for(protocol, &format!("http://{address}"))
}

/// A place whose agent sends to this endpoint.
pub(super) fn place_for(protocol: &str, endpoint: &str) -> Place {
    let place = Place::new();
    place.configure(&format!(
        "[[sinks.otlp]]\nname = \"fleet\"\nendpoint = \"{endpoint}\"\nprotocol = \"{protocol}\"\n\
         headers = {{ \"x-scope-orgid\" = \"t1\" }}\nmetrics_interval = \"1s\"\n"
    ));
    place
}

/// Ids of all records that the store has for sinks.
pub(super) fn outbox(place: &Place) -> BTreeSet<String> {
    let Ok(reader) = StoreReader::open(&place.store()) else { return BTreeSet::new() };
    let rows = reader.outbox_after(0, ALL).unwrap();
    rows.into_iter().map(|row| format!("{}-{}", row.finding_id, row.revision)).collect()
}

/// Ids of the dead letters, each with its reason.
pub(super) fn dead_letters(place: &Place) -> BTreeMap<String, String> {
    let Ok(reader) = StoreReader::open(&place.store()) else { return BTreeMap::new() };
    let letters = reader.dead_letters(ALL).unwrap();
    letters.into_iter().map(|(sink, letter)| (letter.record_id, format!("{sink}: {}", letter.reason))).collect()
}

/// Ids of what was taken; a record that was taken twice must be the same bytes.
fn ids(taken: &[Taken]) -> BTreeSet<String> {
    let mut found = BTreeMap::new();
    for taken in taken {
        let bytes = found.entry(taken.record_id.clone()).or_insert(&taken.bytes);
        assert_eq!(*bytes, &taken.bytes, "{} changed", taken.record_id);
    }
    found.into_keys().collect()
}

/// Waits until the agent has stored all lines and the rest is true.
fn until_stored(agent: &mut Agent, place: &Place, log: &Log, what: &str, mut is_so: impl FnMut() -> bool) {
    let lines = log.written.len() as u64;
    agent.until(what, |_| place.stored() >= lines && is_so());
}

#[test]
fn what_a_collector_refuses_becomes_a_dead_letter_and_the_rest_arrives() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let is_bad = |id: &str, digits: &[u8]| id.bytes().next().is_some_and(|digit| digits.contains(&digit));
        collector.rules(|rules| {
            rules.reject = Box::new(move |id| is_bad(id, b"3"));
            rules.invalid = Box::new(move |id| is_bad(id, b"7"));
            rules.message = "no such tenant as in 't1'".into();
        });
        let place = place(protocol, collector.address());
        let mut log = Log::new(&place.logs());
        let mut agent = place.start().ready();
        log.lines(300);
        until_stored(&mut agent, &place, &log, "all delivered", || {
            let told = ids(&collector.taken()).len() + dead_letters(&place).len();
            told >= 300 && told == outbox(&place).len()
        });
        let said = agent.terminate();
        let (all, dead) = (outbox(&place), dead_letters(&place));
        let expected: BTreeMap<String, String> = all
            .iter()
            .filter_map(|id| match id.as_bytes()[0] {
                b'3' => Some((id.clone(), "fleet: rejected".to_owned())),
                b'7' => Some((id.clone(), "fleet: invalid".to_owned())),
                _ => None,
            })
            .collect();
        assert!(!expected.is_empty());
        assert_eq!(dead, expected, "{protocol}: it said {said:#?}");
        let taken: BTreeSet<String> = all.into_iter().filter(|id| !dead.contains_key(id)).collect();
        assert_eq!(ids(&collector.taken()), taken, "{protocol}");
        assert!(collector.asked().iter().all(|asked| asked.header("x-scope-orgid") == Some("t1")));
        assert!(!collector.metrics().is_empty(), "the last export comes with the end");
    }
}

#[test]
fn the_environment_names_the_collector_and_the_config_wins() {
    let collector = FakeCollector::start(Wire::Http).unwrap();
    let endpoint = collector.endpoint();
    let own = format!("{endpoint}/in/metrics");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", own.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-scope-orgid=t%202"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
    ];
    let place = Place::new();
    place.configure("[[sinks.otlp]]\nname = \"fleet\"\ncompression = \"none\"\nmetrics_interval = \"1s\"\n");
    let mut log = Log::new(&place.logs());
    let mut agent = Agent::command("run", &place.config(), &variables).ready();
    log.lines(20);
    until_stored(&mut agent, &place, &log, "all delivered", || ids(&collector.taken()).len() >= 20);
    agent.terminate();
    let asked = collector.asked();
    assert!(asked.iter().all(|asked| asked.header("x-scope-orgid") == Some("t 2") && asked.encoding.is_none()));
    assert!(!collector.metrics().is_empty(), "metrics have an address of their own");

    // What is wrong in it will not mend itself: the agent does not start, and says which variable.
    let wrong = [variables[0], ("OTEL_EXPORTER_OTLP_HEADERS", "FAKEfakeFAKEtoken")];
    let mut agent = Agent::command("run", &place.config(), &wrong);
    let said = agent.says("outflow: sink fleet: ");
    assert!(said.starts_with("the environment's OTEL_EXPORTER_OTLP_HEADERS is wrong in entry 1"), "{said}");
    assert!(!agent.heard().iter().any(|line| line.contains("FAKE")));
}

#[test]
fn headers_of_the_environment_do_not_go_past_the_config() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let place = Place::new();
        let endpoint = collector.endpoint();
        place.configure(&format!(
            "[[sinks.otlp]]\nendpoint = \"{endpoint}\"\nprotocol = \"{protocol}\"\nheaders = {{ x-own = \"1\" }}\nmetrics_interval = \"1s\"\n"
        ));
        let agent = Agent::command("run", &place.config(), &[("OTEL_EXPORTER_OTLP_HEADERS", "x-theirs=2")]).ready();
        assert!(collector.wait(0, 2, super::LIMIT), "{protocol}: no metrics");
        agent.terminate();
        let headers = collector.metric_headers();
        assert!(headers.contains("x-own") && !headers.contains("x-theirs"), "{protocol}: {headers:?}");
    }
}

#[test]
fn a_collector_that_comes_late_and_stumbles_gets_everything() {
    for (protocol, wire) in BOTH {
        // Bound and let go: nobody listens there until later.
        let address = FakeCollector::start(wire).unwrap().address();
        let place = place(protocol, address);
        let mut log = Log::new(&place.logs());
        let mut agent = place.start().ready();
        log.lines(200);
        until_stored(&mut agent, &place, &log, "all stored", || true);
        let endpoint = format!("cannot reach http://{address}");
        agent.until("words about it", |agent| agent.heard().iter().any(|line| line.contains(&endpoint)));

        let collector = FakeCollector::start_at(address, wire, None).unwrap();
        let http = |status| Behaviour::Http { status, headers: Vec::new(), body: Vec::new() };
        let throttled = Behaviour::Http { status: 429, headers: vec![("retry-after", "0".into())], body: Vec::new() };
        for behaviour in [http(503), throttled, Behaviour::Close, http(502)] {
            collector.then(behaviour);
        }
        log.lines(100);
        until_stored(&mut agent, &place, &log, "all delivered", || ids(&collector.taken()).len() >= 300);
        agent.terminate();
        assert_eq!(ids(&collector.taken()), outbox(&place), "{protocol}");
        assert!(dead_letters(&place).is_empty());
    }
}

/// The cursor is behind what was taken when the agent is killed; what is sent again is the same.
#[test]
fn an_agent_that_is_killed_while_it_sends_loses_nothing() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let place = place(protocol, collector.address());
        let (mut log, mut dice) = (Log::new(&place.logs()), Dice::new());
        let mut sent_twice = 0;
        for _ in 0..12 {
            let before = collector.taken().len();
            let more = usize::try_from(dice.throw(1..120)).unwrap();
            log.lines(150);
            let mut agent = place.start();
            agent.until("some sent", |_| collector.taken().len() >= before + more);
            agent.kill();
            sent_twice = collector.taken().len() - ids(&collector.taken()).len();
        }
        let mut agent = place.start().ready();
        until_stored(&mut agent, &place, &log, "all delivered", || ids(&collector.taken()).len() >= log.written.len());
        agent.terminate();
        println!("{protocol}: {} lines, {sent_twice} records were sent twice", log.written.len());
        assert_eq!(ids(&collector.taken()), outbox(&place), "{protocol}");
        assert!(dead_letters(&place).is_empty());
    }
}
