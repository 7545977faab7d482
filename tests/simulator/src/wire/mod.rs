//! What vendors' wires look like. Enters: what is asked and answered. Leaves: address, headers and bodies in the shape of the
//! vendor's API; where a shape comes from stands in its file. Keys and ids are invented.

use serde_json::{Value, json};

use crate::{
    call::{Headers, Response},
    talk::{Ask, Outcome, Wrapping},
    traffic::Vendor,
};

pub(crate) mod batches;
mod chat;
mod converse;
pub(crate) mod embeddings;
mod gemini;
pub(crate) mod mcp;
mod messages;
mod responses;
pub(crate) mod vectors;

/// A call without its times.
#[derive(Clone, Debug)]
pub(crate) struct Wired {
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) headers: Headers,
    pub(crate) body: String,
    pub(crate) response: Option<Response>,
}

/// A call of a model.
pub(crate) fn wired(vendor: Vendor, ask: &Ask, outcome: &Outcome, wrapping: &Wrapping) -> Wired {
    let (url, body) = match vendor {
        Vendor::OpenaiResponses => ("https://api.openai.com/v1/responses".to_owned(), responses::request(ask)),
        Vendor::Anthropic => ("https://api.anthropic.com/v1/messages".to_owned(), messages::request(ask)),
        Vendor::Gemini => (gemini::url(ask), gemini::request(ask)),
        Vendor::Bedrock => (converse::url(ask), converse::request(ask)),
        _ => (chat::url(vendor, ask), chat::request(vendor, ask)),
    };
    let response = match outcome {
        Outcome::Silence => None,
        Outcome::Failure { status, retry_after_s } => Some(failed(vendor, *status, *retry_after_s, wrapping)),
        Outcome::Reply(reply) => {
            let body = match vendor {
                Vendor::OpenaiResponses => responses::response(ask, reply, wrapping),
                Vendor::Anthropic => messages::response(ask, reply),
                Vendor::Gemini => gemini::response(ask, reply),
                Vendor::Bedrock => converse::response(reply, wrapping),
                _ => chat::response(vendor, ask, reply, wrapping),
            };
            let mut headers = answered(vendor, wrapping);
            let kind = if ask.is_stream { "text/event-stream" } else { "application/json" };
            headers.insert("content-type".to_owned(), kind.to_owned());
            Some(Response { status: 200, headers, body })
        }
    };
    Wired { method: "POST", url, headers: asking(vendor, wrapping), body: body.to_string(), response }
}

/// Name and value.
pub(crate) fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn asking(vendor: Vendor, wrapping: &Wrapping) -> Headers {
    let key = &wrapping.key;
    let mut sent = headers(&[("content-type", "application/json"), ("accept", "application/json")]);
    let mut add = |name: &str, value: String| sent.insert(name.to_owned(), value);
    match vendor {
        Vendor::Anthropic => {
            add("x-api-key", format!("sk-ant-api03-simulated-{key}"));
            add("anthropic-version", "2023-06-01".to_owned());
            add("user-agent", "Anthropic/Python 0.76.0".to_owned());
        }
        Vendor::Azure => {
            add("api-key", format!("simulated-{key}"));
            add("user-agent", "AzureOpenAI/Python 2.14.0".to_owned());
        }
        Vendor::Gemini => {
            add("x-goog-api-key", format!("simulated-{key}"));
            add("user-agent", "google-genai-sdk/1.56.0 gl-python/3.12".to_owned());
        }
        Vendor::Bedrock => {
            add(
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential=SIMULATED{key}/20260302/us-east-1/bedrock/aws4_request"),
            );
            add("user-agent", "Boto3/1.42.0".to_owned());
        }
        _ => {
            add("authorization", format!("Bearer sk-simulated-{key}"));
            add("user-agent", "OpenAI/Python 2.14.0".to_owned());
        }
    }
    if !matches!(vendor, Vendor::Gemini | Vendor::Bedrock) {
        for (name, value) in [("lang", "python"), ("package-version", "2.14.0"), ("runtime", "CPython")] {
            add(&format!("x-stainless-{name}"), value.to_owned());
        }
        add("x-stainless-read-timeout", "60".to_owned());
        add("x-stainless-retry-count", wrapping.retry.to_string());
    }
    sent
}

/// Headers that every answer of a vendor has.
fn answered(vendor: Vendor, wrapping: &Wrapping) -> Headers {
    let (id, took) = (wrapping.request_id.as_str(), wrapping.latency_ms.to_string());
    match vendor {
        Vendor::Anthropic => headers(&[
            ("request-id", id),
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999"),
            ("anthropic-ratelimit-input-tokens-limit", "2000000"),
        ]),
        Vendor::Azure => headers(&[
            ("apim-request-id", id),
            ("x-ms-region", "East US 2"),
            ("x-ratelimit-remaining-requests", "999"),
            ("x-ratelimit-remaining-tokens", "998000"),
        ]),
        Vendor::Gemini => headers(&[("server-timing", &format!("gfet4t7; dur={took}"))]),
        Vendor::Bedrock => headers(&[("x-amzn-requestid", id)]),
        Vendor::Openrouter => headers(&[("x-generation-id", id)]),
        Vendor::Mistral => headers(&[("mistral-correlation-id", id)]),
        _ => headers(&[
            ("x-request-id", id),
            ("openai-processing-ms", &took),
            ("openai-version", "2020-10-01"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-limit-tokens", "2000000"),
        ]),
    }
}

/// Bodies of errors as in notes of recorded ones: OpenAI's family, Anthropic, Google, Amazon.
fn failed(vendor: Vendor, status: u16, retry_after_s: u64, wrapping: &Wrapping) -> Response {
    let (kind, code) = match status {
        400 => ("invalid_request_error", "invalid_value"),
        401 | 403 => ("authentication_error", "invalid_api_key"),
        429 => ("rate_limit_error", "rate_limit_exceeded"),
        529 => ("overloaded_error", "overloaded"),
        _ => ("api_error", "server_error"),
    };
    let message = "The request could not be served.";
    let body: Value = match vendor {
        Vendor::Anthropic => {
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": wrapping.request_id})
        }
        Vendor::Gemini => {
            let status_name = if status == 429 { "RESOURCE_EXHAUSTED" } else { "UNAVAILABLE" };
            json!({"error": {"code": status, "message": message, "status": status_name}})
        }
        Vendor::Bedrock => json!({"message": message}),
        _ => json!({"error": {"message": message, "type": kind, "code": code, "param": null}}),
    };
    let mut headers = answered(vendor, wrapping);
    headers.insert("content-type".to_owned(), "application/json".to_owned());
    if retry_after_s > 0 {
        headers.insert("retry-after".to_owned(), retry_after_s.to_string());
    }
    Response { status, headers, body: body.to_string() }
}

/// The text in some pieces, as a stream has it.
pub(crate) fn pieces(text: &str) -> Vec<&str> {
    let (mut rest, mut pieces) = (text, Vec::new());
    while !rest.is_empty() {
        let end = rest.char_indices().map(|(at, _)| at).nth(48).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

/// A tool of that name, as a JSON schema of its arguments.
pub(crate) fn parameters() -> Value {
    json!({"type": "object", "properties": {"query": {"type": "string"}, "page": {"type": "integer"}}, "required": []})
}
