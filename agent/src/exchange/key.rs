//! Keys of JSON objects. Enters: a key. Leaves: what it says about its value and how it is shown: judged once for all members
//! of that name, for a document has thousands of members and a few dozen names. It reads no values.

use super::{attachment, text};

/// Shortest key that is text whatever is in it.
const KEY_MIN_CHARS: usize = 12;
/// Members whose long integers are times.
const TIMES: [&str; 5] = ["created", "created_at", "completed_at", "expires_at", "timestamp"];
/// Longest key that is shown.
pub(super) const MAX_SHOWN_CHARS: usize = 64;
/// Names that are remembered at once; a power of two.
const REMEMBERED: usize = 64;
/// Longest key that is remembered.
const MAX_REMEMBERED_BYTES: usize = 30;

/// Whether a key may be more than a name of a schema. Those are short, or lower-case words.
pub(super) fn is_key_text(key: &str) -> bool {
    // Without early exits: keys are short, and a loop without branches is faster on them.
    let (mut is_odd, mut is_words) = (false, true);
    for byte in key.bytes() {
        is_odd |= byte.is_ascii_digit() || byte == b'@';
        is_words &= byte.is_ascii_lowercase() || byte == b'_';
    }
    is_odd || (key.len() >= KEY_MIN_CHARS && !is_words)
}

/// Whether a key is shown as it is, behind a point.
pub(super) fn is_plain(key: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    key.len() <= MAX_SHOWN_CHARS
        && key.bytes().next().is_some_and(is_letter)
        && key.bytes().fold(true, |is, byte| is & (is_letter(byte) || byte.is_ascii_digit() || byte == b'-'))
}

/// Whether a number under this key is a time.
pub(super) fn is_time(key: &str) -> bool {
    TIMES.contains(&key)
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// Of what has no key.
    pub(super) const NONE: Self = Self(0);

    const TEXT: u8 = 1;
    const PLAIN: u8 = 2;
    const NAME: u8 = 4;
    const FILE: u8 = 8;
    const TIME: u8 = 16;

    /// Judges a key.
    pub(super) fn of(key: &str) -> Self {
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        Self(
            bit(is_key_text(key), Self::TEXT)
                | bit(is_plain(key), Self::PLAIN)
                | bit(text::is_name(key), Self::NAME)
                | bit(text::is_media_key(key) || attachment::is_key(key), Self::FILE)
                | bit(is_time(key), Self::TIME),
        )
    }

    /// It may be text itself.
    #[inline]
    pub(super) fn is_text(self) -> bool {
        self.0 & Self::TEXT != 0
    }

    /// It is shown as it is.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        self.0 & Self::PLAIN != 0
    }

    /// Rules that go by the name in front of a value know it.
    #[inline]
    pub(super) fn is_name(self) -> bool {
        self.0 & Self::NAME != 0
    }

    /// Files and media stand under it.
    #[inline]
    pub(super) fn is_file(self) -> bool {
        self.0 & Self::FILE != 0
    }

    /// Times stand under it.
    #[inline]
    pub(super) fn is_time(self) -> bool {
        self.0 & Self::TIME != 0
    }
}

/// The keys seen last, each in the one place that it can have: at most [`REMEMBERED`].
#[derive(Debug, Default)]
pub(super) struct Classes(Vec<Entry>);

/// A key, and what is known of it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: [u8; MAX_REMEMBERED_BYTES],
    bytes: u8,
    class: Class,
}

impl Classes {
    /// What is known of a key, which is remembered.
    #[inline]
    pub(super) fn of(&mut self, key: &str) -> Class {
        let bytes = key.as_bytes();
        if self.0.is_empty() {
            let none = Entry { key: [0; MAX_REMEMBERED_BYTES], bytes: 0, class: Class::of("") };
            self.0.resize(REMEMBERED, none);
        }
        let Some(entry) = self.0.get_mut(place(bytes)) else { return Class::of(key) };
        if entry.key.get(..usize::from(entry.bytes)) == Some(bytes) {
            return entry.class;
        }
        let class = Class::of(key);
        if let Some(room) = entry.key.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            (entry.bytes, entry.class) = (bytes.len() as u8, class);
        }
        class
    }
}

/// Keys of one document differ in length, at one of their ends, or in the middle.
#[inline]
fn place(key: &[u8]) -> usize {
    let letter = |at: usize| key.get(at).copied().map_or(0, u32::from);
    let mixed =
        letter(0) | letter(key.len() / 2) << 8 | letter(key.len().wrapping_sub(1)) << 16 | (key.len() as u32) << 24;
    (mixed.wrapping_mul(0x9e37_79b1) >> (32 - REMEMBERED.trailing_zeros())) as usize
}
