//! What was understood of an exchange, as one JSON object. Enters: an [`Exchange`]. Leaves: the members of the recorded
//! exchanges' index under its names and with its meanings, then our own. `null`: the wire did not say. Never a secret: the
//! caller's key is not shown, not even as a fingerprint.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::exchange::{Api, BodyFraming, Exchange, facts_of_session};

/// Members in the order in which they are printed.
#[derive(Debug, Serialize)]
struct Facts<'a> {
    vendor: Option<&'a str>,
    api: Api,
    request_model: Option<&'a str>,
    azure_deployment: Option<&'a str>,
    response_model: Option<&'a str>,
    status: Option<u16>,
    streaming: Option<bool>,
    framing: Option<BodyFraming>,
    response_id: Option<&'a str>,
    input_tokens_total: Option<u64>,
    output_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    tool_calls: Option<usize>,
    server_tool_calls: Option<usize>,
    finish_reasons: Option<BTreeSet<Reason<'a>>>,
    system_fingerprint: Option<&'a str>,
    service_tier: Option<&'a str>,
    error: Option<bool>,
    vendor_reported_cost_usd: Option<f64>,
    mcp_method: Option<&'a str>,
    mcp_id: Option<Value>,
    mcp_tool: Option<&'a str>,
    #[serde(flatten)]
    ours: Ours<'a>,
}

/// What the index does not have.
#[derive(Debug, Serialize)]
struct Ours<'a> {
    host: &'a str,
    method: &'a str,
    path: &'a str,
    service: &'a str,
    feature: Option<&'a str>,
    process: &'a str,
    started_at: String,
    time_to_first_token_ns: Option<u64>,
    duration_ns: u64,
    error_code: Option<&'a str>,
    usage_tier: Option<&'a str>,
    usage_requested: Option<bool>,
    cache_write_1h_tokens: Option<u64>,
    tool_names: &'a [String],
    server_tool_names: &'a [String],
    tool_results: usize,
    tool_errors: usize,
    conversation: Option<&'a str>,
    request_id: Option<&'a str>,
    retry_count: Option<u32>,
    retry_after_ns: Option<u64>,
    vendor_processing_ns: Option<u64>,
    vendor_first_token_ns: Option<u64>,
    rate_limits: &'a [(String, String)],
    traceparent: Option<&'a str>,
    mcp_session: Option<&'a str>,
    mcp_version: Option<&'a str>,
    mcp_tool_failed: Option<bool>,
    complete: bool,
    missing_bytes: u64,
    unread_bytes: u64,
}

/// Google's generated REST clients ask for enums as numbers, and get them.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
enum Reason<'a> {
    Number(u64),
    Word(&'a str),
}

/// The facts of an exchange.
pub fn facts(exchange: &Exchange) -> Value {
    serde_json::to_value(read(exchange)).unwrap_or_default()
}

/// The line of an exchange whose record has this id.
pub(super) fn line(id: &str, exchange: &Exchange) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        id: &'a str,
        #[serde(flatten)]
        facts: Facts<'a>,
    }
    serde_json::to_string(&Line { id, facts: read(exchange) })
}

/// The line of a session whose record has this id.
pub(super) fn session_line(id: &str, exchanges: &[Exchange]) -> String {
    let mut facts = facts_of_session(exchanges);
    if let Some(members) = facts.as_object_mut() {
        members.insert("id".to_owned(), id.into());
    }
    facts.to_string()
}

fn read(exchange: &Exchange) -> Facts<'_> {
    let (usage, view, mcp) = (&exchange.usage, &exchange.view, exchange.mcp.as_ref());
    // Half an answer may have half of the calls: a count, a set or a "no" of these would be wrong.
    let whole = view.complete;
    Facts {
        vendor: exchange.vendor.as_deref(),
        api: exchange.api,
        request_model: exchange.request_model.as_deref(),
        azure_deployment: deployment(&exchange.path),
        response_model: exchange.response_model.as_deref(),
        status: exchange.status,
        streaming: if exchange.streaming { Some(true) } else { whole.then_some(false) },
        framing: Some(exchange.framing).filter(|framing| whole || *framing != BodyFraming::Json),
        response_id: exchange.response_id.as_deref(),
        input_tokens_total: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_tokens: usage.cache_read_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        tool_calls: whole.then_some(exchange.tool_calls.len()),
        server_tool_calls: whole.then_some(exchange.server_tool_calls.len()),
        finish_reasons: whole.then(|| {
            let reasons = exchange.finish_reasons.iter();
            reasons.map(|word| word.parse().map_or(Reason::Word(word.as_str()), Reason::Number)).collect()
        }),
        system_fingerprint: exchange.system_fingerprint.as_deref(),
        service_tier: exchange.service_tier.as_deref(),
        error: if exchange.error.is_some() { Some(true) } else { whole.then_some(false) },
        vendor_reported_cost_usd: exchange.reported_cost.map(|cost| cost.0 as f64 / 1e9),
        mcp_method: mcp.and_then(|mcp| mcp.method.as_deref()),
        mcp_id: mcp.and_then(|mcp| serde_json::from_str(mcp.id.as_deref()?).ok()),
        mcp_tool: mcp.and_then(|mcp| mcp.tool.as_deref()),
        ours: ours(exchange),
    }
}

fn ours(exchange: &Exchange) -> Ours<'_> {
    let (view, headers, mcp) = (&exchange.view, &exchange.headers, exchange.mcp.as_ref());
    Ours {
        host: &exchange.host,
        method: &exchange.method,
        path: &exchange.path,
        service: &exchange.origin.service,
        feature: exchange.origin.feature.as_deref(),
        process: &exchange.origin.process,
        started_at: exchange.started_at.rfc3339(),
        time_to_first_token_ns: exchange.first_token_at.map(|at| at.since_ns(exchange.started_at)),
        duration_ns: exchange.ended_at.since_ns(exchange.started_at),
        error_code: exchange.error.as_deref(),
        usage_tier: exchange.usage_tier.as_deref(),
        usage_requested: exchange.usage_requested,
        cache_write_1h_tokens: exchange.usage.cache_write_1h_tokens,
        tool_names: &exchange.tool_calls,
        server_tool_names: &exchange.server_tool_calls,
        tool_results: exchange.tool_results.len(),
        tool_errors: exchange.tool_results.iter().filter(|result| result.is_error).count(),
        conversation: exchange.conversation.as_deref(),
        request_id: headers.request_id.as_deref(),
        retry_count: headers.retry_count,
        retry_after_ns: headers.retry_after_ns,
        vendor_processing_ns: headers.processing_ns,
        vendor_first_token_ns: headers.first_token_ns,
        rate_limits: &headers.rate_limits,
        traceparent: headers.traceparent.as_deref(),
        mcp_session: mcp.and_then(|mcp| mcp.session.as_deref()),
        mcp_version: mcp.and_then(|mcp| mcp.version.as_deref()),
        mcp_tool_failed: mcp.map(|mcp| mcp.tool_failed),
        complete: view.complete,
        missing_bytes: view.request_missing_bytes + view.response_missing_bytes,
        unread_bytes: view.request_unread_bytes + view.response_unread_bytes,
    }
}

/// Azure's path names the deployment, whatever the body says.
fn deployment(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("/openai/deployments/")?;
    rest.split('/').next().filter(|name| !name.is_empty())
}
