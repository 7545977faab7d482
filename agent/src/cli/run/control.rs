//! The socket by which `outflow budget` and `outflow findings set` talk to the running agent: `control.sock` in the state folder, for the agent's user and root alone.
//! Enters: one JSON object a connection. Leaves: one JSON object. Nobody is waited for longer than a second.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    time::timeout,
};

use crate::{detectors::budget::Unit, enforce::Counts};

/// Its name in the state folder.
pub(in crate::cli) const SOCKET: &str = "control.sock";
/// Longest question.
const ASK_BYTES_MAX: u64 = 4096;
/// Longest that one who asks is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(in crate::cli) enum Ask {
    /// How everything stands.
    List,
    /// Lets through what this budget stops.
    Reset {
        /// Its name.
        budget: String,
    },
    /// Tells no sink of this finding, or tells them again.
    Silence {
        /// Its id.
        finding: String,
        /// RFC 3339; without it a silence ends.
        until: Option<String>,
        /// Why.
        reason: Option<String>,
    },
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(in crate::cli) enum Say {
    /// How everything stands.
    Budgets {
        /// Those that enforce.
        budgets: Vec<BudgetRow>,
        /// The control groups.
        groups: Vec<GroupRow>,
        /// What services spent.
        spend: Vec<SpendRow>,
    },
    /// It was done.
    Done {
        /// What.
        what: String,
    },
    /// It was not.
    Refused {
        /// Why.
        why: String,
    },
}

/// A budget that enforces.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli) struct BudgetRow {
    pub(in crate::cli) budget: String,
    /// `good`, `exhausted` or `reset`.
    pub(in crate::cli) state: String,
    pub(in crate::cli) since: Option<String>,
    pub(in crate::cli) until: Option<String>,
}

/// A control group.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli) struct GroupRow {
    pub(in crate::cli) cgroup: String,
    pub(in crate::cli) budgets: Vec<String>,
    pub(in crate::cli) stops: bool,
    pub(in crate::cli) counts: Counts,
}

/// What was spent of a budget in its window.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli) struct SpendRow {
    pub(in crate::cli) budget: String,
    /// By whom; empty when all have the budget together.
    pub(in crate::cli) owner: String,
    pub(in crate::cli) unit: Unit,
    /// Nano-USD or tokens.
    pub(in crate::cli) spent: u64,
    /// The same of the whole fleet, when the budget is the fleet's and that is known.
    #[serde(default)]
    pub(in crate::cli) fleet_spent: Option<u64>,
    pub(in crate::cli) limit: u64,
}

/// The socket; gone when this is dropped.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens in the state folder, which the caller has locked for itself.
    pub(super) fn listen(state: &Path) -> io::Result<Self> {
        let path = state.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(short(&File::open(state)?))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// The next who asks.
    pub(super) async fn asked(&self) -> (UnixStream, Ask) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if is_ours(&stream) => {
                    if let Ok(Some(asked)) = timeout(PATIENCE, question(stream)).await {
                        return asked;
                    }
                }
                Ok(_) => {}
                // No descriptor is free: it may be later.
                Err(_) => tokio::time::sleep(PATIENCE).await,
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The address of a socket has 108 bytes (unix(7)), and a folder's name may have more.
pub(in crate::cli) fn short(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

/// Between `bind` and its mode the socket is only as closed as its folder.
fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw())
}

async fn question(stream: UnixStream) -> Option<(UnixStream, Ask)> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    (&mut reader).take(ASK_BYTES_MAX).read_line(&mut line).await.ok()?;
    Some((reader.into_inner(), serde_json::from_str(&line).ok()?))
}

/// Answers; whoever does not listen goes without.
pub(super) async fn answer(mut stream: UnixStream, say: &Say) {
    if let Ok(text) = serde_json::to_vec(say) {
        let _ = timeout(PATIENCE, stream.write_all(&text)).await;
    }
}
