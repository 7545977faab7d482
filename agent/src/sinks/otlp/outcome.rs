//! What a collector's answer means. Enters: a gRPC status, or status, header fields and body of an HTTP answer. Leaves: an [`Outcome`]. Pure,
//! one table each; the rules are those of the OTLP specification 1.9, but for one: what is not to be retried there is kept here unless it is
//! the records' own fault, for an operator can mend everything else, and a finding that was thrown away is lost.

use std::time::Duration;

use prost::Message as _;
use serde_json::{Map, Value as Json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    Signal,
    export::{Export, Partial},
    words::{self, Words},
};
use crate::{
    sinks::later::{AFTER_MAX, retry_after},
    units::Timestamp,
};

/// Longest answer that is read, bytes: it holds a count and a sentence. No power of two, so that a refusal of ours is told from one of theirs.
pub(super) const ANSWER_BYTES_MAX: usize = 65_521;

const GRPC: &str = "OTLP/gRPC";
const HTTP: &str = "OTLP/HTTP";

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it was taken.
    Taken,
    /// So many records were not, it does not say which, and will not take them.
    Rejected {
        /// How many.
        count: u64,
        /// Why.
        detail: String,
    },
    /// One of the records, or spans, at least is at fault.
    Invalid(String),
    /// Fewer records at a time may pass.
    TooLarge(String),
    /// It takes nothing that is compressed.
    Compressed,
    /// It can be that what is wrong with it is that it is compressed.
    Suspect,
    /// Later, perhaps.
    NotNow {
        /// In words.
        reason: String,
        /// What it asked for.
        after: Option<Duration>,
    },
    /// Later, over another connection.
    Broken(String),
}

/// How a request was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    Plain,
    /// Compressed, and whether the collector knows how to read that is not known.
    Untried,
    /// Compressed, as others before that it took.
    Understood,
}

impl Outcome {
    /// The collector has read the records and taken some at least, or says that it could have.
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Taken | Self::Rejected { .. })
    }

    pub(super) fn not_now(reason: String) -> Self {
        Self::NotNow { reason, after: None }
    }
}

/// An answer that came as one.
pub(super) fn of_answer(partial: &Partial, words: &Words) -> Outcome {
    match u64::try_from(partial.rejected) {
        // A message without rejected records is a warning.
        Ok(0) => Outcome::Taken,
        Ok(count) => Outcome::Rejected { count, detail: words.quoted(&partial.message) },
        Err(_) => Outcome::not_now(format!("{} says that it rejected fewer than none", words.endpoint())),
    }
}

/// A gRPC call that failed.
pub(super) fn of_status(signal: Signal, status: &Status, packing: Packing, words: &Words) -> Outcome {
    // A status that the collector did not send has an error behind it.
    if let Some(error) = std::error::Error::source(status) {
        return match (words::is_transport(error), words::is_later(error)) {
            (true, false) => Outcome::Broken(words.unreachable(error)),
            (true, true) => Outcome::Broken(words.lost(error)),
            (false, _) => Outcome::not_now(words.foreign(GRPC, &words::innermost(error))),
        };
    }
    let (endpoint, because) = (words.endpoint(), words.because(status.message()));
    let later =
        |what: &str| Outcome::NotNow { reason: format!("{endpoint} {what}{because}"), after: retry_info(status) };
    // Headers and certificates are read again for the next connection: they may have been changed.
    let anew = |what: &str| Outcome::Broken(format!("{endpoint} {what}{because}"));
    match status.code() {
        Code::Unimplemented if packing != Packing::Plain => Outcome::Compressed,
        // Not every receiver has these words for what it cannot unpack.
        Code::InvalidArgument | Code::Internal | Code::Unknown if packing == Packing::Untried => Outcome::Suspect,
        Code::Unimplemented => {
            let of = signal.name();
            later(&format!(
                "takes no {of} over gRPC: check `endpoint` and `protocol`, and that its {of} pipeline is on"
            ))
        }
        Code::InvalidArgument => Outcome::Invalid(format!("INVALID_ARGUMENT{because}")),
        // What a receiver's limit on messages makes of a large one: grpc-go RESOURCE_EXHAUSTED, tonic OUT_OF_RANGE. Sent again as
        // it is it would never pass.
        Code::ResourceExhausted if status.message().contains("larger than max") => {
            Outcome::TooLarge(words.quoted(status.message()))
        }
        Code::OutOfRange if status.message().contains("message length too large") => {
            if status.message().contains(&format!("limit is: {ANSWER_BYTES_MAX} bytes")) {
                return later("answers with more than an answer holds: check `endpoint`");
            }
            Outcome::TooLarge(words.quoted(status.message()))
        }
        Code::Unauthenticated => {
            anew("does not know us (UNAUTHENTICATED): check `headers`, and the certificate if it wants one")
        }
        Code::PermissionDenied => anew("refuses us (PERMISSION_DENIED): check what the token in `headers` may do"),
        // tonic's words for what is no gRPC at all, such as a web page.
        Code::Internal if status.message().starts_with("protocol error: ") => {
            Outcome::not_now(words.foreign(GRPC, status.message()))
        }
        Code::NotFound => later("has nothing here (NOT_FOUND): check `endpoint` and `protocol`"),
        Code::Unavailable => later("is unavailable"),
        Code::ResourceExhausted => later("has no room"),
        code => later(&format!("answers {code:?}")),
    }
}

/// What the status asks us to wait (google.rpc.RetryInfo).
fn retry_info(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay.map(|delay| delay.min(AFTER_MAX))
}

/// An HTTP request that was not answered.
pub(super) fn of_failure(error: &reqwest::Error, words: &Words) -> Outcome {
    if error.is_connect() {
        Outcome::Broken(words.unreachable(error))
    } else if words::is_transport(error) {
        Outcome::Broken(words.lost(error))
    } else {
        Outcome::not_now(words.foreign(HTTP, &words::innermost(error)))
    }
}

/// What matters of an HTTP answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HttpAnswer<'a> {
    pub(super) status: u16,
    pub(super) content_type: Option<&'a str>,
    pub(super) retry_after: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// An HTTP answer. `now` is for a date in `retry-after`.
pub(super) fn of_http<R: Export>(answer: HttpAnswer<'_>, packing: Packing, now: Timestamp, words: &Words) -> Outcome {
    let (endpoint, status) = (words.endpoint(), answer.status);
    let said = said(answer);
    let because = words.because(&said);
    let later = |what: &str| Outcome::NotNow {
        reason: format!("{endpoint} {what}{because}"),
        after: answer.retry_after.and_then(|text| retry_after(text, now)),
    };
    // Headers and certificates are read again for the next connection: they may have been changed.
    let anew = |what: &str| Outcome::Broken(format!("{endpoint} {what}{because}"));
    match status {
        200..=299 => match taken::<R>(answer) {
            Some(taken) => of_answer(&taken, words),
            None => Outcome::not_now(words.foreign(HTTP, &format!("{status} with something else in it"))),
        },
        415 if packing != Packing::Plain => Outcome::Compressed,
        // rotel 0.0.1a15 says 400 of zstd, others 500 of anything that they cannot unpack.
        400 | 422 | 500 if packing == Packing::Untried => Outcome::Suspect,
        413 => Outcome::TooLarge(words.quoted(&said)),
        // A web page is a proxy's or a web server's word, not that of one who has read the records.
        400 | 422 if !is_type(answer, "text/html") => Outcome::Invalid(format!("{status}{because}")),
        300..=399 => later(&format!(
            "answers {status}, a redirect, which is not followed: put the address where it is into `endpoint`"
        )),
        401 => anew("does not know us (401): check `headers`, and the certificate if it wants one"),
        403 => anew("refuses us (403): check what the token in `headers` may do"),
        404 => later(&format!(
            "has nothing at this path (404): check `endpoint`, and that its {} pipeline is on",
            R::SIGNAL.name()
        )),
        415 => later("takes no protobuf (415): check `endpoint` and `protocol`"),
        429 => later("has no room (429)"),
        502..=504 => later(&format!("is unavailable ({status})")),
        _ => later(&format!("answers {status}")),
    }
}

/// The body of a success; `None` when it is none. Nothing at all is the whole message of "all taken".
fn taken<R: Export>(answer: HttpAnswer<'_>) -> Option<Partial> {
    if answer.body.is_empty() && !is_type(answer, "text/html") {
        return Some(Partial::default());
    }
    if is_type(answer, "application/json") {
        return taken_in_json(answer.body, R::REJECTED);
    }
    // Other texts can look like protobuf with fields that nobody knows.
    is_type(answer, "application/x-protobuf").then(|| R::Answer::decode(answer.body).ok().map(R::partial)).flatten()
}

/// Some receivers answer protobuf in JSON, and not only what OTLP has for it: otelite says `{"status": "success"}`. Whoever says nothing of the kind may
/// be no receiver at all.
fn taken_in_json(body: &[u8], rejected: [&str; 2]) -> Option<Partial> {
    let Ok(Json::Object(said)) = serde_json::from_slice(body) else { return None };
    // Readers of ProtoJSON take both spellings.
    let member = |of: &Map<String, Json>, names: [&str; 2]| names.iter().find_map(|name| of.get(*name)).cloned();
    match member(&said, ["partialSuccess", "partial_success"]) {
        None => {
            let is_success = said.get("status").is_some_and(|status| status == "success" || status == "ok");
            (said.is_empty() || is_success).then(Partial::default)
        }
        Some(Json::Null) => Some(Partial::default()),
        Some(Json::Object(partial)) => {
            // 64-bit numbers are texts in JSON.
            let count = |value: Json| value.as_i64().or_else(|| value.as_str()?.parse().ok());
            let rejected = member(&partial, rejected).filter(|count| !count.is_null());
            let words = member(&partial, ["errorMessage", "error_message"]);
            Some(Partial {
                rejected: rejected.map_or(Some(0), count)?,
                message: words.as_ref().and_then(Json::as_str).unwrap_or_default().to_owned(),
            })
        }
        Some(_) => None,
    }
}

/// The message of a failure: a google.rpc.Status in protobuf, or plain text. A page is not worth passing on.
fn said(answer: HttpAnswer<'_>) -> String {
    if is_type(answer, "application/x-protobuf") {
        return tonic_types::Status::decode(answer.body).map(|status| status.message).unwrap_or_default();
    }
    let is_text = is_type(answer, "text/plain") || is_type(answer, "application/json");
    if is_text { String::from_utf8_lossy(answer.body).into_owned() } else { String::new() }
}

fn is_type(answer: HttpAnswer<'_>, wanted: &str) -> bool {
    let essence = answer.content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(wanted)
}
