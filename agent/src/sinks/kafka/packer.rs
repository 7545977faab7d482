//! Records become messages on a thread of their own, while the sink's thread reads the next rows. Enters: batches. Leaves: what librdkafka took of
//! each, in the order in which they came. It waits for no broker.

use std::{
    sync::{Arc, OnceLock, mpsc},
    thread::{self, JoinHandle},
};

use rdkafka::producer::DeliveryFuture;
use tokio::sync::oneshot;

use super::{BATCHES, Verdict, link::Link, message::Outgoing};
use crate::sinks::{Answer, ConnectError};

type Job = Box<dyn FnOnce() + Send>;

/// What became of a batch.
#[derive(Default)]
pub(super) struct Packed {
    /// What is on its way, with its place in the batch.
    pub(super) under_way: Vec<(usize, DeliveryFuture)>,
    /// What librdkafka did not take.
    pub(super) verdict: Verdict,
}

/// Whoever hands batches to the thread. With it the thread ends.
#[derive(Debug)]
pub(super) struct Packer {
    jobs: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    overlap: Arc<Overlap>,
}

/// Batches that overlap in time: it is over when none of them is unanswered.
#[derive(Debug, Default)]
pub(super) struct Overlap {
    /// What one of them was answered that was not taken: nothing behind it may overtake it.
    stopped: OnceLock<Answer>,
}

impl Packer {
    pub(super) fn start() -> Result<Self, ConnectError> {
        let (jobs, waiting) = mpsc::sync_channel::<Job>(BATCHES);
        let thread = thread::Builder::new()
            .name("kafka-packer".to_owned())
            .spawn(move || waiting.into_iter().for_each(|job| job()))
            .map_err(|error| ConnectError(format!("no thread can be started: {error}")))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), overlap: Arc::default() })
    }

    /// Hands a batch over. An error of the receiver: the thread is gone. The overlap is to be held until the batch is answered for.
    pub(super) fn pack<T: Outgoing>(
        &mut self,
        link: &Arc<Link>,
        batch: &Arc<[T]>,
    ) -> (oneshot::Receiver<Packed>, Arc<Overlap>) {
        let (answer, packed) = oneshot::channel();
        // Nobody else holds it.
        if Arc::get_mut(&mut self.overlap).is_some() {
            self.overlap = Arc::default();
        }
        let (link, batch, overlap) = (Arc::clone(link), Arc::clone(batch), Arc::clone(&self.overlap));
        let job = move || {
            // Who waited for it gave up: it is handed over again, perhaps to another producer.
            if answer.is_closed() {
                return;
            }
            let packed = pack(&link, &batch, &overlap);
            // Before anybody can know: the next batch may belong to another one.
            drop(overlap);
            let _ = answer.send(packed);
        };
        if let Some(jobs) = &self.jobs {
            // When the thread is gone so is the job, and its answer with it.
            let _ = jobs.send(Box::new(job));
        }
        (packed, Arc::clone(&self.overlap))
    }

    /// Ends the thread, behind what it is at. An error: it panicked.
    pub(super) fn end(&mut self) -> thread::Result<()> {
        self.jobs = None;
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Packer {
    /// So that nothing is handed to a producer behind whose back another one begins.
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn pack<T: Outgoing>(link: &Link, batch: &[T], overlap: &Overlap) -> Packed {
    let mut packed = Packed { under_way: Vec::with_capacity(batch.len()), ..Packed::default() };
    if let Some(stopped) = overlap.stopped.get() {
        packed.verdict.denied = Some(stopped.clone());
        return packed;
    }
    for (index, record) in batch.iter().enumerate() {
        match link.produce(record) {
            Ok(delivery) => packed.under_way.push((index, delivery)),
            Err(denial) => packed.verdict.add(record, denial),
        }
        if let Some(denied) = &packed.verdict.denied {
            // There is one thread, so this is the first.
            let _ = overlap.stopped.set(denied.clone());
            break;
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_at_the_end() {
        let mut packer = Packer::start().unwrap();
        packer.jobs.as_ref().unwrap().send(Box::new(|| panic!("a bug"))).unwrap();
        assert!(packer.end().is_err());
    }
}
