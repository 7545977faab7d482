//! Findings as requests to a web address, signed by the specification Standard Webhooks. Enters: batches of records. Leaves: one POST a
//! record or a batch, in order, and what the answers mean for each. It follows no redirect, asks no proxy, and shows no secret: not the
//! signing one, not a header's, not an address that stands in a file.
//!
//! A receiver knows a repeat by `webhook-id`: the record's id, or a hash of those of the batch.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use sha2::{Digest as _, Sha256};

use super::{
    Host,
    format::line,
    receiver::{Answer, Answering, Appetite, ConnectError, Receiver, Record, Refused},
};
use crate::{
    config::{WebhookBody, WebhookSink},
    units::hex,
};

mod client;
mod outcome;
mod sign;
#[cfg(test)]
mod tests;

use self::{client::Client, outcome::Outcome};

/// Records that are handed over at a time when each is a request of its own.
const SINGLE_RECORDS: usize = 16;

/// Bytes of a batch, as the outbox counts them.
const BATCH_BYTES: usize = 1 << 20;

/// Records of a batch that can be at fault all together. Who refuses more has something against the requests, not against the records.
const FAULTY_MAX: usize = 10;

/// Hexadecimal digits of a batch's id.
const ID_DIGITS: usize = 32;

/// A web address as a receiver.
pub(super) struct WebhookReceiver {
    sink: WebhookSink,
    host: Host,
    client: Option<Arc<Client>>,
    /// What it knows of the receiver, over all connections.
    known: Arc<Known>,
}

#[derive(Default)]
struct Known {
    /// It took something once.
    proven: AtomicBool,
    /// Records of a batch that failed later on, and that it has: they are not sent again with the rest.
    taken: Mutex<BTreeSet<u64>>,
}

impl Known {
    fn taken(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WebhookReceiver {
    /// Asks nobody yet.
    pub(super) fn new(sink: WebhookSink, host: Host) -> Self {
        Self { sink, host, client: None, known: Arc::default() }
    }
}

impl Receiver for WebhookReceiver {
    fn appetite(&self) -> Appetite {
        let batch_records = match self.sink.body {
            WebhookBody::One => SINGLE_RECORDS,
            WebhookBody::Array | WebhookBody::Lines => self.sink.batch_records.get(),
        };
        Appetite { batch_records, batch_bytes: BATCH_BYTES, batches: 1 }
    }

    async fn connect(&mut self) -> Result<(), ConnectError> {
        self.client = None;
        self.client = Some(Arc::new(Client::new(&self.sink)?));
        Ok(())
    }

    fn send(&mut self, batch: &Arc<[Record]>) -> Answering {
        let Some(client) = self.client.clone() else {
            return Box::pin(async { Answer::Broken { reason: "there is no client".to_owned() } });
        };
        let (mut lines, mut refused) = (Vec::with_capacity(batch.len()), Vec::new());
        for record in batch.iter() {
            match line(record, &self.host, self.sink.format) {
                Ok(text) => lines.push(Line { seq: record.seq, record_id: record.record_id.clone(), text }),
                Err(why) => refused.push(why),
            }
        }
        let (body, known) = (self.sink.body, Arc::clone(&self.known));
        Box::pin(async move {
            match deliver(&client, body, &lines, &known).await {
                Answer::Taken(more) => {
                    refused.extend(more);
                    Answer::Taken(refused)
                }
                other => other,
            }
        })
    }
}

/// A record as it is sent.
struct Line {
    seq: u64,
    record_id: String,
    text: String,
}

impl Line {
    fn refuse(&self, reason: &'static str, detail: &str) -> Refused {
        Refused { seq: self.seq, record_id: self.record_id.clone(), reason, detail: detail.to_owned() }
    }
}

/// Sends records, and what is left of a batch in halves, until it is known of each what became of it.
async fn deliver(client: &Client, body: WebhookBody, lines: &[Line], known: &Known) -> Answer {
    let mut refused = Vec::new();
    let mut left: Vec<&[Line]> = match body {
        WebhookBody::One => {
            let taken = known.taken();
            lines.chunks(1).rev().filter(|line| line.iter().all(|line| !taken.contains(&line.seq))).collect()
        }
        WebhookBody::Array | WebhookBody::Lines => vec![lines],
    };
    while let Some(lines) = left.pop() {
        if lines.is_empty() {
            continue;
        }
        let (reason, detail) = match client.post(&id(lines), text(body, lines), content_type(body)).await {
            Outcome::Taken => {
                known.proven.store(true, Relaxed);
                if body == WebhookBody::One {
                    known.taken().extend(lines.iter().map(|line| line.seq));
                }
                continue;
            }
            Outcome::Invalid(detail) => ("invalid", detail),
            Outcome::TooLarge(detail) => ("too_large", detail),
            Outcome::NotNow { reason, after } => return Answer::NotNow { reason, after },
            Outcome::Broken(reason) => return Answer::Broken { reason },
        };
        if let [line] = lines {
            refused.push(line.refuse(reason, &detail));
        } else {
            let (first, second) = lines.split_at(lines.len() / 2);
            left.extend([second, first]);
        }
    }
    // None is given up for what most likely is no fault of theirs.
    if (!known.proven.load(Relaxed) || refused.len() > FAULTY_MAX)
        && refused.len() == lines.len()
        && let Some(first) = refused.iter().find(|refused| refused.reason == "invalid")
    {
        let reason =
            format!("{} refuses every record: check `url`, `format` and `body`: {}", client.whom(), first.detail);
        return Answer::NotNow { reason, after: None };
    }
    known.taken().clear();
    Answer::Taken(refused)
}

/// The same for the same records, always.
fn id(lines: &[Line]) -> String {
    if let [line] = lines {
        return line.record_id.clone();
    }
    let hash = lines.iter().fold(Sha256::new(), |hash, line| hash.chain_update(&line.record_id).chain_update(b"\n"));
    format!("batch_{}", hex(&hash.finalize(), ID_DIGITS))
}

fn content_type(body: WebhookBody) -> &'static str {
    match body {
        WebhookBody::One | WebhookBody::Array => "application/json",
        WebhookBody::Lines => "application/x-ndjson",
    }
}

fn text(body: WebhookBody, lines: &[Line]) -> String {
    let joined = |between: &str| lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(between);
    match body {
        WebhookBody::One => joined(""),
        WebhookBody::Array => format!("[{}]", joined(",")),
        WebhookBody::Lines => joined("\n") + "\n",
    }
}
