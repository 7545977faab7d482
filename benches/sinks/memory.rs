//! Memory of the agent while nobody takes its findings. Enters: a log with leaks, all of them new. Leaves: resident memory before, with all
//! of them waiting in the store for a broker and a collector that are down, and when both had them; beside it the same log without sinks.

use std::{fmt::Write as _, fs, path::Path, thread::sleep, time::Duration};

use anyhow::Result;
use outflow::{clock, store::StoreReader};
use testbed::{Broker, Collector, Deadline};

use crate::{Settings, agent::Agent, figures::memory_mib};

/// How long memory is given to settle: sinks fill what they keep under way within it.
const SETTLE: Duration = Duration::from_secs(10);

/// Longest for all findings to be stored, or to be delivered, seconds.
const LIMIT_S: u64 = 300;

pub(crate) fn run(settings: &Settings) -> Result<()> {
    if let Some(reason) = testbed::missing_for_peers() {
        println!("SKIP memory: {reason}");
        return Ok(());
    }
    let dir = tempfile::Builder::new().prefix("outflow-bench").tempdir_in(&settings.folder)?;
    let mut text = String::new();
    for number in 0..settings.findings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "INFO order {number} paid by person-{number}@outflow-bench-shop.com");
    }
    let mut broker = Broker::start(dir.path())?;
    let mut collector = Collector::start(dir.path())?;
    if !broker.skip_unless_ours() || !collector.skip_unless_ours() {
        return Ok(());
    }
    let sinks = format!(
        "[[sinks.kafka]]\nbrokers = [\"{}\"]\n[[sinks.otlp]]\nendpoint = \"{}\"\n",
        broker.address(),
        collector.grpc_endpoint()
    );
    broker.terminate()?;
    collector.terminate()?;
    let alone = dir.path().join("alone");
    waiting(&alone, "without sinks", "", &text, settings.findings)?;
    let both = dir.path().join("both");
    let agent = waiting(&both, "broker and collector down", &sinks, &text, settings.findings)?;

    let start = clock::instant();
    broker.start_again()?;
    collector.start_again()?;
    let store = StoreReader::open(&agent.store)?;
    Deadline::after(LIMIT_S).until("both to have all", || {
        let (head, cursors) = (store.head()?, store.cursors()?);
        Ok((cursors.len() == 2 && cursors.iter().all(|(_, cursor)| *cursor == head)).then_some(()))
    })?;
    let (now, most) = memory_mib(agent.pid())?;
    println!(
        "both up again, all delivered after {:.1} s (pauses of up to 30 s included): resident {now:.0} MiB, at most {most:.0}",
        start.elapsed().as_secs_f64(),
    );
    Ok(())
}

/// Starts an agent, lets it find everything, and says what memory it takes.
fn waiting(dir: &Path, name: &str, sinks: &str, text: &str, findings: usize) -> Result<Agent> {
    let logs = dir.with_extension("logs");
    fs::create_dir(&logs)?;
    let config = format!("[[logs.files]]\nglobs = [\"{}/*.log\"]\nservice = \"shop\"\n{sinks}", logs.display());
    let agent = Agent::start(dir, &config)?;
    sleep(SETTLE);
    let (before, _) = memory_mib(agent.pid())?;
    fs::write(logs.join("shop.part"), text)?;
    fs::rename(logs.join("shop.part"), logs.join("shop.log"))?;
    let store = StoreReader::open(&agent.store)?;
    Deadline::after(LIMIT_S)
        .until("all findings to be stored", || Ok((store.head()? >= findings as u64).then_some(())))?;
    sleep(SETTLE);
    let (now, most) = memory_mib(agent.pid())?;
    println!("{name}: resident {before:.0} MiB idle, {now:.0} MiB with {findings} findings stored, at most {most:.0}");
    Ok(agent)
}
