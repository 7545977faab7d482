//! Findings of a store as text for people, made for 100 columns. Enters: findings, revisions. Leaves: whole lines. Every text of a
//! peer is cut to its column; control characters were taken out when the finding was made.

use std::fmt::Write as _;

use crate::{
    cli::output::wrapped,
    findings::{Finding, mask::bounded},
    store::Revision,
};

/// Columns of a line.
pub(super) const WIDTH: usize = 100;

/// Digits of an id in a list; enough to name one of millions.
const ID: usize = 12;

const SERVICE: usize = 18;

const RULE: usize = 32;

/// Columns before the title of a finding in a list.
const INDENT: usize = ID + 2;

/// Columns before the value of a line about one finding.
pub(super) const LABEL: usize = 13;

/// A line a finding, then how many there are.
pub(super) fn list(findings: &[Finding], all: u64) -> String {
    let mut out = String::new();
    if !findings.is_empty() {
        row(&mut out, ["id", "last seen", "severity", "count", "service", "rule"]);
    }
    for finding in findings {
        row(
            &mut out,
            [
                finding.finding_id.get(..ID).unwrap_or(&finding.finding_id),
                &minute(&finding.last_seen),
                finding.severity.as_str(),
                &count(finding.count),
                &finding.process.service,
                &finding.rule.id,
            ],
        );
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:INDENT$}{}", "", bounded(&finding.title, WIDTH - INDENT));
    }
    let shown = u64::try_from(findings.len()).unwrap_or(u64::MAX);
    let _ = match (shown, all) {
        (_, 0) => writeln!(out, "no findings"),
        (_, 1) => writeln!(out, "1 finding"),
        (shown, all) if shown < all => writeln!(out, "{shown} of {all} findings; --limit 0 shows all"),
        _ => writeln!(out, "{all} findings"),
    };
    out
}

/// All about one finding.
pub(super) fn show(id: &str, finding: Option<&Finding>, history: &[Revision]) -> String {
    let mut out = String::new();
    match finding {
        Some(finding) => facts(&mut out, finding),
        None => line(&mut out, "id", &format!("{id}  (erased: only hashes are left)")),
    }
    for (index, revision) in history.iter().enumerate() {
        let what = match &revision.finding {
            Some(finding) => format!("seen {}, last {}", times(finding.count), finding.last_seen),
            None => "erased".to_owned(),
        };
        let text = format!("{:<4} {:<7} {what}  (outbox {})", revision.revision, revision.activity, revision.seq);
        line(&mut out, if index == 0 { "revisions" } else { "" }, &text);
    }
    out
}

fn facts(out: &mut String, finding: &Finding) {
    line(out, "id", &finding.finding_id);
    line(out, "title", &finding.title);
    line(out, "severity", &format!("{}, confidence {} of 100", finding.severity, finding.confidence));
    line(out, "rule", &format!("{}  {}", finding.rule.id, finding.rule.title));
    if let Some(excerpt) = &finding.excerpt {
        line(out, "excerpt", &format!("“{excerpt}”"));
    }
    if let Some(location) = &finding.location {
        let line_number = location.line.map(|line| format!(":{line}")).unwrap_or_default();
        let place = location.path.as_deref().or(location.file.as_deref()).unwrap_or("-");
        line(out, "place", &format!("{place}{line_number}, bytes {} to {}", location.start, location.end));
    }
    let process = &finding.process;
    let whose = match process.pid {
        0 => format!("service {}", process.service),
        pid => format!("{} (service {}, process {pid})", process.name, process.service),
    };
    line(out, "process", &whose);
    if let Some(destination) = &finding.destination {
        line(out, "destination", &format!("{}, {}", destination.host, destination.api));
    }
    let (requested, resolved) =
        finding.model.as_ref().map_or((None, None), |model| (model.requested.as_ref(), model.resolved.as_ref()));
    if let Some(model) = requested.or(resolved) {
        let resolved = resolved.filter(|resolved| *resolved != model);
        line(out, "model", &resolved.map_or_else(|| model.clone(), |resolved| format!("{model} → {resolved}")));
    }
    if let Some(cost) = finding.cost_nano_usd {
        line(out, "cost", &cost.to_string());
    }
    let span = format!("{}, first {}, last {}", times(finding.count), finding.first_seen, finding.last_seen);
    line(out, "seen", &span);
    line(out, "remedy", &finding.remedy);
    for reference in &finding.rule.references {
        line(out, "reference", reference);
    }
}

fn row(out: &mut String, [id, seen, severity, count, service, rule]: [&str; 6]) {
    let service = bounded(service, SERVICE);
    let _ = writeln!(out, "{id:ID$}  {seen:16}  {severity:8}  {count:>6}  {service:SERVICE$}  {}", bounded(rule, RULE));
}

/// Long texts go on below, at the same column.
pub(super) fn line(out: &mut String, label: &str, text: &str) {
    for (index, part) in wrapped(text, WIDTH - LABEL).iter().enumerate() {
        let _ = writeln!(out, "{:LABEL$}{part}", if index == 0 { label } else { "" });
    }
}

fn times(count: u64) -> String {
    format!("{count} {}", if count == 1 { "time" } else { "times" })
}

/// At most six characters.
fn count(count: u64) -> String {
    match count {
        ..1_000_000 => count.to_string(),
        1_000_000..100_000_000 => format!("{}k", count / 1000),
        _ => format!("{}M", (count / 1_000_000).min(99_999)),
    }
}

/// `2026-11-23 08:15`
fn minute(rfc3339: &str) -> String {
    rfc3339.get(..16).unwrap_or(rfc3339).replace('T', " ")
}
