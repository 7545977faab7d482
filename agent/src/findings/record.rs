//! One line about one call: who asked whom, which model, how many tokens, what it cost. Enters: an [`Exchange`] and its cost.
//! Leaves: [`ExchangeRecord`]. It never holds text of prompts, answers or error
//! messages, and names that a peer wrote only when they look like names ([`super::shown`]).

use serde::{Deserialize, Serialize};

use super::{
    Coverage, Destination, Fingerprint, Model, Process,
    parties::{coverage, destination, feature, model, process},
    shown::{identifier, url_path},
};
use crate::{
    exchange::{Cost, CostSource, Exchange, Usage},
    units::NanoUsd,
};

/// OpenTelemetry event name of a call.
pub const EXCHANGE_EVENT: &str = "outflow.exchange";

/// Most names of tools that one record lists.
const MAX_TOOLS: usize = 32;

/// A call, without its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExchangeRecord {
    /// Always `outflow.exchange`.
    #[serde(skip_deserializing, default = "event_name")]
    pub event_name: &'static str,
    /// First byte of the request, RFC 3339 in UTC.
    pub started_at: String,
    /// Who asked.
    pub process: Process,
    /// Whom.
    pub destination: Destination,
    /// Path without the query.
    pub path: String,
    /// Which model.
    pub model: Model,
    /// HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The answer carries an error object, whatever its status.
    pub error: bool,
    /// The answer was a stream of events.
    pub streaming: bool,
    /// Id of the answer; of a long random one, what stands before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    /// Why the model stopped, one per choice.
    pub finish_reasons: Vec<String>,
    /// Tools the model asked to run; at most 32.
    pub tools: Vec<String>,
    /// Tools the vendor ran itself; at most 32.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub server_tools: Vec<String>,
    /// The method of a Model Context Protocol call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_method: Option<String>,
    /// The tool that it calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_tool: Option<String>,
    /// The vendor's id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Which try it is, as the client library counts; 0 is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_count: Option<u32>,
    /// How long the vendor asks to wait, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ns: Option<u64>,
    /// Keyed hash of the API key that the caller used: equal keys have equal ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<Fingerprint>,
    /// Service tier that the answer reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// As reported; for correlation only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// Tokens by kind; null is "the wire did not say".
    pub usage: Usage,
    /// Cost in billionths of a US dollar; absent when nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nano_usd: Option<NanoUsd>,
    /// Where the cost figure comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<CostSource>,
    /// Version of the price catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_catalogue: Option<String>,
    /// First byte of the request to last byte seen, nanoseconds.
    pub duration_ns: u64,
    /// First byte of the request to first byte of the answer's body, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ns: Option<u64>,
    /// How much was seen.
    pub coverage: Coverage,
    /// Both messages were seen from first to last byte.
    pub complete: bool,
}

fn event_name() -> &'static str {
    EXCHANGE_EVENT
}

impl ExchangeRecord {
    /// The record of a call.
    pub fn new(exchange: &Exchange, cost: Option<&Cost>) -> Self {
        let name = |text: &Option<String>| text.as_deref().map(identifier);
        Self {
            event_name: EXCHANGE_EVENT,
            started_at: exchange.started_at.rfc3339(),
            process: Process { feature: feature(exchange), ..process(&exchange.origin) },
            destination: destination(exchange),
            path: url_path(&exchange.path),
            model: model(exchange),
            status: exchange.status,
            error: exchange.error.is_some(),
            streaming: exchange.streaming,
            response_id: name(&exchange.response_id),
            finish_reasons: exchange.finish_reasons.iter().take(MAX_TOOLS).map(|reason| identifier(reason)).collect(),
            tools: exchange.tool_calls.iter().take(MAX_TOOLS).map(|tool| identifier(tool)).collect(),
            server_tools: exchange.server_tool_calls.iter().take(MAX_TOOLS).map(|tool| identifier(tool)).collect(),
            mcp_method: exchange.mcp.as_ref().and_then(|mcp| name(&mcp.method)),
            mcp_tool: exchange.mcp.as_ref().and_then(|mcp| name(&mcp.tool)),
            request_id: name(&exchange.headers.request_id),
            retry_count: exchange.headers.retry_count,
            retry_after_ns: exchange.headers.retry_after_ns,
            caller: None,
            service_tier: name(exchange.usage_tier.as_ref().map_or(&exchange.service_tier, |_| &exchange.usage_tier)),
            system_fingerprint: name(&exchange.system_fingerprint),
            usage: exchange.usage,
            cost_nano_usd: cost.map(|cost| cost.nano_usd),
            cost_source: cost.map(|cost| cost.source),
            cost_catalogue: cost.map(|cost| cost.catalogue.clone()).filter(|version| !version.is_empty()),
            duration_ns: exchange.ended_at.since_ns(exchange.started_at),
            time_to_first_token_ns: exchange.first_token_at.map(|at| at.since_ns(exchange.started_at)),
            coverage: coverage(&exchange.view),
            complete: exchange.view.complete,
        }
    }

    /// With the caller's fingerprint, which only the holder of the key can make.
    #[must_use]
    pub fn by(mut self, caller: Option<&Fingerprint>) -> Self {
        self.caller = caller.cloned();
        self
    }
}
