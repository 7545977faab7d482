//! `outflow models ID`: all that the rules and the catalogue say about one id. Enters: the id. Leaves: a paragraph, or a JSON object, for
//! each vendor that may be meant.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Facts, PriceList};
use crate::{
    cli::{Format, output::wrapped},
    detectors::resolved_model::compared_as,
    rules::{
        models::{Class, Pin, Shutdown},
        vendors::Vendor,
    },
    units::NanoUsd,
};

/// Columns of the text.
const WIDTH: usize = 100;
/// Columns before it.
const INDENT: usize = 14;

/// An id at one vendor.
struct Explained<'a> {
    vendor: &'a Vendor,
    /// As the vendor's calls name it.
    id: &'a str,
    class: Class<'a>,
    looked_up_as: String,
    shutdown: Option<&'a Shutdown>,
    price: Option<PriceList>,
}

pub(super) fn told(facts: &Facts, id: &str, vendor: Option<&str>, format: Format) -> String {
    let found = found(facts, id, vendor);
    match format {
        Format::Text => {
            let mut out = format!("{id}\n");
            if found.is_empty() {
                out.push_str(
                    "\nno vendor is known by this id: --vendor says what one of them makes of it. Calls with an id that no rule knows are no finding.\n",
                );
            }
            for explained in &found {
                text(&mut out, explained);
            }
            out
        }
        Format::Jsonl => found.iter().fold(String::new(), |mut out, explained| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}", object(explained));
            out
        }),
    }
}

/// At the vendor that was named; else at those that a prefix names; else at those that the id tells by sight, or that have a price
/// or a date for it.
fn found<'a>(facts: &'a Facts, id: &'a str, named: Option<&str>) -> Vec<Explained<'a>> {
    let behind = |separator| id.split_once(separator);
    let prefixed = [behind('/'), behind(':')]
        .into_iter()
        .flatten()
        .find_map(|(prefix, rest)| Some((rest, facts.models.vendor_of_prefix(prefix)?)));
    let all = facts.vendors.vendors().iter();
    let explained = all.filter_map(|vendor| {
        let is_named = |id: &str| named.is_some_and(|named| named == id);
        let by_prefix = prefixed.filter(|(_, meant)| **meant == *vendor.id);
        if named.is_some() && !is_named(&vendor.id) {
            return None;
        }
        // Some vendors' own ids look like a prefix and an id: the prefix is cut off only where it means this vendor.
        let own = by_prefix.map_or(id, |(rest, _)| rest);
        let explained = explain(facts, vendor, own);
        let is_classed = explained.class.pin != Pin::Unknown;
        let told_by_sight = is_classed && facts.models.bare_vendors().iter().any(|bare| **bare == *vendor.id);
        let is_known = match prefixed {
            Some(_) => by_prefix.is_some(),
            // The catalogue takes some ids for a provider that serves no such model: a price alone says nothing.
            None => told_by_sight || explained.shutdown.is_some() || (is_classed && explained.price.is_some()),
        };
        (is_named(&vendor.id) || is_known).then_some(explained)
    });
    explained.collect()
}

fn explain<'a>(facts: &'a Facts, vendor: &'a Vendor, id: &'a str) -> Explained<'a> {
    Explained {
        vendor,
        id,
        class: facts.models.classify(&vendor.id, id, facts.at),
        looked_up_as: facts.models.base(&vendor.id, id),
        shutdown: facts.models.shutdown(&vendor.id, id),
        price: facts.price(vendor, id),
    }
}

fn text(out: &mut String, explained: &Explained<'_>) {
    let Explained { vendor, id, class, looked_up_as, shutdown, price } = explained;
    // Writing to a string cannot fail.
    let _ = writeln!(out, "\n{} ({})", vendor.name, vendor.id);
    let mut line = |word: &str, text: &str| {
        for (index, part) in wrapped(text, WIDTH - INDENT).iter().enumerate() {
            let _ = writeln!(out, "  {:INDENT$}{part}", if index == 0 { word } else { "" });
        }
    };
    match class.pin {
        Pin::Unknown => line("class", "unknown: no rule knows this id"),
        pin => line("class", &format!("{}, {}: {}", pin.as_str(), class.severity, class.note)),
    }
    if !class.pattern.is_empty() {
        line("by pattern", class.pattern);
        class.references.iter().for_each(|reference| line("reference", reference));
    }
    if let Some(shutdown) = shutdown {
        line("shut-down", &end(shutdown, class));
        shutdown.references.iter().for_each(|reference| line("reference", reference));
    }
    line("price", &price.as_ref().map_or_else(|| "not in the catalogue".to_owned(), priced));
    if looked_up_as != id {
        line("looked up as", looked_up_as);
    }
    line("compared as", &compared_as(id));
}

fn end(shutdown: &Shutdown, class: &Class<'_>) -> String {
    let mut text = shutdown.date.clone();
    if let Some(end) = class.end {
        let _ = match (end.is_past(), end.days_left) {
            (true, _) => write!(text, ", past"),
            (false, 1) => write!(text, ", in 1 day"),
            (false, days) => write!(text, ", in {days} days"),
        };
        let _ = write!(text, ", {}", end.severity);
    }
    if let Some(replacement) = &shutdown.replacement {
        let _ = write!(text, "; the vendor recommends {replacement}");
    }
    if shutdown.is_listed {
        text.push_str("; from a list that others keep, so it may be the first possible day");
    }
    text
}

fn priced(price: &PriceList) -> String {
    let kinds = [
        ("input", price.input),
        ("cache read", price.cache_read),
        ("cache write", price.cache_write),
        ("output", price.output),
    ];
    let kinds: Vec<String> = kinds
        .into_iter()
        // A cache without a price of its own costs what input costs.
        .filter(|(name, amount)| {
            *name == "input" || (*amount != NanoUsd(0) && (*name == "output" || *amount != price.input))
        })
        .map(|(name, amount)| format!("{name} {}", dollars(amount)))
        .collect();
    format!("{} per million tokens ({})", kinds.join(", "), price.catalogue)
}

/// With up to four places behind the point, two at least: prices of a million tokens have more than cents.
fn dollars(amount: NanoUsd) -> String {
    let (whole, parts) = (amount.0 / 1_000_000_000, amount.0 % 1_000_000_000 / 100_000);
    let parts = format!("{parts:04}");
    let (cents, more) = parts.split_at(2);
    format!("${whole}.{cents}{}", more.trim_end_matches('0'))
}

fn object(explained: &Explained<'_>) -> Value {
    let Explained { vendor, id, class, looked_up_as, shutdown, price } = explained;
    json!({
        "vendor": &*vendor.id,
        "id": id,
        "class": class.pin.as_str(),
        "severity": class.severity,
        "pattern": class.pattern,
        "note": class.note,
        "references": class.references,
        "shutdown": shutdown.map(|shutdown| json!({
            "date": shutdown.date,
            "source": if shutdown.is_listed { "list" } else { "vendor" },
            "replacement": shutdown.replacement,
            "references": shutdown.references,
            "days_left": class.end.map(|end| end.days_left),
            "severity": class.end.map(|end| end.severity),
        })),
        "price_nano_usd_per_million_tokens": price.as_ref().map(|price| json!({
            "input": price.input,
            "cache_read": price.cache_read,
            "cache_write": price.cache_write,
            "output": price.output,
            "catalogue": price.catalogue,
        })),
        "looked_up_as": looked_up_as,
        "compared_as": compared_as(id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_have_as_many_places_as_they_need() {
        for (nano_usd, expected) in [
            (0, "$0.00"),
            (2_500_000_000, "$2.50"),
            (25_000_000, "$0.025"),
            (4_125_000_000, "$4.125"),
            (13_500_000, "$0.0135"),
            (150_000_000_000, "$150.00"),
        ] {
            assert_eq!(dollars(NanoUsd(nano_usd)), expected);
        }
    }
}
