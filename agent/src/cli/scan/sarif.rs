//! Findings as SARIF 2.1.0 (OASIS Standard, 27 March 2020). Enters: findings, one at a time. Leaves: one JSON document, written as they
//! come, so that its size costs no memory: results first, and at the end the rules that they name. Columns are left out: SARIF counts
//! them in UTF-16 units or characters, findings in bytes; `byteOffset` and `byteLength` say the same and are exact.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    cli::output::ScanSummary,
    findings::{Finding, Rule},
    units::Severity,
};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// Failures that one report lists; all of them are on standard error.
const FAILURES_MAX: usize = 1000;

/// What a path in a URI must not hold as it is (RFC 3986, section 3.3).
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

pub(super) struct Sarif<W: Write> {
    out: io::BufWriter<W>,
    /// Index by id.
    known: HashMap<String, usize>,
    rules: Vec<Value>,
    failures: Vec<String>,
    results: u64,
}

impl<W: Write> Sarif<W> {
    pub(super) fn new(out: W) -> Self {
        let out = io::BufWriter::new(out);
        Self { out, known: HashMap::new(), rules: Vec::new(), failures: Vec::new(), results: 0 }
    }

    pub(super) fn failure(&mut self, message: String) {
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(message);
        }
    }

    pub(super) fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.begin()?;
        let next = self.rules.len();
        let index = *self.known.entry(finding.rule.id.clone()).or_insert(next);
        if index == next {
            self.rules.push(described(finding));
        }
        if self.results > 0 {
            self.out.write_all(b",\n")?;
        }
        self.results += 1;
        serde_json::to_writer(&mut self.out, &result(finding, index))?;
        Ok(())
    }

    pub(super) fn finish(&mut self, summary: &ScanSummary) -> io::Result<()> {
        self.begin()?;
        let driver = json!({
            "name": "Outflow",
            "semanticVersion": env!("CARGO_PKG_VERSION"),
            "rules": self.rules,
        });
        let notes: Vec<Value> =
            self.failures.iter().map(|text| json!({"level": "error", "message": {"text": text}})).collect();
        let invocation = json!({
            "executionSuccessful": summary.failed == 0 && summary.refused_blocks == 0,
            "toolExecutionNotifications": notes,
        });
        let properties = json!({
            "files": summary.files,
            "bytes": summary.bytes,
            "skipped": summary.skipped,
            "suppressed": summary.suppressed,
        });
        let tool = json!({ "driver": driver });
        writeln!(self.out, "\n],\"tool\":{tool},\"invocations\":[{invocation}],\"properties\":{properties}}}]}}")?;
        self.out.flush()
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.results > 0 {
            return Ok(());
        }
        writeln!(self.out, "{{\"$schema\":\"{SCHEMA}\",\"version\":\"2.1.0\",\"runs\":[{{\"results\":[")
    }
}

fn described(finding: &Finding) -> Value {
    let Rule { id, title, references } = &finding.rule;
    let tags: Vec<&str> =
        ["security"].into_iter().chain(finding.group.as_deref()).chain(finding.entity.as_deref()).collect();
    let mut rule = json!({
        "id": id,
        "shortDescription": { "text": title },
        "help": { "text": finding.remedy },
        "defaultConfiguration": { "level": level(finding.severity) },
        // GitHub reads both of these.
        "properties": { "tags": tags, "security-severity": score(finding.severity) },
    });
    let uri = references.iter().find(|reference| reference.starts_with("https://") && !reference.contains(' '));
    if let (Some(uri), Some(rule)) = (uri, rule.as_object_mut()) {
        rule.insert("helpUri".to_owned(), uri.as_str().into());
    }
    rule
}

fn result(finding: &Finding, index: usize) -> Value {
    let excerpt = finding.excerpt.as_ref().map(|excerpt| format!(": {excerpt}")).unwrap_or_default();
    let mut result = json!({
        "ruleId": finding.rule.id,
        "ruleIndex": index,
        "level": level(finding.severity),
        "message": { "text": format!("{}{excerpt}", finding.title) },
        "occurrenceCount": finding.count,
        "rank": f64::from(finding.confidence),
        "properties": {
            "entity": finding.entity,
            "group": finding.group,
            "severity": finding.severity,
            "confidence": finding.confidence,
            "finding_id": finding.finding_id,
            "fingerprint_key_id": finding.fingerprint.as_ref().map(|print| print.key_id.as_str()),
        },
    });
    let Some(fields) = result.as_object_mut() else { return result };
    if let Some(print) = &finding.fingerprint {
        fields.insert("partialFingerprints".to_owned(), json!({ "outflow/v1": print.value }));
    }
    if let Some(location) = &finding.location {
        let mut region = json!({ "byteLength": location.end.saturating_sub(location.start) });
        if let Some(region) = region.as_object_mut() {
            region.extend(location.line.map(|line| ("startLine".to_owned(), line.into())));
            region.extend(location.byte_offset.map(|offset| ("byteOffset".to_owned(), offset.into())));
        }
        let uri = uri(location.file.as_deref().unwrap_or_default());
        let physical = json!({ "artifactLocation": { "uri": uri }, "region": region });
        fields.insert("locations".to_owned(), json!([{ "physicalLocation": physical }]));
    }
    result
}

/// Relative paths stay so: they are meant below the folder that was scanned.
fn uri(path: &str) -> String {
    let escaped = utf8_percent_encode(path, ESCAPED).to_string();
    match escaped.split('/').next() {
        Some("") if !escaped.is_empty() => format!("file://{escaped}"),
        // A colon in the first part would make it a scheme (RFC 3986, section 4.2).
        Some(first) if first.contains(':') => format!("./{escaped}"),
        _ => escaped,
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// As code scanning services sort: 9 and more is critical, 7 high, 4 medium.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "2.5",
        Severity::Info => "0.5",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        for (path, expected) in [
            ("logs/app.log", "logs/app.log"),
            ("/var/log/a b.log", "file:///var/log/a%20b.log"),
            ("<stdin>", "%3Cstdin%3E"),
            ("a:b.log", "./a:b.log"),
            ("50%.log", "50%25.log"),
            ("ä…", "%C3%A4%E2%80%A6"),
        ] {
            assert_eq!(uri(path), expected);
        }
    }
}
