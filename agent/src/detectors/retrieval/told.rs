//! What is said of an index. Enters: what is wrong. Leaves: a [`Behaviour`]. Names of indexes and models, numbers; never a text that was embedded
//! or found.

use serde_json::json;

use super::{answers::Window, cadence::Allowed, chunks::Shift, index::Rejected};
use crate::{
    detectors::Behaviour,
    exchange::{Exchange, RetrievalFacts},
    units::{Severity, Timestamp},
};

const HOUR_NS: u64 = 3_600_000_000_000;
const DAY_NS: u64 = 24 * HOUR_NS;

/// An index as it is shown: its name, else its host; and the namespace.
fn label(exchange: &Exchange, facts: &RetrievalFacts) -> String {
    let index = facts.index.as_deref().unwrap_or(&exchange.host);
    match facts.namespace.as_deref() {
        Some(namespace) => format!("{index}/{namespace}"),
        None => index.to_owned(),
    }
}

/// `3 days`, `5 hours`
fn span(ns: u64) -> String {
    let (count, unit) = if ns >= 2 * DAY_NS { (ns / DAY_NS, "day") } else { (ns / HOUR_NS, "hour") };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

pub(super) fn model_mismatch<'a>(exchange: &'a Exchange, facts: &RetrievalFacts, rejected: &Rejected) -> Behaviour<'a> {
    let index = label(exchange, facts);
    let Rejected { model, held, dimensions, held_dimensions, .. } = rejected;
    let title = if rejected.is_refused {
        format!("`{index}` holds vectors of {held_dimensions} numbers and is searched with one of {dimensions}")
    } else {
        format!("`{index}` holds vectors of `{held}` and is searched with vectors of `{model}`")
    };
    let (severity, confidence) = match rejected {
        Rejected { is_refused: true, .. } => (Severity::High, 90),
        Rejected { may_be_moved: true, .. } => (Severity::Medium, 50),
        Rejected { is_certain: true, .. } => (Severity::High, 95),
        _ => (Severity::Medium, 60),
    };
    let mut told = vec![
        ("retrieval.index", json!(index)),
        ("retrieval.store", json!(exchange.vendor.as_deref())),
        ("retrieval.query_dimensions", json!(dimensions)),
        ("retrieval.ingest_dimensions", json!(held_dimensions)),
        ("retrieval.ingest_vectors", json!(rejected.vectors)),
        ("retrieval.ingest_last", json!(rejected.written_at.rfc3339())),
        ("retrieval.is_certain", json!(rejected.is_certain)),
    ];
    told.extend(
        [("retrieval.query_model", model), ("retrieval.ingest_model", held)]
            .into_iter()
            .filter(|(_, model)| !model.is_empty())
            .map(|(name, model)| (name, json!(model))),
    );
    Behaviour {
        rule: "retrieval.model_mismatch",
        references: Vec::new(),
        key: format!("{index} {held} {model} {held_dimensions} {dimensions}"),
        severity,
        confidence,
        title,
        case: None,
        facts: told,
        exchange,
    }
}

pub(super) fn stale<'a>(
    exchange: &'a Exchange,
    facts: &RetrievalFacts,
    last: Timestamp,
    age_ns: u64,
    allowed: Allowed,
) -> Behaviour<'a> {
    let index = label(exchange, facts);
    let why = match allowed.longest_ns {
        Some(longest) => format!("the longest pause before was {}", span(longest)),
        None => format!("at most {} are allowed", span(allowed.pause_ns)),
    };
    let mut told = vec![
        ("retrieval.index", json!(index)),
        ("retrieval.store", json!(exchange.vendor.as_deref())),
        ("retrieval.ingest_last", json!(last.rfc3339())),
        ("retrieval.ingest_age_hours", json!(age_ns / HOUR_NS)),
        ("retrieval.allowed_hours", json!(allowed.pause_ns / HOUR_NS)),
    ];
    if let Some(longest) = allowed.longest_ns {
        told.push(("retrieval.longest_pause_hours", json!(longest / HOUR_NS)));
    }
    Behaviour {
        rule: "retrieval.stale",
        references: Vec::new(),
        key: index.clone(),
        severity: if allowed.longest_ns.is_none() { Severity::High } else { Severity::Medium },
        confidence: allowed.confidence,
        title: format!("`{index}` was last written {} ago and is searched; {why}", span(age_ns)),
        case: None,
        facts: told,
        exchange,
    }
}

pub(super) fn empty<'a>(exchange: &'a Exchange, facts: &RetrievalFacts, window: Window) -> Behaviour<'a> {
    let index = label(exchange, facts);
    let Window { calls, empty, usual, .. } = window;
    let usual_percent = rounded(usual * 100.0);
    Behaviour {
        rule: "retrieval.empty",
        references: Vec::new(),
        key: index.clone(),
        severity: if empty == calls { Severity::High } else { Severity::Medium },
        confidence: 80,
        title: format!("{empty} of {calls} searches of `{index}` found nothing, usual are {usual_percent} %"),
        case: None,
        facts: vec![
            ("retrieval.index", json!(index)),
            ("retrieval.store", json!(exchange.vendor.as_deref())),
            ("retrieval.searches", json!(calls)),
            ("retrieval.searches_empty", json!(empty)),
            ("retrieval.usual_empty_percent", json!(usual_percent)),
        ],
        exchange,
    }
}

pub(super) fn same_answers<'a>(exchange: &'a Exchange, facts: &RetrievalFacts, searches: u32) -> Behaviour<'a> {
    let index = label(exchange, facts);
    Behaviour {
        rule: "retrieval.same_answers",
        references: Vec::new(),
        key: index.clone(),
        severity: Severity::Medium,
        confidence: 60,
        title: format!("{searches} different searches of `{index}` in a row found the same documents"),
        case: None,
        facts: vec![
            ("retrieval.index", json!(index)),
            ("retrieval.store", json!(exchange.vendor.as_deref())),
            ("retrieval.searches_same", json!(searches)),
            ("retrieval.matches", json!(facts.matches)),
        ],
        exchange,
    }
}

pub(super) fn old_documents<'a>(
    exchange: &'a Exchange,
    facts: &RetrievalFacts,
    days: f64,
    usual_days: f64,
) -> Behaviour<'a> {
    let index = label(exchange, facts);
    Behaviour {
        rule: "retrieval.old_documents",
        references: Vec::new(),
        key: index.clone(),
        severity: Severity::Low,
        confidence: 50,
        title: format!("the newest documents found in `{index}` are {days:.0} days old, usual are {usual_days:.0}"),
        case: None,
        facts: vec![
            ("retrieval.index", json!(index)),
            ("retrieval.store", json!(exchange.vendor.as_deref())),
            ("retrieval.document_age_days", json!(rounded(days))),
            ("retrieval.usual_document_age_days", json!(rounded(usual_days))),
        ],
        exchange,
    }
}

pub(super) fn chunks_changed<'a>(exchange: &'a Exchange, model: &str, shift: Shift) -> Behaviour<'a> {
    let Shift { before_bytes, bytes } = shift;
    Behaviour {
        rule: "retrieval.chunks_changed",
        references: Vec::new(),
        key: model.to_lowercase(),
        severity: Severity::Low,
        confidence: 40,
        title: format!("texts embedded with `{model}` are {bytes:.0} bytes long on the mean, before {before_bytes:.0}"),
        case: None,
        facts: vec![
            ("model.requested", json!(model)),
            ("retrieval.chunk_bytes", json!(rounded(bytes))),
            ("retrieval.usual_chunk_bytes", json!(rounded(before_bytes))),
        ],
        exchange,
    }
}

/// One digit behind the point.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
