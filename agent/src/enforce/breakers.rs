//! All circuit breakers of an agent. Enters: which budgets stop which control groups, and what is exhausted now. Leaves: gates that
//! are open or closed, a file with what was lifted and which connections are known, and word to whoever wants it. A group is open while any of its budgets is
//! exhausted and not lifted.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Board, Change, Connection, Counts, EnforceError, Exhausted, Gate, Moved, Network, Signal, Signals, Standing,
    Unreadable,
};
use crate::{rules::vendors::HostPattern, units::Timestamp};

/// What a restart must not forget, in the state folder.
const FILE: &str = "breaker.json";
/// More than any such file holds; a wrong one must not fill the memory.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// Until when budgets were lifted, nanoseconds since the epoch.
    lifted: BTreeMap<String, u64>,
    /// The run of the kernel in which the cookies were given.
    boot: String,
    /// Connections by control group.
    connections: BTreeMap<String, Vec<Connection>>,
}

/// A control group and the budgets that stop it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its folder.
    pub folder: PathBuf,
    /// Names of budgets.
    pub budgets: Vec<String>,
}

struct Gated {
    group: Group,
    gate: Gate,
    is_open: bool,
}

/// The circuit breakers.
pub struct Breakers {
    gates: Vec<Gated>,
    /// Every budget that enforces, also those that only send signals.
    budgets: Vec<String>,
    board: Board,
    file: Option<PathBuf>,
    signals: Option<Signals>,
}

impl Breakers {
    /// Attaches a gate to each group that a budget names, closed. Takes rights, and starts no thread: call it before both
    /// are settled.
    pub fn attach(
        budgets: &[(String, Vec<PathBuf>)],
        unreadable: Unreadable,
        networks: &[Network],
    ) -> Result<Self, EnforceError> {
        let mut groups: BTreeMap<&Path, Vec<String>> = BTreeMap::new();
        for (budget, folders) in budgets {
            for folder in folders {
                groups.entry(folder).or_default().push(budget.clone());
            }
        }
        let gates = groups.into_iter().map(|(folder, budgets)| {
            let gate = Gate::attach(folder, unreadable, networks)?;
            Ok(Gated { group: Group { folder: folder.to_owned(), budgets }, gate, is_open: false })
        });
        Ok(Self {
            gates: gates.collect::<Result<_, EnforceError>>()?,
            budgets: budgets.iter().map(|(budget, _)| budget.clone()).collect(),
            board: Board::default(),
            file: None,
            signals: None,
        })
    }

    /// Goes on where the last run in this state folder was, and proves that the gates move also without rights.
    pub fn start(&mut self, state: &Path, signals: Option<Signals>) -> Result<(), EnforceError> {
        let file = state.join(FILE);
        // What cannot be read was not lifted: fail closed.
        let kept = read(&file).unwrap_or_default();
        let ours = kept.lifted.into_iter().filter(|(budget, _)| self.budgets.contains(budget));
        self.board = Board::with_lifted(ours.map(|(budget, until)| (budget, Timestamp(until))));
        self.file = Some(file);
        self.signals = signals;
        for Gated { group, gate, .. } in &mut self.gates {
            gate.set_open(false)?;
            let known = kept.connections.get(&name(group)).filter(|_| kept.boot == boot());
            known.map_or(Ok(()), |known| gate.remember(known))?;
        }
        Ok(())
    }

    /// Writes down what the next run must know.
    fn keep(&self) -> io::Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| !self.is_empty()) else { return Ok(()) };
        let lifted = self.board.lifted().iter().map(|(budget, until)| (budget.clone(), until.0)).collect();
        let connections = self.gates.iter().map(|gated| (name(&gated.group), gated.gate.connections())).collect();
        write(file, &Kept { lifted, boot: boot(), connections })
    }

    /// No budget enforces anything.
    pub fn is_empty(&self) -> bool {
        self.budgets.is_empty()
    }

    /// These are the hosts of vendors from now on.
    pub fn list<'a>(&mut self, hosts: &(impl Iterator<Item = &'a HostPattern> + Clone)) -> Result<(), EnforceError> {
        self.gates.iter_mut().try_for_each(|gated| gated.gate.list(hosts.clone()))
    }

    /// What is exhausted at `now`, all of it.
    pub fn update(&mut self, now: Timestamp, exhausted: &[Exhausted]) -> Result<Vec<Moved>, EnforceError> {
        let ours: Vec<Exhausted> = exhausted.iter().filter(|one| self.budgets.contains(&one.budget)).cloned().collect();
        let moved = self.board.update(now, &ours);
        self.follow(&moved)?;
        Ok(moved)
    }

    /// Lets through what an exhausted budget stops, for the rest of its period; `None` when it stops nothing.
    pub fn reset(&mut self, now: Timestamp, budget: &str) -> Result<Option<Moved>, EnforceError> {
        let moved = self.board.reset(now, budget);
        self.follow(moved.as_slice())?;
        Ok(moved)
    }

    /// Names of the budgets that enforce.
    pub fn budgets(&self) -> &[String] {
        &self.budgets
    }

    /// How a budget stands.
    pub fn standing(&self, budget: &str) -> Standing {
        self.board.standing(budget)
    }

    /// The groups with what their gates saw, and whether they are open.
    pub fn groups(&self) -> impl Iterator<Item = (&Group, bool, Result<Counts, EnforceError>)> {
        self.gates.iter().map(|gated| (&gated.group, gated.is_open, gated.gate.counts()))
    }

    /// First the kernel, then the file, then the others.
    fn follow(&mut self, moved: &[Moved]) -> Result<(), EnforceError> {
        for Gated { group, gate, is_open } in &mut self.gates {
            let wanted =
                group.budgets.iter().any(|budget| matches!(self.board.standing(budget), Standing::Exhausted { .. }));
            if wanted != *is_open {
                gate.set_open(wanted)?;
                *is_open = wanted;
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        self.keep().map_err(|source| EnforceError::Signal { what: format!("cannot write {FILE}"), source })?;
        for moved in moved {
            let is_of = |gated: &&Gated| gated.group.budgets.contains(&moved.budget);
            let groups = self.gates.iter().filter(is_of).map(|gated| name(&gated.group)).collect();
            if let Some(signals) = &self.signals {
                signals.send(Signal::new(moved, groups));
            }
        }
        Ok(())
    }
}

impl Drop for Breakers {
    /// The links go with this process; what they knew is for the next one.
    fn drop(&mut self) {
        let _ = self.keep();
    }
}

fn name(group: &Group) -> String {
    group.folder.display().to_string()
}

/// A number of its own for each run of the kernel, random(4).
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

impl Moved {
    /// As the agent tells it.
    pub fn told(&self) -> String {
        let Self { budget, change, until, .. } = self;
        let until = until.rfc3339();
        match change {
            Change::Exhausted => {
                format!("budget {budget} is exhausted: calls to LLM vendors are stopped until {until}")
            }
            Change::Reset => format!("budget {budget} was reset: nothing is stopped until {until}"),
            Change::Recovered => format!("budget {budget} has recovered: nothing is stopped any more"),
        }
    }
}

fn read(file: &Path) -> io::Result<Kept> {
    let mut text = String::new();
    File::open(file)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// Under another name first: nobody reads half of it.
fn write(file: &Path, kept: &Kept) -> io::Result<()> {
    let draft = file.with_extension("json.new");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    out.write_all(serde_json::to_string(kept)?.as_bytes())?;
    out.sync_all()?;
    fs::rename(draft, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Budgets without groups need no kernel.
    fn breakers(budgets: &[&str], state: &Path) -> Breakers {
        let budgets: Vec<_> = budgets.iter().map(|budget| ((*budget).to_owned(), Vec::new())).collect();
        let mut breakers = Breakers::attach(&budgets, Unreadable::Drop, &[]).unwrap();
        breakers.start(state, None).unwrap();
        breakers
    }

    fn exhausted(budget: &str, until: u64) -> Exhausted {
        Exhausted { budget: budget.to_owned(), until: Timestamp(until) }
    }

    #[test]
    fn a_reset_survives_a_restart_and_only_a_reset_does() {
        let state = tempfile::tempdir().unwrap();
        let both = [exhausted("a", 10), exhausted("b", 10), exhausted("of nobody", 10)];
        let mut first = breakers(&["a", "b"], state.path());
        assert_eq!(first.update(Timestamp(1), &both).unwrap().len(), 2);
        assert!(first.reset(Timestamp(2), "a").unwrap().is_some());
        assert!(first.reset(Timestamp(2), "of nobody").unwrap().is_none());
        drop(first);
        let mut second = breakers(&["a", "b"], state.path());
        let moved = second.update(Timestamp(3), &both).unwrap();
        assert_eq!(moved.iter().map(|moved| moved.budget.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(second.standing("a"), Standing::Lifted { until: Timestamp(10) });
    }

    #[test]
    fn a_file_that_says_nothing_lifts_nothing() {
        for text in ["", "{", "[]", "{\"lifted\":{\"a\":-1}}", "{\"lifted\":7}", "\0\0"] {
            let state = tempfile::tempdir().unwrap();
            fs::write(state.path().join(FILE), text).unwrap();
            let mut breakers = breakers(&["a"], state.path());
            assert_eq!(breakers.update(Timestamp(1), &[exhausted("a", 10)]).unwrap().len(), 1, "{text}");
        }
        // A budget that is gone from the config leaves no line.
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(FILE), "{\"lifted\":{\"gone\":99,\"a\":99}}").unwrap();
        assert_eq!(breakers(&["a"], state.path()).board.lifted().len(), 1);
    }
}
