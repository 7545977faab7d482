//! A record as a message of syslog. Enters: a [`Record`]. Leaves: its bytes, at most as many as the receiver takes, the same each time. A record
//! that is too long gives a summary that says so; no JSON is ever cut.

use serde_json::json;
use syslog_fmt::{
    Facility, Severity as Level,
    v5424::{Config, Formatter, Msg, Timestamp as Time},
};

use crate::{
    config::{RecordFormat, SyslogFacility, SyslogSink},
    findings::mask,
    sinks::{
        Host,
        format::line,
        receiver::{Record, Refused},
    },
    units::{Severity, Timestamp},
};

/// Name of our structured data. 32473 is the number that RFC 5612 keeps for examples: we have none of our own.
const DATA_ID: &str = "outflow@32473";

/// Kind of a message (MSGID).
const KIND: &str = "finding";

/// Longest name of a host (RFC 5424, section 6).
const HOST_BYTES_MAX: usize = 255;

/// Longest title in a summary, characters.
const TITLE_CHARS_MAX: usize = 200;

/// Writes messages.
pub(super) struct Messages {
    formatter: Formatter,
    host: Host,
    format: RecordFormat,
    max_bytes: usize,
}

impl Messages {
    pub(super) fn new(sink: &SyslogSink, host: Host) -> Self {
        let name: String = host.name.chars().filter(char::is_ascii_graphic).take(HOST_BYTES_MAX).collect();
        let formatter = Config {
            facility: facility(sink.facility),
            hostname: Some(name.as_str()).filter(|name| !name.is_empty()),
            app_name: Some(sink.app_name.as_str()),
            // Ours would be another after each start, and a repeat other bytes.
            proc_id: None,
        }
        .into_formatter();
        Self { formatter, host, format: sink.format, max_bytes: sink.max_bytes.as_usize() }
    }

    /// One message.
    pub(super) fn encode(&self, record: &Record) -> Result<Vec<u8>, Refused> {
        let whole = self.write(record, &line(record, &self.host, self.format)?, false);
        if whole.len() <= self.max_bytes {
            return Ok(whole);
        }
        let summary = self.write(record, &summary(record), true);
        if summary.len() <= self.max_bytes {
            return Ok(summary);
        }
        Err(Refused {
            seq: record.seq,
            record_id: record.record_id.clone(),
            reason: "too_large",
            detail: format!("{} bytes as a summary, and `max_bytes` is {}", summary.len(), self.max_bytes),
        })
    }

    fn write(&self, record: &Record, text: &str, is_summary: bool) -> Vec<u8> {
        let finding = &record.finding;
        let (revision, confidence) = (finding.revision.to_string(), finding.confidence.to_string());
        let mut fields: Vec<(&str, &str)> = vec![
            ("record_id", record.record_id.as_str()),
            ("finding_id", &finding.finding_id),
            ("revision", &revision),
            ("activity", record.activity.as_str()),
            ("rule", &finding.rule.id),
            ("category", finding.category.as_str()),
            ("severity", finding.severity.as_str()),
            ("confidence", &confidence),
            ("service", &finding.process.service),
        ];
        if is_summary {
            fields.push(("content", "summary"));
        }
        // A line feed in a value would end the message for receivers that count lines.
        let fields: Vec<(&str, String)> =
            fields.into_iter().map(|(name, value)| (name, value.replace(char::is_control, " "))).collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let at = &finding.last_seen;
        let time = if Timestamp::parse(at).is_some() { Time::PreformattedStr(at) } else { Time::None };
        let mut message = Vec::with_capacity(text.len() + 512);
        // As bytes: with the mark of UTF-8 before it, receivers that read JSON would not. Writing to memory cannot fail.
        let _ = self.formatter.write_with_data(
            &mut message,
            level(finding.severity),
            time,
            Msg::NonUnicodeBytes(text.as_bytes()),
            Some(KIND),
            [(DATA_ID, fields)],
        );
        message
    }
}

/// What is told of a record that is too long.
fn summary(record: &Record) -> String {
    let finding = &record.finding;
    json!({
        "content": "summary",
        "record_id": record.record_id,
        "finding_id": finding.finding_id,
        "revision": finding.revision,
        "activity": record.activity.as_str(),
        "rule": { "id": finding.rule.id },
        "category": finding.category,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "title": mask::bounded(&finding.title, TITLE_CHARS_MAX),
        "service": finding.process.service,
        "count": finding.count,
        "first_seen": finding.first_seen,
        "last_seen": finding.last_seen,
        "whole_bytes": record.payload.len(),
    })
    .to_string()
}

/// Severities of RFC 5424, section 6.2.1. A finding never says that the system is unusable.
fn level(severity: Severity) -> Level {
    match severity {
        Severity::Info => Level::Info,
        Severity::Low => Level::Notice,
        Severity::Medium => Level::Warning,
        Severity::High => Level::Err,
        Severity::Critical => Level::Crit,
    }
}

fn facility(facility: SyslogFacility) -> Facility {
    match facility {
        SyslogFacility::User => Facility::User,
        SyslogFacility::Daemon => Facility::Daemon,
        SyslogFacility::Auth => Facility::Auth,
        SyslogFacility::AuthPriv => Facility::Authpriv,
        SyslogFacility::Local0 => Facility::Local0,
        SyslogFacility::Local1 => Facility::Local1,
        SyslogFacility::Local2 => Facility::Local2,
        SyslogFacility::Local3 => Facility::Local3,
        SyslogFacility::Local4 => Facility::Local4,
        SyslogFacility::Local5 => Facility::Local5,
        SyslogFacility::Local6 => Facility::Local6,
        SyslogFacility::Local7 => Facility::Local7,
    }
}
