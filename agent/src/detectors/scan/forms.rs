//! Encoded text: JSON escapes, percent-encoding and base64, one level of them. Enters: a block and its segments. Leaves: a second block, the
//! decoded text of those places alone, and for each extent in it the extent of the encoded text, which is what must be masked. It
//! decides nothing about what is found there.
//!
//! State: the decoded text, at most in proportion to the block. Text without escapes and without long runs of base64 is only looked over.

use std::ops::Range;

use base64::{
    Engine as _, alphabet, engine::general_purpose::GeneralPurpose, engine::general_purpose::GeneralPurposeConfig,
};

use super::segment::{Segment, Segments};

/// Text around an escape that is taken along, for context words and for what begins before the escape.
const AROUND_BYTES: usize = 128;
/// Base64 shorter than this is no text of interest; a token alone is longer.
const MIN_BASE64_BYTES: usize = 40;
/// So much of it is looked at in one step.
const PLACE_BYTES: usize = 16;
/// Of a longer run the start is read.
const MAX_BASE64_BYTES: usize = 64 * 1024;
/// So much of a run is decoded first, to see whether it is text at all.
const PROBE_BYTES: usize = 40;

/// The last bits and the padding are often cut off or wrong.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// An escape, by the byte or bytes that it stands for.
#[derive(Clone, Debug)]
struct Escape {
    decoded: Range<usize>,
    encoded: Range<usize>,
}

/// How a view lies in the block.
#[derive(Clone, Debug)]
enum Form {
    /// Text with escapes: which of them.
    Escapes(Range<usize>),
    /// Four bytes for three.
    Base64,
}

/// One decoded place.
#[derive(Clone, Debug)]
struct View {
    /// Its text in the decoded block.
    decoded: Range<usize>,
    /// Where it comes from.
    encoded: Range<usize>,
    /// The segment that it comes from.
    segment: Range<usize>,
    form: Form,
}

/// Where something found in the decoded block stands in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) span: Range<usize>,
    pub(super) segment: Range<usize>,
    /// By base64: what is found there must be sure, because long runs of it are mostly data.
    pub(super) is_base64: bool,
}

/// The decoded places of a block. One per worker.
#[derive(Debug, Default)]
pub(super) struct Forms {
    text: Vec<u8>,
    views: Vec<View>,
    escapes: Vec<Escape>,
    decoded: Vec<u8>,
}

impl Forms {
    /// Reads a block.
    pub(super) fn fill(&mut self, block: &[u8], segments: &dyn Segments) {
        self.text.clear();
        self.views.clear();
        self.escapes.clear();
        self.fill_escapes(block, segments);
        self.fill_base64(block, segments);
    }

    /// The decoded block. A line feed stands behind each place.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where an extent of the decoded block comes from. `None`: no byte of it or beside it was encoded, so it
    /// stands in the block as it is.
    pub(super) fn origin(&self, span: &Range<usize>) -> Option<Origin> {
        let view = self.view(span.start)?;
        let (first, last) = (view.decoded.start, span.end.min(view.decoded.end));
        let encoded = match &view.form {
            Form::Base64 => {
                let start = view.encoded.start + (span.start - first) / 3 * 4;
                let end = view.encoded.start + (last - first).div_ceil(3) * 4;
                start..end.min(view.encoded.end)
            }
            Form::Escapes(escapes) => {
                let escapes = self.escapes.get(escapes.clone())?;
                // An escape beside it counts: read plainly, its last letter would be taken for part of the secret.
                let before = escapes.partition_point(|escape| escape.decoded.end < span.start);
                let inside = escapes.get(before..)?;
                if inside.first().is_none_or(|escape| escape.decoded.start > last) {
                    return None;
                }
                Self::encoded_at(view, escapes, span.start, false)..Self::encoded_at(view, escapes, last, true)
            }
        };
        Some(Origin { span: encoded, segment: view.segment.clone(), is_base64: matches!(view.form, Form::Base64) })
    }

    /// A position of the block lies within an escape.
    pub(super) fn parts_escape(&self, position: usize) -> bool {
        let index = self.escapes.partition_point(|escape| escape.encoded.end <= position);
        self.escapes.get(index).is_some_and(|escape| escape.encoded.start < position)
    }

    /// Position in the block of a position in the decoded block; inside of an escape its start, or its end.
    fn encoded_at(view: &View, escapes: &[Escape], position: usize, end: bool) -> usize {
        let index = escapes.partition_point(|escape| escape.decoded.end <= position);
        if let Some(escape) = escapes.get(index).filter(|escape| escape.decoded.start < position) {
            return if end { escape.encoded.end } else { escape.encoded.start };
        }
        let (decoded, encoded) = match index.checked_sub(1).and_then(|index| escapes.get(index)) {
            Some(escape) => (escape.decoded.end, escape.encoded.end),
            None => (view.decoded.start, view.encoded.start),
        };
        encoded + (position - decoded)
    }

    fn view(&self, position: usize) -> Option<&View> {
        let index = self.views.partition_point(|view| view.decoded.end <= position);
        self.views.get(index).filter(|view| view.decoded.start <= position)
    }

    fn fill_escapes(&mut self, block: &[u8], segments: &dyn Segments) {
        let mut open: Option<View> = None;
        let mut copied = 0; // of the open view, up to here in the block
        let mut done = 0; // escapes before this are part of one that was read
        for at in memchr::memchr2_iter(b'\\', b'%', block) {
            if at < done {
                continue;
            }
            let Some((length, bytes)) = unescape(block.get(at..).unwrap_or_default()) else { continue };
            let same = open.as_ref().is_some_and(|view| at < view.segment.end && at < copied + 2 * AROUND_BYTES);
            if !same {
                if let Some(view) = open.take() {
                    self.close(block, view, copied);
                }
                let Some(Segment { range: segment, .. }) = segments.around(at) else { continue };
                let from = at.saturating_sub(AROUND_BYTES).max(segment.start).max(done);
                let escapes = self.escapes.len()..self.escapes.len();
                let start = self.text.len();
                open = Some(View { decoded: start..start, encoded: from..from, segment, form: Form::Escapes(escapes) });
                copied = from;
            }
            let end = at + length;
            if open.as_ref().is_some_and(|view| end > view.segment.end) {
                continue;
            }
            self.text.extend_from_slice(block.get(copied..at).unwrap_or_default());
            let start = self.text.len();
            self.text.extend_from_slice(bytes.as_slice());
            self.escapes.push(Escape { decoded: start..self.text.len(), encoded: at..end });
            (copied, done) = (end, end);
        }
        if let Some(view) = open {
            self.close(block, view, copied);
        }
    }

    fn close(&mut self, block: &[u8], mut view: View, copied: usize) {
        let end = copied.saturating_add(AROUND_BYTES).min(view.segment.end);
        self.text.extend_from_slice(block.get(copied..end).unwrap_or_default());
        view.encoded.end = end;
        view.decoded.end = self.text.len();
        if let Form::Escapes(escapes) = &mut view.form {
            escapes.end = self.escapes.len();
        }
        self.text.push(b'\n');
        self.views.push(view);
    }

    fn fill_base64(&mut self, block: &[u8], segments: &dyn Segments) {
        let mut at = 0;
        // Wherever a run begins, one of these places lies in it as a whole.
        while let Some(place) = block.get(at..).and_then(|rest| rest.first_chunk::<PLACE_BYTES>()) {
            if !may_be_base64(place) || !place.iter().all(|byte| is_base64(*byte)) {
                at += MIN_BASE64_BYTES - PLACE_BYTES + 1;
                continue;
            }
            let before = block.get(at.saturating_sub(MAX_BASE64_BYTES)..at).unwrap_or_default();
            let start = at - before.iter().rev().take_while(|byte| is_base64(**byte)).count();
            let behind = block.get(at..at.saturating_add(MAX_BASE64_BYTES).min(block.len())).unwrap_or_default();
            let end = at + behind.iter().take_while(|byte| is_base64(**byte)).count();
            if end - start >= MIN_BASE64_BYTES
                && let Some(segment) = segments.around(start)
                && end <= segment.range.end
            {
                self.decode(block, start..end, &segment.range);
            }
            at = end + 1;
        }
    }

    fn decode(&mut self, block: &[u8], run: Range<usize>, segment: &Range<usize>) {
        let Some(text) = block.get(run.clone()) else { return };
        let url_safe = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
        let engine = if url_safe { &URL_SAFE } else { &STANDARD };
        // A path is letters and slashes too: the start must be text.
        self.decoded.clear();
        let probe = text.get(..PROBE_BYTES).unwrap_or_default();
        if engine.decode_vec(probe, &mut self.decoded).is_err() || !is_text(&self.decoded) {
            return;
        }
        self.decoded.clear();
        let whole = text.len() / 4 * 4 + if text.len() % 4 == 1 { 0 } else { text.len() % 4 };
        if engine.decode_vec(text.get(..whole).unwrap_or_default(), &mut self.decoded).is_err() {
            return;
        }
        let start = self.text.len();
        self.text.extend_from_slice(&self.decoded);
        self.views.push(View {
            decoded: start..self.text.len(),
            encoded: run,
            segment: segment.clone(),
            form: Form::Base64,
        });
        self.text.push(b'\n');
    }
}

/// Each decoded place is a segment. Words of the label of the segment that it comes from do not count: the place is text of its own.
impl Segments for Forms {
    fn around(&self, position: usize) -> Option<Segment<'_>> {
        self.view(position).map(|view| Segment { range: view.decoded.clone(), label: "" })
    }
}

const BASE64: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = byte as u8;
        table[byte] = value.is_ascii_alphanumeric() || matches!(value, b'+' | b'/' | b'-' | b'_');
        byte += 1;
    }
    table
};

fn is_base64(byte: u8) -> bool {
    BASE64.get(usize::from(byte)).copied().unwrap_or(false)
}

/// None of these bytes is white space, a quote, beyond ASCII, or else below the signs of base64, which parts nearly all text.
///
/// PERF: without looking at each byte. Sixteen subtractions in one: with the highest bit set no byte borrows from the next.
fn may_be_base64(bytes: &[u8; PLACE_BYTES]) -> bool {
    const HIGHEST: u128 = u128::from_le_bytes([0x80; PLACE_BYTES]);
    const LOWEST: u128 = u128::from_le_bytes([b'+'; PLACE_BYTES]);
    let bytes = u128::from_le_bytes(*bytes);
    bytes & HIGHEST == 0 && ((bytes | HIGHEST) - LOWEST) & HIGHEST == HIGHEST
}

/// Letters, digits, signs and white space, no other control characters, and not beyond ASCII.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'))
}

/// What an escape stands for; at most three bytes.
#[derive(Clone, Copy, Debug)]
struct Unescaped {
    bytes: [u8; 3],
    length: usize,
}

impl Unescaped {
    fn one(byte: u8) -> Self {
        Self { bytes: [byte, 0, 0], length: 1 }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The escape that a text begins with: its length, and what it stands for. JSON (RFC 8259, section 7) and percent-encoding (RFC 3986,
/// section 2.1).
fn unescape(text: &[u8]) -> Option<(usize, Unescaped)> {
    match text {
        [b'%', high, low, ..] => Some((3, Unescaped::one(hex(*high)? << 4 | hex(*low)?))),
        [b'\\', b'u', digits @ ..] => {
            let digits = digits.get(..4)?;
            let code = digits.iter().try_fold(0, |code, digit| Some(code << 4 | u32::from(hex(*digit)?)))?;
            let mut bytes = [0; 4];
            // Half of a pair is none; such a character is in no secret.
            let length = char::from_u32(code)?.encode_utf8(&mut bytes).len();
            let [a, b, c, _] = bytes;
            Some((6, Unescaped { bytes: [a, b, c], length }))
        }
        [b'\\', escaped, ..] => {
            let byte = match escaped {
                b'"' | b'\\' | b'/' => *escaped,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                _ => return None,
            };
            Some((2, Unescaped::one(byte)))
        }
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::scan::{Lines, Whole};

    fn forms(block: &str) -> Forms {
        let mut forms = Forms::default();
        forms.fill(block.as_bytes(), &Whole { length: block.len() });
        forms
    }

    #[test]
    fn escapes_are_decoded_and_found_again() {
        for (block, decoded, word, encoded) in [
            (
                r"a=ada%40outflow-fake.org&b",
                "a=ada@outflow-fake.org&b\n",
                "ada@outflow-fake.org",
                "ada%40outflow-fake.org",
            ),
            (
                r#"{"m":"x\nAKIA\u0046akeKEY\/1"}"#,
                "{\"m\":\"x\nAKIAFakeKEY/1\"}\n",
                "AKIAFakeKEY/1",
                r"AKIA\u0046akeKEY\/1",
            ),
            (r"pay %31%32 now", "pay 12 now\n", "12", "%31%32"),
            (r"100% of C:\dir \u00", "", "", ""),
            ("nothing", "", "", ""),
        ] {
            let forms = forms(block);
            assert_eq!(String::from_utf8_lossy(forms.text()), decoded, "{block}");
            if word.is_empty() {
                continue;
            }
            let start = decoded.find(word).unwrap();
            let origin = forms.origin(&(start..start + word.len())).unwrap();
            assert_eq!(&block[origin.span.clone()], encoded);
            assert!(!origin.is_base64 && origin.segment == (0..block.len()));
            assert_eq!(forms.origin(&(0..1)), None, "what is not encoded stands in the block itself");
        }
    }

    #[test]
    fn escapes_far_apart_are_places_of_their_own_and_lines_stay_apart() {
        let block = format!("x\\n{}\\ny", "-".repeat(10 * AROUND_BYTES));
        assert_eq!(forms(&block).views.len(), 2);
        let block = "a%41b\nc%42d";
        let mut two = Forms::default();
        two.fill(block.as_bytes(), &Lines(block.as_bytes()));
        assert_eq!(two.text(), b"aAb\ncBd\n");
        assert_eq!(two.around(5).unwrap().range, 4..7);
        assert_eq!(two.origin(&(4..7)).unwrap().span, 6..11);
    }

    #[test]
    fn base64_of_text_is_decoded_and_data_is_not() {
        let secret = "user=fake-user password=Outflow-Fake-Value-0123456789";
        let encoded = STANDARD.encode(secret);
        for offset in 0..100 {
            let block = format!("{}{encoded}", " ".repeat(offset));
            let forms = forms(&block);
            assert_eq!(forms.text(), format!("{secret}\n").as_bytes());
            let start = secret.find("Outflow").unwrap();
            let origin = forms.origin(&(start..secret.len())).unwrap();
            assert!(origin.is_base64);
            let cut = &block[origin.span.clone()];
            assert!(String::from_utf8_lossy(&STANDARD.decode(cut).unwrap()).contains("Outflow-Fake-Value-0123456789"));
        }
        let data: Vec<u8> = (0..200_u32).map(|index| (index * 7919 % 251) as u8).collect();
        for block in [
            STANDARD.encode(&data),
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
            "/usr/share/fonts/truetype/dejavu/DejaVuSansMonoBold/of/the/system".to_owned(),
        ] {
            assert!(forms(&block).text().is_empty(), "{block}");
        }
    }
}
