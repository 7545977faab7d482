//! The first act: `outflow tap` around one command, as somebody tries it by hand. Enters: the agent's program. Leaves: what it says, on the
//! terminal.

use std::{ffi::OsString, path::Path, process::ExitStatus};

use anyhow::{Result, ensure};
use signal_hook::consts::SIGINT;
use testbed::{Bench, Job, Tools};

use super::signals::{Interrupted, Signals};

/// How long the sandbox may take to end after its command did or was told to, in seconds.
const END_TIMEOUT_S: i64 = 30;

/// Plays it.
pub(super) fn play(tools: Tools, agent: &Path, signals: &Signals) -> Result<()> {
    eprintln!("demo, act 1: a command is tapped, and says on the terminal what leaves");
    let status = run(tools, signals, |bench| {
        let mut command: Vec<OsString> =
            vec![agent.into(), "tap".into(), "--format".into(), "text".into(), "--cgroup".into()];
        command.push(bench.cgroup.path().into());
        command.push("--".into());
        command.extend(bench.client("demo_app", &[]));
        command
    })?;
    ensure!(status.success(), "the demo's command ended with {status}");
    Ok(())
}

/// Makes the place, runs what `command` says in it, and takes the place down. A signal ends the run first and then is the error.
pub(super) fn run(
    tools: Tools,
    signals: &Signals,
    command: impl FnOnce(&Bench) -> Vec<OsString>,
) -> Result<ExitStatus> {
    eprintln!("demo: a private TLS library, a cgroup and a sandbox with a local server");
    let bench = Bench::new(tools, "demo")?;
    let command = command(&bench);
    let line: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    eprintln!("demo: {}", line.join(" "));
    let (status, signal) = watch(Job::start_shown(bench.sandboxed(&command))?, signals)?;
    let calls = bench.connections()?.len();
    drop(bench);
    eprintln!("demo: {calls} connections were served; cgroup, sandbox and library are gone");
    signal.map_or(Ok(status), |signal| Err(Interrupted(signal).into()))
}

/// Waits for the end. The first Ctrl-C is the command's own affair, which the terminal has sent it; anything more ends it.
fn watch(job: Job, signals: &Signals) -> Result<(ExitStatus, Option<i32>)> {
    let mut came = None;
    while !job.ends_before(&signals.pipe)? {
        let signal = signals.next()?;
        if came.is_some() || signal != SIGINT {
            job.terminate()?;
        }
        came = Some(signal);
    }
    Ok((job.wait(END_TIMEOUT_S)?.status, came))
}
