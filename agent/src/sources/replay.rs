//! Replays recorded exchanges as the bytes of a connection. Enters: exchange records (JSON: `request` and `response` with
//! url, headers and body). Leaves: [`Input`]s, as the tap would have handed them over: HTTP/1.1, in pieces, with holes if
//! asked for. Turning a record into inputs is a pure function; only [`Record::read`] touches the disk. Never trusts a recorded
//! length: recorders decompress and re-serialise.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;

use super::{Direction, Input, Origin, StreamEvent, StreamId};
use crate::units::Timestamp;

/// Largest record that is read.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Time between two pieces.
const STEP_NS: u64 = 1_000_000;
/// One piece in so many is dropped.
const DROP_ONE_IN: u64 = 6;

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("cannot read {path}: {why}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The file is no exchange record.
    #[error("{path}: {message}")]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What is wrong; names the member.
        message: String,
    },
}

/// A recorded exchange. Members that are not needed to replay it are ignored.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    request: RecordedRequest,
    response: RecordedResponse,
}

#[derive(Clone, Debug, Deserialize)]
struct RecordedRequest {
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct RecordedResponse {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// How a record is turned into inputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Seed: cuts the bytes into pieces of random sizes.
    pub split: Option<u64>,
    /// Seed: drops random pieces, which leaves holes.
    pub drop: Option<u64>,
}

impl Record {
    /// Reads a record from a file.
    pub fn read(path: &Path) -> Result<Self, ReplayError> {
        let failed = |why| ReplayError::Read { path: path.to_owned(), why };
        if fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
            let message = format!("more than {} MiB: no exchange record is that long", MAX_FILE_BYTES >> 20);
            return Err(ReplayError::Invalid { path: path.to_owned(), message });
        }
        let text = fs::read(path).map_err(failed)?;
        Self::parse(&text).map_err(|message| ReplayError::Invalid { path: path.to_owned(), message })
    }

    /// Reads a record from its text. `Err`: what is wrong, for people.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(text).map_err(|error| format!("no exchange record: {error}"))?;
        let request = &record.request;
        let is_token = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token(&request.method) {
            return Err(format!("request.method: `{}` is no method", request.method));
        }
        if target_of(&request.url).is_none_or(|(host, target)| !is_token(host) || !is_token(target)) {
            return Err(format!("request.url: `{}` must be http(s)://host/path", request.url));
        }
        if !(200..=599).contains(&record.response.status) {
            return Err(format!("response.status: {} is no final status", record.response.status));
        }
        body("request", request.body.as_deref(), request.body_base64.as_deref())?;
        body("response", record.response.body.as_deref(), record.response.body_base64.as_deref())?;
        Ok(record)
    }

    /// Plays the record on a connection of its own. The first event has the time `from`.
    pub fn inputs(&self, stream: StreamId, from: Timestamp, options: Options) -> Vec<Input> {
        let (host, target) = target_of(&self.request.url).unwrap_or(("", "/"));
        let sent = vec![self.request_bytes(host, target)];
        let received = self.response_pieces();
        let total = |pieces: &[Vec<u8>]| pieces.iter().map(|piece| piece.len() as u64).sum();
        let closed = StreamEvent::Closed { sent_bytes: Some(total(&sent)), received_bytes: Some(total(&received)) };

        let mut events = vec![StreamEvent::Opened { server_name: host_name(host).to_ascii_lowercase().into() }];
        let mut sizes = options.split.map(Random::new);
        let mut losses = options.drop.map(Random::new);
        for (direction, pieces) in [(Direction::Sent, sent), (Direction::Received, received)] {
            let mut offset = 0;
            for piece in pieces {
                for bytes in cut(Bytes::from(piece), sizes.as_mut()) {
                    let length = bytes.len() as u64;
                    if losses.as_mut().is_none_or(|random| random.below(DROP_ONE_IN) != 0) {
                        events.push(StreamEvent::Bytes { direction, offset, bytes });
                    }
                    offset += length;
                }
            }
        }
        events.push(closed);

        let origin = Arc::new(Origin { process: "replay".into(), service: "replay".into(), ..Origin::default() });
        let input = |(step, event)| Input {
            stream,
            origin: Arc::clone(&origin),
            at: Timestamp(from.0.saturating_add(STEP_NS.saturating_mul(step))),
            event,
        };
        (0..).zip(events).map(input).collect()
    }

    fn request_bytes(&self, host: &str, target: &str) -> Vec<u8> {
        let request = &self.request;
        let body = body("request", request.body.as_deref(), request.body_base64.as_deref()).unwrap_or_default();
        let mut wire = format!("{} {target} HTTP/1.1\r\n", request.method).into_bytes();
        if !request.headers.contains_key("host") {
            field(&mut wire, "host", host);
        }
        fields(&mut wire, &request.headers, &body);
        if !body.is_empty() || request.method == "POST" {
            field(&mut wire, "content-length", &body.len().to_string());
        }
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(&body);
        wire
    }

    /// Head and body; an event stream comes event by event, in chunks, as servers send it.
    fn response_pieces(&self) -> Vec<Vec<u8>> {
        let response = &self.response;
        let body = body("response", response.body.as_deref(), response.body_base64.as_deref()).unwrap_or_default();
        let mut head = format!("HTTP/1.1 {} \r\n", response.status).into_bytes();
        fields(&mut head, &response.headers, &body);
        let kind = response.headers.get("content-type").map(String::as_str).unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("text/event-stream") {
            field(&mut head, "content-length", &body.len().to_string());
            head.extend_from_slice(b"\r\n");
            head.extend_from_slice(&body);
            return vec![head];
        }
        field(&mut head, "transfer-encoding", "chunked");
        head.extend_from_slice(b"\r\n");
        let mut pieces = vec![head];
        for event in events(&body) {
            pieces.push([format!("{:x}\r\n", event.len()).as_bytes(), event, b"\r\n"].concat());
        }
        pieces.push(b"0\r\n\r\n".to_vec());
        pieces
    }
}

/// Recorded headers, without those that are made anew or that the body contradicts.
fn fields(wire: &mut Vec<u8>, headers: &BTreeMap<String, String>, body: &[u8]) {
    let is_gzip = body.starts_with(&[0x1f, 0x8b]);
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let made_anew = matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection");
        // A body that the recorder decompressed is no longer encoded.
        let contradicted = name == "content-encoding" && !is_gzip;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !made_anew && !contradicted && !name.is_empty() && name.bytes().all(is_token) {
            field(wire, &name, value);
        }
    }
}

fn field(wire: &mut Vec<u8>, name: &str, value: &str) {
    let value = value.replace(['\r', '\n', '\0'], " ");
    wire.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
}

fn body(side: &str, text: Option<&str>, base64: Option<&str>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("{side}: has both body and body_base64")),
        (Some(text), None) => Ok(text.as_bytes().to_vec()),
        (None, Some(text)) => STANDARD.decode(text).map_err(|error| format!("{side}.body_base64: {error}")),
        (None, None) => Ok(Vec::new()),
    }
}

/// Host (with its port) and path of a URL.
fn target_of(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    (matches!(scheme, "http" | "https") && !host.is_empty()).then_some((host, path))
}

fn host_name(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// The events of an event stream, each with the empty line that ends it.
fn events(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let end = memchr::memmem::find(rest, b"\n\n").map(|at| at + 2);
        let crlf = memchr::memmem::find(rest, b"\r\n\r\n").map(|at| at + 4);
        let end = [end, crlf].into_iter().flatten().min().unwrap_or(rest.len());
        let (event, tail) = rest.split_at_checked(end)?;
        rest = tail;
        (!event.is_empty()).then_some(event)
    })
}

/// Cuts into random pieces; many are tiny and some are long, so that every kind of seam is met.
fn cut(bytes: Bytes, random: Option<&mut Random>) -> Vec<Bytes> {
    let Some(random) = random else { return vec![bytes] };
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while !rest.is_empty() {
        let most = 1 << random.below(13);
        let size = (1 + random.below(most)) as usize;
        pieces.push(rest.split_to(size.min(rest.len())));
    }
    pieces
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): the same seed, the same pieces.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(inputs: &[Input], wanted: Direction) -> String {
        let mut text = String::new();
        for input in inputs {
            if let StreamEvent::Bytes { direction, offset, bytes } = &input.event
                && *direction == wanted
            {
                assert_eq!(*offset, text.len() as u64);
                text.push_str(str::from_utf8(bytes).unwrap());
            }
        }
        text
    }

    const RECORD: &str = r#"{"id":"x","request":{"method":"POST","url":"https://API.example:8443/v1/x?a=b",
        "headers":{"content-length":"999","x-a":"b"},"body":"hello"},
        "response":{"status":200,"headers":{"content-type":"text/event-stream","content-encoding":"gzip"},
        "body":"data: a\n\ndata: b\r\n\r\n"}}"#;

    #[test]
    fn a_record_becomes_wire_bytes() {
        let inputs = Record::parse(RECORD.as_bytes()).unwrap().inputs(StreamId(3), Timestamp(5), Options::default());
        assert!(matches!(&inputs[0].event, StreamEvent::Opened { server_name } if &**server_name == "api.example"));
        assert_eq!(
            wire(&inputs, Direction::Sent),
            "POST /v1/x?a=b HTTP/1.1\r\nhost: API.example:8443\r\nx-a: b\r\ncontent-length: 5\r\n\r\nhello"
        );
        assert_eq!(
            wire(&inputs, Direction::Received),
            "HTTP/1.1 200 \r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
             9\r\ndata: a\n\n\r\nb\r\ndata: b\r\n\r\n\r\n0\r\n\r\n"
        );
        let sent = wire(&inputs, Direction::Sent).len() as u64;
        assert!(
            matches!(inputs.last().unwrap().event, StreamEvent::Closed { sent_bytes, .. } if sent_bytes == Some(sent))
        );
        assert!(inputs.windows(2).all(|pair| pair[0].at < pair[1].at));
    }

    #[test]
    fn a_seed_cuts_and_drops_the_same_way_each_time() {
        let record = Record::parse(RECORD.as_bytes()).unwrap();
        let run = |split, drop| record.inputs(StreamId(1), Timestamp(0), Options { split, drop });
        let (whole, split) = (run(None, None), run(Some(7), None));
        assert_eq!(wire(&split, Direction::Received), wire(&whole, Direction::Received));
        assert!(split.len() > whole.len());
        assert_eq!(format!("{split:?}"), format!("{:?}", run(Some(7), None)));
        assert_ne!(format!("{split:?}"), format!("{:?}", run(Some(8), None)));
        let dropped = run(Some(7), Some(1));
        assert!(dropped.len() < split.len());
    }

    #[test]
    fn bad_records_say_what_is_wrong() {
        for (from, to, message) in [
            ("\"POST\"", "\"P T\"", "request.method"),
            ("https://", "ftp://", "request.url"),
            ("200", "20", "response.status"),
            ("\"body\":\"hello\"", "\"body_base64\":\"?\"", "request.body_base64"),
            ("\"body\":\"hello\"", "\"body\":\"\",\"body_base64\":\"\"", "request: has both"),
            ("\"response\"", "\"answer\"", "missing field `response`"),
            ("{\"id\"", "[\"id\"", "no exchange record"),
        ] {
            let error = Record::parse(RECORD.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        let error = Record::read(Path::new("/nonexistent/record.json")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nonexistent/record.json: "), "{error}");
    }
}
