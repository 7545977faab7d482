//! Text of a body. Enters: strings with their paths, whole or in parts (`text/joined.rs`). Leaves: [`Leaves`]. Media and vendor ciphertext are
//! left out and counted: they are megabytes of base64 in which every secret rule sees ghosts. JSON in a string is read as
//! such, its strings stand below `.$` of the string's path. A short value whose key says what it is has the key in front. The number of leaves is bounded; text past
//! the bound is still in the block, under one path.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    Leaves, attachment,
    json::{self, Ended},
    key::{Class, Classes},
    leaves::Mark,
    strings::Strings,
};
use crate::spare;

mod joined;

pub(super) use self::joined::{Joined, Mode};

/// Most leaves with a path of their own.
const MAX_LEAVES: usize = 65_536;
/// So many times the room that a text needs is held on to.
const MAX_SLACK: usize = 4;
/// Path of the text past that bound.
const REST_PATH: &str = "$…";
/// Strings shorter than this are text, whatever they look like.
const MEDIA_MIN_BYTES: usize = 256;
/// Object keys that hold base64 media, ciphertext or vectors in the shapes that are read here (OpenAI, Anthropic, Gemini).
const MEDIA_KEYS: [&str; 16] = [
    "data",
    "b64_json",
    "file_data",
    "image_data",
    "partial_image_b64",
    "image_url",
    "url",
    "result",
    "embedding",
    "bytes",
    "encrypted_content",
    "signature",
    "thoughtSignature",
    "thought_signature",
    "redacted_thinking",
    "redactedContent",
];

/// Most bytes of the head of a data URL.
const DATA_HEAD_BYTES: usize = 128;
/// Base64 of a data URL is wrapped only into lines this long; a shorter line behind it is text.
const WRAPPED_LINE_BYTES: usize = 60;
/// Longest base64 of a text that is decoded.
const MAX_DECODED_BYTES: usize = 8 << 20;
/// JSON in strings of JSON, and texts in data URLs, are opened so deep.
const MAX_NESTING: usize = 3;
/// Shortest run of printable characters that is text in a binary body.
const RUN_MIN_CHARS: usize = 6;
/// Longest key that is looked at for a name.
const NAME_MAX_BYTES: usize = 64;
/// Longest value that gets its name in front.
const NAMED_MAX_BYTES: usize = 256;
/// Parts of keys, in lower case and without `_` and `-`, that say to rules what their value is; by their first two letters.
fn names(start: [u8; 2]) -> &'static [&'static str] {
    match start {
        [b'a', b'c'] => &["accesskey"],
        [b'a', b'p'] => &["apikey"],
        [b'a', b'u'] => &["authorization"],
        [b'c', b'a'] => &["card"],
        [b'c', b'r'] => &["credential"],
        [b'c', b'v'] => &["cvv", "cvc"],
        [b'i', b'b'] => &["iban"],
        [b'p', b'a'] => &["password", "passwd", "passphrase", "passport"],
        [b'p', b'h'] => &["phone"],
        [b'p', b'r'] => &["privatekey"],
        [b'p', b'w'] => &["pwd"],
        [b'r', b'o'] => &["routing"],
        [b's', b'e'] => &["secret"],
        [b's', b'o'] => &["socialsecurity"],
        [b's', b's'] => &["ssn"],
        [b't', b'a'] => &["taxid"],
        [b't', b'o'] => &["token"],
        _ => &[],
    }
}
/// Some encoders leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Whether rules that go by the name in front of a value know this one.
pub(super) fn is_name(key: &str) -> bool {
    let mut letters = [0; NAME_MAX_BYTES];
    if key.is_empty() || key.len() > letters.len() {
        return false;
    }
    let mut length = 0;
    for (letter, byte) in letters.iter_mut().zip(key.bytes().filter(|byte| !matches!(byte, b'_' | b'-'))) {
        *letter = byte.to_ascii_lowercase();
        length += 1;
    }
    let key = letters.get(..length).unwrap_or_default();
    key.ends_with(b"key")
        || key.windows(2).enumerate().any(|(at, start)| {
            let [first, second] = *start else { return false };
            let rest = key.get(at..).unwrap_or_default();
            names([first, second]).iter().any(|name| rest.starts_with(name.as_bytes()))
        })
}

/// Bytes that are judged at once.
const BASE64_STEP_BYTES: usize = 64;

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
}

/// What a base64 text stands for, under a cap.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    if text.len() <= MAX_DECODED_BYTES { BASE64.decode(text).ok() } else { None }
}

/// Bytes of base64 at the start of a text, wrapped or not.
fn base64_run(text: &[u8]) -> usize {
    let run = |from: usize| text.get(from..).unwrap_or_default().iter().take_while(|byte| is_base64(**byte)).count();
    let mut end = run(0);
    loop {
        let rest = text.get(end..).unwrap_or_default();
        let line_end = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
        let next = if line_end == 0 { 0 } else { run(end + line_end) };
        if next < WRAPPED_LINE_BYTES {
            return end;
        }
        end += line_end + next;
    }
}

/// A data URL at the start of a text: its head, its base64, and the text behind.
fn data_url(text: &str) -> Option<(&str, &str, &str)> {
    let head = text.as_bytes().get(..text.len().min(DATA_HEAD_BYTES)).filter(|head| head.starts_with(b"data:"))?;
    let (head, rest) = text.split_at_checked(memchr::memmem::find(head, b";base64,")? + ";base64,".len())?;
    let (run, tail) = rest.split_at_checked(base64_run(rest.as_bytes()))?;
    Some((head, run, tail))
}

/// Whether media stand under a key.
pub(super) fn is_media_key(key: &str) -> bool {
    MEDIA_KEYS.contains(&key)
}

/// Whether a string that begins so can be anything but plain text: a data URL, or JSON behind white space.
fn may_open(first: u8) -> bool {
    matches!(first, b'd' | b'{' | b'[' | b'\\' | 0..=b' ' | 0x80..)
}

/// Whether a string is media rather than text.
fn is_media(key: &str, text: &str) -> bool {
    text.len() >= MEDIA_MIN_BYTES
        && is_media_key(key)
        && text.as_bytes().chunks(BASE64_STEP_BYTES).all(|bytes| {
            // No early exit within a step: that is many bytes at once.
            bytes.iter().fold(true, |is, byte| is & (is_base64(*byte) | matches!(byte, b'\n' | b'\r')))
        })
}

/// Text that comes in whole strings, in order.
#[derive(Debug, Default)]
pub(super) struct Whole {
    leaves: Leaves,
    rest: String,
    classes: Classes,
}

impl Whole {
    /// Makes room for the text of a document of so many bytes, so that it need not be moved as it grows.
    pub(super) fn reserve(&mut self, bytes: usize) {
        if self.leaves.text.is_empty() {
            self.leaves.text = String::from_utf8(spare::take(bytes)).unwrap_or_default();
        } else {
            self.leaves.text.reserve(bytes);
        }
    }

    /// What there is, to go back to.
    pub(super) fn mark(&self) -> (Mark, usize) {
        (self.leaves.mark(), self.rest.len())
    }

    /// Takes back what was added since.
    pub(super) fn go_back(&mut self, (leaves, rest): (Mark, usize)) {
        self.leaves.go_back(leaves);
        self.rest.truncate(rest);
    }

    /// Adds a string.
    pub(super) fn add(&mut self, path: &str, key: &str, text: &str) {
        self.open(path, (key, Class::of(key)), text, 0);
    }

    /// Takes the strings of a document.
    pub(super) fn opener(&mut self) -> Opener<'_> {
        Opener { whole: self, depth: 0, found: false }
    }

    /// Adds what is text in bytes that are none: all of it when little of it is not, else the printable runs.
    pub(super) fn add_bytes(&mut self, path: &str, bytes: &[u8]) {
        let is_odd = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
        let odd: usize = bytes
            .utf8_chunks()
            .map(|chunk| chunk.invalid().len() + chunk.valid().as_bytes().iter().filter(|byte| is_odd(byte)).count())
            .sum();
        if odd <= bytes.len() / 10 {
            return self.add(path, "", &String::from_utf8_lossy(bytes));
        }
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            let runs = chunk.valid().split(|c: char| c.is_control() && !matches!(c, '\t' | '\r' | '\n'));
            for run in runs.filter(|run| run.chars().nth(RUN_MIN_CHARS - 1).is_some()) {
                text.push_str(run);
                text.push('\n');
            }
        }
        self.leaves.left_out_bytes += bytes.len().saturating_sub(text.len()) as u64;
        self.add(path, "", &text);
    }

    fn open(&mut self, path: &str, (key, class): (&str, Class), text: &str, depth: usize) {
        let Some(first) = text.as_bytes().first() else { return };
        if class.is_file() {
            if let Some(plain) = attachment::text(key, text) {
                return self.open(path, NO_KEY, &plain, depth + 1);
            }
            if is_media(key, text) {
                self.leaves.left_out_bytes += text.len() as u64;
                return;
            }
        }
        if may_open(*first)
            && depth < MAX_NESTING
            && (self.open_data_url(path, text, depth) || self.open_json(path, text, depth))
        {
            return;
        }
        if class.is_name() && text.len() <= NAMED_MAX_BYTES {
            self.put(path, &[key, ": ", text]);
        } else {
            self.put(path, &[text]);
        }
    }

    /// Leaves out the base64 of a data URL, unless it is that of a text.
    fn open_data_url(&mut self, path: &str, text: &str, depth: usize) -> bool {
        let Some((head, run, tail)) = data_url(text) else { return false };
        let is_text = head.starts_with("data:text/") || head.starts_with("data:application/json");
        if is_text && run.len() <= MAX_DECODED_BYTES {
            let packed: Vec<u8> = run.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
            let Ok(plain) = BASE64.decode(packed) else { return false };
            self.open(path, NO_KEY, &String::from_utf8_lossy(&plain), depth + 1);
        } else if run.len() < MEDIA_MIN_BYTES {
            return false;
        } else {
            self.leaves.left_out_bytes += run.len() as u64;
        }
        self.open(path, NO_KEY, tail, depth + 1);
        true
    }

    /// Reads a string that is JSON itself (arguments and results of tools), so that its escapes hide nothing. What was added
    /// is taken back when it turns out to be none.
    fn open_json(&mut self, path: &str, text: &str, depth: usize) -> bool {
        if !text.trim_start().starts_with(['{', '[']) {
            return false;
        }
        let mark = self.mark();
        let mut root = String::with_capacity(path.len() + 2);
        root.push_str(path);
        root.push_str(".$");
        let mut opener = Opener { whole: self, depth: depth + 1, found: false };
        let end = json::strings(text, &root, &mut opener);
        if end != Ended::Whole || !opener.found {
            self.go_back(mark);
            return false;
        }
        true
    }

    fn put(&mut self, path: &str, parts: &[&str]) {
        if self.leaves.len() < MAX_LEAVES {
            self.leaves.push_parts(path, parts);
        } else {
            self.rest.extend(parts.iter().copied());
            self.rest.push('\n');
        }
    }

    /// All of it.
    pub(super) fn finish(mut self) -> Leaves {
        self.leaves.push(REST_PATH, &self.rest);
        // What was no text (vectors, media) is room that would be held for nothing; but a long text is not moved for a little of it.
        if self.leaves.text.len() < self.leaves.text.capacity() / MAX_SLACK {
            let kept = self.leaves.text.as_str().to_owned();
            spare::give_back(std::mem::replace(&mut self.leaves.text, kept).into_bytes());
        }
        self.leaves
    }
}

/// The key of what has none.
const NO_KEY: (&str, Class) = ("", Class::NONE);

/// Takes the strings of a document, which may be one in a string.
pub(super) struct Opener<'w> {
    whole: &'w mut Whole,
    depth: usize,
    /// There was one.
    found: bool,
}

impl Strings for Opener<'_> {
    fn string(&mut self, path: &str, key: &str, class: Class, text: &str) {
        self.found = true;
        self.whole.open(path, (key, class), text, self.depth);
    }

    fn class(&mut self, key: &str) -> Class {
        self.whole.classes.of(key)
    }

    fn room(&mut self, class: Class, first: u8) -> Option<&mut String> {
        let is_text = !class.is_file() && !class.is_name() && !may_open(first);
        let leaves = &mut self.whole.leaves;
        (is_text && leaves.len() < MAX_LEAVES).then_some(&mut leaves.text)
    }

    fn placed(&mut self, path: &str, start: usize) -> Option<&str> {
        self.found = true;
        let leaves = &mut self.whole.leaves;
        let end = leaves.text.len();
        leaves.close(path, start);
        leaves.text.get(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_is_no_text() {
        let base64 = "QUJD".repeat(100);
        let prose = "a b c ".repeat(100);
        for (key, text, media) in [
            ("data", base64.as_str(), true),
            ("encrypted_content", &base64, true),
            ("content", &base64, false),
            ("data", &prose, false),
            ("data", "QUJD", false),
        ] {
            assert_eq!(is_media(key, text), media, "{key}: {text:.40}");
        }
    }

    /// Text of the leaves, and bytes left out.
    fn opened(key: &str, text: &str) -> (Vec<(String, String)>, u64) {
        let mut whole = Whole::default();
        whole.add("$.a", key, text);
        let leaves = whole.finish();
        let found = leaves.iter().map(|(path, range)| (path.to_owned(), leaves.text()[range].to_owned()));
        (found.collect(), leaves.left_out_bytes)
    }

    #[test]
    fn strings_are_opened_and_named() {
        let base64 = "QUJD".repeat(100);
        let wrapped = format!("{}\n{}", &base64[..76], &base64[76..]);
        let hidden = BASE64.encode("my password: hunter2");
        let image = |run: &str, tail: &str| format!("data:image/png;base64,{run}{tail}");
        for (key, text, expected, left_out) in [
            ("url", image(&base64, ""), &[][..], 400),
            ("text", image(&base64, "\nAKIA in the tail"), &[("$.a", "\nAKIA in the tail")], 400),
            ("text", image(&wrapped, " tail"), &[("$.a", " tail")], 401),
            ("text", image("QUJD", ""), &[("$.a", "data:image/png;base64,QUJD")], 0),
            ("file_data", format!("data:text/plain;base64,{hidden}"), &[("$.a", "my password: hunter2")], 0),
            (
                "arguments",
                r#"{"x":"1\nAKIA","y":[2,{"z":"{\"w\":\"in\"}"}]}"#.to_owned(),
                &[("$.a.$.x", "1\nAKIA"), ("$.a.$.y[1].z.$.w", "in")],
                0,
            ),
            ("arguments", r#"{"n":1}"#.to_owned(), &[("$.a", r#"{"n":1}"#)], 0),
            ("arguments", r#"{"x":"cut"#.to_owned(), &[("$.a", r#"{"x":"cut"#)], 0),
            (
                "content",
                r#"{"db_password":"hunter2","ssn":123456789}"#.to_owned(),
                &[("$.a.$.db_password", "db_password: hunter2"), ("$.a.$.ssn", "ssn: 123456789")],
                0,
            ),
            ("api_key", "abc".to_owned(), &[("$.a", "api_key: abc")], 0),
        ] {
            let (found, bytes) = opened(key, &text);
            let found: Vec<_> = found.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            assert_eq!((&found[..], bytes), (expected, left_out), "{key}: {text:.60}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_give_the_text_in_them() {
        let mut whole = Whole::default();
        whole.add_bytes("$", b"name;mail\r\nJ\xfcrgen;j@example.com\r\n");
        let mut binary = b"\x01\xff".repeat(100);
        binary.extend(b"a@example.com\xfe\x00short\x00");
        whole.add_bytes("$.b", &binary);
        let leaves = whole.finish();
        assert_eq!(leaves.text(), "name;mail\r\nJ\u{fffd}rgen;j@example.com\r\n\na@example.com\n\n");
        assert_eq!(leaves.left_out_bytes, 200 + 2 + 6 - 1);
    }

    #[test]
    fn text_past_the_bound_is_kept_under_one_path() {
        let mut whole = Whole::default();
        for index in 0..MAX_LEAVES + 5 {
            whole.add(&format!("$[{index}]"), "", "x");
        }
        let leaves = whole.finish();
        assert_eq!(leaves.len(), MAX_LEAVES + 1);
        assert_eq!(leaves.iter().last().unwrap().0, REST_PATH);
        assert_eq!(leaves.text().matches('x').count(), MAX_LEAVES + 5);
    }
}
