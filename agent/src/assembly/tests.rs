//! Cases of `tests/cases/assembly` and the properties that hold for all input.

use std::{fmt::Write as _, path::Path, sync::Arc};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde::Deserialize;

use super::*;
use crate::sources::{Input, StreamEvent};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    steps: Vec<Step>,
    expect: Vec<String>,
    /// Pieces are not cut further: what is expected depends on where they begin (after a loss).
    #[serde(default)]
    as_is: bool,
    body_bytes: Option<usize>,
    head_bytes: Option<usize>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    /// The server is named: the connection is known from its start.
    Opened(String),
    /// Bytes.
    Sent(String),
    Received(String),
    /// Bytes, gzip-compressed; the case writes `{gzip}` in a head for their length.
    ReceivedGzip(String),
    /// Bytes, zstd-compressed, but for so many at the end.
    ReceivedZstd(String, usize),
    /// A frame of an AWS event stream: event and payload; with `!` in front of the event its checksum is wrong.
    ReceivedFrame(String, String),
    /// Bytes that existed and were not handed over.
    SentLost(u64),
    ReceivedLost(u64),
    /// Bytes that begin so many before the present position: those were handed over once already.
    ReceivedAgain(u64, String),
    /// The connection closes; so many more bytes had been received.
    Closed(u64),
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn inputs(steps: &[Step]) -> Vec<Input> {
    let (mut sent, mut received) = (0, 0);
    let mut inputs = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let mut bytes = |direction, position: &mut u64, bytes: Vec<u8>| {
            let offset = *position;
            *position += bytes.len() as u64;
            inputs.push(StreamEvent::Bytes { direction, offset, bytes: Bytes::from(bytes) });
        };
        match step {
            Step::Opened(name) => inputs.push(StreamEvent::Opened { server_name: name.as_str().into() }),
            Step::Sent(text) => bytes(Direction::Sent, &mut sent, text.clone().into()),
            Step::Received(text) => {
                let length = steps.get(index + 1).map_or(0, |next| match next {
                    Step::ReceivedGzip(text) => gzip(text).len(),
                    _ => 0,
                });
                bytes(Direction::Received, &mut received, text.replace("{gzip}", &length.to_string()).into());
            }
            Step::ReceivedGzip(text) => bytes(Direction::Received, &mut received, gzip(text)),
            Step::ReceivedZstd(text, cut) => {
                let mut wire = compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
                wire.truncate(wire.len() - cut);
                bytes(Direction::Received, &mut received, wire);
            }
            Step::ReceivedFrame(event, payload) => {
                let name = event.strip_prefix('!').unwrap_or(event);
                let mut frame = aws_events::frame(&[(":event-type", name)], payload.as_bytes());
                *frame.last_mut().unwrap() ^= u8::from(name != event);
                bytes(Direction::Received, &mut received, frame);
            }
            Step::ReceivedAgain(back, text) => {
                received -= back;
                bytes(Direction::Received, &mut received, text.clone().into());
            }
            Step::SentLost(lost) => sent += lost,
            Step::ReceivedLost(lost) => received += lost,
            Step::Closed(more) => {
                inputs.push(StreamEvent::Closed { sent_bytes: Some(sent), received_bytes: Some(received + more) });
            }
        }
    }
    let origin = Arc::new(Origin::default());
    let input = |event| Input { stream: StreamId(1), origin: Arc::clone(&origin), at: Timestamp(7), event };
    inputs.into_iter().map(input).collect()
}

/// Cuts every piece into pieces of at most `size` bytes.
pub(super) fn cut(inputs: &[Input], mut size: impl FnMut() -> usize) -> Vec<Input> {
    let mut pieces = Vec::new();
    for input in inputs {
        let StreamEvent::Bytes { direction, offset, bytes } = &input.event else {
            pieces.push(input.clone());
            continue;
        };
        let mut from = 0;
        while from < bytes.len() {
            let to = (from + size().max(1)).min(bytes.len());
            let event = StreamEvent::Bytes {
                direction: *direction,
                offset: offset + from as u64,
                bytes: bytes.slice(from..to),
            };
            pieces.push(Input { event, ..input.clone() });
            from = to;
        }
    }
    pieces
}

pub(super) fn assemble(inputs: &[Input], limits: Limits) -> Vec<Assembled> {
    let (mut assembler, mut out) = (Assembler::new(limits), Vec::new());
    for input in inputs {
        assembler.push(input, &mut out);
    }
    assembler.finish(Timestamp(9), &mut out);
    assert_eq!((assembler.connections(), assembler.buffered_bytes()), (0, 0), "nothing is held after the end");
    out
}

pub(super) fn render(assembled: &[Assembled]) -> Vec<String> {
    let line = |assembled: &Assembled| match assembled {
        Assembled::Anomaly(anomaly) => format!("! {:?}", anomaly.kind),
        Assembled::Closed(_) => "closed".to_owned(),
        Assembled::CallOver { call, .. } => format!("over {call}"),
        Assembled::Frame(frame) => format!("frame {:?} {:?} {:?}", frame.direction, frame.end, frame.data),
        Assembled::Message(message) => {
            let mut line = message.call.map_or("-".to_owned(), |call| call.to_string());
            match &message.head {
                Head::Request { method, target, .. } => write!(line, " {method} {target}").unwrap(),
                Head::Response { status, .. } => write!(line, " {status}").unwrap(),
            }
            write!(line, " {:?}", message.end).unwrap();
            if message.body.missing_bytes > 0 {
                write!(line, " missing {} of {}", message.body.missing_bytes, message.body.wire_bytes).unwrap();
            }
            match &message.body.content {
                Content::Empty => {}
                Content::Bytes(bytes) => write!(line, ": {}", String::from_utf8_lossy(bytes)).unwrap(),
                Content::Events(_, events) => {
                    let events = events.iter().map(|event| format!("{}={}", event.name, event.data));
                    write!(line, " [{}]", events.collect::<Vec<_>>().join(" | ")).unwrap();
                }
            }
            line
        }
    };
    let mut lines: Vec<_> = assembled.iter().map(line).collect();
    lines.pop_if(|line| line == "closed");
    lines
}

fn load() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/assembly");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file: Cases = toml::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        cases.extend(file.case.into_iter().map(|case| (format!("{name}: {}", case.name), case)));
    }
    assert!(cases.len() > 20, "only {} cases found", cases.len());
    cases
}

fn limits(case: &Case) -> Limits {
    let default = Limits::default();
    Limits {
        body_bytes: case.body_bytes.unwrap_or(default.body_bytes),
        head_bytes: case.head_bytes.unwrap_or(default.head_bytes),
        ..default
    }
}

#[test]
fn cases() {
    for (name, case) in load() {
        let whole = inputs(&case.steps);
        assert_eq!(render(&assemble(&whole, limits(&case))), case.expect, "{name}");
        for size in [1, 2, 3, 5, 7, 11, 64] {
            if !case.as_is {
                let pieces = cut(&whole, || size);
                assert_eq!(render(&assemble(&pieces, limits(&case))), case.expect, "{name}, pieces of {size}");
            }
        }
    }
}

#[test]
fn connections_and_bytes_are_bounded() {
    let limits = Limits { connections: 3, buffered_bytes: 100, ..Limits::default() };
    let (mut assembler, mut out) = (Assembler::new(limits), Vec::new());
    let piece = |stream, offset, text: &'static str| Input {
        stream: StreamId(stream),
        origin: Arc::new(Origin::default()),
        at: Timestamp(stream),
        event: StreamEvent::Bytes { direction: Direction::Sent, offset, bytes: Bytes::from_static(text.as_bytes()) },
    };
    let head = "POST / HTTP/1.1\r\ncontent-length: 99\r\n\r\n";
    for stream in 0..3 {
        assembler.push(&piece(stream, 0, head), &mut out);
    }
    assembler.push(&piece(0, head.len() as u64, "0123456789"), &mut out);
    assert!(out.is_empty());
    assembler.push(&piece(3, 0, head), &mut out);
    assert_eq!(render(&out), ["! Evicted", "0 POST / Cut missing 99 of 99"], "the silent one goes, not the oldest");
    assert!(matches!(out.last(), Some(Assembled::Closed(StreamId(1)))));
    out.clear();
    for (stream, offset) in [(2, 0), (3, 0), (2, 45), (3, 45)] {
        let text = "012345678901234567890123456789012345678901234";
        assembler.push(&piece(stream, head.len() as u64 + offset, text), &mut out);
        assert!(assembler.buffered_bytes() <= 100);
    }
    assert_eq!(render(&out).iter().filter(|line| *line == "! Evicted").count(), 2, "{out:?}");
}

#[test]
fn bytes_that_were_not_kept_are_counted() {
    let head = |coding: &str| format!("POST / HTTP/1.1\r\n{coding}content-length: 20\r\n\r\n");
    for (coding, body, limits, unread) in [
        ("", "01234567890123456789", Limits { body_bytes: 15, ..Limits::default() }, 5),
        ("", "01234567890123456789", Limits::default(), 0),
        ("content-encoding: gzip\r\n", "this is no gzip text", Limits::default(), 20),
        ("content-encoding: zstd\r\n", "this is no zstd text", Limits::default(), 20),
    ] {
        for size in [1, 7, 64] {
            let pieces = cut(&inputs(&[Step::Sent(head(coding) + body)]), || size);
            let out = assemble(&pieces, limits);
            let message = out.iter().find_map(|one| if let Assembled::Message(one) = one { Some(one) } else { None });
            let body = &message.unwrap().body;
            // A decoder that takes a piece of a header before it refuses the next has read those bytes.
            assert!(body.unread_bytes <= unread && body.unread_bytes + 3 >= unread, "{coding:?} in {size}: {body:?}");
            assert_eq!(body.unread_bytes == 0, unread == 0, "{coding:?} in {size}");
        }
    }
}

#[test]
fn times_are_those_of_the_pieces() {
    let steps = "POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nbody";
    let mut pieces = cut(&inputs(&[Step::Sent(steps.into())]), || 1);
    for (index, piece) in pieces.iter_mut().enumerate() {
        piece.at = Timestamp(100 + index as u64);
    }
    let out = assemble(&pieces, Limits::default());
    let Assembled::Message(message) = &out[0] else { panic!("{out:?}") };
    let end = 100 + steps.len() as u64;
    assert_eq!(message.started_at, Timestamp(100));
    assert_eq!(message.body_at, Some(Timestamp(end - 4)));
    assert_eq!(message.ended_at, Timestamp(end - 1));
}

/// Every byte of these bodies says where it stands, so that a splice shows.
fn numbered(letter: char, length: usize) -> String {
    (0..length).map(|index| char::from(b'a' + (index / 7 + index + letter as usize) as u8 % 26)).collect()
}

fn conversation(lengths: &[(usize, usize, bool)]) -> (Vec<Step>, Vec<String>) {
    let (mut steps, mut bodies) = (Vec::new(), Vec::new());
    for (request, response, chunked) in lengths {
        let (question, answer) = (numbered('q', *request), numbered('z', *response));
        steps.push(Step::Sent(format!("POST /x HTTP/1.1\r\ncontent-length: {request}\r\n\r\n{question}")));
        let mut wire = String::new();
        if *chunked {
            wire.push_str("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            for chunk in answer.as_bytes().chunks(13) {
                write!(wire, "{:x}\r\n{}\r\n", chunk.len(), str::from_utf8(chunk).unwrap()).unwrap();
            }
            wire.push_str("0\r\n\r\n");
        } else {
            write!(wire, "HTTP/1.1 200 OK\r\ncontent-length: {response}\r\n\r\n{answer}").unwrap();
        }
        steps.push(Step::Received(wire));
        bodies.extend([question, answer]);
    }
    (steps, bodies)
}

/// Content type and body of a stream with these events.
fn stream_of(kind: usize, payloads: &[String]) -> (&'static str, Vec<u8>) {
    let body = |event: fn(&String) -> Vec<u8>| payloads.iter().flat_map(event).collect();
    match kind {
        0 => ("text/event-stream", body(|data| format!("data: {data}\n\n").into_bytes())),
        1 => ("application/x-ndjson", body(|data| format!("{data}\n").into_bytes())),
        _ => {
            let frame = |data: &String| aws_events::frame(&[(":event-type", "e")], data.as_bytes());
            ("application/vnd.amazon.eventstream", body(frame))
        }
    }
}

fn lengths() -> impl Strategy<Value = Vec<(usize, usize, bool)>> {
    prop::collection::vec((0usize..200, 0usize..200, any::<bool>()), 1..5)
}

proptest! {
    #[test]
    fn any_split_gives_the_same_messages(lengths in lengths(), sizes in prop::collection::vec(1usize..50, 1..20)) {
        let whole = inputs(&conversation(&lengths).0);
        let mut sizes = sizes.iter().cycle();
        let pieces = cut(&whole, || *sizes.next().unwrap());
        let (whole, split) = (assemble(&whole, Limits::default()), assemble(&pieces, Limits::default()));
        prop_assert_eq!(render(&whole).len(), lengths.len() * 2);
        prop_assert_eq!(render(&split), render(&whole));
    }

    #[test]
    fn lost_pieces_never_join_what_was_apart(
        lengths in lengths(),
        sizes in prop::collection::vec(1usize..50, 1..20),
        lost in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let (steps, bodies) = conversation(&lengths);
        let mut sizes = sizes.iter().cycle();
        let pieces = cut(&inputs(&steps), || *sizes.next().unwrap());
        let mut lost = lost.iter().cycle();
        let kept: Vec<_> = pieces.into_iter().filter(|_| !*lost.next().unwrap()).collect();
        for assembled in assemble(&kept, Limits::default()) {
            let Assembled::Message(message) = assembled else { continue };
            let Content::Bytes(content) = &message.body.content else { continue };
            let text = str::from_utf8(content).unwrap();
            prop_assert!(bodies.iter().any(|body| body.starts_with(text)), "{text:?} was never contiguous");
            if message.end == End::Complete {
                prop_assert!(bodies.iter().any(|body| body == text), "{text:?} is not whole");
            }
        }
    }

    #[test]
    fn events_of_a_stream_are_those_that_were_sent(
        kind in 0usize..3,
        payloads in prop::collection::vec("[a-z]{1,40}", 0..6),
        sizes in prop::collection::vec(1usize..50, 1..20),
        lost in prop::collection::vec(prop::bool::weighted(0.2), 1..40),
    ) {
        let (content_type, body) = stream_of(kind, &payloads);
        let mut wire = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        wire.extend_from_slice(&body);
        let origin = Arc::new(Origin::default());
        let event = StreamEvent::Bytes { direction: Direction::Received, offset: 0, bytes: Bytes::from(wire) };
        let whole = [Input { stream: StreamId(1), origin, at: Timestamp(7), event }];
        let mut sizes = sizes.iter().cycle();
        let pieces = cut(&whole, || *sizes.next().unwrap());
        let found = render(&assemble(&whole, Limits::default()));
        prop_assert_eq!(render(&assemble(&pieces, Limits::default())), found);
        let mut lost = lost.iter().cycle();
        let kept: Vec<_> = pieces.into_iter().filter(|_| !*lost.next().unwrap()).collect();
        for assembled in assemble(&kept, Limits::default()) {
            let Assembled::Message(message) = assembled else { continue };
            let Content::Events(_, events) = &message.body.content else { continue };
            prop_assert!(events.len() <= payloads.len());
            for (index, (event, sent)) in events.iter().zip(&payloads).enumerate() {
                let is_last = index + 1 == events.len() && message.end != End::Complete;
                prop_assert!(event.data == **sent || (is_last && sent.starts_with(event.data.as_str())), "{event:?} of {sent}");
                prop_assert!(event.name != *UNVERIFIED || is_last, "{event:?}");
            }
        }
    }

    #[test]
    fn garbage_never_panics(pieces in prop::collection::vec(
        (any::<bool>(), 0u64..400, "(POST / HTTP/1.1\r\n|HTTP/1.1 200 OK\r\n|content-length: [0-9]{1,3}\r\n|transfer-encoding: chunked\r\n|content-encoding: (gzip|deflate|br|zstd)\r\n|content-type: (text/event-stream|application/x-ndjson|application/vnd.amazon.eventstream)\r\n|\r\n|[0-9a-f]{1,2}\r\n|data: x\n\n|\u{0}|.){0,12}"),
        0..20,
    )) {
        let inputs: Vec<_> = pieces.into_iter().map(|(sent, offset, text)| Input {
            stream: StreamId(1),
            origin: Arc::new(Origin::default()),
            at: Timestamp(1),
            event: StreamEvent::Bytes {
                direction: if sent { Direction::Sent } else { Direction::Received },
                offset,
                bytes: Bytes::from(text),
            },
        }).collect();
        assemble(&inputs, Limits { body_bytes: 100, head_bytes: 200, ..Limits::default() });
    }
}
