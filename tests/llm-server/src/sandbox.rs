//! Runs one command in a world where the vendors' names lead to this server.
//!
//! Enters: a command, names, and where to keep the journal. Leaves: the command's exit status. The command lives in mount
//! and network namespaces of its own: the only interface is the loopback, `/etc/hosts` is ours, and the server holds
//! 127.0.0.1:443. Nothing of it can reach a real vendor, and every mount and socket vanishes with the namespaces. There is
//! no process namespace, because a tap running inside must see the process ids that the kernel programs see.
//!
//! Two steps, each one `exec`, so that the caller's child is one process from start to end:
//!
//! ```text
//! llm-server sandbox …        ─exec─► unshare --mount --net ─exec─► llm-server sandbox --outside-net ID …
//!                                                                     lo up, /etc/hosts, server, then spawns
//!                                                                     llm-server tied --parent PID -- CMD ─exec─► CMD
//! ```

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};

use crate::server::{self, Options, Server};

/// How long the command may take to end after it was asked to.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the command could not be run in a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step of the set-up failed.
    #[error("cannot {what}: {source}")]
    Step {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A helper program said no.
    #[error("{program} failed with {status}")]
    Helper {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// The inner step was called outside of a namespace of its own: it would have changed the host.
    #[error("refused: this process shares its mounts or its network with the caller")]
    NotIsolated,
    /// The server did not start.
    #[error(transparent)]
    Server(#[from] server::Error),
}

/// Names what was being done when the system refused.
fn step<T>(what: impl Into<String>, result: Result<T, impl Into<io::Error>>) -> Result<T, Error> {
    result.map_err(|source| Error::Step { what: what.into(), source: source.into() })
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Host names that lead to the server.
    pub names: Vec<String>,
    /// The folder for the plain bytes of every connection.
    pub journal: Option<PathBuf>,
    /// Where the CA file and the hosts file go; a temporary folder when absent.
    pub dir: Option<PathBuf>,
    /// Whether the server speaks HTTP/2 to clients that can.
    pub http2: bool,
    /// Environment of the command alone, not of the helpers.
    pub env: Vec<(OsString, OsString)>,
    /// The command and its arguments; never empty.
    pub command: Vec<OsString>,
}

/// The identity of this process's mounts and network, to prove later that they were left.
pub fn namespaces() -> Result<String, Error> {
    let link = |kind: &str| {
        let path = format!("/proc/self/ns/{kind}");
        step(format!("read {path}"), fs::read_link(path)).map(|link| link.to_string_lossy().into_owned())
    };
    Ok(format!("{}+{}", link("mnt")?, link("net")?))
}

/// Replaces this process by `unshare`, which starts `again` in fresh namespaces. Returns only on failure.
pub fn enter(again: &[OsString]) -> Error {
    let program = match step("find this program's own file", std::env::current_exe()) {
        Ok(program) => program,
        Err(error) => return error,
    };
    let source = Command::new("unshare").args(["--mount", "--net", "--"]).arg(program).args(again).exec();
    Error::Step { what: "run unshare (util-linux)".to_owned(), source }
}

/// The inner step: sets the world up, runs the command, and takes everything down again.
pub async fn run(plan: Plan, outside: &str) -> Result<ExitStatus, Error> {
    let inside = namespaces()?;
    let differs = inside.split('+').zip(outside.split('+')).all(|(inside, outside)| inside != outside);
    if outside.split('+').count() != 2 || !differs {
        return Err(Error::NotIsolated);
    }
    // Lives to the end of the run; a caller that may kill us names a folder of its own.
    let temporary = match &plan.dir {
        Some(_) => None,
        None => Some(step("make a folder", tempfile::Builder::new().prefix("outflow-sandbox-").tempdir())?),
    };
    let dir = temporary.as_ref().map(|temporary| temporary.path().to_owned()).or(plan.dir.clone()).unwrap_or_default();
    step(format!("make {}", dir.display()), fs::create_dir_all(&dir))?;
    loopback_up()?;
    redirect_names(&dir, &plan.names)?;
    let running = Server::start(Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 443)),
        names: plan.names.clone(),
        ca_out: dir.join("ca.pem"),
        http2: plan.http2,
        journal: plan.journal.clone(),
    })
    .await?;
    // Orphans of the command come to us, so that none outlives the sandbox.
    step("become the reaper of orphans", rustix::process::set_child_subreaper(Some(rustix::process::getpid())))?;
    let status = supervise(&plan, &running.ca_path).await;
    let swept = sweep_orphans();
    running.stop().await;
    swept?;
    status
}

fn loopback_up() -> Result<(), Error> {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).stdin(Stdio::null()).status();
    let status = step("run ip (iproute2)", status)?;
    if status.success() { Ok(()) } else { Err(Error::Helper { program: "ip", status }) }
}

/// Lays a hosts file of our own over `/etc/hosts`, seen in this mount namespace only.
fn redirect_names(dir: &Path, names: &[String]) -> Result<(), Error> {
    let names: BTreeSet<&str> = names.iter().map(String::as_str).chain(["localhost"]).collect();
    let lines = names.iter().fold(String::new(), |lines, name| lines + "127.0.0.1 " + name + "\n");
    let hosts = dir.join("hosts");
    step("write the hosts file", fs::write(&hosts, lines))?;
    step("lay the hosts file over /etc/hosts", rustix::mount::mount_bind(&hosts, "/etc/hosts"))
}

/// Runs the command to its end. Ctrl-C reaches it by itself, being of the same terminal group; TERM and HUP are handed on.
async fn supervise(plan: &Plan, ca: &Path) -> Result<ExitStatus, Error> {
    let mut interrupt = step("watch for SIGINT", signal(SignalKind::interrupt()))?;
    let mut terminate = step("watch for SIGTERM", signal(SignalKind::terminate()))?;
    let mut hang_up = step("watch for SIGHUP", signal(SignalKind::hangup()))?;
    let program = step("find this program's own file", std::env::current_exe())?;
    let parent = std::process::id().to_string();
    let mut command = tokio::process::Command::new(program);
    command.args(["tied", "--parent", &parent, "--"]).args(&plan.command).kill_on_drop(true);
    command.env("SSL_CERT_FILE", ca).env("REQUESTS_CA_BUNDLE", ca).envs(plan.env.iter().cloned());
    let name = plan.command.first().map_or(OsStr::new(""), OsString::as_os_str).to_string_lossy().into_owned();
    let mut child = step(format!("run {name}"), command.spawn())?;
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    loop {
        let passed_on = tokio::select! {
            status = child.wait() => return step(format!("wait for {name}"), status),
            _ = interrupt.recv() => continue,
            _ = terminate.recv() => Signal::TERM,
            _ = hang_up.recv() => Signal::HUP,
        };
        if let Some(pid) = pid {
            // It may be gone already; the wait below tells.
            let _gone = rustix::process::kill_process(pid, passed_on);
        }
        if let Ok(status) = tokio::time::timeout(END_TIMEOUT, child.wait()).await {
            return step(format!("wait for {name}"), status);
        }
        step(format!("kill {name}"), child.start_kill())?;
    }
}

/// Kills and reaps what the command left behind. Killing one may hand us its children, hence the rounds.
fn sweep_orphans() -> Result<(), Error> {
    loop {
        let children = children()?;
        if children.is_empty() {
            return Ok(());
        }
        for pid in children {
            // Ours until we reap it, so the number cannot have been given to another process.
            let _gone = rustix::process::kill_process(pid, Signal::KILL);
            let _reaped = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

/// Our children, from `/proc` (proc(5): needs CONFIG_PROC_CHILDREN, which every distribution sets).
fn children() -> Result<Vec<Pid>, Error> {
    let mut found = Vec::new();
    for task in step("list our threads", fs::read_dir("/proc/self/task"))?.flatten() {
        let path = task.path().join("children");
        let list = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // the thread ended
            list => step(format!("read {}", path.display()), list)?,
        };
        found.extend(list.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw));
    }
    Ok(found)
}

/// Ties this process to `parent`'s life and becomes `command`. Returns only on failure.
pub fn tied(parent: u32, command: &[OsString]) -> Error {
    let tie = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if let Err(error) = step("tie the command to its parent", tie) {
        return error;
    }
    let current = rustix::process::getppid().map(Pid::as_raw_nonzero);
    if current.is_none_or(|current| u32::try_from(current.get()) != Ok(parent)) {
        // The parent died before the tie was made.
        return Error::Step { what: "find the parent".to_owned(), source: io::ErrorKind::NotFound.into() };
    }
    let Some((program, arguments)) = command.split_first() else {
        return Error::Step { what: "run nothing".to_owned(), source: io::ErrorKind::InvalidInput.into() };
    };
    let source = Command::new(program).args(arguments).exec();
    Error::Step { what: format!("run {}", program.to_string_lossy()), source }
}

/// The exit code that a shell would give: the command's own, or 128 and its signal.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
