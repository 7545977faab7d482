//! `cargo xtask peers`: sinks with a broker that keeps its word under kill -9 and asks who comes: tansu, which the other tests do without, because it
//! takes some twenty processor minutes to build. Enters: nothing. Leaves: the tests' verdict (`tests/e2e/sinks/tansu.rs`). The program stays in `target/tools`.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::{bench, sh};

/// The version that the notes' figures are of.
const TANSU: &str = "0.6.0";

/// Builds what is missing, and runs the tests.
pub(crate) fn run() -> Result<()> {
    ensure!(sh::on_path("stunnel"), "stunnel is missing, which takes TLS off for the broker: apt-get install stunnel4");
    println!("{}", bench::machine());
    let mut command = sh::cargo("test");
    command.args(["--workspace", "--test", "e2e", "--", "sinks::tansu", "--nocapture", "--test-threads=1"]);
    sh::run(command.env("OUTFLOW_TANSU", tansu()?))
}

/// The program.
fn tansu() -> Result<PathBuf> {
    let root = sh::target_dir().join("tools/tansu");
    let program = root.join("bin/tansu");
    if !program.is_file() {
        let package = format!("tansu@{TANSU}");
        let mut install = sh::cargo("install");
        install.args([&package, "--locked", "--features", "dynostore,libsql,postgres", "--root"]).arg(&root);
        // Not among our own: it is another lock.
        install.arg("--target-dir").arg(root.join("build"));
        sh::run(&mut install)?;
    }
    Ok(program)
}
