//! A record as a Kafka message. Enters: a [`Record`]. Leaves: its bytes and headers, the same each time. Headers follow CloudEvents 1.0, binary
//! mode (cloudevents/bindings/kafka-protocol-binding.md): who reads them need not parse the event.

use rdkafka::message::{Header, OwnedHeaders};

use crate::{
    config::RecordFormat,
    sinks::{Host, Record, ocsf},
    units::Timestamp,
};

/// CloudEvents type of a finding; its end grows when a reader must change.
const EVENT_TYPE: &str = "outflow.finding.v1";

/// The event, as the sink's format has it.
pub(super) fn payload(record: &Record, host: &Host, format: RecordFormat) -> Result<Vec<u8>, serde_json::Error> {
    match format {
        RecordFormat::Native => Ok(record.payload.clone().into_bytes()),
        RecordFormat::Ocsf => ocsf::encode(&record.finding, host).map(String::into_bytes),
    }
}

/// What its bytes are.
fn schema(format: RecordFormat) -> &'static str {
    match format {
        RecordFormat::Native => "urn:outflow:schema:finding-v1",
        RecordFormat::Ocsf => "https://schema.ocsf.io/1.8.0",
    }
}

/// What stands beside the event.
pub(super) fn headers(record: &Record, source: &str, format: RecordFormat) -> OwnedHeaders {
    [
        ("ce_specversion", "1.0"),
        ("ce_type", EVENT_TYPE),
        ("ce_source", source),
        ("ce_id", &record.record_id),
        ("ce_time", &record.finding.last_seen),
        ("ce_subject", &record.finding.rule.id),
        ("ce_dataschema", schema(format)),
        ("content-type", "application/json"),
    ]
    .into_iter()
    .fold(OwnedHeaders::new_with_capacity(8), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}

/// When it happened, milliseconds since the Unix epoch.
pub(super) fn time_ms(record: &Record) -> Option<i64> {
    let at = Timestamp::parse(&record.finding.last_seen)?;
    i64::try_from(at.0 / 1_000_000).ok()
}
