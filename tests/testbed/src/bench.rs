//! A place for one test: a temporary folder, a TLS library of its own, a cgroup, and a sandbox to run commands in. Enters:
//! where the built programs are. Leaves: jobs. Two benches share nothing but the Python environment, so tests may run at
//! the same time.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{Cgroup, Connection, Job, PrivateTls, Rendezvous, client, connections};

/// The programs that a bench starts.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The local server, which is the sandbox too.
    pub llm_server: PathBuf,
    /// The interpreter with the vendors' clients.
    pub python: PathBuf,
}

impl Tools {
    /// Finds the server in `programs` (where cargo put what it built), or where OUTFLOW_LLM_SERVER points; makes the
    /// Python environment in `target` when it is missing.
    pub fn find(programs: &Path, target: &Path) -> Result<Self> {
        let named = std::env::var_os("OUTFLOW_LLM_SERVER").map(PathBuf::from);
        let llm_server = named.unwrap_or_else(|| programs.join("llm-server"));
        ensure!(llm_server.is_file(), "{} is missing: run `cargo build -p llm-server`", llm_server.display());
        Ok(Self { llm_server, python: crate::python(target)? })
    }
}

/// One test's place. Fields are dropped in order: the cgroup with all that runs in it, then the folder.
#[derive(Debug)]
pub struct Bench {
    tools: Tools,
    /// The TLS library that the sandbox's commands use.
    pub tls: PrivateTls,
    /// A cgroup of this bench; empty until the test or a tap moves something into it.
    pub cgroup: Cgroup,
    /// The server, of this bench alone.
    server: PathBuf,
    dir: TempDir,
}

impl Bench {
    /// Makes a place; `label` shows in the names of its folder and its cgroup.
    pub fn new(tools: Tools, label: &str) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("outflow-{label}-"))
            .tempdir()
            .context("cannot make a temporary folder")?;
        let tls = PrivateTls::copy(&tools.python, &dir.path().join("lib"))?;
        let server = stripped(&tools.llm_server, dir.path())?;
        let cgroup = Cgroup::create(label)?;
        Ok(Self { tools, tls, cgroup, server, dir })
    }

    /// The bench's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The command line of a client in `tests/e2e/clients`.
    pub fn client(&self, name: &str, arguments: &[&str]) -> Vec<OsString> {
        let program = [self.tools.python.clone().into_os_string(), client(name).into_os_string()];
        program.into_iter().chain(arguments.iter().map(OsString::from)).collect()
    }

    /// `command` in a sandbox where the vendors' names lead to the local server, with the bench's TLS library.
    pub fn sandboxed(&self, command: &[OsString]) -> Command {
        self.sandboxed_with(&[], command)
    }

    /// The same with more options of the sandbox: `--names A,B`, `--env NAME=VALUE`.
    pub fn sandboxed_with(&self, options: &[OsString], command: &[OsString]) -> Command {
        let mut library_path = OsString::from("LD_LIBRARY_PATH=");
        library_path.push(&self.tls.dir);
        let mut sandbox = Command::new(&self.server);
        sandbox.arg("sandbox").arg("--journal").arg(self.journal_dir()).arg("--dir").arg(self.dir().join("sandbox"));
        sandbox.arg("--env").arg(library_path);
        // The vendors' clients warn about models that retire soon; that is the agent's to say.
        sandbox.args(["--env", "PYTHONWARNINGS=ignore::DeprecationWarning", "--env", "PYTHONDONTWRITEBYTECODE=1"]);
        sandbox.args(options);
        sandbox.arg("--").args(command);
        sandbox
    }

    /// The certificate that vouches for the server, once a sandbox runs.
    pub fn ca(&self) -> PathBuf {
        self.dir().join("sandbox/ca.pem")
    }

    /// The interpreter with the vendors' clients.
    pub fn python(&self) -> &Path {
        &self.tools.python
    }

    /// Starts `command` in the sandbox. `label` names its output files.
    pub fn start(&self, command: &[OsString], label: &str) -> Result<Job> {
        Job::start(self.sandboxed(command), self.dir(), label)
    }

    /// Pipes to meet a client; once a bench.
    pub fn rendezvous(&self) -> Result<Rendezvous> {
        Rendezvous::new(self.dir())
    }

    /// What the server read and wrote, connection by connection.
    pub fn connections(&self) -> Result<Vec<Connection>> {
        connections(&self.journal_dir())
    }

    fn journal_dir(&self) -> PathBuf {
        self.dir().join("journal")
    }
}

/// The server speaks TLS too, and a tap looks into all that it finds running: a copy is probed for this bench alone, and one without
/// symbols mostly not at all.
fn stripped(program: &Path, folder: &Path) -> Result<PathBuf> {
    let copy = folder.join(program.file_name().context("the server has no name")?);
    let status = Command::new("strip").arg("-o").arg(&copy).arg(program).status().context("cannot run strip")?;
    ensure!(status.success(), "strip {} failed with {status}", program.display());
    Ok(copy)
}
