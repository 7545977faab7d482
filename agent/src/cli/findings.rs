//! `outflow findings`: what the store has found, also while somebody writes it. Enters: a store, read-only. Leaves: text for people
//! or one JSON object a line. It changes nothing itself and prints no matched text, for the store holds none.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use serde_json::json;

use self::{
    context::{Again, ContextArgs, Whereabouts},
    deliveries::Deliveries,
    set::Set,
};
use super::{Format, exit, since::Since, state};
use crate::{
    store::{Filter, Revision, StoreError, StoreReader},
    units::Severity,
};

mod context;
mod deliveries;
mod set;
mod text;

/// Candidates that are named when a prefix is not unique.
const MAX_CANDIDATES: u64 = 5;

/// Lists findings, shows them with their history, tells what sinks have of them, and silences them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Deliveries(Deliveries),
    Set(Set),
}

/// Which store.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StoreFile {
    /// The store to read [default: outflow.db in the state folder]
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

/// Lists findings, the newest first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  outflow findings list --severity high --since 24h\n  outflow findings list --rule 'pii.*' --service checkout\n  outflow findings list --since 2026-11-23 --limit 0 --format jsonl"
)]
struct List {
    /// Of this severity or a graver one
    #[arg(long, value_enum)]
    severity: Option<Severity>,
    /// Of this rule; `*` stands for any text
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Of this kind of trouble
    #[arg(long, value_parser = ["leak", "model", "cost", "coverage"])]
    category: Option<String>,
    /// Of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Seen then or later: 90m, 24h, 7d, 2026-11-23 or 2026-11-23T08:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// At most so many; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// How to write [default: text on a terminal, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    store: StoreFile,
}

/// Shows one finding with all its revisions
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  outflow findings show 4f1d9a\n  outflow findings show 4f1d9a --format jsonl | jq .revisions\n  outflow findings show 4f1d9a --context\n  outflow findings show 4f1d9a --context=10 --config /etc/outflow/outflow.toml"
)]
struct Show {
    /// Its id, or so much of the beginning that only one fits
    id: String,
    /// How to write [default: text on a terminal, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    store: StoreFile,
    #[command(flatten)]
    context: ContextArgs,
}

impl StoreFile {
    /// The user said which.
    pub(super) fn is_named(&self) -> bool {
        self.store.is_some()
    }

    /// Where it is.
    fn path(&self) -> Option<PathBuf> {
        self.store.clone().or_else(state::store)
    }

    /// Opens it for reading.
    pub(super) fn open(&self) -> anyhow::Result<StoreReader> {
        let path = self.path().context("no state folder: name a store with --store, or set STATE_DIRECTORY")?;
        Ok(StoreReader::open(&path)?)
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let told = match &args.command {
        Command::List(list) => list.run(),
        Command::Show(show) => {
            return show.run().map_or_else(permission, |(text, code)| write(&text).map(|_| ExitCode::from(code)));
        }
        Command::Deliveries(deliveries) => deliveries.run(),
        Command::Set(set) => return set.run().or_else(permission),
    };
    told.map_or_else(permission, |text| write(&text))
}

/// Not being permitted has an exit code of its own.
pub(super) fn permission(error: anyhow::Error) -> anyhow::Result<ExitCode> {
    let is_refused = |cause: &io::Error| cause.kind() == io::ErrorKind::PermissionDenied;
    if error.downcast_ref::<StoreError>().is_some_and(StoreError::is_permission)
        || error.chain().filter_map(|cause| cause.downcast_ref()).any(is_refused)
    {
        anstream::eprintln!("outflow: {error:#}");
        return Ok(ExitCode::from(exit::PERMISSION));
    }
    Err(error)
}

/// Writes data to standard output.
pub(super) fn write(text: &str) -> anyhow::Result<ExitCode> {
    match anstream::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is no error of ours.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => written.map(|()| ExitCode::SUCCESS).context("cannot write the output"),
    }
}

impl List {
    fn run(&self) -> anyhow::Result<String> {
        let reader = self.store.open()?;
        let filter = Filter {
            severity: self.severity,
            rule: self.rule.clone(),
            category: self.category.clone(),
            service: self.service.clone(),
            since: self.since.map(Since::at),
            limit: (self.limit > 0).then_some(self.limit),
        };
        let findings = reader.findings(&filter)?;
        match super::shown::format(self.format) {
            Format::Text => Ok(text::list(&findings, reader.count(&filter)?)),
            Format::Jsonl => Ok(findings.iter().map(line).collect::<serde_json::Result<String>>()?),
        }
    }
}

impl Show {
    fn run(&self) -> anyhow::Result<(String, u8)> {
        let reader = self.store.open()?;
        let id = unique(&reader, &self.id)?;
        let (finding, history) = (reader.finding(&id)?, reader.history(&id)?);
        let again = self.context.again(finding.as_ref(), &self.store)?;
        let told = match super::shown::format(self.format) {
            Format::Text => {
                text::show(&id, finding.as_ref(), &history) + &again.as_ref().map(context::told).unwrap_or_default()
            }
            Format::Jsonl => {
                let revisions: Vec<_> = history.iter().map(revision).collect();
                let mut record = json!({"finding_id": id, "finding": finding, "revisions": revisions});
                if let (Some(again), Some(record)) = (&again, record.as_object_mut()) {
                    record.insert("context".to_owned(), serde_json::to_value(again)?);
                }
                line(&record)?
            }
        };
        let is_refused = |again: &Again| again.whereabouts == Whereabouts::NotPermitted;
        Ok((told, if again.as_ref().is_some_and(is_refused) { exit::PERMISSION } else { 0 }))
    }
}

fn unique(reader: &StoreReader, prefix: &str) -> anyhow::Result<String> {
    let prefix = prefix.to_ascii_lowercase();
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("{prefix:?} is no id of a finding: ids have hexadecimal digits, as `outflow findings list` shows them");
    }
    let mut ids = reader.ids(&prefix, MAX_CANDIDATES + 1)?;
    match (ids.pop(), ids.len()) {
        (None, _) => bail!("no finding begins with {prefix}: `outflow findings list` shows what there is"),
        (Some(id), 0) => Ok(id),
        (Some(id), others) => {
            let more = u64::try_from(others).is_ok_and(|others| others >= MAX_CANDIDATES);
            if !more {
                ids.push(id);
            }
            bail!("several findings begin with {prefix}: {}{}", ids.join(", "), if more { " and more" } else { "" })
        }
    }
}

/// What a revision says besides what does not change.
fn revision(revision: &Revision) -> serde_json::Value {
    let finding = revision.finding.as_ref();
    json!({
        "seq": revision.seq,
        "revision": revision.revision,
        "activity": revision.activity,
        "erased": finding.is_none(),
        "count": finding.map(|finding| finding.count),
        "severity": finding.map(|finding| finding.severity),
        "last_seen": finding.map(|finding| &finding.last_seen),
        "cost_nano_usd": finding.and_then(|finding| finding.cost_nano_usd),
    })
}

fn line(record: &impl serde::Serialize) -> serde_json::Result<String> {
    Ok(serde_json::to_string(record)? + "\n")
}
