//! The thread that watches coverage. Enters: events, from the ring's reader, which never waits for it. Leaves: [`Unseen`], one call
//! each. What finds no room is counted and told once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::{Coverage, Event, World};
use crate::{
    clock,
    sources::{
        coverage::Unseen,
        tap::{TapError, thread as start_thread},
    },
    units::Timestamp,
};

/// Events that may wait.
const QUEUE: usize = 4_096;
/// How often bursts are looked at while there are any.
const TICK: Duration = Duration::from_millis(250);

/// What the thread has to say.
#[derive(Debug)]
pub(in super::super) enum News {
    /// A process that is not seen.
    Unseen(Box<Unseen>),
    /// This many connections and processes were not looked at.
    Missed(u64),
}

/// Hands events to the thread.
pub(in super::super) struct Events {
    queue: Sender<(Event, Timestamp)>,
    dropped: Arc<AtomicU64>,
}

impl Events {
    /// Hands one over, or counts it.
    pub(in super::super) fn send(&self, event: Event, at: Timestamp) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send((event, at)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Starts the thread; it ends when the events do, and judges what is left then.
pub(in super::super) fn start(
    mut world: impl World + Send + 'static,
    news: impl FnMut(News) + Send + 'static,
) -> Result<(Events, JoinHandle<()>), TapError> {
    let (queue, events) = bounded(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&dropped);
    let thread = start_thread("outflow-cover", move || run(&events, &counted, &mut world, news))?;
    Ok((Events { queue, dropped }, thread))
}

fn run(events: &Receiver<(Event, Timestamp)>, dropped: &AtomicU64, world: &mut dyn World, mut news: impl FnMut(News)) {
    let (mut coverage, mut looked) = (Coverage::new(), Timestamp::default());
    loop {
        let wait = if coverage.is_waiting() { TICK } else { Duration::MAX };
        let (mut unseen, ended) = match events.recv_timeout(wait) {
            Ok((event, at)) => (coverage.take(event, at, world), false),
            Err(RecvTimeoutError::Timeout) => (Vec::new(), false),
            Err(RecvTimeoutError::Disconnected) => (coverage.settled(Timestamp(u64::MAX), world), true),
        };
        let now = clock::now();
        if now.since_ns(looked) >= TICK.as_nanos() as u64 {
            looked = now;
            unseen.extend(coverage.settled(now, world));
        }
        for one in unseen {
            news(News::Unseen(Box::new(one)));
        }
        let missed = coverage.take_missed() + dropped.swap(0, Ordering::Relaxed);
        if missed > 0 {
            news(News::Missed(missed));
        }
        if ended {
            return;
        }
    }
}
