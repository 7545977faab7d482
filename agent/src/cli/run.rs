//! `outflow run`: the agent as a service. Enters: a config file, signals. Leaves: findings in the store, talk on standard error, the page
//! for probes and monitoring. It taps nothing that the config does not name, and gives up its rights before it reads anything.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{agent::Agent, attach::Attachers, breaker::Enforcement, control::Control, notices::notice};
use super::{config::effective, config::refused, exit};
use crate::{
    clock,
    config::Config,
    enforce::EnforceError,
    sources::privileges::{self, Keep, PrivilegeError, User},
};

mod agent;
#[cfg(feature = "tap")]
mod attach;
#[cfg(not(feature = "tap"))]
#[path = "run/no_tap.rs"]
mod attach;
mod breaker;
pub(super) mod control;
mod figures;
mod fleet;
#[cfg(feature = "otlp")]
mod meters;
#[cfg(not(feature = "otlp"))]
#[path = "run/no_meters.rs"]
mod meters;
mod notices;
mod prices;
mod silences;

/// How often figures are read and due revisions cut.
const TICK: Duration = Duration::from_secs(1);
/// How often, until everything is up.
const STARTING_TICK: Duration = Duration::from_millis(20);

/// How often it is looked whether a budget is exhausted, when one enforces something.
const ENFORCE_TICK: Duration = Duration::from_millis(100);

/// What is said when somebody does not want to wait.
const AT_ONCE: &str = "ended at once by a second signal; logs are read again from where they were stored";

/// Follows logs and taps calls as a config file says, and keeps what it finds
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Signals: SIGHUP takes up changed rules, budgets, prices and silences, and keeps the old ones when the file is wrong; SIGTERM and SIGINT\nstore what is under way and end.\n\nExamples:\n  outflow config check outflow.toml\n  outflow run --config outflow.toml\n  outflow findings list"
)]
pub struct Args {
    /// The config file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&args.config) {
        Ok(config) => effective(config),
        Err(error) => return Ok(refused(&error)),
    };
    if config.watches_nothing() {
        let file = args.config.display();
        bail!("{file} watches nothing: name log files in [[logs.files]], or enable the [tap]; see docs/CONFIG.md");
    }
    let result = start(args, config).or_else(|error| {
        notice!("{error:#}");
        Ok(ExitCode::from(if is_permission(&error) { exit::PERMISSION } else { exit::USAGE }))
    });
    notices::finish();
    result
}

fn is_permission(error: &anyhow::Error) -> bool {
    attach::is_permission(error)
        || error.downcast_ref::<PrivilegeError>().is_some()
        || error.downcast_ref::<EnforceError>().is_some_and(EnforceError::is_permission)
}

/// No thread may be there before the rights are given up, and no byte of others be read.
fn start(args: &Args, config: Config) -> anyhow::Result<ExitCode> {
    // Other people's plaintext will be in this memory: no core dump. Where it is not allowed, things are as they were.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    raise_file_limit();
    let folder = config.state.directory.as_ref().map(|folder| folder.get().to_owned());
    let folder = folder.context("no state folder: set [state] directory, STATE_DIRECTORY, XDG_STATE_HOME or HOME")?;
    let user = config.process.user.as_deref().map(User::find).transpose().context("[process] user")?;
    state_folder(&folder, user.as_ref())?;
    let attachers = Attachers::spawn(&config.tap)?;
    let enforcement = Enforcement::attach(&config)?;
    privileges::drop_to(&Keep { read_logs: config.logs.are_followed(), user })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let result = runtime.block_on(serve(args, config, &folder, (attachers, enforcement)));
    // A drain that does not end must not keep the program.
    runtime.shutdown_background();
    result
}

async fn serve(
    args: &Args,
    config: Config,
    folder: &Path,
    (attachers, enforcement): (Attachers, Enforcement),
) -> anyhow::Result<ExitCode> {
    // Before anything starts, so that no signal meets the default action.
    let mut signals = Signals::new()?;
    notices::start().context("cannot start the thread of notices")?;
    let mut agent = Agent::start(config, folder, attachers, enforcement)?;
    let control = Control::listen(folder).with_context(|| format!("cannot listen in {}", folder.display()))?;
    // Kept over the turns of the loop: whoever is just asking is not to be cut off.
    let mut asked = pin!(control.asked());
    let mut ready = false;
    let mut next = clock::instant() + STARTING_TICK;
    // A timer of its own: what else happens must not put it off.
    let mut enforcing = tokio::time::interval(ENFORCE_TICK);
    enforcing.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let failed = loop {
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            _ = enforcing.tick(), if agent.enforces() => match agent.enforce() {
                Ok(()) => continue,
                Err(error) => break Some(error),
            },
            (stream, ask) = &mut asked => {
                asked.set(control.asked());
                control::answer(stream, &agent.answer(ask)).await;
                continue;
            }
            _ = signals.hang_up.recv() => reload(&mut agent, args),
            _ = signals.terminate.recv() => break None,
            _ = signals.interrupt.recv() => break None,
        }
        if let Err(error) = agent.tick() {
            break Some(error);
        }
        if !ready && agent.is_up() {
            ready = true;
            give_memory_back();
            notice!("ready");
        }
        next = clock::instant() + if ready { TICK } else { STARTING_TICK };
    };
    // Draining waits for threads; a signal meanwhile ends the program at once.
    let drained = tokio::task::spawn_blocking(move || agent.finish());
    let drained = tokio::select! {
        drained = drained => drained.context("draining panicked; this is a bug in outflow")?,
        _ = signals.terminate.recv() => Err(anyhow!("{AT_ONCE}")),
        _ = signals.interrupt.recv() => Err(anyhow!("{AT_ONCE}")),
    };
    match (failed, drained) {
        (Some(error), _) | (None, Err(error)) => {
            notice!("{error:#}");
            Ok(ExitCode::from(exit::INCOMPLETE))
        }
        (None, Ok(())) => Ok(ExitCode::SUCCESS),
    }
}

fn reload(agent: &mut Agent, args: &Args) {
    let file = args.config.display();
    let taken = match Config::load(&args.config) {
        Ok(config) => agent.reload(config),
        Err(error) => {
            agent.reload_failed();
            Err(error.into())
        }
    };
    match taken {
        Ok(waiting) if waiting.is_empty() => notice!("reloaded {file}"),
        Ok(waiting) => {
            let sections = waiting.join("], [");
            notice!("reloaded {file}; changes of [{sections}] wait for a restart");
        }
        Err(error) => notice!("kept the old config: {error:#}"),
    }
}

/// What it took to read the rules. Only with the tap: what it calls is `unsafe`, which stands in files of the tap alone.
fn give_memory_back() {
    #[cfg(feature = "tap")]
    crate::sources::tap::give_memory_back();
}

/// Makes the state folder for whoever will use it, or looks whether it is theirs.
fn state_folder(folder: &Path, user: Option<&User>) -> anyhow::Result<()> {
    if !folder.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot create the state folder {}", folder.display()))?;
        if let Some(user) = user {
            std::os::unix::fs::chown(folder, Some(user.uid), Some(user.gid))
                .with_context(|| format!("cannot give the state folder {} to {}", folder.display(), user.name))?;
        }
    }
    user.map_or(Ok(()), |user| user.owns(folder)).map_err(Into::into)
}

/// Each file that is followed takes a descriptor.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}
