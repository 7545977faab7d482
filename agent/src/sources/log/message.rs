//! Messages of several lines: stack traces, documents written over lines. Enters: lines. Leaves: whether a line begins a message, and where
//! the message around a place begins and ends. The scan needs none of it, for it reads blocks; who wrote a line, what call it tells of and
//! where a block may end do.

use std::{ops::Range, sync::Arc};

use memchr::{memchr, memrchr};
use regex::bytes::Regex;

/// Bytes before and behind a place that its message is looked for in.
pub const MESSAGE_BYTES: usize = 256 * 1024;

/// How a log begins its messages.
#[derive(Clone, Debug, Default)]
pub enum Messages {
    /// A line that is indented, or that begins with a closing bracket, goes on with the message before it.
    #[default]
    Indented,
    /// A line that fits begins a message, every other one goes on with it.
    Begin(Arc<Regex>),
}

impl PartialEq for Messages {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Indented, Self::Indented) => true,
            (Self::Begin(one), Self::Begin(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl Eq for Messages {}

impl Messages {
    /// Whether a line begins a message.
    pub fn begins(&self, line: &[u8]) -> bool {
        match self {
            Self::Indented => !matches!(line.first(), None | Some(b' ' | b'\t' | b'\r' | b'}' | b']')),
            Self::Begin(pattern) => pattern.is_match(line),
        }
    }

    /// The message that the line around `at` belongs to, without its last line feed. What is further away than [`MESSAGE_BYTES`] does not
    /// belong to it.
    pub fn around(&self, text: &[u8], at: usize) -> Range<usize> {
        let at = at.min(text.len());
        let own = line_start(text, at);
        let (least, most) = (at.saturating_sub(MESSAGE_BYTES), text.len().min(at.saturating_add(MESSAGE_BYTES)));
        let mut start = own;
        while start > least && !self.begins(line(text, start)) {
            let before = line_start(text, start - 1);
            if before < least {
                break;
            }
            start = before;
        }
        // Lines before the first message of a text belong to nobody whose beginning is here.
        if !self.begins(line(text, start)) {
            start = own;
        }
        let mut end = own + line(text, own).len();
        while end < most {
            let next = line(text, end + 1);
            if end + 1 + next.len() > most || end + 1 >= text.len() || self.begins(next) {
                break;
            }
            end += 1 + next.len();
        }
        start..end
    }

    /// Start of the last message in some whole lines, when a pattern says where messages begin: nobody knows yet where it ends. At most
    /// `within` bytes from their end.
    pub fn last_in(&self, lines: &[u8], within: usize) -> Option<usize> {
        let Self::Begin(_) = self else { return None };
        let least = lines.len().saturating_sub(within);
        let mut end = lines.len();
        while end > least {
            let start = line_start(lines, end - 1);
            if self.begins(line(lines, start)) {
                return (start >= least).then_some(start);
            }
            end = start;
        }
        None
    }
}

fn line_start(text: &[u8], at: usize) -> usize {
    memrchr(b'\n', text.get(..at).unwrap_or_default()).map_or(0, |end| end + 1)
}

fn line(text: &[u8], start: usize) -> &[u8] {
    let rest = text.get(start..).unwrap_or_default();
    rest.get(..memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(pattern: &str) -> Messages {
        Messages::Begin(Arc::new(Regex::new(pattern).unwrap()))
    }

    fn message<'t>(messages: &Messages, text: &'t str, of: &str) -> &'t str {
        &text[messages.around(text.as_bytes(), text.find(of).unwrap())]
    }

    #[test]
    fn a_message_ends_where_the_next_one_begins() {
        let trace =
            "10:00 ERROR failed\n\tat shop.Cart.pay(Cart.java:7)\n\nCaused by: no answer\n\tat x\n10:01 INFO on\n";
        let timed = begin(r"^\d\d:\d\d ");
        let whole = "10:00 ERROR failed\n\tat shop.Cart.pay(Cart.java:7)\n\nCaused by: no answer\n\tat x";
        for of in ["failed", "at shop", "Caused", "at x"] {
            assert_eq!(message(&timed, trace, of), whole, "{of}");
        }
        assert_eq!(message(&timed, trace, "on"), "10:01 INFO on");
        assert_eq!(message(&Messages::Indented, trace, "at x"), "Caused by: no answer\n\tat x");
        let document = "<-- 200\n{\n  \"model\": \"m\",\n  \"usage\": {\n    \"input_tokens\": 1\n  }\n}\n<-- END\n";
        let inner = &document[8..document.len() - 9];
        assert_eq!(message(&Messages::Indented, document, "input_tokens"), inner);
        for text in ["", "\n", "  a", "  a\n  b\n", "a"] {
            for at in 0..=text.len() {
                let found = Messages::Indented.around(text.as_bytes(), at);
                assert!(found.start <= found.end && found.end <= text.len(), "{text:?} {at} {found:?}");
            }
        }
        assert_eq!(message(&timed, "left over\nof before\n10:00 a\n", "of before"), "of before");
    }

    #[test]
    fn a_message_has_a_largest_size() {
        let text = format!("head\n{}", " x\n".repeat(MESSAGE_BYTES));
        let at = text.len() / 2;
        let found = Messages::Indented.around(text.as_bytes(), at);
        assert!(found.start >= at - MESSAGE_BYTES && found.end <= at + MESSAGE_BYTES, "{found:?}");
        assert!(found.contains(&at));
    }

    #[test]
    fn the_last_message_of_some_lines_is_open() {
        let timed = begin(r"^\d\d:\d\d ");
        assert_eq!(timed.last_in(b"10:00 a\n b\n10:01 c\n d\n", 100), Some(11));
        assert_eq!(timed.last_in(b"10:00 a\n b\n", 100), Some(0));
        assert_eq!(timed.last_in(b"10:00 a\n b\n", 4), None);
        assert_eq!(timed.last_in(b"a\nb\n", 100), None);
        assert_eq!(Messages::Indented.last_in(b"a\n b\n", 100), None);
    }
}
