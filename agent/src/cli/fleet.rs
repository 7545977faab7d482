//! `outflow fleet`: adds up what all hosts spend of the budgets that they have together. Enters: the config file of the agents. Leaves: totals in a
//! compacted topic, talk on standard error. It reads no host, needs no right and keeps nothing on disk.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;

use super::config::refused;
use crate::{config::Config, detectors::budget::Budget};

/// Adds up what a fleet spends of the budgets that its hosts have together
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Several of them share the work: they are one consumer group.\nKilled and started again, each counts on where it was: no call is lost or counted twice. Budgets are taken up at the start.\n\nExamples:\n  outflow fleet --config outflow.toml"
)]
pub struct Args {
    /// The config file: [fleet] and each [[budget]] with `fleet = true`, the same as the agents have
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => return Ok(refused(&error)),
    };
    if !config.has_fleet() {
        let file = args.config.display();
        bail!("{file} has no [[budget]] with `fleet = true`: there is nothing to add up; see docs/FLEET.md");
    }
    let budgets: Vec<Budget> = config.budgets().of_fleet().cloned().collect();
    count(&config, budgets)
}

#[cfg(not(feature = "kafka"))]
fn count(_: &Config, _: Vec<Budget>) -> anyhow::Result<ExitCode> {
    Err(crate::fleet::FleetError::NotBuilt.into())
}

#[cfg(feature = "kafka")]
fn count(config: &Config, budgets: Vec<Budget>) -> anyhow::Result<ExitCode> {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    };

    use anyhow::Context as _;
    use tokio::signal::unix::{SignalKind, signal};

    use super::exit;
    use crate::fleet::Group;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start tokio")?;
    let ending = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&ending);
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    runtime.spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        ends.store(true, Relaxed);
    });
    let fleet = config.fleet.clone();
    let (from, to) = (fleet.usage_topic.clone(), fleet.state_topic.clone());
    let (usage, state) = (from.clone(), to.clone());
    let tell = Arc::new(move |notice| anstream::eprintln!("outflow: {}", said(&notice, &usage, &state)));
    let group = match Group::join(fleet, budgets, tell) {
        Ok(group) => group,
        Err(error) => {
            anstream::eprintln!("outflow: {error}");
            return Ok(ExitCode::from(exit::INCOMPLETE));
        }
    };
    anstream::eprintln!("outflow: adds up topic {from} into topic {to}");
    let ended = group.run(&ending);
    let counts = group.counts();
    drop(group);
    runtime.shutdown_background();
    anstream::eprintln!(
        "outflow: {} calls counted, {} repeats of calls passed over, {} of windows that are over for long, {} records of an unknown \
         version, {} that are none, {} additions refused",
        counts.counted,
        counts.repeated,
        counts.too_late,
        counts.unknown_version,
        counts.invalid,
        counts.refused,
    );
    match ended {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            anstream::eprintln!("outflow: {error}");
            Ok(ExitCode::from(exit::INCOMPLETE))
        }
    }
}

#[cfg(feature = "kafka")]
fn said(notice: &crate::fleet::GroupNotice, usage: &crate::config::Topic, state: &crate::config::Topic) -> String {
    use crate::fleet::{GroupNotice, tally::Oddity};

    match notice {
        GroupNotice::MadeTopic => format!("made topic {state}, compacted, with one partition"),
        GroupNotice::Counts(parts) if parts.is_empty() => {
            "counts no partition: others of the group have them".to_owned()
        }
        GroupNotice::Counts(parts) => {
            let parts = parts.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
            format!("counts partitions {parts} of topic {usage}")
        }
        GroupNotice::Odd(part, Oddity::Shorter { counted_to, end }) => format!(
            "partition {part} of topic {usage} ends at {end}, before {counted_to}, to which it was counted: was it made anew? Counts on from its end"
        ),
        GroupNotice::Odd(part, Oddity::Removed { records }) => format!(
            "partition {part} of topic {usage}: up to {records} records were removed before they were counted; raise its retention"
        ),
        GroupNotice::Waits(why) => format!("waits, and agents see that totals grow old: {why}"),
        GroupNotice::GoesOn => "goes on".to_owned(),
    }
}
