//! `outflow replay`: recorded exchanges go through the same rooms as live traffic. Enters: record files. Leaves: with
//! `--facts` one JSON line an exchange, else what `outflow tap` would have said of them.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Format, RuleArgs, exit, output::Account, shown::Shown, stored::StoreArgs};
use crate::{
    assembly::{Assembled, Assembler, Limits},
    engine::{LiveRules, Rules, Shard},
    exchange::{Correlator, Exchange},
    rules::VendorTable,
    sources::{
        Input, StreamId,
        replay::{Options, Record, ReplayError},
    },
    store::WhenFull,
    units::{Severity, Timestamp},
};

/// Records carry no times: all are played from here on, 2026-01-01T00:00:00Z, one after the other.
const EPOCH: Timestamp = Timestamp(1_767_225_600_000_000_000);
/// Time between the starts of two records.
const RECORD_NS: u64 = 60_000_000_000;

/// Replays recorded exchanges through the same rooms as live traffic
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Exchange records (JSON with `request` and `response`)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Cut the bytes into random pieces
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
    let rules = Rules::load(&args.rules.source(), &[])?;
    let shown = Shown::standard(args.format);
    let stored = args.store.open()?;
    let session = Arc::new(stored.session(&rules, &shown, WhenFull::Wait)?);
    let mut shard = Shard::new(&LiveRules::new(rules), Arc::clone(&session))?;
    for inputs in inputs(args) {
        for input in inputs? {
            shard.push(&input);
        }
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

/// The inputs of each file, in order; each file is a connection of its own.
pub fn inputs(args: &Args) -> impl Iterator<Item = Result<Vec<Input>, ReplayError>> {
    let options = Options { split: args.split, drop: args.drop };
    (0_u64..).zip(&args.files).map(move |(number, path)| {
        let from = Timestamp(EPOCH.0.saturating_add(RECORD_NS.saturating_mul(number)));
        Ok(Record::read(path)?.inputs(StreamId(number), from, options))
    })
}

fn facts_of_all(args: &Args) -> anyhow::Result<ExitCode> {
    let vendors = Arc::new(VendorTable::load(&args.rules.source())?);
    let mut out = io::stdout().lock();
    for inputs in inputs(args) {
        for exchange in exchanges(&inputs?, &vendors) {
            match writeln!(out, "{}", facts(&exchange)) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                result => result.context("cannot write to standard output")?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All exchanges of some inputs.
pub fn exchanges(inputs: &[Input], vendors: &Arc<VendorTable>) -> Vec<Exchange> {
    let mut assembler = Assembler::new(Limits::default());
    let mut correlator = Correlator::new(Arc::clone(vendors));
    let (mut events, mut exchanges) = (Vec::new(), Vec::new());
    for input in inputs {
        assembler.push(input, &mut events);
    }
    assembler.finish(inputs.last().map_or(EPOCH, |input| input.at), &mut events);
    for event in events {
        match event {
            Assembled::Message(message) => correlator.push(*message, &mut exchanges),
            Assembled::Closed(stream) => correlator.closed(stream, &mut exchanges),
            Assembled::CallOver { stream, call } => correlator.call_over(stream, call, &mut exchanges),
            Assembled::Frame(frame) => correlator.frame(*frame, &mut exchanges),
            Assembled::Anomaly(_) => {}
        }
    }
    correlator.finish(&mut exchanges);
    exchanges
}

/// What is known of an exchange, under the names that the index of recorded exchanges uses. `null`: the wire did not say.
pub fn facts(exchange: &Exchange) -> Value {
    let usage = &exchange.usage;
    let cost_usd = exchange.reported_cost.map(|cost| cost.0 as f64 / 1e9);
    // Half an answer may have half of the calls: a count of these would be a wrong number.
    let tool_calls = exchange.view.complete.then_some(exchange.tool_calls.len());
    json!({
        "vendor": exchange.vendor.as_deref(),
        "api": exchange.api,
        "host": exchange.host,
        "path": exchange.path,
        "request_model": exchange.request_model,
        "response_model": exchange.response_model,
        "status": exchange.status,
        "streaming": exchange.streaming,
        "response_id": exchange.response_id,
        "input_tokens_total": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "tool_calls": tool_calls,
        "finish_reasons": exchange.finish_reasons,
        "system_fingerprint": exchange.system_fingerprint,
        "service_tier": exchange.service_tier,
        "usage_tier": exchange.usage_tier,
        "error": exchange.error.is_some(),
        "error_code": exchange.error,
        "vendor_reported_cost_usd": cost_usd,
        "complete": exchange.view.complete,
        "missing_bytes": exchange.view.request_missing_bytes + exchange.view.response_missing_bytes,
    })
}
