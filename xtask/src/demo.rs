//! `cargo xtask demo`: the whole agent on one screen. Enters: the workspace. Leaves: what the agent says about a small support
//! assistant that uses the vendors' own Python clients, on standard output; progress goes to standard error.
//!
//! Everything happens in a sandbox of its own: `api.openai.com` and `api.anthropic.com` lead to a local server, the TLS library
//! that is tapped is a copy that only the demo maps, and the agent watches one new cgroup. All of it is gone at the end, also
//! after a failure, and after Ctrl-C.

use std::{
    ffi::OsString,
    io::Read,
    os::unix::net::UnixStream,
    process::ExitStatus,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, bail, ensure};
use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag, low_level,
};
use testbed::{Bench, Job, Tools};

use crate::sh;

/// How long the sandbox may take to end after its command did or was told to, in seconds.
const END_TIMEOUT_S: i64 = 30;

/// Runs the demo.
pub(crate) fn run() -> Result<()> {
    if let Some(missing) = testbed::missing_for_bpf() {
        bail!("the demo taps real TLS through the kernel, and here {missing}; try it as root on a Linux host");
    }
    sh::run(sh::cargo("build").args(["--workspace", "--bins"]))?;
    let programs = sh::target_dir().join("debug");
    let agent = programs.join("outflow");
    let tools = Tools::find(&programs, &sh::target_dir())?;
    let status = play(tools, |bench| {
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

/// Makes the place, runs what `command` says in it, and takes the place down. A signal ends the run first and us then.
fn play(tools: Tools, command: impl FnOnce(&Bench) -> Vec<OsString>) -> Result<ExitStatus> {
    let signals = Signals::catch()?;
    eprintln!("demo: a private TLS library, a cgroup and a sandbox with a local server");
    let bench = Bench::new(tools, "demo")?;
    let command = command(&bench);
    let line: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    eprintln!("demo: {}", line.join(" "));
    let (status, signal) = watch(Job::start_shown(bench.sandboxed(&command))?, &signals)?;
    let calls = bench.connections()?.len();
    drop(bench);
    eprintln!("demo: {calls} connections were served; cgroup, sandbox and library are gone");
    drop(signals);
    if let Some(signal) = signal {
        low_level::emulate_default_handler(signal).context("cannot end by the signal that came")?;
    }
    Ok(status)
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

/// The signals that end programs.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// The ending signals, held back while this lives and back to their default effect afterwards. One at a time.
struct Signals {
    /// One byte for each signal.
    pipe: UnixStream,
    /// The newest signal.
    newest: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

/// While set, an ending signal does what it does by default. It stays registered for good: without it a signal that was
/// once caught would be ignored for ever (signal-hook keeps its handler).
fn by_default() -> Result<&'static Arc<AtomicBool>> {
    static BY_DEFAULT: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(flag) = BY_DEFAULT.get() {
        return Ok(flag);
    }
    let flag = BY_DEFAULT.get_or_init(Arc::default);
    for signal in ENDING {
        flag::register_conditional_default(signal, Arc::clone(flag)).context("cannot watch for signals")?;
    }
    Ok(flag)
}

impl Signals {
    fn catch() -> Result<Self> {
        by_default()?.store(false, Ordering::SeqCst);
        let (pipe, far) = UnixStream::pair().context("cannot make a pipe for signals")?;
        let mut signals = Self { pipe, newest: Arc::default(), registered: Vec::new() };
        for signal in ENDING {
            // In this order: whoever reads the byte must find the signal's number.
            let number = signal.cast_unsigned() as usize;
            signals.registered.push(flag::register_usize(signal, Arc::clone(&signals.newest), number)?);
            signals.registered.push(low_level::pipe::register(signal, far.try_clone()?)?);
        }
        Ok(signals)
    }

    /// Takes the signal that made the pipe readable.
    fn next(&self) -> Result<i32> {
        (&self.pipe).read_exact(&mut [0]).context("cannot read the pipe for signals")?;
        Ok(i32::try_from(self.newest.load(Ordering::SeqCst))?)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
        if let Ok(flag) = by_default() {
            flag.store(true, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole way with a stand-in for the agent: the client itself, which must see the names, the library and the server.
    #[test]
    fn the_place_is_made_and_taken_down_around_any_command() {
        if let Some(reason) = testbed::missing_for_sandbox() {
            println!("skipped: {reason}");
            return;
        }
        let programs = sh::target_dir().join("debug");
        let tools = Tools::find(&programs, &sh::target_dir()).unwrap();
        let mut places = Vec::new();
        for (tail, code) in [("", 0), ("; exit 5", 5)] {
            let status = play(tools.clone(), |bench| {
                places.extend([bench.dir().to_owned(), bench.cgroup.path().to_owned()]);
                let client: Vec<_> =
                    bench.client("demo_app", &[]).iter().map(|word| word.display().to_string()).collect();
                let script =
                    format!("echo $$ > {}/cgroup.procs && {}{tail}", bench.cgroup.path().display(), client.join(" "));
                vec!["sh".into(), "-c".into(), script.into()]
            });
            assert_eq!(status.unwrap().code(), Some(code));
        }
        assert_eq!(places.len(), 4);
        assert!(places.iter().all(|place| !place.exists()), "{places:?}");
    }
}
