//! Findings a second from the store to Kafka. Enters: a store with findings. Leaves: for each format, the sink beside a bare loop over the same
//! client library with the same settings, in turns; and both in transactions. The bare loop does what has to be done: rows by one SELECT, each
//! read, written as the sink writes it, and given to the client, with as many under way as the sink has (that it makes the same messages is
//! looked at first). Beside them the client alone, to which the messages are given as they are: on two cores it fills both, so that is no
//! speed which anything that reads a store can have (docs/ARCHITECTURE.md). What a producer needs to begin (half a second: its id) is not
//! measured.

use std::{ffi::OsStr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, stream};
use outflow::{
    findings::Finding,
    sinks::{Host, ocsf},
    units::Timestamp,
};
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::Producer as _,
};
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
        let made =
            place.rows(|rows| rows.map(|payload| ready(payload?, format, &place.host)).collect::<Result<Vec<_>>>())?;
        ensure!(made == messages, "the bare loop does not make what the sink sent");
        let bytes: usize = made.iter().map(|message| message.payload.len()).sum();
        println!("{format}: {} bytes a payload", bytes / made.len().max(1));
        drop(made);
        for once in [false, true] {
            let how = if once { ", in transactions" } else { "" };
            let mut ways = [
                Way::new(&format!("bare loop over rusqlite and rdkafka, {format}{how}")),
                Way::new(&format!("outflow{how}")),
                Way::new(&format!("rdkafka alone{how}, messages made beforehand")),
            ];
            let bare = |stage: &Stage, messages: &mut dyn Iterator<Item = Result<Ready>>| {
                let (brokers, topic) = (stage.broker.address(), stage.topic.as_str());
                if once {
                    transactions(brokers, topic, messages, warm)
                } else {
                    one_by_one(brokers, topic, messages, warm)
                }
            };
            for _ in 0..ROUNDS {
                let stage = Stage::new(&place)?;
                ways[0].runs.push(
                    place.rows(|rows| bare(&stage, &mut rows.map(|payload| ready(payload?, format, &place.host))))?,
                );
                drop(stage);
                let stage = Stage::new(&place)?;
                ways[1].runs.push(place.deliver(&stage.config(format, once), warm)?);
                drop(stage);
                let (stage, again) = (Stage::new(&place)?, messages.clone());
                ways[2].runs.push(bare(&stage, &mut again.into_iter().map(Ok))?);
            }
            compare(&ways[..2], &ways[2..]);
            // The gate as it was set, against the client alone.
            ways.swap(0, 2);
            compare(&ways[..2], &[]);
        }
    }
    Ok(())
}

/// A row's payload as the sink writes it (agent/src/sinks/kafka/message.rs).
fn ready(payload: String, format: &str, host: &Host) -> Result<Ready> {
    let finding: Finding = serde_json::from_str(&payload)?;
    let is_native = format == "native";
    let schema = if is_native { "urn:outflow:schema:finding-v1" } else { "https://schema.ocsf.io/1.8.0" };
    let at = Timestamp::parse(&finding.last_seen).context("a finding has a time")?;
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_type", "outflow.finding.v1"),
        ("ce_source", &format!("//{}/outflow", host.name)),
        ("ce_id", &finding.record_id),
        ("ce_time", &finding.last_seen),
        ("ce_subject", &finding.rule.id),
        ("ce_dataschema", schema),
        ("content-type", "application/json"),
    ];
    let headers = headers.into_iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    });
    Ok(Ready {
        payload: if is_native { payload } else { ocsf::encode(&finding, host)? }.into_bytes(),
        key: finding.finding_id.into_bytes(),
        headers,
        time_ms: Some(i64::try_from(at.0 / 1_000_000)?),
    })
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
fn one_by_one(
    brokers: &str,
    topic: &str,
    messages: &mut dyn Iterator<Item = Result<Ready>>,
    warm: usize,
) -> Result<Run> {
    let producer = producer(brokers, &[])?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (mut sent, mut clock) = (0, None);
    runtime.block_on(async {
        let delivering = messages.map(|message| {
            let handed = message.and_then(|message| hand_over(&producer, topic, message));
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
    clock.map(|clock| clock.stop(sent - warm)).context("more findings are needed")
}

/// The same in transactions, one after the other, without the place in the stream that the sink's have.
fn transactions(
    brokers: &str,
    topic: &str,
    messages: &mut dyn Iterator<Item = Result<Ready>>,
    warm: usize,
) -> Result<Run> {
    let producer = producer(brokers, &[("transactional.id", "bare")])?;
    producer.init_transactions(LIMIT)?;
    let (mut sent, mut started) = (0, None);
    let mut messages = messages.peekable();
    while messages.peek().is_some() {
        if started.is_none() && sent >= warm {
            started = Some((Clock::start(), sent));
        }
        producer.begin_transaction()?;
        // All are there before the commit: its own wait for them takes 100 ms.
        sent += send(&producer, topic, messages.by_ref().take(TRANSACTION))?;
        producer.commit_transaction(LIMIT)?;
    }
    let (clock, before) = started.context("more findings are needed")?;
    Ok(clock.stop(sent - before))
}
