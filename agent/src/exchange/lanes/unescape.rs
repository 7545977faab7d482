//! Strings of JSON whose escapes stand close to each other. Enters: what follows in an input. Leaves: what it stands for, in a
//! block. Prompts are full of line feeds and quotes, so an escape must cost little more than any other letter: all of a span are
//! found and undone at once, with the widest registers that the processor has. It reads no `\u`, and judges no UTF-8.

#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{LANES, quoted};

/// Bytes that are looked at at once.
pub(in super::super) const SPAN_BYTES: usize = 64;
/// Room for what the input stands for, of which the last span is for what is written over.
pub(in super::super) const BLOCK_BYTES: usize = 1 << 10;
/// Bytes that must follow, so that a span can be copied from any place in one.
pub(super) const WINDOW_BYTES: usize = 2 * SPAN_BYTES + 2;
/// Room of a span, and of what is copied past its end.
pub(super) const ROOM_BYTES: usize = 2 * SPAN_BYTES;
/// So far from the last escape there are other ways.
const FAR_BYTES: usize = 256;

/// How far it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Step {
    /// Bytes of the input that are behind; the quote at the end is one of them.
    pub(in super::super) read: usize,
    /// Bytes in the block, with those that were there.
    pub(in super::super) filled: usize,
    pub(in super::super) why: Why,
}

/// Why it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Why {
    /// The block is full.
    Full,
    /// The string is over.
    Quote,
    /// The next escape is no single letter.
    Odd,
    /// No escape is near, or the end of the input is.
    Far,
}

/// What one span came to; without a reason to stop it goes on.
pub(super) struct Span {
    pub(super) read: usize,
    pub(super) filled: usize,
    pub(super) stop: Option<Why>,
}

impl Span {
    /// One of which so much was read, and of that what is `kept` was put into the block.
    #[inline]
    pub(super) fn ended(read: usize, kept: u64, stop: Option<Why>) -> Self {
        let behind = usize::from(stop == Some(Why::Quote));
        Self { read: read + behind, filled: kept.count_ones() as usize, stop }
    }
}

/// Undoes escapes for as long as they are simple and near, behind what is in the block.
pub(in super::super) fn unescape(input: &[u8], block: &mut [u8; BLOCK_BYTES], filled: usize) -> Step {
    #[cfg(target_arch = "x86_64")]
    if let Some(step) = x86::unescape(input, block, filled) {
        return step;
    }
    by_spans(input, block, filled, narrow)
}

/// The same, with a way to undo those of one span.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must become part of a function that may use wide registers")]
pub(super) fn by_spans(
    input: &[u8],
    block: &mut [u8; BLOCK_BYTES],
    mut filled: usize,
    span: impl Fn(&[u8; WINDOW_BYTES], &mut [u8; ROOM_BYTES]) -> Span,
) -> Step {
    let (mut read, mut far) = (0, 0);
    let mut why = Why::Far;
    while far < FAR_BYTES
        && let Some(near) = input.get(read..).and_then(<[u8]>::first_chunk::<WINDOW_BYTES>)
    {
        let Some(room) = block.get_mut(filled..).and_then(<[u8]>::first_chunk_mut::<ROOM_BYTES>) else {
            why = Why::Full;
            break;
        };
        let done = span(near, room);
        read += done.read;
        filled += done.filled;
        if let Some(stop) = done.stop {
            why = stop;
            break;
        }
        far = if done.read == done.filled { far + SPAN_BYTES } else { 0 };
    }
    Step { read, filled, why }
}

/// What quotes and backslashes of a span say: a bit for each byte, the lowest for the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    quotes: u64,
    /// Backslashes that begin an escape.
    pub(super) starts: u64,
    /// The letters behind them; that of a backslash at the end is in the next span.
    pub(super) letters: u64,
}

impl Marks {
    /// A span does not begin within an escape.
    #[inline]
    pub(super) fn new(quotes: u64, backslashes: u64) -> Self {
        // Of a row of backslashes each second one is a letter. A row that begins at an even place is even where it has an even
        // number (Langdale and Lemire, "Parsing gigabytes of JSON per second", 2019, section 3.1.1; as in simdjson 3).
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        let behind = backslashes << 1;
        let series = (behind | ODD).wrapping_sub(backslashes) ^ ODD;
        Self { quotes, starts: series & backslashes, letters: series ^ backslashes }
    }

    /// How much of the span is read, and why no more. `odd`: letters that stand for nothing by themselves.
    #[inline]
    pub(super) fn end(self, odd: u64) -> (usize, Option<Why>) {
        let quote = (self.quotes & !self.letters).trailing_zeros() as usize;
        let odd = (odd & self.letters).trailing_zeros() as usize;
        if quote < odd {
            return (quote, Some(Why::Quote));
        }
        if odd < SPAN_BYTES {
            return (odd - 1, Some(Why::Odd));
        }
        // An escape whose letter is in the next span is of that span.
        (SPAN_BYTES - (self.starts >> (SPAN_BYTES - 1)) as usize, None)
    }
}

/// The first so many bytes of a span.
#[inline]
pub(super) fn first(count: usize) -> u64 {
    1_u64.checked_shl(count as u32).map_or(u64::MAX, |bit| bit - 1)
}

/// A span without wide registers: what stands before each escape is copied without a look at how long it is, and what was too much
/// is written over.
pub(super) fn narrow(near: &[u8; WINDOW_BYTES], room: &mut [u8; ROOM_BYTES]) -> Span {
    let mut hits = quotes_and_backslashes(near);
    let (mut from, mut filled) = (0, 0);
    while hits != 0 {
        let hit = hits.trailing_zeros() as usize % SPAN_BYTES;
        copy(room, filled, near, from);
        filled += hit - from;
        let [byte, letter] = [hit, hit + 1].map(|at| near.get(at).copied().unwrap_or_default());
        if byte == b'"' {
            return Span { read: hit + 1, filled, stop: Some(Why::Quote) };
        }
        let plain = plain_escape(letter);
        if plain == 0 {
            return Span { read: hit, filled, stop: Some(Why::Odd) };
        }
        if let Some(room) = room.get_mut(filled) {
            *room = plain;
        }
        filled += 1;
        from = hit + 2;
        // The letter of an escape is none of its own.
        hits &= !(3 << hit);
    }
    // The letter of the last escape may be the first byte of the next span.
    copy(room, filled, near, from);
    Span { read: from.max(SPAN_BYTES), filled: filled + SPAN_BYTES.saturating_sub(from), stop: None }
}

/// Copies a span, for which there is always room.
#[inline]
fn copy(room: &mut [u8; ROOM_BYTES], filled: usize, near: &[u8; WINDOW_BYTES], from: usize) {
    let span = near.get(from..).and_then(<[u8]>::first_chunk::<SPAN_BYTES>);
    let room = room.get_mut(filled..).and_then(<[u8]>::first_chunk_mut::<SPAN_BYTES>);
    if let (Some(span), Some(room)) = (span, room) {
        *room = *span;
    }
}

/// A bit for each byte of a span: it is a quote or a backslash.
#[inline]
fn quotes_and_backslashes(near: &[u8; WINDOW_BYTES]) -> u64 {
    let (words, _) = near.as_chunks::<LANES>();
    let words = words.get(..SPAN_BYTES / LANES).unwrap_or_default();
    words.iter().rev().fold(0, |known, word| known << LANES | u64::from(quoted(word)))
}

/// What a backslash and this letter stand for; zero: nothing.
pub(in super::super) fn plain_escape(letter: u8) -> u8 {
    ESCAPES.get(usize::from(letter)).copied().unwrap_or_default()
}

/// What stands behind a backslash for what; zero is nothing. A table, because a jump by letter is guessed wrong at every other escape.
pub(super) const ESCAPES: [u8; 256] = {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Byte by byte.
    fn plainly(input: &[u8]) -> (usize, Vec<u8>, Why) {
        let (mut at, mut out) = (0, Vec::new());
        while let Some(byte) = input.get(at) {
            match byte {
                b'"' => return (at + 1, out, Why::Quote),
                b'\\' => match input.get(at + 1).map_or(0, |letter| plain_escape(*letter)) {
                    0 => return (at, out, Why::Odd),
                    plain => {
                        out.push(plain);
                        at += 2;
                    }
                },
                _ => {
                    out.push(*byte);
                    at += 1;
                }
            }
        }
        (at, out, Why::Far)
    }

    /// As a caller does it: over and over, until it is told why not.
    fn all(input: &[u8], step: impl Fn(&[u8], &mut [u8; BLOCK_BYTES], usize) -> Step) -> (usize, Vec<u8>, Why) {
        let (mut at, mut out) = (0, Vec::new());
        let mut block = [0; BLOCK_BYTES];
        loop {
            let held = at % 200;
            let Step { read, filled, why } = step(&input[at..], &mut block, held);
            at += read;
            out.extend_from_slice(&block[held..filled]);
            if matches!(why, Why::Quote | Why::Odd) || (why == Why::Far && read == 0) {
                return (at, out, why);
            }
        }
    }

    /// What stands before the end must be what is read byte by byte; behind it there is no word about.
    fn check(text: &[u8]) {
        let mut input = text.to_vec();
        input.resize(text.len() + 2 * WINDOW_BYTES, b' ');
        input.push(b'"');
        input.resize(input.len() + WINDOW_BYTES, b'x');
        let expected = plainly(&input);
        assert_ne!(expected.2, Why::Far);
        assert_eq!(all(&input, |input, block, held| by_spans(input, block, held, narrow)), expected, "narrow");
        assert_eq!(all(&input, unescape), expected, "as the processor does it");
    }

    #[test]
    fn each_letter_behind_a_backslash_at_each_place() {
        for letter in 0..=u8::MAX {
            for at in 0..70 {
                let mut text = vec![b'a'; 140];
                text[at] = b'\\';
                text[at + 1] = letter;
                check(&text);
            }
        }
    }

    #[test]
    fn rows_of_backslashes_before_each_byte() {
        for row in 0..140 {
            for at in [0, 1, 31, 32, 62, 63, 64, 65] {
                for behind in [b'"', b'n', b'u', b'z', 0xff] {
                    let mut text = vec![b'a'; at];
                    text.resize(at + row, b'\\');
                    text.push(behind);
                    check(&text);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text(text in prop::collection::vec(prop_oneof![Just(b'\\'), Just(b'"'), Just(b'n'), Just(b'/'), Just(b'r'), Just(b'b'), any::<u8>()], 0..3000)) {
            check(&text);
        }

        #[test]
        fn any_text_without_an_end(text in prop::collection::vec(prop_oneof![Just(&b"\\n"[..]), Just(&b"\\\""[..]), Just(&b"\\\\"[..]), Just(&b"\\t"[..]), Just(&b"a"[..]), Just(&b"bc def"[..]), Just(&b"\xc3\xa9"[..])], 0..2000)) {
            check(&text.concat());
        }
    }
}
