//! `outflow scan`: looks for leaks in files, folders and standard input. Enters: paths. Leaves: findings, file by file, then a
//! summary; what could not be read is said on standard error. It writes nothing and follows no file that grows.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;

use super::{
    Format, RuleArgs, exit,
    output::{Printer, ScanSummary, SkippedFiles},
    shown::default_format,
    state,
};
use crate::{
    engine::{Rules, ScanOptions, Scanned, scan_files},
    sources::files::{Skip, WalkOptions, walk},
    units::Severity,
};

/// Looks for leaked data in files, folders and standard input
#[derive(Debug, clap::Args)]
#[command(after_help = "\
gzip and zstd files are unpacked while they are read. Symbolic links inside of folders are not followed.

Exit codes:
  0  nothing at or above --fail-on
  1  findings at or above --fail-on
  2  a mistake in the command line or in the rules
  3  a path that does not exist, cannot be read or is damaged: the rest was scanned; wins over 1

Examples:
  outflow scan /var/log/myapp
  kubectl logs deploy/shop | outflow scan -
  outflow scan --format jsonl --fail-on high build/ > findings.jsonl")]
pub struct Args {
    /// Files and folders; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also files that `.gitignore` and `.ignore` exclude
    #[arg(long)]
    no_ignore: bool,
    /// Also hidden files and folders: names that begin with a dot
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
    format: Option<Format>,
    /// Exit with 1 when there is a finding of this severity or a graver one
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Severity::Medium)]
    fail_on: Severity,
    #[command(flatten)]
    rules: RuleArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let rules = Rules::load(&args.rules.source(), &[])?;
    let key = state::key_for_session()?;
    let out = io::stdout();
    let colour = anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never;
    let mut telling = Telling::new(Printer::new(out.lock(), args.format.unwrap_or_else(default_format), colour));
    let mut options = ScanOptions { binary: args.binary, ..ScanOptions::default() };
    options.workers = args.jobs.map_or(options.workers, usize::from);
    let walk = walk(args.paths.clone(), WalkOptions { ignored: args.no_ignore, hidden: args.hidden });
    scan_files(&rules, &key, walk, &options, &mut |scanned| telling.tell(scanned))?;
    let (worst, incomplete) = telling.finish().context("cannot write the output")?;
    if incomplete {
        return Ok(ExitCode::from(exit::INCOMPLETE));
    }
    Ok(if worst >= Some(args.fail_on) { ExitCode::from(exit::FINDINGS) } else { ExitCode::SUCCESS })
}

/// Prints what a scan tells and counts it.
struct Telling<W> {
    printer: Printer<W>,
    summary: ScanSummary,
    skipped: BTreeMap<Skip, u64>,
    worst: Option<Severity>,
    failed: Option<io::Error>,
}

impl<W: Write> Telling<W> {
    fn new(printer: Printer<W>) -> Self {
        Self { printer, summary: ScanSummary::default(), skipped: BTreeMap::new(), worst: None, failed: None }
    }

    /// False when nobody reads the output any more, or it cannot be written.
    fn tell(&mut self, scanned: Scanned) -> bool {
        match scanned {
            Scanned::Finding(finding) => {
                self.worst = self.worst.max(Some(finding.severity));
                self.failed = self.printer.finding(&finding).err();
            }
            Scanned::File { bytes, refused_blocks } => {
                self.summary.files += 1;
                self.summary.bytes = self.summary.bytes.saturating_add(bytes);
                self.summary.refused_blocks += refused_blocks;
            }
            Scanned::Skipped(skip) => *self.skipped.entry(skip).or_default() += 1,
            Scanned::Failed(error) => {
                self.summary.failed += 1;
                anstream::eprintln!("outflow: {error}");
            }
        }
        self.failed.is_none() && !self.printer.is_closed()
    }

    /// Prints the summary. Leaves the gravest severity, and whether something was not looked at.
    fn finish(mut self) -> io::Result<(Option<Severity>, bool)> {
        self.failed.map_or(Ok(()), Err)?;
        let incomplete = self.summary.failed > 0 || self.summary.refused_blocks > 0;
        let skipped = self.skipped.iter();
        self.summary.skipped =
            skipped.map(|(skip, files)| SkippedFiles { reason: skip.as_str().to_owned(), files: *files }).collect();
        self.printer.scan_summary(self.summary)?;
        Ok((self.worst, incomplete))
    }
}
