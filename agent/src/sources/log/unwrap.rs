//! What a program wrote, freed from how its lines are wrapped ([`Wrap`]). Enters: the raw bytes of a block. Leaves: its text, in which a
//! line that a runtime cut is whole again, and for each byte of it the place in the block. It judges no text, and drops nothing but the
//! wrapping: a line of another form stays as it is.
//!
//! State, in proportion to a block: its text, one [`Piece`] a raw line.

use std::borrow::Cow;

use memchr::memchr;

use super::wrap::{Entry, Wrap};

/// The text of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unwrapped {
    text: Vec<u8>,
    /// By position in the text.
    pieces: Vec<Piece>,
}

/// A part of the text that stands in one place of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Where it begins in the text.
    text: usize,
    /// And in the block.
    raw: usize,
    coding: Coding,
}

/// How a piece stands in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Bytes,
    /// The inside of a JSON string.
    Json,
    Utf16 {
        is_big: bool,
    },
}

impl Unwrapped {
    /// The text of `block`, which begins at `offset` in its file; `None` where it is what stands there.
    pub fn of(wrap: Wrap, block: &[u8], offset: u64) -> Option<Self> {
        match wrap {
            Wrap::None => None,
            Wrap::Cri | Wrap::Docker => Some(Self::joined(wrap, block)),
            Wrap::Utf16Le | Wrap::Utf16Be => Some(Self::decoded(wrap == Wrap::Utf16Be, block, offset)),
        }
    }

    /// Lines that end with a line feed.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where in `block` a byte of the text stands; behind its end, where the last piece ends.
    pub fn raw_at(&self, block: &[u8], position: usize) -> usize {
        let index = self.pieces.partition_point(|piece| piece.text <= position).saturating_sub(1);
        let Some(piece) = self.pieces.get(index) else { return position.min(block.len()) };
        let (mut text, mut raw) = (piece.text, piece.raw);
        let raw = match piece.coding {
            Coding::Bytes => raw + (position - text),
            Coding::Json | Coding::Utf16 { .. } => {
                let mut decoded = Vec::with_capacity(8);
                while text < position && raw < block.len() {
                    decoded.clear();
                    let rest = block.get(raw..).unwrap_or_default();
                    let taken = match piece.coding {
                        Coding::Utf16 { is_big } => utf16_unit(is_big, rest, &mut decoded),
                        _ if rest.first() == Some(&b'\\') => escape(rest, &mut decoded),
                        _ => {
                            decoded.push(0);
                            1
                        }
                    };
                    if text + decoded.len() > position {
                        break;
                    }
                    (text, raw) = (text + decoded.len(), raw + taken.max(1));
                }
                raw
            }
        };
        raw.min(block.len())
    }

    fn joined(wrap: Wrap, block: &[u8]) -> Self {
        let mut whole = Self { text: Vec::with_capacity(block.len()), pieces: Vec::new() };
        // Lines without their last pieces, by stream.
        let mut open = [Self::default(), Self::default()];
        let mut at = 0;
        while at < block.len() {
            let rest = block.get(at..).unwrap_or_default();
            let end = memchr(b'\n', rest);
            let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let entry = wrap.entry(line);
            let (text, coding) = match &entry {
                Some(Entry { text, is_escaped: true, .. }) => (text.clone(), Coding::Json),
                Some(Entry { text, .. }) => (text.clone(), Coding::Bytes),
                None => (0..line.len(), Coding::Bytes),
            };
            let raw = at + text.start;
            let text = line.get(text).unwrap_or_default();
            match entry.as_ref().and_then(|entry| Some((open.get_mut(entry.stream)?, entry.is_partial))) {
                Some((open, true)) => open.add(raw, text, coding),
                Some((open, false)) if !open.pieces.is_empty() => {
                    open.add(raw, text, coding);
                    whole.take(open);
                }
                _ => {
                    whole.add(raw, text, coding);
                    whole.text.push(b'\n');
                }
            }
            at += line.len() + 1;
        }
        for open in &mut open {
            whole.take(open);
        }
        whole
    }

    fn decoded(is_big: bool, block: &[u8], offset: u64) -> Self {
        let mut whole = Self { text: Vec::with_capacity(block.len() / 2), pieces: Vec::new() };
        // Lines are cut behind the byte of a line feed, which in little-endian is the first of two.
        let mut at = usize::from(offset % 2 == 1);
        whole.pieces.push(Piece { text: 0, raw: at, coding: Coding::Utf16 { is_big } });
        while let Some(rest) = block.get(at..).filter(|rest| !rest.is_empty()) {
            let before = whole.text.len();
            at += utf16_unit(is_big, rest, &mut whole.text);
            // So that no place is looked for further than a line.
            if whole.text.get(before..) == Some(b"\n") {
                whole.pieces.push(Piece { text: whole.text.len(), raw: at, coding: Coding::Utf16 { is_big } });
            }
        }
        whole
    }

    fn add(&mut self, raw: usize, text: &[u8], coding: Coding) {
        self.pieces.push(Piece { text: self.text.len(), raw, coding });
        match coding {
            Coding::Json => unescape(text, &mut self.text),
            _ => self.text.extend_from_slice(text),
        }
    }

    /// Takes a line over, and its line feed.
    fn take(&mut self, open: &mut Self) {
        if open.pieces.is_empty() {
            return;
        }
        let base = self.text.len();
        self.pieces.extend(open.pieces.drain(..).map(|piece| Piece { text: base + piece.text, ..piece }));
        self.text.append(&mut open.text);
        self.text.push(b'\n');
    }
}

/// The text of a line of a program, freed from its wrapping; for single lines, such as those around a leak.
pub fn unwrapped_line(wrap: Wrap, line: &[u8]) -> Cow<'_, [u8]> {
    match wrap.entry(line) {
        Some(Entry { text, is_escaped: false, .. }) => Cow::Borrowed(line.get(text).unwrap_or_default()),
        Some(Entry { text, .. }) => {
            let mut out = Vec::new();
            unescape(line.get(text).unwrap_or_default(), &mut out);
            Cow::Owned(out)
        }
        None => Cow::Borrowed(line),
    }
}

fn unescape(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr(b'\\', text) {
        out.extend_from_slice(text.get(..at).unwrap_or_default());
        text = text.get(at..).unwrap_or_default();
        let taken = escape(text, out);
        text = text.get(taken..).unwrap_or_default();
    }
    out.extend_from_slice(text);
}

/// Reads one escape of RFC 8259, section 7, and gives the bytes that it takes. What is none stays.
fn escape(text: &[u8], out: &mut Vec<u8>) -> usize {
    let plain = match text.get(1) {
        Some(b'n') => b'\n',
        Some(b't') => b'\t',
        Some(b'r') => b'\r',
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
        Some(b'u') => {
            let unit = |at: usize| {
                let digits = text.get(at..at + 4)?;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
            };
            let Some(first) = unit(2) else {
                out.push(b'\\');
                return 1;
            };
            let second = text.get(6..8).filter(|next| *next == b"\\u").and_then(|_| unit(8));
            let pair = char::decode_utf16([first].into_iter().chain(second)).next();
            let (character, taken) = match pair {
                Some(Ok(character)) => (character, if character.len_utf16() == 2 { 12 } else { 6 }),
                _ => (char::REPLACEMENT_CHARACTER, 6),
            };
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return taken;
        }
        _ => {
            out.push(b'\\');
            return 1;
        }
    };
    out.push(plain);
    2
}

/// Reads one character of UTF-16, and gives the bytes that it takes.
fn utf16_unit(is_big: bool, text: &[u8], out: &mut Vec<u8>) -> usize {
    let unit = |at: usize| {
        let pair = [*text.get(at)?, *text.get(at + 1)?];
        Some(if is_big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
    };
    let Some(first) = unit(0) else {
        // A block ends behind the first half of a line feed.
        if !is_big && text == b"\n" {
            out.push(b'\n');
        }
        return text.len();
    };
    // The mark at the start of the file says nothing.
    if first == 0xfeff {
        return 2;
    }
    let decoded = char::decode_utf16([first].into_iter().chain(unit(2))).next();
    let (character, taken) = match decoded {
        Some(Ok(character)) => (character, character.len_utf16() * 2),
        _ => (char::REPLACEMENT_CHARACTER, 2),
    };
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: &str = "2026-11-26T15:04:05.123456789Z";

    /// Each letter of the text that begins like no other stands where it says.
    fn assert_places(unwrapped: &Unwrapped, block: &[u8], words: &[&str]) {
        for word in words {
            let find = |text: &[u8]| text.windows(word.len()).position(|window| window == word.as_bytes()).unwrap();
            assert_eq!(unwrapped.raw_at(block, find(unwrapped.text())), find(block), "{word}");
        }
    }

    #[test]
    fn pieces_of_a_line_become_one_and_streams_are_kept_apart() {
        let block = format!(
            "{TIME} stdout F before\n{TIME} stdout P first-\n{TIME} stderr P other-\n{TIME} stdout P second-\n{TIME} stderr F half\n\
             {TIME} stdout F third\nno wrapping\n{TIME} stdout P never ends\n"
        );
        let unwrapped = Unwrapped::of(Wrap::Cri, block.as_bytes(), 0).unwrap();
        let text = "before\nother-half\nfirst-second-third\nno wrapping\nnever ends\n";
        assert_eq!(String::from_utf8_lossy(unwrapped.text()), text);
        let words = ["before", "first", "second", "third", "other", "half", "no wrapping", "never ends"];
        assert_places(&unwrapped, block.as_bytes(), &words);
    }

    #[test]
    fn docker_strings_are_read_and_places_found_behind_escapes() {
        let line = |log: &str| format!("{{\"log\":\"{log}\",\"stream\":\"stdout\",\"time\":\"{TIME}\"}}\n");
        let block = [
            line(r"plain\n"),
            line(r"quoted \u0022here\u0022 \ud83d\ude00 and"),
            line(r" \\more\n"),
            line(r"wrong \u00 \ud800 \q escapes\n"),
        ]
        .concat();
        let unwrapped = Unwrapped::of(Wrap::Docker, block.as_bytes(), 0).unwrap();
        let text = "plain\nquoted \"here\" \u{1f600} and \\more\nwrong \\u00 \u{fffd} \\q escapes\n";
        assert_eq!(String::from_utf8_lossy(unwrapped.text()), text);
        assert_places(&unwrapped, block.as_bytes(), &["plain", "here", "and", "more", "wrong", "escapes"]);
    }

    #[test]
    fn utf16_is_read_wherever_it_is_cut() {
        let text = "first line\nzweite Zeile: \u{e4}\u{1f600}x\nlast";
        for is_big in [false, true] {
            let units = "\u{feff}".encode_utf16().chain(text.encode_utf16());
            let raw: Vec<u8> =
                units.flat_map(|unit| if is_big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect();
            let wrap = Wrap::of(&raw);
            assert_eq!(wrap, if is_big { Wrap::Utf16Be } else { Wrap::Utf16Le });
            let unwrapped = Unwrapped::of(wrap, &raw, 0).unwrap();
            assert_eq!(String::from_utf8_lossy(unwrapped.text()), text);
            let x = text.find('x').unwrap();
            assert_eq!(unwrapped.raw_at(&raw, x), 2 + 2 * text[..x].encode_utf16().count());
            // As the cutter cuts it: behind each byte 0x0a.
            let (mut all, mut at) = (Vec::new(), 0);
            for piece in raw.split_inclusive(|byte| *byte == b'\n') {
                all.extend_from_slice(Unwrapped::of(wrap, piece, at).unwrap().text());
                at += piece.len() as u64;
            }
            assert_eq!(String::from_utf8_lossy(&all), text);
        }
    }

    proptest! {
        #[test]
        fn every_place_is_in_the_block_and_in_order_within_a_piece(block in prop::collection::vec(any::<u8>(), 0..300), docker in any::<bool>()) {
            let head: &[u8] = if docker { b"{\"log\":\"" } else { b"2026-11-26T15:04:05.123456789Z stdout P " };
            let block = [head, &block].concat();
            for wrap in [Wrap::Cri, Wrap::Docker, Wrap::Utf16Le, Wrap::Utf16Be] {
                let unwrapped = Unwrapped::of(wrap, &block, 0).unwrap();
                for position in 0..=unwrapped.text().len() + 1 {
                    prop_assert!(unwrapped.raw_at(&block, position) <= block.len());
                }
            }
        }
    }
}
