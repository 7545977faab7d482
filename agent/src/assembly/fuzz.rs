//! Fuzz targets of this room's parsers. Enters: an input of the fuzzer. Leaves: nothing, or a panic that says which property
//! broke: a parser gives the same for the same bytes, however they are cut, and holds no more than it says.

use std::sync::Arc;

pub(crate) use super::http2::fuzz::hpack;
use super::{
    Assembled, AwsEventParser, End, Event, Head, Headers, Limits, NdjsonParser, SseParser,
    chunked::{Chunked, Step},
    grpc::GrpcParser,
    head,
    http1::Shared,
    inflate::Decoder,
    message_deflate::STATE_BYTES,
    protobuf,
    upgrade::Upgrade,
    websocket::WebSocket,
};
use crate::{
    sources::{Direction, Origin, StreamId, fuzz::Cuts},
    units::Timestamp,
};

/// Output that a decoder is asked for at most.
const PLAIN_BYTES: usize = 4 << 20;
/// What a decoder may hold back: a window of 8 MiB and a block, twice.
const HELD_BYTES: usize = 20 << 20;

/// A head, whole and cut.
pub(crate) fn head(input: &[u8]) {
    let Some(cuts) = Cuts::read(input) else { return };
    let direction = if cuts.option & 1 == 0 { Direction::Sent } else { Direction::Received };
    let bytes = cuts.bytes;
    let end = head::end_of_head(bytes, 0);
    let mut searched = 0;
    // Searching on from where the last piece ended finds the same end.
    for piece in cuts.pieces() {
        let seen = bytes.get(..searched + piece.len()).unwrap_or_default();
        let found = head::end_of_head(seen, searched);
        assert_eq!(found, end.filter(|end| *end <= seen.len()), "end of a head of {} bytes", seen.len());
        if found.is_some() {
            break;
        }
        searched = seen.len();
    }
    let whole = end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
    if let Ok(read) = head::parse(direction, whole) {
        let start = whole.trim_ascii_start();
        for length in 1..start.len().min(32) {
            let start = start.get(..length).unwrap_or_default();
            assert!(head::may_become_head(direction, start), "refused at {length} bytes, read as a whole");
        }
        let _ = head::request_framing(read.headers());
        for method in [None, Some("HEAD"), Some("POST")] {
            let _ = head::response_framing(200, method, read.headers());
        }
        for (name, _) in &read.headers().0 {
            assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "header `{name}`");
        }
    }
    let _ = head::parse_cut(direction, bytes);
}

/// A chunked body.
pub(crate) fn chunked(input: &[u8]) {
    let Some(cuts) = Cuts::read(input) else { return };
    let whole = unchunk(&[cuts.bytes]);
    assert_eq!(unchunk(&cuts.pieces()), whole, "content, end");
}

/// Content, and the position of the end; `Err` has what came before the fault.
fn unchunk(pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<usize>), Vec<u8>> {
    let (mut chunked, mut content, mut at) = (Chunked::new(), Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match chunked.step(&mut rest) {
                Ok(Step::Data(data)) => content.extend_from_slice(data),
                Ok(Step::More) => break,
                Ok(Step::End) => return Ok((content, Some(at + piece.len() - rest.len()))),
                Err(_) => return Err(content),
            }
        }
        at += piece.len();
        // A hole that fits into the chunk keeps the framing, one byte more does not.
        let announced = chunked.announced();
        if announced > 0 {
            assert_eq!(chunked.skip(announced + 1), None, "a hole past the chunk");
        }
    }
    Ok((content, None))
}

/// Server-sent events.
pub(crate) fn sse(input: &[u8]) {
    let Some(cuts) = Cuts::read(input) else { return };
    let whole = events(&[cuts.bytes]);
    assert_eq!(events(&cuts.pieces()), whole, "events");
    // A replaced byte becomes three.
    let held: usize = whole.iter().map(|event| event.name.len() + event.data.len()).sum();
    assert!(held <= 3 * cuts.bytes.len(), "{held} bytes of events of {} bytes", cuts.bytes.len());
}

fn events(pieces: &[&[u8]]) -> Vec<Event> {
    let (mut parser, mut events, mut grown) = (SseParser::default(), Vec::new(), 0);
    for piece in pieces {
        grown += parser.push(piece, Timestamp(1), &mut events);
    }
    let held: usize = events.iter().map(|event| size_of::<Event>() + event.name.len() + event.data.len()).sum();
    assert_eq!(grown, held, "what the events are said to cost");
    parser.finish(Timestamp(1), &mut events);
    events
}

/// One JSON document a line.
pub(crate) fn ndjson(input: &[u8]) {
    let Some(cuts) = Cuts::read(input) else { return };
    let run = |pieces: &[&[u8]]| {
        let (mut parser, mut events) = (NdjsonParser::default(), Vec::new());
        for piece in pieces {
            parser.push(piece, Timestamp(1), &mut events);
            assert!(parser.buffered() <= cuts.bytes.len(), "{} bytes held", parser.buffered());
        }
        parser.finish(Timestamp(1), &mut events);
        events
    };
    assert_eq!(run(&cuts.pieces()), run(&[cuts.bytes]), "events");
}

/// `application/vnd.amazon.eventstream`. An even option gives each frame of the input its checksums, so that the fuzzer comes
/// past them.
pub(crate) fn aws_events(input: &[u8]) {
    let Some(cuts) = Cuts::read(input) else { return };
    let mut bytes = cuts.bytes.to_vec();
    if cuts.option & 1 == 0 {
        sign_frames(&mut bytes);
    }
    let run = |pieces: &[&[u8]]| {
        let (mut parser, mut events, mut taken) = (AwsEventParser::default(), Vec::new(), 0);
        for piece in pieces {
            if let Err(bad) = parser.push(piece, Timestamp(1), &mut events) {
                assert!(bad.unread_bytes <= taken + piece.len(), "{} of {taken} bytes unread", bad.unread_bytes);
                break;
            }
            taken += piece.len();
            assert!(parser.buffered() <= taken, "{} of {taken} bytes held", parser.buffered());
        }
        parser.finish(Timestamp(1), &mut events);
        events
    };
    assert_eq!(run(&cuts.cut(&bytes)), run(&[&bytes]), "events");
}

/// Writes both checksums of every frame whose lengths make sense.
fn sign_frames(bytes: &mut [u8]) {
    let mut rest = bytes;
    while let Some(total) = rest.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize) {
        let Some((frame, tail)) = rest.split_at_mut_checked(total) else { return };
        let crc = |bytes: &[u8]| crc32fast::hash(bytes).to_be_bytes();
        let Some((prelude, check)) = frame.split_at_mut_checked(8) else { return };
        let sum = crc(prelude);
        check.iter_mut().zip(sum).for_each(|(byte, sum)| *byte = sum);
        let Some((body, check)) = frame.split_at_mut_checked(total.saturating_sub(4)) else { return };
        let sum = crc(body);
        check.iter_mut().zip(sum).for_each(|(byte, sum)| *byte = sum);
        rest = tail;
    }
}

/// gRPC and Connect messages; protocol buffers give no more text than they are long.
pub(crate) fn grpc(input: &[u8]) {
    /// Content type, and its coding.
    const KINDS: [(&str, &str, &str); 5] = [
        ("application/grpc", "grpc-encoding", ""),
        ("application/grpc+json", "grpc-encoding", "gzip"),
        ("application/grpc-web+proto", "grpc-encoding", "deflate"),
        ("application/connect+json", "connect-content-encoding", "zstd"),
        ("application/connect+proto", "connect-content-encoding", "br"),
    ];
    let Some(cuts) = Cuts::read(input) else { return };
    let text = protobuf::strings(cuts.bytes);
    assert!(text.len() <= cuts.bytes.len(), "{} bytes of text of {} bytes", text.len(), cuts.bytes.len());
    let (kind, coding, value) = KINDS.get(cuts.option % KINDS.len()).copied().unwrap_or_default();
    let fields = [("content-type", kind), (coding, value)];
    let headers = Headers(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
    let limits = Limits { body_bytes: PLAIN_BYTES, ..Limits::default() };
    let run = |pieces: &[&[u8]]| {
        let Some(mut parser) = GrpcParser::announced(&headers, &limits) else { return None };
        let (mut events, mut taken) = (Vec::new(), 0);
        for piece in pieces {
            if let Err(bad) = parser.push(piece, Timestamp(1), &mut events) {
                assert!(bad.unread_bytes <= taken + piece.len(), "{} of {taken} bytes unread", bad.unread_bytes);
                break;
            }
            taken += piece.len();
            assert!(parser.buffered() <= taken, "{} of {taken} bytes held", parser.buffered());
        }
        parser.finish(Timestamp(1), &mut events);
        Some(events)
    };
    let whole = run(&[cuts.bytes]);
    assert!(whole.is_some(), "{kind} is not read");
    assert_eq!(run(&cuts.pieces()), whole, "events");
}

/// Every content coding.
pub(crate) fn inflate(input: &[u8]) {
    /// Names as in `content-encoding`.
    const CODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, br", "deflate, zstd"];
    let Some(cuts) = Cuts::read(input) else { return };
    let name = CODINGS.get(cuts.option % CODINGS.len()).copied().unwrap_or_default();
    let whole = decode(name, &[cuts.bytes]);
    let pieces = decode(name, &cuts.pieces());
    // Where decoding fails, how much came out before depends on the pieces; what came is the same.
    let (short, long) = if whole.0.len() < pieces.0.len() { (&whole.0, &pieces.0) } else { (&pieces.0, &whole.0) };
    assert!(long.starts_with(short), "{name}: two texts of the same bytes");
    if whole.1 && pieces.1 {
        assert_eq!(whole.0.len(), pieces.0.len(), "{name}: lengths of the text");
        assert_eq!(whole.2, pieces.2, "{name}: whether it is whole");
    }
}

/// Text, whether all went well, and whether the stream stands at its end.
fn decode(name: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool, bool) {
    let Some(mut decoder) = Decoder::from_header(name, 200) else { return (pieces.concat(), true, true) };
    let mut plain = Vec::new();
    for piece in pieces {
        let result = decoder.push(piece, &mut |bytes| {
            plain.extend_from_slice(bytes);
            plain.len() < PLAIN_BYTES
        });
        assert!(decoder.left_bytes() <= piece.len() + 1, "more is left than came");
        assert!(decoder.held_bytes() <= HELD_BYTES, "{} bytes held", decoder.held_bytes());
        if result.is_err() || plain.len() >= PLAIN_BYTES {
            assert!(plain.len() < PLAIN_BYTES + (1 << 20), "{} bytes came out past the cap", plain.len());
            return (plain, false, false);
        }
    }
    let is_whole = decoder.is_whole();
    decoder.finish(&mut |bytes| {
        plain.extend_from_slice(bytes);
        plain.len() < PLAIN_BYTES
    });
    (plain, true, is_whole)
}

/// One side of a WebSocket behind its upgrade.
pub(crate) fn websocket(input: &[u8]) {
    let Some(cuts) = Cuts::read(input) else { return };
    assert_eq!(messages(cuts.option, &cuts.pieces()), messages(cuts.option, &[cuts.bytes]), "messages");
}

/// The whole messages up to the first one that is not: behind bytes that are no frame, what is read depends on the pieces.
fn messages(option: usize, pieces: &[&[u8]]) -> Vec<String> {
    const EXTENSIONS: [&str; 3] = ["", "permessage-deflate", "permessage-deflate; server_no_context_takeover"];
    let extensions = EXTENSIONS.get((option >> 1) % EXTENSIONS.len()).copied().unwrap_or_default();
    let fields = [("upgrade", "websocket"), ("sec-websocket-extensions", extensions)];
    let headers = Headers(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
    let Some(upgrade) = Upgrade::read(&Head::Response { status: 101, headers }, None) else { return Vec::new() };
    let direction = if option & 1 == 0 { Direction::Received } else { Direction::Sent };
    let limits = Limits { body_bytes: 4 << 10, ..Limits::default() };
    let shared = Shared::new(StreamId(1), Arc::new(Origin::default()), limits);
    let (mut websocket, mut out) = (WebSocket::new(direction, upgrade, limits.inflate_ratio, true), Vec::new());
    for piece in pieces {
        websocket.push(piece, Timestamp(1), &shared, &mut out);
        let held = websocket.buffered();
        assert!(held <= limits.body_bytes + STATE_BYTES + 14, "{held} bytes held");
    }
    websocket.close(true, Timestamp(1), &shared, &mut out);
    let frames = out.into_iter().filter_map(|one| if let Assembled::Frame(frame) = one { Some(frame) } else { None });
    frames.take_while(|frame| frame.end == End::Complete).map(|frame| frame.data).collect()
}
