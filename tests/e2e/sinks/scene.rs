//! Where an agent of these tests lives: a folder with a config, a log and a state. Enters: the sinks' section of the config. Leaves: agents, and
//! what their store says. Every line of the log holds an e-mail address; a new one is a new finding, a repeated one its next revision.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::PathBuf,
};

use outflow::store::{STORE_FILE, StoreReader};
use testbed::{Agent, Deadline};

use crate::support::outflow;

/// Longest wait, in seconds, for something that must happen: far beyond what a loaded machine takes, and beyond a sink's longest pause, so that
/// only "never" fails.
pub(super) const LIMIT_S: u64 = 180;

/// A folder for an agent.
pub(super) struct Scene {
    dir: tempfile::TempDir,
    log: File,
    lines: u64,
    lives: u32,
}

impl Scene {
    /// An empty one.
    pub(super) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("outflow-sinks-").tempdir().unwrap();
        let log = OpenOptions::new().append(true).create(true).open(dir.path().join("app.log")).unwrap();
        Self { dir, log, lines: 0, lives: 0 }
    }

    /// Writes the config, with these sinks. Revisions are cut every second, so that a finding has several within a test.
    pub(super) fn configure(&self, sinks: &str) {
        let file = |name| self.dir.path().join(name).display().to_string();
        let text = format!(
            "[state]\ndirectory = {:?}\n[store]\nupdate_interval = \"1s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [logs]\nscan_interval = \"100ms\"\n[[logs.files]]\nglobs = [{:?}]\nservice = \"shop\"\n{sinks}",
            file("state"),
            file("app.log"),
        );
        fs::write(self.dir.path().join("outflow.toml"), text).unwrap();
    }

    /// A folder beside the agent's own.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }

    /// Starts an agent, and waits until it is ready.
    pub(super) fn agent(&mut self) -> Agent {
        self.lives += 1;
        let label = format!("agent-{}", self.lives);
        let agent = Agent::start(outflow(), &self.dir.path().join("outflow.toml"), self.dir.path(), &label).unwrap();
        agent.says("outflow: ready", LIMIT_S).unwrap();
        agent
    }

    /// Writes lines with new addresses, at once.
    pub(super) fn lines(&mut self, count: u64) {
        let from = self.lines;
        self.lines += count;
        self.write(from..self.lines);
    }

    /// Writes the first lines once more.
    pub(super) fn repeat(&mut self, count: u64) {
        self.write(0..count);
    }

    fn write(&mut self, numbers: std::ops::Range<u64>) {
        let line = |number| format!("2026-11-24T10:00:00Z INFO receipt to user{number}@outflow-fake.org\n");
        self.log.write_all(numbers.map(line).collect::<String>().as_bytes()).unwrap();
    }

    /// Lines with addresses of their own, so far: as many findings there must be.
    pub(super) fn written(&self) -> u64 {
        self.lines
    }

    /// The store, to read.
    pub(super) fn reader(&self) -> StoreReader {
        StoreReader::open(&self.dir.path().join("state").join(STORE_FILE)).unwrap()
    }

    /// Every record that must arrive, by its id, with its place in the outbox.
    pub(super) fn records(&self) -> BTreeMap<String, u64> {
        let revisions = self.reader().outbox_after(0, u64::MAX).unwrap();
        revisions.into_iter().map(|row| (format!("{}-{}", row.finding_id, row.revision), row.seq)).collect()
    }

    /// The newest place in the outbox.
    pub(super) fn head(&self) -> u64 {
        self.reader().head().unwrap()
    }

    /// Up to which place the sink has confirmed.
    pub(super) fn cursor(&self, sink: &str) -> u64 {
        self.reader().cursor(sink).unwrap()
    }

    /// Waits until something is true, while the agent lives.
    pub(super) fn until(&self, agent: &Agent, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let waited = Deadline::after(LIMIT_S).until(what, || {
            agent.said("outflow: ready")?;
            Ok(is_so(self).then_some(()))
        });
        waited.unwrap_or_else(|error| panic!("{error:#}; the agent said\n{}", agent.talk().unwrap()));
    }

    /// Waits until every line that was written is a finding.
    pub(super) fn until_stored(&self, agent: &Agent) {
        let count = |scene: &Self| scene.reader().count(&outflow::store::Filter::default()).unwrap();
        self.until(agent, "every line to be a finding", |scene| count(scene) >= scene.written());
    }

    /// Waits until the sink has confirmed everything that is in the store.
    pub(super) fn until_delivered(&self, agent: &Agent, sink: &str) {
        self.until(agent, "everything to be confirmed", |scene| scene.cursor(sink) == scene.head());
    }
}
