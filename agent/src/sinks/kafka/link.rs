//! A producer, and what messages are made with. Enters: records. Leaves: what became of each: it arrived, or a [`Denial`]. A record is given up
//! only for what the broker says of it alone.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::{Either, select};
use rdkafka::{
    Message as _,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _},
};

use super::{
    letter::Letter,
    message::{Message, Outgoing, Writer},
    settings,
    statistics::Counted,
    trouble::{Context, Trouble},
};
use crate::{
    config::KafkaSink,
    sinks::{Answer, ConnectError, Refused, voice::Voice},
};

/// How long a queue of librdkafka that is full is given.
const QUEUE_PAUSE: Duration = Duration::from_millis(200);

/// A batch that takes longer, while librdkafka says that nothing can arrive, is one that waits.
const GRACE: Duration = Duration::from_secs(2);

pub(super) type Client = FutureProducer<Context>;

/// Why a record did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sinks) enum Denial {
    /// It never will.
    Record { reason: &'static str, detail: String },
    /// It was refused together with others, and perhaps for one of them.
    Suspect,
    /// Nothing arrives for now.
    NotNow { reason: String, after: Option<Duration> },
    /// This producer is of no use any more.
    Broken { reason: String },
}

impl Denial {
    /// The greater, the less it says of a single record.
    pub(super) fn reach(&self) -> u8 {
        match self {
            Self::Record { .. } => 0,
            Self::Suspect => 1,
            Self::NotNow { .. } => 2,
            Self::Broken { .. } => 3,
        }
    }
}

/// How a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// In a request with others: a broker judges all messages of a request that are for one partition by what the worst of them is
    /// (rd_kafka_handle_Produce of rdkafka_request.c).
    Together,
    /// In one of its own, or not at all: librdkafka itself refused it.
    Alone,
}

/// One producer.
pub(super) struct Link {
    writer: Writer,
    voice: Voice,
    trouble: Trouble,
    client: Client,
    /// Puts one message into each request; made when somebody has to be asked of one alone.
    solo: Mutex<Option<Client>>,
}

impl Link {
    /// Makes a producer. It reaches for the brokers by itself.
    ///
    /// With an identity it writes in transactions only.
    pub(super) fn new(writer: Writer, voice: Voice, identity: Option<&str>) -> Result<Self, ConnectError> {
        let trouble = Trouble::default();
        let transactional = identity.map(|identity| ("transactional.id", identity));
        let client = client(&writer.sink, &voice, (&trouble, Counted::new(true)), transactional.as_slice())?;
        Ok(Self { writer, voice, trouble, client, solo: Mutex::default() })
    }

    pub(super) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Why a transaction came to nothing, and what to do.
    pub(super) fn told(&self, what: &str, error: &KafkaError) -> String {
        use RDKafkaErrorCode as Code;
        let hint = match error.rdkafka_error_code() {
            // Why there is no broker says more than that one was waited for in vain.
            Some(Code::OperationTimedOut | Code::BrokerTransportFailure | Code::AllBrokersDown) => {
                return self.trouble.down().unwrap_or_else(|| format!("{what}: {error}"));
            }
            Some(Code::UnsupportedFeature | Code::UnsupportedVersion) => {
                ": this broker has no transactions, so `exactly_once` has to go"
            }
            Some(
                Code::TransactionalIdAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::TopicAuthorizationFailed,
            ) => {
                ": with `exactly_once` this user needs Read and Write on its topics, Write on the transactional ids and Read on the groups that begin with `outflow-`"
            }
            _ => "",
        };
        format!("{what}: {error}{hint}")
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Hands a record to librdkafka. An error: it did not take it.
    pub(super) fn produce(&self, record: &impl Outgoing) -> Result<DeliveryFuture, Denial> {
        self.produce_by(&self.client, record)
    }

    /// Waits for deliveries, and says so when it takes long because no broker is there.
    pub(super) async fn patiently<T>(&self, deliveries: impl Future<Output = T>) -> T {
        match select(Box::pin(deliveries), Box::pin(tokio::time::sleep(GRACE))).await {
            Either::Left((delivered, _)) => delivered,
            Either::Right(((), deliveries)) => {
                if let Some(reason) = self.trouble.down() {
                    self.voice.waits(&reason);
                }
                deliveries.await
            }
        }
    }

    /// What became of a message of [`produce`](Self::produce). `None`: it arrived.
    pub(super) async fn delivered(&self, delivery: DeliveryFuture, sent: Sent) -> Option<Denial> {
        self.outcome(&self.client, delivery, sent).await
    }

    /// Sends a record in a request of its own.
    pub(super) async fn alone(&self, record: &impl Outgoing) -> Option<Denial> {
        let solo = match self.solo() {
            Ok(solo) => solo,
            Err(denial) => return Some(denial),
        };
        match self.produce_by(&solo, record) {
            Ok(delivery) => self.outcome(&solo, delivery, Sent::Alone).await,
            Err(denial) => Some(denial),
        }
    }

    /// Writes a record that is given up to the topic of dead letters, if there is one. An answer: it is not there, and the batch is to be handed over
    /// again. A topic that will not have it either is no reason to wait: the store has the record and the reason.
    pub(super) async fn bury(&self, record: Option<&impl Outgoing>, refused: &Refused) -> Option<Answer> {
        let topic = self.writer.sink.dead_letter_topic.as_ref()?.as_str();
        let letter = Letter::new(record, refused, &self.writer);
        let denial = match self.solo() {
            Ok(solo) => match letter.hand_over(topic, &solo) {
                Ok(delivery) => self.outcome(&solo, delivery, Sent::Alone).await,
                Err(error) => Some(self.judge(&solo, &error, topic, Sent::Alone)),
            },
            Err(denial) => Some(denial),
        };
        match denial? {
            Denial::Record { .. } | Denial::Suspect => None,
            Denial::NotNow { reason, after } => Some(Answer::NotNow { reason, after }),
            Denial::Broken { reason } => Some(Answer::Broken { reason }),
        }
    }

    /// The producer that puts one message into each request.
    fn solo(&self) -> Result<Client, Denial> {
        let mut solo = self.solo.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(solo) = &*solo {
            return Ok(solo.clone());
        }
        let made = client(&self.writer.sink, &self.voice, (&self.trouble, Counted::new(false)), &settings::SOLO)
            .map_err(|error| Denial::Broken { reason: error.0 })?;
        Ok(solo.insert(made).clone())
    }

    /// Something arrived: what was wrong is over.
    pub(super) fn works(&self) {
        self.trouble.clear();
    }

    fn produce_by(&self, client: &Client, record: &impl Outgoing) -> Result<DeliveryFuture, Denial> {
        let message = record.message(&self.writer)?;
        hand_over(client, &message).map_err(|error| self.judge(client, &error, message.topic, Sent::Alone))
    }

    async fn outcome(&self, client: &Client, delivery: DeliveryFuture, sent: Sent) -> Option<Denial> {
        match delivery.await {
            Ok(Ok(_)) => None,
            Ok(Err((error, message))) => Some(self.judge(client, &error, message.topic(), sent)),
            Err(_) => Some(Denial::Broken { reason: "the producer was taken down".to_owned() }),
        }
    }

    /// Errors of the record itself are for ever; those of the topic or of rights wait until somebody mends them, for they would meet every
    /// record.
    fn judge(&self, client: &Client, error: &KafkaError, topic: &str, sent: Sent) -> Denial {
        use RDKafkaErrorCode as Code;
        if let Some((code, why)) = client.client().fatal_error() {
            return Denial::Broken { reason: format!("librdkafka gave up ({code:?}): {why}") };
        }
        let not_now = |reason: String| Denial::NotNow { reason, after: None };
        let record = |reason, detail: &str| match sent {
            Sent::Together => Denial::Suspect,
            Sent::Alone => Denial::Record { reason, detail: detail.to_owned() },
        };
        match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => {
                record("too_large", "larger than the broker or `message.max.bytes` of the settings allows")
            }
            Some(Code::InvalidRecord | Code::InvalidDifferentRecord | Code::InvalidTimestamp) => {
                record("invalid", &format!("the broker refuses this record: {error}"))
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
            // Addresses, passwords and certificates may have been changed meanwhile: a new producer reads them anew.
            Some(Code::MessageTimedOut) => match self.trouble.down() {
                Some(reason) => Denial::Broken { reason },
                None => not_now(self.trouble.reason()),
            },
            _ => not_now(error.to_string()),
        }
    }
}

fn client(
    sink: &KafkaSink,
    voice: &Voice,
    (trouble, counted): (&Trouble, Counted),
    more: &[(&str, &str)],
) -> Result<Client, ConnectError> {
    let mut config = settings::client(sink)?;
    for (name, value) in more {
        config.set(*name, *value);
    }
    let context = Context { voice: voice.clone(), trouble: trouble.clone(), counted };
    config.create_with_context(context).map_err(|error| settings::refused(&error))
}

fn hand_over(client: &Client, message: &Message<'_>) -> Result<DeliveryFuture, KafkaError> {
    let record: FutureRecord<'_, str, [u8]> = FutureRecord {
        topic: message.topic,
        partition: None,
        payload: Some(&message.payload),
        key: message.key,
        timestamp: message.time_ms,
        headers: Some(message.headers()),
    };
    client.send_result(record).map_err(|(error, _)| error)
}
