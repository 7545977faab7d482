//! Strings of JSON (RFC 8259, section 7). Enters: an input, and where in it a string begins. Leaves: its text, borrowed when
//! there is nothing to decode, else behind what the caller has already. What is cut or malformed gives what was readable up to
//! there. Never copies a string without escapes, and checks no UTF-8 twice: a text where it is given out, and what stands between
//! texts not at all, for it can be ASCII only. What turns out to be no UTF-8 is not read at all: who wants it replaces what is
//! wrong and reads again.

use std::borrow::Cow;

use super::lanes::{
    self, LANES,
    unescape::{BLOCK_BYTES, Why, plain_escape, unescape},
    utf8::utf8,
};

/// So far a quote or an escape is looked for step by step, before a search with wide registers is worth its start.
const NEAR_BYTES: usize = 64;

/// Bytes that are checked at once from a short piece on; the more, the more of them there are.
const MIN_CHECKED_BYTES: usize = 256;
const MAX_CHECKED_BYTES: usize = 4 << 10;
/// Bytes of the character that stands for what is no UTF-8.
const REPLACED_BYTES: usize = char::REPLACEMENT_CHARACTER.len_utf8();
/// Most bytes of a character, and of it behind its first.
const MAX_LETTER_BYTES: usize = 4;
const MAX_CONTINUATIONS: usize = MAX_LETTER_BYTES - 1;

/// Why reading does not go on.
pub(super) enum Stop {
    /// The input ends.
    Cut,
    /// This is no JSON.
    Malformed,
    /// A text is no UTF-8.
    Foreign,
}

/// A document.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    /// Bytes, of which each text is to be checked.
    Bytes(&'a [u8]),
    /// Known to be UTF-8.
    Text(&'a str),
}

/// A place in an input.
pub(super) struct Cursor<'a> {
    pub(super) input: &'a [u8],
    /// A part of it that is known to be UTF-8, and where it begins.
    known: &'a str,
    known_at: usize,
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(input: Input<'a>) -> Self {
        match input {
            Input::Bytes(input) => Self { input, known: "", known_at: 0, at: 0 },
            Input::Text(text) => Self { input: text.as_bytes(), known: text, known_at: 0, at: 0 },
        }
    }

    /// A piece of the input.
    #[inline]
    pub(super) fn piece(&mut self, start: usize, end: usize) -> Result<&'a str, Stop> {
        let from = start.wrapping_sub(self.known_at);
        match self.known.get(from..from.wrapping_add(end - start)) {
            Some(text) => Ok(text),
            None => self.check(start, end).ok_or(Stop::Foreign),
        }
    }

    /// Of short pieces many are checked at once: the more, the less there was of what is checked elsewhere.
    #[inline(never)]
    fn check(&mut self, start: usize, end: usize) -> Option<&'a str> {
        let known_end = self.known_at + self.known.len();
        let more = if start < known_end + NEAR_BYTES { 2 * self.known.len() } else { 0 };
        let more = more.clamp(MIN_CHECKED_BYTES, MAX_CHECKED_BYTES);
        if end - start < more {
            let mut near = (start + more).min(self.input.len());
            for _ in 0..MAX_CONTINUATIONS {
                near -= usize::from(self.input.get(near).is_some_and(|byte| is_continuation(*byte)));
            }
            let known = self.input.get(start..near).and_then(utf8);
            if let Some(text) = known.and_then(|known| known.get(..end - start)) {
                (self.known, self.known_at) = (known.unwrap_or_default(), start);
                return Some(text);
            }
        }
        self.input.get(start..end).and_then(utf8)
    }

    /// Reads the string whose quote is at `at`, when it stands in the input as it is. Else `at` is behind the quote, and it is
    /// to be decoded.
    #[inline]
    pub(super) fn plain(&mut self) -> Result<Option<&'a str>, Stop> {
        self.at += 1;
        let start = self.at;
        let rest = self.input.get(start..).unwrap_or_default();
        let Some(length) = quote_or_backslash(rest).filter(|length| rest.get(*length) == Some(&b'"')) else {
            return Ok(None);
        };
        let text = self.piece(start, start + length)?;
        self.at = start + length + 1;
        Ok(Some(text))
    }

    /// Decodes what is left of a string behind what is in `out`. False: the input ends inside it. Malformed: `at` is the
    /// backslash that says nothing, and what was found stands before it.
    pub(super) fn decode(&mut self, out: &mut String) -> Result<bool, Stop> {
        loop {
            if self.decode_block(out)? {
                return Ok(true);
            }
            let rest = self.input.get(self.at..).unwrap_or_default();
            let Some(length) = quote_or_backslash(rest) else {
                self.at = self.input.len();
                // A character that is cut at the very end is dropped, not replaced.
                let text = String::from_utf8_lossy(rest);
                out.push_str(text.trim_end_matches('\u{fffd}'));
                return Ok(false);
            };
            out.push_str(self.piece(self.at, self.at + length)?);
            self.at += length + 1;
            if rest.get(length) == Some(&b'"') {
                return Ok(true);
            }
            let backslash = self.at - 1;
            match self.escape(out) {
                Ok(true) => {}
                Ok(false) => {
                    self.at = self.input.len();
                    return Ok(false);
                }
                Err(stop) => {
                    self.at = backslash;
                    return Err(stop);
                }
            }
        }
    }

    /// Decodes up to the end of the string (true), or as far as all is well and escapes stand close to each other. A block is
    /// checked where it lies in the nearest cache.
    fn decode_block(&mut self, out: &mut String) -> Result<bool, Stop> {
        let mut block = [0; BLOCK_BYTES];
        let (mut at, mut filled) = (self.at, 0);
        loop {
            let step = unescape(self.input.get(at..).unwrap_or_default(), &mut block, filled);
            (at, filled) = (at + step.read, step.filled);
            if step.why == Why::Full {
                self.flush(at, &block, filled, out)?;
                (at, filled) = (self.at, 0);
                continue;
            }
            // Some libraries escape all that is not ASCII.
            if step.why == Why::Odd
                && self.input.get(at + 1) == Some(&b'u')
                && let Ok(Some((letter, length))) = self.unicode(at + 2)
                && let Some(room) = block.get_mut(filled..filled + MAX_LETTER_BYTES)
            {
                filled += letter.encode_utf8(room).len();
                at += 2 + length;
                continue;
            }
            self.flush(at, &block, filled, out)?;
            return Ok(step.why == Why::Quote);
        }
    }

    /// Adds a block to a text, without the start of a character whose end is yet to come. `at`: where the input goes on behind
    /// it.
    fn flush(&mut self, at: usize, block: &[u8], filled: usize, out: &mut String) -> Result<(), Stop> {
        let (mut at, mut end) = (at, filled);
        let byte = |at: usize| self.input.get(at).copied().unwrap_or_default();
        if is_continuation(byte(at)) {
            for _ in 0..MAX_CONTINUATIONS {
                if end > 0 && is_continuation(byte(at)) {
                    (at, end) = (at - 1, end - 1);
                }
            }
            if byte(at) < 0xc0 {
                return Err(Stop::Foreign); // of no character
            }
        }
        self.at = at;
        let text = block.get(..end).and_then(utf8).ok_or(Stop::Foreign)?;
        out.push_str(text);
        Ok(())
    }

    /// Decodes what follows a backslash. False: the input ends inside it.
    fn escape(&mut self, out: &mut String) -> Result<bool, Stop> {
        let Some(letter) = self.input.get(self.at).copied() else { return Ok(false) };
        self.at += 1;
        if letter != b'u' {
            out.push(Some(plain_escape(letter)).filter(|plain| *plain != 0).map(char::from).ok_or(Stop::Malformed)?);
            return Ok(true);
        }
        let Some((letter, length)) = self.unicode(self.at)? else { return Ok(false) };
        self.at += length;
        out.push(letter);
        Ok(true)
    }

    /// The character whose digits are at `from`, with those of its second half if it has one; and how long they are. `None`:
    /// the input ends inside them.
    fn unicode(&self, from: usize) -> Result<Option<(char, usize)>, Stop> {
        let Some(unit) = self.unit(from)? else { return Ok(None) };
        if (0xd800..0xdc00).contains(&unit) && self.input.get(from + 4..from + 6) == Some(b"\\u") {
            let Some(low) = self.unit(from + 6)? else { return Ok(None) };
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                return Ok(Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 10)));
            }
        }
        Ok(Some((char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 4)))
    }

    /// Four hexadecimal digits at `from`. `None`: the input ends inside them.
    fn unit(&self, from: usize) -> Result<Option<u32>, Stop> {
        let Some(digits) = self.input.get(from..from + 4) else {
            let mut cut = self.input.get(from..).unwrap_or_default().iter();
            return if cut.all(u8::is_ascii_hexdigit) { Ok(None) } else { Err(Stop::Malformed) };
        };
        let text = std::str::from_utf8(digits).map_err(|_| Stop::Malformed)?;
        u32::from_str_radix(text, 16).map(Some).map_err(|_| Stop::Malformed)
    }
}

/// All of an input as text: what is no UTF-8 in it is replaced.
pub(super) fn text(input: &[u8]) -> Cow<'_, str> {
    // The quicker check first.
    utf8(input).map_or_else(|| String::from_utf8_lossy(input), Cow::Borrowed)
}

/// Where in an input stands what is at `at` in its [`text`].
pub(super) fn place(input: &[u8], at: usize) -> usize {
    let (mut left, mut passed) = (at, 0);
    for chunk in input.utf8_chunks() {
        let valid = chunk.valid().len();
        if left < valid + REPLACED_BYTES {
            return passed + left.min(valid);
        }
        left -= valid + REPLACED_BYTES;
        passed += valid + chunk.invalid().len();
    }
    passed
}

/// Whether a byte is one of a character, but not its first.
fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Where a string ends or an escape begins. Most strings are short: the first bytes are compared sixteen at a time, which is
/// over before a search with wide registers has begun.
#[inline]
pub(super) fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    let mut passed = 0;
    let mut near = bytes;
    while let Some((word, rest)) = near.split_first_chunk::<LANES>() {
        if passed == NEAR_BYTES {
            return memchr::memchr2(b'"', b'\\', near).map(|found| passed + found);
        }
        let hits = lanes::quoted(word);
        if hits != 0 {
            return Some(passed + hits.trailing_zeros() as usize);
        }
        passed += LANES;
        near = rest;
    }
    near.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|found| passed + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_what_was_replaced() {
        let input = b"a\xff\xffb\xf0\x9f\x98c\xc3\xa9d\xe2";
        let shown = text(input);
        assert_eq!(shown, "a\u{fffd}\u{fffd}b\u{fffd}céd\u{fffd}");
        let places: Vec<_> = shown.char_indices().map(|(at, _)| place(input, at)).collect();
        assert_eq!(places, [0, 1, 2, 3, 4, 7, 8, 10, 11]);
        assert_eq!(place(input, shown.len()), input.len());
    }
}
