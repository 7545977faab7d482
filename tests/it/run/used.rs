//! Made-up records of what hosts used: a stream of them, what `outflow fleet` or Flink makes of it, and what it must make. Enters: a broker. Leaves:
//! sums.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use outflow::{
    detectors::budget::Unit,
    fleet::{StateKey, StateRecord},
    sinks::usage::UsageRecord,
    units::{NanoUsd, Timestamp},
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer as _},
};
use testbed::Broker;

/// The call `id` of one of seven hosts, in the second before `now`.
pub(super) fn usage(id: u64, now: Timestamp) -> UsageRecord {
    let text = |text: &str| text.to_owned();
    let model = ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5"][(id % 3) as usize];
    UsageRecord {
        schema_version: 1,
        event_name: text("outflow.usage"),
        usage_id: format!("{:016x}-{}", id % 7, id),
        at: now.rfc3339(),
        at_ms: now.0 / 1_000_000 - id % 1000,
        duration_ms: 1,
        host: format!("node-{}", id % 7),
        host_id: None,
        service: text("shop"),
        feature: Some(format!("feature-{}", id % 5)),
        vendor: None,
        server: text("api.example.com"),
        api: text("chat_completions"),
        operation: None,
        model: Some(text(model)),
        requested_model: Some(text(model)),
        status: Some(200),
        is_error: false,
        caller: None,
        cost_nano_usd: Some(NanoUsd(id * 7 + 1)),
        cost_source: None,
        is_unpriced: false,
        input_tokens: Some(id % 11),
        output_tokens: Some(1),
        cache_read_tokens: None,
        cache_write_tokens: None,
        reasoning_tokens: None,
        input_audio_tokens: None,
        output_audio_tokens: None,
    }
}

/// How long a broker may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn client(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.address()).set("partitioner", "murmur2_random").set("acks", "all");
    config
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Comes back when all of them, each with its key, are in the topic.
pub(super) fn produce(broker: &Broker, topic: &str, messages: &[(Option<String>, String)]) {
    produce_at(broker, topic, messages, None);
}

/// Likewise, by a clock that shows this, milliseconds.
pub(super) fn produce_at(broker: &Broker, topic: &str, messages: &[(Option<String>, String)], at_ms: Option<u64>) {
    let producer: FutureProducer = client(broker).create().unwrap();
    wait(async {
        let mut under_way = Vec::new();
        for (key, value) in messages {
            let mut record = FutureRecord::to(topic).payload(value);
            record.key = key.as_ref();
            record.timestamp = at_ms.and_then(|at| at.try_into().ok());
            under_way.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
        }
        for delivery in under_way {
            delivery.await.unwrap().map_err(|(error, _)| error).unwrap();
        }
    });
}

/// Likewise, all in one transaction, behind which there is a mark that has an offset.
pub(super) fn produce_in_a_transaction(broker: &Broker, topic: &str, messages: &[(Option<String>, String)]) {
    let producer: BaseProducer = client(broker).set("transactional.id", topic).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    for (key, value) in messages {
        let mut record = BaseRecord::to(topic).payload(value);
        record.key = key.as_ref();
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.commit_transaction(PATIENCE).unwrap();
}

/// Budget, unit, feature: spent and calls.
pub(super) type Sums = BTreeMap<(String, Unit, String), (u64, u64)>;

/// Makes a topic with so many partitions.
pub(super) fn make_topic(broker: &Broker, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = client(broker).create().unwrap();
    let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    wait(admin.create_topics([&wanted], &AdminOptions::new())).unwrap().remove(0).unwrap();
}

/// What the state topic says, partitions added up.
pub(super) fn told(broker: &Broker, topic: &str) -> Sums {
    let mut newest = BTreeMap::new();
    for message in broker.consume(topic).unwrap() {
        match StateRecord::read(message.key.as_deref(), message.payload.as_deref()).unwrap() {
            StateRecord::Total(total) => drop(newest.insert(total.identity.clone(), total)),
            StateRecord::Tombstone(StateKey::Total(identity)) => drop(newest.remove(&identity)),
            _ => {}
        }
    }
    let mut sums = Sums::new();
    for (identity, total) in newest {
        let (spent, calls) = sums.entry((identity.budget, identity.unit, identity.feature)).or_default();
        *spent += total.spent;
        *calls += total.calls;
    }
    sums
}

/// The same, by adding up.
pub(super) fn oracle(records: &[UsageRecord]) -> Sums {
    let mut sums = Sums::new();
    let mut known = BTreeSet::new();
    for record in records.iter().filter(|record| known.insert(&record.usage_id)) {
        let (cost, feature) = (record.cost_nano_usd.unwrap().0, record.feature.clone().unwrap());
        let tokens = record.input_tokens.unwrap() + record.output_tokens.unwrap();
        let mut add = |budget: &str, unit, feature: &str, amount| {
            let (spent, calls) = sums.entry((budget.to_owned(), unit, feature.to_owned())).or_default();
            *spent += amount;
            *calls += 1;
        };
        add("features", Unit::Usd, &feature, cost);
        add("features", Unit::Tokens, &feature, tokens);
        if record.requested_model.as_deref().unwrap().starts_with("gpt-") {
            add("gpt", Unit::Usd, "", cost);
        }
    }
    sums
}
