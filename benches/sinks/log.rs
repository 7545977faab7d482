//! How long from a line's write to the consumer. Enters: lines, each with a leak of its own. Leaves: percentiles, one line at a time, a hundred
//! a second and five thousand a second, and beside them what producer, broker and consumer take without the agent.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    thread::{scope, sleep},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use outflow::findings::Finding;
use testbed::Broker;

use crate::{
    Settings,
    agent::Agent,
    consumer::{Consumer, Ready, producer, send},
    figures::{delays, now_ns, say_target},
};

/// Lines a second when they are not written one at a time, and for how many seconds at least.
const PACES: [(usize, usize); 2] = [(100, 3), (5_000, 5)];

/// Lines that are not timed: connections are made for the first ones.
const WARM_LINES: usize = 5;

pub(crate) fn run(settings: &Settings) -> Result<()> {
    if let Some(reason) = testbed::missing_for_broker() {
        println!("SKIP log: {reason}");
        return Ok(());
    }
    let dir = tempfile::Builder::new().prefix("outflow-bench").tempdir_in(&settings.folder)?;
    let broker = Broker::start(dir.path())?;
    for linger_ms in ["0", "10"] {
        let topic = broker.topic(&format!("bench-bare-{linger_ms}"));
        let consumer = Consumer::of_new(broker.address(), &topic)?;
        let producer = producer(broker.address(), &[("linger.ms", linger_ms)])?;
        let mut taken_ns = Vec::new();
        for number in 0..settings.lines {
            let start_ns = now_ns();
            send(&producer, &topic, [Ok(Ready::small(&number.to_string()))])?;
            taken_ns.push(consumer.next()?.0 - start_ns);
        }
        delays(&format!("bare rdkafka, linger.ms {linger_ms}, one message at a time"), taken_ns);
    }
    for (linger_ms, is_default) in [("0", false), ("10", true)] {
        let topic = broker.topic(&format!("bench-log-{linger_ms}"));
        let consumer = Consumer::of_new(broker.address(), &topic)?;
        let folder = dir.path().join(format!("agent-{linger_ms}"));
        let logs = dir.path().join(format!("logs-{linger_ms}"));
        std::fs::create_dir(&logs)?;
        let config = format!(
            "[[logs.files]]\nglobs = [\"{}/*.log\"]\nservice = \"shop\"\n[[sinks.kafka]]\nbrokers = [\"{}\"]\ntopic = \"{topic}\"\n\
             format = \"native\"\n[sinks.kafka.settings]\n\"linger.ms\" = {linger_ms}\n",
            logs.display(),
            broker.address(),
        );
        let _agent = Agent::start(&folder, &config)?;
        let name = format!("outflow, linger.ms {linger_ms}");
        delays(&format!("{name}, one line at a time"), one_at_a_time(&logs, &consumer, settings.lines)?);
        for (pace, seconds) in PACES.into_iter().filter(|_| is_default) {
            let lines = settings.lines.max(pace * seconds);
            let p99_ms = delays(&format!("{name}, {pace} lines/s"), paced(&logs, &consumer, pace, lines)?);
            say_target(p99_ms);
        }
    }
    Ok(())
}

fn one_at_a_time(logs: &Path, consumer: &Consumer, lines: usize) -> Result<Vec<u64>> {
    let mut log = open(logs, "single")?;
    let mut taken_ns = Vec::new();
    for number in 0..lines + WARM_LINES {
        let start_ns = write(&mut log, "single", number)?;
        let (at_ns, line) = next_line(consumer)?;
        ensure!(line == number, "line {number} was written, line {line} arrived");
        taken_ns.push(at_ns - start_ns);
    }
    Ok(taken_ns.split_off(WARM_LINES))
}

/// So many lines a second: each has its time, and one that comes late does not move the next.
fn paced(logs: &Path, consumer: &Consumer, pace: usize, lines: usize) -> Result<Vec<u64>> {
    let (name, pace_ns) = (format!("paced-{pace}"), 1_000_000_000 / pace as u64);
    let mut log = open(logs, &name)?;
    scope(|scope| {
        let writer = scope.spawn(move || -> Result<Vec<u64>> {
            let mut written_ns = Vec::new();
            let begun_ns = now_ns();
            for number in 0..lines {
                let due_ns = begun_ns + number as u64 * pace_ns;
                sleep(Duration::from_nanos(due_ns.saturating_sub(now_ns())));
                written_ns.push(write(&mut log, &name, number)?);
            }
            Ok(written_ns)
        });
        let arrived = (0..lines).map(|_| next_line(consumer)).collect::<Result<Vec<_>>>()?;
        let written_ns = writer.join().ok().context("the writer panicked")??;
        let taken = arrived.into_iter().map(|(at_ns, line)| {
            let start_ns = written_ns.get(line).with_context(|| format!("line {line} was never written"))?;
            Ok(at_ns - start_ns)
        });
        taken.collect()
    })
}

fn open(logs: &Path, name: &str) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(logs.join(name).with_extension("log"))?)
}

/// Writes one line with one system call; gives the moment before it.
fn write(log: &mut File, name: &str, number: usize) -> Result<u64> {
    let line = format!("INFO order {number} paid by {name}-{number}@outflow-bench-shop.com\n");
    let start_ns = now_ns();
    log.write_all(line.as_bytes())?;
    Ok(start_ns)
}

/// When the next finding arrived, and the line that it is about, from 0 on.
fn next_line(consumer: &Consumer) -> Result<(u64, usize)> {
    let (at_ns, finding) = next_finding(consumer)?;
    let line = finding.location.and_then(|location| location.line).context("a finding of a log has a line")?;
    Ok((at_ns, usize::try_from(line)? - 1))
}

/// The next finding, and when it arrived.
pub(crate) fn next_finding(consumer: &Consumer) -> Result<(u64, Finding)> {
    use rdkafka::Message as _;
    let (at_ns, message) = consumer.next()?;
    Ok((at_ns, serde_json::from_slice(message.payload().unwrap_or_default())?))
}
