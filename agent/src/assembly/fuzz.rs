//! Fuzz targets of this room's parsers. Enters: an input of the fuzzer. Leaves: nothing, or a panic that says which property
//! broke: a parser gives the same for the same bytes, however they are cut, and holds no more than it says.

use super::{
    Event, Headers, Limits, SseParser,
    chunked::{Chunked, Step},
    grpc::GrpcParser,
    head, http2,
    inflate::Decoder,
    protobuf,
};
use crate::{
    sources::{Direction, fuzz::Cuts},
    units::Timestamp,
};

/// Output that a decoder is asked for at most.
const PLAIN_BYTES: usize = 4 << 20;

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

/// Header blocks of HTTP/2, one a piece.
pub(crate) fn hpack(input: &[u8]) {
    if let Some(cuts) = Cuts::read(input) {
        http2::fuzz_blocks(&cuts.pieces(), cuts.option & 1 == 0);
    }
}

/// Messages of gRPC, and the text of those that are protocol buffers.
pub(crate) fn grpc(input: &[u8]) {
    let Some(cuts) = Cuts::read(input) else { return };
    let read = |pieces: &[&[u8]]| {
        let kind = if cuts.option & 1 == 0 { "application/grpc" } else { "application/connect+json" };
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = Headers(vec![field("content-type", kind), field("grpc-encoding", "gzip")]);
        let mut parser = GrpcParser::announced(&headers, &Limits::default())?;
        let mut events = Vec::new();
        let _ = pieces.iter().try_for_each(|piece| parser.push(piece, Timestamp(1), &mut events).map(drop));
        parser.finish(Timestamp(1), &mut events);
        Some(events)
    };
    assert_eq!(read(&cuts.pieces()), read(&[cuts.bytes]), "events");
    assert!(protobuf::strings(cuts.bytes).len() <= cuts.bytes.len(), "text that did not come in");
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
    let Some(mut inflate) = Decoder::from_header(name, 200) else { return (pieces.concat(), true, true) };
    let mut plain = Vec::new();
    for piece in pieces {
        let result = inflate.push(piece, &mut |bytes| {
            plain.extend_from_slice(bytes);
            plain.len() < PLAIN_BYTES
        });
        assert!(inflate.left_bytes() <= piece.len() + 1, "more is left than came");
        if result.is_err() || plain.len() >= PLAIN_BYTES {
            assert!(plain.len() < PLAIN_BYTES + (1 << 20), "{} bytes came out past the cap", plain.len());
            return (plain, false, false);
        }
    }
    (plain, true, inflate.is_whole())
}
