//! Each record once: batches as transactions. Enters: batches of a stream. Leaves: records and, in the same transaction, how far the stream is, as
//! the offset of a consumer group that nobody joins. So the broker knows what it has, whatever became of the agent before its own cursor
//! moved; consumers that read committed records only see each once.
//!
//! Nothing is tried again here. Whatever fails leaves open how the transaction ended, so the answer is that the producer is of no use: the next one ends
//! what was open (KIP-98, InitProducerId), and asks how far the stream is.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata},
    error::{KafkaError, RDKafkaErrorCode},
    producer::Producer as _,
};
use tokio::task::spawn_blocking;

use super::{
    link::{Denial, Link, Sent},
    message::{Outgoing, Writer},
    settings,
};
use crate::sinks::{Answer, ConnectError, Refused};

/// How long a coordinator is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The partition that stands for a topic in the group's offsets.
const PARTITION: i32 = 0;

/// Who writes a stream, and where the broker keeps how far it is: as `transactional.id` and as the name of the group.
pub(super) fn identity(store_id: &str, stream: &str) -> String {
    format!("outflow-{store_id}-{stream}")
}

/// How far a stream is, as the broker has it.
pub(super) struct Ledger {
    group: Arc<ConsumerGroupMetadata>,
    /// Up to this place everything was there when the producer was made.
    pub(super) has_until: Option<u64>,
}

impl Ledger {
    /// Ends what an earlier producer of this stream left open, and asks how far it came.
    pub(super) async fn open(link: &Link, identity: String) -> Result<Self, ConnectError> {
        let (client, writer) = (link.client().clone(), link.writer().clone());
        let opening = spawn_blocking(move || {
            client.init_transactions(PATIENCE)?;
            Self::read(&writer, &identity)
        });
        match opening.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => Err(ConnectError(link.told("no transaction can begin", &error))),
            Err(error) => Err(ConnectError(format!("transactions were not begun: {error}"))),
        }
    }

    /// An outer error is the broker's.
    fn read(writer: &Writer, group: &str) -> Result<Result<Self, ConnectError>, KafkaError> {
        let more = [("group.id", group), ("isolation.level", "read_committed")];
        let config = match settings::consumer(&writer.sink.brokers, &writer.sink.settings, &more) {
            Ok(config) => config,
            Err(error) => return Ok(Err(error)),
        };
        let consumer: BaseConsumer = config.create()?;
        let mut asked = TopicPartitionList::new();
        for topic in writer.topics() {
            asked.add_partition(topic, PARTITION);
        }
        let offsets = consumer.committed_offsets(asked, PATIENCE)?;
        let mut has_until = None;
        for element in offsets.elements() {
            // A topic that nobody has made yet has nothing.
            let is_unknown = |error: &KafkaError| {
                matches!(
                    error.rdkafka_error_code(),
                    Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
                )
            };
            element.error().or_else(|error| if is_unknown(&error) { Ok(()) } else { Err(error) })?;
            if let Offset::Offset(offset) = element.offset() {
                has_until = has_until.max(u64::try_from(offset).ok());
            }
        }
        let group = consumer.group_metadata().ok_or(KafkaError::Canceled)?;
        Ok(Ok(Self { group: Arc::new(group), has_until }))
    }

    /// Sends a batch in one transaction, and where one of its records spoils that, in several.
    pub(super) async fn deliver<T: Outgoing>(&self, link: &Link, batch: &[T]) -> Answer {
        let mut refused = Vec::new();
        let mut left = vec![batch];
        while let Some(records) = left.pop() {
            let denial = match (self.transact(link, records, &mut refused).await, records) {
                (Ok(()), _) => continue,
                (Err(Denial::Suspect), [_, _, ..]) => {
                    let (first, second) = records.split_at(records.len() / 2);
                    left.extend([second, first]);
                    continue;
                }
                (Err(Denial::Record { reason, detail }), [record]) => {
                    give_up(link, record, reason, detail, &mut refused).await.err()
                }
                (Err(denial), _) => Some(denial),
            };
            match denial {
                None => {}
                Some(
                    Denial::NotNow { reason, .. } | Denial::Broken { reason } | Denial::Record { detail: reason, .. },
                ) => {
                    return Answer::Broken { reason };
                }
                Some(Denial::Suspect) => {
                    return Answer::Broken { reason: "a record alone is refused with others".to_owned() };
                }
            }
        }
        Answer::Taken(refused)
    }

    /// `refused` are those of this batch; the store learns of them with its end, so what the broker has never goes past the first of them.
    async fn transact<T: Outgoing>(
        &self,
        link: &Link,
        records: &[T],
        refused: &mut Vec<Refused>,
    ) -> Result<(), Denial> {
        let broken = |what: &str, error: &KafkaError| Denial::Broken { reason: link.told(what, error) };
        let client = link.client();
        client.begin_transaction().map_err(|error| broken("no transaction can begin", &error))?;
        let sent = if records.len() == 1 { Sent::Alone } else { Sent::Together };
        let (mut deliveries, mut topic, mut excess) = (Vec::new(), None, None);
        for record in records {
            // By an earlier transaction of this batch, which was taken back.
            if refused.iter().any(|refused| refused.seq == record.seq()) {
                continue;
            }
            match link.produce(record) {
                Ok(delivery) => {
                    topic = Some(record.topic(link.writer()));
                    deliveries.push(link.delivered(delivery, sent));
                }
                Err(Denial::Record { reason, detail }) => give_up(link, record, reason, detail, refused).await?,
                // librdkafka's queue may be set to hold less than a batch.
                Err(Denial::NotNow { .. }) if sent == Sent::Together => {
                    excess = Some(Denial::Suspect);
                    break;
                }
                Err(denial) => return Err(denial),
            }
        }
        // Before the commit, which would wait for them too: its wait, as a flush beside this one, took 100 ms a transaction.
        let denials = link.patiently(join_all(deliveries)).await;
        let denied = denials.into_iter().flatten().chain(excess).max_by_key(Denial::reach);
        let (client, group) = (client.clone(), Arc::clone(&self.group));
        let Some(topic) = topic.map(str::to_owned).filter(|_| denied.is_none()) else {
            let aborted = spawn_blocking(move || client.abort_transaction(PATIENCE)).await;
            return match aborted.unwrap_or(Err(KafkaError::Canceled)) {
                Ok(()) => denied.map_or(Ok(()), Err),
                Err(error) => Err(broken("a transaction cannot be taken back", &error)),
            };
        };
        let first_refused = refused.iter().map(|refused| refused.seq).min().unwrap_or(u64::MAX);
        let known = records.iter().map(Outgoing::seq).filter(|seq| *seq < first_refused).max();
        let at = known.and_then(|seq| i64::try_from(seq).ok());
        let committing = spawn_blocking(move || {
            if let Some(at) = at {
                let mut offsets = TopicPartitionList::new();
                offsets.add_partition_offset(&topic, PARTITION, Offset::Offset(at))?;
                client.send_offsets_to_transaction(&offsets, &group, PATIENCE)?;
            }
            client.commit_transaction(PATIENCE)
        });
        let committed = committing.await.unwrap_or(Err(KafkaError::Canceled));
        committed.map_err(|error| broken("a transaction cannot be committed", &error))?;
        link.works();
        Ok(())
    }
}

/// The topic of dead letters has it before anything behind it is told.
async fn give_up(
    link: &Link,
    record: &impl Outgoing,
    reason: &'static str,
    detail: String,
    refused: &mut Vec<Refused>,
) -> Result<(), Denial> {
    let one = Refused { seq: record.seq(), record_id: record.record_id().to_owned(), reason, detail };
    match link.bury(Some(record), &one).await {
        Some(Answer::NotNow { reason, .. } | Answer::Broken { reason }) => Err(Denial::Broken { reason }),
        Some(Answer::Taken(_)) | None => {
            refused.push(one);
            Ok(())
        }
    }
}
