//! Findings to a Kafka topic, by librdkafka. Enters: batches of records. Leaves: messages that all replicas have, in the order of the outbox.
//! Retries within a minute are librdkafka's, later ones the store's. It holds no secret longer than it takes to make a client.
//!
//! A message is keyed by its finding's id, so that revisions of a finding stay in order and a compacted topic keeps the last one.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _},
};

use super::{
    receiver::{Answer, Answering, Appetite, ConnectError, Receiver, Record, Refused},
    voice::Voice,
};
use crate::{config::KafkaSink, sinks::Host};

mod message;
mod settings;
#[cfg(test)]
mod tests;

pub use self::settings::refusal;

/// Records of a batch: a batch is what one answer is waited for, not what librdkafka puts into one request.
const BATCH_RECORDS: usize = 100;

/// Bytes of a batch, as the outbox counts them.
const BATCH_BYTES: usize = 1 << 20;

/// Batches under way, so that a round trip to the broker holds nothing up.
const BATCHES: usize = 48;

/// How long a queue of librdkafka that is full is given.
const QUEUE_PAUSE: Duration = Duration::from_millis(200);

/// What librdkafka says while it works.
pub(super) struct Context {
    voice: Voice,
    trouble: Arc<Trouble>,
}

/// What librdkafka complained about since the last record arrived. It says so once, perhaps when nobody had anything to send.
#[derive(Debug, Default)]
struct Trouble(Mutex<Complaints>);

#[derive(Debug, Default)]
struct Complaints {
    /// Why nothing can arrive.
    down: Option<String>,
    /// What happened to one connection; there may be others.
    connection: Option<String>,
}

impl Trouble {
    fn note(&self, error: &KafkaError, reason: &str) {
        let mut complaints = self.lock();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                let why = complaints.connection.as_deref().unwrap_or(reason);
                complaints.down = Some(format!("no broker can be reached: {why}"));
            }
            Some(RDKafkaErrorCode::Authentication) => {
                complaints.down = Some(format!("the broker does not let us in: {reason}"));
            }
            _ => complaints.connection = Some(reason.to_owned()),
        }
    }

    fn down(&self) -> Option<String> {
        self.lock().down.clone()
    }

    /// The best that is known of why nothing arrived.
    fn reason(&self) -> String {
        let complaints = self.lock();
        let known = complaints.down.clone().or_else(|| complaints.connection.clone());
        known.unwrap_or_else(|| "no broker confirmed a record in time".to_owned())
    }

    fn clear(&self) {
        *self.lock() = Complaints::default();
    }

    fn lock(&self) -> MutexGuard<'_, Complaints> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _line: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.note(&error, reason);
        // It tries on by itself. People hear of it at once, and not a minute later when the first record is given back.
        if let Some(reason) = self.trouble.down().filter(|_| self.voice.stats.pending_records() > 0) {
            self.voice.fails(&reason);
        }
    }
}

type Client = FutureProducer<Context>;

/// A Kafka topic as a receiver.
pub(super) struct Kafka {
    sink: KafkaSink,
    host: Host,
    /// Where records come from, for CloudEvents.
    source: String,
    voice: Voice,
    client: Option<Client>,
    trouble: Arc<Trouble>,
}

impl Kafka {
    pub(super) fn new(sink: KafkaSink, host: Host, voice: Voice) -> Self {
        let source = format!("//{}/outflow", host.name);
        Self { sink, host, source, voice, client: None, trouble: Arc::default() }
    }

    /// Gives one record to librdkafka. An error: it did not take it.
    fn produce(&self, client: &Client, record: &Record) -> Result<DeliveryFuture, Denial> {
        let payload = message::payload(record, &self.host, self.sink.format)
            .map_err(|error| Denial::Record { reason: "unreadable", detail: error.to_string() })?;
        let message = FutureRecord::to(self.sink.topic.as_str())
            .key(record.finding.finding_id.as_str())
            .payload(payload.as_slice())
            .headers(message::headers(record, &self.source, self.sink.format));
        let message = FutureRecord { timestamp: message::time_ms(record), ..message };
        client.send_result(message).map_err(|(error, _)| self.judge(client, &error))
    }

    /// What an error means for the record, the topic or the client.
    fn judge(&self, client: &Client, error: &KafkaError) -> Denial {
        judge(client, error, self.sink.topic.as_str(), &self.trouble)
    }
}

/// Why a record did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Denial {
    /// It never will.
    Record { reason: &'static str, detail: String },
    /// Nothing arrives for now.
    NotNow { reason: String, after: Option<Duration> },
    /// This client is of no use any more.
    Broken { reason: String },
}

impl Receiver for Kafka {
    fn appetite(&self) -> Appetite {
        Appetite { batch_records: BATCH_RECORDS, batch_bytes: BATCH_BYTES, batches: BATCHES }
    }

    async fn connect(&mut self) -> Result<(), ConnectError> {
        // What the old one still holds is sent again by the new one.
        self.client = None;
        let config = settings::client(&self.sink)?;
        let context = Context { voice: self.voice.clone(), trouble: Arc::clone(&self.trouble) };
        self.client = Some(config.create_with_context(context).map_err(|error| settings::refused(&error))?);
        Ok(())
    }

    fn send(&mut self, batch: &Arc<[Record]>) -> Answering {
        let Some(client) = self.client.clone() else {
            return Box::pin(async { Answer::Broken { reason: "there is no client".to_owned() } });
        };
        if let Some(reason) = self.trouble.down() {
            self.voice.fails(&reason);
        }
        let mut refused = Vec::new();
        let mut under_way = Vec::with_capacity(batch.len());
        let mut denied = None;
        for record in batch.iter() {
            match self.produce(&client, record) {
                Ok(delivery) => under_way.push((record.seq, record.record_id.clone(), delivery)),
                Err(Denial::Record { reason, detail }) => {
                    refused.push(Refused { seq: record.seq, record_id: record.record_id.clone(), reason, detail });
                }
                // Nothing behind it may overtake it.
                Err(denial) => {
                    denied = Some(denial);
                    break;
                }
            }
        }
        let (topic, trouble) = (self.sink.topic.clone(), Arc::clone(&self.trouble));
        Box::pin(async move {
            let deliveries =
                under_way.into_iter().map(async |(seq, record_id, delivery)| (seq, record_id, delivery.await));
            for (seq, record_id, delivered) in join_all(deliveries).await {
                let denial = match delivered {
                    Ok(Ok(_)) => continue,
                    Ok(Err((error, _))) => judge(&client, &error, topic.as_str(), &trouble),
                    Err(_) => Denial::Broken { reason: "the client was taken down".to_owned() },
                };
                match denial {
                    Denial::Record { reason, detail } => refused.push(Refused { seq, record_id, reason, detail }),
                    // The client as a whole outweighs one message.
                    Denial::Broken { .. } => denied = Some(denial),
                    Denial::NotNow { .. } => denied = denied.or(Some(denial)),
                }
            }
            match denied {
                None | Some(Denial::Record { .. }) => {
                    trouble.clear();
                    Answer::Taken(refused)
                }
                Some(Denial::NotNow { reason, after }) => Answer::NotNow { reason, after },
                Some(Denial::Broken { reason }) => Answer::Broken { reason },
            }
        })
    }
}

/// Errors of the record itself are for ever; those of the topic or of rights wait until somebody mends them, for they would meet every record.
fn judge(client: &Client, error: &KafkaError, topic: &str, trouble: &Trouble) -> Denial {
    use RDKafkaErrorCode as Code;
    if let Some((code, why)) = client.client().fatal_error() {
        return Denial::Broken { reason: format!("librdkafka gave up ({code:?}): {why}") };
    }
    let code = error.rdkafka_error_code();
    let not_now = |reason: String| Denial::NotNow { reason, after: None };
    match code {
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => Denial::Record {
            reason: "too_large",
            detail: "larger than the broker or `message.max.bytes` of the settings allows".to_owned(),
        },
        Some(Code::InvalidRecord) => {
            Denial::Record { reason: "invalid", detail: "the broker refuses this record as invalid".to_owned() }
        }
        Some(Code::QueueFull) => Denial::NotNow {
            reason: "librdkafka's queue is full: raise `queue.buffering.max.messages` or `.kbytes`".to_owned(),
            after: Some(QUEUE_PAUSE),
        },
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
            not_now(format!("may not write to topic {topic}: grant this user Write and Describe on it"))
        }
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            not_now(format!("there is no topic {topic}: make it, or let the broker make topics"))
        }
        Some(Code::MessageTimedOut) => not_now(trouble.reason()),
        _ => not_now(error.to_string()),
    }
}
