//! Finds answers that look different than before. Enters: exchanges, in order. Leaves: `model.structure_changed`, when at one call site
//! the replies or the arguments of one tool, which used to be JSON of one shape, break with it: a member that was always there is
//! missing, one has a type that it never had, an object became a list, JSON became words or is none any more. It decides on rates
//! (`jump.rs`), never on one reply. Within a day of a change of the model behind the name the finding is grave and says so: that
//! is the most frequent cause. A new member breaks nothing. Answers that were cut off, filtered or failed say nothing, and when the
//! program itself changes the schema that it asks for, all is learned anew.
//!
//! State: for each (call site, reply or tool) the paths of the baseline, in a table of [`MAX_SITES`] entries of at most 2 KB
//! (`structure/site.rs`); the least recently used goes first. No value and no text is kept, but names of JSON members. It survives a
//! restart, a key an entry, written at most once in [`SAVED_EVERY`] replies (`structure/state.rs`).

use serde_json::{Value, json};

use super::{
    Behaviour, Detector, Hit, StateChange,
    call_site::CallSite,
    cause,
    model_changes::{Change, ModelChanges},
    output::stopped_early,
    slot::Slot,
    table::Table,
};
use crate::{
    exchange::{Exchange, Form},
    units::{Severity, Timestamp},
};

mod site;
mod state;
#[cfg(test)]
mod tests;

use site::{Break, Site};

/// Bound of the table.
const MAX_SITES: usize = 10_000;
/// State is written once in so many replies, and when something breaks.
const SAVED_EVERY: u32 = 10;
/// Breaks that one finding names.
const MAX_NAMED: usize = 8;

/// The detector.
#[derive(Debug)]
pub struct Structure {
    sites: Table<Slot, Site>,
    changes: ModelChanges,
}

impl Structure {
    /// A detector that has seen nothing yet; `changes` are those of the models.
    pub fn new(changes: ModelChanges) -> Self {
        Self { sites: Table::new(MAX_SITES), changes }
    }

    /// Takes one reply, or the arguments of one call.
    fn see(&mut self, slot: Slot, form: &Form, schema: u64, at: Timestamp) -> Vec<Break> {
        let Some(site) = self.sites.enter(&slot, || Site::new(schema)) else { return Vec::new() };
        if site.schema() != schema {
            *site = Site::new(schema);
        }
        let breaks = site.see(form, at);
        if !breaks.is_empty() || site.replies().is_multiple_of(SAVED_EVERY) {
            self.sites.mark(slot);
        }
        breaks
    }
}

impl Detector for Structure {
    fn name(&self) -> &'static str {
        state::NAME
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let written = &exchange.written;
        if !exchange.succeeded() || !exchange.view.complete || stopped_early(exchange) {
            return;
        }
        if written.replies.is_empty() && written.tool_arguments.is_empty() {
            return;
        }
        let site = CallSite::of(exchange);
        let schema_of = |tool: Option<&str>| {
            written.schemas.iter().find(|schema| schema.tool.as_deref() == tool).map_or(0, |schema| schema.digest)
        };
        let at = exchange.started_at;
        let mut told: Vec<(Option<&str>, Vec<Break>)> = Vec::new();
        for reply in written.replies.iter().filter(|reply| reply.form != Form::Unread) {
            let breaks = self.see(Slot::new(site, None), &reply.form, schema_of(None), at);
            told.push((None, breaks));
        }
        for call in written.tool_arguments.iter().filter(|call| call.form != Form::Unread) {
            let breaks = self.see(Slot::new(site, Some(&call.tool)), &call.form, schema_of(Some(&call.tool)), at);
            told.push((Some(&call.tool), breaks));
        }
        told.retain(|(_, breaks)| !breaks.is_empty());
        if told.is_empty() {
            return;
        }
        let cause = cause::of(exchange, &self.changes);
        told.dedup_by_key(|(tool, _)| *tool);
        for (tool, breaks) in told {
            emit(Hit::Behaviour(changed(exchange, (site, tool), &breaks, cause.as_ref())));
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        self.sites.changes(|slot, site| emit(StateChange::new(state::NAME, slot.key(), site)));
    }

    fn restore(&mut self, key: &str, value: &str) {
        if let (Some(slot), Some(site)) = (Slot::from_key(key), state::read_value(value)) {
            self.sites.restore(slot, site);
        }
    }
}

fn changed<'a>(
    exchange: &'a Exchange,
    (site, tool): (CallSite, Option<&str>),
    breaks: &[Break],
    cause: Option<&Change>,
) -> Behaviour<'a> {
    let model = exchange.request_model.as_deref().unwrap_or("unknown");
    let what = match tool {
        Some(tool) => format!("arguments that `{model}` gives to the tool `{tool}`"),
        None => format!("answers of `{model}`"),
    };
    let first = breaks.first().map(Break::words).unwrap_or_default();
    let more = match breaks.len() {
        0 | 1 => String::new(),
        more => format!(" and {} more", more - 1),
    };
    let since = cause::words(cause);
    let mut facts = cause::facts(cause, exchange);
    facts.extend([
        ("structure.call_site", json!(site.key())),
        ("structure.breaks", breaks.iter().take(MAX_NAMED).map(Break::fact).collect::<Value>()),
    ]);
    if let Some(tool) = tool {
        facts.push(("structure.tool", json!(tool)));
    }
    if let Some(since) = breaks.iter().map(|found| found.since).min() {
        facts.push(("structure.since", json!(since.rfc3339())));
    }
    Behaviour {
        rule: "model.structure_changed",
        references: Vec::new(),
        key: format!("{} {}", site.key(), tool.unwrap_or_default()),
        severity: if cause.is_some() { Severity::High } else { Severity::Medium },
        confidence: if cause.is_some() { 95 } else { 80 },
        title: format!("{what} changed: {first}{more}{since}"),
        case: cause.is_some().then_some("model_changed"),
        facts,
        exchange,
    }
}
