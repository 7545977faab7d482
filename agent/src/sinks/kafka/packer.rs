//! Records become messages on a thread of their own, while the sink's thread reads the next rows. Enters: batches. Leaves: what librdkafka took of
//! each, in the order in which they came. It waits for no broker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use rdkafka::producer::DeliveryFuture;
use tokio::sync::oneshot;

use super::{
    Verdict,
    link::{Denial, Link},
    message::Outgoing,
};
use crate::sinks::ConnectError;

type Job = Box<dyn FnOnce() + Send>;

/// What became of a batch.
#[derive(Default)]
pub(super) struct Packed {
    /// What is on its way, with its place in the batch.
    pub(super) under_way: Vec<(usize, DeliveryFuture)>,
    /// What librdkafka did not take.
    pub(super) verdict: Verdict,
}

/// The thread.
#[derive(Debug)]
pub(super) struct Packer {
    jobs: mpsc::Sender<Job>,
    /// Held by batches that are not answered for.
    turn: Arc<Turn>,
}

/// Batches up to the one that is answered for while none other is.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// One of them was not taken: nothing behind it may overtake it.
    is_stopped: AtomicBool,
}

impl Packer {
    /// It ends when this is dropped and what was handed over is done.
    pub(super) fn start() -> Result<Self, ConnectError> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("kafka-packer".to_owned())
            .spawn(move || waiting.into_iter().for_each(|job| job()))
            .map_err(|error| ConnectError(format!("no thread can be started: {error}")))?;
        Ok(Self { jobs, turn: Arc::default() })
    }

    /// Hands a batch over. An error of the receiver: the thread is gone. The turn is to be kept until the batch is answered for.
    pub(super) fn pack<T: Outgoing>(
        &mut self,
        link: &Arc<Link>,
        batch: &Arc<[T]>,
    ) -> (oneshot::Receiver<Packed>, Arc<Turn>) {
        let (answer, packed) = oneshot::channel();
        if Arc::get_mut(&mut self.turn).is_some() {
            self.turn = Arc::default();
        }
        let (link, batch, turn) = (Arc::clone(link), Arc::clone(batch), Arc::clone(&self.turn));
        // When the thread is gone so is the job, and its answer with it.
        let _ = self.jobs.send(Box::new(move || {
            let packed = pack(&link, &batch, &turn);
            // Before anybody can know: the next one may be of another turn.
            drop(turn);
            let _ = answer.send(packed);
        }));
        (packed, Arc::clone(&self.turn))
    }
}

fn pack<T: Outgoing>(link: &Link, batch: &[T], turn: &Turn) -> Packed {
    let mut packed = Packed { under_way: Vec::with_capacity(batch.len()), ..Packed::default() };
    for (index, record) in batch.iter().enumerate() {
        let handed = if turn.is_stopped.load(Relaxed) {
            Err(Denial::NotNow { reason: "a record before it was not taken".to_owned(), after: None })
        } else {
            link.produce(record)
        };
        match handed {
            Ok(delivery) => packed.under_way.push((index, delivery)),
            Err(denial) => packed.verdict.add(record, denial),
        }
        if packed.verdict.denied.is_some() {
            turn.is_stopped.store(true, Relaxed);
            break;
        }
    }
    packed
}
