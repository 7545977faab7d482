//! Calls reach a real broker whoever is stopped: the broker away, the agent killed while it sends. Each line of the log tells of one call, so what
//! must be in both topics is known to the call.

use std::{collections::BTreeMap, fs, io::Write as _};

use outflow::{findings::Call, sinks::usage::UsageRecord, store::StoreReader};
use serde_json::Value;
use testbed::{Broker, Message};

use super::place::Place;

/// Seconds until what was taken must be in a topic.
const LIMIT_S: u64 = 180;

/// Input tokens of a call; no two have the same.
fn tokens(number: u64) -> u64 {
    1000 + number
}

/// A line of a service's log that tells of a call.
fn line(number: u64) -> String {
    let tokens = tokens(number);
    format!(
        "{{\"gen_ai.provider.name\":\"openai\",\"gen_ai.request.model\":\"gpt-4o-2024-08-06\",\
         \"gen_ai.response.model\":\"gpt-4o-2024-08-06\",\"gen_ai.response.id\":\"chatcmpl-{number}\",\
         \"gen_ai.usage.input_tokens\":{tokens},\"gen_ai.usage.output_tokens\":1}}\n"
    )
}

struct Stage {
    place: Place,
    log: fs::File,
    written: u64,
}

impl Stage {
    fn set(broker: &Broker) -> Self {
        let place = Place::new();
        let brokers: Vec<_> = broker.address().split(',').collect();
        let (found, calls, usage) = (broker.topic("found"), broker.topic("calls"), broker.topic("usage"));
        let config = fs::read_to_string(place.config()).unwrap();
        let sink = format!(
            "[[sinks.kafka]]\nname = \"siem\"\nbrokers = {brokers:?}\ntopic = {found:?}\ncalls_topic = {calls:?}\n\
             usage_topic = {usage:?}\nsettings = {{ \"message.timeout.ms\" = 2000 }}\n"
        );
        fs::write(place.config(), config + &sink).unwrap();
        let log = fs::File::create(place.logs().join("app.log")).unwrap();
        Self { place, log, written: 0 }
    }

    fn write(&mut self, calls: u64) {
        let from = self.written;
        self.written += calls;
        let lines: String = (from..self.written).map(line).collect();
        self.log.write_all(lines.as_bytes()).unwrap();
    }

    fn reader(&self) -> Option<StoreReader> {
        StoreReader::open(&self.place.store()).ok()
    }

    /// The newest call of the store.
    fn stored(&self) -> u64 {
        self.reader().map_or(0, |reader| reader.newest_call().unwrap())
    }

    fn delivered(&self) -> bool {
        let cursors = self.reader().map(|reader| reader.call_cursors().unwrap()).unwrap_or_default();
        cursors.len() == 2 && cursors.iter().all(|(_, seq)| *seq == self.written)
    }
}

/// Each id once, and repeats the same bytes.
fn distinct(messages: &[Message]) -> BTreeMap<String, &Message> {
    let mut known = BTreeMap::new();
    for message in messages {
        let id = message.header("ce_id").unwrap();
        let first: &Message = known.entry(id).or_insert(message);
        assert_eq!((&first.key, &first.headers, &first.payload), (&message.key, &message.headers, &message.payload));
        assert_eq!(first.timestamp_ms, message.timestamp_ms);
    }
    known
}

#[test]
fn every_call_is_in_both_topics_whoever_was_stopped() {
    if let Some(missing) = testbed::missing_for_broker() {
        assert!(std::env::var_os("OUTFLOW_REQUIRE_BPF").is_none(), "{missing}");
        println!("skipped: {missing}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(folder.path()).unwrap();
    let mut stage = Stage::set(&broker);

    stage.write(200);
    let mut agent = stage.place.start();
    agent.until("some delivered", |_| {
        stage.reader().is_some_and(|reader| reader.call_cursors().unwrap().iter().any(|(_, seq)| *seq > 0))
    });
    agent.kill();
    stage.write(100);
    let mut agent = stage.place.start();
    agent.until("all stored and delivered", |_| stage.delivered());
    if broker.is_ours() {
        // Calls wait in the store while it is away, and an agent that is killed meanwhile has them still.
        broker.terminate().unwrap();
        stage.write(100);
        agent.until("all stored", |_| stage.stored() == stage.written);
        assert!(!stage.delivered());
        let waiting = stage.reader().unwrap().calls_after(0, 1000).unwrap();
        assert!(waiting.iter().all(|row| serde_json::from_str::<Call>(&row.payload).is_ok()) && waiting.len() >= 100);
        agent.kill();
        broker.start_again().unwrap();
        agent = stage.place.start();
        agent.until("all delivered", |_| stage.delivered());
    }
    stage.write(1);
    agent.until("the last one delivered", |_| stage.delivered());
    agent.terminate();
    assert_eq!(stage.reader().unwrap().calls_after(0, 10).unwrap(), [], "what both have is forgotten");

    let all = |messages: &[Message]| distinct(messages).len() as u64 >= stage.written;
    let calls = broker.consume_until(&broker.topic("calls"), LIMIT_S, all).unwrap();
    let usage = broker.consume_until(&broker.topic("usage"), LIMIT_S, all).unwrap();
    let (calls, usage) = (distinct(&calls), distinct(&usage));
    let ids = |messages: &BTreeMap<String, &Message>| messages.keys().cloned().collect::<Vec<_>>();
    assert_eq!((calls.len() as u64, ids(&calls)), (stage.written, ids(&usage)));
    let mut expected: Vec<u64> = (0..stage.written).map(tokens).collect();
    let mut found: Vec<u64> = usage
        .values()
        .map(|message| {
            let record: UsageRecord = serde_json::from_str(&message.payload_text()).unwrap();
            assert_eq!((record.service.as_str(), message.key_text().as_str()), ("shop", "shop"));
            assert!(record.cost_nano_usd.is_some_and(|cost| cost.0 > 0));
            record.input_tokens.unwrap()
        })
        .collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected, "each call counts once, and none is missing");
    for message in calls.values() {
        let event: Value = serde_json::from_str(&message.payload_text()).unwrap();
        assert_eq!(
            (&event["class_uid"], &event["metadata"]["uid"]),
            (&6003.into(), &message.header("ce_id").unwrap().into())
        );
    }
}
