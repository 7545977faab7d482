//! What every kind of receiver has in common. Enters: records, oldest first. Leaves: an [`Answer`] for each batch. A receiver keeps
//! nothing for later: what it did not confirm stands in the outbox, and is handed over again.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::findings::{Activity, Call, Finding};

/// One revision of a finding on its way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its place in the outbox, from 1 on.
    pub seq: u64,
    /// Finding id and revision. The same record handed over twice has the same, and must be the same bytes.
    pub record_id: String,
    /// What it does.
    pub activity: Activity,
    /// The finding as it was then.
    pub finding: Finding,
    /// The same as the outbox has it: JSON.
    pub payload: String,
}

/// One call on its way out, of a sink that streams calls.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// Its number in the store, from 1 on.
    pub seq: u64,
    /// The store's id and the number: the same call handed over twice has the same.
    pub record_id: String,
    /// The call.
    pub call: Call,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The receiver has all of it, but for these, which it will never take.
    Taken(Vec<Refused>),
    /// It has perhaps nothing of it: all is to be handed over again, not before `after`.
    NotNow {
        /// In words.
        reason: String,
        /// What the receiver asked for.
        after: Option<Duration>,
    },
    /// As [`NotNow`](Self::NotNow), and the connection is of no use any more: [`Receiver::connect`] makes another.
    Broken {
        /// In words.
        reason: String,
    },
}

/// A record that a receiver will never take, whatever is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the outbox.
    pub seq: u64,
    /// Its id.
    pub record_id: String,
    /// Why, as a label of a metric: `too_large`.
    pub reason: &'static str,
    /// Why, in words.
    pub detail: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(pub String);

/// An answer to come.
pub type Answering = Pin<Box<dyn Future<Output = Answer>>>;

/// How much a receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appetite {
    /// Records of a batch, at most.
    pub batch_records: usize,
    /// Bytes of a batch, at most, as the outbox counts them; one record may be larger.
    pub batch_bytes: usize,
    /// Batches that may be under way.
    pub batches: usize,
}

/// Whether a receiver knows how far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// It does not, so the store alone does.
    None,
    /// It does, and has nothing yet.
    Empty,
    /// It has all up to this place.
    Until(u64),
}

/// Somebody who takes records: findings, unless it says otherwise.
pub trait Receiver<T = Record> {
    /// How much it takes.
    fn appetite(&self) -> Appetite;

    /// Makes a connection, or what stands for one; also a second time, after [`Answer::Broken`]. It need not reach anybody yet.
    fn connect(&mut self) -> impl Future<Output = Result<(), ConnectError>>;

    /// Up to which place the receiver itself says that it has everything, as of the last [`connect`](Self::connect). Most keep no account.
    fn account(&self) -> Account {
        Account::None
    }

    /// Hands a batch over, in the order of the calls; the future says how it went. Called only after [`connect`](Self::connect) succeeded, and
    /// never with nothing.
    fn send(&mut self, batch: &Arc<[T]>) -> Answering;
}
