//! Reads the topic of budget state for an agent. Enters: `[fleet]`. Leaves: a [`View`] that a thread keeps up to date. It joins no consumer group,
//! commits nothing, makes no topic and never waits for brokers on a thread of others.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use rdkafka::{Message as _, consumer::BaseConsumer, error::KafkaError};

use super::{
    FleetError,
    client::{Listener, assign_all, better, partitions, reader},
    view::View,
};
use crate::{clock, config::Fleet};

/// How long it waits for a message before it looks whether it is to end.
const WAIT: Duration = Duration::from_millis(100);

/// After so long without a message, and with a complaint, a new client is made: it reads secrets and addresses anew.
const RENEW: Duration = Duration::from_secs(30);

/// A thread that reads the topic.
pub struct Follower {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    view: Mutex<View>,
    /// Why nothing is heard, when it is known.
    trouble: Mutex<Option<String>>,
    ending: AtomicBool,
}

impl Follower {
    /// Begins to read. Brokers that cannot be reached, and a topic that is not there, are waited for.
    pub fn start(fleet: Fleet) -> Result<Self, FleetError> {
        // What is wrong with the settings is known now.
        reader(&fleet)?;
        let shared = Arc::new(Shared::default());
        let of = Arc::clone(&shared);
        let follow = move || {
            while !of.ending.load(Relaxed) {
                let ended = of.follow(&fleet);
                of.say(ended.err().map(|error| error.to_string()));
                if !of.ending.load(Relaxed) {
                    std::thread::park_timeout(Duration::from_secs(1));
                }
            }
        };
        let thread = std::thread::Builder::new().name("outflow-fleet".to_owned()).spawn(follow);
        Ok(Self { shared, thread: Some(thread.map_err(FleetError::Thread)?) })
    }

    /// What is known now.
    pub fn view<T>(&self, look: impl FnOnce(&mut View) -> T) -> T {
        look(&mut self.shared.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why nothing is heard, when it is known.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.ending.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It may wait for brokers, for some seconds; nothing is lost with it.
            drop(thread);
        }
    }
}

impl Shared {
    fn say(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Reads with one client, until it is of no use any more.
    fn follow(&self, fleet: &Fleet) -> Result<(), FleetError> {
        let topic = fleet.state_topic.as_str();
        let (consumer, listener) = reader(fleet)?;
        let all = partitions(&consumer, topic).map_err(|error| better(error, &consumer, &listener))?;
        if all.is_empty() {
            let what = format!("cannot read topic {topic}");
            return Err(FleetError::Kafka { what, why: "there is no such topic".to_owned() });
        }
        assign_all(&consumer, topic, &all)?;
        self.read(&consumer, &listener, topic)
    }

    fn read(&self, consumer: &BaseConsumer<Listener>, listener: &Listener, topic: &str) -> Result<(), FleetError> {
        let (mut heard, mut complaint) = (clock::instant(), None);
        while !self.ending.load(Relaxed) {
            match consumer.poll(WAIT) {
                Some(Ok(message)) => {
                    self.view.lock().unwrap_or_else(PoisonError::into_inner).take(message.key(), message.payload());
                    (heard, complaint) = (clock::instant(), None);
                    drop(listener.complaint());
                    self.say(None);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => complaint = Some(error.to_string()),
                None => complaint = listener.complaint().or(complaint),
            }
            if let Some(why) = &complaint {
                self.say(Some(format!("cannot read topic {topic}: {why}")));
                if heard.elapsed() > RENEW {
                    return Err(FleetError::Kafka { what: format!("cannot read topic {topic}"), why: why.clone() });
                }
            }
        }
        Ok(())
    }
}
