//! A Kafka topic under `outflow run`: with a broker that is there, and with one that is away for a while.

use std::collections::BTreeMap;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use testbed::{Broker, Deadline};

use super::{
    scene::{LIMIT_S, Scene},
    topic,
};
use crate::support::broker_or_skip;

/// The sink's name.
pub(super) const SINK: &str = "kafka";

/// How long an agent may take to end, in seconds.
pub(super) const END_LIMIT_S: i64 = 60;

/// Partitions of a test's topic: with one alone, order would say nothing about keys.
const PARTITIONS: i32 = 3;

/// A broker with a topic, and a folder for an agent that sends to it. Dropped in this order.
pub(super) struct Stage {
    pub(super) broker: Broker,
    pub(super) topic: String,
    pub(super) scene: Scene,
}

impl Stage {
    /// Sets it; none when there can be no broker.
    pub(super) fn set(topic: &str) -> Option<Self> {
        Self::set_with(topic, "")
    }

    /// As [`set`](Self::set), with these keys of the sink besides.
    pub(super) fn set_with(topic: &str, more: &str) -> Option<Self> {
        if !broker_or_skip() {
            return None;
        }
        let scene = Scene::new();
        let broker = Broker::start(&scene.folder("broker")).unwrap();
        let topic = broker.topic(topic);
        make_topic(broker.address(), &topic);
        let brokers: Vec<_> = broker.address().split(',').collect();
        scene.configure(&format!("[[sinks.kafka]]\nname = {SINK:?}\nbrokers = {brokers:?}\ntopic = {topic:?}\n{more}"));
        Some(Self { broker, topic, scene })
    }

    /// Waits until all records of the store are in the topic, and checks that it holds them and nothing else.
    pub(super) fn check(&self) -> Vec<testbed::Message> {
        let records = self.scene.records();
        let all = |messages: &[testbed::Message]| topic::ids(messages).len() >= records.len();
        let messages = self.broker.consume_until(&self.topic, LIMIT_S, all).unwrap();
        topic::check(&messages, &records);
        println!("{} records, {} messages of which are repeats", records.len(), topic::repeats(&messages));
        messages
    }
}

fn make_topic(brokers: &str, topic: &str) {
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let topic = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let made = runtime.block_on(client.create_topics([&topic], &AdminOptions::new())).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

/// Revisions by finding.
fn revisions(scene: &Scene) -> BTreeMap<String, u32> {
    let rows = scene.reader().outbox_after(0, u64::MAX).unwrap();
    rows.into_iter().map(|row| (row.finding_id, row.revision)).collect()
}

#[test]
fn every_revision_of_every_finding_is_in_the_topic_once_and_in_order() {
    let Some(mut stage) = Stage::set("findings") else { return };
    let scene = &mut stage.scene;
    let agent = scene.agent();
    scene.lines(300);
    scene.until_stored(&agent);
    for revision in 2..=4 {
        scene.repeat(50);
        let all = |scene: &Scene| revisions(scene).values().filter(|newest| **newest >= revision).count() == 50;
        scene.until(&agent, "the next revision of all that was repeated", all);
    }
    scene.until_delivered(&agent, SINK);
    agent.terminate(END_LIMIT_S).unwrap();

    let messages = stage.check();
    assert_eq!(messages.len(), 300 + 3 * 50, "nothing failed, so nothing was sent twice");
    let partitions: std::collections::BTreeSet<_> = messages.iter().map(|message| message.partition).collect();
    assert_eq!(partitions.len(), PARTITIONS as usize);
}

/// One sink for each, all with SASL PLAIN. This broker takes every password, and whoever gives none: what is tested is that it understands how we
/// log in, and that we talk on. Who is refused by tansu is in its own tests (`cargo xtask peers`).
#[test]
fn every_codec_arrives_behind_a_password() {
    const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
    let Some(mut stage) = Stage::set("codecs") else { return };
    if !stage.broker.skip_unless_ours() {
        return;
    }
    let (scene, brokers) = (&mut stage.scene, [stage.broker.address()]);
    let secret = scene.folder("secrets").join("password");
    std::fs::write(&secret, "outflow-test").unwrap();
    let sink = |codec: &str| {
        make_topic(brokers[0], codec);
        format!(
            "[[sinks.kafka]]\nname = {codec:?}\nbrokers = {brokers:?}\ntopic = {codec:?}\nsettings = {{ \"compression.type\" = {codec:?}, \
             \"security.protocol\" = \"SASL_PLAINTEXT\", \"sasl.mechanism\" = \"PLAIN\", \"sasl.username\" = \"outflow\", \
             \"sasl.password\" = {{ file = {:?} }} }}\n",
            secret.display().to_string()
        )
    };
    scene.configure(&CODECS.map(sink).concat());
    let agent = scene.agent();
    scene.lines(300);
    scene.until_stored(&agent);
    for codec in CODECS {
        scene.until_delivered(&agent, codec);
        let records = scene.records();
        let all = |messages: &[testbed::Message]| topic::ids(messages).len() >= records.len();
        topic::check(&stage.broker.consume_until(codec, LIMIT_S, all).unwrap(), &records);
    }
    let talk = agent.talk().unwrap();
    assert!(!talk.contains("outflow-test"), "a secret is never said: {talk}");
    agent.terminate(END_LIMIT_S).unwrap();
}

/// How long the broker is away: long enough that librdkafka gives records back to the store when it is a minute.
fn outage_s() -> u64 {
    if std::env::var("OUTFLOW_LONG").is_ok_and(|long| long == "1") { 65 } else { 20 }
}

#[test]
fn a_broker_that_is_away_misses_nothing() {
    let Some(mut stage) = Stage::set("outage") else { return };
    if !stage.broker.skip_unless_ours() {
        return;
    }
    let (scene, broker) = (&mut stage.scene, &mut stage.broker);
    let agent = scene.agent();
    scene.lines(100);
    scene.until_stored(&agent);
    // This one confirms what comes while it ends, and forgets it.
    scene.until_delivered(&agent, SINK);
    broker.terminate().unwrap();
    let outage = Deadline::after(outage_s());
    while !outage.passed() {
        scene.lines(5);
        scene.until_stored(&agent);
    }
    agent.says("outflow: sink kafka waits, findings stay in the store: ", LIMIT_S).unwrap();
    let missed = scene.head() - scene.cursor(SINK);
    assert!(missed > 20 && scene.cursor(SINK) <= 100, "{missed} waited for the broker");
    broker.start_again().unwrap();
    scene.lines(100);
    scene.until_stored(&agent);
    scene.until_delivered(&agent, SINK);
    agent.says("outflow: sink kafka delivers again", LIMIT_S).unwrap();
    agent.terminate(END_LIMIT_S).unwrap();
    println!("{missed} records waited for the broker");
    stage.check();
}
