//! A record as a Kafka message. Enters: a revision of a finding, or a call. Leaves: topic, key, bytes and headers, the same each time. Headers follow
//! CloudEvents 1.0, binary mode (cloudevents/bindings/kafka-protocol-binding.md): who reads them need not parse the event. A record that is
//! larger than the sink's bound is trimmed and says so, or it is none.

use std::collections::BTreeSet;

use rdkafka::message::{Header, OwnedHeaders};

use super::{Denial, trim::trimmed};
use crate::{
    config::{self, KafkaSink, PartitionBy, RecordFormat},
    findings::Finding,
    sinks::{CallRecord, Host, Record, ecs, ocsf, usage::UsageRecord},
    units::Timestamp,
};

/// CloudEvents types; the end of one grows when a reader must change.
const FINDING_TYPE: &str = "outflow.finding.v1";
const CALL_TYPE: &str = "outflow.call.v1";
const USAGE_TYPE: &str = "outflow.usage.v1";

/// Where OCSF keeps the schema of what it calls events.
const OCSF_SCHEMA: &str = "https://schema.ocsf.io/1.8.0";

/// Elastic has one page for all versions; which one it is stands behind it.
const ECS_SCHEMA: &str = "https://www.elastic.co/docs/reference/ecs#9.4.0";

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
    pub(in crate::sinks) fn new(sink: KafkaSink, host: Host, what: What) -> Self {
        let source = format!("//{}/outflow", host.name);
        Self { sink, host, source, what }
    }

    /// Where calls go.
    fn calls_topic(&self) -> &str {
        let topic = if self.what == What::Usage { &self.sink.usage_topic } else { &self.sink.calls_topic };
        topic.as_ref().unwrap_or(&self.sink.topic).as_str()
    }

    /// All topics that its records go to.
    pub(super) fn topics(&self) -> BTreeSet<&str> {
        match self.what {
            What::Findings => self.sink.topics.values().chain([&self.sink.topic]).map(config::Topic::as_str).collect(),
            What::Calls | What::Usage => BTreeSet::from([self.calls_topic()]),
        }
    }

    /// Where a finding goes: to the topic of its class, if that has one.
    fn topic_of(&self, finding: &Finding) -> &str {
        if self.sink.topics.is_empty() {
            return self.sink.topic.as_str();
        }
        self.sink.topics.get(&ocsf::class_uid(finding).to_string()).unwrap_or(&self.sink.topic).as_str()
    }

    /// What decides on a finding's partition.
    fn key_of<'a>(&'a self, finding: &'a Finding) -> &'a str {
        let process = &finding.process;
        let said = |name: &'a str| Some(name).filter(|name| !name.is_empty());
        match self.sink.partition_by {
            PartitionBy::Finding => None,
            PartitionBy::Host => self.host.id.as_deref().or(said(&self.host.name)),
            PartitionBy::Feature => process.feature.as_deref().or(said(&process.service)),
        }
        .unwrap_or(&finding.finding_id)
    }

    fn encode(&self, finding: &Finding) -> Result<String, serde_json::Error> {
        match self.sink.format {
            RecordFormat::Native => serde_json::to_string(finding),
            RecordFormat::Ocsf => ocsf::encode(finding, &self.host),
            RecordFormat::Ecs => ecs::encode(finding, &self.host),
        }
    }

    fn schema(&self) -> &'static str {
        match self.sink.format {
            RecordFormat::Native => "urn:outflow:schema:finding-v1",
            RecordFormat::Ocsf => OCSF_SCHEMA,
            RecordFormat::Ecs => ECS_SCHEMA,
        }
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
pub(in crate::sinks) trait Outgoing: Send + Sync + 'static {
    /// Its place in the stream.
    fn seq(&self) -> u64;

    /// Its id.
    fn record_id(&self) -> &str;

    /// Where it goes.
    fn topic<'a>(&self, writer: &'a Writer) -> &'a str;

    /// Itself as a message, whatever its size. An error: it was not made here.
    fn whole<'a>(&'a self, writer: &'a Writer) -> Result<Message<'a>, serde_json::Error>;

    /// The same without what it can do without; `None`: it can do without nothing.
    fn trimmed<'a>(&'a self, writer: &'a Writer) -> Result<Option<Message<'a>>, serde_json::Error>;

    /// Itself as a message that is within the sink's bound.
    fn message<'a>(&'a self, writer: &'a Writer) -> Result<Message<'a>, Denial> {
        let max_bytes = writer.sink.max_record_bytes.as_usize();
        let unreadable = |error: serde_json::Error| Denial::Record { reason: "unreadable", detail: error.to_string() };
        let whole = self.whole(writer).map_err(unreadable)?;
        if whole.payload.len() <= max_bytes {
            return Ok(whole);
        }
        let whole_bytes = whole.payload.len();
        match self.trimmed(writer).map_err(unreadable)? {
            Some(message) if message.payload.len() <= max_bytes => Ok(message),
            trimmed => {
                let least = trimmed.map_or(whole_bytes, |message| message.payload.len());
                let detail = format!(
                    "it has {whole_bytes} bytes, trimmed {least}, and `max_record_bytes` of the sink is {max_bytes}"
                );
                Err(Denial::Record { reason: "too_large", detail })
            }
        }
    }
}

impl Record {
    fn with<'a>(&'a self, writer: &'a Writer, payload: String) -> Message<'a> {
        Message {
            topic: writer.topic_of(&self.finding),
            key: Some(writer.key_of(&self.finding)),
            payload: payload.into_bytes(),
            time_ms: Timestamp::parse(&self.finding.last_seen).and_then(ms),
            id: &self.record_id,
            source: &writer.source,
            event_type: FINDING_TYPE,
            time: self.finding.last_seen.clone(),
            subject: &self.finding.rule.id,
            schema: writer.schema(),
        }
    }
}

impl Outgoing for Record {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn record_id(&self) -> &str {
        &self.record_id
    }

    fn topic<'a>(&self, writer: &'a Writer) -> &'a str {
        writer.topic_of(&self.finding)
    }

    fn whole<'a>(&'a self, writer: &'a Writer) -> Result<Message<'a>, serde_json::Error> {
        let payload = match writer.sink.format {
            // As the store has it.
            RecordFormat::Native => self.payload.clone(),
            _ => writer.encode(&self.finding)?,
        };
        Ok(self.with(writer, payload))
    }

    fn trimmed<'a>(&'a self, writer: &'a Writer) -> Result<Option<Message<'a>>, serde_json::Error> {
        Ok(Some(self.with(writer, writer.encode(&trimmed(&self.finding))?)))
    }
}

impl Outgoing for CallRecord {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn record_id(&self) -> &str {
        &self.record_id
    }

    fn topic<'a>(&self, writer: &'a Writer) -> &'a str {
        writer.calls_topic()
    }

    /// Both streams are keyed by what the money is spent on: adding up needs all of one feature in one place.
    fn whole<'a>(&'a self, writer: &'a Writer) -> Result<Message<'a>, serde_json::Error> {
        let Self { record_id, call, .. } = self;
        let (payload, event_type, schema) = match writer.what {
            What::Usage => {
                let record = UsageRecord::new(call, record_id, &writer.host);
                (serde_json::to_vec(&record)?, USAGE_TYPE, "urn:outflow:schema:usage-v1")
            }
            _ => (ocsf::encode_call(call, record_id, &writer.host)?.into_bytes(), CALL_TYPE, OCSF_SCHEMA),
        };
        Ok(Message {
            topic: writer.calls_topic(),
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

    /// Each of its names has a bound, and all together are less than the least bound of a sink.
    fn trimmed<'a>(&'a self, _writer: &'a Writer) -> Result<Option<Message<'a>>, serde_json::Error> {
        Ok(None)
    }
}

fn ms(at: Timestamp) -> Option<i64> {
    i64::try_from(at.0 / NS_IN_MS).ok()
}
