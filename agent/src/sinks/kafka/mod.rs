//! Findings and calls to Kafka topics, by librdkafka. Enters: batches of records. Leaves: messages that all replicas have, in the order of the store.
//! Retries within a minute are librdkafka's, later ones the store's. It holds no secret longer than it takes to make a client.
//!
//! A message is keyed by its finding's id, so that revisions of a finding stay in order and a compacted topic keeps the last one; one about a call
//! by what the money is spent on. Each stream has a producer of its own: a topic that nobody may write holds up no other. Messages are made by the
//! [`packer`]'s thread, in transactions by the sink's own.

use std::{panic::resume_unwind, sync::Arc};

use futures_util::future::join_all;

use super::{
    receiver::{Account, Answer, Answering, Appetite, ConnectError, Receiver, Refused},
    voice::Voice,
};

mod letter;
mod link;
mod message;
mod once;
#[cfg(test)]
mod once_tests;
mod packer;
pub(crate) mod settings;
mod statistics;
#[cfg(test)]
mod tests;
mod trim;
mod trouble;

pub(super) use self::message::{What, Writer};
use self::{
    link::{Denial, Link, Sent},
    message::Outgoing,
    once::Ledger,
    packer::{Packed, Packer},
};
pub use self::{settings::refusal, trim::trimmed};

/// Records of a batch: a batch is what one answer is waited for, not what librdkafka puts into one request.
const BATCH_RECORDS: usize = 100;

/// Bytes of a batch, as the outbox counts them.
const BATCH_BYTES: usize = 1 << 20;

/// Batches under way, so that a round trip to the broker holds nothing up.
const BATCHES: usize = 48;

/// The same of a transaction, of which there is one at a time: it is a few round trips to several brokers.
const TRANSACTION_RECORDS: usize = 1000;
const TRANSACTION_BYTES: usize = 4 << 20;

/// A message with its headers and librdkafka's own fields is at most about so many times what the outbox counts.
const LARGER: usize = 4;

/// A Kafka topic as a receiver.
pub(super) struct Kafka {
    writer: Writer,
    voice: Voice,
    /// Of its transactions, when it writes in such.
    identity: Option<String>,
    /// Who hands over ends before what it hands over to.
    open: Option<(Way, Arc<Link>)>,
}

/// How batches go.
enum Way {
    /// Several under way at a time.
    Streamed(Packer),
    /// One after the other, each a transaction.
    Once(Arc<Ledger>),
}

impl Kafka {
    /// `stream` is what the store calls it, in the store of this id.
    pub(super) fn new(writer: Writer, (store_id, stream): (&str, &str), voice: Voice) -> Self {
        let identity = writer.sink.exactly_once.then(|| once::identity(store_id, stream));
        Self { writer, voice, identity, open: None }
    }
}

/// What is known of a batch.
#[derive(Default)]
struct Verdict {
    refused: Vec<Refused>,
    /// Why it has to be sent again: of several, the gravest.
    denied: Option<Answer>,
}

impl Verdict {
    fn add(&mut self, record: &impl Outgoing, denial: Denial) {
        match denial {
            Denial::Record { reason, detail } => {
                let (seq, record_id) = (record.seq(), record.record_id().to_owned());
                self.refused.push(Refused { seq, record_id, reason, detail });
            }
            // The producer as a whole outweighs one message.
            Denial::Broken { reason } => self.denied = Some(Answer::Broken { reason }),
            Denial::NotNow { reason, after } => {
                self.denied.get_or_insert(Answer::NotNow { reason, after });
            }
            Denial::Suspect => {
                let reason = "a record was refused that had to be asked of alone".to_owned();
                self.denied.get_or_insert(Answer::NotNow { reason, after: None });
            }
        }
    }
}

impl<T: Outgoing> Receiver<T> for Kafka {
    fn appetite(&self) -> Appetite {
        if self.identity.is_some() {
            return Appetite { batch_records: TRANSACTION_RECORDS, batch_bytes: TRANSACTION_BYTES, batches: 1 };
        }
        // A batch goes in whole, or comes again.
        let most = |name: &str| self.writer.sink.settings.get(name)?.value().ok()?.parse::<usize>().ok();
        let records = most("queue.buffering.max.messages").unwrap_or(BATCH_RECORDS);
        let bytes =
            most("queue.buffering.max.kbytes").map_or(BATCH_BYTES, |kbytes| kbytes.saturating_mul(1024) / LARGER);
        Appetite {
            batch_records: records.clamp(1, BATCH_RECORDS),
            batch_bytes: bytes.clamp(1, BATCH_BYTES),
            batches: BATCHES,
        }
    }

    async fn connect(&mut self) -> Result<(), ConnectError> {
        // What the old one still holds is sent again by the new one.
        if let Some((Way::Streamed(mut packer), _)) = self.open.take()
            && let Err(panic) = packer.end()
        {
            resume_unwind(panic);
        }
        let link = Arc::new(Link::new(self.writer.clone(), self.voice.clone(), self.identity.as_deref())?);
        let way = match self.identity.clone() {
            Some(identity) => Way::Once(Arc::new(Ledger::open(&link, identity).await?)),
            None => Way::Streamed(Packer::start()?),
        };
        self.open = Some((way, link));
        Ok(())
    }

    fn account(&self) -> Account {
        match &self.open {
            Some((Way::Once(ledger), _)) => ledger.has_until.map_or(Account::Empty, Account::Until),
            _ => Account::None,
        }
    }

    fn send(&mut self, batch: &Arc<[T]>) -> Answering {
        let batch = Arc::clone(batch);
        match &mut self.open {
            None => Box::pin(async { Answer::Broken { reason: "there is no producer".to_owned() } }),
            Some((Way::Once(ledger), link)) => {
                let (link, ledger) = (Arc::clone(link), Arc::clone(ledger));
                Box::pin(async move { ledger.deliver(&link, &batch).await })
            }
            Some((Way::Streamed(packer), link)) => {
                let link = Arc::clone(link);
                let (handed, overlap) = packer.pack(&link, &batch);
                Box::pin(async move {
                    let answer = match handed.await {
                        Ok(handed) => answered(&link, &batch, handed).await,
                        Err(_) => Answer::Broken { reason: "the thread that makes messages is gone".to_owned() },
                    };
                    drop(overlap);
                    answer
                })
            }
        }
    }
}

/// What became of a batch without transactions.
async fn answered<T: Outgoing>(link: &Link, batch: &[T], packed: Packed) -> Answer {
    let Packed { under_way, mut verdict } = packed;
    let deliveries =
        under_way.into_iter().map(async |(index, delivery)| (index, link.delivered(delivery, Sent::Together).await));
    let mut suspects = Vec::new();
    for (index, denial) in link.patiently(join_all(deliveries)).await {
        match (denial, batch.get(index)) {
            (Some(Denial::Suspect), Some(record)) => suspects.push(record),
            (Some(denial), Some(record)) => verdict.add(record, denial),
            _ => {}
        }
    }
    for record in suspects {
        if verdict.denied.is_none()
            && let Some(denial) = link.alone(record).await
        {
            verdict.add(record, denial);
        }
    }
    if verdict.denied.is_none() && verdict.refused.len() < batch.len() {
        link.works();
    }
    // A record is given up only when the topic of dead letters has it, where there is one.
    let given_up = if verdict.denied.is_none() { verdict.refused.as_slice() } else { &[] };
    for refused in given_up {
        let record = batch.iter().find(|record| record.seq() == refused.seq);
        if let Some(denied) = link.bury(record, refused).await {
            verdict.denied = Some(denied);
            break;
        }
    }
    verdict.denied.unwrap_or(Answer::Taken(verdict.refused))
}
