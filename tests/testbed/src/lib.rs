//! What the end-to-end tests and the demo stand on. Enters: the workspace and a command. Leaves: that command's run in a
//! place of its own, with real clients, a local server and a TLS library that no other process on the host maps; and beside it a broker
//! and a collector, to which an agent sends what it found.
//!
//! It never attaches a kernel program and never touches a process, a mount or a cgroup that it did not make. Everything is
//! taken down on drop, in this order: processes, cgroups, folders.

mod agent;
mod bench;
mod broker;
mod cgroup;
mod clients;
mod collector;
mod deadline;
#[cfg(feature = "fake-collector")]
pub mod fake_collector;
mod image;
mod job;
mod journal;
mod kcat;
mod peers;
mod pod;
mod port;
mod private_copy;
mod private_tls;
mod received;
mod rendezvous;
mod rights;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

pub use agent::Agent;
pub use bench::{Bench, Tools};
pub use broker::Broker;
pub use cgroup::Cgroup;
pub use clients::{Age, Clients};
pub use collector::Collector;
pub use deadline::Deadline;
pub use image::build_context;
pub use job::{Ended, Job};
pub use journal::{Connection, connections};
pub use kcat::Message;
pub use peers::{missing_for_broker, missing_for_collector, missing_for_peers};
pub use pod::{Podman, Sees, missing_for_pods, mounts_below};
pub use port::Port;
pub use private_copy::{private_copy, private_libraries, private_tree};
pub use private_tls::PrivateTls;
pub use received::{Attributes, Metric, Point, Record, Span, Value};
pub use rendezvous::Rendezvous;
pub use rights::{missing_for_bpf, missing_for_sandbox};

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own)
}

/// The Python interpreter with the vendors' clients, in `target/venv`; made on first use (needs PyPI then).
pub fn python(target: &Path) -> Result<PathBuf> {
    let script = workspace().join("tests/e2e/make-venv.sh");
    let mut command = Command::new(&script);
    command.arg(target.join("venv")).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(output.status.success(), "{} failed with {}", script.display(), output.status);
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// The source of a client in `tests/e2e/clients`.
pub fn client(name: &str) -> PathBuf {
    workspace().join("tests/e2e/clients").join(name).with_extension("py")
}
