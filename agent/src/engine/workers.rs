//! One thread a shard, bounded channels, by connection. Enters: [`Input`]. Leaves: exchanges with their leaks, to the session.
//! A full channel blocks whoever delivers: a file waits, and the tap's ring fills and counts.

use std::{io, sync::Arc, thread::JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{LiveRules, LiveScanner, LoadError, Session};
use crate::{
    assembly::{Assembled, Assembler, Limits},
    detectors::{Detector as _, Hit},
    exchange::{Correlator, Exchange},
    sources::Input,
    units::Timestamp,
};

/// Inputs that may wait for one worker. A piece is at most 16 KiB, so a full channel holds 8 MiB.
const QUEUE: usize = 512;

/// Rooms 2 to 4 of one worker: no thread, no lock, so that replay and tests use it as it is.
pub struct Shard {
    assembler: Assembler,
    correlator: Correlator,
    scan: LiveScanner,
    session: Arc<Session>,
    assembled: Vec<Assembled>,
    exchanges: Vec<Exchange>,
    newest: Timestamp,
}

impl Shard {
    /// Empty rooms.
    pub fn new(rules: &Arc<LiveRules>, session: Arc<Session>) -> Result<Self, LoadError> {
        Ok(Self {
            assembler: Assembler::new(Limits::default()),
            correlator: Correlator::new(rules.now().vendors),
            scan: LiveScanner::new(Arc::clone(rules))?,
            session,
            assembled: Vec::new(),
            exchanges: Vec::new(),
            newest: Timestamp::default(),
        })
    }

    /// Takes one input through to the session. False when nobody reads the output any more.
    pub fn push(&mut self, input: &Input) -> bool {
        self.newest = self.newest.max(input.at);
        self.correlator.advance(input.at);
        self.assembler.push(input, &mut self.assembled);
        self.pass_on()
    }

    /// The source ended: what is open is cut and told.
    pub fn finish(&mut self) -> bool {
        self.assembler.finish(self.newest, &mut self.assembled);
        let listening = self.pass_on();
        self.correlator.finish(&mut self.exchanges);
        self.session.unscanned(self.scan.failed_blocks());
        self.tell() && listening
    }

    fn pass_on(&mut self) -> bool {
        for assembled in self.assembled.drain(..) {
            match assembled {
                Assembled::Message(message) => self.correlator.push(*message, &mut self.exchanges),
                Assembled::Closed(stream) => self.correlator.closed(stream, &mut self.exchanges),
                Assembled::CallOver { stream, call } => self.correlator.call_over(stream, call, &mut self.exchanges),
                Assembled::Frame(frame) => self.correlator.frame(*frame, &mut self.exchanges),
                Assembled::Anomaly(anomaly) => self.session.anomaly(anomaly.kind),
            }
        }
        self.tell()
    }

    fn tell(&mut self) -> bool {
        let mut listening = true;
        for mut exchange in self.exchanges.drain(..) {
            self.session.complete(&mut exchange);
            let mut leaks: Vec<Hit<'_>> = Vec::new();
            self.scan.scanner().inspect(&exchange, &mut |hit| leaks.push(hit));
            listening &= self.session.record(&exchange, &leaks);
        }
        listening
    }
}

/// The threads.
pub struct Workers {
    queues: Vec<Sender<Input>>,
    threads: Vec<JoinHandle<()>>,
}

/// Hands inputs to the workers.
#[derive(Clone)]
pub struct Deliver {
    queues: Vec<Sender<Input>>,
}

impl Workers {
    /// Starts `count` workers, at least one.
    pub fn start(rules: &Arc<LiveRules>, session: &Arc<Session>, count: usize) -> Result<Self, LoadError> {
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count.max(1) {
            let shard = Shard::new(rules, Arc::clone(session))?;
            let (sender, receiver) = bounded(QUEUE);
            let name = format!("outflow-work-{index}");
            threads.push(
                std::thread::Builder::new()
                    .name(name)
                    .spawn(move || work(shard, &receiver))
                    .map_err(LoadError::Thread)?,
            );
            queues.push(sender);
        }
        Ok(Self { queues, threads })
    }

    /// A handle for a source.
    pub fn deliver(&self) -> Deliver {
        Deliver { queues: self.queues.clone() }
    }

    /// A worker has ended by itself: nobody takes what it finds any more.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits until everything delivered is told. All [`Deliver`]s must be gone by then.
    pub fn finish(self) -> io::Result<()> {
        drop(self.queues);
        for thread in self.threads {
            thread.join().map_err(|_| io::Error::other("a worker panicked; this is a bug in outflow"))?;
        }
        Ok(())
    }
}

impl Deliver {
    /// Waits while the worker's channel is full. False when the worker has ended.
    pub fn input(&self, input: Input) -> bool {
        let shard = usize::try_from(input.stream.0).unwrap_or(0) % self.queues.len().max(1);
        self.queues.get(shard).is_some_and(|queue| queue.send(input).is_ok())
    }
}

fn work(mut shard: Shard, inputs: &Receiver<Input>) {
    for input in inputs {
        if !shard.push(&input) {
            return;
        }
    }
    shard.finish();
}
