//! Exchange records: the JSON that the recorded exchanges are kept in. Enters: one JSON object. Leaves: [`Record`]. Members
//! that are not needed to replay it are ignored; one that is wrong is named.
//!
//! `{id, request: {method, url, headers, body | body_base64}, response: {status, headers, body | body_base64}}`; a WebSocket
//! session has `messages: [{direction, data}]` in the place of the response. `outflow: {started_at_ns, first_byte_ns,
//! ended_at_ns, service, feature, process, connection}` says when it was and whose; all of it may be absent.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Answer, Record, SessionMessage, Times,
    message::{self, RecordedBody},
};
use crate::{sources::Origin, units::Timestamp};

/// Who asked, when the record does not say.
const REPLAY: &str = "replay";

#[derive(Deserialize)]
#[serde(expecting = "an object with `method`, `url`, `headers` and `body`")]
struct RawRequest {
    method: String,
    url: String,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
    body: Option<String>,
    body_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `status`, `headers` and `body`")]
struct RawResponse {
    status: u16,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
    body: Option<String>,
    body_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `direction` and `data`")]
struct RawMessage {
    direction: String,
    #[serde(default)]
    kind: Option<String>,
    data: Option<Value>,
    data_base64: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(expecting = "an object with times, `service` and the like")]
struct Extra {
    started_at_ns: Option<u64>,
    first_byte_ns: Option<u64>,
    ended_at_ns: Option<u64>,
    service: Option<String>,
    feature: Option<String>,
    process: Option<Label>,
    connection: Option<Label>,
}

/// A name or a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Number(u32),
    Text(String),
}

/// Whether a JSON value is meant to be an exchange record.
pub(super) fn is_record(doc: &Value) -> bool {
    doc.get("request").is_some()
}

impl Record {
    /// Reads one record from its text. `Err`: what is wrong, for people; names the member.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let doc = serde_json::from_slice(text).map_err(|error| format!("no JSON: {error}"))?;
        parse(doc)
    }
}

/// Reads one record. `Err`: what is wrong, for people; names the member.
pub(super) fn parse(mut doc: Value) -> Result<Record, String> {
    let Some(members) = doc.as_object_mut() else {
        return Err("no exchange record: it must be an object with `request` and `response`".to_owned());
    };
    let mut take = |name: &str| members.remove(name).filter(|value| !value.is_null());
    let raw: RawRequest = member("request", take("request").ok_or("no exchange record: member `request` is missing")?)?;
    let (response, messages, extra) =
        (members.remove("response"), members.remove("messages"), members.remove("outflow"));
    let method = raw.method.clone();
    let request = body("request", raw.body, raw.body_base64)
        .and_then(|body| named("request", message::request(&raw.method, &raw.url, pairs(raw.headers), body)))?;
    let answer = match (response, messages) {
        (_, Some(messages)) => {
            let messages: Vec<RawMessage> = member("messages", messages)?;
            Answer::Session(messages.into_iter().enumerate().map(session_message).collect::<Result<_, _>>()?)
        }
        // Broken off: nothing came back.
        (Some(Value::Null), None) => Answer::None,
        (Some(response), None) => {
            let raw: RawResponse = member("response", response)?;
            let body = body("response", raw.body, raw.body_base64)?;
            Answer::Http(named("response", message::response(&method, raw.status, pairs(raw.headers), body))?)
        }
        (None, None) => {
            return Err("no exchange record: member `response` is missing (null: there was none)".to_owned());
        }
    };
    let extra: Extra =
        extra.filter(|extra| !extra.is_null()).map_or(Ok(Extra::default()), |extra| member("outflow", extra))?;
    let id = match members.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(id @ Value::Number(_)) => id.to_string(),
        _ => String::new(),
    };
    Ok(Record {
        id,
        request,
        answer,
        times: times(&extra)?,
        connection: extra.connection.map(|label| match label {
            Label::Number(number) => number.to_string(),
            Label::Text(text) => text,
        }),
        origin: origin(extra.service, extra.feature, extra.process),
    })
}

fn origin(service: Option<String>, feature: Option<String>, process: Option<Label>) -> Origin {
    let (pid, process) = match process {
        Some(Label::Number(pid)) => (pid, REPLAY.to_owned()),
        Some(Label::Text(name)) => (0, name),
        None => (0, REPLAY.to_owned()),
    };
    Origin { pid, process, service: service.unwrap_or_else(|| REPLAY.to_owned()), feature, ..Origin::default() }
}

/// Who asked, for formats that do not say.
pub(super) fn anyone() -> Origin {
    origin(None, None, None)
}

/// `first_byte_ns` and `ended_at_ns` may be left out: then nothing took time.
fn times(extra: &Extra) -> Result<Option<Times>, String> {
    let Some(started) = extra.started_at_ns else {
        let is_alone = extra.first_byte_ns.is_none() && extra.ended_at_ns.is_none();
        return if is_alone {
            Ok(None)
        } else {
            Err("outflow.started_at_ns: is missing, other times are there".to_owned())
        };
    };
    let first_byte = extra.first_byte_ns.or(extra.ended_at_ns).unwrap_or(started);
    let ended = extra.ended_at_ns.unwrap_or(first_byte);
    if first_byte < started {
        return Err("outflow.first_byte_ns: is before started_at_ns".to_owned());
    }
    if ended < first_byte {
        return Err("outflow.ended_at_ns: is before first_byte_ns".to_owned());
    }
    Ok(Some(Times { started: Timestamp(started), first_byte: Timestamp(first_byte), ended: Timestamp(ended) }))
}

fn session_message((index, raw): (usize, RawMessage)) -> Result<SessionMessage, String> {
    let is_sent = match raw.direction.as_str() {
        "sent" | "send" | "client" => true,
        "received" | "receive" | "server" => false,
        other => return Err(format!("messages[{index}].direction: `{other}` must be `sent` or `received`")),
    };
    let is_binary = raw.kind.as_deref() == Some("binary") || raw.data_base64.is_some();
    let data = match (raw.data, raw.data_base64) {
        (Some(_), Some(_)) => return Err(format!("messages[{index}]: has both data and data_base64")),
        (None, Some(text)) => {
            STANDARD.decode(text).map_err(|error| format!("messages[{index}].data_base64: {error}"))?
        }
        (Some(Value::String(text)), None) => text.into_bytes(),
        (Some(json), None) => json.to_string().into_bytes(),
        (None, None) => Vec::new(),
    };
    Ok(SessionMessage { is_sent, is_binary, data })
}

fn pairs(headers: Option<BTreeMap<String, String>>) -> Vec<(String, String)> {
    headers.unwrap_or_default().into_iter().collect()
}

fn member<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("{name}: {error}"))
}

fn named<T>(side: &str, result: Result<T, String>) -> Result<T, String> {
    result.map_err(|message| format!("{side}.{message}"))
}

fn body(side: &str, text: Option<String>, base64: Option<String>) -> Result<RecordedBody, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("{side}: has both body and body_base64")),
        (Some(text), None) => Ok(RecordedBody { bytes: text.into_bytes(), is_raw: false }),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map(|bytes| RecordedBody { bytes, is_raw: true })
            .map_err(|error| format!("{side}.body_base64: {error}")),
        (None, None) => Ok(RecordedBody::default()),
    }
}
