//! Findings as documents of the Elastic Common Schema, for Elasticsearch and whatever reads it. Enters: a [`Finding`] and the [`Host`] it was made
//! on. Leaves: one document as JSON text, the same bytes for the same two, always. It says nothing that the finding does not say, reads no
//! clock and draws no random number.
//!
//! Fields that ECS has stand under its names, nested as Elasticsearch shows them; what it has no place for is under `outflow`. `docs/ECS.md` has
//! the mapping field by field, and `tests/it/ecs` holds it against the list of ECS.

use serde_json::{Map, Value, json};

use super::{Host, gen_ai, names, ocsf::Endpoint};
use crate::{
    exchange::CostSource,
    findings::{Category, Destination, Finding, Location, Process},
    units::{Severity, Timestamp},
};

/// The version of ECS that documents follow. The fields that they use are in 8.11 and later, and in 9.
pub const ECS_VERSION: &str = "9.4.0";

/// Name of the data set, for a data stream of it.
const DATASET: &str = "outflow.finding";

/// A finding of this host as one document, one line of JSON. An error: the finding's times are no times, so it was not made here.
pub fn encode(finding: &Finding, host: &Host) -> Result<String, serde_json::Error> {
    use serde::ser::Error as _;
    for time in [&finding.first_seen, &finding.last_seen] {
        if Timestamp::parse(time).is_none() {
            let error = format!("{time:?} is no time: this is no finding of Outflow's");
            return Err(serde_json::Error::custom(error));
        }
    }
    let mut document = Document::default();
    head(&mut document, finding);
    who(&mut document, &finding.process, host);
    if let Some(destination) = &finding.destination {
        whom(&mut document, destination, host);
    }
    if let Some(location) = &finding.location {
        place(&mut document, location);
    }
    details(&mut document, finding);
    serde_json::to_string(&document.0)
}

/// A document that grows; names have dots between objects.
#[derive(Default)]
struct Document(Map<String, Value>);

impl Document {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        let mut parts = name.split('.').peekable();
        let mut map = &mut self.0;
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                map.insert(part.to_owned(), value.into());
                return;
            }
            let inner = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = inner else { return };
            map = inner;
        }
    }

    /// The same when it is known.
    fn set_some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    fn set_text(&mut self, name: &str, text: &str) {
        self.set_some(name, Some(text).filter(|text| !text.is_empty()));
    }
}

fn head(document: &mut Document, finding: &Finding) {
    let rule = &finding.rule;
    let (category, kind) = classes(finding);
    document.set("@timestamp", finding.last_seen.as_str());
    document.set("ecs.version", ECS_VERSION);
    document.set("message", finding.title.as_str());
    document.set("log.level", finding.severity.as_str());
    document.set("agent.type", "outflow");
    document.set("agent.version", env!("CARGO_PKG_VERSION"));
    document.set("event.kind", "alert");
    document.set("event.category", category);
    document.set("event.type", [kind].as_slice());
    document.set("event.action", format!("finding-{}", finding.activity.as_str()));
    document.set("event.code", rule.id.as_str());
    document.set("event.dataset", DATASET);
    document.set("event.module", "outflow");
    document.set("event.provider", "outflow");
    document.set("event.id", finding.record_id.as_str());
    document.set("event.sequence", finding.revision);
    document.set("event.severity", severity(finding.severity));
    document.set("event.start", finding.first_seen.as_str());
    document.set("event.end", finding.last_seen.as_str());
    document.set_text("event.reason", &finding.remedy);
    document.set("rule.id", rule.id.as_str());
    document.set("rule.name", rule.title.as_str());
    document.set("rule.category", finding.category.as_str());
    document.set_some("rule.ruleset", finding.group.as_deref());
    document.set_some("rule.reference", rule.references.first().map(String::as_str));
}

/// ECS's categories of a finding, and the type that all of them allow.
fn classes(finding: &Finding) -> (&'static [&'static str], &'static str) {
    let changes = ["model.resolved_changed", "model.flapping", "model.substituted", "model.fallback"];
    match finding.category {
        Category::Leak if finding.destination.is_some() => (&["intrusion_detection", "network"], "info"),
        Category::Leak => (&["intrusion_detection", "file"], "info"),
        Category::Model if changes.contains(&finding.rule.id.as_str()) => (&["configuration"], "change"),
        Category::Model => (&["configuration"], "info"),
        Category::Coverage => (&["host"], "info"),
        Category::Cost
        | Category::Agent
        | Category::Tool
        | Category::Retrieval
        | Category::Vendor
        | Category::Output => (&["api"], "info"),
    }
}

/// The steps that Elastic's own rules give to these words (elastic.co/guide, "Create a detection rule", default risk score).
fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 1,
        Severity::Low => 21,
        Severity::Medium => 47,
        Severity::High => 73,
        Severity::Critical => 99,
    }
}

fn who(document: &mut Document, process: &Process, host: &Host) {
    document.set("host.name", host.name.as_str());
    document.set("host.hostname", host.name.as_str());
    document.set_some("host.id", host.id.as_deref());
    document.set("related.hosts", [host.name.as_str()].as_slice());
    if let Some(cloud) = &host.cloud {
        document.set("cloud.provider", cloud.provider.as_str());
        document.set_some("cloud.region", cloud.region.as_deref());
        document.set_some("cloud.availability_zone", cloud.zone.as_deref());
        document.set_some("cloud.account.id", cloud.account.as_deref());
    }
    document.set_text("service.name", &process.service);
    document.set_some("process.pid", Some(process.pid).filter(|pid| *pid != 0));
    document.set_text("process.name", &process.name);
    document.set_some("container.id", process.container.as_deref());
    if process.pod.is_some() || process.kubernetes.is_some() {
        document.set("orchestrator.type", "kubernetes");
        document.set("orchestrator.resource.type", "pod");
    }
    document.set_some("orchestrator.resource.id", process.pod.as_deref());
    if let Some(kubernetes) = &process.kubernetes {
        document.set_text("orchestrator.namespace", &kubernetes.namespace);
        document.set_text("orchestrator.resource.name", &kubernetes.pod);
        document.set_text("container.name", &kubernetes.container);
    }
    document.set_some("outflow.feature", process.feature.as_deref());
    document.set_some("outflow.process.unit", process.unit.as_deref());
}

fn whom(document: &mut Document, destination: &Destination, host: &Host) {
    document.set_some(names::OPERATION, gen_ai::operation_name(&destination.api));
    document.set("outflow.destination.api", destination.api.as_str());
    document.set_some("outflow.destination.vendor", destination.vendor.as_deref());
    document.set_some("service.target.name", destination.vendor.as_deref());
    let Some(endpoint) = Endpoint::new(destination) else { return };
    document.set("destination.address", endpoint.address().to_string());
    document.set_some("destination.domain", endpoint.hostname);
    document.set_some("destination.ip", endpoint.ip.map(|ip| ip.to_string()));
    document.set_some("destination.port", endpoint.port);
    if let Some(domain) = endpoint.hostname.filter(|domain| *domain != host.name) {
        document.set("related.hosts", [host.name.as_str(), domain].as_slice());
    }
    document.set_some("related.ip", endpoint.ip.map(|ip| vec![ip.to_string()]));
}

fn place(document: &mut Document, location: &Location) {
    if let Some(path) = location.file.as_deref() {
        let name = path.rsplit('/').next().unwrap_or(path);
        let extension = name.rsplit_once('.').filter(|(stem, end)| !stem.is_empty() && !end.is_empty());
        document.set("file.path", path);
        document.set_text("file.name", name);
        document.set_some("file.extension", extension.map(|(_, end)| end));
        document.set("file.type", "file");
        document.set("log.file.path", path);
    }
    document.set_some("log.offset", location.byte_offset);
    document.set_some("outflow.location.side", location.side.map(|side| json!(side)));
    document.set_some("outflow.location.json_path", location.path.as_deref());
    document.set_some("outflow.location.line", location.line);
    document.set("outflow.location.start", location.start);
    document.set("outflow.location.end", location.end);
}

fn details(document: &mut Document, finding: &Finding) {
    if let Some(model) = &finding.model {
        document.set_some(names::REQUEST_MODEL, model.requested.as_deref());
        document.set_some(names::RESPONSE_MODEL, model.resolved.as_deref());
    }
    document.set("outflow.schema_version", finding.schema_version);
    document.set("outflow.finding.id", finding.finding_id.as_str());
    document.set("outflow.finding.confidence", finding.confidence);
    document.set("outflow.finding.count", finding.count);
    document.set_some("outflow.finding.entity", finding.entity.as_deref());
    document.set_some("outflow.evidence.excerpt", finding.excerpt.as_ref().map(|excerpt| json!(excerpt)));
    if let Some(fingerprint) = &finding.fingerprint {
        document.set("outflow.evidence.fingerprint.value", fingerprint.value.as_str());
        document.set("outflow.evidence.fingerprint.key_id", fingerprint.key_id.as_str());
        document.set("related.hash", [fingerprint.value.as_str()].as_slice());
    }
    if let Some(coverage) = &finding.coverage {
        document.set("outflow.coverage.scanned_bytes", coverage.scanned_bytes);
        document.set("outflow.coverage.total_bytes", coverage.total_bytes);
    }
    document.set_some("outflow.cost.nano_usd", finding.cost_nano_usd.map(|cost| cost.0));
    document.set_some("outflow.cost.source", finding.cost_source.map(CostSource::as_str));
    let references = finding.rule.references.as_slice();
    document.set_some("outflow.rule.references", Some(references).filter(|references| references.len() > 1));
    let facts: Map<String, Value> = finding
        .attributes
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    document.set_some("outflow.attributes", Some(facts).filter(|facts| !facts.is_empty()));
}
