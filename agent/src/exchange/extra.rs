//! Text of a request besides a JSON body: forms, the query of its URL, and headers that a person or a program writes free text
//! into. Enters: the request. Leaves: its text with paths (`$.messages[0].content`, `$form.purpose`, `$file.file`, `$query.q`,
//! `$header.x-title`), and the outline for facts. Never the keys that the caller pays with: sent to the vendor that they belong
//! to, they are no leak.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{
    History, Leaves, ToolResult, body, multipart,
    path::Path,
    query,
    schemas::Spans,
    tape::{Lengths, RequestFacts},
    text::Whole,
};
use crate::assembly::{Content, Headers, Message};

/// Members that are read of one `baggage` header (W3C Baggage, section 3.3: at most 180).
const MAX_BAGGAGE: usize = 180;

/// Headers without free text: those of HTTP itself, of the vendors' client libraries, of tracing; and those with the caller's
/// own key, session or signature.
const PLAIN: [&str; 38] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "anthropic-beta",
    "anthropic-version",
    "api-key",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "dnt",
    "expect",
    "grpc-timeout",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "ocp-apim-subscription-key",
    "openai-beta",
    "pragma",
    "priority",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "x-api-key",
    "x-auth-token",
    "x-b3-traceid",
    "x-goog-api-client",
    "x-goog-api-key",
];

/// The same, by how the name begins.
const PLAIN_STARTS: [&str; 7] = ["content-", "if-", "sec-", "x-amz-", "amz-sdk-", "x-stainless-", "mcp-"];

/// Headers whose value is percent-encoded.
const ENCODED: [&str; 4] = ["referer", "http-referer", "x-title", "x-openrouter-title"];

/// A request.
#[derive(Default)]
pub(super) struct Asked {
    /// What facts are read from.
    pub(super) doc: Value,
    /// Results of tools that it hands back, if it is a call that has any.
    pub(super) tool_results: Vec<ToolResult>,
    /// The conversation that it goes on with.
    pub(super) history: History,
    /// How many elements the lists have that are members of the document.
    pub(super) lengths: Lengths,
    /// Where the members stand that may hold a schema.
    pub(super) spans: Spans,
    /// All its text.
    pub(super) text: Leaves,
}

/// Facts and text of a request.
pub(super) fn request(message: &Message, target: &str) -> Asked {
    let headers = message.head.headers();
    let mut asked = body_of(message, headers.find("content-type").unwrap_or_default());
    let mut whole = Whole::default();
    query::read(query::of(target).as_bytes(), "$query", &mut whole);
    read_headers(headers, &mut whole);
    let around = whole.finish();
    for (path, range) in around.iter() {
        asked.text.push(path, around.text().get(range).unwrap_or_default());
    }
    asked
}

fn body_of(message: &Message, content_type: &str) -> Asked {
    let Content::Bytes(bytes) = &message.body.content else { return Asked::default() };
    if let Some(form) = multipart::boundary(content_type).and_then(|boundary| multipart::read(bytes, boundary)) {
        return Asked { doc: form.0, text: form.1, ..Asked::default() };
    }
    let mut whole = Whole::default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let RequestFacts { doc, tool_results, history, lengths, spans } =
        if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") && !super::json::looks_like_json(bytes) {
            RequestFacts { doc: query::read(bytes, "$form", &mut whole), ..RequestFacts::default() }
        } else {
            body::read_request(bytes, "$", &mut whole)
        };
    Asked { doc, tool_results, history, lengths, spans, text: whole.finish() }
}

fn read_headers(headers: &Headers, whole: &mut Whole) {
    let is_plain = |name: &str| PLAIN.contains(&name) || PLAIN_STARTS.iter().any(|start| name.starts_with(start));
    for (name, value) in headers.0.iter().filter(|(name, _)| !is_plain(name)) {
        let mut path = Path::new("$header");
        path.key(name);
        if name == "baggage" {
            read_baggage(value, &mut path, whole);
        } else if ENCODED.contains(&name.as_str()) {
            whole.add(path.as_str(), name, &percent_decode_str(value).decode_utf8_lossy());
        } else {
            whole.add(path.as_str(), name, value);
        }
    }
}

/// `userId=jane%40example.com;property,…` (W3C Baggage): what a program tells all that it calls.
fn read_baggage(value: &str, path: &mut Path, whole: &mut Whole) {
    for member in value.split(',').take(MAX_BAGGAGE) {
        let (key, text) = member.split_once('=').unwrap_or((member, ""));
        let key = key.trim();
        let length = path.len();
        path.key(key);
        whole.add(path.as_str(), key, &percent_decode_str(text.trim()).decode_utf8_lossy());
        path.truncate(length);
    }
}
