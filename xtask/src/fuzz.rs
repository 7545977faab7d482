//! `cargo xtask fuzz`: runs the fuzz targets of agent/src/fuzz.rs. Enters: a target's name, or none for all. Leaves: executions,
//! corpus and memory of each; a crash, a hang or growth past the cap fails. What the recordings teach the fuzzer goes into a
//! corpus below the target folder, never into the repository.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{setup, sh};

/// One input may take so long.
const HANG_SECONDS: u32 = 10;
/// Memory of the fuzzer with its corpus; no target may need more.
const RSS_MB: u32 = 1024;
/// Most seconds of a target without `--long` or `--seconds`.
const SHORT_SECONDS: u64 = 30;
/// All targets together take about so long then, whatever their number: CI has other things to do.
const SHORT_SECONDS_IN_ALL: u64 = 100;
/// A short run learns from every so many-th recording: libFuzzer runs all seeds before it looks at the clock.
const SHORT_STEP: usize = 5;
/// Seconds of a target with `--long`.
const LONG_SECONDS: u64 = 600;

const PAGE: &str = "docs/FUZZING.md";
const HEAD: &str = "\
# Fuzzing

What `cargo xtask fuzz --long` saw: ten minutes a target, libFuzzer through cargo-fuzz, debug assertions and overflow checks on, no sanitizer (the
only `unsafe` in what is fuzzed is `exchange/lanes/x86.rs`). Each target is a function of `agent/src/fuzz.rs`; besides not panicking it holds to properties, the
first of which is that the same bytes, cut in any way, give the same. An input over 10 s or memory over 1,024 MB fails like a crash.

Seeds: the invented ones of `fuzz/seeds`, and what the recorded exchanges look like to the target, written to `target/fuzz/corpus` by each run.
What broke once is kept in `fuzz/regressions` under a name that says what it is; `cargo test` replays all of it without a fuzzer. To keep a
crash: move it from `target/fuzz/artifacts` there.

";

/// How long to fuzz each target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// As CI does.
    Short,
    /// Ten minutes each, and the figures go to docs/FUZZING.md.
    Long,
    /// As long as that.
    Seconds(u64),
}

/// The figures of one target.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    executions: u64,
    corpus: u64,
    features: u64,
    rss_mb: u64,
}

/// A target that was run. `fault`: why it failed.
struct Outcome {
    name: String,
    figures: Figures,
    fault: Option<String>,
}

/// Builds the fuzzer and runs one target, or all.
pub(crate) fn run(target: Option<&str>, length: Length) -> Result<()> {
    setup::fuzzer()?;
    let names = names(target)?;
    let watch = sh::Stopwatch::start();
    let fuzzer = build()?;
    eprintln!("fuzz: built in {:.1} min", watch.minutes());
    let workers = thread::available_parallelism().map_or(1, usize::from).min(names.len());
    let seconds = match length {
        Length::Short => short_seconds(names.len(), workers),
        Length::Long => LONG_SECONDS,
        Length::Seconds(seconds) => seconds,
    };
    eprintln!("fuzz: {} targets, {seconds} s each, {workers} at a time", names.len());
    let outcomes = run_all(&fuzzer, &names, seconds, workers)?;
    let table = table(&outcomes, seconds);
    println!("{table}");
    if length == Length::Long && target.is_none() {
        let page = sh::workspace().join(PAGE);
        fs::write(&page, format!("{HEAD}{table}")).with_context(|| format!("cannot write {}", page.display()))?;
    }
    let faults: Vec<_> = outcomes.iter().filter_map(|outcome| Some((&outcome.name, outcome.fault.as_ref()?))).collect();
    for (name, fault) in &faults {
        eprintln!("fuzz: {name}: {fault}");
    }
    ensure!(faults.is_empty(), "{} of {} targets failed", faults.len(), outcomes.len());
    Ok(())
}

/// Every target has seeds (a test of the agent sees to it), so the folders are the list.
fn names(target: Option<&str>) -> Result<Vec<String>> {
    let folder = sh::workspace().join("fuzz/seeds");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    if let Some(target) = target {
        ensure!(names.iter().any(|name| name == target), "no target `{target}`; there are {}", names.join(", "));
        names.retain(|name| name == target);
    }
    Ok(names)
}

/// Seconds of each target, so that all of them stay within their time.
fn short_seconds(targets: usize, workers: usize) -> u64 {
    (SHORT_SECONDS_IN_ALL * workers as u64 / targets.max(1) as u64).clamp(1, SHORT_SECONDS)
}

fn folder() -> PathBuf {
    sh::target_dir().join("fuzz")
}

/// One program with all targets. It is built with the stable compiler: only sanitizers would need another one.
fn build() -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = sh::cargo("fuzz");
    cargo.args(["build", "--sanitizer", "none", "--target", &triple, "--target-dir"]).arg(folder()).arg("outflow");
    sh::run(&mut cargo)?;
    Ok(folder().join(triple).join("release/outflow"))
}

fn run_all(fuzzer: &Path, names: &[String], seconds: u64, workers: usize) -> Result<Vec<Outcome>> {
    let recordings = recordings()?;
    let step = if seconds > SHORT_SECONDS { 1 } else { SHORT_STEP };
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = fuzz(fuzzer, name, recordings.as_deref().map(|folder| (folder, step)), seconds)
                        .unwrap_or_else(|error| {
                            let fault = Some(format!("{error:#}"));
                            Outcome { name: name.clone(), figures: Figures::default(), fault }
                        });
                    let Figures { executions, corpus, rss_mb, .. } = outcome.figures;
                    let verdict = if outcome.fault.is_none() { "ok" } else { "FAILED" };
                    eprintln!(
                        "{name:<16} {verdict:<6} {executions:>10} executions, corpus {corpus:>5}, {rss_mb:>4} MB"
                    );
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push(outcome);
                    }
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_default();
    outcomes.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(outcomes.len() == names.len(), "a worker was lost");
    Ok(outcomes)
}

/// The recorded exchanges, if they are here.
fn recordings() -> Result<Option<PathBuf>> {
    let default = sh::workspace().join("../shared/exchanges");
    let folder = std::env::var_os("OUTFLOW_EXCHANGES").map_or(default, PathBuf::from);
    if folder.join("data").is_dir() {
        return Ok(Some(folder));
    }
    if std::env::var_os("OUTFLOW_REQUIRE_EXCHANGES").is_some_and(|value| value == "1") {
        bail!("no recorded exchanges in {}", folder.display());
    }
    eprintln!("fuzz: no recorded exchanges in {}: the invented seeds alone", folder.display());
    Ok(None)
}

fn fuzz(fuzzer: &Path, name: &str, recordings: Option<(&Path, usize)>, seconds: u64) -> Result<Outcome> {
    let place = |kind: &str| -> Result<PathBuf> {
        let path = folder().join(kind).join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    };
    let (corpus, artifacts, log) = (place("corpus")?, place("artifacts")?, place("logs")?.join("fuzzer.log"));
    let command = || {
        let mut command = Command::new(fuzzer);
        command.current_dir(sh::workspace()).env("OUTFLOW_FUZZ", name).stdin(Stdio::null());
        command
    };
    if let Some((recordings, step)) = recordings {
        let places = format!("{}:{}:{step}", recordings.display(), corpus.display());
        let told = sh::ask(command().env("OUTFLOW_FUZZ_SEEDS", places));
        ensure!(told.is_some(), "cannot write the seeds of the recordings to {}", corpus.display());
    }
    let mut command = command();
    command.arg(&corpus);
    for kind in ["fuzz/seeds", "fuzz/regressions"] {
        let folder = sh::workspace().join(kind).join(name);
        if folder.is_dir() {
            command.arg(folder);
        }
    }
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-timeout={HANG_SECONDS}"));
    command.arg(format!("-rss_limit_mb={RSS_MB}"));
    command.arg("-print_final_stats=1");
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = command.stdout(Stdio::null()).stderr(output).status().context("cannot start the fuzzer")?;
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    let figures = figures(&text);
    let fault = if status.success() && figures.executions > 0 {
        None
    } else {
        Some(format!("{status}: {}; input in {}, more in {}", why(&text), artifacts.display(), log.display()))
    };
    Ok(Outcome { name: name.to_owned(), figures, fault })
}

/// What libFuzzer says at its end.
fn figures(log: &str) -> Figures {
    let stat = |name: &str| {
        let line =
            log.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
    };
    // `#270988	DONE   cov: 2042 ft: 9188 corp: 1377/1148Kb …`
    let last = |name: &str| {
        let line = log.lines().rev().find(|line| line.starts_with('#') && line.contains(name)).unwrap_or_default();
        let number = line.split_once(name).map(|(_, rest)| rest.trim_start()).unwrap_or_default();
        number.split(|c: char| !c.is_ascii_digit()).next().and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    Figures {
        executions: stat("number_of_executed_units"),
        corpus: last("corp:"),
        features: last("ft:"),
        rss_mb: stat("peak_rss_mb"),
    }
}

/// The line that says what broke.
fn why(log: &str) -> String {
    let mut lines = log.lines();
    let found = lines.find(|line| line.contains("panicked at") || line.starts_with("==") && line.contains("ERROR"));
    let next = found.and_then(|_| lines.next()).unwrap_or_default();
    format!("{} {next}", found.unwrap_or("it did not run"))
}

fn table(outcomes: &[Outcome], seconds: u64) -> String {
    let said = |program: &str, arguments: &[&str]| sh::ask(sh::command(program).args(arguments)).unwrap_or_default();
    let mut table = format!(
        "{}, commit {}, {seconds} s a target, {} processors.\n\n\
         | target | executions | a second | corpus | features | peak MB | verdict |\n| --- | --- | --- | --- | --- | --- | --- |\n",
        said("date", &["--utc", "+%Y-%m-%d %H:%M UTC"]),
        said("git", &["describe", "--always", "--dirty"]),
        said("nproc", &[]),
    );
    let row = |Outcome { name, figures, fault }: &Outcome| {
        let Figures { executions, corpus, features, rss_mb } = figures;
        let verdict = if fault.is_none() { "ok" } else { "failed" };
        let rate = executions / seconds.max(1);
        format!("| {name} | {executions} | {rate} | {corpus} | {features} | {rss_mb} | {verdict} |\n")
    };
    table.extend(outcomes.iter().map(row));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: seed corpus: files: 9\n#9\tINITED cov: 1 ft: 2 corp: 3/4b exec/s: 0 rss: 30Mb\n\
        #270988\tDONE   cov: 2042 ft: 9188 corp: 1377/1148Kb lim: 16384 exec/s: 16936 rss: 61Mb\nDone 270988 runs in 16 second(s)\n\
        stat::number_of_executed_units: 270988\nstat::average_exec_per_sec:     16936\nstat::peak_rss_mb:              61\n";

    #[test]
    fn the_end_of_a_run_is_read() {
        assert_eq!(figures(LOG), Figures { executions: 270_988, corpus: 1377, features: 9188, rss_mb: 61 });
        assert_eq!(figures("nothing of it"), Figures::default());
    }

    #[test]
    fn what_broke_is_told() {
        let log = "x\nthread '<unnamed>' panicked at /a/b.rs:1:2:\nit broke\nmore";
        assert_eq!(why(log), "thread '<unnamed>' panicked at /a/b.rs:1:2: it broke");
        assert_eq!(
            why("==1== ERROR: libFuzzer: timeout after 10 seconds\n"),
            "==1== ERROR: libFuzzer: timeout after 10 seconds "
        );
        assert_eq!(why(""), "it did not run ");
    }

    #[test]
    fn all_targets_stay_within_their_time() {
        for (targets, workers, seconds) in [(1, 1, 30), (18, 2, 11), (18, 1, 5), (1000, 1, 1)] {
            assert_eq!(short_seconds(targets, workers), seconds, "{targets} targets, {workers} at a time");
        }
    }
}
