//! The real program, `outflow run`, as its own process. Enters: a config. Leaves: a process that is ready; it is asked to end, then made
//! to, when it is dropped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};
use testbed::{Deadline, Job};

/// How long it may take to be ready, or to say something.
const LIMIT_S: u64 = 60;

/// A running agent.
pub(crate) struct Agent {
    job: Job,
    /// Its store.
    pub(crate) store: PathBuf,
}

impl Agent {
    /// Starts one whose files are in `dir`, which is its own, and waits until it is ready. `config` goes behind the state's folder.
    pub(crate) fn start(dir: &Path, config: &str) -> Result<Self> {
        fs::create_dir(dir)?;
        let (file, state) = (dir.join("outflow.toml"), dir.join("state"));
        let head = format!("[state]\ndirectory = \"{}\"\n[admin]\nlisten = \"off\"\n", state.display());
        fs::write(&file, head + config)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
        command.args(["run", "--config"]).arg(&file);
        let agent = Self { job: Job::start(command, dir, "agent")?, store: state.join("outflow.db") };
        agent.says("outflow: ready")?;
        Ok(agent)
    }

    /// Waits until it has said this.
    pub(crate) fn says(&self, wanted: &str) -> Result<()> {
        Deadline::after(LIMIT_S).until(wanted, || {
            let (_, talk) = self.job.output()?;
            if self.job.has_ended()? {
                bail!("the agent ended: {talk}");
            }
            Ok(talk.contains(wanted).then_some(()))
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.job.pid()
    }
}
