//! Enters: one request (host, path, headers, body). Leaves: one [`Reply`] in the words of the vendor that the host stands
//! for. A host that is no vendor gets a plain echo. The shapes were written by hand after the vendors' documentation; no
//! recorded answer is in here.

mod anthropic;
mod chat;
mod embeddings;
mod responses;

use hyper::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::{ask::Ask, control::Control, models, reply::Reply};

/// The start of the answers' calendar: no clock is read, so equal runs give equal answers (2026-01-01T00:00:00Z).
const EPOCH_S: u64 = 1_767_225_600;

/// One request, read whole.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    /// The Host header without port, else the TLS server name; lower case.
    pub(crate) host: String,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// Counts the server's requests from 1; ids and times are made of it.
    pub(crate) serial: u64,
}

/// What an answer is made of, over all shapes.
#[derive(Debug)]
struct Draft {
    ask: Ask,
    /// The model that answers.
    model: String,
    text: String,
    serial: u64,
}

impl Draft {
    fn created_s(&self) -> u64 {
        EPOCH_S + self.serial
    }

    /// An id in the vendor's style: prefix and a number that no other answer of this run has.
    fn id(&self, prefix: &str) -> String {
        format!("{prefix}{:024x}", self.serial)
    }

    /// Tokens of the answer, whether it is text or a tool call.
    fn answer_tokens(&self) -> u64 {
        let tool = self.ask.call.as_ref().map(|tool| format!("{}{}", tool.name, tool.arguments()));
        models::tokens(tool.as_deref().unwrap_or(&self.text)).max(1)
    }

    /// The text in the small uneven pieces in which a model streams; at most a few thousand of them.
    fn pieces(&self) -> Vec<&str> {
        pieces(&self.text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vendor {
    OpenAi,
    Anthropic,
}

impl Vendor {
    fn of(host: &str) -> Option<Self> {
        let is = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if is("openai.com") {
            Some(Self::OpenAi)
        } else if is("anthropic.com") {
            Some(Self::Anthropic)
        } else {
            None
        }
    }

    /// The vendor's error body.
    fn error(self, status: StatusCode, message: &str, serial: u64) -> Reply {
        let kind = match status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        };
        let reply = match self {
            Self::Anthropic => {
                let id = format!("req_{serial:024x}");
                let error = json!({"type": kind, "message": message});
                Reply::json(status, json!({"type": "error", "error": error, "request_id": id}))
            }
            Self::OpenAi => {
                let code =
                    if status == StatusCode::TOO_MANY_REQUESTS { json!("rate_limit_exceeded") } else { Value::Null };
                let error = json!({"message": message, "type": kind, "param": null, "code": code});
                Reply::json(status, json!({"error": error}))
            }
        };
        let reply = if status == StatusCode::TOO_MANY_REQUESTS { reply.header("retry-after", "1") } else { reply };
        self.signed(reply, serial)
    }

    /// The headers that every answer of the vendor carries.
    fn signed(self, reply: Reply, serial: u64) -> Reply {
        match self {
            Self::OpenAi => reply
                .header("x-request-id", format!("req_{serial:032x}"))
                .header("openai-version", "2020-10-01")
                .header("openai-processing-ms", "42")
                .header("x-ratelimit-limit-requests", "10000")
                .header("x-ratelimit-remaining-requests", "9999"),
            Self::Anthropic => reply
                .header("request-id", format!("req_{serial:024x}"))
                .header("anthropic-ratelimit-requests-limit", "4000")
                .header("anthropic-ratelimit-requests-remaining", "3999"),
        }
    }
}

/// Answers one request. The second value says whether the answer is to be compressed.
pub(crate) fn answer(incoming: &Incoming<'_>) -> (Reply, bool) {
    let vendor = Vendor::of(&incoming.host);
    let control = match Control::parse(incoming.headers) {
        Ok(control) => control,
        Err(message) => return (Reply::json(StatusCode::BAD_REQUEST, json!({"error": {"message": message}})), false),
    };
    let gzip = control.gzip;
    let Some(vendor) = vendor else { return (page(incoming, &control), gzip) };
    let reply = if let Some(status) = control.status {
        vendor.error(status, "The fixture was asked for this error.", incoming.serial)
    } else {
        match vendor_answer(vendor, incoming, &control) {
            Ok(reply) => vendor.signed(reply, incoming.serial),
            Err((status, message)) => vendor.error(status, &message, incoming.serial),
        }
    };
    (reply, gzip)
}

fn vendor_answer(vendor: Vendor, incoming: &Incoming<'_>, control: &Control) -> Result<Reply, (StatusCode, String)> {
    let shape: fn(&Draft) -> Reply = match (vendor, incoming.method, incoming.path) {
        (Vendor::OpenAi, &Method::GET, "/v1/models") => return Ok(chat::models()),
        (Vendor::Anthropic, &Method::GET, "/v1/models") => return Ok(anthropic::models()),
        (Vendor::OpenAi, &Method::POST, "/v1/chat/completions") => chat::reply,
        (Vendor::OpenAi, &Method::POST, "/v1/responses") => responses::reply,
        (Vendor::OpenAi, &Method::POST, "/v1/embeddings") => embeddings::reply,
        (Vendor::Anthropic, &Method::POST, "/v1/messages") => anthropic::reply,
        (_, method, path) => {
            return Err((StatusCode::NOT_FOUND, format!("Invalid URL ({method} {path})")));
        }
    };
    let ask = Ask::parse(incoming.body).map_err(|message| (StatusCode::BAD_REQUEST, message))?;
    let model = control.resolve.clone().unwrap_or_else(|| models::resolve(&ask.model).to_owned());
    let text = text(&ask, control, incoming.body);
    Ok(shape(&Draft { ask, model, text, serial: incoming.serial }))
}

/// The text of an answer: as long as asked, or the request's body, or a sentence that depends on the prompt's size.
fn text(ask: &Ask, control: &Control, body: &[u8]) -> String {
    match control.size_bytes {
        Some(bytes) => filler(bytes),
        None if control.echo => String::from_utf8_lossy(body).into_owned(),
        None => format!(
            "Thank you. I have read {} message(s) with {} characters. Please restart the device, wait for the light to \
             turn green, and write to us again if the trouble stays.",
            ask.messages, ask.prompt_chars
        ),
    }
}

/// Text of exactly `bytes` bytes in which every line differs, so that a missing piece cannot hide.
fn filler(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 64);
    for line in 1_u64.. {
        if text.len() >= bytes {
            break;
        }
        text.extend(["line ", &line.to_string(), " of the long answer. "]);
    }
    text.truncate(bytes); // ASCII only: every byte is a character boundary
    text
}

fn pieces(text: &str) -> Vec<&str> {
    const STEPS: [usize; 4] = [5, 3, 9, 4];
    let scale = text.len() / 16_384 + 1;
    let mut pieces = Vec::new();
    let mut rest = text;
    for step in STEPS.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let end = (step * scale..rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

/// One server-sent event without a name.
fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// One server-sent event with a name, which is also the value's `type`.
fn named(value: &Value) -> String {
    let name = value.get("type").and_then(Value::as_str).unwrap_or("message");
    format!("event: {name}\ndata: {value}\n\n")
}

/// A host that is no vendor: any path echoes what came.
fn page(incoming: &Incoming<'_>, control: &Control) -> Reply {
    let body = match control.size_bytes {
        Some(bytes) => filler(bytes),
        None => String::from_utf8_lossy(incoming.body).into_owned(),
    };
    Reply::text(format!("{} {} at {}\n{body}\n", incoming.method, incoming.path, incoming.host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendor_is_its_domain_and_nothing_that_only_looks_like_it() {
        let cases = [
            ("api.openai.com", Some(Vendor::OpenAi)),
            ("eu.api.openai.com", Some(Vendor::OpenAi)),
            ("api.anthropic.com", Some(Vendor::Anthropic)),
            ("notopenai.com", None),
            ("openai.com.example.test", None),
            ("www.example.test", None),
        ];
        for (host, vendor) in cases {
            assert_eq!(Vendor::of(host), vendor, "{host}");
        }
    }

    #[test]
    fn pieces_join_to_the_text_and_stay_few() {
        for text in ["", "a", "Grüße aus Köln, 日本語 🎉 and more", &filler(3 << 20)] {
            let pieces = pieces(text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.len() < 8_192, "{} pieces", pieces.len());
        }
    }

    #[test]
    fn filler_has_the_asked_length_and_no_two_equal_lines() {
        for bytes in [0, 1, 27, 100_000] {
            assert_eq!(filler(bytes).len(), bytes);
        }
    }
}
