//! Calls on the wire. Enters: bodies. Leaves: the pieces of connections, as the tap hands them over, and what becomes of them.

use std::{error::Error, fs, hint::black_box, io::Write as _, path::PathBuf, sync::Arc};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use outflow::{
    assembly::{Assembled, Assembler, Limits},
    exchange::{Correlator, Exchange},
    rules::VendorTable,
    sources::{
        Direction, Input, Origin, StreamEvent, StreamId,
        replay::{Options, Record, WireVersion},
    },
    units::Timestamp,
};
use serde_json::{Value, json};

use crate::bodies::{self, Events, Random};

/// As the tap hands them over.
const PIECE_BYTES: usize = 16 << 10;
/// Of the speed of `IgnoredAny`.
const JSON_GATE: f64 = 0.5;
const SSE_GATE: f64 = 0.25;

pub(crate) type Failure = Box<dyn Error>;

/// One kind of call, several times.
#[allow(dead_code, reason = "shared by two programs, of which one measures no speed")]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Ratio that must be reached, if one must.
    pub(crate) gate: Option<f64>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) calls: usize,
    /// Bytes of the decoded bodies.
    pub(crate) bytes: usize,
    /// The JSON documents in them.
    pub(crate) documents: Vec<Vec<u8>>,
}

/// Every kind; the recordings too, when they are there.
pub(crate) fn all() -> Result<Vec<Case>, Failure> {
    let mut cases = vec![json(), usual()?, answers()?, h2()?, gzip()?, chat(), messages(), responses()];
    cases.extend(recordings()?);
    Ok(cases)
}

/// From pieces to facts.
pub(crate) fn understand(inputs: &[Input], vendors: &Arc<VendorTable>) -> usize {
    let (mut assembler, mut correlator) = (Assembler::new(Limits::default()), Correlator::new(Arc::clone(vendors)));
    let (mut events, mut exchanges, mut calls) = (Vec::new(), Vec::new(), 0);
    for input in inputs {
        assembler.push(input, &mut events);
        calls += correlate(&mut correlator, &mut events, &mut exchanges);
    }
    if let Some(last) = inputs.last() {
        assembler.finish(last.at, &mut events);
    }
    calls += correlate(&mut correlator, &mut events, &mut exchanges);
    correlator.finish(&mut exchanges);
    calls + exchanges.len()
}

pub(crate) fn correlate(
    correlator: &mut Correlator,
    events: &mut Vec<Assembled>,
    exchanges: &mut Vec<Exchange>,
) -> usize {
    for event in events.drain(..) {
        match event {
            Assembled::Message(message) => correlator.push(*message, exchanges),
            Assembled::Closed(stream) => correlator.closed(stream, exchanges),
            Assembled::CallOver { stream, call } => correlator.call_over(stream, call, exchanges),
            Assembled::Frame(frame) => correlator.frame(*frame, exchanges),
            Assembled::Anomaly(_) => {}
        }
    }
    let count = exchanges.len();
    black_box(&exchanges);
    exchanges.clear();
    count
}

/// The wire bytes of one call.
pub(crate) struct Call {
    sent: Vec<u8>,
    received: Vec<u8>,
    /// Bytes of both bodies, decoded.
    bytes: usize,
    documents: Vec<Vec<u8>>,
}

impl Call {
    fn new(host: &str, path: &str, asked: String, answer: (&str, &[u8]), decoded: (usize, Vec<Vec<u8>>)) -> Self {
        let sent = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\naccept: */*\r\n\
             user-agent: Fake/Python 2.1.0\r\ncontent-length: {}\r\n\r\n{asked}",
            asked.len()
        );
        let (headers, wire) = answer;
        let mut received = format!(
            "HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 00:00:00 GMT\r\nx-request-id: req_fake\r\n\
             openai-processing-ms: 512\r\nx-ratelimit-remaining-requests: 9999\r\n{headers}\r\n\r\n"
        )
        .into_bytes();
        received.extend_from_slice(wire);
        let bytes = asked.len() + decoded.0;
        let mut documents = decoded.1;
        documents.push(asked.into_bytes());
        Self { sent: sent.into_bytes(), received, bytes, documents }
    }

    pub(crate) fn json(asked: String, answered: &str, coded: bool) -> Result<Self, Failure> {
        let wire = if coded {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(answered.as_bytes())?;
            encoder.finish()?
        } else {
            answered.as_bytes().to_vec()
        };
        let headers = format!(
            "content-type: application/json\r\n{}content-length: {}",
            if coded { "content-encoding: gzip\r\n" } else { "" },
            wire.len()
        );
        let decoded = (answered.len(), vec![answered.as_bytes().to_vec()]);
        Ok(Self::new("api.openai.com", "/v1/chat/completions", asked, (&headers, &wire), decoded))
    }

    /// A streamed answer, one event a chunk, as servers write them.
    fn events(host: &str, path: &str, asked: String, events: Events) -> Self {
        let (mut wire, mut bytes, mut documents) = (Vec::new(), 0, Vec::new());
        for (name, payload) in events {
            let line = if name.is_empty() { String::new() } else { format!("event: {name}\n") };
            let event = format!("{line}data: {payload}\n\n");
            bytes += event.len();
            wire.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
            if payload != "[DONE]" {
                documents.push(payload.into_bytes());
            }
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        let headers = "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked";
        Self::new(host, path, asked, (headers, &wire), (bytes, documents))
    }

    /// The pieces of this call on a connection that carried so many bytes each way before.
    pub(crate) fn play(&self, stream: StreamId, offsets: [usize; 2], inputs: &mut Vec<Input>) {
        let origin = Arc::new(Origin::default());
        for (direction, wire, offset) in
            [(Direction::Sent, &self.sent, offsets[0]), (Direction::Received, &self.received, offsets[1])]
        {
            for (index, piece) in wire.chunks(PIECE_BYTES).enumerate() {
                let offset = (offset + index * PIECE_BYTES) as u64;
                let event = StreamEvent::Bytes { direction, offset, bytes: Bytes::copy_from_slice(piece) };
                inputs.push(Input { stream, origin: Arc::clone(&origin), at: Timestamp(offset), event });
            }
        }
    }
}

/// All calls on one connection, one after another.
fn case(name: &'static str, gate: f64, calls: Vec<Call>) -> Case {
    let (mut inputs, mut offsets) = (Vec::new(), [0, 0]);
    for call in &calls {
        call.play(StreamId(1), offsets, &mut inputs);
        offsets = [offsets[0] + call.sent.len(), offsets[1] + call.received.len()];
    }
    let bytes = calls.iter().map(|call| call.bytes).sum();
    let count = calls.len();
    let documents = calls.into_iter().flat_map(|call| call.documents).collect();
    Case { name, gate: Some(gate), inputs, calls: count, bytes, documents }
}

/// Conversations from 16 KB to two megabytes, full of escapes.
fn json() -> Case {
    let mut random = Random(1);
    let calls = [16, 32, 64, 128, 256, 512, 1024, 2048].into_iter().flat_map(|kilobytes| {
        let (asked, answered) = (bodies::request(&mut random, kilobytes, false), bodies::answer(&mut random, 600));
        Call::json(asked, &answered, false)
    });
    case("h1 JSON", JSON_GATE, calls.collect())
}

/// Conversations of the same sizes, as full of escapes, values and short strings as the recorded ones are.
fn usual() -> Result<Case, Failure> {
    let mut random = Random(4);
    let mut calls = Vec::new();
    for kilobytes in [16, 32, 64, 128, 256, 512, 1024, 2048] {
        let asked = bodies::usual_request(&mut random, kilobytes);
        calls.push(Call::json(asked, &bodies::usual_answer(&mut random, 5), false)?);
    }
    Ok(Case { gate: None, ..case("h1 JSON usual", 0.0, calls) })
}

/// Short questions with long answers, as the recorded ones are: half of their bytes are vectors.
fn answers() -> Result<Case, Failure> {
    let mut random = Random(5);
    let mut calls = Vec::new();
    for kilobytes in [16, 32, 64, 128, 256, 512] {
        let asked = bodies::usual_request(&mut random, 1);
        calls.push(Call::json(asked, &bodies::usual_answer(&mut random, kilobytes), false)?);
        let (asked, answered) = bodies::embeddings(&mut random, kilobytes);
        calls.push(Call::json(asked, &answered, false)?);
    }
    Ok(Case { gate: None, ..case("h1 JSON answers", 0.0, calls) })
}

/// The first conversations over HTTP/2, each on a connection of its own.
fn h2() -> Result<Case, Failure> {
    let mut random = Random(1);
    let mut case = Case { name: "h2 JSON", gate: None, inputs: Vec::new(), calls: 0, bytes: 0, documents: Vec::new() };
    for kilobytes in [16, 32, 64, 128, 256, 512, 1024, 2048] {
        let (asked, answered) = (bodies::request(&mut random, kilobytes, false), bodies::answer(&mut random, 600));
        case.inputs.extend(over_h2(&asked, &answered, StreamId(case.calls as u64))?);
        case.calls += 1;
        case.bytes += asked.len() + answered.len();
        case.documents.extend([asked, answered].map(String::into_bytes));
    }
    Ok(case)
}

/// A call over HTTP/2, in pieces as the tap hands them over.
pub(crate) fn over_h2(asked: &str, answered: &str, stream: StreamId) -> Result<Vec<Input>, Failure> {
    let headers = json!({"content-type": "application/json"});
    let record = json!({
        "request": {"method": "POST", "url": "https://api.openai.com/v1/chat/completions", "headers": headers, "body": asked},
        "response": {"status": 200, "headers": headers, "body": answered},
    });
    let options = Options { wire: WireVersion::H2, ..Options::default() };
    let whole = Record::parse(record.to_string().as_bytes())?.inputs(stream, Timestamp(1), options);
    let mut inputs = Vec::new();
    for input in whole {
        let StreamEvent::Bytes { direction, offset, bytes } = &input.event else {
            inputs.push(input);
            continue;
        };
        for (index, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            let offset = offset + (index * PIECE_BYTES) as u64;
            let event = StreamEvent::Bytes { direction: *direction, offset, bytes: Bytes::copy_from_slice(piece) };
            inputs.push(Input { event, ..input.clone() });
        }
    }
    Ok(inputs)
}

/// Short questions with long answers, which come compressed.
fn gzip() -> Result<Case, Failure> {
    let mut random = Random(2);
    let mut calls = Vec::new();
    for _ in 0..24 {
        let (asked, answered) = (bodies::request(&mut random, 1, false), bodies::answer(&mut random, 20_000));
        calls.push(Call::json(asked, &answered, true)?);
    }
    Ok(Case { gate: None, ..case("h1 gzip", 0.0, calls) })
}

fn chat() -> Case {
    streams("h1 SSE chat", "api.openai.com", "/v1/chat/completions", bodies::chat_events)
}

fn messages() -> Case {
    streams("h1 SSE messages", "api.anthropic.com", "/v1/messages", bodies::message_events)
}

fn responses() -> Case {
    streams("h1 SSE responses", "api.openai.com", "/v1/responses", bodies::response_events)
}

fn streams(name: &'static str, host: &str, path: &str, events: fn(&mut Random, usize) -> Events) -> Case {
    let mut random = Random(3);
    let calls = (0..24).map(|_| {
        let asked = bodies::request(&mut random, 1, true);
        Call::events(host, path, asked, events(&mut random, 800))
    });
    case(name, SSE_GATE, calls.collect())
}

/// The recorded exchanges whose bodies are text, each on a connection of its own.
fn recordings() -> Result<Option<Case>, Failure> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/exchanges");
    let folder = std::env::var_os("OUTFLOW_EXCHANGES").map_or(default, PathBuf::from).join("data");
    let Ok(entries) = fs::read_dir(&folder) else {
        return Ok(None);
    };
    let mut case =
        Case { name: "recordings", gate: None, inputs: Vec::new(), calls: 0, bytes: 0, documents: Vec::new() };
    for entry in entries {
        let text = fs::read(entry?.path())?;
        let doc: Value = serde_json::from_slice(&text)?;
        let bodies = ["/request/body", "/response/body"].map(|place| doc.pointer(place).and_then(Value::as_str));
        let [Some(asked), Some(answered)] = bodies else { continue };
        let stream = StreamId(case.calls as u64);
        case.inputs.extend(Record::parse(&text)?.inputs(stream, Timestamp(1), Options::default()));
        case.calls += 1;
        case.bytes += asked.len() + answered.len();
        case.documents.push(asked.as_bytes().to_vec());
        let payloads: Vec<&str> = answered.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let documents = if payloads.is_empty() { vec![answered] } else { payloads };
        case.documents.extend(documents.into_iter().map(|document| document.as_bytes().to_vec()));
    }
    Ok(Some(case))
}
