//! Server-sent events (WHATWG HTML, section 9.2.6). Enters: pieces of a `text/event-stream` body, cut anywhere. Leaves:
//! [`Event`]s, each with the arrival time of its last byte. Never copies a line that lies whole in one piece twice.
//!
//! One deviation: at the end of the stream an unfinished event is given out, not discarded. A browser must not act on half
//! an event; we must not miss a leak in it.

use super::Event;
use crate::units::Timestamp;

/// What an event costs to hold besides its text.
const EVENT_BYTES: usize = size_of::<Event>();

/// An incremental parser.
#[derive(Debug, Default)]
pub struct SseParser {
    /// An unfinished line.
    line: Vec<u8>,
    /// The last byte was a carriage return, so a line feed belongs to it.
    after_cr: bool,
    /// A first line was seen, so a byte order mark is no longer one.
    started: bool,
    event: String,
    data: String,
    has_data: bool,
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
    }

    /// Bytes held for the unfinished event.
    pub fn buffered(&self) -> usize {
        self.line.len() + self.data.len() + self.event.len()
    }

    fn line(&mut self, line: &[u8], at: Timestamp, events: &mut Vec<Event>) -> usize {
        let line = if self.started { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
        self.started = true;
        if line.is_empty() {
            return self.dispatch(at, events);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            b"data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                // What replaces bad bytes looks at each byte; nearly all payloads have none.
                match simdutf8::basic::from_utf8(value) {
                    Ok(text) => self.data.push_str(text),
                    Err(_) => self.data.push_str(&String::from_utf8_lossy(value)),
                }
            }
            b"event" => self.event = String::from_utf8_lossy(value).into_owned(),
            _ => {} // comments have an empty field name; `id`, `retry` and the rest say nothing that is needed here
        }
        0
    }

    fn dispatch(&mut self, at: Timestamp, events: &mut Vec<Event>) -> usize {
        let event = std::mem::take(&mut self.event);
        if !std::mem::take(&mut self.has_data) {
            return 0;
        }
        let data = std::mem::take(&mut self.data);
        let grown = EVENT_BYTES + event.len() + data.len();
        events.push(Event { name: event, data, at });
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
        events.into_iter().map(|event| (event.name, event.data)).collect()
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
        assert!(events.is_empty());
        parser.push(b"\ndata: b\n\n", Timestamp(2), &mut events);
        assert_eq!(events.iter().map(|event| event.at).collect::<Vec<_>>(), [Timestamp(2), Timestamp(2)]);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(text in "(data: ?|event:|:|[a-zé]|\r|\n|\r\n|\u{feff}){0,60}", size in 1usize..9) {
            prop_assert_eq!(parse(text.as_bytes().chunks(size)), parse([text.as_bytes()]));
        }
    }
}
