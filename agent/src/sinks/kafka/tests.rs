//! The sink against librdkafka's own mock cluster: real requests over loopback, and errors on demand. Real brokers: `tests/e2e/sinks`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use tokio::sync::watch;

use super::*;
use crate::{
    clock,
    config::{self, Config, RecordFormat},
    exchange::{Cost, CostSource, sample},
    findings::{Activity, Call, Category},
    sinks::{
        Host, Record, SinkNotice, Sinks,
        stats::SinkStats,
        tests::{Place, drained},
        usage::UsageRecord,
    },
    store::{Limits, StoreError},
    units::NanoUsd,
};

pub(super) const LIMIT: Duration = Duration::from_mins(1);
const TOPIC: &str = "found";
const CALLS: &str = "calls";
const USAGE: &str = "usage";
const PARTITIONS: i32 = 3;

pub(super) struct Cluster {
    pub(super) mock: MockCluster<'static, DefaultProducerContext>,
}

/// A message as a consumer has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) key: String,
    pub(super) id: String,
    headers: BTreeMap<String, String>,
    payload: String,
    partition: i32,
    time_ms: Option<i64>,
}

impl Cluster {
    pub(super) fn new() -> Self {
        let mock = MockCluster::new(1).unwrap();
        for topic in [TOPIC, CALLS, USAGE] {
            mock.create_topic(topic, PARTITIONS, 1).unwrap();
        }
        Self { mock }
    }

    fn config(&self, more: &str) -> config::Sinks {
        let broker = self.mock.bootstrap_servers();
        let text = format!("[[sinks.kafka]]\nbrokers = [\"{broker}\"]\ntopic = \"{TOPIC}\"\n{more}");
        Config::parse("outflow.toml", &text).unwrap().sinks
    }

    pub(super) fn start(&self, place: &Place, more: &str) -> Sinks {
        Sinks::start(&self.config(more), &place.store, &host(), Arc::new(|_| {})).unwrap()
    }

    /// Everything in the topic of findings; at least `count` messages.
    pub(super) fn consume(&self, count: usize) -> Vec<Got> {
        self.consume_of(TOPIC, count)
    }

    /// Everything in a topic; at least `count` messages.
    pub(super) fn consume_of(&self, topic: &str, count: usize) -> Vec<Got> {
        let mut client = rdkafka::ClientConfig::new();
        client
            .set("bootstrap.servers", self.mock.bootstrap_servers())
            .set("group.id", "test")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = client.create().unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let ends = |partition| consumer.fetch_watermarks(topic, partition, LIMIT).unwrap().1.cast_unsigned();
        let until = clock::instant() + LIMIT;
        let mut got = Vec::new();
        loop {
            assert!(clock::instant() < until, "{} of {count} messages", got.len());
            let Some(polled) = consumer.poll(Duration::from_millis(100)) else {
                // Not with each message: the question waits behind a fetch that waits for news.
                if got.len() >= count && got.len() >= (0..PARTITIONS).map(ends).sum::<u64>() as usize {
                    return got;
                }
                continue;
            };
            let Ok(message) = polled else { continue };
            let headers = message.headers().unwrap().iter();
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
            let headers: BTreeMap<_, _> = headers.map(|header| (header.key.to_owned(), text(header.value))).collect();
            got.push(Got {
                key: text(message.key()),
                id: headers["ce_id"].clone(),
                headers,
                payload: text(message.payload()),
                partition: message.partition(),
                time_ms: message.timestamp().to_millis(),
            });
        }
    }
}

fn host() -> Host {
    Host { name: "node-1".to_owned(), id: None, cloud: None }
}

pub(super) fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("model-{number}"))
}

/// Ids of the outbox and of the topic are the same; repeats are the same bytes.
pub(super) fn check(place: &Place, got: &[Got]) {
    let mut sent: BTreeMap<&str, &Got> = BTreeMap::new();
    for message in got {
        if let Some(before) = sent.insert(&message.id, message) {
            assert_eq!(before, message);
        }
    }
    let mut ids = place.record_ids();
    ids.sort();
    assert_eq!(sent.into_keys().collect::<Vec<_>>(), ids);
}

#[test]
fn records_arrive_with_their_id_and_are_keyed_by_finding() {
    let (cluster, place) = (Cluster::new(), Place::new());
    place.find(keys(250));
    // A second revision of each: counted up, and cut by the end of the run.
    place.find(keys(250));
    place.store.settle().unwrap();
    let sinks = cluster.start(&place, "format = \"native\"\nsettings = { \"compression.type\" = \"lz4\" }\n");
    drained(&place, &sinks);
    assert_eq!(sinks.stats().next().unwrap().1.sent(), 500);
    sinks.finish(LIMIT).unwrap();
    let got = cluster.consume(500);
    check(&place, &got);
    assert_eq!(got.len(), 500);
    let mut revisions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Got { key, id, headers, payload, time_ms, .. } in &got {
        assert_eq!(headers["ce_source"], "//node-1/outflow");
        assert_eq!((headers["ce_specversion"].as_str(), headers["content-type"].as_str()), ("1.0", "application/json"));
        assert_eq!(*time_ms, Some(1_000_000_000_000));
        let finding: crate::findings::Finding = serde_json::from_str(payload).unwrap();
        assert_eq!((&finding.finding_id, &finding.record_id), (key, id));
        revisions.entry(key).or_default().push(id);
    }
    // Of one finding in order, in one partition.
    for (key, ids) in revisions {
        assert_eq!(ids, [format!("{key}-1"), format!("{key}-2")]);
    }
    assert!((0..PARTITIONS).all(|partition| got.iter().any(|message| message.partition == partition)));
}

#[test]
fn ocsf_is_the_format_unless_another_is_asked_for() {
    let (cluster, place) = (Cluster::new(), Place::new());
    assert_eq!(cluster.config("").kafka[0].format, RecordFormat::Ocsf);
    place.find(keys(1));
    let sinks = cluster.start(&place, "");
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    let got = cluster.consume(1);
    assert_eq!(got[0].headers["ce_dataschema"], "https://schema.ocsf.io/1.8.0");
    let event: serde_json::Value = serde_json::from_str(&got[0].payload).unwrap();
    assert_eq!(event["finding_info"]["uid"].as_str(), Some(got[0].key.as_str()));
}

/// Waits until the sink says why it waits.
fn waits(sinks: &Sinks) -> String {
    let (_, stats) = sinks.stats().next().unwrap();
    assert!(stats.until(LIMIT, |stats| stats.waits_because().is_some()), "nobody noticed: {stats:?}");
    stats.waits_because().unwrap_or_default()
}

#[test]
fn errors_of_a_broker_are_tried_again() {
    let (cluster, place) = (Cluster::new(), Place::new());
    let not_leader = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[not_leader; 3]);
    place.find(keys(20));
    let sinks = cluster.start(&place, "settings = { \"retry.backoff.ms\" = 10 }\n");
    drained(&place, &sinks);
    cluster.mock.broker_down(1).unwrap();
    place.find((20..40).map(|number| format!("model-{number}")));
    // The broker comes back after librdkafka noticed that it is gone.
    waits(&sinks);
    cluster.mock.broker_up(1).unwrap();
    drained(&place, &sinks);
    assert_eq!(sinks.stats().next().unwrap().1.waits_because(), None);
    sinks.finish(LIMIT).unwrap();
    check(&place, &cluster.consume(40));
}

#[test]
fn a_message_that_librdkafka_gives_up_is_sent_again_from_the_store() {
    let (cluster, place) = (Cluster::new(), Place::new());
    cluster.mock.broker_down(1).unwrap();
    place.find(keys(5));
    let sinks = cluster.start(&place, "settings = { \"message.timeout.ms\" = 300, \"linger.ms\" = 0 }\n");
    let stats = || sinks.stats().next().unwrap().1;
    assert!(stats().until(LIMIT, |stats| stats.failures() >= 3), "{:?}", stats());
    assert_eq!(place.reader().cursor("kafka").unwrap(), 0);
    cluster.mock.broker_up(1).unwrap();
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    check(&place, &cluster.consume(5));
}

#[test]
fn what_is_too_large_is_a_dead_letter_and_the_rest_arrives() {
    let (cluster, place) = (Cluster::new(), Place::new());
    let mut large = crate::sinks::tests::occurrence("large");
    large.rule.references = vec!["https://example.com/".repeat(100); 50];
    place.find(["small".to_owned()]);
    place.keep(vec![large]);
    place.find(["also-small".to_owned()]);
    let (told, hears) = std::sync::mpsc::channel();
    let config = cluster.config("settings = { \"message.max.bytes\" = 50000 }\n");
    let tell = Arc::new(move |notice| told.send(notice).unwrap_or_default());
    let sinks = Sinks::start(&config, &place.store, &host(), tell).unwrap();
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    let letters = place.reader().dead_letters(10).unwrap();
    let [(_, letter)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.seq, letter.reason.as_str()), (2, "too_large"));
    assert!(hears.try_iter().any(|notice| matches!(notice, SinkNotice::DeadLetter { .. })));
    let got = cluster.consume(2);
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|message| message.id != letter.record_id));
}

#[test]
fn a_topic_that_cannot_be_written_holds_everything_until_it_can() {
    for (error, words) in [
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "may not write to topic found"),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "there is no topic found: make it"),
    ] {
        let (cluster, place) = (Cluster::new(), Place::new());
        cluster.mock.topic_error(TOPIC, error).unwrap();
        place.find(keys(3));
        // librdkafka believes in a missing topic only after a while: the cluster may just be making it.
        let sinks = cluster.start(&place, "settings = { \"topic.metadata.propagation.max.ms\" = 100 }\n");
        let reason = waits(&sinks);
        assert!(reason.contains(words), "{reason}");
        cluster.mock.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
        drained(&place, &sinks);
        sinks.finish(LIMIT).unwrap();
        assert_eq!(place.reader().dead_letters(10).unwrap(), []);
        check(&place, &cluster.consume(3));
    }
}

#[test]
fn a_producer_that_is_fatal_is_replaced() {
    let (cluster, place) = (Cluster::new(), Place::new());
    place.find(keys(1));
    let sinks = cluster.start(&place, "settings = { \"linger.ms\" = 0 }\n");
    drained(&place, &sinks);
    // A broker that lost what it had confirmed answers so, and no retry mends it (KIP-360).
    let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[lost; 1]);
    place.find((1..30).map(|number| format!("model-{number}")));
    drained(&place, &sinks);
    assert_eq!(sinks.stats().next().unwrap().1.reconnects(), 1);
    sinks.finish(LIMIT).unwrap();
    check(&place, &cluster.consume(30));
}

#[test]
fn a_wrong_setting_is_said_without_its_value() {
    let place = Place::new();
    place.find(keys(1));
    let text = "[[sinks.kafka]]\nbrokers = [\"127.0.0.1:1\"]\nsettings = { \"sasl.username\" = { env = \"OUTFLOW_NO_SUCH\" } }\n";
    let config = Config::parse("outflow.toml", text).unwrap().sinks;
    let (told, hears) = std::sync::mpsc::channel();
    let tell = Arc::new(move |notice| told.send(notice).unwrap_or_default());
    let sinks = Sinks::start(&config, &place.store, &host(), tell).unwrap();
    let SinkNotice::Waits { reason, .. } = hears.recv_timeout(LIMIT).unwrap() else { panic!("it must wait") };
    assert_eq!(reason, "setting sasl.username: the environment has no variable OUTFLOW_NO_SUCH");
    sinks.finish(LIMIT).unwrap();
}

#[test]
fn what_is_refused_together_with_others_is_asked_of_alone() {
    let (cluster, place) = (Cluster::new(), Place::new());
    // The broker finds a whole batch too large, as one with a smaller limit does, and none of its messages.
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[too_large; 3]);
    place.find(keys(60));
    let sinks = cluster.start(&place, "");
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    assert_eq!(place.reader().dead_letters(100).unwrap(), []);
    check(&place, &cluster.consume(60));
}

/// A call of a feature, that cost something.
fn call(number: u32, feature: &str) -> Call {
    let mut exchange = sample::exchange("openai", "gpt-4o");
    exchange.feature = Some(feature.into());
    exchange.request_text.push("$.messages[0].content", "my card is 4111 1111 1111 1111");
    exchange.ended_at.0 += u64::from(number) * 1_000_000;
    let cost = Cost { nano_usd: NanoUsd(3), source: CostSource::Catalogue, catalogue: String::new() };
    Call::of(&exchange, Some(&cost), None)
}

fn streams() -> String {
    format!("name = \"siem\"\ncalls_topic = \"{CALLS}\"\nusage_topic = \"{USAGE}\"\n")
}

/// Waits until a stream has every call that the store has kept.
fn streamed(place: &Place, sinks: &Sinks, stream: &str) {
    let newest = place.reader().newest_call().unwrap();
    let (_, stats) = sinks.stats().find(|(name, _)| *name == stream).unwrap();
    assert!(stats.until(LIMIT, |_| place.reader().call_cursor(stream).unwrap() >= newest), "{stats:?}");
}

#[test]
fn calls_and_what_they_used_go_to_topics_of_their_own() {
    let (cluster, place) = (Cluster::new(), Place::with(Limits { max_call_bytes: 1 << 20, ..Limits::default() }));
    place.find(keys(2));
    place.call((0..40).map(|number| call(number, if number % 2 == 0 { "chat" } else { "search" })));
    let sinks = cluster.start(&place, &streams());
    streamed(&place, &sinks, "siem/calls");
    streamed(&place, &sinks, "siem/usage");
    drained(&place, &sinks);
    let names: Vec<&str> = sinks.stats().map(|(name, _)| name).collect();
    assert_eq!(names, ["siem", "siem/calls", "siem/usage"]);
    sinks.finish(LIMIT).unwrap();
    assert_eq!(place.reader().calls_after(0, 10).unwrap(), [], "what all streams have is forgotten");
    assert_eq!(cluster.consume(2).len(), 2);

    let store_id = place.reader().store_id().unwrap();
    let mut ids: Vec<String> = (1..=40).map(|seq| format!("{store_id}-{seq}")).collect();
    ids.sort();
    for (topic, event_type, schema) in [
        (CALLS, "outflow.call.v1", "https://schema.ocsf.io/1.8.0"),
        (USAGE, "outflow.usage.v1", "urn:outflow:schema:usage-v1"),
    ] {
        let got = cluster.consume_of(topic, 40);
        let mut found: Vec<_> = got.iter().map(|message| message.id.clone()).collect();
        found.sort();
        assert_eq!(found, ids);
        for Got { key, headers, payload, time_ms, .. } in &got {
            assert_eq!((headers["ce_type"].as_str(), headers["ce_dataschema"].as_str()), (event_type, schema));
            assert_eq!(headers["ce_subject"], "chat_completions");
            assert!(["chat", "search"].contains(&key.as_str()) && !payload.contains("4111"), "{key}: {payload}");
            assert!(time_ms.is_some_and(|ms| ms >= 1_795_392_001_250));
        }
        // Adding up needs all of one feature in one place.
        for feature in ["chat", "search"] {
            let places: BTreeSet<_> =
                got.iter().filter(|message| message.key == feature).map(|message| message.partition).collect();
            assert_eq!(places.len(), 1, "{feature}");
        }
    }
    let usage = cluster.consume_of(USAGE, 40);
    let records: Vec<UsageRecord> = usage.iter().map(|got| serde_json::from_str(&got.payload).unwrap()).collect();
    assert_eq!(records.iter().filter_map(|record| record.cost_nano_usd).map(|cost| cost.0).sum::<u64>(), 120);
    assert!(records.iter().zip(&usage).all(|(record, got)| record.usage_id == got.id));
    assert!(records.iter().all(|record| (record.input_tokens, record.output_tokens) == (Some(1000), Some(100))));
}

#[test]
fn a_stream_that_is_held_up_holds_up_no_other_and_loses_nothing() {
    let (cluster, place) = (Cluster::new(), Place::with(Limits { max_call_bytes: 1 << 20, ..Limits::default() }));
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.mock.topic_error(USAGE, refused).unwrap();
    place.call((0..10).map(|number| call(number, "chat")));
    let sinks = cluster.start(&place, &streams());
    streamed(&place, &sinks, "siem/calls");
    sinks.finish(Duration::ZERO).unwrap();
    assert_eq!(place.reader().call_cursors().unwrap(), [("siem/calls".into(), 10), ("siem/usage".into(), 0)]);

    // The next run goes on where each was.
    cluster.mock.topic_error(USAGE, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    place.call((10..12).map(|number| call(number, "chat")));
    let sinks = cluster.start(&place, &streams());
    streamed(&place, &sinks, "siem/usage");
    streamed(&place, &sinks, "siem/calls");
    sinks.finish(LIMIT).unwrap();
    assert_eq!(cluster.consume_of(CALLS, 12).len(), 12);
    let usage: BTreeSet<String> = cluster.consume_of(USAGE, 12).into_iter().map(|got| got.id).collect();
    assert_eq!(usage.len(), 12);
}

#[test]
fn a_store_that_is_damaged_while_calls_wait_holds_no_stream_up() {
    let (cluster, place) = (Cluster::new(), Place::with(Limits { max_call_bytes: 1 << 20, ..Limits::default() }));
    let (refused, fine) =
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
    let topics = [(CALLS, "siem/calls"), (USAGE, "siem/usage")];
    for (topic, _) in topics {
        cluster.mock.topic_error(topic, refused).unwrap();
    }
    place.call((0..5).map(|number| call(number, "chat")));
    let sinks = cluster.start(&place, &streams());
    for (_, stream) in topics {
        let (_, stats) = sinks.stats().find(|(name, _)| *name == stream).unwrap();
        assert!(stats.until(LIMIT, |stats| stats.waits_because().is_some()), "{stats:?}");
    }
    let before = place.reader().store_id().unwrap();
    let damage = StoreError::Corrupt { path: place.path(), reason: "a page is torn".to_owned() };
    place.store.report_damage(place.store.generation(), &damage).unwrap();
    place.call((5..8).map(|number| call(number, "chat")));
    for (topic, _) in topics {
        cluster.mock.topic_error(topic, fine).unwrap();
    }
    // What waited went with the file, and was told of. What came behind it has numbers that were never used, in a store of another name.
    let after = place.reader().store_id().unwrap();
    assert_ne!(before, after);
    for (topic, stream) in topics {
        streamed(&place, &sinks, stream);
        let ids: Vec<String> = cluster.consume_of(topic, 3).into_iter().map(|got| got.id).collect();
        assert_eq!(ids, (6..=8).map(|seq| format!("{after}-{seq}")).collect::<Vec<_>>(), "{topic}");
    }
    sinks.finish(LIMIT).unwrap();
    let reader = place.reader();
    assert_eq!(reader.calls_after(0, 10).unwrap(), [], "what both have is forgotten");
    let damaged =
        crate::store::Filter { rule: Some("coverage.store-damaged".into()), ..crate::store::Filter::default() };
    assert_eq!(reader.count(&damaged).unwrap(), 1);
}

#[test]
fn a_stream_that_comes_later_begins_with_what_is_kept() {
    let (cluster, place) = (Cluster::new(), Place::with(Limits { max_call_bytes: 1 << 20, ..Limits::default() }));
    place.call((0..3).map(|number| call(number, "chat")));
    let only_calls = format!("name = \"siem\"\ncalls_topic = \"{CALLS}\"\n");
    let sinks = cluster.start(&place, &only_calls);
    streamed(&place, &sinks, "siem/calls");
    sinks.finish(LIMIT).unwrap();
    // Nothing is kept any more, and there is nothing to wait for.
    let sinks = cluster.start(&place, &streams());
    place.call([call(3, "chat")]);
    streamed(&place, &sinks, "siem/usage");
    sinks.finish(LIMIT).unwrap();
    assert_eq!(cluster.consume_of(USAGE, 1).len(), 1);
    assert_eq!(cluster.consume_of(CALLS, 4).len(), 4);
}

#[test]
fn classes_have_topics_of_their_own_and_keys_are_chosen() {
    let (cluster, place) = (Cluster::new(), Place::new());
    let mut anomaly = crate::sinks::tests::occurrence("anomaly");
    anomaly.rule.id = "cost.budget".into();
    anomaly.category = Category::Cost;
    anomaly.process.feature = Some("search".into());
    place.find(keys(3));
    place.keep(vec![anomaly]);
    let sinks = cluster.start(&place, &format!("topics = {{ \"2004\" = \"{CALLS}\" }}\npartition_by = \"feature\"\n"));
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    let (rest, anomalies) = (cluster.consume(3), cluster.consume_of(CALLS, 1));
    assert_eq!((rest.len(), anomalies.len(), anomalies[0].key.as_str()), (3, 1, "search"));
    // None of them has a feature: the service stands for it.
    assert!(rest.iter().all(|message| message.key == "checkout"), "{rest:?}");
    assert_eq!(rest.iter().map(|message| message.partition).collect::<BTreeSet<_>>().len(), 1);

    let text = "[[sinks.kafka]]\nbrokers = [\"a:1\"]\ntopics = { \"6003\" = \"x\" }\n";
    let error = Config::parse("outflow.toml", text).unwrap_err().to_string();
    assert!(error.contains("6003") && error.contains("is no class of findings"), "{error}");
}

#[test]
fn a_host_can_be_the_key() {
    let (cluster, place) = (Cluster::new(), Place::new());
    place.find(keys(20));
    let sinks = cluster.start(&place, "partition_by = \"host\"\nformat = \"ecs\"\n");
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    let got = cluster.consume(20);
    assert!(got.iter().all(|message| message.key == "node-1"));
    // All in one place, and so in the order of the outbox.
    assert_eq!(got.iter().map(|message| message.id.clone()).collect::<Vec<_>>(), place.record_ids());
    for message in &got {
        let document: serde_json::Value = serde_json::from_str(&message.payload).unwrap();
        assert_eq!(document["event"]["id"], message.id.as_str());
        let schema = &message.headers["ce_dataschema"];
        assert!(schema.ends_with(&format!("/ecs#{}", crate::sinks::ecs::ECS_VERSION)), "{schema}");
    }
}

#[test]
fn what_is_too_large_is_trimmed_and_says_so_or_goes_to_the_dead_letters() {
    let (cluster, place) = (Cluster::new(), Place::new());
    let mut trims = crate::sinks::tests::occurrence("trims");
    trims.rule.references = vec!["https://example.com/".repeat(100); 50];
    let mut never = crate::sinks::tests::occurrence("never");
    never.title = "ä".repeat(40_000);
    place.find(["small".to_owned()]);
    place.keep(vec![trims]);
    place.keep(vec![never.clone()]);
    for format in ["native", "ocsf", "ecs"] {
        let more = format!(
            "name = \"{format}\"\nformat = \"{format}\"\nmax_record_bytes = \"64 KiB\"\ndead_letter_topic = \"{CALLS}\"\n"
        );
        let sinks = cluster.start(&place, &more);
        drained(&place, &sinks);
        sinks.finish(LIMIT).unwrap();
        let letters = place.reader().dead_letters(10).unwrap();
        let (_, letter) = letters.iter().find(|(sink, _)| sink == format).unwrap();
        assert_eq!((letter.seq, letter.reason.as_str()), (3, "too_large"));
        assert!(letter.detail.contains("`max_record_bytes` of the sink is 65536"), "{}", letter.detail);
    }
    let got = cluster.consume(6);
    assert_eq!(got.len(), 6, "two records to each of three sinks");
    let trimmed: Vec<_> = got.iter().filter(|message| message.payload.contains("record.trimmed")).collect();
    assert_eq!(trimmed.len(), 3);
    for message in trimmed {
        assert!(message.payload.contains("rule.references") && message.payload.len() < 8192, "{}", message.payload);
    }
    let dead = cluster.consume_of(CALLS, 3);
    assert_eq!(dead.len(), 3);
    for message in &dead {
        let header = |name: &str| message.headers[&format!("outflow_dead_letter_{name}")].as_str();
        assert_eq!((header("reason"), header("topic"), header("cut")), ("too_large", TOPIC, "true"));
        assert_eq!((header("record"), message.key.as_str()), (message.id.as_str(), message.id.trim_end_matches("-1")));
        assert!(message.payload.len() <= 32 * 1024 && message.payload.starts_with('{'));
        assert!(header("bytes").parse::<usize>().unwrap() > 80_000 && header("detail").contains("65536"));
    }
}

#[test]
fn what_the_broker_refuses_of_a_record_alone_goes_to_the_dead_letters() {
    for (error, reason) in [
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, "invalid"),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "too_large"),
    ] {
        let (cluster, place) = (Cluster::new(), Place::new());
        place.find(["refused".to_owned()]);
        // As a batch, and alone; the dead letter itself is taken.
        cluster.mock.request_errors(RDKafkaApiKey::Produce, &[error; 2]);
        let sinks = cluster.start(&place, &format!("dead_letter_topic = \"{CALLS}\"\n"));
        drained(&place, &sinks);
        place.find(["taken".to_owned()]);
        sinks.finish(LIMIT).unwrap();
        let letters = place.reader().dead_letters(10).unwrap();
        let [(_, letter)] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!((letter.seq, letter.reason.as_str()), (1, reason));
        let dead = cluster.consume_of(CALLS, 1);
        let header = |name: &str| dead[0].headers[&format!("outflow_dead_letter_{name}")].as_str();
        assert_eq!((header("reason"), header("record")), (reason, letter.record_id.as_str()));
        assert_eq!(cluster.consume(1)[0].id, place.record_ids()[1]);
    }
}

#[test]
fn a_record_is_given_up_only_when_the_dead_letters_have_it() {
    let (cluster, place) = (Cluster::new(), Place::new());
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.mock.topic_error(USAGE, refused).unwrap();
    let mut large = crate::sinks::tests::occurrence("large");
    large.title = "x".repeat(80_000);
    place.keep(vec![large]);
    place.find(["small".to_owned()]);
    let more = format!("max_record_bytes = \"64 KiB\"\ndead_letter_topic = \"{USAGE}\"\n");
    let sinks = cluster.start(&place, &more);
    let reason = waits(&sinks);
    assert!(reason.contains(&format!("may not write to topic {USAGE}")), "{reason}");
    assert_eq!((place.reader().dead_letters(10).unwrap().len(), place.reader().cursor("kafka").unwrap()), (0, 0));
    cluster.mock.topic_error(USAGE, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    assert_eq!(place.reader().dead_letters(10).unwrap().len(), 1);
    assert!(!cluster.consume_of(USAGE, 1).is_empty());
    let ids: BTreeSet<String> = cluster.consume(1).into_iter().map(|message| message.id).collect();
    assert_eq!(ids.len(), 1);
}

#[test]
fn librdkafka_tells_how_it_is() {
    let (cluster, place) = (Cluster::new(), Place::new());
    place.find(keys(5));
    let sinks = cluster.start(&place, "settings = { \"statistics.interval.ms\" = 20 }\n");
    drained(&place, &sinks);
    let figures = || sinks.stats().next().unwrap().1.client_figures();
    let is_calm = |figures: crate::sinks::ClientFigures| figures.round_trip_ns > 0 && figures.queued_records == 0;
    let is_so = sinks.stats().next().unwrap().1.until(LIMIT, |stats| stats.client_figures().is_some_and(is_calm));
    assert!(is_so, "{:?}", figures());
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
}

#[tokio::test]
async fn what_a_full_queue_refuses_is_overtaken_by_nothing() {
    let (cluster, place) = (Cluster::new(), Place::new());
    place.find(keys(20));
    let rows = place.reader().outbox_rows_after(0, 20).unwrap();
    let records: Vec<Record> = rows
        .into_iter()
        .map(|row| {
            let (seq, record_id, payload) = (row.seq, row.record_id(), row.payload.unwrap());
            Record {
                seq,
                record_id,
                activity: Activity::Create,
                finding: serde_json::from_str(&payload).unwrap(),
                payload,
            }
        })
        .collect();
    // Nothing goes before the queue is full.
    let sink =
        cluster.config("settings = { \"queue.buffering.max.messages\" = 10, \"linger.ms\" = 50 }\n").kafka.remove(0);
    let voice = Voice::new("kafka", Arc::new(SinkStats::new(watch::channel(0).1)), Arc::new(|_| {}));
    let mut kafka = Kafka::new(Writer::new(sink, host(), What::Findings), ("store", "kafka"), voice);
    Receiver::<Record>::connect(&mut kafka).await.unwrap();
    let (all, few): (Arc<[Record]>, Arc<[Record]>) = (records.clone().into(), records[..5].into());
    let refused = |answer: &Answer| matches!(answer, Answer::NotNow { .. });
    let (first, second) = (kafka.send(&all), kafka.send(&few));
    assert!(refused(&first.await));
    // There is room now, but the second one was refused as well, and nobody knows yet.
    let third = kafka.send(&few);
    assert!(refused(&second.await));
    assert!(refused(&third.await));
    assert_eq!(kafka.send(&few).await, Answer::Taken(Vec::new()));
}

#[test]
fn a_queue_that_holds_less_than_a_batch_gets_smaller_ones() {
    for room in ["queue.buffering.max.messages\" = 20", "queue.buffering.max.kbytes\" = 64"] {
        let (cluster, place) = (Cluster::new(), Place::new());
        place.find(keys(120));
        let sinks = cluster.start(&place, &format!("settings = {{ \"{room}, \"linger.ms\" = 1 }}\n"));
        drained(&place, &sinks);
        sinks.finish(LIMIT).unwrap();
        check(&place, &cluster.consume(120));
    }
}
