//! `outflow verify`: is the store what it was when it was written? Enters: a store, read-only. Leaves: the head of its hash chain, or
//! the first revision that was changed. Exit code 1 when there is one.

use std::process::ExitCode;

use serde_json::json;

use super::{
    Format, exit,
    findings::{StoreFile, permission, write},
    shown,
};
use crate::store::{Verdict, Whole};

/// Checks that no revision in the store was changed or taken away
///
/// Every revision of a finding carries the hash of the one before it. An erased revision leaves its hash behind, so the chain still
/// verifies. What was kept for as long as `store.retention` says goes at the old end: the chain then begins at a later revision, and
/// says so. The hash of the newest one is the head: noted elsewhere, it proves later that nothing before it was changed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the chain verifies, 1 it does not, 2 there is no store to read, 4 not permitted.\n\nExamples:\n  outflow verify\n  outflow verify --store /backup/outflow.db --format jsonl"
)]
pub struct Args {
    /// How to write [default: text on a terminal, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    store: StoreFile,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let verdict = match args.store.open().and_then(|reader| Ok(reader.verify()?)) {
        Ok(verdict) => verdict,
        Err(error) => return permission(error),
    };
    let text = match shown::format(args.format) {
        Format::Text => text(&verdict),
        Format::Jsonl => jsonl(&verdict),
    };
    let written = write(&text)?;
    Ok(if matches!(verdict, Verdict::Broken { .. }) { ExitCode::from(exit::BROKEN) } else { written })
}

fn text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Whole(Whole { from, revisions, erased, head }) => {
            let unit = if *revisions == 1 { "revision verifies" } else { "revisions verify" };
            // What was kept long enough is not missing.
            let from = if *from > 1 { format!(" from revision {from} on") } else { String::new() };
            format!("{revisions} {unit}{from}, {erased} of them erased\nhead {head}\n")
        }
        Verdict::Broken { seq, why } => format!("BROKEN at revision {seq}: {why}\n"),
    }
}

fn jsonl(verdict: &Verdict) -> String {
    let record = match verdict {
        Verdict::Whole(Whole { from, revisions, erased, head }) => {
            json!({"verdict": "whole", "from": from, "revisions": revisions, "erased": erased, "head": head})
        }
        Verdict::Broken { seq, why } => json!({"verdict": "broken", "seq": seq, "why": why}),
    };
    format!("{record}\n")
}
