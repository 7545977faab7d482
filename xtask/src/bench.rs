//! `cargo xtask bench`: runs the benchmarks. Enters: a benchmark's name, or none for all. Leaves: what machine and commit it
//! was, then the benchmark's own figures. It compares nothing: `docs/BENCHMARKS.md` holds what was measured before.

use std::{fs, process::Command};

use anyhow::Result;

use crate::sh;

/// Runs one benchmark of `benches/`, or all. `arguments` go to the benchmark. `accuracy` measures the program, not its speed.
pub(crate) fn run(name: Option<&str>, arguments: &[String]) -> Result<()> {
    println!("{}", machine());
    if name == Some("accuracy") {
        return accuracy(arguments);
    }
    let mut command = sh::cargo("bench");
    // The one profile that everything is built with; another would build the C++ library again.
    command.args(["--profile", "dev", "--package", "outflow"]);
    match name {
        Some(name) => command.args(["--bench", name]),
        None => command.arg("--benches"),
    };
    sh::run(command.arg("--").args(arguments))
}

/// The short form that CI runs: logs are followed by the real program to their stored end. What it prints is measured beside other work.
pub(crate) fn tail_short() -> Result<()> {
    let mut command = sh::cargo("bench");
    // Of the whole workspace, as the tests are built: the library is built once for both.
    command.args(["--profile", "dev", "--workspace", "--bench", "tail"]);
    sh::run(command.envs([("OUTFLOW_BENCH_MB", "8"), ("OUTFLOW_BENCH_ROUNDS", "1"), ("OUTFLOW_BENCH_LINES", "50")]))
}

/// What `outflow scan` finds of a labelled corpus, and what else: `tests/accuracy/`.
fn accuracy(arguments: &[String]) -> Result<()> {
    let mut command = sh::command("python3");
    command.arg("tests/accuracy/measure.py").args(arguments);
    if !arguments.iter().any(|argument| argument.starts_with("--binary")) {
        sh::build_programs()?;
        command.arg("--binary").arg(sh::target_dir().join("debug/outflow"));
    }
    sh::run(&mut command)
}

/// What a figure is worth nothing without.
pub(crate) fn machine() -> String {
    let said = |program: &str, arguments: &[&str]| {
        sh::ask(sh::command(program).args(arguments)).unwrap_or_else(|| "unknown".to_owned())
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let rustc = sh::ask(Command::new("rustc").current_dir(sh::workspace()).arg("--version")).unwrap_or_default();
    format!(
        "machine: {} · {} cores · Linux {} · {rustc} · commit {} · {}",
        cpu.trim_start_matches([' ', '\t', ':']),
        said("nproc", &[]),
        said("uname", &["-r"]),
        said("git", &["describe", "--always", "--dirty"]),
        said("date", &["--utc", "+%Y-%m-%d"]),
    )
}
