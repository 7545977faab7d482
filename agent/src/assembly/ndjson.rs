//! One JSON document a line (`application/x-ndjson` and its many other names). Enters: pieces of a body, cut anywhere. Leaves:
//! [`Event`]s without a name, one a line, each with the arrival time of its line feed. It does not look into the line.
//!
//! A line that the end of the body cuts is given out too: a leak in half a line is still a leak.

use super::{Event, EventText};
use crate::units::Timestamp;

/// What an event costs to hold besides its text.
const EVENT_BYTES: usize = size_of::<Event>();

/// An incremental parser. What it holds is bounded by who feeds it.
#[derive(Debug, Default)]
pub struct NdjsonParser {
    /// An unfinished line.
    line: Vec<u8>,
}

impl NdjsonParser {
    /// Takes a piece that arrived at `at`; finished lines are added to `events`. Returns the bytes that `events` grew by.
    pub fn push(&mut self, piece: &[u8], at: Timestamp, events: &mut Vec<Event>) -> usize {
        let (mut grown, mut rest) = (0, piece);
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, tail) = rest.split_at(end);
            if self.line.is_empty() {
                grown += give(line, at, events);
            } else {
                self.line.extend_from_slice(line);
                grown += give(&self.line, at, events);
                self.line.clear();
            }
            rest = tail.get(1..).unwrap_or_default();
        }
        self.line.extend_from_slice(rest);
        grown
    }

    /// The body ended: gives out the line that is unfinished.
    pub fn finish(&mut self, at: Timestamp, events: &mut Vec<Event>) {
        give(&std::mem::take(&mut self.line), at, events);
    }

    /// Bytes held for the unfinished line.
    pub fn buffered(&self) -> usize {
        self.line.len()
    }
}

fn give(line: &[u8], at: Timestamp, events: &mut Vec<Event>) -> usize {
    let line = line.trim_ascii();
    if line.is_empty() {
        return 0;
    }
    let data = EventText::lossy(line);
    let grown = EVENT_BYTES + data.len();
    events.push(Event { data, at, ..Event::default() });
    grown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let (mut parser, mut events, mut grown) = (NdjsonParser::default(), Vec::new(), 0);
        for piece in pieces {
            grown += parser.push(piece, Timestamp(1), &mut events);
        }
        assert_eq!(grown, events.iter().map(|event| EVENT_BYTES + event.data.len()).sum::<usize>());
        parser.finish(Timestamp(2), &mut events);
        assert_eq!(parser.buffered(), 0);
        events.into_iter().map(|event| event.data.to_string()).collect()
    }

    #[test]
    fn lines() {
        for (text, expected) in [
            ("{\"a\":1}\n{\"b\":2}\n", &["{\"a\":1}", "{\"b\":2}"][..]),
            ("{\"a\":1}\r\n\r\n \n{\"b\":2}", &["{\"a\":1}", "{\"b\":2}"]),
            ("{\"a\":1}\n{\"b\":", &["{\"a\":1}", "{\"b\":"]),
            ("", &[]),
            ("\n", &[]),
        ] {
            assert_eq!(parse([text.as_bytes()]), expected, "{text:?}");
            assert_eq!(parse(text.as_bytes().chunks(1)), expected, "{text:?} byte by byte");
        }
    }

    #[test]
    fn a_line_has_the_time_of_its_last_byte() {
        let (mut parser, mut events) = (NdjsonParser::default(), Vec::new());
        parser.push(b"{\"a\":", Timestamp(1), &mut events);
        parser.push(b"1}", Timestamp(2), &mut events);
        assert!(events.is_empty());
        parser.push(b"\n{", Timestamp(3), &mut events);
        parser.finish(Timestamp(4), &mut events);
        assert_eq!(events.iter().map(|event| event.at).collect::<Vec<_>>(), [Timestamp(3), Timestamp(4)]);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(text in "(\\{|\\}|[a-zé]|\r|\n| ){0,60}", size in 1usize..9) {
            prop_assert_eq!(parse(text.as_bytes().chunks(size)), parse([text.as_bytes()]));
        }
    }
}
