//! A finding as every output writes it: `docs/schema/finding-v1.json` is generated from these types. It never holds matched
//! text: the excerpt is masked, the fingerprint is keyed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{absorb::record_id, fingerprint::Fingerprint, mask::Excerpt};
use crate::{
    exchange::CostSource,
    units::{NanoUsd, Severity},
};

/// Version of the shape; grows when a reader must change.
pub const SCHEMA_VERSION: u32 = 1;

/// OpenTelemetry event name of a finding.
pub const FINDING_EVENT: &str = "outflow.finding";

/// One thing that should be known: leaked data, a model that can change, money that nobody counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Outflow finding")]
pub struct Finding {
    /// Version of this shape.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    pub schema_version: u32,
    /// Always `outflow.finding`.
    #[schemars(extend("const" = FINDING_EVENT))]
    pub event_name: String,
    /// The same for all repeats, also on another day and in another process: 32 hexadecimal digits.
    #[schemars(regex(pattern = "^[0-9a-f]{32}$"))]
    pub finding_id: String,
    /// `finding_id` and revision: the same record sent twice has the same.
    #[schemars(regex(pattern = "^[0-9a-f]{32}-[0-9]+$"))]
    pub record_id: String,
    /// 1 for the first record of a finding, one more for each that replaces it.
    #[schemars(range(min = 1))]
    pub revision: u32,
    /// What this record does.
    pub activity: Activity,
    /// The rule that found it.
    pub rule: Rule,
    /// What was found, Presidio's name where there is one; absent for behaviour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// Which rules found it, by the name of their file: `llm`, `national`; absent for behaviour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Which kind of trouble.
    pub category: Category,
    /// How grave.
    pub severity: Severity,
    /// How sure, 0 to 100.
    #[schemars(range(max = 100))]
    pub confidence: u8,
    /// One line for people.
    pub title: String,
    /// What to do about it.
    pub remedy: String,
    /// Keyed hash of what matched; absent for the behaviour of calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Masked window around what matched, at most 80 characters; absent for behaviour.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 80))]
    pub excerpt: Option<Excerpt>,
    /// Where it matched, in the newest occurrence, in a scan of files in the first; absent for the behaviour of calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// Who did it.
    pub process: Process,
    /// To whom; absent in a log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// Which model; absent where no call and no model's id is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// What the calls with this finding cost so far, in billionths of a US dollar; absent when no price is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nano_usd: Option<NanoUsd>,
    /// Where the cost figure comes from: of several, the least certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<CostSource>,
    /// How much of the newest call was seen; absent in a log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Occurrences so far.
    #[schemars(range(min = 1))]
    pub count: u64,
    /// First occurrence, RFC 3339 in UTC.
    #[schemars(extend("format" = "date-time"))]
    pub first_seen: String,
    /// Newest occurrence, RFC 3339 in UTC.
    #[schemars(extend("format" = "date-time"))]
    pub last_seen: String,
    /// Facts of behaviour, by name: `model.pin_class`, `cost.reason`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub attributes: BTreeMap<String, serde_json::Value>,
}

impl Finding {
    /// The first record of a finding that the agent makes of its own accord, not of a hit: about itself, or about what it could not see. All else is
    /// empty; the rule's words come from [`Policy::describe`](super::Policy::describe).
    pub(crate) fn of_agent(id: String, category: Category, process: Process, at: (String, String)) -> Self {
        let (first_seen, last_seen) = at;
        Self {
            schema_version: SCHEMA_VERSION,
            event_name: FINDING_EVENT.to_owned(),
            record_id: record_id(&id, 1),
            finding_id: id,
            revision: 1,
            activity: Activity::Create,
            rule: Rule { id: String::new(), title: String::new(), references: Vec::new() },
            entity: None,
            group: None,
            category,
            severity: Severity::Info,
            confidence: 100,
            title: String::new(),
            remedy: String::new(),
            fingerprint: None,
            excerpt: None,
            location: None,
            process,
            destination: None,
            model: None,
            cost_nano_usd: None,
            cost_source: None,
            coverage: None,
            count: 1,
            first_seen,
            last_seen,
            attributes: BTreeMap::new(),
        }
    }
}

impl Process {
    /// The agent itself. No process id, as of a log: what counts is the host.
    pub(crate) fn of_agent() -> Self {
        Self {
            pid: 0,
            name: "outflow".to_owned(),
            service: "outflow".to_owned(),
            container: None,
            pod: None,
            unit: None,
            kubernetes: None,
            feature: None,
        }
    }
}

/// What a record of a finding does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// The first record of a finding.
    Create,
    /// Counts went up.
    Update,
    /// The trouble is over.
    Close,
}

impl Activity {
    /// The word that every output uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Close => "close",
        }
    }
}

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Data that should not have left.
    Leak,
    /// A model that can change, did, or ends.
    Model,
    /// Money.
    Cost,
    /// An agent that goes round in circles.
    Agent,
    /// A tool, or a server of tools, that is slow, fails or hangs.
    Tool,
    /// What is looked up for prompts: stale, empty, or by another model than it was stored with.
    Retrieval,
    /// A vendor that fails, throttles or slows down.
    Vendor,
    /// Answers that are refused, filtered, cut off or not readable.
    Output,
    /// Something that could not be looked at.
    Coverage,
}

impl Category {
    /// The kind of trouble of a behaviour: rules of behaviour begin with its word, `cost.budget`.
    pub fn of_behaviour(rule: &str) -> Self {
        match rule.split('.').next() {
            Some("cost") => Self::Cost,
            Some("agent") => Self::Agent,
            Some("tool") => Self::Tool,
            Some("retrieval") => Self::Retrieval,
            Some("vendor") => Self::Vendor,
            Some("output") => Self::Output,
            _ => Self::Model,
        }
    }

    /// The word that every output uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Model => "model",
            Self::Cost => "cost",
            Self::Agent => "agent",
            Self::Tool => "tool",
            Self::Retrieval => "retrieval",
            Self::Vendor => "vendor",
            Self::Output => "output",
            Self::Coverage => "coverage",
        }
    }
}

/// The rule behind a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Stable id, `secret.openai-api-key` or `model.unpinned`.
    pub id: String,
    /// What it looks for.
    pub title: String,
    /// Addresses of the documents behind it.
    pub references: Vec<String>,
}

/// Where a match stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Location {
    /// Which half of the exchange; absent in a log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<HalfName>,
    /// JSON path of the text; in a log where the line is a JSON document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Log file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line of the file in which the match begins, 1-based, in decompressed data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Position of the match's first byte in the file, 0-based, in decompressed data; absent in a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte_offset: Option<u64>,
    /// First byte of the match, 0-based: in the decoded text at `path`, in a log in its line.
    pub start: u64,
    /// First byte after it, counted from the same place: past the line's end when the match goes on over several lines.
    pub end: u64,
}

/// Halves of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HalfName {
    /// What was sent.
    Request,
    /// What came back.
    Response,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Process id of the newest occurrence; 0 when there was no process (replay, a log).
    pub pid: u32,
    /// Name of the executable.
    pub name: String,
    /// What the process is for.
    pub service: String,
    /// Container id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Uid of the Kubernetes pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Systemd unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The container in Kubernetes, when the path of its log names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// Part of the service that asked, as the call or the operator names it (`[attribution]`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
}

/// A container, by its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kubernetes {
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// Its name in the pod.
    pub container: String,
}

/// To whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Destination {
    /// Host name.
    pub host: String,
    /// Vendor id, or the kind of a server at home (`ollama`); absent for a host that nothing is known of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Kind of call: `chat_completions`, `responses`, `messages`, `generate_content`, `converse`, `embeddings`, `realtime`,
    /// `mcp_streamable_http` and so on; `other` when it was not understood.
    pub api: String,
}

/// Which model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// What the request asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<String>,
    /// What the answer says it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
}

/// How much of a call was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Bytes of both bodies that were scanned.
    pub scanned_bytes: u64,
    /// Bytes of both bodies.
    pub total_bytes: u64,
}

/// The JSON schema of [`Finding`], as `docs/schema/finding-v1.json` holds it.
pub fn finding_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Finding);
    schema.insert("$id".to_owned(), "urn:outflow:schema:finding-v1".into());
    schema.to_value()
}
