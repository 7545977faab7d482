//! What the shapes have in common. Enters: JSON values. Leaves: [`Facts`], and readers for the members that several vendors
//! spell alike. A member that is absent, empty or of another type is `None`, never a default.

use serde_json::Value;

use super::{Usage, Written};
use crate::{assembly::End, units::NanoUsd};

/// Tool calls, finish reasons and the like that are kept of one answer.
pub(super) const MAX_LISTED: usize = 4096;
/// Longest name, id or model that is taken for one.
pub(super) const MAX_NAME_BYTES: usize = 256;
/// Longest error code that is reported; longer ones are no codes.
const MAX_CODE_BYTES: usize = 64;

/// What an answer says about itself.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Facts {
    pub(super) response_model: Option<String>,
    pub(super) response_id: Option<String>,
    pub(super) usage: Usage,
    pub(super) finish_reasons: Vec<String>,
    pub(super) tool_calls: Vec<String>,
    pub(super) server_tool_calls: Vec<String>,
    pub(super) service_tier: Option<String>,
    pub(super) usage_tier: Option<String>,
    pub(super) system_fingerprint: Option<String>,
    pub(super) error: Option<String>,
    pub(super) reported_cost: Option<NanoUsd>,
    /// A tool of the Model Context Protocol said that it failed.
    pub(super) tool_failed: bool,
    pub(super) written: Written,
}

impl Facts {
    /// Members that OpenAI, Anthropic and all that are compatible with either put at the top of an answer.
    pub(super) fn envelope(&mut self, doc: &Value) {
        renew(&mut self.response_model, doc, "model");
        renew(&mut self.response_id, doc, "id");
        renew(&mut self.service_tier, doc, "service_tier");
        renew(&mut self.system_fingerprint, doc, "system_fingerprint");
        replace(&mut self.error, error_code(doc));
    }
}

/// How much of a stream was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// All of it.
    Whole,
    /// All up to a point: it was broken off there.
    Start,
    /// Not all, and what is missing may change sums.
    Parts,
}

impl From<End> for Seen {
    fn from(end: End) -> Self {
        match end {
            End::Complete => Self::Whole,
            End::Cut => Self::Start,
            End::Gap | End::TooLarge | End::Unreadable => Self::Parts,
        }
    }
}

/// Puts a newer value in the place of an older one, if there is a newer one.
pub(super) fn replace<T>(slot: &mut Option<T>, newer: Option<T>) {
    if newer.is_some() {
        *slot = newer;
    }
}

/// Puts a string member in the place of an older one. Streams repeat theirs in each event: what is the same is not copied.
fn renew(slot: &mut Option<String>, doc: &Value, key: &str) {
    if doc.get(key).and_then(Value::as_str) != slot.as_deref() {
        replace(slot, text(doc, key));
    }
}

/// A string member that is not empty, and not so long that it cannot be a name.
pub(super) fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().filter(|text| (1..=MAX_NAME_BYTES).contains(&text.len())).map(str::to_owned)
}

/// A number of tokens; `path` leads through objects.
pub(super) fn count(value: &Value, path: &[&str]) -> Option<u64> {
    path.iter().try_fold(value, |value, key| value.get(key))?.as_u64()
}

/// Elements of an array member; none when it is no array.
pub(super) fn elements<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The code of an error object. Messages are not taken: they repeat what was sent.
///
/// Shapes: OpenAI `{"error":{"message","type","code"}}`, Anthropic `{"type":"error","error":{"type"}}`, Google
/// `{"error":{"code":404,"status"}}`; any of them may stand in an answer with status 200, and inside a stream.
pub(super) fn error_code(doc: &Value) -> Option<String> {
    let error = match doc.get("error")? {
        Value::Null => return None,
        Value::Object(map) if map.is_empty() => return None,
        Value::String(text) if text.is_empty() => return None,
        error => error,
    };
    let code = ["code", "type", "status"].iter().find_map(|key| match error.get(key)? {
        Value::String(code) => is_code(code).then(|| code.clone()),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    });
    Some(code.unwrap_or_else(|| "error".to_owned()))
}

/// A code that has a place of its own; words that are none are not repeated.
pub(super) fn named_code(text: &str) -> String {
    if is_code(text) { text.to_owned() } else { "error".to_owned() }
}

fn is_code(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !text.is_empty() && text.len() <= MAX_CODE_BYTES && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn error_codes() {
        for (doc, code) in [
            (
                json!({"error":{"message":"m","type":"invalid_request_error","code":"model_not_found"}}),
                Some("model_not_found"),
            ),
            (
                json!({"error":{"message":"m","type":"invalid_request_error","code":null}}),
                Some("invalid_request_error"),
            ),
            (json!({"type":"error","error":{"type":"overloaded_error","message":"m"}}), Some("overloaded_error")),
            (json!({"error":{"code":404,"status":"NOT_FOUND"}}), Some("404")),
            (json!({"error":"something with words"}), Some("error")),
            (json!({"error":{"code":"not a code, a sentence"}}), Some("error")),
            (json!({"error":null}), None),
            (json!({"error":{}}), None),
            (json!({}), None),
        ] {
            assert_eq!(error_code(&doc).as_deref(), code, "{doc}");
        }
    }
}
