//! A Kafka topic from the other end, and a client that only produces. Enters: a broker's address, a topic. Leaves: messages, each with the
//! moment when the consumer had it. It joins no group.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use outflow::clock;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::{Headers as _, OwnedHeaders, OwnedMessage},
    producer::{DeliveryFuture, FutureProducer, FutureRecord},
};

use crate::figures::now_ns;

/// Longest that a message may take.
const LIMIT: Duration = Duration::from_mins(1);

/// The sink's own settings of librdkafka (agent/src/sinks/kafka/settings.rs), but for these.
pub(crate) fn producer(brokers: &str, others: &[(&str, &str)]) -> Result<FutureProducer> {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("client.id", "bare"),
        ("compression.type", "zstd"),
        ("linger.ms", "10"),
        ("message.timeout.ms", "60000"),
        ("partitioner", "murmur2_random"),
        ("socket.keepalive.enable", "true"),
    ]
    .iter()
    .chain(others)
    {
        config.set(*name, *value);
    }
    Ok(config.create()?)
}

/// What a message is made of, all of it there beforehand.
#[derive(Clone)]
pub(crate) struct Ready {
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) headers: OwnedHeaders,
    pub(crate) time_ms: Option<i64>,
}

impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.payload, self.time_ms) == (&other.key, &other.payload, other.time_ms)
            && self.headers.iter().eq(other.headers.iter())
    }
}

impl Ready {
    /// The same message again.
    pub(crate) fn again(message: &OwnedMessage) -> Self {
        Self {
            key: message.key().unwrap_or_default().to_vec(),
            payload: message.payload().unwrap_or_default().to_vec(),
            headers: message.headers().cloned().unwrap_or_default(),
            time_ms: message.timestamp().to_millis(),
        }
    }

    /// A message that is nothing but itself.
    pub(crate) fn small(text: &str) -> Self {
        Self { key: Vec::new(), payload: text.as_bytes().to_vec(), headers: OwnedHeaders::new(), time_ms: None }
    }
}

/// Sends all, and comes back when the broker has confirmed all. How many they were.
pub(crate) fn send(
    producer: &FutureProducer,
    topic: &str,
    messages: impl IntoIterator<Item = Result<Ready>>,
) -> Result<usize> {
    let under_way =
        messages.into_iter().map(|message| hand_over(producer, topic, message?)).collect::<Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let delivered = runtime.block_on(join_all(under_way));
    let count = delivered.len();
    for delivered in delivered {
        delivered?.map_err(|(error, _)| error)?;
    }
    Ok(count)
}

/// Gives one to the client.
pub(crate) fn hand_over(producer: &FutureProducer, topic: &str, message: Ready) -> Result<DeliveryFuture> {
    let Ready { key, payload, headers, time_ms } = message;
    let record = FutureRecord::to(topic).key(&key).payload(&payload).headers(headers);
    let record = FutureRecord { timestamp: time_ms, ..record };
    Ok(producer.send_result(record).map_err(|(error, _)| error)?)
}

/// A topic with one partition, from its beginning.
pub(crate) struct Consumer {
    consumer: BaseConsumer,
}

impl Consumer {
    /// Makes the topic by writing a first message, and reads it: whatever comes next is what is measured.
    pub(crate) fn of_new(brokers: &str, topic: &str) -> Result<Self> {
        send(&producer(brokers, &[("linger.ms", "0")])?, topic, [Ok(Ready::small("the first"))])?;
        let mut config = ClientConfig::new();
        for (name, value) in [
            ("bootstrap.servers", brokers),
            ("group.id", "bench"),
            ("enable.auto.commit", "false"),
            ("fetch.wait.max.ms", "5"),
            ("fetch.error.backoff.ms", "1"),
            ("fetch.queue.backoff.ms", "1"),
        ] {
            config.set(name, value);
        }
        let consumer: BaseConsumer = config.create()?;
        let mut all = TopicPartitionList::new();
        all.add_partition_offset(topic, 0, Offset::Beginning)?;
        consumer.assign(&all)?;
        let consumer = Self { consumer };
        let (_, first) = consumer.next()?;
        ensure!(first.payload() == Some(b"the first"), "the topic {topic} is not new");
        Ok(consumer)
    }

    /// The next message, and when it was there.
    pub(crate) fn next(&self) -> Result<(u64, OwnedMessage)> {
        let until = clock::instant() + LIMIT;
        while clock::instant() < until {
            if let Some(message) = self.consumer.poll(Duration::from_secs(1)) {
                let at = now_ns();
                return Ok((at, message?.detach()));
            }
        }
        None.context("no message came within a minute")
    }

    /// The next messages.
    pub(crate) fn take(&self, count: usize) -> Result<Vec<OwnedMessage>> {
        (0..count).map(|_| Ok(self.next()?.1)).collect()
    }
}
