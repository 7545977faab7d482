//! `cargo xtask chaos`: the agent under kill -9. Enters: how long. Leaves: what machine and commit it was, and the figures of the tests in which it
//! is killed (`tests/it/run`), or their failure. CI runs the same tests in their short form with all others.

use anyhow::Result;

use crate::{bench, sh};

/// Runs every test in which an agent is killed, one after the other; with `long` in their long form.
pub(crate) fn run(long: bool) -> Result<()> {
    println!("{}", bench::machine());
    let mut command = sh::cargo("test");
    command.args(["--workspace", "--test", "it", "--", "kill", "--nocapture", "--test-threads=1"]);
    if long {
        command.env("OUTFLOW_LONG", "1");
    }
    sh::run(&mut command)
}
