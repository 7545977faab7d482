//! What one subject leaves in the store, and the answer to it. Enters: occurrences of findings, usage, state, checkpoints.
//! Leaves: a [`Batch`] that commits as a whole or not at all, a [`Receipt`].

use crossbeam_channel::{Receiver, TryRecvError};

use super::StoreError;
use crate::{
    detectors::StateChange,
    exchange::{Cost, CostSource, Exchange, is_unpriced},
    findings::{Call, Finding, UsageNames},
    sources::Checkpoint,
    units::{NanoUsd, Timestamp},
};

/// Everything that one subject (a call, some blocks of logs) leaves in the store. It commits in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Occurrences, as [`Maker`](crate::findings::Maker) makes them. Those of one finding in one batch are one call, paid for once.
    pub findings: Vec<Finding>,
    /// Ids of findings whose trouble is over, and since when; applied after [`findings`](Self::findings). One that is not there, or was closed
    /// already, stays as it is; one that is seen again is told again.
    pub closed: Vec<(String, Timestamp)>,
    /// Calls and what they used.
    pub usage: Vec<UsageRow>,
    /// The calls themselves, for sinks that stream them; kept only while the store keeps calls ([`Limits::max_call_bytes`](super::Limits)).
    pub calls: Vec<Call>,
    /// How far sources are once this is kept.
    pub checkpoints: Vec<Checkpoint>,
    /// Keys of checkpoints that nobody needs any more. Applied before [`checkpoints`](Self::checkpoints).
    pub forgotten: Vec<String>,
    /// What detectors learned.
    pub states: Vec<StateChange>,
}

impl Batch {
    /// Adds what comes after it, to commit with it.
    pub fn append(&mut self, next: Self) {
        let Self { findings, closed, usage, calls, checkpoints, forgotten, states } = next;
        // Keys are forgotten before checkpoints are written, so of each key only the last word may stay.
        let is_said_again =
            |key: &String| forgotten.contains(key) || checkpoints.iter().any(|checkpoint| checkpoint.key == *key);
        self.checkpoints.retain(|checkpoint| !is_said_again(&checkpoint.key));
        self.checkpoints.extend(checkpoints);
        self.forgotten.extend(forgotten);
        self.findings.extend(findings);
        self.closed.extend(closed);
        self.usage.extend(usage);
        self.calls.extend(calls);
        self.states.extend(states);
    }

    /// Nothing is to be stored.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Rows that it changes at most.
    pub fn rows(&self) -> usize {
        let others = self.checkpoints.len() + self.forgotten.len() + self.states.len();
        self.findings.len() + self.closed.len() + self.usage.len() + self.calls.len() + others
    }
}

/// Use of one call site in one minute. Rows of the same site and minute add up.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageRow {
    /// Minutes since the Unix epoch, when the call began.
    pub minute: u64,
    /// Who asked.
    pub service: String,
    /// What for; empty when nothing says so.
    pub feature: String,
    /// Whom.
    pub host: String,
    /// Kind of call, the word of [`Api::as_str`](crate::exchange::Api::as_str).
    pub api: String,
    /// The model that answered, else the one that was asked for, else empty.
    pub model: String,
    /// Calls.
    pub calls: u64,
    /// Input tokens, those of caches included, as far as known.
    pub input_tokens: u64,
    /// Output tokens, reasoning included, as far as known.
    pub output_tokens: u64,
    /// Of the input, read from a cache.
    pub cache_read_tokens: u64,
    /// Of the input, written to a cache.
    pub cache_write_tokens: u64,
    /// Of the output, reasoning.
    pub reasoning_tokens: u64,
    /// Sum of the known costs, billionths of a US dollar.
    pub cost_nano_usd: NanoUsd,
    /// Of these, what is only estimated.
    pub estimated_nano_usd: NanoUsd,
    /// Calls that cost something, and nobody knows how much.
    pub unpriced: u64,
}

impl UsageRow {
    /// What one call used. Names are those that outputs show.
    pub fn of(exchange: &Exchange, cost: Option<&Cost>) -> Self {
        let UsageNames { service, feature, host, model } = UsageNames::of(exchange);
        let usage = &exchange.usage;
        Self {
            minute: exchange.started_at.0 / 60_000_000_000,
            service,
            feature: feature.unwrap_or_default(),
            host,
            api: exchange.api.as_str().to_owned(),
            model: model.unwrap_or_default(),
            calls: 1,
            input_tokens: usage.input_tokens.unwrap_or(0),
            output_tokens: usage.output_tokens.unwrap_or(0),
            cache_read_tokens: usage.cache_read_tokens.unwrap_or(0),
            cache_write_tokens: usage.cache_write_tokens.unwrap_or(0),
            reasoning_tokens: usage.reasoning_tokens.unwrap_or(0),
            cost_nano_usd: cost.map(|cost| cost.nano_usd).unwrap_or_default(),
            estimated_nano_usd: cost
                .filter(|cost| cost.source == CostSource::Estimated)
                .map(|cost| cost.nano_usd)
                .unwrap_or_default(),
            unpriced: u64::from(is_unpriced(exchange, cost)),
        }
    }
}

/// A revision that a sink's receiver will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its position in the outbox.
    pub seq: u64,
    /// Finding id and revision.
    pub record_id: String,
    /// Why, in a word.
    pub reason: String,
    /// Why, in the receiver's words.
    pub detail: String,
    /// When it was given up, RFC 3339 in UTC.
    pub at: String,
}

/// What happens to a batch for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits, and with it the source: files keep what was not read yet.
    Wait,
    /// It is refused and counted: a live source cannot wait.
    Fail,
    /// It is refused and not counted: whoever gave it tries it again.
    Retry,
}

/// Resolves when a batch is on the disk, or when it will never be.
#[derive(Debug)]
pub struct Receipt(pub(super) Receiver<Result<(), StoreError>>);

impl Receipt {
    /// Waits until the batch is committed; an error: it is not, and will not be.
    pub fn wait(self) -> Result<(), StoreError> {
        self.0.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// The same without waiting; `None` while it is not decided. After an answer it says [`StoreError::Closed`].
    pub fn try_wait(&self) -> Option<Result<(), StoreError>> {
        match self.0.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(StoreError::Closed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_key_the_last_word_stays() {
        let checkpoint = |key: &str, value: &str| Checkpoint { key: key.to_owned(), value: value.to_owned() };
        let batch = |checkpoints: &[(&str, &str)], forgotten: &[&str]| Batch {
            checkpoints: checkpoints.iter().map(|(key, value)| checkpoint(key, value)).collect(),
            forgotten: forgotten.iter().map(|key| (*key).to_owned()).collect(),
            ..Batch::default()
        };
        let mut all = batch(&[("a", "1"), ("b", "1"), ("c", "1")], &[]);
        all.append(batch(&[("a", "2")], &["b"]));
        assert_eq!(all.checkpoints, [checkpoint("c", "1"), checkpoint("a", "2")]);
        assert_eq!(all.forgotten, ["b"]);
        // It came again.
        all.append(batch(&[("b", "3")], &["c"]));
        assert_eq!(all.checkpoints, [checkpoint("a", "2"), checkpoint("b", "3")]);
        assert!(!all.is_empty() && Batch::default().is_empty());
    }
}
