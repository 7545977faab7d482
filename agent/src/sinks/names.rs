//! All names of OpenTelemetry's that sinks use, in one table. Enters: nothing. Leaves: names, and what each says, for encoders and for
//! `docs/OTLP.md`. Names of the semantic conventions are used where there is one that is not about to change; the rest is `outflow.*`, and ours.
//! The conventions for generative AI are in development (they moved to a repository of their own with 1.42), so those of metrics, which have units and buckets of their own, are in `genai.rs`.

use super::Host;

/// The conventions that the `gen_ai.*` names are taken from.
pub(in crate::sinks) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/gen-ai/1.42.0";

/// Facts of a finding have names of their own behind this.
pub(in crate::sinks) const FACT: &str = "outflow.fact.";

macro_rules! names {
    ($(#[$about:meta])* $list:ident: $($constant:ident = $name:literal: $says:literal,)*) => {
        $(#[doc = $says] pub(in crate::sinks) const $constant: &str = $name;)*

        $(#[$about])*
        pub(in crate::sinks) const $list: &[(&str, &str)] = &[$(($name, $says),)*];
    };
}

names! {
    /// Every name of a finding and what it says, in the order of the record.
    ALL:
    FINDING_ID = "outflow.finding.id": "The same for all repeats of a finding",
    RECORD_ID = "outflow.finding.record_id": "Finding id and revision: the key to drop duplicates by",
    REVISION = "outflow.finding.revision": "1 for the first record of a finding, one more for each that replaces it",
    ACTIVITY = "outflow.finding.activity": "`create`, `update` or `close`",
    RULE_ID = "outflow.finding.rule.id": "The rule that found it",
    RULE_TITLE = "outflow.finding.rule.title": "What the rule looks for",
    RULE_REFERENCES = "outflow.finding.rule.references": "Addresses of the documents behind the rule",
    ENTITY = "outflow.finding.entity": "What was found, as Presidio calls it; absent for behaviour",
    GROUP = "outflow.finding.group": "Which rules found it: `llm`, `national`; absent for behaviour",
    CATEGORY = "outflow.finding.category": "`leak`, `model`, `cost`, `agent`, `tool`, `retrieval`, `vendor`, `output` or `coverage`",
    CONFIDENCE = "outflow.finding.confidence": "How sure, 0 to 100",
    COUNT = "outflow.finding.count": "Occurrences so far",
    FIRST_SEEN = "outflow.finding.first_seen": "First occurrence, RFC 3339 in UTC",
    LAST_SEEN = "outflow.finding.last_seen": "Newest occurrence, RFC 3339 in UTC; also the record's time",
    REMEDY = "outflow.finding.remedy": "What to do about it",
    FINGERPRINT = "outflow.evidence.fingerprint.value": "Keyed hash of what matched; equal leaks have equal ones",
    FINGERPRINT_KEY = "outflow.evidence.fingerprint.key_id": "Which key the fingerprint was made with",
    EXCERPT = "outflow.evidence.excerpt": "Masked window around what matched, at most 80 characters",
    SIDE = "outflow.location.side": "`request` or `response`; absent in a log",
    JSON_PATH = "outflow.location.json_path": "JSON path of the text; in a log where the line is a JSON document",
    FILE = "log.file.path": "Log file",
    LINE = "outflow.location.line": "Line in the log file, 1-based",
    BYTE_OFFSET = "outflow.location.byte_offset": "First byte of the match in the log file, 0-based",
    START = "outflow.location.start": "First byte of the match in the text or the line, 0-based",
    END = "outflow.location.end": "First byte after the match",
    SCANNED = "outflow.coverage.scanned_bytes": "Bytes of the newest call that were scanned",
    TOTAL = "outflow.coverage.total_bytes": "Bytes of the newest call",
    COST = "outflow.cost.nano_usd": "What the calls cost so far, in billionths of a US dollar",
    COST_SOURCE = "outflow.cost.source": "`provider`, `override`, `catalogue` or `estimated`",
    OPERATION = "gen_ai.operation.name": "`chat`, `embeddings` or `count_tokens`; absent for other calls",
    PROVIDER = "gen_ai.provider.name": "The vendor, as the conventions name it; absent for an unlisted host",
    REQUEST_MODEL = "gen_ai.request.model": "The model that the request asked for",
    RESPONSE_MODEL = "gen_ai.response.model": "The model that the answer says it came from",
    API = "outflow.api": "Kind of call: `chat_completions`, `responses`, `messages`, …",
    SERVER_ADDRESS = "server.address": "Host that was called; absent in a log",
    SERVER_PORT = "server.port": "Its port, when the client named one",
    PID = "process.pid": "Process of the newest occurrence; absent without one",
    EXECUTABLE = "process.executable.name": "Name of its executable",
    FEATURE = "outflow.feature": "Part of the service that asked, as the call or the operator names it",
    UNIT = "outflow.process.unit": "Systemd unit of the process",
}

names! {
    /// What the span of a call has besides names of findings.
    SPAN:
    RESPONSE_ID = "gen_ai.response.id": "Id of the answer",
    FINISH_REASONS = "gen_ai.response.finish_reasons": "Why the model stopped, one for each choice",
    FIRST_CHUNK = "gen_ai.response.time_to_first_chunk": "Of a streamed answer, seconds from the first byte of the request to the first one of the answer's body",
    CONVERSATION = "gen_ai.conversation.id": "What the calls of one conversation have in common",
    INPUT_TOKENS = "gen_ai.usage.input_tokens": "All input tokens, those of caches included",
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens": "All output tokens, those of reasoning included",
    CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens": "Of the input, read from a cache",
    CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens": "Of the input, written to a cache",
    REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens": "Of the output, reasoning",
    TOOL = "gen_ai.tool.name": "Tool that an MCP call names",
    MCP_METHOD = "mcp.method.name": "Method of an MCP call",
    MCP_SESSION = "mcp.session.id": "Its session",
    MCP_VERSION = "mcp.protocol.version": "Version of the protocol",
    JSONRPC_ID = "jsonrpc.request.id": "Id of the request in JSON-RPC",
    HTTP_STATUS = "http.response.status_code": "Status of the answer",
    ERROR = "error.type": "The vendor's code of a failure, its status, `tool_error`, or `no_answer`; absent when it did not fail",
}

names! {
    /// Names that are proposed to the conventions, and go out only when somebody asks for them: those of findings from pull request 427 of
    /// open-telemetry/semantic-conventions-genai, those of cost, of spans, from 443.
    PROPOSED:
    PROPOSED_FINDING = "gen_ai.security.external_finding_id": "Of a finding: as `outflow.finding.id`",
    PROPOSED_RULE = "gen_ai.security.policy.rule.id": "Of a finding: as `outflow.finding.rule.id`",
    PROPOSED_CATEGORY = "gen_ai.security.risk.category": "Of a finding: as `outflow.finding.category`",
    PROPOSED_COST = "gen_ai.usage.cost.amount": "Of a span: what the call cost",
    PROPOSED_CURRENCY = "gen_ai.usage.cost.currency": "Of a span with an amount: `USD`",
    PROPOSED_SOURCE = "gen_ai.usage.cost.source": "Of a span with an amount: `provider` when the answer said it, else `local`",
}

/// Resource: what the finding's process is for.
pub(in crate::sinks) const SERVICE: &str = "service.name";
/// Resource: the host that the agent runs on.
pub(in crate::sinks) const HOST_NAME: &str = "host.name";
/// Resource: its machine id.
pub(in crate::sinks) const HOST_ID: &str = "host.id";
/// Resource: who runs the cloud that the host is in.
pub(in crate::sinks) const CLOUD_PROVIDER: &str = "cloud.provider";
/// Resource: its region.
pub(in crate::sinks) const CLOUD_REGION: &str = "cloud.region";
/// Resource: the zone in it.
pub(in crate::sinks) const CLOUD_ZONE: &str = "cloud.availability_zone";
/// Resource: the account that pays.
pub(in crate::sinks) const CLOUD_ACCOUNT: &str = "cloud.account.id";

/// What resources say of the host.
pub(in crate::sinks) fn of_host(host: &Host) -> impl Iterator<Item = (&'static str, &str)> {
    let cloud = host.cloud.as_ref();
    [
        (HOST_NAME, Some(host.name.as_str())),
        (HOST_ID, host.id.as_deref()),
        (CLOUD_PROVIDER, cloud.map(|cloud| cloud.provider.as_str())),
        (CLOUD_REGION, cloud.and_then(|cloud| cloud.region.as_deref())),
        (CLOUD_ZONE, cloud.and_then(|cloud| cloud.zone.as_deref())),
        (CLOUD_ACCOUNT, cloud.and_then(|cloud| cloud.account.as_deref())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// Metrics: the service that called, for their resource is the agent.
pub(in crate::sinks) const CALLER: &str = "outflow.service";
/// Resource: the container of the finding's process.
pub(in crate::sinks) const CONTAINER: &str = "container.id";
/// Resource: its Kubernetes pod.
pub(in crate::sinks) const POD: &str = "k8s.pod.uid";
/// Resource: the pod's namespace.
pub(in crate::sinks) const NAMESPACE: &str = "k8s.namespace.name";
/// Resource: the pod's name.
pub(in crate::sinks) const POD_NAME: &str = "k8s.pod.name";
/// Resource: the name of the container in its pod.
pub(in crate::sinks) const CONTAINER_NAME: &str = "k8s.container.name";
