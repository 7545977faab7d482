//! `outflow replay`: recorded exchanges go through the same rooms as live traffic. Enters: HAR files and exchange records.
//! Leaves: with `--facts` one JSON line an exchange, else what `outflow tap` would have said of them.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;

pub use self::facts::facts;

use super::{Format, RuleArgs, exit, output::Account, shown::Shown, stored::StoreArgs};
use crate::{
    assembly::{Assembled, Assembler, Limits},
    engine::{LiveRules, Shard},
    exchange::{Correlator, Exchange},
    rules::VendorTable,
    sources::{
        Input,
        replay::{self, Answer, Options, Playing, Record, WireVersion},
    },
    store::WhenFull,
    units::{Severity, Timestamp},
};

mod facts;

/// Replays recorded exchanges through the same rooms as live traffic
#[derive(Debug, clap::Args)]
pub struct Args {
    /// HAR files; exchange records (JSON with `request` and `response`), alone, in an array or one a line; folders of these
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Protocol that the exchanges are written in
    #[arg(long, value_enum, default_value_t = WireVersion::H1, value_name = "PROTOCOL")]
    wire: WireVersion,
    /// Cut the bytes into random pieces of 1 byte to 64 KiB
    #[arg(long, value_name = "SEED")]
    split: Option<u64>,
    /// Drop random pieces, as a tap that lost them
    #[arg(long, value_name = "SEED")]
    drop: Option<u64>,
    /// Print what was understood of each exchange, one JSON object a line, and look for nothing
    #[arg(long)]
    facts: bool,
    /// How to write findings [default: text on a terminal, else jsonl]
    #[arg(long, value_enum, conflicts_with = "facts")]
    format: Option<Format>,
    /// Exit with 1 when there is a finding of this severity or a graver one
    #[arg(long, value_enum, value_name = "SEVERITY", conflicts_with = "facts")]
    fail_on: Option<Severity>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    rules: RuleArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.facts { facts_of_all(args) } else { look(args) }
}

/// One shard, no thread: the same records in the same order always give the same output.
fn look(args: &Args) -> anyhow::Result<ExitCode> {
    let rules = args.rules.load(&[])?;
    let shown = Shown::standard(args.format).repeats_last();
    let stored = args.store.open()?;
    let session = Arc::new(stored.session(&rules, &shown, WhenFull::Wait)?);
    let mut shard = Shard::new(&LiveRules::new(rules), Arc::clone(&session))?;
    for input in playing(args)? {
        shard.push(&input);
    }
    shard.finish();
    let outcome = match session.finish() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        result => result.context("cannot write the output")?,
    };
    shown.summary(Account::default(), &outcome).context("cannot write the output")?;
    if outcome.is_incomplete() {
        return Ok(ExitCode::from(exit::INCOMPLETE));
    }
    let found = args.fail_on.is_some() && outcome.worst >= args.fail_on;
    Ok(if found { ExitCode::from(exit::FINDINGS) } else { ExitCode::SUCCESS })
}

fn playing(args: &Args) -> anyhow::Result<Playing> {
    let options = Options { split: args.split, drop: args.drop, wire: args.wire };
    Ok(Playing::new(replay::read(&args.files)?, options))
}

/// Lines stand in the order of the records, whichever ended first.
fn facts_of_all(args: &Args) -> anyhow::Result<ExitCode> {
    let vendors = Arc::new(VendorTable::load(&args.rules.source()?)?);
    let mut playing = playing(args)?;
    let mut rooms = Rooms::new(&vendors);
    let mut lines: Vec<(usize, String)> = Vec::new();
    // The exchanges of one session are one line.
    let mut sessions: BTreeMap<usize, Vec<Exchange>> = BTreeMap::new();
    let mut found = Vec::new();
    loop {
        let input = playing.next();
        match &input {
            Some(input) => rooms.push(input, &mut found),
            None => rooms.finish(&mut found),
        }
        for exchange in found.drain(..) {
            let record = playing.record_at(exchange.stream, exchange.started_at).unwrap_or(usize::MAX);
            match playing.records().get(record) {
                Some(Record { answer: Answer::Session(_), .. }) => sessions.entry(record).or_default().push(exchange),
                other => lines.push((record, facts::line(other.map_or("", |record| &record.id), &exchange)?)),
            }
        }
        if input.is_none() {
            break;
        }
    }
    for (record, exchanges) in sessions {
        let id = playing.records().get(record).map_or("", |record| record.id.as_str());
        lines.push((record, facts::session_line(id, &exchanges)));
    }
    lines.sort_by_key(|(record, _)| *record);
    let mut out = io::stdout().lock();
    for (_, line) in lines {
        match writeln!(out, "{line}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            result => result.context("cannot write to standard output")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All exchanges of some inputs.
pub fn exchanges(inputs: &[Input], vendors: &Arc<VendorTable>) -> Vec<Exchange> {
    let mut rooms = Rooms::new(vendors);
    let mut exchanges = Vec::new();
    for input in inputs {
        rooms.push(input, &mut exchanges);
    }
    rooms.finish(&mut exchanges);
    exchanges
}

/// Rooms 2 and 3, one behind the other.
struct Rooms {
    assembler: Assembler,
    correlator: Correlator,
    events: Vec<Assembled>,
    now: Timestamp,
}

impl Rooms {
    fn new(vendors: &Arc<VendorTable>) -> Self {
        Self {
            assembler: Assembler::new(Limits::default()),
            correlator: Correlator::new(Arc::clone(vendors)),
            events: Vec::new(),
            now: Timestamp::default(),
        }
    }

    fn push(&mut self, input: &Input, out: &mut Vec<Exchange>) {
        self.now = input.at;
        self.correlator.advance(input.at);
        self.assembler.push(input, &mut self.events);
        self.correlate(out);
    }

    fn finish(&mut self, out: &mut Vec<Exchange>) {
        self.assembler.finish(self.now, &mut self.events);
        self.correlate(out);
        self.correlator.finish(out);
    }

    fn correlate(&mut self, out: &mut Vec<Exchange>) {
        for event in self.events.drain(..) {
            match event {
                Assembled::Message(message) => self.correlator.push(*message, out),
                Assembled::Closed(stream) => self.correlator.closed(stream, out),
                Assembled::CallOver { stream, call } => self.correlator.call_over(stream, call, out),
                Assembled::Frame(frame) => self.correlator.frame(*frame, out),
                Assembled::Anomaly(_) => {}
            }
        }
    }
}
