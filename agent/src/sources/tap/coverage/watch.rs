//! The thread that watches coverage. Enters: events, from the ring's reader, which never waits for it. Leaves: [`Unseen`], one call
//! each; connections that failed are passed on as they are. What finds no room is counted and told once.

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
        handshake::FailedHandshake,
        tap::{TapError, thread as start_thread},
    },
    units::Timestamp,
};

/// Events that may wait.
const QUEUE: usize = 4_096;
/// How often bursts are looked at while there are any.
const TICK: Duration = Duration::from_millis(250);

/// How often it is told how much was missed: on a busy host there is always some.
const TELL: Duration = Duration::from_mins(1);

/// What the thread has to say.
#[derive(Debug)]
pub(in super::super) enum News {
    /// A process that is not seen.
    Unseen(Box<Unseen>),
    /// Connections that do not come about.
    Handshake(Box<FailedHandshake>),
    /// This many connections and processes were not looked at.
    Missed(u64),
}

/// What the ring's reader hands over.
#[derive(Debug)]
enum Heard {
    Event(Event, Timestamp),
    Failed(Box<FailedHandshake>),
}

/// Hands events to the thread.
pub(in super::super) struct Events {
    queue: Sender<Heard>,
    dropped: Arc<AtomicU64>,
}

impl Events {
    /// Hands one over, or counts it.
    pub(in super::super) fn send(&self, event: Event, at: Timestamp) {
        self.hand(Heard::Event(event, at));
    }

    /// Passes on that connections do not come about, or counts it.
    pub(in super::super) fn failed(&self, failed: FailedHandshake) {
        self.hand(Heard::Failed(Box::new(failed)));
    }

    fn hand(&self, heard: Heard) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(heard) {
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

fn run(events: &Receiver<Heard>, dropped: &AtomicU64, world: &mut dyn World, mut news: impl FnMut(News)) {
    let (mut coverage, mut missed) = (Coverage::new(), 0);
    let (mut looked, mut told) = (Timestamp::default(), Timestamp::default());
    loop {
        let wait = if coverage.is_waiting() { TICK } else { Duration::MAX };
        let (mut unseen, ended) = match events.recv_timeout(wait) {
            Ok(Heard::Event(event, at)) => (coverage.take(event, at, world), false),
            Ok(Heard::Failed(failed)) => {
                news(News::Handshake(failed));
                (Vec::new(), false)
            }
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
        missed += coverage.take_missed() + dropped.swap(0, Ordering::Relaxed);
        if missed > 0 && (ended || now.since_ns(told) >= TELL.as_nanos() as u64) {
            news(News::Missed(std::mem::take(&mut missed)));
            told = now;
        }
        if ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, SocketAddr},
        sync::mpsc,
    };

    use super::*;
    use crate::sources::{Origin, coverage::Look};

    /// Everybody's hosts file names a vendor, and processes below 10 are there.
    struct Everywhere;

    impl World for Everywhere {
        fn hosts(&mut self, _pid: u32, _address: IpAddr) -> Vec<Arc<str>> {
            vec!["api.example".into()]
        }

        fn look(&mut self, pid: u32) -> Option<Look> {
            let origin = Origin { pid, ..Origin::default() };
            let look = Look { origin, executable: String::new(), inode: (1, pid.into()), files: Vec::new() };
            (pid < 10).then_some(look)
        }
    }

    #[test]
    fn what_is_left_is_judged_at_the_end_and_what_was_missed_is_told() {
        let (tell, told) = mpsc::channel();
        let (events, thread) = start(Everywhere, move |news| tell.send(news).unwrap()).unwrap();
        let to = SocketAddr::from(([192, 0, 2, 1], 443));
        for pid in [7, 11, 12] {
            events.send(Event::Connected { pid, to }, clock::now());
        }
        drop(events);
        thread.join().unwrap();
        let news: Vec<News> = told.iter().collect();
        let [News::Unseen(unseen), News::Missed(2)] = &news[..] else { panic!("{news:?}") };
        assert_eq!((unseen.look.origin.pid, unseen.to), (7, to));
    }

    #[test]
    fn events_past_the_queue_are_counted() {
        let (queue, events) = bounded(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let sender = Events { queue, dropped: Arc::clone(&dropped) };
        for _ in 0..3 {
            sender.send(Event::Exited { pid: 1 }, Timestamp(1));
        }
        assert_eq!((events.len(), dropped.load(Ordering::Relaxed)), (1, 2));
    }
}
