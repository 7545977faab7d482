//! Server-sent events (WHATWG HTML, section 9.2.6). Enters: pieces of a `text/event-stream` body, cut anywhere. Leaves:
//! [`Event`]s, each with the arrival time of its last byte. Never copies a line that lies whole in one piece twice.
//!
//! One deviation: at the end of the stream an unfinished event is given out, not discarded. A browser must not act on half
//! an event; we must not miss a leak in it.

use std::{ops::Range, sync::Arc};

use super::{Event, EventText};
use crate::units::Timestamp;

/// What an event costs to hold besides its text.
const EVENT_BYTES: usize = size_of::<Event>();
/// Text of events that is put together in one block. A longer event has a block of its own.
const BLOCK_BYTES: usize = 16 << 10;

/// An incremental parser. It gives events out by the block, so that they share it, and the last of them at the end.
#[derive(Debug, Default)]
pub struct SseParser {
    /// An unfinished line.
    line: Vec<u8>,
    /// The last byte was a carriage return, so a line feed belongs to it.
    after_cr: bool,
    /// A first line was seen, so a byte order mark is no longer one.
    started: bool,
    event: EventText,
    /// Name of the last event that had one: the next one has it too, nearly always.
    last_name: EventText,
    /// Data of the events that wait, with a line feed behind each, and of the unfinished one.
    block: Vec<u8>,
    /// Where in the block the unfinished event begins.
    start: usize,
    has_data: bool,
    waiting: Vec<Waiting>,
    /// What they cost to hold besides the block.
    waiting_bytes: usize,
}

/// An event whose block is not full.
#[derive(Debug)]
struct Waiting {
    name: EventText,
    data: Range<usize>,
    at: Timestamp,
}

impl SseParser {
    /// Takes a piece that arrived at `at`; finished events are added to `events`. Returns the bytes that `events` grew by.
    pub fn push(&mut self, piece: &[u8], at: Timestamp, events: &mut Vec<Event>) -> usize {
        let mut grown = 0;
        let mut rest = piece;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
            let (line, tail) = rest.split_at(end);
            if self.line.is_empty() {
                grown += self.line(line, at, events);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                grown += self.line(&whole, at, events);
                whole.clear();
                self.line = whole;
            }
            rest = match tail {
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
                [] => &[],
            };
            // Nearly every event ends with an empty line and a line feed.
            if let [b'\n', behind @ ..] = rest {
                grown += self.line(&[], at, events);
                rest = behind;
            }
        }
        self.line.extend_from_slice(rest);
        grown
    }

    /// The stream ended: gives out what is unfinished.
    pub fn finish(&mut self, at: Timestamp, events: &mut Vec<Event>) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.line(&line, at, events);
        }
        self.dispatch(at, events);
        self.flush(events);
    }

    /// Bytes held for events that were not given out.
    pub fn buffered(&self) -> usize {
        self.line.len() + self.block.len() + self.event.len() + self.waiting_bytes
    }

    fn line(&mut self, line: &[u8], at: Timestamp, events: &mut Vec<Event>) -> usize {
        let line = if self.started { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
        self.started = true;
        if line.is_empty() {
            return self.dispatch(at, events);
        }
        let (field, value) = match line {
            [b'd', b'a', b't', b'a', b':', value @ ..] => (&b"data"[..], value),
            _ => match memchr::memchr(b':', line) {
                Some(colon) => {
                    let (field, value) = line.split_at(colon);
                    (field, value.get(1..).unwrap_or_default())
                }
                None => (line, &[][..]),
            },
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.has_data {
                    self.block.push(b'\n');
                }
                self.has_data = true;
                self.block.extend_from_slice(value);
            }
            b"event" if value == self.last_name.as_bytes() => self.event = self.last_name.clone(),
            b"event" => {
                self.event = EventText::lossy(value);
                self.last_name = self.event.clone();
            }
            _ => {} // comments have an empty field name; `id`, `retry` and the rest say nothing that is needed here
        }
        0
    }

    fn dispatch(&mut self, at: Timestamp, events: &mut Vec<Event>) -> usize {
        let name = std::mem::take(&mut self.event);
        if !std::mem::take(&mut self.has_data) {
            return 0;
        }
        let data = self.start..self.block.len();
        // Half a letter at the end of an event and half a one at the start of the next one make none.
        self.block.push(b'\n');
        self.start = self.block.len();
        self.waiting_bytes += EVENT_BYTES + name.len();
        self.waiting.push(Waiting { name, data, at });
        if self.start >= BLOCK_BYTES { self.flush(events) } else { 0 }
    }

    /// Gives out the events that wait. UTF-8 is checked once for all of them; only where that fails each has its own text.
    fn flush(&mut self, events: &mut Vec<Event>) -> usize {
        if self.waiting.is_empty() {
            return 0;
        }
        let mut grown = 0;
        let shared: Option<Arc<str>> = simdutf8::basic::from_utf8(&self.block).ok().map(Arc::from);
        events.reserve(self.waiting.len());
        for Waiting { name, data, at } in self.waiting.drain(..) {
            let data = match &shared {
                Some(block) => EventText::part(block, data.start, data.end),
                None => EventText::lossy(self.block.get(data).unwrap_or_default()),
            };
            grown += EVENT_BYTES + name.len() + data.len();
            events.push(Event { name, data, at });
        }
        self.block.clear();
        (self.start, self.waiting_bytes) = (0, 0);
        grown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
        let (mut parser, mut events) = (SseParser::default(), Vec::new());
        for piece in pieces {
            parser.push(piece, Timestamp(1), &mut events);
        }
        parser.finish(Timestamp(2), &mut events);
        events.into_iter().map(|event| (event.name.to_string(), event.data.to_string())).collect()
    }

    #[test]
    fn events() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("data: a\n\n", &[("", "a")]),
            ("data: a\r\n\r\n", &[("", "a")]),
            ("data: a\r\r", &[("", "a")]),
            ("event: ping\ndata:a\ndata: b\n\n", &[("ping", "a\nb")]),
            (": comment\n\n:\n\ndata: a\n\n", &[("", "a")]),
            ("data\n\n", &[("", "")]),
            ("data\ndata\n\n", &[("", "\n")]),
            ("data:  two spaces\n\n", &[("", " two spaces")]),
            ("event: lost\n\ndata: a\n\n", &[("", "a")]),
            ("id: 7\nretry: 10\ndata: a\nunknown: b\n\n", &[("", "a")]),
            ("\u{feff}data: a\n\n", &[("", "a")]),
            ("data: a\n\n\u{feff}data: b\n\n", &[("", "a")]),
            ("data: unfinished", &[("", "unfinished")]),
            ("data: a\n\ndata: b\n", &[("", "a"), ("", "b")]),
            ("data: gr\u{fc}\u{df}\n\n", &[("", "gr\u{fc}\u{df}")]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(e, d)| ((*e).to_owned(), (*d).to_owned())).collect();
            assert_eq!(parse([text.as_bytes()]), expected, "{text:?}");
            assert_eq!(parse(text.as_bytes().chunks(1)), expected, "{text:?} byte by byte");
        }
    }

    #[test]
    fn an_event_has_the_time_of_its_last_byte() {
        let (mut parser, mut events) = (SseParser::default(), Vec::new());
        parser.push(b"data: a\n", Timestamp(1), &mut events);
        parser.push(b"\ndata: b\n\n", Timestamp(2), &mut events);
        parser.finish(Timestamp(3), &mut events);
        assert_eq!(events.iter().map(|event| event.at).collect::<Vec<_>>(), [Timestamp(2), Timestamp(2)]);
    }

    #[test]
    fn letters_are_not_made_of_two_events() {
        let found = parse([&b"data: a\xc3\n\ndata: \xa9b\n\ndata: c\n\n"[..]]);
        let data: Vec<_> = found.iter().map(|(_, data)| data.as_str()).collect();
        assert_eq!(data, ["a\u{fffd}", "\u{fffd}b", "c"]);
    }

    #[test]
    fn blocks_hold_what_came_and_are_given_out_when_full() {
        let sent: Vec<String> =
            (0..3000).map(|index| format!("{index} gr\u{fc}n {}", "x".repeat(index % 40))).collect();
        let event = |data: &String| format!("event: e{}\ndata: {data}\n\n", data.len() % 3);
        let stream = sent.iter().map(event).collect::<Vec<_>>().concat();
        for size in [1, 7, 1000, stream.len()] {
            let (mut parser, mut events, mut grown) = (SseParser::default(), Vec::new(), 0);
            for piece in stream.as_bytes().chunks(size) {
                grown += parser.push(piece, Timestamp(1), &mut events);
                assert!(parser.buffered() < 4 * BLOCK_BYTES, "{} bytes held", parser.buffered());
            }
            let held: usize = events.iter().map(|event| EVENT_BYTES + event.name.len() + event.data.len()).sum();
            assert_eq!(grown, held);
            parser.finish(Timestamp(1), &mut events);
            assert_eq!(parser.buffered(), 0);
            assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), sent);
            assert!(events.iter().all(|event| *event.name == *format!("e{}", event.data.len() % 3)));
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(text in "(data: ?|event:|:|[a-zé]|\r|\n|\r\n|\u{feff}){0,60}", size in 1usize..9) {
            prop_assert_eq!(parse(text.as_bytes().chunks(size)), parse([text.as_bytes()]));
        }
    }
}
