//! Fuzz targets of this room. Enters: an input of the fuzzer. Leaves: nothing, or a panic that says which property broke.

use std::{collections::HashSet, sync::Arc};

use super::{
    Correlator, Exchange, Leaves,
    json::{self, Ended},
    multipart, query,
    text::Whole,
};
use crate::{
    assembly::{Assembled, Assembler, Limits},
    rules::VendorTable,
    sources::{Direction, Input, Origin, StreamEvent, StreamId, fuzz::Cuts},
    units::Timestamp,
};

/// Where a request goes, so that every shape is met: host and path.
const CALLS: [(&str, &str); 16] = [
    ("api.openai.com", "/v1/chat/completions"),
    ("api.openai.com", "/v1/responses"),
    ("api.anthropic.com", "/v1/messages"),
    ("generativelanguage.googleapis.com", "/v1beta/models/gemini-x:streamGenerateContent"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/some.model-v1%3A0/converse-stream"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/some.model-v1%3A0/invoke-with-response-stream"),
    ("api.cohere.com", "/v2/chat"),
    ("api.cohere.com", "/v1/chat"),
    ("localhost:11434", "/api/chat"),
    ("localhost:11434", "/api/generate"),
    ("api.openai.com", "/v1/completions"),
    ("api.openai.com", "/v1/embeddings"),
    ("api.openai.com", "/v1/images/generations"),
    ("tools.example", "/mcp"),
    ("index.svc.pinecone.io", "/vectors/upsert"),
    ("gateway.example", "/any/where?q=a%20b"),
];

/// Content types of the answer (low bit of the choice: of the request, JSON or a form).
const KINDS: [&str; 6] = [
    "application/json",
    "text/event-stream",
    "application/x-ndjson",
    "application/vnd.amazon.eventstream",
    "application/grpc",
    "text/plain",
];

/// The JSON reader: positions are in range, and any start of a document gives strings that the whole one has too.
pub(crate) fn json(input: &[u8]) {
    let mut strings = Vec::new();
    let outline = json::read(input, "$", 256, &mut |path: &str, _: &str, text: &str| {
        assert!(path.starts_with('$'), "path `{path}`");
        strings.push((path.to_owned(), text.to_owned()));
    });
    let given: usize = strings.iter().map(|(_, text)| text.len()).sum();
    assert!(given <= 3 * input.len(), "{given} bytes of text of {} bytes", input.len());
    if let Ended::Malformed(at) = outline.end {
        assert!(at <= input.len(), "malformed at {at} of {}", input.len());
    } else {
        check_start(input, &strings);
    }
    // serde_json refuses more than we do; what it takes we read whole, and no string of it is missing.
    if let Ok(doc) = serde_json::from_slice::<serde_json::Value>(input) {
        assert_eq!(outline.end, Ended::Whole, "a document that serde_json reads");
        let ours: HashSet<&str> = strings.iter().map(|(_, text)| text.as_str()).collect();
        let mut values = vec![&doc];
        while let Some(value) = values.pop() {
            match value {
                serde_json::Value::String(text) => assert!(ours.contains(text.as_str()), "{text:?} is missing"),
                serde_json::Value::Array(inner) => values.extend(inner),
                serde_json::Value::Object(inner) => values.extend(inner.values()),
                _ => {}
            }
        }
    }
}

/// Of half the document no string is told that the whole does not have there, or has the start of.
fn check_start(input: &[u8], strings: &[(String, String)]) {
    if !json::looks_like_json(input) {
        return; // half of a bare number is another number; no body that begins so is read as JSON
    }
    let half = input.get(..input.len() / 2).unwrap_or_default();
    let mut index = 0;
    json::read(half, "$", 256, &mut |path: &str, _: &str, text: &str| {
        let same = strings.get(index);
        // The character that the cut goes through is replaced.
        let text = text.trim_end_matches('\u{fffd}');
        let is_same = same.is_some_and(|(whole_path, whole)| whole_path == path && whole.starts_with(text));
        assert!(is_same, "string {index} of the half: `{path}` {text:?}, of the whole: {same:?}");
        index += 1;
    });
}

/// Forms: parts with a boundary (an even option), or pairs of a query.
pub(crate) fn forms(input: &[u8]) {
    let Some(cuts) = Cuts::read(input) else { return };
    let leaves = if cuts.option & 1 == 0 {
        let Some((_, leaves)) = multipart::read(cuts.bytes, "b") else { return };
        leaves
    } else {
        let mut whole = Whole::default();
        query::read(cuts.bytes, "$query", &mut whole);
        whole.finish()
    };
    check_leaves(&leaves);
    // A replaced byte becomes three; names stand in front of some values; base64 in base64 only shrinks.
    let most = 4 * cuts.bytes.len() + 1024;
    assert!(leaves.text().len() <= most, "{} bytes of text of {}", leaves.text().len(), cuts.bytes.len());
}

/// A call: request and answer with bodies that the input brings, to every shape.
pub(crate) fn exchange(input: &[u8], vendors: &Arc<VendorTable>) {
    let Some(cuts) = Cuts::read(input) else { return };
    let Some((kind, rest)) = cuts.bytes.split_first() else { return };
    let (host, path) = CALLS.get(cuts.option % CALLS.len()).copied().unwrap_or_default();
    let response_kind = KINDS.get(usize::from(kind & 15) % KINDS.len()).copied().unwrap_or_default();
    let request_kind = if kind & 16 == 0 { "application/json" } else { "multipart/form-data; boundary=b" };
    // A line with `=====` alone stands between request and answer.
    let (request, response) = match memchr::memmem::find(rest, b"=====\n") {
        Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 6..).unwrap_or_default()),
        None => (&[][..], rest),
    };
    let sent = message(&format!("POST {path} HTTP/1.1\r\nhost: {host}"), request_kind, request);
    let received = message("HTTP/1.1 200 OK", response_kind, response);
    let whole = run(&pieces(&[&sent], &[&received]), Limits::default(), vendors);
    let cut = run(&pieces(&cuts.cut(&sent), &cuts.cut(&received)), Limits::default(), vendors);
    assert_same(&whole.exchanges, &cut.exchanges);
    for exchange in &whole.exchanges {
        check(exchange);
    }
}

fn message(start: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{start}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn pieces(sent: &[&[u8]], received: &[&[u8]]) -> Vec<Input> {
    let origin = Arc::new(Origin::default());
    let mut inputs = Vec::new();
    for (direction, pieces) in [(Direction::Sent, sent), (Direction::Received, received)] {
        let mut offset = 0;
        for piece in pieces {
            let bytes = bytes::Bytes::copy_from_slice(piece);
            inputs.push((StreamEvent::Bytes { direction, offset, bytes }, offset));
            offset += piece.len() as u64;
        }
    }
    let input = |(event, _)| Input { stream: StreamId(1), origin: Arc::clone(&origin), at: Timestamp(1), event };
    inputs.into_iter().map(input).collect()
}

/// What a run gave.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Calls, in order.
    pub(crate) exchanges: Vec<Exchange>,
    /// Things that went wrong with the bytes.
    pub(crate) anomalies: usize,
    /// Bytes that were held at once, at most.
    pub(crate) buffered_bytes: usize,
}

/// Pushes inputs through both rooms, and holds them to their bounds after each.
pub(crate) fn run(inputs: &[Input], limits: Limits, vendors: &Arc<VendorTable>) -> Run {
    let (mut assembler, mut correlator) = (Assembler::new(limits), Correlator::new(Arc::clone(vendors)));
    let (mut events, mut run) = (Vec::new(), Run::default());
    let mut take = |events: &mut Vec<Assembled>, run: &mut Run| {
        for event in events.drain(..) {
            match event {
                Assembled::Message(message) => correlator.push(*message, &mut run.exchanges),
                Assembled::Closed(stream) => correlator.closed(stream, &mut run.exchanges),
                Assembled::CallOver { stream, call } => correlator.call_over(stream, call, &mut run.exchanges),
                Assembled::Frame(frame) => correlator.frame(*frame, &mut run.exchanges),
                Assembled::Anomaly(_) => run.anomalies += 1,
            }
        }
    };
    for input in inputs {
        assembler.push(input, &mut events);
        let held = assembler.buffered_bytes();
        assert!(held <= limits.buffered_bytes, "{held} bytes held, the bound is {}", limits.buffered_bytes);
        assert!(assembler.connections() <= limits.connections, "{} connections held", assembler.connections());
        run.buffered_bytes = run.buffered_bytes.max(held);
        take(&mut events, &mut run);
    }
    assembler.finish(inputs.last().map_or(Timestamp(0), |input| input.at), &mut events);
    assert_eq!((assembler.connections(), assembler.buffered_bytes()), (0, 0), "held after the end");
    take(&mut events, &mut run);
    correlator.finish(&mut run.exchanges);
    run
}

/// What must hold for any exchange, whatever the bytes were.
pub(crate) fn check(exchange: &Exchange) {
    for leaves in [&exchange.request_text, &exchange.response_text] {
        check_leaves(leaves);
    }
    assert!(exchange.view.request_missing_bytes <= exchange.view.request_bytes, "more is missing than there was");
    assert!(exchange.view.response_missing_bytes <= exchange.view.response_bytes, "more is missing than there was");
    assert!(exchange.headers.rate_limits.len() <= 16, "{} rate limits", exchange.headers.rate_limits.len());
}

fn check_leaves(leaves: &Leaves) {
    let (text, mut after, mut count) = (leaves.text(), 0, 0);
    for (path, range) in leaves.iter() {
        assert!(range.start >= after && range.start < range.end, "leaf {path} at {range:?} after {after}");
        assert!(text.get(range.clone()).is_some(), "leaf {path} at {range:?} is no text");
        assert_eq!(text.as_bytes().get(range.end), Some(&b'\n'), "leaf {path} has no line feed behind it");
        for position in [range.start, range.end - 1] {
            assert_eq!(leaves.at(position), Some((path, range.clone())), "leaf at {position}");
        }
        assert_eq!(leaves.at(range.end), None, "a leaf on a separator");
        after = range.end + 1;
        count += 1;
    }
    assert_eq!((count, after), (leaves.len(), text.len()), "leaves and text that is in none");
}

/// Two runs over the same bytes understood the same.
pub(crate) fn assert_same(one: &[Exchange], other: &[Exchange]) {
    assert_eq!(one.len(), other.len(), "number of exchanges");
    for (one, other) in one.iter().zip(other) {
        let (one, other) = (timeless(one), timeless(other));
        let differ = || one.lines().zip(other.lines()).find(|(a, b)| a != b);
        assert!(one == other, "exchanges differ: {:?}", differ());
    }
}

/// All of an exchange but times, which are those of the pieces.
pub(crate) fn timeless(exchange: &Exchange) -> String {
    let zero = Timestamp(0);
    let first_token_at = exchange.first_token_at.map(|_| zero);
    let exchange = Exchange { started_at: zero, ended_at: zero, first_token_at, ..exchange.clone() };
    format!("{exchange:#?}")
}
