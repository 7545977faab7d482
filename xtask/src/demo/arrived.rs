//! What arrived elsewhere, for people. Enters: messages of a topic, records and metrics of a collector. Leaves: a few lines that show one of each
//! kind whole enough to be recognised. It never prints all of it.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value as Json;
use testbed::{Message, Metric, Point, Record, Value};

/// Lines of one event that are shown, and their width.
const EVENT_LINES: usize = 40;
const LINE_CHARS: usize = 118;
/// Attributes of one log record that are shown.
const ATTRIBUTES: [&str; 9] = [
    "outflow.finding.record_id",
    "outflow.finding.rule.id",
    "outflow.finding.category",
    "outflow.finding.confidence",
    "outflow.finding.count",
    "outflow.evidence.excerpt",
    "gen_ai.request.model",
    "log.file.path",
    "server.address",
];

/// Attributes of a metric that are shown.
const DIMENSIONS: [&str; 2] = ["gen_ai.request.model", "gen_ai.token.type"];

/// The id of a record as a message carries it (CloudEvents over Kafka, binary mode).
pub(super) fn message_id(message: &Message) -> String {
    message.header("ce_id").unwrap_or_default()
}

/// The id of a record as a log record carries it.
pub(super) fn record_id(record: &Record) -> &str {
    record.attributes.get("outflow.finding.record_id").and_then(Value::text).unwrap_or_default()
}

/// The topic in a few lines, and one event of it: the gravest leak.
pub(super) fn topic(topic: &str, messages: &[Message]) -> Result<String> {
    let keys: BTreeSet<_> = messages.iter().map(Message::key_text).collect();
    let mut text = format!("{} messages in the topic {topic}, with {} keys\n", messages.len(), keys.len());
    let severity = |message: &&Message| {
        let event: Option<Json> = serde_json::from_slice(message.payload.as_deref()?).ok();
        event?["severity_id"].as_u64()
    };
    let Some(message) = messages.iter().max_by_key(severity) else { return Ok(text) };
    text += &cut(&format!("key      {}", message.key_text()));
    for (name, value) in &message.headers {
        text += &cut(&format!("header   {name}: {}", String::from_utf8_lossy(value.as_deref().unwrap_or_default())));
    }
    let event: Json = serde_json::from_slice(message.payload.as_deref().unwrap_or_default())
        .context("a message of the topic is no JSON")?;
    let pretty = serde_json::to_string_pretty(&event)?;
    let more = pretty.lines().count().saturating_sub(EVENT_LINES);
    pretty.lines().take(EVENT_LINES).for_each(|line| text += &cut(line));
    if more > 0 {
        text += &cut(&format!("… and {more} lines"));
    }
    Ok(text)
}

/// The collector's log records in a few lines, and one of them.
pub(super) fn records(records: &[Record]) -> String {
    let services: BTreeSet<_> =
        records.iter().filter_map(|record| record.resource.get("service.name")?.text()).collect();
    let services: Vec<_> = services.into_iter().collect();
    let mut text = format!("{} log records, of the services {}\n", records.len(), services.join(", "));
    let Some(record) = records.iter().max_by_key(|record| record.severity_number) else { return text };
    let body = record.body.as_ref().and_then(Value::text).unwrap_or_default();
    text += &cut(&format!("event    {}", record.event_name));
    text += &cut(&format!("severity {} ({})", record.severity_number, record.severity_text));
    text += &cut(&format!("body     {body}"));
    for name in ATTRIBUTES {
        if let Some(value) = record.attributes.get(name) {
            text += &cut(&format!("         {name}: {}", shown(value)));
        }
    }
    text
}

/// The newest export of a metric.
pub(super) fn newest<'a>(metrics: &'a [Metric], name: &str) -> Option<&'a Metric> {
    metrics.iter().rev().find(|metric| metric.name == name)
}

/// The newest export of some metrics, a line for each of their points.
pub(super) fn metrics(metrics: &[Metric], names: &[&str]) -> String {
    let mut text = String::new();
    for metric in names.iter().filter_map(|name| newest(metrics, name)) {
        let mut lines: Vec<_> = metric.points.iter().map(|point| cut(&line(metric, point))).collect();
        lines.sort();
        text += &lines.concat();
    }
    text
}

fn line(metric: &Metric, point: &Point) -> String {
    let dimensions: Vec<_> = DIMENSIONS.iter().filter_map(|name| Some(shown(point.attributes.get(*name)?))).collect();
    let figure = point.value.or(point.sum).unwrap_or_default();
    let figure = if figure.fract() == 0.0 { figure.to_string() } else { format!("{figure:.6}") };
    let calls = match point.count {
        None => String::new(),
        Some(1) => " in 1 call".to_owned(),
        Some(count) => format!(" in {count} calls"),
    };
    format!("{:<33}{:<32}{figure} {}{calls}", metric.name, dimensions.join(" "), metric.unit)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Other(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
    }
}

/// One line, no longer than a screen is wide.
fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS) {
        Some((end, _)) => format!("{}…\n", &line[..end]),
        None => format!("{line}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, severity: u32) -> Message {
        let payload = format!("{{\"severity_id\": {severity}, \"long\": \"{}\"}}", "x".repeat(200));
        Message {
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            key: Some(id.as_bytes().to_owned()),
            headers: vec![("ce_id".to_owned(), Some(format!("{id}-1").into_bytes()))],
            payload: Some(payload.into_bytes()),
        }
    }

    #[test]
    fn the_gravest_event_is_shown_and_cut() {
        let text = topic("t", &[message("a", 2), message("b", 5), message("c", 1), message("b", 5)]).unwrap();
        assert!(
            text.starts_with("4 messages in the topic t, with 3 keys\nkey      b\nheader   ce_id: b-1\n{\n"),
            "{text}"
        );
        assert!(text.contains("\"severity_id\": 5") && text.contains("xxx…\n"), "{text}");
        assert_eq!(topic("t", &[]).unwrap(), "0 messages in the topic t, with 0 keys\n");
    }

    #[test]
    fn a_log_record_is_shown_with_what_it_carries() {
        let attributes = [("outflow.finding.rule.id".to_owned(), Value::Text("pii.email".into()))].into();
        let body = Some(Value::Text("a leak".into()));
        let record = Record { severity_number: 17, event_name: "e".into(), body, attributes, ..Record::default() };
        let text = records(&[Record::default(), record]);
        assert!(text.contains("event    e\n") && text.contains("body     a leak\n"), "{text}");
        assert!(text.contains("outflow.finding.rule.id: pii.email\n"), "{text}");
        assert_eq!(message_id(&message("a", 1)), "a-1");
    }

    #[test]
    fn of_each_metric_the_newest_export_is_shown() {
        let metric = |count, sum| {
            let attributes = [("gen_ai.request.model".to_owned(), Value::Text("m".into()))].into();
            let point = Point { attributes, count: Some(count), sum: Some(sum), ..Point::default() };
            Metric { name: "tokens".into(), unit: "{token}".into(), points: vec![point], ..Metric::default() }
        };
        let all = [metric(1, 7.0), Metric::default(), metric(2, 7.25)];
        let text = metrics(&all, &["tokens", "none"]);
        assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), "tokens m 7.250000 {token} in 2 calls");
        assert!(metrics(&all[..1], &["tokens"]).ends_with(" 7 {token} in 1 call\n"));
    }
}
