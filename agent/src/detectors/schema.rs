//! Finds answers that break the JSON schema that the request gave for them. Enters: exchanges, in order. Leaves: `output.schema_violation`,
//! when at one call site at least [`FEWEST`] and more than [`PERCENT`] percent of at least [`CHECKED`] replies, or arguments of one tool,
//! break it; where the vendor was asked to keep to it and promises to (`strict`), two are enough. Answers that were cut off,
//! filtered or refused are not held against it, nor is what is no JSON at all (`output.unparsable`). It asks nothing of the network.
//!
//! State: what was counted for each (call site, reply or tool), in a table of [`MAX_SITES`] entries, which survives a restart, a key
//! an entry; and [`MAX_SCHEMAS`] compiled schemas, which does not. A schema is compiled, once, when it is seen for the second time while the
//! table remembers the first: a program that makes a new one for each call costs nothing.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Behaviour, Detector, Hit, StateChange, call_site::CallSite, cause, model_changes::ModelChanges,
    output::stopped_early, slot::Slot, table::Table,
};
use crate::{
    exchange::{Exchange, Schema},
    lru::Lru,
    units::{Severity, Timestamp},
};

mod compile;

/// Bounds of the tables.
const MAX_SITES: usize = 10_000;
const MAX_SCHEMAS: usize = 256;
/// Violations, percent and answers that it takes.
const FEWEST: u32 = 3;
const PERCENT: u32 = 5;
const CHECKED: u32 = 20;
/// The same where the vendor promises to keep to the schema.
const FEWEST_STRICT: u32 = 2;
/// Counts longer than this are halved: what is long ago counts less.
const MAX_CHECKED: u32 = 400;
/// State is written once in so many checks, and at each violation.
const SAVED_EVERY: u32 = 10;
/// Longest place that is shown.
const MAX_PLACE_BYTES: usize = 96;
const NAME: &str = "schema";

/// The detector.
#[derive(Debug)]
pub struct SchemaViolations {
    sites: Table<Slot, Tally>,
    schemas: Lru<u64, Compiled>,
    changes: ModelChanges,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u64)", into = "(u32, u32, u64)")]
struct Tally {
    checked: u32,
    violated: u32,
    /// When the first of them came, nanoseconds since 1970.
    since_ns: u64,
}

impl From<(u32, u32, u64)> for Tally {
    fn from((checked, violated, since_ns): (u32, u32, u64)) -> Self {
        Self { checked, violated, since_ns }
    }
}

impl From<Tally> for (u32, u32, u64) {
    fn from(Tally { checked, violated, since_ns }: Tally) -> Self {
        (checked, violated, since_ns)
    }
}

/// A schema.
enum Compiled {
    /// Seen once.
    Seen,
    /// It can be checked.
    Ready(Box<jsonschema::Validator>),
    /// It is none, or refers to others.
    Unusable,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seen => "Seen",
            Self::Ready(_) => "Ready",
            Self::Unusable => "Unusable",
        })
    }
}

/// Where a value breaks its schema, and by which keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Violation {
    place: String,
    keyword: String,
}

impl SchemaViolations {
    /// A detector that has seen nothing yet; `changes` are those of the models.
    pub fn new(changes: ModelChanges) -> Self {
        Self { sites: Table::new(MAX_SITES), schemas: Lru::new(MAX_SCHEMAS), changes }
    }

    /// Whether a value keeps to a schema. `None`: nobody knows, or not yet.
    fn check(&mut self, schema: &Schema, value: &Value) -> Option<Result<(), Violation>> {
        let Some(known) = self.schemas.touch(&schema.digest) else {
            self.schemas.insert(schema.digest, Compiled::Seen);
            return None;
        };
        if matches!(known, Compiled::Seen) {
            *known =
                compile::compile(schema).map_or(Compiled::Unusable, |validator| Compiled::Ready(Box::new(validator)));
        }
        let Compiled::Ready(validator) = known else { return None };
        if validator.is_valid(value) {
            return Some(Ok(()));
        }
        let error = validator.iter_errors(value).next()?;
        let shown = |text: &str| text.get(..text.floor_char_boundary(MAX_PLACE_BYTES)).unwrap_or_default().to_owned();
        let schema_path = error.schema_path().to_string();
        let keyword = schema_path.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap_or_default();
        Some(Err(Violation { place: shown(&error.instance_path().to_string()), keyword: shown(keyword) }))
    }

    fn count(&mut self, slot: Slot, is_violated: bool, at: Timestamp) -> Tally {
        let Some(tally) = self.sites.enter(&slot, Tally::default) else { return Tally::default() };
        if tally.checked >= MAX_CHECKED {
            (tally.checked, tally.violated) = (tally.checked / 2, tally.violated / 2);
        }
        tally.checked += 1;
        tally.violated += u32::from(is_violated);
        if is_violated && tally.violated == 1 {
            tally.since_ns = at.0;
        }
        let tally = *tally;
        if is_violated || tally.checked.is_multiple_of(SAVED_EVERY) {
            self.sites.mark(slot);
        }
        tally
    }
}

impl Tally {
    fn is_news(self, is_strict: bool) -> bool {
        let Self { checked, violated, .. } = self;
        (is_strict && violated >= FEWEST_STRICT)
            || (violated >= FEWEST && checked >= CHECKED && violated * 100 > checked * PERCENT)
    }
}

impl Detector for SchemaViolations {
    fn name(&self) -> &'static str {
        NAME
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        if exchange.written.schemas.is_empty()
            || !exchange.succeeded()
            || !exchange.view.complete
            || stopped_early(exchange)
        {
            return;
        }
        let site = CallSite::of(exchange);
        let written = &exchange.written;
        for schema in &written.schemas {
            let of_tool = written.tool_arguments.iter().filter(|call| schema.tool.as_ref() == Some(&call.tool));
            let of_reply = written.replies.iter().filter(|_| schema.tool.is_none());
            let values: Vec<&Value> = of_tool
                .filter_map(|call| call.form.json())
                .chain(of_reply.filter_map(|reply| reply.form.json()))
                .collect();
            let slot = Slot::new(site, schema.tool.as_deref());
            let mut told = None;
            for value in values {
                let Some(checked) = self.check(schema, value) else { continue };
                let tally = self.count(slot, checked.is_err(), exchange.started_at);
                if let Err(violation) = checked
                    && tally.is_news(schema.is_strict)
                {
                    told = Some((violation, tally));
                }
            }
            if let Some((violation, tally)) = told {
                emit(Hit::Behaviour(violated(exchange, schema, site, &violation, tally, &self.changes)));
            }
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        self.sites.changes(|slot, tally| emit(StateChange::new(NAME, slot.key(), tally)));
    }

    fn restore(&mut self, key: &str, value: &str) {
        if let (Some(slot), Ok(tally)) = (Slot::from_key(key), serde_json::from_str::<Tally>(value))
            && tally.violated <= tally.checked
            && tally.checked <= MAX_CHECKED
        {
            self.sites.restore(slot, tally);
        }
    }
}

fn violated<'a>(
    exchange: &'a Exchange,
    schema: &Schema,
    site: CallSite,
    violation: &Violation,
    tally: Tally,
    changes: &ModelChanges,
) -> Behaviour<'a> {
    let model = exchange.request_model.as_deref().unwrap_or("unknown");
    let what = match &schema.tool {
        Some(tool) => format!("arguments that `{model}` gives to the tool `{tool}`"),
        None => format!("answers of `{model}`"),
    };
    let promise = if schema.is_strict { ", though strict mode promises to keep to it" } else { "" };
    let cause = cause::of(exchange, changes);
    let mut facts = cause::facts(cause.as_ref(), exchange);
    facts.extend([
        ("output.call_site", json!(site.key())),
        ("output.since", json!(Timestamp(tally.since_ns).rfc3339())),
        ("output.violations", json!([tally.violated, tally.checked])),
        ("schema.digest", json!(format!("{:016x}", schema.digest))),
        ("schema.keyword", json!(violation.keyword)),
        ("schema.place", json!(violation.place)),
        ("schema.strict", json!(schema.is_strict)),
    ]);
    facts.extend(schema.tool.as_ref().map(|tool| ("schema.tool", json!(tool))));
    let since = cause::words(cause.as_ref());
    Behaviour {
        rule: "output.schema_violation",
        references: Vec::new(),
        key: format!("{} {}", site.key(), schema.tool.as_deref().unwrap_or_default()),
        severity: if cause.is_some() { Severity::High } else { Severity::Medium },
        confidence: 95,
        title: format!("{} of {} {what} break their JSON schema{promise}{since}", tally.violated, tally.checked),
        case: None,
        facts,
        exchange,
    }
}

#[cfg(test)]
mod tests;
