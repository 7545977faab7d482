//! Text of an event. Enters: a text of its own, or a part of a block that many events share. Leaves: [`EventText`], which reads
//! as a `str`. A stream is thousands of events that say a word each: one block of them is one allocation, two strings an event
//! were half of what reading a stream took. Never copied when cloned.

use std::{fmt, ops::Deref, sync::Arc};

/// A part of a block of text. An empty one holds no block.
#[derive(Clone, Default)]
pub struct EventText {
    block: Option<Arc<str>>,
    /// Where it lies. No body is as long as 4 GiB (`Limits::body_bytes`); what lay past that would be no text.
    start: u32,
    end: u32,
}

impl EventText {
    /// The part of `block` from `start` to `end`.
    pub(super) fn part(block: &Arc<str>, start: usize, end: usize) -> Self {
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) if start < end => Self { block: Some(Arc::clone(block)), start, end },
            _ => Self::default(),
        }
    }

    /// Bytes that should be text; what is not is replaced.
    pub(super) fn lossy(bytes: &[u8]) -> Self {
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => Self::from(text),
            Err(_) => Self::from(String::from_utf8_lossy(bytes).as_ref()),
        }
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        let block = self.block.as_deref().unwrap_or_default();
        block.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

impl Deref for EventText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for EventText {
    fn from(text: &str) -> Self {
        if text.is_empty() { Self::default() } else { Self::part(&Arc::from(text), 0, text.len()) }
    }
}

impl From<String> for EventText {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Debug for EventText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl fmt::Display for EventText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), formatter)
    }
}

impl PartialEq for EventText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for EventText {}

impl PartialEq<str> for EventText {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_text_that_it_covers() {
        let block: Arc<str> = Arc::from("one\ntw\u{f6}");
        for (start, end, expected) in [
            (0, 3, "one"),
            (4, 8, "tw\u{f6}"),
            (3, 3, ""),
            (4, 7, ""), // ends in a letter
            (4, 99, ""),
            (5, 4, ""),
        ] {
            let part = EventText::part(&block, start, end);
            assert_eq!(part.as_str(), expected, "{start}..{end}");
            assert_eq!(part, EventText::from(expected));
        }
        assert_eq!(EventText::lossy(b"a\xffb").as_str(), "a\u{fffd}b");
    }
}
