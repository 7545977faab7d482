//! What one call used, in few fields, for those who add up: `docs/schema/usage-v1.json`. Enters: a [`Call`], its record id, the [`Host`]. Leaves: a
//! [`UsageRecord`], flat, so that a table in SQL needs no path. Money is an integer, for floats drift when many are added.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Host, gen_ai};
use crate::{exchange::CostSource, findings::Call, units::NanoUsd};

/// Version of the shape; grows when a reader must change.
pub const USAGE_SCHEMA_VERSION: u32 = 1;

/// What a record of usage is called.
pub const USAGE_EVENT: &str = "outflow.usage";

const NS_IN_MS: u64 = 1_000_000;

/// What one call to an LLM vendor used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Outflow usage")]
pub struct UsageRecord {
    /// Version of this shape.
    #[schemars(extend("const" = USAGE_SCHEMA_VERSION))]
    pub schema_version: u32,
    /// Always `outflow.usage`.
    #[schemars(extend("const" = USAGE_EVENT))]
    pub event_name: String,
    /// Names the call among all: the same record sent twice has the same. Adding up counts each once.
    #[schemars(regex(pattern = "^[0-9a-f]{16}-[0-9]+$"))]
    pub usage_id: String,
    /// Event time: when the call was over, RFC 3339 in UTC.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// The same in milliseconds since the Unix epoch, for watermarks.
    pub at_ms: u64,
    /// First byte of the request to last byte seen, milliseconds.
    pub duration_ms: u64,
    /// The host that the agent runs on.
    pub host: String,
    /// Its machine id; absent when it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_id: Option<String>,
    /// What the process is for; empty when nobody says so.
    pub service: String,
    /// Part of the service that asked; absent when nothing names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    /// Vendor id; absent for a host that nothing is known of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Host that was called.
    pub server: String,
    /// Kind of call: `chat_completions`, `messages`, `embeddings`, `mcp_streamable_http`, `other`.
    pub api: String,
    /// The same by OpenTelemetry's name; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The model that answered, else the one that was asked for; absent for a call without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_model: Option<String>,
    /// HTTP status; absent when no answer was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The vendor or a tool answered with an error.
    pub is_error: bool,
    /// Keyed fingerprint of the key that the caller paid with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Cost in billionths of a US dollar; absent when nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nano_usd: Option<NanoUsd>,
    /// Where the cost figure comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<CostSource>,
    /// It costs something, and nobody knows how much.
    pub is_unpriced: bool,
    /// Input tokens, those of caches included; absent (as each kind below) when the wire did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Output tokens, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Of the input, read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_tokens: Option<u64>,
    /// Of the input, written to a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// Of the output, reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Of the input, audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_audio_tokens: Option<u64>,
    /// Of the output, audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_audio_tokens: Option<u64>,
}

impl UsageRecord {
    /// What a call used that this host saw. `record_id` names it among all.
    pub fn new(call: &Call, record_id: &str, host: &Host) -> Self {
        let (record, usage) = (&call.record, &call.record.usage);
        let (process, destination, model) = (&record.process, &record.destination, &record.model);
        Self {
            schema_version: USAGE_SCHEMA_VERSION,
            event_name: USAGE_EVENT.to_owned(),
            usage_id: record_id.to_owned(),
            at: call.ended_at().rfc3339(),
            at_ms: call.ended_at_ns / NS_IN_MS,
            duration_ms: call.ended_at_ns.saturating_sub(call.started_at_ns) / NS_IN_MS,
            host: host.name.clone(),
            host_id: host.id.clone(),
            service: process.service.clone(),
            feature: process.feature.clone(),
            vendor: destination.vendor.clone(),
            server: destination.host.clone(),
            api: destination.api.clone(),
            operation: gen_ai::operation_name(&destination.api).map(str::to_owned),
            model: model.resolved.clone().or_else(|| model.requested.clone()),
            requested_model: model.requested.clone(),
            status: record.status,
            is_error: call.succeeded() == Some(false),
            caller: record.caller.as_ref().map(|caller| caller.value.clone()),
            cost_nano_usd: record.cost_nano_usd,
            cost_source: record.cost_source,
            is_unpriced: call.unpriced,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            input_audio_tokens: usage.input_audio_tokens,
            output_audio_tokens: usage.output_audio_tokens,
        }
    }
}

/// The JSON schema of [`UsageRecord`], as `docs/schema/usage-v1.json` holds it.
pub fn usage_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(UsageRecord);
    schema.insert("$id".to_owned(), "urn:outflow:schema:usage-v1".into());
    schema.to_value()
}
