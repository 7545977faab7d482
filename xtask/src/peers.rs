//! `cargo xtask peers`: sinks with receivers that the other tests do without, because they take ten and twenty processor minutes to build: the broker
//! tansu, which keeps its word under kill -9 and asks who comes, and the collector otelite, which does not read all compressions. Enters: nothing.
//! Leaves: the tests' verdict (`tests/e2e/sinks/tansu.rs`, `otelite.rs`). The programs stay in `target/tools`.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{bench, sh};

/// A program from the registry.
struct Peer {
    name: &'static str,
    /// The version that the notes' figures are of.
    version: &'static str,
    features: &'static str,
    /// What tells the tests where it is.
    variable: &'static str,
}

const PEERS: [Peer; 2] = [
    Peer { name: "tansu", version: "0.6.0", features: "dynostore,libsql,postgres", variable: "OUTFLOW_TANSU" },
    Peer { name: "otelite", version: "0.1.156", features: "", variable: "OUTFLOW_OTELITE" },
];

/// Builds what is missing, and runs the tests.
pub(crate) fn run() -> Result<()> {
    ensure!(sh::on_path("stunnel"), "stunnel is missing, which takes TLS off for the broker: apt-get install stunnel4");
    println!("{}", bench::machine());
    let mut command = sh::cargo("test");
    command.args(["--workspace", "--test", "e2e", "--", "--nocapture", "--test-threads=1"]);
    command.args(PEERS.map(|peer| format!("sinks::{}", peer.name)));
    name_them(&mut command)?;
    sh::run(&mut command)
}

/// Tells the tests where the programs are; builds what is missing.
pub(crate) fn name_them(command: &mut Command) -> Result<()> {
    for peer in PEERS {
        command.env(peer.variable, peer.program()?);
    }
    Ok(())
}

impl Peer {
    fn program(&self) -> Result<PathBuf> {
        let root = sh::target_dir().join("tools").join(self.name);
        let program = root.join("bin").join(self.name);
        if !program.is_file() {
            let package = format!("{}@{}", self.name, self.version);
            let mut install = sh::cargo("install");
            install.args([&package, "--locked", "--features", self.features, "--root"]).arg(&root);
            // Not among our own: it is another lock.
            install.arg("--target-dir").arg(root.join("build"));
            sh::run(&mut install)?;
        }
        Ok(program)
    }
}
