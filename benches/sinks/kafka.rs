//! Findings a second from the store to Kafka. Enters: a store with findings. Leaves: for each format, the sink beside a bare loop that sends
//! the same messages (read back from the topic: same bytes, keys, headers) to the same topic with the same settings, with as many under way,
//! in turns; and both in transactions. What a producer needs to begin (half a second: its id) is not measured.

use std::{ffi::OsStr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, stream};
use rdkafka::producer::Producer as _;
use tempfile::TempDir;
use testbed::Broker;

use crate::{
    Settings,
    consumer::{Consumer, Ready, hand_over, producer, send},
    figures::{Clock, Run, Way, compare},
    place::Place,
};

const ROUNDS: usize = 5;

/// Findings of a run that are delivered before the clock starts: one of so many.
const WARM: usize = 6;

/// So many times the findings of other parts: a producer is fast, and a short run says little.
const LENGTH: usize = 3;

/// As the sink has them (agent/src/sinks/kafka/mod.rs).
const UNDER_WAY: usize = 4800;
const TRANSACTION: usize = 1000;

/// Longest that the broker may take for a transaction's beginning or end.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn run(settings: &Settings) -> Result<()> {
    if let Some(reason) = testbed::missing_for_broker() {
        println!("SKIP kafka: {reason}");
        return Ok(());
    }
    let place = Place::fill(&settings.folder, settings.findings * LENGTH)?;
    println!("{} findings a run, medians of {ROUNDS}; folder {}", place.findings, settings.folder.display());
    let warm = place.findings / WARM;
    for format in ["ocsf", "native"] {
        // Once before it counts; and so there are messages to send again.
        let messages = {
            let stage = Stage::new(&place)?;
            let consumer = Consumer::of_new(stage.broker.address(), &stage.topic)?;
            place.deliver(&stage.config(format, false), 0)?;
            consumer.take(place.findings)?.iter().map(Ready::again).collect::<Vec<_>>()
        };
        for once in [false, true] {
            let how = if once { ", in transactions" } else { "" };
            let mut ways = [
                Way::new(&format!("bare rdkafka, {format}{how}, messages made beforehand")),
                Way::new(&format!("outflow, from the store{how}")),
            ];
            for _ in 0..ROUNDS {
                let (stage, again) = (Stage::new(&place)?, messages.clone());
                let bare = if once { transactions } else { bare };
                ways[0].runs.push(bare(stage.broker.address(), &stage.topic, again, warm)?);
                drop(stage);
                let stage = Stage::new(&place)?;
                ways[1].runs.push(place.deliver(&stage.config(format, once), warm)?);
            }
            compare(&ways);
        }
    }
    Ok(())
}

/// A broker for one run: noida-db writes all that it has to the disk every now and then, so one that has much takes a core of those who send.
struct Stage {
    broker: Broker,
    topic: String,
    /// Of the sink: nothing was delivered under it yet.
    name: String,
    _dir: TempDir,
}

impl Stage {
    fn new(place: &Place) -> Result<Self> {
        let dir = TempDir::new_in(place.dir())?;
        let broker = Broker::start(dir.path())?;
        let topic = broker.topic("bench");
        let name = dir.path().file_name().and_then(OsStr::to_str).context("a folder has a name")?.to_owned();
        Ok(Self { broker, topic, name, _dir: dir })
    }

    fn config(&self, format: &str, once: bool) -> String {
        let (Self { topic, name, .. }, address) = (self, self.broker.address());
        format!(
            "[[sinks.kafka]]\nname = \"{name}\"\nbrokers = [\"{address}\"]\ntopic = \"{topic}\"\nformat = \"{format}\"\nexactly_once = {once}\n"
        )
    }
}

/// Sends all; the clock starts when `warm` of them are there.
fn bare(brokers: &str, topic: &str, messages: Vec<Ready>, warm: usize) -> Result<Run> {
    let producer = producer(brokers, &[])?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (mut sent, mut clock, count) = (0, None, messages.len());
    runtime.block_on(async {
        let delivering = messages.into_iter().map(|message| {
            let handed = hand_over(&producer, topic, message);
            async { anyhow::Ok(handed?.await?.map_err(|(error, _)| error)?) }
        });
        let mut delivered = stream::iter(delivering).buffered(UNDER_WAY);
        while let Some(delivery) = delivered.next().await {
            delivery?;
            sent += 1;
            if sent == warm {
                clock = Some(Clock::start());
            }
        }
        anyhow::Ok(())
    })?;
    ensure!(sent == count, "{sent} of {count} were sent");
    clock.map(|clock| clock.stop(count - warm)).context("nothing was sent")
}

/// The same in transactions, one after the other, without the place in the stream that the sink's have.
fn transactions(brokers: &str, topic: &str, messages: Vec<Ready>, warm: usize) -> Result<Run> {
    let producer = producer(brokers, &[("transactional.id", "bare")])?;
    producer.init_transactions(LIMIT)?;
    let (mut sent, mut started, count) = (0, None, messages.len());
    for chunk in messages.chunks(TRANSACTION) {
        if started.is_none() && sent >= warm {
            started = Some((Clock::start(), sent));
        }
        producer.begin_transaction()?;
        send(&producer, topic, chunk.to_vec())?;
        producer.commit_transaction(LIMIT)?;
        sent += chunk.len();
    }
    let (clock, before) = started.context("more findings are needed")?;
    Ok(clock.stop(count - before))
}
