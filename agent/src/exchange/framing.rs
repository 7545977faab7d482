//! Which framing the body of an answer has, whatever its head says: recorders and servers drop the content type, or name another
//! one. Enters: a message. Leaves: its events and their framing, when it is a stream. Never takes one document for a stream.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    Api, BodyFraming,
    json::{self, Ended},
};
use crate::{
    assembly::{AwsEventParser, Content, Event, EventParser, Framing, Message, NdjsonParser, SseParser},
    units::Timestamp,
};

/// Lines of comments and empty ones in front of the first event of a stream that nobody announced.
const MAX_COMMENTS: usize = 64;
/// Bytes that the events of a body may grow to when its framing was not announced: a body of empty events is smaller than they are.
const MAX_FOUND_BYTES: usize = 64 << 20;
/// A body is given to a parser in pieces of this size, so that the bound is not passed by more than one of them.
const STEP_BYTES: usize = 64 << 10;
/// Elements of a growing array that are told apart; the rest is one text.
const MAX_ELEMENTS: usize = 65_536;

/// The events of a streamed answer.
pub(super) struct Framed<'a> {
    pub(super) framing: BodyFraming,
    pub(super) events: Cow<'a, [Event]>,
}

impl From<Framing> for BodyFraming {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::Sse,
            Framing::Ndjson => Self::Ndjson,
            Framing::AwsEventStream => Self::AwsEventstream,
            Framing::Grpc => Self::Grpc,
        }
    }
}

/// The events of an answer. `None`: it is one document, or nothing that is understood.
pub(super) fn open(answer: &Message) -> Option<Framed<'_>> {
    let (bytes, at) = match &answer.body.content {
        Content::Events(framing, events) => {
            return Some(Framed { framing: (*framing).into(), events: events.as_slice().into() });
        }
        Content::Bytes(bytes) => (bytes.as_slice(), answer.ended_at),
        Content::Empty => return None,
    };
    let parser = if begins_with_events(bytes) {
        EventParser::Sse(SseParser::default())
    } else if AwsEventParser::begins(bytes) {
        EventParser::AwsEventStream(AwsEventParser::default())
    } else if are_lines(bytes) {
        EventParser::Ndjson(NdjsonParser::default())
    } else {
        return None;
    };
    let framing = parser.framing().into();
    let events = collect(parser, bytes, at);
    // A first frame that does not hold leaves the body what it is: bytes.
    (!events.is_empty()).then_some(Framed { framing, events: events.into() })
}

/// The elements of an answer that is one growing array. Only Google streams so, and its whole answers are objects.
pub(super) fn growing(answer: &Message, api: Api) -> Option<Framed<'static>> {
    let Content::Bytes(bytes) = &answer.body.content else { return None };
    let events = (api == Api::GenerateContent).then(|| elements(bytes, answer.ended_at)).flatten()?;
    Some(Framed { framing: BodyFraming::JsonArray, events: events.into() })
}

/// Feeds a parser within the bound. What it cannot take is left out.
fn collect(mut parser: EventParser, bytes: &[u8], at: Timestamp) -> Vec<Event> {
    let (mut events, mut grown) = (Vec::new(), 0_usize);
    for piece in bytes.chunks(STEP_BYTES) {
        match parser.push(piece, at, &mut events) {
            Ok(more) if grown.saturating_add(more) <= MAX_FOUND_BYTES => grown += more,
            _ => break,
        }
    }
    parser.finish(at, &mut events);
    events
}

/// Whether these are JSON objects, a line each: the first is whole, and another one begins behind it.
fn are_lines(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return false };
    let ignore = &mut |_: &str, _: &str, _: &str| {};
    let is_object = first.starts_with(b"{") && second.starts_with(b"{");
    is_object && json::read(first, "$", 0, ignore).end == Ended::Whole && {
        let next = json::read(second, "$", 0, ignore).end;
        next == Ended::Whole || (next == Ended::Cut && lines.next().is_none())
    }
}

/// Elements of an array of objects, as events. `None`: it is no such array.
fn elements(bytes: &[u8], at: Timestamp) -> Option<Vec<Event>> {
    let mut rest = bytes.trim_ascii_start().strip_prefix(b"[")?;
    let mut events = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            Some(b'{') if events.len() < MAX_ELEMENTS => {
                let (element, tail) = rest.split_at_checked(object_length(rest))?;
                let data = String::from_utf8_lossy(element).as_ref().into();
                events.push(Event { data, at, ..Event::default() });
                rest = tail;
            }
            Some(b',') => rest = rest.get(1..).unwrap_or_default(),
            None | Some(b']') => break,
            // Not an object, or past the bound: text, whatever it is.
            Some(_) if events.is_empty() => return None,
            Some(_) => {
                let data = String::from_utf8_lossy(rest).as_ref().into();
                events.push(Event { data, at, ..Event::default() });
                break;
            }
        }
    }
    (!events.is_empty()).then_some(events)
}

/// An event stream: it begins with a field, or, as OpenRouter's do, with comments that keep the connection open.
fn begins_with_events(bytes: &[u8]) -> bool {
    let is_field = |line: &[u8]| line.starts_with(b"data:") || line.starts_with(b"event:");
    let mut lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).take(MAX_COMMENTS);
    let is_comment = |line: &&[u8]| line.is_empty() || line.starts_with(b":");
    is_field(bytes) || (bytes.starts_with(b":") && lines.find(|line| !is_comment(line)).is_some_and(is_field))
}

/// Length of the object that stands at the start; all there is when it is cut.
fn object_length(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(skip) =
        bytes.get(at..).and_then(|rest| rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']')))
    {
        at += skip;
        match bytes.get(at) {
            Some(b'"') => at += string_length(bytes.get(at..).unwrap_or_default()),
            Some(b'{' | b'[') => (depth, at) = (depth + 1, at + 1),
            _ => {
                (depth, at) = (depth.saturating_sub(1), at + 1);
                if depth == 0 {
                    return at;
                }
            }
        }
    }
    bytes.len()
}

/// Length of the string that stands at the start, with its quotes.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(skip) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += skip + 1;
        match bytes.get(at - 1) {
            Some(b'"') => return at,
            _ => at += 1, // whatever was escaped
        }
    }
    bytes.len()
}

/// The first event that is JSON, as a document: enough to tell the shape of a stream.
pub(super) fn first_document(events: &[Event], keep: usize) -> Value {
    let first = events.first().map_or("", |event| event.data.as_str());
    json::outline(first, keep).doc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_from_a_document() {
        for (text, are) in [
            ("{\"a\":1}\n{\"b\":2}\n", true),
            ("{\"a\":1}\r\n\r\n{\"b\":2}", true),
            ("{\"a\":1}\n{\"b\":", true),
            ("{\"a\":1}\n", false),
            ("{\n\"a\":1\n}\n", false),
            ("{\"a\":1}\nplain text", false),
            ("{\"a\":1}\n{not json}\n", false),
            ("{\"a\":1}\n{\"b\":\n{\"c\":1}", false),
            ("1\n2\n", false),
            ("", false),
        ] {
            assert_eq!(are_lines(text.as_bytes()), are, "{text:?}");
        }
    }

    #[test]
    fn an_array_comes_apart_into_its_objects() {
        let many = format!("[{}]", "{},".repeat(MAX_ELEMENTS + 9));
        assert_eq!(elements(many.as_bytes(), Timestamp(1)).unwrap().len(), MAX_ELEMENTS + 1);
        for (text, expected) in [
            ("[{\"a\":\"}]\\\"\"}\n,\r\n{\"b\":[{}]}\n]", Some(&["{\"a\":\"}]\\\"\"}", "{\"b\":[{}]}"][..])),
            ("[{\"a\":1},{\"b\":\"cu", Some(&["{\"a\":1}", "{\"b\":\"cu"])),
            ("[{\"a\":1}, 5, 6]", Some(&["{\"a\":1}", "5, 6]"])),
            ("[{\"a\":1},", Some(&["{\"a\":1}"])),
            ("[{\"a\\", Some(&["{\"a\\"])),
            ("[]", None),
            ("[1,2]", None),
            ("{\"a\":[{}]}", None),
            ("", None),
        ] {
            let found = elements(text.as_bytes(), Timestamp(1));
            let found = found.map(|events| events.into_iter().map(|event| event.data.to_string()).collect::<Vec<_>>());
            assert_eq!(
                found.as_deref(),
                expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()).as_deref(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn an_event_stream_may_begin_with_comments() {
        for (text, is_stream) in [
            ("data: {}\n\n", true),
            (": PROCESSING\n\n: PROCESSING\r\n\r\ndata: {}\n\n", true),
            (":\nevent: a\ndata: {}\n\n", true),
            (": a poem\nby nobody", false),
            (":", false),
            ("\ndata: {}", false),
            ("", false),
        ] {
            assert_eq!(begins_with_events(text.as_bytes()), is_stream, "{text:?}");
        }
        assert!(!begins_with_events(&[b":\n".repeat(MAX_COMMENTS), b"data: {}".to_vec()].concat()));
    }

    #[test]
    fn events_that_nobody_announced_are_bounded() {
        let body = "data:\n\n".repeat(4 << 20);
        let events = collect(EventParser::Sse(SseParser::default()), body.as_bytes(), Timestamp(1));
        let size = events.len() * size_of::<Event>();
        assert!((MAX_FOUND_BYTES / 2..MAX_FOUND_BYTES + (2 << 20)).contains(&size), "{size}");
    }
}
