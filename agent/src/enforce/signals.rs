//! Word of exhausted budgets to others: a file, a command, a webhook. Enters: signals. Leaves: one JSON object each, from a thread of its
//! own, so that nobody who is slow holds up the breaker. What finds no room or fails is counted and told, never tried for ever.
//!
//! It says the name of the budget, times and control groups; nothing of calls.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use serde::Serialize;

use super::{Change, EnforceError, Moved, webhook::Webhook};
use crate::{child, config::Setting};

/// Signals that may wait.
const QUEUE: usize = 64;
/// How long a command may take.
const COMMAND_TIME: Duration = Duration::from_secs(30);
/// How long what waits may take when the agent ends.
const END_TIME: Duration = Duration::from_secs(5);

/// One signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// Always `outflow.budget`.
    event: &'static str,
    /// Which budget.
    budget: String,
    /// What happened to it.
    change: Change,
    /// When, RFC 3339.
    at: String,
    /// When its period ends.
    until: String,
    /// The control groups that it stops; none: it is a signal alone.
    cgroups: Vec<String>,
}

impl Signal {
    /// Of a budget that moved.
    pub(super) fn new(moved: &Moved, cgroups: Vec<String>) -> Self {
        let Moved { budget, change, at, until } = moved;
        let (at, until) = (at.rfc3339(), until.rfc3339());
        Self { event: "outflow.budget", budget: budget.clone(), change: *change, at, until, cgroups }
    }
}

/// Who wants to hear of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// A file that gets a line for each.
    pub file: Option<PathBuf>,
    /// A command that is run for each, with the object on its standard input.
    pub command: Vec<String>,
    /// An address that gets a POST for each.
    pub webhook: Option<Setting>,
}

impl Targets {
    /// Nobody.
    pub fn is_empty(&self) -> bool {
        self.file.is_none() && self.command.is_empty() && self.webhook.is_none()
    }
}

/// What went wrong, for people.
type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// The thread that tells.
pub struct Signals {
    queue: Sender<Signal>,
    /// Set at the end: what fails is not tried again.
    ending: Arc<AtomicBool>,
    /// Closed when all is told.
    done: Receiver<()>,
    tell: Tell,
}

impl Signals {
    /// Starts it.
    pub fn start(targets: Targets, tell: impl Fn(&str) + Send + Sync + 'static) -> Result<Self, EnforceError> {
        let tell: Tell = Arc::new(tell);
        let webhook = targets.webhook.clone().map(Webhook::new).transpose();
        let webhook = webhook.map_err(|why| EnforceError::Signal {
            what: "the webhook of [breaker]".to_owned(),
            source: io::Error::other(why),
        })?;
        let (queue, signals) = bounded::<Signal>(QUEUE);
        let (told, ending) = (Arc::clone(&tell), Arc::new(AtomicBool::new(false)));
        let (is_ending, (told_all, done)) = (Arc::clone(&ending), bounded(0));
        let run = move || {
            let _told_all: Sender<()> = told_all;
            for signal in signals {
                let Ok(text) = serde_json::to_string(&signal) else { continue };
                let file = targets.file.as_ref().map(|file| append(file, &text).map_err(|error| error.to_string()));
                let command = (!targets.command.is_empty()).then(|| exec(&targets.command, &signal, &text));
                let webhook = webhook.as_ref().map(|webhook| webhook.post(&text, &is_ending));
                for (name, told_it) in [("file", file), ("command", command), ("webhook", webhook)] {
                    if let Some(Err(why)) = told_it {
                        told(&format!("the {name} of [breaker] was not told of budget {}: {why}", signal.budget));
                    }
                }
            }
        };
        std::thread::Builder::new()
            .name("outflow-signals".to_owned())
            .spawn(run)
            .map_err(|source| EnforceError::Signal { what: "cannot start a thread".to_owned(), source })?;
        Ok(Self { queue, ending, done, tell })
    }

    /// Has it told, without waiting.
    pub(super) fn send(&self, signal: Signal) {
        if let Err(TrySendError::Full(signal) | TrySendError::Disconnected(signal)) = self.queue.try_send(signal) {
            (self.tell)(&format!("{QUEUE} signals wait already: nobody is told of budget {}", signal.budget));
        }
    }
}

impl Drop for Signals {
    /// What waits is told first, once and not for long.
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        let (closed, _) = bounded(0);
        self.queue = closed;
        let _ = self.done.recv_timeout(END_TIME);
    }
}

fn append(file: &PathBuf, text: &str) -> io::Result<()> {
    let mut out = OpenOptions::new().append(true).create(true).mode(0o600).open(file)?;
    // One write: lines of several writers do not mix.
    out.write_all(format!("{text}\n").as_bytes())
}

/// Runs the command with the agent's own rights, which are none, and with nothing of its environment but the path.
fn exec(command: &[String], signal: &Signal, text: &str) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("OUTFLOW_BUDGET", &signal.budget)
        .env("OUTFLOW_CHANGE", signal.change.as_str())
        .env("OUTFLOW_UNTIL", &signal.until)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // A pipe takes this much at once; a command that does not want it closes it.
        let _ = input.write_all(text.as_bytes());
    }
    match child::end(&mut child, COMMAND_TIME) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("{program}: {status}")),
        Ok(None) => Err(format!("{program} was ended after {} s", COMMAND_TIME.as_secs())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Mutex};

    use super::*;
    use crate::units::Timestamp;

    fn moved(change: Change) -> Moved {
        let (at, until) = (Timestamp(1_795_392_000_000_000_000), Timestamp(1_795_395_600_000_000_000));
        Moved { budget: "shop".to_owned(), change, at, until }
    }

    #[test]
    fn a_file_and_a_command_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let (file, by_command) = (folder.path().join("signals.jsonl"), folder.path().join("command.txt"));
        let script = "{ echo \"$OUTFLOW_BUDGET $OUTFLOW_CHANGE $OUTFLOW_UNTIL ${HOME-none}\"; cat; echo; } >> \"$1\"";
        let command = ["sh", "-c", script, "sh", by_command.to_str().unwrap()].map(str::to_owned).to_vec();
        let signals =
            Signals::start(Targets { file: Some(file.clone()), command, webhook: None }, |why| panic!("{why}"))
                .unwrap();
        signals.send(Signal::new(&moved(Change::Exhausted), vec!["/g".to_owned()]));
        signals.send(Signal::new(&moved(Change::Reset), Vec::new()));
        drop(signals);
        let expected = "{\"event\":\"outflow.budget\",\"budget\":\"shop\",\"change\":\"exhausted\",\"at\":\"2026-11-23T00:00:00.000Z\",\
             \"until\":\"2026-11-23T01:00:00.000Z\",\"cgroups\":[\"/g\"]}";
        let lines = fs::read_to_string(&file).unwrap();
        assert_eq!(lines.lines().count(), 2);
        assert_eq!(lines.lines().next(), Some(expected));
        let told = fs::read_to_string(&by_command).unwrap();
        let mut told = told.lines();
        assert_eq!(told.next(), Some("shop exhausted 2026-11-23T01:00:00.000Z none"));
        assert_eq!(told.next(), Some(expected));
        assert_eq!(told.next(), Some("shop reset 2026-11-23T01:00:00.000Z none"));
    }

    #[test]
    fn whoever_cannot_be_told_is_named() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let targets =
            Targets { file: Some("/nonexistent/folder/file".into()), command: vec!["false".to_owned()], webhook: None };
        let signals = Signals::start(targets, move |why: &str| heard.lock().unwrap().push(why.to_owned())).unwrap();
        signals.send(Signal::new(&moved(Change::Exhausted), Vec::new()));
        drop(signals);
        let said = said.lock().unwrap();
        assert!(said.len() == 2 && said[0].contains("file") && said[1].contains("false: exit status: 1"), "{said:?}");
    }
}
