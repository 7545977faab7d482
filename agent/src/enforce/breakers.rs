//! All circuit breakers of an agent. Enters: which budgets stop which control groups, and what is exhausted now. Leaves: gates that
//! are open or closed, a small file with what was lifted, and word to whoever wants it. A group is open while any of its budgets is
//! exhausted and not lifted.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{Board, Change, Counts, EnforceError, Exhausted, Gate, Moved, Network, Signal, Signals, Standing, Unreadable};
use crate::{rules::vendors::HostPattern, units::Timestamp};

/// What was lifted, in the state folder.
const FILE: &str = "breaker.json";
/// More than any such file holds; a wrong one must not fill the memory.
const FILE_BYTES_MAX: u64 = 1 << 20;

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
        let lifted = read(&file).unwrap_or_default();
        let ours = lifted.into_iter().filter(|(budget, _)| self.budgets.contains(budget));
        self.board = Board::with_lifted(ours.map(|(budget, until)| (budget, Timestamp(until))));
        self.file = Some(file);
        self.signals = signals;
        self.gates.iter_mut().try_for_each(|gated| gated.gate.set_open(false))
    }

    /// No budget enforces anything.
    pub fn is_empty(&self) -> bool {
        self.budgets.is_empty()
    }

    /// These are the hosts of vendors from now on.
    pub fn list<'a>(&mut self, hosts: impl Iterator<Item = &'a HostPattern> + Clone) -> Result<(), EnforceError> {
        self.gates.iter_mut().try_for_each(|gated| gated.gate.list(hosts.clone()))
    }

    /// What is exhausted at `now`, all of it.
    pub fn update(&mut self, now: Timestamp, exhausted: &[Exhausted]) -> Result<Vec<Moved>, EnforceError> {
        let ours: Vec<Exhausted> =
            exhausted.iter().filter(|one| self.budgets.contains(&one.budget)).cloned().collect();
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
        if let Some(file) = &self.file {
            let lifted: BTreeMap<&str, u64> =
                self.board.lifted().iter().map(|(budget, until)| (budget.as_str(), until.0)).collect();
            write(file, &lifted)
                .map_err(|source| EnforceError::Signal { what: format!("cannot write {}", file.display()), source })?;
        }
        for moved in moved {
            let is_of = |gated: &&Gated| gated.group.budgets.contains(&moved.budget);
            let groups = self.gates.iter().filter(is_of).map(|gated| gated.group.folder.display().to_string()).collect();
            if let Some(signals) = &self.signals {
                signals.send(Signal::new(moved, groups));
            }
        }
        Ok(())
    }
}

impl Moved {
    /// As the agent tells it.
    pub fn told(&self) -> String {
        let Self { budget, change, until, .. } = self;
        let until = until.rfc3339();
        match change {
            Change::Exhausted => format!("budget {budget} is exhausted: calls to LLM vendors are stopped until {until}"),
            Change::Reset => format!("budget {budget} was reset: nothing is stopped until {until}"),
            Change::Recovered => format!("budget {budget} has recovered: nothing is stopped any more"),
        }
    }
}

fn read(file: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut text = String::new();
    File::open(file)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// Under another name first: nobody reads half of it.
fn write(file: &Path, lifted: &BTreeMap<&str, u64>) -> io::Result<()> {
    let draft = file.with_extension("json.new");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    out.write_all(serde_json::to_string(lifted)?.as_bytes())?;
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
        for text in ["", "{", "[]", "{\"a\":-1}", "{\"a\":\"x\"}", "\0\0"] {
            let state = tempfile::tempdir().unwrap();
            fs::write(state.path().join(FILE), text).unwrap();
            let mut breakers = breakers(&["a"], state.path());
            assert_eq!(breakers.update(Timestamp(1), &[exhausted("a", 10)]).unwrap().len(), 1, "{text}");
        }
        // A budget that is gone from the config leaves no line.
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(FILE), "{\"gone\":99,\"a\":99}").unwrap();
        assert_eq!(breakers(&["a"], state.path()).board.lifted().len(), 1);
    }
}
