//! `outflow tap`: runs a command, or takes running processes, and shows what they send to LLM vendors while it happens. Enters:
//! a scope. Leaves: exchanges and findings on standard output, the command's own exit code. Taps nothing out of scope.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, IsTerminal as _, Write},
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    path::PathBuf,
    process::{ExitCode, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::{
    process::{Child, Command},
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

use super::{
    Format, RuleArgs, cgroup, exit,
    output::{Account, Loss, NotCopied, TlsCalls},
    shown::Shown,
    stored::StoreArgs,
};
use crate::{
    engine::{LiveRules, Outcome, Workers},
    sources::{
        coverage::Seen,
        privileges::{self, Keep, User},
        tap::{Attacher, Ledger, Notice, Scope, Settings, Tap, TapError, known_files},
    },
    store::WhenFull,
    units::Severity,
};

/// Runs a command and shows what it, and only it and its children, sends to LLM vendors
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  outflow tap -- python app.py\n  outflow tap --format jsonl -o calls.jsonl -- ./agent.sh\n  outflow tap --pid 4242\n  outflow tap --container web\n  outflow tap --store findings.db -- ./agent.sh"
)]
pub struct Args {
    /// Tap a running process and what it starts from now on (may be given more than once)
    #[arg(long, value_name = "PID", conflicts_with_all = ["cgroup", "command"])]
    pid: Vec<u32>,
    /// Tap a control group (v2) with all below it; with a command, run the command in it
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// Tap a running container of Docker, containerd, CRI-O or podman, by its id (six digits or more) or its name, until it ends
    #[arg(long, value_name = "ID|NAME", conflicts_with_all = ["pid", "cgroup", "command"])]
    container: Option<String>,
    /// Further vendor host: llm.example.com or *.example.com (may be given more than once)
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Also read the head of requests to hosts that are no vendor's, and tap those that go to a path by which LLMs are called
    /// (*/chat/completions): finds gateways that nobody listed
    #[arg(long)]
    discover: bool,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    rules: RuleArgs,
    /// How to write [default: text on a terminal, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Exit with 1 when there is a finding of this severity or a graver one, with 3 when bytes were lost
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
    /// Attach from a process of its own and give up all rights in this one, as `outflow run` does; with a user, become it. For
    /// tests and measurements: a command that is run loses its rights too
    #[arg(long, hide = true, value_name = "USER", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    split: Option<String>,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.command.is_empty() && args.pid.is_empty() && args.cgroup.is_none() && args.container.is_none() {
        bail!("nothing to tap: give a command (outflow tap -- python app.py), --pid, --container or --cgroup");
    }
    let attacher = args.split.as_deref().map(split).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    match runtime.block_on(tap(args, attacher)) {
        Err(error) if error.downcast_ref::<TapError>().is_some_and(TapError::is_permission) => {
            anstream::eprintln!("outflow: {error:#}");
            Ok(ExitCode::from(exit::PERMISSION))
        }
        result => result,
    }
}

/// Two processes: the attacher is started while this one still has the rights to pass on, then they are given up.
fn split(user: &str) -> anyhow::Result<Attacher> {
    let user = Some(user).filter(|user| !user.is_empty()).map(User::find).transpose()?;
    let attacher = Attacher::spawn()?;
    privileges::drop_to(&Keep { read_logs: false, user })?;
    Ok(attacher)
}

async fn tap(args: &Args, attacher: Option<Attacher>) -> anyhow::Result<ExitCode> {
    guard_memory();
    if args.command.is_empty() {
        raise_file_limit();
    }
    let rules = args.rules.load(&args.host)?;
    let shown = open_output(args)?;
    let stored = args.store.open()?;
    let session = Arc::new(stored.session(&rules, &shown, WhenFull::Fail)?);
    let live = LiveRules::new(rules.clone());
    let workers = Workers::start(&live, &session, std::thread::available_parallelism().map_or(1, usize::from))?;

    // Before anything starts, so that no signal meets the default action.
    let mut signals = Signals::new()?;
    let group = match (&args.cgroup, &args.container) {
        (Some(folder), _) => Some(cgroup::Group::open(folder, !args.command.is_empty())?),
        (None, Some(container)) => Some(cgroup::Group::of_container(container)?),
        (None, None) => None,
    };
    let scope = match &group {
        Some(group) => Scope::Cgroup { folder: group.folder().to_owned(), level: group.level() },
        None if args.command.is_empty() => Scope::Processes(args.pid.clone()),
        None => Scope::Children,
    };
    let deliver = workers.deliver();
    let nobody_reads = Arc::new(Notify::new());
    let gone = Arc::clone(&nobody_reads);
    let deliver = move |input| {
        let listening = deliver.input(input);
        if !listening {
            gone.notify_one();
        }
        listening
    };
    let refused = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&refused);
    let (tells, vendors) = (Arc::clone(&session), Arc::clone(&rules.vendors));
    let notice = move |news: Notice| {
        counted.fetch_add(u64::from(is_incomplete(&news)), Ordering::Relaxed);
        match &news {
            Notice::Unseen(unseen) => drop(tells.unseen(unseen, &vendors)),
            Notice::Handshake(failed) => drop(tells.handshake(failed, &vendors)),
            _ => {}
        }
        tell(&news);
    };
    let known = args.command.first().map(|program| known_files(program)).unwrap_or_default();
    let settings = Settings { discover: args.discover, ..Settings::default() };
    let tap = match attacher {
        None => Tap::start(&scope, &known, settings, &rules.vendors, deliver, notice)?,
        Some(attacher) => Tap::start_apart(attacher, &scope, &known, settings, &rules.vendors, deliver, notice)?,
    };

    if args.command.is_empty() && io::stderr().is_terminal() {
        anstream::eprintln!("outflow: watching; Ctrl-C ends it and sums up, what is watched goes on");
    }
    let status = if args.command.is_empty() {
        let container = group.as_ref().filter(|_| args.container.is_some());
        tokio::select! {
            ended = wait_for_processes(&args.pid, &mut signals) => ended?,
            ended = wait_for_container(container) => ended?,
            () = nobody_reads.notified() => {}
        }
        None
    } else {
        // The command goes on also when nobody reads: it is not ours to end.
        let child = spawn(args, group.as_ref())?;
        Some(wait_for_child(child, &mut signals).await?)
    };

    let ledger = tap.stop()?;
    workers.finish()?;
    let outcome = match session.finish() {
        // Whoever closed the pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::default(),
        result => result.context("cannot write the output")?,
    };
    let mut account = told(&ledger);
    account.losses.extend(stored.losses());
    let incomplete = !account.losses.is_empty() || outcome.is_incomplete() || refused.load(Ordering::Relaxed) > 0;
    shown.summary(account, &outcome).context("cannot write the output")?;
    Ok(exit_code(args.fail_on, outcome.worst, incomplete, status))
}

/// DESIGN section 9: a command's own status counts unless `--fail-on` asks for ours, and incomplete input wins over findings.
fn exit_code(
    fail_on: Option<Severity>,
    worst: Option<Severity>,
    incomplete: bool,
    status: Option<ExitStatus>,
) -> ExitCode {
    match (fail_on, status) {
        (Some(_), _) | (None, None) if incomplete => ExitCode::from(exit::INCOMPLETE),
        (Some(limit), _) if worst >= Some(limit) => ExitCode::from(exit::FINDINGS),
        (Some(_), _) | (None, None) => ExitCode::SUCCESS,
        // As a shell says it: 128 and the number of the signal.
        (None, Some(status)) => {
            let code = status.code().or_else(|| status.signal().map(|number| 128 + number)).unwrap_or(1);
            ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
        }
    }
}

/// Other people's plaintext is in this memory: no core dump, and no reading of it by other processes of the same user.
fn guard_memory() {
    // Where it is not allowed, things are as they were.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Each thread of a running process takes a descriptor per processor. A command that we start would inherit the limit, so it
/// is raised only where there is none.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
}

fn open_output(args: &Args) -> anyhow::Result<Shown> {
    Ok(match &args.output {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            Shown::new(Box::new(file), args.format.unwrap_or(Format::Jsonl), false)
        }
        None => Shown::standard(args.format),
    })
}

/// The command's standard output must not mix with our data: when ours is piped, the command's goes to standard error.
fn spawn(args: &Args, group: Option<&cgroup::Group>) -> anyhow::Result<Child> {
    let Some((program, arguments)) = args.command.split_first() else { bail!("no command") };
    let mut command = Command::new(program);
    command.args(arguments);
    if args.output.is_none() && !io::stdout().is_terminal() {
        let stderr: OwnedFd = rustix::io::dup(io::stderr()).context("standard error")?;
        command.stdout(Stdio::from(stderr));
    }
    // A child starts in the control group of its parent, so that not one instruction of it runs outside.
    let _inside = group.map(cgroup::Group::enter).transpose()?;
    command.spawn().with_context(|| format!("cannot run {}", program.display()))
}

/// The signals that end a tap.
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

    /// Until one of them comes.
    async fn any(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            _ = self.interrupt.recv() => Ok(()),
            _ = self.terminate.recv() => Ok(()),
            _ = self.hang_up.recv() => Ok(()),
        }
    }
}

/// Our process group is the one that the terminal sends Ctrl-C to; the command is in it too.
fn in_foreground() -> bool {
    File::open("/dev/tty")
        .ok()
        .and_then(|terminal| rustix::termios::tcgetpgrp(terminal).ok())
        .is_some_and(|group| group == rustix::process::getpgrp())
}

/// A terminal sends Ctrl-C to the command itself; other senders only to us, so it is passed on.
async fn wait_for_child(mut child: Child, signals: &mut Signals) -> anyhow::Result<ExitStatus> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    let pass_on = |signal| {
        if let Some(pid) = pid {
            // It may be gone already, and then `wait` says so.
            let _ = rustix::process::kill_process(pid, signal);
        }
    };
    loop {
        tokio::select! {
            status = child.wait() => return status.context("cannot wait for the command"),
            _ = signals.interrupt.recv() => if !in_foreground() { pass_on(rustix::process::Signal::INT) },
            _ = signals.terminate.recv() => pass_on(rustix::process::Signal::TERM),
            _ = signals.hang_up.recv() => if !in_foreground() { pass_on(rustix::process::Signal::HUP) },
        }
    }
}

/// Until all of them are gone; with none given (a control group), until a signal.
async fn wait_for_processes(pids: &[u32], signals: &mut Signals) -> anyhow::Result<()> {
    let mut processes = Vec::new();
    for pid in pids {
        let pid = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw).context("not a process id")?;
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(process) => processes.push(process),
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).context("cannot wait for the process"),
        }
    }
    let (gone, all_gone) = tokio::sync::oneshot::channel();
    if pids.is_empty() {
        // Held until a signal ends the wait.
        return signals.any().await;
    }
    // A thread of its own: a signal ends the wait, and with it the program, while this still waits.
    std::thread::Builder::new().name("outflow-wait".to_owned()).spawn(move || gone.send(wait_for_all(&processes)))?;
    tokio::select! {
        result = all_gone => result.context("the waiting thread ended")?.context("cannot wait for the process"),
        result = signals.any() => result,
    }
}

/// Until nobody is left in the container's group; for ever when there is none.
async fn wait_for_container(container: Option<&cgroup::Group>) -> anyhow::Result<()> {
    let Some(container) = container else { return std::future::pending().await };
    let folder = container.folder().to_owned();
    let (gone, is_gone) = tokio::sync::oneshot::channel();
    // A thread of its own, as for processes.
    std::thread::Builder::new()
        .name("outflow-wait".to_owned())
        .spawn(move || gone.send(cgroup::wait_until_empty(&folder)))?;
    is_gone.await.context("the waiting thread ended")?.context("cannot wait for the container")
}

/// A descriptor of a process becomes readable when the process ends (pidfd_open(2)).
fn wait_for_all(processes: &[OwnedFd]) -> rustix::io::Result<()> {
    for process in processes {
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        while let Err(error) = poll(&mut fds, None) {
            if error != rustix::io::Errno::INTR {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// News that something in scope is not looked at. Of a process that may have gone past the tap, and may not, nobody knows that.
fn is_incomplete(news: &Notice) -> bool {
    match news {
        Notice::Unseen(unseen) => matches!(unseen.look.seen(), Seen::NotSeen | Seen::Refused),
        Notice::Tapped { .. } | Notice::Handshake(_) | Notice::Coverage { .. } => false,
        Notice::Refused { .. } | Notice::Ended { .. } => true,
    }
}

/// News about coverage, for people.
pub(super) fn tell(notice: &Notice) {
    let mut talk = anstream::stderr().lock();
    let by = |pid: &Option<u32>| pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    // Nobody listening to talk is no reason to stop.
    let _ = match notice {
        Notice::Tapped { library, pid, stacks } => {
            let stacks: Vec<String> = stacks.iter().map(ToString::to_string).collect();
            writeln!(talk, "outflow: tapping {} in {}{}", stacks.join(", "), library.display(), by(pid))
        }
        Notice::Refused { library, pid, stack, why } => {
            let stack = stack.map(|stack| format!("{stack} in ")).unwrap_or_default();
            writeln!(talk, "outflow: NOT tapped: {stack}{}{}: {why}", library.display(), by(pid))
        }
        // The finding says it.
        Notice::Unseen(_) | Notice::Handshake(_) => Ok(()),
        Notice::Coverage { why } => writeln!(talk, "outflow: who is not tapped is not known in full: {why}"),
        Notice::Ended { why } => writeln!(talk, "outflow: NOTHING is tapped any more: {why}"),
    };
}

/// The ledger in the words of the summary: the sums, what was lost, and what was left alone.
fn told(ledger: &Ledger) -> Account {
    let mut losses: Vec<Loss> = ledger
        .losses()
        .map(|(reason, tally)| Loss { reason: reason.to_owned(), calls: tally.calls, bytes: tally.bytes })
        .collect();
    for (reason, calls) in [
        ("server name lost (ring full)", ledger.opens_lost),
        ("call in flight when the tap was attached", ledger.unpaired),
        ("child process not tapped (table full)", ledger.forks_lost),
        ("address of a connection, for coverage (ring full)", ledger.connects_lost),
    ] {
        if calls > 0 {
            losses.push(Loss { reason: reason.to_owned(), calls, bytes: 0 });
        }
    }
    let not_copied = ledger.left_alone().map(|(verdict, tally)| NotCopied {
        verdict: verdict.to_owned(),
        calls: tally.calls,
        bytes: tally.bytes,
    });
    let seen = ledger.seen();
    let tls_calls = Some(TlsCalls {
        seen: seen.calls,
        whole: ledger.whole_calls(),
        with_gaps: ledger.gapped_calls(),
        left_alone: ledger.refused_calls(),
        lost: ledger.lost_calls(),
        bytes: seen.bytes,
    });
    Account { tls_calls, losses, not_copied: not_copied.collect(), ..Account::default() }
}
