//! Records as OTLP log records. Enters: records and the host. Leaves: one request. Pure: the same record on the same host is the same bytes,
//! today and when it is sent again. The body is the finding's title, which `findings` made of rules, hosts and names that may be shown;
//! the masked excerpt is an attribute. Nothing else of a text is there to be sent.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};
use serde_json::Value as Json;

use super::names;
use crate::{
    exchange::CostSource,
    findings::{Destination, Excerpt, FINDING_EVENT, Finding, HalfName, Kubernetes, Location, Process},
    sinks::{Host, Record, gen_ai},
    units::{Severity, Timestamp},
};

/// Name of the scope that log records and metrics come from; its version is the agent's.
pub const SCOPE: &str = "outflow";

/// Nesting of a fact from which on it is left out.
const DEPTH_MAX: usize = 8;

/// Attributes of most findings, besides their facts.
const FIELDS: usize = 32;

/// A service without a name (resource conventions, `service.name`).
const UNKNOWN_SERVICE: &str = "unknown_service";

/// All records as one request, in their order within each service; with names that are only proposed to the conventions, if asked for.
pub fn request<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    host: &Host,
    experimental_names: bool,
) -> ExportLogsServiceRequest {
    let mut groups: Vec<(&Process, Vec<LogRecord>)> = Vec::new();
    for record in records {
        let process = &record.finding.process;
        match groups.iter_mut().find(|(other, _)| is_one_resource(other, process)) {
            Some((_, group)) => group.push(log_record(record, experimental_names)),
            None => groups.push((process, vec![log_record(record, experimental_names)])),
        }
    }
    let resource_logs = groups.into_iter().map(|(process, log_records)| ResourceLogs {
        resource: Some(resource(process, host)),
        scope_logs: vec![ScopeLogs { scope: Some(scope()), log_records, schema_url: names::SCHEMA_URL.to_owned() }],
        schema_url: String::new(),
    });
    ExportLogsServiceRequest { resource_logs: resource_logs.collect() }
}

/// What sends.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// Whether [`resource`] says the same of both.
pub(super) fn is_one_resource(one: &Process, other: &Process) -> bool {
    (&one.service, &one.container, &one.pod, &one.kubernetes)
        == (&other.service, &other.container, &other.pod, &other.kubernetes)
}

/// Who the finding, or the call, is about. The process id is none of it: it would make a resource of every run.
pub(super) fn resource(process: &Process, host: &Host) -> Resource {
    let service = if process.service.is_empty() { UNKNOWN_SERVICE } else { &process.service };
    let mut fields = Fields::default();
    fields.text(names::SERVICE, service);
    for (name, value) in names::of_host(host) {
        fields.text(name, value);
    }
    fields.some(names::CONTAINER, process.container.as_deref());
    fields.some(names::POD, process.pod.as_deref());
    if let Some(Kubernetes { namespace, pod, container }) = &process.kubernetes {
        fields.text(names::NAMESPACE, namespace);
        fields.text(names::POD_NAME, pod);
        fields.text(names::CONTAINER_NAME, container);
    }
    Resource { attributes: fields.0, ..Resource::default() }
}

/// One record. Event time and observed time are both the newest occurrence: the time of sending would make other bytes of it each time.
pub fn log_record(record: &Record, experimental_names: bool) -> LogRecord {
    let finding = &record.finding;
    let time_unix_nano = Timestamp::parse(&finding.last_seen).unwrap_or_default().0;
    LogRecord {
        time_unix_nano,
        observed_time_unix_nano: time_unix_nano,
        severity_number: severity(finding.severity).into(),
        severity_text: finding.severity.as_str().to_owned(),
        body: Some(text(&finding.title)),
        attributes: attributes(record, experimental_names),
        event_name: FINDING_EVENT.to_owned(),
        ..LogRecord::default()
    }
}

/// Alarms are from ERROR on. Critical is ERROR2, as syslog's is (logs data model, appendix B); FATAL is for what ends a program.
fn severity(severity: Severity) -> SeverityNumber {
    match severity {
        Severity::Info => SeverityNumber::Info,
        Severity::Low => SeverityNumber::Warn,
        Severity::Medium => SeverityNumber::Warn2,
        Severity::High => SeverityNumber::Error,
        Severity::Critical => SeverityNumber::Error2,
    }
}

fn attributes(record: &Record, experimental_names: bool) -> Vec<KeyValue> {
    let Finding { rule, fingerprint, excerpt, location, process, destination, model, coverage, .. } = &record.finding;
    let finding = &record.finding;
    let mut fields = Fields(Vec::with_capacity(FIELDS + finding.attributes.len()));
    fields.text(names::FINDING_ID, &finding.finding_id);
    fields.text(names::RECORD_ID, &record.record_id);
    fields.count(names::REVISION, u64::from(finding.revision));
    fields.text(names::ACTIVITY, finding.activity.as_str());
    fields.text(names::RULE_ID, &rule.id);
    fields.text(names::RULE_TITLE, &rule.title);
    if !rule.references.is_empty() {
        let values = rule.references.iter().map(|reference| text(reference)).collect();
        fields.put(names::RULE_REFERENCES, Value::ArrayValue(ArrayValue { values }));
    }
    fields.some(names::ENTITY, finding.entity.as_deref());
    fields.some(names::GROUP, finding.group.as_deref());
    fields.text(names::CATEGORY, finding.category.as_str());
    fields.count(names::CONFIDENCE, u64::from(finding.confidence));
    fields.count(names::COUNT, finding.count);
    fields.text(names::FIRST_SEEN, &finding.first_seen);
    fields.text(names::LAST_SEEN, &finding.last_seen);
    fields.text(names::REMEDY, &finding.remedy);
    fields.some(names::FINGERPRINT, fingerprint.as_ref().map(|print| print.value.as_str()));
    fields.some(names::FINGERPRINT_KEY, fingerprint.as_ref().map(|print| print.key_id.as_str()));
    fields.some(names::EXCERPT, excerpt.as_ref().map(Excerpt::as_str));
    if let Some(location) = location {
        fields.location(location);
    }
    if let Some(coverage) = coverage {
        fields.count(names::SCANNED, coverage.scanned_bytes);
        fields.count(names::TOTAL, coverage.total_bytes);
    }
    if let Some(cost) = finding.cost_nano_usd {
        fields.count(names::COST, cost.0);
    }
    fields.some(names::COST_SOURCE, finding.cost_source.map(CostSource::as_str));
    if let Some(destination) = destination {
        fields.destination(destination);
    }
    if let Some(model) = model {
        fields.some(names::REQUEST_MODEL, model.requested.as_deref());
        fields.some(names::RESPONSE_MODEL, model.resolved.as_deref());
    }
    if process.pid != 0 {
        fields.count(names::PID, u64::from(process.pid));
    }
    fields.some(names::EXECUTABLE, Some(process.name.as_str()).filter(|name| !name.is_empty()));
    fields.some(names::FEATURE, process.feature.as_deref());
    fields.some(names::UNIT, process.unit.as_deref());
    if experimental_names {
        fields.text(names::PROPOSED_FINDING, &finding.finding_id);
        fields.text(names::PROPOSED_RULE, &rule.id);
        fields.text(names::PROPOSED_CATEGORY, finding.category.as_str());
    }
    for (name, fact) in &finding.attributes {
        if let Some(AnyValue { value: Some(value) }) = any(fact, 0) {
            fields.put(&format!("{}{name}", names::FACT), value);
        }
    }
    fields.0
}

/// Attributes in the making.
#[derive(Default)]
struct Fields(Vec<KeyValue>);

impl Fields {
    fn put(&mut self, name: &str, value: Value) {
        self.0.push(KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 });
    }

    fn text(&mut self, name: &str, value: &str) {
        self.put(name, Value::StringValue(value.to_owned()));
    }

    fn some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// OTLP has no unsigned numbers; beyond 2^63 no count of ours goes.
    fn count(&mut self, name: &str, value: u64) {
        self.put(name, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn location(&mut self, location: &Location) {
        let side = location.side.map(|side| match side {
            HalfName::Request => "request",
            HalfName::Response => "response",
        });
        self.some(names::SIDE, side);
        self.some(names::JSON_PATH, location.path.as_deref());
        self.some(names::FILE, location.file.as_deref());
        if let Some(line) = location.line {
            self.count(names::LINE, line);
        }
        if let Some(offset) = location.byte_offset {
            self.count(names::BYTE_OFFSET, offset);
        }
        self.count(names::START, location.start);
        self.count(names::END, location.end);
    }

    fn destination(&mut self, destination: &Destination) {
        self.some(names::OPERATION, gen_ai::operation_name(&destination.api));
        self.some(names::PROVIDER, destination.vendor.as_deref().map(gen_ai::provider_name));
        self.text(names::API, &destination.api);
        let (address, port) = split_port(&destination.host);
        self.text(names::SERVER_ADDRESS, address);
        if let Some(port) = port {
            self.count(names::SERVER_PORT, u64::from(port));
        }
    }
}

/// Host and port of `host:port`; an IPv6 address has its port behind a bracket.
pub(super) fn split_port(host: &str) -> (&str, Option<u16>) {
    let split = host.rsplit_once(':').and_then(|(address, port)| Some((address, port.parse().ok()?)));
    match split {
        Some((address, port)) if !address.contains(':') || address.ends_with(']') => (address, Some(port)),
        _ => (host, None),
    }
}

fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.to_owned())) }
}

/// A fact, whatever its shape.
fn any(fact: &Json, depth: usize) -> Option<AnyValue> {
    if depth > DEPTH_MAX {
        return None;
    }
    let value = match fact {
        Json::Null => return None,
        Json::Bool(value) => Value::BoolValue(*value),
        Json::String(value) => Value::StringValue(value.clone()),
        Json::Number(value) => match value.as_i64() {
            Some(value) => Value::IntValue(value),
            None => Value::DoubleValue(value.as_f64()?),
        },
        Json::Array(values) => {
            let values = values.iter().filter_map(|value| any(value, depth + 1)).collect();
            Value::ArrayValue(ArrayValue { values })
        }
        Json::Object(members) => {
            let member = |(key, value): (&String, &Json)| KeyValue {
                key: key.clone(),
                value: any(value, depth + 1),
                ..KeyValue::default()
            };
            Value::KvlistValue(KeyValueList { values: members.iter().map(member).collect() })
        }
    };
    Some(AnyValue { value: Some(value) })
}
