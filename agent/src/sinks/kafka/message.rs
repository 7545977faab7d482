//! A record as a Kafka message. Enters: a revision of a finding, or a call. Leaves: key, bytes and headers, the same each time. Headers follow
//! CloudEvents 1.0, binary mode (cloudevents/bindings/kafka-protocol-binding.md): who reads them need not parse the event.

use rdkafka::message::{Header, OwnedHeaders};

use crate::{
    config::{KafkaSink, RecordFormat},
    sinks::{CallRecord, Host, Record, ocsf, usage::UsageRecord},
    units::Timestamp,
};

/// CloudEvents types; the end of one grows when a reader must change.
const FINDING_TYPE: &str = "outflow.finding.v1";
const CALL_TYPE: &str = "outflow.call.v1";
const USAGE_TYPE: &str = "outflow.usage.v1";

/// Where OCSF keeps the schema of what it calls events.
const OCSF_SCHEMA: &str = "https://schema.ocsf.io/1.8.0";

const NS_IN_MS: u64 = 1_000_000;

/// Which of its streams a sink writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sinks) enum What {
    /// Revisions of findings.
    Findings,
    /// Calls, as events.
    Calls,
    /// Calls, as what they used.
    Usage,
}

/// What messages are made with.
#[derive(Clone, Debug)]
pub(in crate::sinks) struct Writer {
    pub(super) sink: KafkaSink,
    pub(super) host: Host,
    /// Where records come from, for CloudEvents.
    source: String,
    what: What,
}

impl Writer {
    pub(super) fn new(sink: KafkaSink, host: Host, what: What) -> Self {
        let source = format!("//{}/outflow", host.name);
        Self { sink, host, source, what }
    }

    /// Where this stream goes.
    fn topic(&self) -> &str {
        let topic = match self.what {
            What::Findings => Some(&self.sink.topic),
            What::Calls => self.sink.calls_topic.as_ref(),
            What::Usage => self.sink.usage_topic.as_ref(),
        };
        topic.unwrap_or(&self.sink.topic).as_str()
    }
}

/// One message.
#[derive(Debug)]
pub(in crate::sinks) struct Message<'a> {
    pub(super) topic: &'a str,
    /// Messages of one key stay in order; without one they go anywhere.
    pub(super) key: Option<&'a str>,
    pub(super) payload: Vec<u8>,
    /// When it happened, milliseconds since the Unix epoch.
    pub(super) time_ms: Option<i64>,
    id: &'a str,
    source: &'a str,
    event_type: &'static str,
    time: String,
    subject: &'a str,
    schema: &'static str,
}

impl Message<'_> {
    /// What stands beside the event.
    pub(super) fn headers(&self) -> OwnedHeaders {
        [
            ("ce_specversion", "1.0"),
            ("ce_type", self.event_type),
            ("ce_source", self.source),
            ("ce_id", self.id),
            ("ce_time", &self.time),
            ("ce_subject", self.subject),
            ("ce_dataschema", self.schema),
            ("content-type", "application/json"),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .fold(OwnedHeaders::new_with_capacity(8), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        })
    }
}

/// What can be a message.
pub(in crate::sinks) trait Outgoing: 'static {
    /// Its place in the stream.
    fn seq(&self) -> u64;

    /// Its id.
    fn record_id(&self) -> &str;

    /// Itself as a message. An error: it was not made here.
    fn message<'a>(&'a self, writer: &'a Writer) -> Result<Message<'a>, serde_json::Error>;
}

impl Outgoing for Record {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn record_id(&self) -> &str {
        &self.record_id
    }

    fn message<'a>(&'a self, writer: &'a Writer) -> Result<Message<'a>, serde_json::Error> {
        let (payload, schema) = match writer.sink.format {
            RecordFormat::Native => (self.payload.clone(), "urn:outflow:schema:finding-v1"),
            RecordFormat::Ocsf => (ocsf::encode(&self.finding, &writer.host)?, OCSF_SCHEMA),
        };
        Ok(Message {
            topic: writer.topic(),
            key: Some(&self.finding.finding_id),
            payload: payload.into_bytes(),
            time_ms: Timestamp::parse(&self.finding.last_seen).and_then(ms),
            id: &self.record_id,
            source: &writer.source,
            event_type: FINDING_TYPE,
            time: self.finding.last_seen.clone(),
            subject: &self.finding.rule.id,
            schema,
        })
    }
}

impl Outgoing for CallRecord {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn record_id(&self) -> &str {
        &self.record_id
    }

    /// Both streams are keyed by what the money is spent on: adding up needs all of one feature in one place.
    fn message<'a>(&'a self, writer: &'a Writer) -> Result<Message<'a>, serde_json::Error> {
        let Self { record_id, call, .. } = self;
        let (payload, event_type, schema) = match writer.what {
            What::Usage => {
                let record = UsageRecord::new(call, record_id, &writer.host);
                (serde_json::to_vec(&record)?, USAGE_TYPE, "urn:outflow:schema:usage-v1")
            }
            _ => (ocsf::encode_call(call, record_id, &writer.host)?.into_bytes(), CALL_TYPE, OCSF_SCHEMA),
        };
        Ok(Message {
            topic: writer.topic(),
            key: call.spent_on(),
            payload,
            time_ms: ms(call.ended_at()),
            id: record_id,
            source: &writer.source,
            event_type,
            time: call.ended_at().rfc3339(),
            subject: &call.record.destination.api,
            schema,
        })
    }
}

fn ms(at: Timestamp) -> Option<i64> {
    i64::try_from(at.0 / NS_IN_MS).ok()
}
