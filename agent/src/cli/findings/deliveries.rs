//! `outflow findings deliveries`: how far each sink is. Enters: a store, read-only. Leaves: cursors and dead letters, as text or one JSON
//! object a line. It asks no receiver.

use std::fmt::Write as _;

use serde_json::json;

use super::{StoreFile, line};
use crate::{
    cli::{Format, shown},
    store::DeadLetter,
};

/// Tells how far each sink is, and what its receiver will never take
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A sink that has delivered nothing yet is not in the list.\n\nExamples:\n  outflow findings deliveries\n  outflow findings deliveries --format jsonl | jq 'select(.dead_letter)'"
)]
pub(super) struct Deliveries {
    /// At most so many dead letters; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// How to write [default: text on a terminal, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    store: StoreFile,
}

impl Deliveries {
    pub(super) fn run(&self) -> anyhow::Result<String> {
        let reader = self.store.open()?;
        let (head, newest_call) = (reader.head()?, reader.newest_call()?);
        let mut cursors: Vec<Cursor> =
            reader.cursors()?.into_iter().map(|(sink, seq)| Cursor { sink, seq, newest: head }).collect();
        // Streams of calls are beside the sinks that they belong to, whose names come before theirs.
        let calls = reader.call_cursors()?.into_iter();
        cursors.extend(calls.map(|(sink, seq)| Cursor { sink, seq, newest: newest_call }));
        cursors.sort_by(|one, other| one.sink.cmp(&other.sink));
        let limit = if self.limit > 0 { self.limit } else { u64::MAX };
        let dead = reader.dead_letters(limit)?;
        if shown::format(self.format) == Format::Text {
            return Ok(text(&cursors, head, &dead));
        }
        let mut out = String::new();
        for Cursor { sink, seq, newest } in &cursors {
            let pending = newest.saturating_sub(*seq);
            out += &line(&json!({"sink": sink, "delivered_seq": seq, "newest_seq": newest, "pending": pending}))?;
        }
        for (sink, DeadLetter { seq, record_id, reason, detail, at }) in &dead {
            out += &line(&json!({"sink": sink, "dead_letter": {
                "seq": seq, "record_id": record_id, "reason": reason, "detail": detail, "at": at,
            }}))?;
        }
        Ok(out)
    }
}

/// How far a sink is.
struct Cursor {
    sink: String,
    seq: u64,
    newest: u64,
}

fn text(cursors: &[Cursor], head: u64, dead: &[(String, DeadLetter)]) -> String {
    if cursors.is_empty() {
        return format!("no sink has delivered anything; {head} records in the store\n");
    }
    let width = cursors.iter().map(|cursor| cursor.sink.len()).max().unwrap_or(0).max("sink".len());
    let mut out = format!("{:width$}  {:>12}  {:>12}\n", "sink", "delivered", "waiting");
    for Cursor { sink, seq, newest } in cursors {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{sink:width$}  {seq:>12}  {:>12}", newest.saturating_sub(*seq));
    }
    if !dead.is_empty() {
        out += "\nnever taken by the receiver; the store has them for its retention\n";
    }
    for (sink, DeadLetter { record_id, reason, detail, at, .. }) in dead {
        let _ = writeln!(out, "{sink:width$}  {record_id}  {reason}  {at}\n{:width$}  {detail}", "");
    }
    out
}
