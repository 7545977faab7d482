//! `outflow models` of a store: which models answered, how much they were used, and how firmly their ids name them. Enters: rows of use.
//! Leaves: a line, or a JSON object, for each vendor and model, the dearest first.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::json;

use super::Facts;
use crate::{cli::Format, rules::models::Shutdown, store::UsageRow, units::NanoUsd};

/// Use of one model at one vendor.
#[derive(Debug, Default)]
struct Use {
    calls: u64,
    cost: NanoUsd,
    unpriced: u64,
    services: std::collections::BTreeSet<String>,
}

pub(super) fn told(facts: &Facts, rows: &[UsageRow], vendor: Option<&str>, format: Format) -> String {
    let mut models: BTreeMap<(String, &str), Use> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.model.is_empty()) {
        let at = facts.vendors.vendor_of(&row.host).map_or(&*row.host, |vendor| &*vendor.id);
        if vendor.is_some_and(|vendor| vendor != at) {
            continue;
        }
        let seen = models.entry((at.to_owned(), &row.model)).or_default();
        seen.calls = seen.calls.saturating_add(row.calls);
        seen.cost.0 = seen.cost.0.saturating_add(row.cost_nano_usd.0);
        seen.unpriced = seen.unpriced.saturating_add(row.unpriced);
        seen.services.insert(row.service.clone());
    }
    let mut models: Vec<_> = models.into_iter().collect();
    models.sort_by_key(|(_, seen)| std::cmp::Reverse((seen.cost, seen.calls)));
    let mut out = String::new();
    if format == Format::Text {
        let _ = writeln!(
            out,
            "{:16}  {:40}  {:10}  {:>8}  {:>10}  {:>8}  shut-down",
            "vendor", "model that answered", "class", "calls", "cost", "services"
        );
    }
    for ((at, model), seen) in &models {
        let pin = facts.models.classify(at, model, facts.at).pin.as_str();
        let shutdown = facts.models.shutdown(at, model);
        // Writing to a string cannot fail.
        let _ = match format {
            Format::Text => {
                // What has a cost for some calls only costs at least that.
                let cost = format!("{}{}", if seen.unpriced > 0 { "≥ " } else { "" }, seen.cost);
                let date = shutdown.map_or("", |shutdown| &shutdown.date);
                let (calls, services) = (seen.calls, seen.services.len());
                let line = format!("{at:16}  {model:40}  {pin:10}  {calls:>8}  {cost:>10}  {services:>8}  {date}");
                writeln!(out, "{}", line.trim_end())
            }
            Format::Jsonl => writeln!(
                out,
                "{}",
                json!({
                    "vendor": at,
                    "model": model,
                    "class": pin,
                    "calls": seen.calls,
                    "cost_nano_usd": seen.cost,
                    "unpriced_calls": seen.unpriced,
                    "services": seen.services,
                    "shutdown": shutdown.map(date_and_source),
                })
            ),
        };
    }
    if format == Format::Text && models.is_empty() {
        out.push_str("no call was seen\n");
    }
    out
}

fn date_and_source(shutdown: &Shutdown) -> serde_json::Value {
    json!({"date": shutdown.date, "source": if shutdown.is_listed { "list" } else { "vendor" }})
}
