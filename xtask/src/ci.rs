//! `cargo xtask ci`: everything that CI runs, in CI's order. Enters: the workspace. Leaves: each check's verdict and minutes,
//! then the tests' closing lines. A check that fails does not stop the next one, and counts as a failure in the last line.

use anyhow::Result;

use crate::{bench, demo, fuzz, setup, sh, suite, tidy};

/// A check and its name.
type Check = (&'static str, fn() -> Result<()>);

/// A check's name, its verdict and its minutes.
type Verdict = (&'static str, bool, f64);

/// Runs all checks, then all tests.
pub(crate) fn run() -> suite::Tally {
    // The cheap ones first: a slip shows before the compiler starts.
    let checks: [Check; 11] = [
        ("format", || sh::run(sh::cargo("fmt").args(["--all", "--check"]))),
        ("tidy", tidy::run),
        ("spelling", || sh::run(&mut sh::command(setup::typos()))),
        ("licences", || sh::run(sh::cargo("deny").args(["check", "bans", "licenses", "sources"]))),
        ("clippy", || clippy(&["--workspace"])),
        ("clippy, no features", || clippy(&["--package", "outflow", "--no-default-features"])),
        ("build", sh::build_programs),
        ("rules", || sh::run(sh::command(sh::target_dir().join("debug/outflow")).args(["rules", "check"]))),
        ("demo", demo::run),
        ("bench tail, short", bench::tail_short),
        ("fuzz", || fuzz::run(None, fuzz::Length::Short)),
    ];
    let mut verdicts: Vec<Verdict> = checks.into_iter().map(|(name, check)| judge(name, check)).collect();

    let watch = sh::Stopwatch::start();
    let mut tally = suite::run(None, &[]).unwrap_or_else(|error| {
        eprintln!("test: {error:#}");
        suite::Tally::failure()
    });
    verdicts.push(("tests", tally.failed == 0, watch.minutes()));

    println!();
    for (name, good, minutes) in &verdicts {
        println!("{:<20} {:<6} {minutes:5.1} min", name, if *good { "ok" } else { "FAILED" });
    }
    // The tests have counted themselves.
    tally.failed += verdicts.iter().filter(|(name, good, _)| !good && *name != "tests").count();
    tally
}

fn judge(name: &'static str, check: fn() -> Result<()>) -> Verdict {
    eprintln!("\n== {name}");
    let watch = sh::Stopwatch::start();
    let result = check();
    if let Err(error) = &result {
        eprintln!("{name}: {error:#}");
    }
    (name, result.is_ok(), watch.minutes())
}

fn clippy(what: &[&str]) -> Result<()> {
    sh::run(sh::cargo("clippy").args(what).args(["--all-targets", "--locked", "--", "-D", "warnings"]))
}
