//! `cargo xtask test`: runs the tests and counts them. Enters: what cargo prints. Leaves: the same without the chatter of
//! tests that passed, the skips by reason, and `N passed, N failed` as the last line. A skip is never counted as a pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{ebpf, sh};

/// One kind of test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Suite {
    /// Beside the code, in every crate; needs no rights
    Unit,
    /// Across rooms and through the command line (tests/it)
    It,
    /// Real clients, a real TLS server and the kernel (tests/e2e); needs root
    E2e,
}

/// A suite that takes longer than this in CI hangs; people have Ctrl-C.
const LIMIT_SECONDS: &str = "1500";

impl Suite {
    const ALL: [Self; 3] = [Self::Unit, Self::It, Self::E2e];

    fn targets(self) -> &'static [&'static str] {
        match self {
            Self::Unit => &["--lib", "--bins"],
            Self::It => &["--test", "it"],
            Self::E2e => &["--test", "e2e"],
        }
    }
}

/// Builds what the tests start, runs one suite or all, and says how it went. `filter` is passed on to the tests.
pub(crate) fn run(suite: Option<Suite>, filter: &[String]) -> Result<Tally> {
    let suites = suite.map_or_else(|| Suite::ALL.to_vec(), |suite| vec![suite]);
    let mut tally = Tally::default();
    if let Err(error) = prepare(&suites) {
        eprintln!("test: {error:#}");
        return Ok(Tally::failure());
    }
    for suite in suites {
        run_suite(suite, filter, &mut tally)?;
    }
    if tally.passed + tally.failed + tally.skipped() == 0 && filter.is_empty() {
        eprintln!("test: no test ran");
        tally.failed += 1;
    }
    Ok(tally)
}

fn prepare(suites: &[Suite]) -> Result<()> {
    ebpf::build(sh::workspace(), &sh::target_dir().join("bpf"), std::env::consts::ARCH, ebpf::Talk::Shown)?;
    // The programs that tests start: the agent, and the TLS server that answers as the vendors do.
    sh::build_programs()?;
    for suite in suites {
        sh::run(sh::cargo("test").args(["--workspace", "--no-run"]).args(suite.targets()))?;
    }
    Ok(())
}

fn run_suite(suite: Suite, filter: &[String], tally: &mut Tally) -> Result<()> {
    let mut cargo = sh::cargo("test");
    cargo.args(["--workspace", "--no-fail-fast"]).args(suite.targets());
    // The output of passing tests is where they say that they skipped.
    cargo.args(["--", "--show-output"]).args(filter);
    let mut command = if sh::is_ci() { limited(&cargo) } else { cargo };
    command.env("OUTFLOW_LLM_SERVER", sh::target_dir().join("debug/llm-server"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    sh::say(&command);
    let mut child = command.spawn().context("cannot start cargo test")?;
    let mut run = Reader::default();
    if let Some(output) = child.stdout.take() {
        run.read_all(output).context("cannot read what the tests print")?;
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    run.end(status.success(), tally);
    Ok(())
}

/// The same command under coreutils' `timeout`, which ends the whole process group.
fn limited(cargo: &Command) -> Command {
    let mut command = sh::command("timeout");
    command.args(["--kill-after=20", LIMIT_SECONDS]).arg(cargo.get_program()).args(cargo.get_args());
    command
}

/// What all suites came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that ran to their end.
    pub(crate) passed: usize,
    /// Tests that failed; a test program that died without a word, or a build that failed, counts one.
    pub(crate) failed: usize,
    /// Tests that said why they did not run, by reason.
    skips: BTreeMap<String, usize>,
}

impl Tally {
    /// Something failed before any test could.
    pub(crate) fn failure() -> Self {
        Self { failed: 1, ..Self::default() }
    }

    /// Notes that one thing was not done, and why.
    pub(crate) fn skip(&mut self, reason: &str) {
        *self.skips.entry(reason.to_owned()).or_default() += 1;
    }

    fn skipped(&self) -> usize {
        self.skips.values().sum()
    }

    /// The two closing lines.
    pub(crate) fn print(&self) {
        let reasons: Vec<_> = self.skips.iter().map(|(reason, count)| format!("{count}: {reason}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
        println!("{} skipped{reasons}", self.skipped());
        println!("{} passed, {} failed", self.passed, self.failed);
    }
}

/// Reads what libtest prints (`cargo test -- --show-output`).
#[derive(Debug, Default)]
struct Reader {
    passed: usize,
    failed: usize,
    /// Inside the part that repeats what passing tests printed.
    in_successes: bool,
    /// The test whose output is being repeated.
    test: String,
    skipped: BTreeSet<String>,
    skips: BTreeMap<String, usize>,
}

impl Reader {
    fn read_all(&mut self, output: impl Read) -> std::io::Result<()> {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            if self.line(text.trim_end()) {
                println!("{}", text.trim_end());
            }
            line.clear();
        }
        Ok(())
    }

    /// Takes one line; says whether a person wants to see it.
    fn line(&mut self, line: &str) -> bool {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.in_successes = false;
            return true;
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ => {}
        }
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            name.clone_into(&mut self.test);
        } else if self.in_successes && self.skip(line) {
            return true;
        }
        !self.in_successes && !line.ends_with(" ... ok") && !line.is_empty()
    }

    /// A test that skips says `skipped: reason` on a line of its own. A test counts once, by its first reason.
    fn skip(&mut self, line: &str) -> bool {
        let Some(reason) = line.strip_prefix("skipped:") else { return false };
        let new = self.skipped.insert(self.test.clone());
        if new {
            *self.skips.entry(reason.trim().to_owned()).or_default() += 1;
        }
        new
    }

    fn end(self, success: bool, tally: &mut Tally) {
        tally.passed += self.passed.saturating_sub(self.skipped.len());
        tally.failed += self.failed;
        if !success && self.failed == 0 {
            eprintln!("test: a test program ended without a result (crash, or over {LIMIT_SECONDS} s)");
            tally.failed += 1;
        }
        for (reason, count) in self.skips {
            *tally.skips.entry(reason).or_default() += count;
        }
    }
}

/// `5` of `ok. 5 passed; 0 failed; …`.
fn count(counts: &str, word: &str) -> usize {
    counts
        .split([';', '.'])
        .find_map(|part| part.trim().strip_suffix(word))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, success: bool) -> (Tally, Vec<String>) {
        let mut reader = Reader::default();
        let shown = text.lines().filter(|line| reader.line(line)).map(str::to_owned).collect();
        let mut tally = Tally::default();
        reader.end(success, &mut tally);
        (tally, shown)
    }

    const MIXED: &str = "\nrunning 4 tests\ntest a ... ok\ntest m::b ... ok\ntest c ... ok\ntest d ... FAILED\n\nsuccesses:\n\n\
        ---- a stdout ----\nskipped: no kernel tap here\nskipped: again\n\n---- m::b stdout ----\nchatter\n\n\nsuccesses:\n    a\n\
        m::b\n    c\n\nfailures:\n\n---- d stdout ----\nskipped: not a skip\nit broke\n\n\nfailures:\n    d\n\n\
        test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.01s\n";

    #[test]
    fn a_skip_is_not_a_pass_and_counts_once_a_test() {
        let (tally, shown) = read(MIXED, false);
        assert_eq!((tally.passed, tally.failed, tally.skipped()), (2, 1, 1));
        assert_eq!(tally.skips.get("no kernel tap here"), Some(&1));
        assert!(shown.iter().any(|line| line == "it broke"), "{shown:?}");
        assert!(!shown.iter().any(|line| line.contains("chatter") || line.ends_with("ok")), "{shown:?}");
    }

    #[test]
    fn a_program_that_dies_without_a_result_is_a_failure() {
        let (tally, _) = read("\nrunning 2 tests\ntest a ... ok\n", false);
        assert_eq!((tally.passed, tally.failed), (0, 1));
    }

    #[test]
    fn several_programs_add_up() {
        let one = "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let (tally, _) = read(&one.repeat(3), true);
        assert_eq!((tally.passed, tally.failed, tally.skipped()), (15, 0, 0));
    }
}
