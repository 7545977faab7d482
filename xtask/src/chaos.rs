//! `cargo xtask chaos`: the agent under kill -9, and everything around delivery broken. Enters: how long. Leaves: what machine and commit it was, and
//! the figures of the tests in which the agent is killed, its disk is full, and brokers and collectors misbehave (`tests/it/run`,
//! `tests/e2e/sinks`), or their failure. CI runs the same tests in their short form with all others.

use anyhow::Result;

use crate::{bench, peers, sh};

/// Test binaries, and words in the names of the tests that break something.
const TESTS: [(&str, &[&str]); 2] = [("it", &["kill", "chaos", "full_disk"]), ("e2e", &["sinks::"])];

/// Runs every one of them, one after the other; with `long` in their long form, and with the broker that keeps under kill -9 what it confirmed, which
/// takes half an hour to build once. What cannot run here is a failure.
pub(crate) fn run(long: bool) -> Result<()> {
    println!("{}", bench::machine());
    for (binary, names) in TESTS {
        let mut command = sh::cargo("test");
        command.args(["--workspace", "--test", binary, "--"]).args(names);
        command.args(["--nocapture", "--test-threads=1"]);
        command.env("OUTFLOW_REQUIRE_BPF", "1");
        if long {
            command.env("OUTFLOW_LONG", "1");
            peers::name_them(&mut command)?;
        }
        sh::run(&mut command)?;
    }
    Ok(())
}
