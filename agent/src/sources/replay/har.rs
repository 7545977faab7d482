//! HAR 1.2 (w3c.github.io/web-performance/specs/HAR/Overview.html) as Chrome, Firefox, Playwright and mitmproxy write it.
//! Enters: the JSON object. Leaves: one [`Record`] an entry. Entries that put nothing on a wire are passed over: `data:` and
//! `blob:` URLs, and what came from the browser's cache.
//!
//! The crates `har` and `har-v0-8` ask for every member that the specification asks for; files in the wild leave out
//! `cookies`, `cache` and sizes, and have members of their own (`_webSocketMessages`). So only what is needed is read here.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Answer, Record, SessionMessage, Times,
    message::{self, RecordedBody},
    record::anyone,
};
use crate::units::Timestamp;

/// What parts of a form are told apart by, where the file does not say.
const BOUNDARY: &str = "----outflow-replay";

#[derive(Deserialize)]
#[serde(expecting = "an object with `request` and `response`")]
struct Entry {
    #[serde(default, rename = "startedDateTime")]
    started: Option<String>,
    /// Milliseconds in all.
    #[serde(default)]
    time: Option<f64>,
    request: Request,
    #[serde(default)]
    response: Option<Response>,
    #[serde(default)]
    timings: Option<Timings>,
    #[serde(default)]
    connection: Option<Value>,
    /// Chrome: `memory` or `disk`.
    #[serde(default, rename = "_fromCache")]
    from_cache: Option<Value>,
    #[serde(default, rename = "_webSocketMessages")]
    messages: Option<Vec<Message>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `method`, `url` and `headers`")]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Header>,
    #[serde(default, rename = "postData")]
    post: Option<Post>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Post {
    #[serde(default, rename = "mimeType")]
    mime_type: String,
    #[serde(default)]
    text: Option<String>,
    /// `base64`: not in the specification, yet some write it as `content` has it.
    #[serde(default, alias = "_encoding")]
    encoding: Option<String>,
    #[serde(default)]
    params: Option<Vec<Param>>,
}

#[derive(Deserialize)]
struct Param {
    name: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default, rename = "fileName")]
    file_name: Option<String>,
    #[serde(default, rename = "contentType")]
    content_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `status` and `headers`")]
struct Response {
    /// 0, or -1 in Playwright's: nothing came back.
    #[serde(default)]
    status: i64,
    #[serde(default)]
    headers: Vec<Header>,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Default, Deserialize)]
struct Content {
    #[serde(default, rename = "mimeType")]
    mime_type: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    encoding: Option<String>,
}

/// Milliseconds; -1 or nothing when a phase did not happen. `ssl` is part of `connect`.
#[derive(Default, Deserialize)]
struct Timings {
    #[serde(default)]
    blocked: Option<f64>,
    #[serde(default)]
    dns: Option<f64>,
    #[serde(default)]
    connect: Option<f64>,
    #[serde(default)]
    send: Option<f64>,
    #[serde(default)]
    wait: Option<f64>,
    #[serde(default)]
    receive: Option<f64>,
}

/// Chrome's record of a WebSocket message.
#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    opcode: u8,
    #[serde(default)]
    data: String,
}

/// Whether a JSON value is meant to be a HAR file.
pub(super) fn is_har(doc: &Value) -> bool {
    doc.get("log").is_some_and(Value::is_object)
}

/// All entries of a file, in order. `Err`: what is wrong, for people; names the entry and the member.
pub(super) fn parse(mut doc: Value, file_name: &str) -> Result<Vec<Record>, String> {
    let entries = doc.get_mut("log").and_then(|log| log.get_mut("entries")).map(Value::take);
    let Some(Value::Array(entries)) = entries else {
        return Err("log.entries: a HAR file must have this array".to_owned());
    };
    let mut records = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let record = serde_json::from_value(entry)
            .map_err(|error| format!(": {error}"))
            .and_then(|entry| record(entry, format!("{file_name}#{index}")));
        records.extend(record.map_err(|message| format!("log.entries[{index}]{message}"))?);
    }
    Ok(records)
}

fn record(entry: Entry, id: String) -> Result<Option<Record>, String> {
    let is_wire = ["http://", "https://", "ws://", "wss://"].iter().any(|scheme| entry.request.url.starts_with(scheme));
    if !is_wire || entry.from_cache.is_some_and(|from| !from.is_null() && from != false) {
        return Ok(None);
    }
    let times = times(entry.started.as_deref(), entry.time, entry.timings.as_ref())?;
    let mut headers = pairs(entry.request.headers);
    let body = entry.request.post.map_or(Ok(RecordedBody::default()), |post| posted(post, &mut headers))?;
    let method = entry.request.method;
    let request = message::request(&method, &entry.request.url, headers, body)
        .map_err(|message| format!(".request.{message}"))?;
    let answer = match (entry.messages, entry.response) {
        (Some(messages), _) => Answer::Session(messages.into_iter().map(session_message).collect()),
        (None, None) => Answer::None,
        (None, Some(response)) if response.status <= 0 => Answer::None,
        // An upgrade whose messages were not recorded.
        (None, Some(response)) if response.status == 101 => Answer::Session(Vec::new()),
        (None, Some(response)) => Answer::Http(answered(&method, response)?),
    };
    let connection = entry.connection.and_then(|label| match label {
        Value::String(text) => Some(text).filter(|text| !text.is_empty() && text != "0"),
        Value::Number(number) => Some(number.to_string()).filter(|text| text != "0"),
        _ => None,
    });
    Ok(Some(Record { id, request, answer, times, origin: anyone(), connection }))
}

/// A browser gives the body decoded, whatever the headers say of its encoding.
fn answered(method: &str, response: Response) -> Result<super::Response, String> {
    let mut headers = pairs(response.headers);
    let content = response.content.unwrap_or_default();
    if let Some(kind) = content.mime_type.filter(|kind| !kind.is_empty() && kind != "x-unknown") {
        add_content_type(&mut headers, &kind);
    }
    let bytes = decoded(content.text.unwrap_or_default(), content.encoding.as_deref())
        .map_err(|error| format!(".response.content.text: {error}"))?;
    let status = u16::try_from(response.status).unwrap_or(u16::MAX);
    message::response(method, status, headers, RecordedBody { bytes, is_raw: false })
        .map_err(|message| format!(".response.{message}"))
}

fn decoded(text: String, encoding: Option<&str>) -> Result<Vec<u8>, String> {
    match encoding {
        Some("base64") => STANDARD
            .decode(text.split_ascii_whitespace().collect::<String>())
            .map_err(|error| format!("encoding says base64, but: {error}")),
        None | Some("" | "utf-8" | "utf8") => Ok(text.into_bytes()),
        Some(other) => Err(format!("encoding `{other}` is unknown: it must be `base64` or absent")),
    }
}

fn posted(post: Post, headers: &mut Vec<(String, String)>) -> Result<RecordedBody, String> {
    let text = post.text.filter(|text| !text.is_empty());
    let mut kind = post.mime_type;
    let bytes = match (text, post.params) {
        (Some(text), _) => {
            decoded(text, post.encoding.as_deref()).map_err(|error| format!(".request.postData.text: {error}"))?
        }
        (None, Some(params)) if kind.starts_with("multipart/form-data") => {
            // The boundary is the file's, or else both the header and the body get ours.
            let boundary = if let Some((_, boundary)) = kind.split_once("boundary=") {
                boundary.split(';').next().unwrap_or_default().trim_matches('"').to_owned()
            } else {
                headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
                kind = format!("multipart/form-data; boundary={BOUNDARY}");
                BOUNDARY.to_owned()
            };
            multipart(&params, &boundary)
        }
        (None, Some(params)) => {
            let mut form = Serializer::new(String::new());
            for param in &params {
                form.append_pair(&param.name, param.value.as_deref().unwrap_or_default());
            }
            form.finish().into_bytes()
        }
        (None, None) => Vec::new(),
    };
    if !kind.is_empty() {
        add_content_type(headers, &kind);
    }
    Ok(RecordedBody { bytes, is_raw: false })
}

/// RFC 7578. The file's bytes are mostly not in a HAR file; its name is.
fn multipart(params: &[Param], boundary: &str) -> Vec<u8> {
    let quoted = |text: &str| text.replace(['\r', '\n', '"'], " ");
    let mut body = String::new();
    for param in params {
        let _ = write!(body, "--{boundary}\r\ncontent-disposition: form-data; name=\"{}\"", quoted(&param.name));
        if let Some(name) = &param.file_name {
            let _ = write!(body, "; filename=\"{}\"", quoted(name));
        }
        if let Some(kind) = &param.content_type {
            let _ = write!(body, "\r\ncontent-type: {}", quoted(kind));
        }
        let _ = write!(body, "\r\n\r\n{}\r\n", param.value.as_deref().unwrap_or_default());
    }
    let _ = write!(body, "--{boundary}--\r\n");
    body.into_bytes()
}

fn session_message(message: Message) -> SessionMessage {
    let is_binary = message.opcode == 2;
    let data = if is_binary { STANDARD.decode(&message.data).ok() } else { None };
    SessionMessage {
        is_sent: message.kind == "send",
        is_binary,
        data: data.unwrap_or_else(|| message.data.into_bytes()),
    }
}

fn pairs(headers: Vec<Header>) -> Vec<(String, String)> {
    headers.into_iter().map(|header| (header.name, header.value)).collect()
}

fn add_content_type(headers: &mut Vec<(String, String)>, kind: &str) {
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
}

/// The file's times. An entry without a start has none.
fn times(started: Option<&str>, time_ms: Option<f64>, timings: Option<&Timings>) -> Result<Option<Times>, String> {
    let Some(text) = started.filter(|text| !text.is_empty()) else { return Ok(None) };
    let started = Timestamp::parse(text).ok_or_else(|| {
        format!(".startedDateTime: `{text}` must be a time with its zone, such as 2026-01-31T12:00:00.000Z")
    })?;
    let none = Timings::default();
    let phases = timings.unwrap_or(&none);
    let before = [phases.blocked, phases.dns, phases.connect, phases.send, phases.wait];
    let waited_ns: u64 = before.into_iter().map(ns).fold(0, u64::saturating_add);
    let total_ns = ns(time_ms).max(waited_ns.saturating_add(ns(phases.receive)));
    let first_byte = Timestamp(started.0.saturating_add(waited_ns));
    Ok(Some(Times { started, first_byte, ended: Timestamp(started.0.saturating_add(total_ns)) }))
}

/// Milliseconds as nanoseconds; what did not happen took no time.
fn ns(ms: Option<f64>) -> u64 {
    #[expect(clippy::cast_sign_loss, reason = "negative times were taken out before; `as` saturates")]
    ms.filter(|ms| ms.is_finite() && *ms > 0.0).map_or(0, |ms| (ms * 1e6) as u64)
}
