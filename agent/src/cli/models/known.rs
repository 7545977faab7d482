//! `outflow models` where there is no store: what the rules know. Enters: rules. Leaves: a line, or a JSON object, for each vendor.

use std::fmt::Write as _;

use serde_json::json;

use super::Facts;
use crate::cli::Format;

pub(super) fn told(facts: &Facts, vendor: Option<&str>, format: Format) -> String {
    let extents = facts.models.extents();
    let extents = extents.iter().filter(|(id, _)| vendor.is_none_or(|vendor| vendor == **id));
    let mut out = String::new();
    if format == Format::Text {
        let _ = writeln!(out, "{:20}  {:>8}  {:>5}  {:>12}", "vendor", "patterns", "dates", "listed dates");
    }
    for (id, extent) in extents {
        // Writing to a string cannot fail.
        let _ = match format {
            Format::Text => {
                writeln!(out, "{id:20}  {:>8}  {:>5}  {:>12}", extent.patterns, extent.dates, extent.listed_dates)
            }
            Format::Jsonl => writeln!(
                out,
                "{}",
                json!({"vendor": id, "patterns": extent.patterns, "dates": extent.dates, "listed_dates": extent.listed_dates})
            ),
        };
    }
    if format == Format::Text {
        let _ = writeln!(
            out,
            "\ndates: from the vendors' own pages; listed dates: from {}. There is no store yet: `outflow models ID` explains an id.",
            facts.models.list_source()
        );
    }
    out
}
