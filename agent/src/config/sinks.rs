//! `[sinks]`, `[[sinks.kafka]]`, `[[sinks.otlp]]`: where findings go. Enters: the sections. Leaves: addresses, names and settings. It connects
//! to nobody, and holds no secret: those stay in files and variables, and are read when a connection is made. The other kinds of sinks have
//! files of their own.

use std::{collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess},
    ser::SerializeMap as _,
};

mod cloud;
mod file;
mod flow;
mod syslog;
mod webhook;

pub use self::{
    cloud::Cloud,
    file::{FileCompression, FileSink},
    flow::{FindingMatch, Flow},
    syslog::{SyslogFacility, SyslogSink},
    webhook::{WebhookBody, WebhookSink},
};
use super::{
    amounts::{Count, GIB, HOUR, KIB, MIB, MINUTE, Period, SECOND, Size},
    names::AbsolutePath,
    places::{Broker, Endpoint, HostName, SinkName, Topic},
};

/// Where findings go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sinks {
    /// Name of this host in what is sent. Without it, it is `$OUTFLOW_HOST_NAME` (the Helm chart sets it to the node's name), else the
    /// name that the system has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<HostName>,
    /// Where this host runs: `cloud` in OCSF and ECS, `cloud.*` of OpenTelemetry's resources. Outflow asks no cloud for it; without this section nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
    /// How much of the store calls may take that wait for sinks that stream them (`calls_topic`, `usage_topic`); a call takes about one KiB,
    /// until each of these sinks has it. Beyond that the oldest are dropped and counted (`outflow_store_dropped_calls_total`), so that calls
    /// never take the room of findings. At most half of `[store] max_bytes`.
    pub max_call_bytes: Size<MIB, { 64 * GIB }>,
    /// A Kafka topic that gets one record for each revision of a finding; `[[sinks.kafka]]` may be given several times. The producer is
    /// idempotent and waits for all replicas; a record counts as delivered when the broker has confirmed it. Its key is the
    /// finding's id, unless `partition_by` says otherwise. Its headers follow CloudEvents 1.0, and `ce_id` is the record's id, the same when it is sent again.
    pub kafka: Vec<KafkaSink>,
    /// An OpenTelemetry collector that gets one log record for each revision of a finding, and the agent's metrics, and spans of calls
    /// if you ask for them (`traces`); `[[sinks.otlp]]` may be given several times. [OTLP.md](OTLP.md) has the names of attributes and what each answer leads to.
    pub otlp: Vec<OtlpSink>,
    /// A file that gets one line of JSON for each revision of a finding; `[[sinks.file]]` may be given several times. A record counts as
    /// delivered when it is on the disk. [SINKS.md](SINKS.md) says what happens at a rotation, a crash and a full disk.
    pub file: Vec<FileSink>,
    /// A web address that is sent each revision of a finding with POST; `[[sinks.webhook]]` may be given several times. A record counts as
    /// delivered when the answer is 2xx. `webhook-id` is the record's id, the same when it is sent again.
    pub webhook: Vec<WebhookSink>,
    /// A syslog server that gets one message (RFC 5424) for each revision of a finding; `[[sinks.syslog]]` may be given several times.
    /// Syslog has no acknowledgement: a record counts as delivered when the system took it for the connection.
    pub syslog: Vec<SyslogSink>,
}

impl Default for Sinks {
    fn default() -> Self {
        Self {
            host_name: None,
            cloud: None,
            max_call_bytes: Size::from_bytes(128 * MIB),
            kafka: Vec::new(),
            otlp: Vec::new(),
            file: Vec::new(),
            webhook: Vec::new(),
            syslog: Vec::new(),
        }
    }
}

impl Sinks {
    /// Some sink streams calls.
    pub fn stream_calls(&self) -> bool {
        self.kafka.iter().any(|sink| !sink.call_streams().is_empty())
    }
}

/// A Kafka topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSink {
    /// Name of the sink: its place in the store, in metrics and in messages. A new or changed name is a new sink: it begins with the first
    /// finding of the store.
    #[serde(default = "kafka_name")]
    pub name: SinkName,
    /// Brokers to begin with; they name the others.
    pub brokers: Vec<Broker>,
    /// Where records go. The broker makes a missing topic if it is set up so; otherwise the sink waits until somebody does.
    #[serde(default = "topic")]
    pub topic: Topic,
    /// Where findings of one OCSF class go instead, by its number and whatever the format: `{ "2006" = "outflow.leaks" }`. 2006 is leaked
    /// data, 2003 models that are not pinned or end, 2004 everything else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topics: BTreeMap<String, Topic>,
    /// What a finding's key is, and so its partition. Records of one key stay in order.
    #[serde(default)]
    pub partition_by: PartitionBy,
    /// Largest record, without its headers. A finding that is larger goes without addresses of documents and long facts, and says so in
    /// `record.trimmed`; one that is still larger is a dead letter. librdkafka's `message.max.bytes` follows this key unless `settings` has
    /// it; the broker's `message.max.bytes` and the topic's `max.message.bytes` must allow as much.
    #[serde(default = "max_record_bytes")]
    pub max_record_bytes: Size<{ 64 * KIB }, { 64 * MIB }>,
    /// Writes in transactions, and keeps how far it is at the broker as well: whoever reads with `isolation.level = read_committed` sees each record
    /// once, also after the agent was killed. Without it a record can arrive again, byte for byte the same and with the same id. The broker must have
    /// transactions, and the user needs Read on the topics besides, Write on the transactional ids and Read on the groups that begin with
    /// `outflow-`. A store that was deleted is a new one, and begins anew; two agents must not have copies of one store.
    #[serde(default)]
    pub exactly_once: bool,
    /// Where records go that the broker will never take, too large or invalid, with the reason in the headers `outflow_dead_letter_*` and
    /// the first 32 KiB of the record. The store lists them in either case: `outflow findings deliveries`. Records of all streams of this
    /// sink go there. While the topic is missing, and the broker makes none, the sink waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<Topic>,
    /// Where each call to an LLM vendor goes that was seen, as an OCSF event of class 6003 without any text of prompts or answers; without it calls
    /// go nowhere. [CALLS.md](CALLS.md) has its fields. At least once, as findings; the key is the feature, else the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_topic: Option<Topic>,
    /// Where a short record of what each call used goes (tokens by kind, cost), for adding up: [CALLS.md](CALLS.md). As `calls_topic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_topic: Option<Topic>,
    /// How a record is written. A SIEM reads OCSF without a parser for us; our own format has every field by the name that the other outputs use.
    #[serde(default)]
    pub format: RecordFormat,
    /// Settings of librdkafka by their names (`"security.protocol"`, `"compression.type"`, `"linger.ms"`), as its CONFIGURATION.md lists
    /// them. What is read from a file or a variable is read whenever a producer is made; secrets must be, and do not stand here.
    /// The agent must be able to read the file as the user that it becomes. What the promise of this sink rests on is not
    /// changed here: `acks`, `enable.idempotence`, an end to the time for a message. What librdkafka counts of itself is read into metrics every
    /// five seconds ([METRICS.md](METRICS.md)); `"statistics.interval.ms" = 0` stops that.
    #[serde(default)]
    pub settings: BTreeMap<String, Setting>,
    /// Which findings go here; `[[sinks.kafka.only]]` may be given several times, and what one of them fits goes. Without any, all go.
    /// `[[sinks.kafka.except]]` has the same keys: what one of these fits does not go, though `only` fits. Both are there for every
    /// kind of sink. What does not go stays in the store, and is counted in `outflow_sink_withheld_total`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<FindingMatch>,
    /// Which of them do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<FindingMatch>,
    /// Most records that go here a minute. What is over it is not sent one by one: when the minute is over, one record with the rule
    /// `delivery.digest` tells how many there were, by rule and service. They are all in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_minute: Option<Count<1, 1_000_000>>,
}

impl KafkaSink {
    /// What the stream of calls is called in the store, in metrics and in messages, when there is one.
    pub fn calls_stream(&self) -> Option<String> {
        self.calls_topic.as_ref().map(|_| format!("{}/calls", self.name))
    }

    /// The same of what calls used.
    pub fn usage_stream(&self) -> Option<String> {
        self.usage_topic.as_ref().map(|_| format!("{}/usage", self.name))
    }

    /// Both.
    pub fn call_streams(&self) -> Vec<String> {
        self.calls_stream().into_iter().chain(self.usage_stream()).collect()
    }
}

/// An OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpSink {
    /// Name of the sink: its place in the store, in metrics and in messages. A new or changed name is a new sink: it begins with the first
    /// finding of the store.
    #[serde(default = "otlp_name")]
    pub name: SinkName,
    /// Where the collector is. `https` encrypts. With protocol `http`, `/v1/logs`, `/v1/metrics` and `/v1/traces` are added to its path.
    /// Where this key or one of `protocol`, `compression`, `headers`, `timeout` and the certificates is missing, what
    /// `OTEL_EXPORTER_OTLP_…` says in the agent's environment counts ([OTLP.md](OTLP.md#the-environment)); one of the two must name an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// How the collector is spoken to; each way has a port of its own. Without it and its variable, `grpc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<OtlpProtocol>,
    /// How requests are compressed. A collector that does not know it is sent plain ones from then on. Metrics are not compressed. Without it and its variable, `gzip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<OtlpCompression>,
    /// Headers of each request, by their names in lower case. `authorization`, keys, tokens and cookies must be read from a file or a
    /// variable; they are read whenever a connection is made, also after the collector refused them, but for metrics: when the agent starts. `{}` sends none, whatever the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, Setting>>,
    /// How long one request may take; what is not answered then is sent again. Without it and its variable, `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period<100, { 5 * MINUTE }>>,
    /// Certificates (PEM) that are trusted instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<AbsolutePath>,
    /// Our own certificate (PEM), for a collector that asks for one; needs `key_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<AbsolutePath>,
    /// The key (PEM) of the certificate in `cert_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<AbsolutePath>,
    /// Whether metrics are sent too: those of `docs/METRICS.md`, and tokens, durations and cost of the calls that were seen.
    #[serde(default = "yes")]
    pub metrics: bool,
    /// How often metrics are sent; totals count from the start, so nothing is lost between.
    #[serde(default = "metrics_interval")]
    pub metrics_interval: Period<SECOND, HOUR>,
    /// Whether each call that the tap sees is sent as a span too, without its text, below the span that the request names (`traceparent`).
    /// Names of their attributes are those of conventions that are still in development. Spans are not kept: what a collector
    /// does not take within six times `timeout` is dropped.
    #[serde(default)]
    pub traces: bool,
    /// Whether names go out too that are only proposed to the conventions for generative AI: `gen_ai.security.*` of findings,
    /// `gen_ai.usage.cost.*` of spans ([OTLP.md](OTLP.md#proposed-names)). They stand beside ours and may change with any version.
    #[serde(default)]
    pub experimental_names: bool,
    /// Which findings go here, as `[[sinks.kafka.only]]` says; without any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<FindingMatch>,
    /// Which of them do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<FindingMatch>,
    /// Most records that go here a minute; the others are told by one digest, as `sinks.kafka.max_per_minute` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_minute: Option<Count<1, 1_000_000>>,
}

impl KafkaSink {
    /// Which findings go there, and how many.
    pub fn flow(&self) -> Flow {
        Flow::new(&self.only, &self.except, self.max_per_minute)
    }
}

impl OtlpSink {
    /// Which findings go there, and how many.
    pub fn flow(&self) -> Flow {
        Flow::new(&self.only, &self.except, self.max_per_minute)
    }
}

impl Sinks {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.names().len()
    }

    /// The kind, place in its list, and name of each.
    pub(super) fn names(&self) -> Vec<(&'static str, usize, &SinkName)> {
        let mut names = each("kafka", &self.kafka, |sink| &sink.name);
        names.extend(each("otlp", &self.otlp, |sink| &sink.name));
        names.extend(each("file", &self.file, |sink| &sink.name));
        names.extend(each("webhook", &self.webhook, |sink| &sink.name));
        names.extend(each("syslog", &self.syslog, |sink| &sink.name));
        names
    }

    /// The kind, place in its list, and rules of each.
    pub(super) fn flows(&self) -> Vec<(&'static str, usize, Flow)> {
        let mut flows = each("kafka", &self.kafka, KafkaSink::flow);
        flows.extend(each("otlp", &self.otlp, OtlpSink::flow));
        flows.extend(each("file", &self.file, FileSink::flow));
        flows.extend(each("webhook", &self.webhook, WebhookSink::flow));
        flows.extend(each("syslog", &self.syslog, SyslogSink::flow));
        flows
    }
}

fn each<'a, S, T>(kind: &'static str, sinks: &'a [S], of: impl Fn(&'a S) -> T) -> Vec<(&'static str, usize, T)> {
    sinks.iter().enumerate().map(|(index, sink)| (kind, index, of(sink))).collect()
}

fn kafka_name() -> SinkName {
    SinkName::fixed("kafka")
}

fn otlp_name() -> SinkName {
    SinkName::fixed("otlp")
}

fn topic() -> Topic {
    Topic::fixed("outflow.findings")
}

fn max_record_bytes() -> Size<{ 64 * KIB }, { 64 * MIB }> {
    Size::from_bytes(900 * KIB)
}

fn yes() -> bool {
    true
}

fn metrics_interval() -> Period<SECOND, HOUR> {
    Period::from_millis(MINUTE)
}

/// How a record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecordFormat {
    /// OCSF 1.8.0, which a SIEM reads; `docs/OCSF.md`.
    #[default]
    Ocsf,
    /// Our own JSON, `docs/schema/finding-v1.json`.
    Native,
    /// The Elastic Common Schema, for Elasticsearch; `docs/ECS.md`.
    Ecs,
}

/// What decides on the partition of a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartitionBy {
    /// The finding's id: a compacted topic keeps the last state of each.
    #[default]
    Finding,
    /// The host's machine id, else its name: all of one host in order. A compacted topic would keep one finding of each host.
    Host,
    /// The feature, else the service, else the finding's id: all of one feature in one place; not for a compacted topic either.
    Feature,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OtlpProtocol {
    /// OTLP over gRPC, mostly on port 4317.
    #[default]
    Grpc,
    /// OTLP over HTTP with protobuf, mostly on port 4318.
    Http,
}

/// How requests to a collector are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OtlpCompression {
    /// With gzip.
    #[default]
    Gzip,
    /// With zstd.
    Zstd,
    /// Not at all.
    None,
}

/// A value of somebody else's setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// As it stands.
    Text(String),
    /// What a file holds, without the line feed at its end.
    File(AbsolutePath),
    /// What a variable of the agent's environment holds.
    Env(String),
}

/// Why a setting has no value.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The file cannot be read.
    #[error("cannot read {file}: {why}")]
    File {
        /// Which.
        file: AbsolutePath,
        /// Why.
        why: String,
    },
    /// There is no such variable.
    #[error("the environment has no variable {0}")]
    Env(String),
}

/// No secret and no bundle of certificates is longer; a wrong path must not read a disk into memory.
const VALUE_BYTES_MAX: u64 = 1 << 20;

impl Setting {
    /// Its value now. Files and variables are read anew each time, so that a secret can be changed.
    pub fn value(&self) -> Result<String, SettingError> {
        use std::io::Read as _;
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Env(name) => std::env::var(name).map_err(|_| SettingError::Env(name.clone())),
            Self::File(file) => {
                let failed = |why: String| SettingError::File { file: file.clone(), why };
                let mut text = String::new();
                let opened = std::fs::File::open(file.get()).map_err(|error| failed(error.to_string()))?;
                opened
                    .take(VALUE_BYTES_MAX + 1)
                    .read_to_string(&mut text)
                    .map_err(|error| failed(error.to_string()))?;
                if text.len() as u64 > VALUE_BYTES_MAX {
                    return Err(failed(format!("it is larger than {VALUE_BYTES_MAX} bytes")));
                }
                Ok(text.trim_end_matches(['\n', '\r']).to_owned())
            }
        }
    }

    fn form() -> String {
        "text, a number, `true` or `false`, { file = \"/path\" } or { env = \"NAME\" }".to_owned()
    }
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let from = |serializer: S, name: &str, value: &dyn fmt::Display| {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(name, &value.to_string())?;
            map.end()
        };
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::File(file) => from(serializer, "file", file),
            Self::Env(name) => from(serializer, "env", name),
        }
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Setting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&Setting::form())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Setting, E> {
                Ok(Setting::Text(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Setting, E> {
                Ok(Setting::Text(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Setting, E> {
                Ok(Setting::Text(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Setting, E> {
                Ok(Setting::Text(number.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Setting, A::Error> {
                let refused = || de::Error::custom(format_args!("must be {}", Setting::form()));
                let setting = match map.next_key::<String>()?.as_deref() {
                    Some("file") => Setting::File(map.next_value()?),
                    Some("env") => Setting::Env(map.next_value()?),
                    _ => return Err(refused()),
                };
                if map.next_key::<String>()?.is_some() { Err(refused()) } else { Ok(setting) }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Setting {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Setting".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-form": Self::form() })
    }
}

/// Is this the name of a value that nobody should read over a shoulder? Such a one must come from a file or a variable.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = [
        "password",
        "passphrase",
        "secret",
        "key.pem",
        "oauthbearer.config",
        "token",
        "private.key",
        "assertion.private",
    ];
    words.iter().any(|word| name.contains(word))
}

/// The same of a header: vendors call their keys many things.
pub(super) fn is_secret_header(name: &str) -> bool {
    let words = ["auth", "cookie", "dsn", "key", "license", "password", "secret", "team", "token"];
    words.iter().any(|word| name.contains(word))
}
