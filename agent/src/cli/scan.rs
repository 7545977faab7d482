//! `outflow scan`: looks for leaks in files, folders and standard input. Enters: paths. Leaves: findings, file by file, then a
//! summary; what could not be read is said on standard error. It writes nothing but a baseline that was asked for, and follows no
//! file that grows.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::ValueEnum;

use self::{known::Writing, progress::Progress, report::Report};
use super::{
    RuleArgs, exit,
    output::{ScanSummary, SkippedFiles, SuppressedFindings},
    state,
};
use crate::{
    engine::{ScanOptions, Scanned, Silenced, scan_files},
    findings::FingerprintKey,
    sources::files::{Skip, WalkOptions, walk},
    units::Severity,
};

mod known;
mod progress;
mod report;
mod sarif;
mod table;

/// Looks for leaked data in files, folders and standard input
#[derive(Debug, clap::Args)]
#[command(after_help = "\
gzip and zstd files are unpacked while they are read. Symbolic links inside of folders are not followed.
Files of code and configuration are also searched for model ids that can change (rule model.unpinned).
`outflow:allow` on a line takes its secrets out of the findings, `outflow:allow=RULE` those of one rule.
A baseline holds fingerprints: no text, no path, no line. Whoever uses it needs the fingerprint key that it was written with.

Exit codes:
  0  nothing at or above --fail-on
  1  findings at or above --fail-on
  2  a mistake in the command line, the config or the rules, or a baseline of another fingerprint key
  3  a path that does not exist, cannot be read or is damaged: the rest was scanned; wins over 1

Examples:
  outflow scan /var/log/myapp
  kubectl logs deploy/shop | outflow scan -
  outflow scan --format jsonl --fail-on high build/ > findings.jsonl
  outflow scan --format sarif . > findings.sarif
  outflow scan --write-baseline known.json . && outflow scan --baseline known.json .")]
pub struct Args {
    /// Files and folders; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also files that `.gitignore` and `.ignore` exclude
    #[arg(long)]
    no_ignore: bool,
    /// Also hidden files and folders: names that begin with a dot; `.env` files are scanned without it
    #[arg(long)]
    hidden: bool,
    /// Also binary files: a zero byte among the first 8,192
    #[arg(long)]
    binary: bool,
    /// Threads [default: one a processor]
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<std::num::NonZeroUsize>,
    /// How to write findings [default: text on a terminal, else jsonl]
    #[arg(long, value_enum)]
    format: Option<ScanFormat>,
    /// Exit with 1 when there is a finding of this severity or a graver one
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Severity::Medium)]
    fail_on: Severity,
    /// Leave out what this file knows, wherever it stands now
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write a baseline of all that is found; then findings do not count for --fail-on
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    write_baseline: Option<PathBuf>,
    /// Fingerprint key [default: the one of this host, in the state folder]
    #[arg(long, value_name = "FILE")]
    fingerprint_key: Option<PathBuf>,
    #[command(flatten)]
    rules: RuleArgs,
}

/// How findings of files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScanFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Jsonl,
    /// SARIF 2.1.0, for code scanning services and editors.
    Sarif,
    /// A table, one finding a row.
    Csv,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut rules = args.rules.load(&[])?;
    let key = key(args)?;
    if let Some(file) = &args.baseline {
        let policy = rules.policy.as_ref().clone().with_baseline(&known::read(file, key.id())?);
        rules.policy = Arc::new(policy);
    }
    let out = io::stdout();
    let colour = anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never;
    let format = args.format.unwrap_or(if out.is_terminal() { ScanFormat::Text } else { ScanFormat::Jsonl });
    let mut options = ScanOptions { binary: args.binary, ..ScanOptions::default() };
    options.workers = args.jobs.map_or(options.workers, usize::from);
    let mut telling = Telling {
        report: Report::new(out.lock(), format, colour),
        progress: Progress::new(&options.progress_bytes),
        writing: args.write_baseline.as_deref().map(|file| Writing::new(file, key.id())),
        summary: ScanSummary::default(),
        skipped: BTreeMap::new(),
        silenced: Silenced::new(),
        worst: None,
        failed: None,
    };
    let walk = walk(args.paths.clone(), WalkOptions { ignored: args.no_ignore, hidden: args.hidden });
    scan_files(&rules, &key, walk, &options, &mut |scanned| telling.tell(scanned))?;
    let (worst, incomplete) = telling.finish()?;
    if incomplete {
        return Ok(ExitCode::from(exit::INCOMPLETE));
    }
    Ok(if worst >= Some(args.fail_on) { ExitCode::from(exit::FINDINGS) } else { ExitCode::SUCCESS })
}

/// A baseline compares with other runs, so it needs a key that stays.
fn key(args: &Args) -> anyhow::Result<FingerprintKey> {
    match &args.fingerprint_key {
        Some(file) => state::read_key(file),
        None if args.baseline.is_some() || args.write_baseline.is_some() => state::fingerprint_key()
            .context("a baseline needs a fingerprint key that stays: name one, --fingerprint-key FILE"),
        None => state::key_for_session(),
    }
}

/// Prints what a scan tells and counts it.
struct Telling<W: Write> {
    report: Report<W>,
    progress: Progress,
    writing: Option<Writing>,
    summary: ScanSummary,
    skipped: BTreeMap<Skip, u64>,
    silenced: Silenced,
    worst: Option<Severity>,
    failed: Option<anyhow::Error>,
}

impl<W: Write> Telling<W> {
    /// False when nobody reads the output any more, or it cannot be written.
    fn tell(&mut self, scanned: Scanned) -> bool {
        match scanned {
            Scanned::Finding(finding) => {
                self.progress.finding();
                let taken = self.writing.as_mut().map_or(Ok(()), |writing| writing.add(&finding));
                if self.writing.is_none() {
                    self.worst = self.worst.max(Some(finding.severity));
                }
                let report = &mut self.report;
                let printed = self.progress.aside(|| report.finding(&finding));
                self.failed = taken.and(printed.context(NOT_WRITTEN)).err();
            }
            Scanned::File { bytes, refused_blocks, silenced } => {
                self.progress.file();
                self.summary.files += 1;
                self.summary.bytes = self.summary.bytes.saturating_add(bytes);
                self.summary.refused_blocks += refused_blocks;
                for (silence, occurrences) in silenced {
                    let count = self.silenced.entry(silence).or_default();
                    *count = count.saturating_add(occurrences);
                }
            }
            Scanned::Skipped(skip) => *self.skipped.entry(skip).or_default() += 1,
            Scanned::Failed(error) => {
                self.summary.failed += 1;
                self.report.failure(&error);
                self.progress.aside(|| anstream::eprintln!("outflow: {error}"));
            }
        }
        self.failed.is_none() && !self.report.is_closed()
    }

    /// Prints the summary and writes the baseline. Leaves the gravest severity, and whether something was not looked at.
    fn finish(mut self) -> anyhow::Result<(Option<Severity>, bool)> {
        self.progress.finish();
        self.failed.map_or(Ok(()), Err)?;
        let incomplete = self.summary.failed > 0 || self.summary.refused_blocks > 0;
        let skipped = self.skipped.iter();
        self.summary.skipped =
            skipped.map(|(skip, files)| SkippedFiles { reason: skip.as_str().to_owned(), files: *files }).collect();
        self.summary.suppressed = SuppressedFindings::list(&self.silenced);
        self.report.finish(self.summary).context(NOT_WRITTEN)?;
        if let Some(writing) = self.writing {
            let (file, known) = writing.finish()?;
            let leaks = if known == 1 { "leak" } else { "leaks" };
            anstream::eprintln!("outflow: wrote {}: {known} known {leaks}", file.display());
        }
        Ok((self.worst, incomplete))
    }
}

const NOT_WRITTEN: &str = "cannot write the output";
