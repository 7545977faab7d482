//! Speed of assembly and exchange: from pieces of a connection to the facts and the text of calls. Enters: invented bodies
//! (`bodies.rs`) and, when they are there, the recorded exchanges. Leaves: a line a measurement: MB (10^6 bytes of decoded
//! bodies) per CPU second of one core, the same bodies read by `serde_json` to `IgnoredAny`, allocations, and the memory of
//! idle connections. It fails when a gate of the ratios is not met.
//!
//! `cargo bench --profile dev -p outflow --no-default-features --bench assembly`. `OUTFLOW_BENCH_ROUNDS` (default 15).
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{alloc::System, error::Error, fs, hint::black_box, io::Write as _, path::PathBuf, sync::Arc};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use outflow::{
    assembly::{Assembled, Assembler, Limits},
    exchange::{Correlator, Exchange},
    rules::{RuleSource, VendorTable},
    sources::{
        Direction, Input, Origin, StreamEvent, StreamId,
        replay::{Options, Record},
    },
    units::Timestamp,
};
use rustix::time::{ClockId, clock_gettime};
use serde::de::IgnoredAny;
use serde_json::Value;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

mod bodies;

use bodies::{Events, Random};

/// Counts with atomics, which costs us a few nanoseconds an allocation and `IgnoredAny`, which makes none, nothing.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// As the tap hands them over.
const PIECE_BYTES: usize = 16 << 10;
/// Connections of the measurement of memory.
const IDLE_CONNECTIONS: usize = 50_000;
/// What one of them may hold.
const IDLE_GATE_BYTES: usize = 4 << 10;
/// Of the speed of `IgnoredAny`.
const JSON_GATE: f64 = 0.5;
const SSE_GATE: f64 = 0.25;

type Failure = Box<dyn Error>;

/// One kind of call, several times.
struct Case {
    name: &'static str,
    /// Ratio that must be reached, if one must.
    gate: Option<f64>,
    inputs: Vec<Input>,
    calls: usize,
    /// Bytes of the decoded bodies.
    bytes: usize,
    /// The JSON documents in them.
    documents: Vec<Vec<u8>>,
}

fn main() -> Result<(), Failure> {
    let rounds = std::env::var("OUTFLOW_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15_usize);
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded)?);
    let mut cases = vec![json(), gzip()?, chat(), messages(), responses()];
    cases.extend(recordings()?);
    let mut missed = Vec::new();
    println!("{:16} {:>9} {:>9} {:>7} {:>10} {:>12}", "", "MB/s", "serde_json", "ratio", "calls", "allocations");
    for case in &cases {
        let ratio = measure(case, &vendors, rounds)?;
        missed.extend(case.gate.filter(|gate| ratio < *gate).map(|gate| format!("{}: {ratio:.2} < {gate}", case.name)));
    }
    for (name, coding, gate) in [("h1", false, Some(IDLE_GATE_BYTES)), ("h1, gzip", true, None)] {
        let bytes = idle(&vendors, coding)?;
        println!("idle {name}: {bytes} bytes a connection, {IDLE_CONNECTIONS} open");
        missed.extend(gate.filter(|gate| bytes > *gate).map(|gate| format!("idle {name}: {bytes} > {gate} bytes")));
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("gates missed: {}", missed.join("; ")).into()) }
}

/// Takes turns, so that what else the machine does meets both; the median of the rounds' ratios.
fn measure(case: &Case, vendors: &Arc<VendorTable>, rounds: usize) -> Result<f64, Failure> {
    let region = Region::new(ALLOCATOR);
    let calls = understand(&case.inputs, vendors);
    let change = region.change();
    let allocations = (change.allocations + change.reallocations) as f64 / case.calls as f64;
    if calls != case.calls {
        return Err(format!("{}: {calls} exchanges of {}", case.name, case.calls).into());
    }
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = cpu_seconds();
        black_box(understand(black_box(&case.inputs), vendors));
        let between = cpu_seconds();
        for document in black_box(&case.documents) {
            // Some recorded documents are none; what can be read of them is.
            let _ = black_box(serde_json::from_slice::<IgnoredAny>(document));
        }
        let end = cpu_seconds();
        let (our, their) = (between - start, end - between);
        ours.push(case.bytes as f64 / 1e6 / our);
        theirs.push(case.bytes as f64 / 1e6 / their);
        ratios.push(their / our);
    }
    let ratio = median(ratios);
    println!("{:16} {:9.0} {:9.0} {ratio:7.3} {calls:10} {allocations:12.1}", case.name, median(ours), median(theirs));
    Ok(ratio)
}

/// From pieces to facts.
fn understand(inputs: &[Input], vendors: &Arc<VendorTable>) -> usize {
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

fn correlate(correlator: &mut Correlator, events: &mut Vec<Assembled>, exchanges: &mut Vec<Exchange>) -> usize {
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

/// Bytes a connection that had one call and waits for the next.
fn idle(vendors: &Arc<VendorTable>, coded: bool) -> Result<usize, Failure> {
    let mut random = Random(7);
    let (asked, answered) = (bodies::request(&mut random, 8, false), bodies::answer(&mut random, 200));
    let call = Call::json(asked, &answered, coded)?;
    let limits = Limits { connections: IDLE_CONNECTIONS, ..Limits::default() };
    let region = Region::new(ALLOCATOR);
    let (mut assembler, mut correlator) = (Assembler::new(limits), Correlator::new(Arc::clone(vendors)));
    let mut calls = 0;
    for stream in 0..IDLE_CONNECTIONS {
        let (mut inputs, mut events, mut exchanges) = (Vec::new(), Vec::new(), Vec::new());
        call.play(StreamId(stream as u64), [0; 2], &mut inputs);
        for input in &inputs {
            assembler.push(input, &mut events);
        }
        calls += correlate(&mut correlator, &mut events, &mut exchanges);
    }
    let change = region.change();
    if calls != IDLE_CONNECTIONS || assembler.connections() != IDLE_CONNECTIONS {
        return Err(format!("{calls} calls, {} connections", assembler.connections()).into());
    }
    Ok(change.bytes_allocated.saturating_sub(change.bytes_deallocated) / IDLE_CONNECTIONS)
}

/// The wire bytes of one call.
struct Call {
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

    fn json(asked: String, answered: &str, coded: bool) -> Result<Self, Failure> {
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
    fn play(&self, stream: StreamId, offsets: [usize; 2], inputs: &mut Vec<Input>) {
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

/// Conversations from 16 KB to a megabyte.
fn json() -> Case {
    let mut random = Random(1);
    let calls = [16, 32, 64, 128, 256, 512, 1024, 2048].into_iter().flat_map(|kilobytes| {
        let (asked, answered) = (bodies::request(&mut random, kilobytes, false), bodies::answer(&mut random, 600));
        Call::json(asked, &answered, false)
    });
    case("h1 JSON", JSON_GATE, calls.collect())
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
        println!("skipped: no recordings in {}", folder.display());
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
