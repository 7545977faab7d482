//! `outflow run` as the demo's service. Enters: where its state, its log and its receivers are. Leaves: a running agent, and what its own
//! commands say of the store. On drop it is ended.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use testbed::{Agent, Deadline};

use super::signals::Signals;

/// How long it may take to start, with all rules compiled anew on a busy machine.
const START_LIMIT_S: u64 = 120;
/// How long it may take to end: it delivers what is under way.
const END_LIMIT_S: i64 = 60;

/// What a service of the demo is configured with.
pub(super) struct Wiring<'a> {
    /// The cgroup whose calls are tapped.
    pub(super) cgroup: &'a Path,
    /// The log that is followed.
    pub(super) log: &'a Path,
    /// Whose log it is.
    pub(super) log_service: &'a str,
    /// `host:port[,host:port]`.
    pub(super) brokers: &'a str,
    pub(super) topic: &'a str,
    /// The collector's gRPC endpoint.
    pub(super) collector: &'a str,
}

/// A running `outflow run`.
pub(super) struct Service {
    pub(super) agent: Agent,
    pub(super) store: StoreFile,
}

/// A store, as the program's own commands see it.
pub(super) struct StoreFile {
    program: PathBuf,
    pub(super) path: PathBuf,
}

impl Service {
    /// Writes a config into `place`, starts the agent with it, and waits until it says that it is ready. Its state is in `place/state`, its output
    /// in `talk`.
    pub(super) fn start(
        program: &Path,
        place: &Path,
        talk: &Path,
        wiring: &Wiring<'_>,
        signals: &Signals,
    ) -> Result<Self> {
        let state = place.join("state");
        let config = place.join("outflow.toml");
        fs::write(&config, wiring.config(&state)).context("cannot write the config")?;
        eprintln!("demo: outflow run --config {}", config.display());
        let agent = Agent::start(program, &config, talk, "agent")?;
        let store = StoreFile { program: program.to_owned(), path: state.join("outflow.db") };
        let service = Self { agent, store };
        service.says("outflow: ready", START_LIMIT_S, signals)?;
        Ok(service)
    }

    /// Waits until it has said a line that begins so.
    pub(super) fn says(&self, start: &str, limit_s: u64, signals: &Signals) -> Result<()> {
        let said = Deadline::after(limit_s).until(&format!("the agent to say {start:?}"), || {
            signals.check()?;
            self.agent.said(start)
        });
        said.map(drop)
    }

    /// Asks it to end, and sees that it ends well; gives what stays.
    pub(super) fn end(self) -> Result<StoreFile> {
        self.agent.terminate(END_LIMIT_S)?;
        Ok(self.store)
    }
}

impl StoreFile {
    /// The findings in it, as `outflow findings list --format jsonl` gives them; none while there is no store.
    pub(super) fn findings(&self) -> Result<Vec<Value>> {
        let mut command = self.list();
        let output = command.args(["--limit", "0", "--format", "jsonl"]).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("outflow findings list failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8_lossy(&output.stdout).lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Shows them to people, on our standard output.
    pub(super) fn show_findings(&self) -> Result<()> {
        crate::sh::run(self.list().args(["--format", "text"]))
    }

    fn list(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["findings", "list", "--store"]).arg(&self.path);
        command
    }
}

impl Wiring<'_> {
    fn config(&self, state: &Path) -> String {
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let brokers: Vec<_> = self.brokers.split(',').map(|broker| format!("{broker:?}")).collect();
        format!(
            "[state]\ndirectory = {}\n\n[tap]\nenabled = true\nscope = \"cgroup\"\ncgroups = [{}]\n\n\
             [logs]\nscan_interval = \"100ms\"\n\n[[logs.files]]\nglobs = [{}]\nservice = {:?}\n\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n\n\
             [[sinks.kafka]]\nname = \"kafka\"\nbrokers = [{}]\ntopic = {:?}\nformat = \"ocsf\"\n\n\
             [[sinks.otlp]]\nname = \"otlp\"\nendpoint = {:?}\nprotocol = \"grpc\"\nmetrics_interval = \"1s\"\n",
            quoted(state),
            quoted(self.cgroup),
            quoted(self.log),
            self.log_service,
            brokers.join(", "),
            self.topic,
            self.collector,
        )
    }
}

/// The ids of all records that a store with these findings has made: finding id and revision.
pub(super) fn record_ids(findings: &[Value]) -> BTreeSet<String> {
    let ids = |finding: &Value| {
        let id = finding["finding_id"].as_str().unwrap_or_default().to_owned();
        (1..=finding["revision"].as_u64().unwrap_or(0)).map(move |revision| format!("{id}-{revision}"))
    };
    findings.iter().flat_map(ids).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_has_a_record_for_each_revision() {
        let findings = [r#"{"finding_id": "a", "revision": 2}"#, r#"{"finding_id": "b", "revision": 1}"#];
        let findings = findings.map(|finding| serde_json::from_str(finding).unwrap());
        let ids: Vec<_> = record_ids(&findings).into_iter().collect();
        assert_eq!(ids, ["a-1", "a-2", "b-1"]);
    }
}
