//! Strings of JSON (RFC 8259, section 7). Enters: an input, and where in it a string begins. Leaves: its text, borrowed when
//! there is nothing to decode, else behind what the caller has already. What is cut or malformed gives what was readable up to
//! there; bytes that are no UTF-8 are replaced. Never copies a string without escapes, and checks no UTF-8 twice: pieces between
//! escapes are pieces of what was checked.

/// So far a quote or an escape is looked for step by step, before a search with wide registers is worth its start.
const NEAR_BYTES: usize = 64;
/// Text with escapes is put together in a block, as long as escapes stand closer than this.
const BLOCK_BYTES: usize = 1 << 10;
const FAR_BYTES: usize = 256;
/// So many bytes are looked at for escapes at once.
const SPAN_BYTES: usize = 64;
/// Room that a step needs in it: what a span stands for, the span that is copied last, and a character.
const STEP_BYTES: usize = 2 * SPAN_BYTES + 4;

use super::lanes::{self, LANES};

/// Why reading does not go on.
pub(super) enum Stop {
    /// The input ends.
    Cut,
    /// This is no JSON.
    Malformed,
}

/// A place in an input.
pub(super) struct Cursor<'a> {
    pub(super) input: &'a [u8],
    /// As [`valid`] gives it.
    valid: &'a str,
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(input: &'a [u8], valid: &'a str) -> Self {
        Self { input, valid, at: 0 }
    }

    /// A piece of the input, if it is UTF-8.
    pub(super) fn piece(&self, start: usize, end: usize) -> &'a str {
        self.valid.get(start..end).unwrap_or_default()
    }

    /// Reads the string whose quote is at `at`, when it stands in the input as it is. Else `at` is behind the quote, and it is
    /// to be decoded.
    #[inline]
    pub(super) fn plain(&mut self) -> Option<&'a str> {
        self.at += 1;
        let start = self.at;
        let rest = self.input.get(start..)?;
        let length = quote_or_backslash(rest)?;
        if rest.get(length) != Some(&b'"') {
            return None;
        }
        let text = self.valid.get(start..start + length)?;
        self.at = start + length + 1;
        Some(text)
    }

    /// Decodes what is left of a string behind what is in `out`. False: the input ends inside it. Malformed: `at` is the
    /// backslash that says nothing, and what was found stands before it.
    pub(super) fn decode(&mut self, out: &mut String) -> Result<bool, Stop> {
        loop {
            if self.decode_block(out) {
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
            match self.valid.get(self.at..self.at + length) {
                Some(plain) => out.push_str(plain),
                None => out.push_str(&String::from_utf8_lossy(rest.get(..length).unwrap_or_default())),
            }
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

    /// Decodes up to the end of the string (true), or as far as all is well and escapes stand close to each other. Prompts are
    /// full of line feeds and quotes, so an escape must cost little more than any other letter: all escapes of a span are found
    /// at once, what stands before each is copied without a look at how long it is, and what was too much is written over. That
    /// a block is UTF-8 is known before, but to say so once more where it lies in the nearest cache costs less than to add it
    /// piece by piece.
    fn decode_block(&mut self, out: &mut String) -> bool {
        let bytes = self.valid.as_bytes();
        let mut block = [0; BLOCK_BYTES];
        let (mut at, mut filled, mut plain_bytes, mut is_over) = (self.at, 0, 0, false);
        'spans: while plain_bytes < FAR_BYTES
            && let Some(span) = bytes.get(at..).and_then(<[u8]>::first_chunk::<SPAN_BYTES>)
        {
            if filled > BLOCK_BYTES - STEP_BYTES {
                self.flush(at, &block, filled, out);
                (at, filled) = (self.at, 0);
                continue;
            }
            let mut hits = quotes_and_backslashes(span);
            plain_bytes = if hits == 0 { plain_bytes + SPAN_BYTES } else { 0 };
            let mut from = 0;
            while hits != 0 {
                let hit = hits.trailing_zeros() as usize;
                if !copy(&mut block, filled, bytes, at + from) {
                    at += from;
                    break 'spans;
                }
                filled += hit - from;
                let Some([byte, letter]) = bytes.get(at + hit..).and_then(<[u8]>::first_chunk::<2>) else {
                    at += hit;
                    break 'spans;
                };
                if *byte == b'"' {
                    at += hit + 1;
                    is_over = true;
                    break 'spans;
                }
                from = hit + 2;
                let plain = plain_escape(*letter);
                if plain == 0 {
                    // Some libraries escape all that is not ASCII.
                    let letter = if *letter == b'u' { self.unicode(at + from) } else { Err(Stop::Malformed) };
                    let (Ok(Some((letter, length))), Some(room)) = (letter, block.get_mut(filled..filled + 4)) else {
                        at += hit;
                        break 'spans;
                    };
                    filled += letter.encode_utf8(room).len();
                    at += from + length;
                    continue 'spans;
                }
                if let Some(room) = block.get_mut(filled) {
                    *room = plain;
                }
                filled += 1;
                // The letter of an escape is none of its own.
                hits &= !(3 << hit);
            }
            if from < SPAN_BYTES {
                if !copy(&mut block, filled, bytes, at + from) {
                    at += from;
                    break;
                }
                filled += SPAN_BYTES - from;
            }
            at += from.max(SPAN_BYTES);
        }
        self.flush(at, &block, filled, out);
        is_over
    }

    /// Adds a block to a text, without the start of a character whose end is yet to come. `at`: where the input goes on behind
    /// it.
    fn flush(&mut self, at: usize, block: &[u8], filled: usize, out: &mut String) {
        let (mut at, mut end) = (at, filled);
        while end > 0 && !self.valid.is_char_boundary(at) {
            (at, end) = (at - 1, end - 1);
        }
        self.at = at;
        let text = block.get(..end).and_then(|text| simdutf8::basic::from_utf8(text).ok());
        out.push_str(text.unwrap_or_default());
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
        let Some(digits) = self.input.get(from..from + 4) else { return Ok(None) };
        let text = std::str::from_utf8(digits).map_err(|_| Stop::Malformed)?;
        u32::from_str_radix(text, 16).map(Some).map_err(|_| Stop::Malformed)
    }
}

/// As much of the input as is UTF-8 from its start.
pub(super) fn valid(input: &[u8]) -> &str {
    // The quicker check first: the one that says where it went wrong is needed for broken bodies alone.
    simdutf8::basic::from_utf8(input).unwrap_or_else(|_| {
        let valid = simdutf8::compat::from_utf8(input).map_or_else(|error| error.valid_up_to(), str::len);
        input.get(..valid).and_then(|valid| std::str::from_utf8(valid).ok()).unwrap_or_default()
    })
}

/// What a backslash and this letter stand for; zero: nothing.
fn plain_escape(letter: u8) -> u8 {
    ESCAPES.get(usize::from(letter)).copied().unwrap_or_default()
}

/// What stands behind a backslash for what; zero is nothing. A table, because a jump by letter is guessed wrong at every other escape.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    table[b'n' as usize] = b'\n';
    table[b't' as usize] = b'\t';
    table[b'r' as usize] = b'\r';
    table[b'b' as usize] = 8;
    table[b'f' as usize] = 12;
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'/' as usize] = b'/';
    table
};

/// Copies a span, if there is as much of it.
#[inline]
fn copy(block: &mut [u8; BLOCK_BYTES], filled: usize, bytes: &[u8], from: usize) -> bool {
    let span = bytes.get(from..).and_then(<[u8]>::first_chunk::<SPAN_BYTES>);
    let room = block.get_mut(filled..).and_then(<[u8]>::first_chunk_mut::<SPAN_BYTES>);
    let (Some(span), Some(room)) = (span, room) else { return false };
    *room = *span;
    true
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

/// A bit for each byte, the lowest for the first: it is a quote or a backslash.
#[inline]
fn quotes_and_backslashes(span: &[u8; SPAN_BYTES]) -> u64 {
    let (words, _) = span.as_chunks::<LANES>();
    words.iter().rev().fold(0, |known, word| known << LANES | u64::from(lanes::quoted(word)))
}
