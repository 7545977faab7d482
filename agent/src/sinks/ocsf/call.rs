//! A call as an OCSF event of class 6003, API Activity, with the profile `ai_operation`. Enters: a [`Call`], its record id and the [`Host`] it was
//! seen on. Leaves: a struct that borrows from them. It says nothing of the text: a call holds none.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    OCSF_VERSION,
    kind::{self, Caption},
    objects::{Actor, Cloud, Container, Device, Endpoint, Observable, PRODUCT, Product, Reporter, integer},
    unmapped::{entry, some},
};
use crate::{
    findings::Call,
    sinks::{Host, gen_ai, names},
};

const NS_IN_MS: u64 = 1_000_000;

/// A call as OCSF has it, with the names of its schema.
#[derive(Debug, Serialize)]
pub(super) struct CallEvent<'a> {
    activity_id: u8,
    activity_name: &'static str,
    category_uid: u8,
    category_name: &'static str,
    class_uid: u32,
    class_name: &'static str,
    type_uid: u32,
    type_name: &'static str,
    time: u64,
    start_time: u64,
    end_time: u64,
    duration: u64,
    severity_id: u8,
    severity: &'static str,
    status_id: u8,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_detail: Option<&'a str>,
    message: String,
    metadata: Metadata<'a>,
    device: Device<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud: Option<Cloud<'a>>,
    actor: Actor<'a>,
    api: Api<'a>,
    src_endpoint: Endpoint<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_endpoint: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_request: Option<HttpRequest<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_response: Option<HttpResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ai_model: Option<AiModel<'a>>,
    message_context: MessageContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Trace<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observables: Option<[Observable<'a>; 1]>,
    unmapped: Unmapped<'a>,
}

#[derive(Debug, Serialize)]
struct Metadata<'a> {
    version: &'static str,
    uid: &'a str,
    product: Product,
    profiles: Vec<&'static str>,
    reporter: Reporter<'a>,
}

#[derive(Debug, Serialize)]
struct Api<'a> {
    operation: &'a str,
    service: Named<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response<'a>>,
}

#[derive(Debug, Serialize)]
struct Response<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Debug, Serialize)]
struct HttpRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    http_method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Url<'a>>,
}

#[derive(Debug, Serialize)]
struct Url<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Debug, Serialize)]
struct HttpResponse {
    code: u16,
}

#[derive(Debug, Serialize)]
struct AiModel<'a> {
    ai_provider: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct MessageContext<'a> {
    ai_role_id: u8,
    ai_role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<Named<'a>>,
    service: Named<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_tokens: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Trace<'a> {
    uid: &'a str,
}

impl<'a> CallEvent<'a> {
    pub(super) fn new(call: &'a Call, record_id: &'a str, host: &'a Host) -> Self {
        let record = &call.record;
        let destination = &record.destination;
        let Caption(activity_id, activity_name) = activity(call);
        let Caption(status_id, status) = status(call.succeeded());
        let (started, ended) = (call.started_at_ns / NS_IN_MS, call.ended_at_ns / NS_IN_MS);
        let endpoint = Endpoint::new(destination);
        let provider = destination.vendor.as_deref().or(some(&destination.host)).unwrap_or("unknown");
        let service = some(&record.process.service);
        let error = call.error_code.as_deref();
        let is_in_container = Container::of(&record.process).is_some();
        let profiles = kind::profiles([
            ("ai_operation", true),
            ("cloud", host.cloud.is_some()),
            ("container", is_in_container),
            ("host", true),
            ("trace", call.trace_id.is_some()),
        ]);
        let url = some(&record.path).map(|path| Url {
            path,
            hostname: endpoint.and_then(|endpoint| endpoint.hostname),
            port: endpoint.and_then(|endpoint| endpoint.port),
        });
        Self {
            activity_id,
            activity_name,
            category_uid: 6,
            category_name: "Application Activity",
            class_uid: 6003,
            class_name: "API Activity",
            type_uid: 6003 * 100 + u32::from(activity_id),
            type_name: type_name(activity_id),
            time: ended,
            start_time: started,
            end_time: ended,
            duration: ended.saturating_sub(started),
            severity_id: 1,
            severity: "Informational",
            status_id,
            status,
            status_code: record.status.map(|status| status.to_string()),
            status_detail: error,
            message: format!("{} to {}", operation(call), destination.host),
            metadata: Metadata {
                version: OCSF_VERSION,
                uid: record_id,
                product: PRODUCT,
                profiles,
                reporter: Reporter::new(host),
            },
            device: Device::new(host, &record.process),
            cloud: Cloud::new(host),
            actor: Actor::of_call(&record.process),
            api: Api {
                operation: operation(call),
                service: Named { name: provider },
                response: (record.status.is_some() || error.is_some())
                    .then_some(Response { code: record.status, error }),
            },
            src_endpoint: Endpoint::of_host(host),
            dst_endpoint: endpoint,
            http_request: (call.method.is_some() || url.is_some())
                .then_some(HttpRequest { http_method: call.method.as_deref(), url }),
            http_response: record.status.map(|code| HttpResponse { code }),
            ai_model: AiModel::new(call, provider),
            message_context: MessageContext::new(call, service, provider),
            trace: call.trace_id.as_deref().map(|uid| Trace { uid }),
            observables: Observable::new(endpoint, None, false).map(|observable| [observable]),
            unmapped: Unmapped(call),
        }
    }
}

impl<'a> AiModel<'a> {
    fn new(call: &'a Call, ai_provider: &'a str) -> Option<Self> {
        let model = &call.record.model;
        let name = model.requested.as_deref().or(model.resolved.as_deref())?;
        Some(Self { ai_provider, name, version: model.resolved.as_deref() })
    }
}

impl<'a> MessageContext<'a> {
    fn new(call: &'a Call, application: Option<&'a str>, provider: &'a str) -> Self {
        let usage = &call.record.usage;
        let Caption(ai_role_id, ai_role) = role(&call.record.destination.api);
        let total = match (usage.input_tokens, usage.output_tokens) {
            (None, None) => None,
            (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
        };
        Self {
            ai_role_id,
            ai_role,
            application: application.map(|name| Named { name }),
            service: Named { name: provider },
            prompt_tokens: usage.input_tokens.map(integer),
            completion_tokens: usage.output_tokens.map(integer),
            total_tokens: total.map(integer),
        }
    }
}

/// What was asked of the API: the method of MCP, else the kind of call.
fn operation(call: &Call) -> &str {
    call.record.mcp_method.as_deref().unwrap_or(&call.record.destination.api)
}

/// What the call does to whatever is at the other end.
fn activity(call: &Call) -> Caption {
    let (create, read, other) = (Caption(1, "Create"), Caption(2, "Read"), Caption(99, "Other"));
    if let Some(method) = &call.record.mcp_method {
        let reads = ["/list", "/read", "/get"].iter().any(|end| method.ends_with(end));
        return if reads { read } else { other };
    }
    match (call.record.destination.api.as_str(), call.method.as_deref()) {
        ("vector_query", _) | (_, Some("GET" | "HEAD")) => read,
        (_, Some("POST")) => create,
        (_, Some("PUT" | "PATCH")) => Caption(3, "Update"),
        (_, Some("DELETE")) => Caption(4, "Delete"),
        (_, Some(_)) => other,
        // A line of a log names the kind of call and no method; all kinds that it can name make something.
        (api, None) if api != "other" => create,
        _ => Caption(0, "Unknown"),
    }
}

fn type_name(activity_id: u8) -> &'static str {
    match activity_id {
        1 => "API Activity: Create",
        2 => "API Activity: Read",
        3 => "API Activity: Update",
        4 => "API Activity: Delete",
        99 => "API Activity: Other",
        _ => "API Activity: Unknown",
    }
}

fn status(succeeded: Option<bool>) -> Caption {
    match succeeded {
        Some(true) => Caption(1, "Success"),
        Some(false) => Caption(2, "Failure"),
        None => Caption(0, "Unknown"),
    }
}

/// What the other end is to the caller.
fn role(api: &str) -> Caption {
    match api {
        "mcp_streamable_http" => Caption(3, "Tool"),
        "vector_query" | "vector_upsert" => Caption(6, "Retriever"),
        "other" => Caption(0, "Unknown"),
        _ => Caption(2, "Assistant"),
    }
}

/// What OCSF has no field for, with OpenTelemetry's names where there are such.
#[derive(Debug)]
struct Unmapped<'a>(&'a Call);

impl Serialize for Unmapped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let call = self.0;
        let (record, process, usage) = (&call.record, &call.record.process, &call.record.usage);
        let mut map = serializer.serialize_map(None)?;
        let vendor = record.destination.vendor.as_deref();
        entry(&mut map, names::PROVIDER, vendor.map(gen_ai::provider_name))?;
        entry(&mut map, names::OPERATION, gen_ai::operation_name(&record.destination.api))?;
        entry(&mut map, names::REQUEST_MODEL, record.model.requested.as_ref())?;
        entry(&mut map, names::RESPONSE_MODEL, record.model.resolved.as_ref())?;
        entry(&mut map, names::RESPONSE_ID, record.response_id.as_ref())?;
        entry(&mut map, names::FINISH_REASONS, list(&record.finish_reasons))?;
        entry(&mut map, names::TOOL, record.mcp_tool.as_ref())?;
        entry(&mut map, names::INPUT_TOKENS, usage.input_tokens)?;
        entry(&mut map, names::OUTPUT_TOKENS, usage.output_tokens)?;
        entry(&mut map, names::CACHE_READ_TOKENS, usage.cache_read_tokens)?;
        entry(&mut map, names::CACHE_WRITE_TOKENS, usage.cache_write_tokens)?;
        entry(&mut map, names::REASONING_TOKENS, usage.reasoning_tokens)?;
        entry(&mut map, names::MCP_METHOD, record.mcp_method.as_ref())?;
        if process.pid == 0 {
            entry(&mut map, "process.executable.name", some(&process.name))?;
        }
        entry(&mut map, "outflow.api", Some(&record.destination.api))?;
        entry(&mut map, "outflow.cost_nano_usd", record.cost_nano_usd)?;
        entry(&mut map, "outflow.cost_source", record.cost_source)?;
        entry(&mut map, "outflow.unpriced", Some(call.unpriced))?;
        entry(&mut map, "outflow.feature", process.feature.as_ref())?;
        if let Some(caller) = &record.caller {
            entry(&mut map, "outflow.caller.value", Some(&caller.value))?;
            entry(&mut map, "outflow.caller.key_id", Some(&caller.key_id))?;
        }
        entry(&mut map, "outflow.streaming", Some(record.streaming))?;
        entry(&mut map, "outflow.time_to_first_token_ns", record.time_to_first_token_ns)?;
        entry(&mut map, "outflow.tools", list(&record.tools))?;
        entry(&mut map, "outflow.server_tools", list(&record.server_tools))?;
        entry(&mut map, "outflow.service_tier", record.service_tier.as_ref())?;
        entry(&mut map, "outflow.request_id", record.request_id.as_ref())?;
        entry(&mut map, "outflow.retry_count", record.retry_count)?;
        entry(&mut map, "outflow.complete", Some(record.complete))?;
        entry(&mut map, "outflow.coverage.scanned_bytes", Some(record.coverage.scanned_bytes))?;
        entry(&mut map, "outflow.coverage.total_bytes", Some(record.coverage.total_bytes))?;
        entry(&mut map, "outflow.process.pod", process.pod.as_ref())?;
        entry(&mut map, "outflow.process.kubernetes", process.kubernetes.as_ref())?;
        entry(&mut map, "outflow.process.unit", process.unit.as_ref())?;
        map.end()
    }
}

fn list(names: &[String]) -> Option<&[String]> {
    (!names.is_empty()).then_some(names)
}
