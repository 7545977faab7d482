//! Clients of Kafka for the fleet. Enters: `[fleet]`. Leaves: consumers and producers, a topic that is there, and all that is in it. Secrets are
//! read whenever a client is made, and are in no message.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _, Offset, Statistics, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::FleetError;
use crate::{clock, config::Fleet, sinks::kafka::settings};

/// How long one question to the brokers may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a topic may send nothing while it is read to its end.
const SILENCE: Duration = Duration::from_secs(30);

/// What the brokers are told that the state topic is for. One partition is enough for it; a total is a hundred bytes or two.
const COMPACTED: [(&str, &str); 1] = [("cleanup.policy", "compact")];

/// Hears what librdkafka complains of while it works by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Listener(Arc<Mutex<Option<String>>>);

impl Listener {
    /// The newest complaint since the last one that was asked for.
    pub(super) fn complaint(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, reason: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ClientContext for Listener {
    fn stats(&self, _: Statistics) {}

    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is no trouble.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            self.note(reason);
        }
    }
}

impl ConsumerContext for Listener {}

/// What went wrong with what.
pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(KafkaError) -> FleetError {
    let what = what.into();
    move |error| FleetError::Kafka { what, why: error.to_string() }
}

/// The configuration of a consumer. Readers of the state topic name the group and never join it.
pub(super) fn consumer_config(fleet: &Fleet, more: &[(&str, &str)]) -> Result<ClientConfig, FleetError> {
    let mut all = vec![("group.id", fleet.group.as_str()), ("auto.offset.reset", "earliest")];
    all.extend(more);
    settings::consumer(&fleet.brokers, &fleet.settings, &all).map_err(|error| FleetError::Settings(error.0))
}

/// The configuration of a producer. What it cannot write soon is written again by whoever counts.
pub(super) fn producer_config(fleet: &Fleet) -> Result<ClientConfig, FleetError> {
    let more = [("message.timeout.ms", "15000"), ("statistics.interval.ms", "0")];
    settings::producer(&fleet.brokers, &fleet.settings, &more).map_err(|error| FleetError::Settings(error.0))
}

/// A consumer of the state topic.
pub(super) fn reader(fleet: &Fleet) -> Result<(BaseConsumer<Listener>, Listener), FleetError> {
    let listener = Listener::default();
    let config = consumer_config(fleet, &[("enable.partition.eof", "true")])?;
    let made = config.create_with_context(listener.clone());
    let consumer = made.map_err(|error| FleetError::Settings(settings::refused(&error).0))?;
    Ok((consumer, listener))
}

/// The partitions of a topic; none when it is not there.
pub(super) fn partitions<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str) -> Result<Vec<i32>, FleetError> {
    let ask = failed(format!("cannot ask the brokers of [fleet] for topic {topic}, do they run?"));
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(ask)?;
    let known = metadata.topics().iter().find(|known| known.name() == topic);
    Ok(known
        .map(|topic| topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect())
        .unwrap_or_default())
}

/// What librdkafka complained of says more than that somebody did not answer in time.
pub(super) fn better(error: FleetError, consumer: &BaseConsumer<Listener>, listener: &Listener) -> FleetError {
    // Complaints wait for somebody who polls.
    let _ = consumer.poll(Duration::ZERO);
    match (error, listener.complaint()) {
        (FleetError::Kafka { what, .. }, Some(why)) => FleetError::Kafka { what, why },
        (error, _) => error,
    }
}

/// Has a consumer read these partitions from their beginning.
pub(super) fn assign_all<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
) -> Result<(), FleetError> {
    let what = || format!("cannot read topic {topic}");
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(topic, *partition, Offset::Beginning).map_err(failed(what()))?;
    }
    consumer.assign(&list).map_err(failed(what()))
}

/// Hands over all messages of the state topic, from its beginning to its present end. A topic that is not there holds none.
pub(super) fn read_all(fleet: &Fleet, mut each: impl FnMut(Option<&[u8]>, Option<&[u8]>)) -> Result<(), FleetError> {
    let topic = fleet.state_topic.as_str();
    let (consumer, listener) = reader(fleet)?;
    let all = partitions(&consumer, topic)?;
    let mut open: BTreeSet<i32> = all.iter().copied().collect();
    assign_all(&consumer, topic, &all)?;
    let mut heard = clock::instant();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                heard = clock::instant();
                each(message.key(), message.payload());
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                heard = clock::instant();
                open.remove(&partition);
            }
            Some(Err(_)) | None if heard.elapsed() < SILENCE => {}
            Some(Err(error)) => return Err(failed(format!("cannot read topic {topic}"))(error)),
            None => {
                let why = listener.complaint().unwrap_or_else(|| "the brokers send nothing".to_owned());
                return Err(FleetError::Kafka { what: format!("cannot read topic {topic}"), why });
            }
        }
    }
    Ok(())
}

/// Makes the state topic when it is missing: compacted, with one partition.
pub(super) fn make_state_topic(fleet: &Fleet) -> Result<bool, FleetError> {
    let topic = fleet.state_topic.as_str();
    let (consumer, listener) = reader(fleet)?;
    if !partitions(&consumer, topic).map_err(|error| better(error, &consumer, &listener))?.is_empty() {
        return Ok(false);
    }
    let config = producer_config(fleet)?;
    let admin: AdminClient<Listener> = config
        .create_with_context(Listener::default())
        .map_err(|error| FleetError::Settings(settings::refused(&error).0))?;
    let mut wanted = NewTopic::new(topic, 1, TopicReplication::Fixed(-1));
    for (name, value) in COMPACTED {
        wanted = wanted.set(name, value);
    }
    let what = format!("cannot make topic {topic}; make it yourself, with cleanup.policy=compact");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(FleetError::Thread)?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let made = runtime.block_on(admin.create_topics([&wanted], &options)).map_err(failed(what.clone()))?;
    match made.into_iter().next() {
        Some(Ok(_)) => Ok(true),
        // Another one was faster.
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
        Some(Err((_, code))) => Err(FleetError::Kafka { what, why: code.to_string() }),
        None => Err(FleetError::Kafka { what, why: "the brokers did not answer".to_owned() }),
    }
}
