//! Text and outline of one document. Enters: decoded bytes: a body, or a file in one. Leaves: the outline for facts, and every
//! string at its path. Never fails: what is no JSON is text, and of what is binary the text in it.

use serde_json::Value;

use super::{
    json::{self, Ended},
    quoted::{self, Input},
    tape::{RequestFacts, Tape},
    text::Whole,
};

/// Longest string that a fact is read from.
pub(super) const FACT_BYTES: usize = 256;
/// Lines of JSON lines with a path of their own.
const MAX_LINES: usize = 65_536;

/// Reads one document whose strings stand below `root`.
pub(super) fn read(bytes: &[u8], root: &str, whole: &mut Whole) -> Value {
    read_keeping(bytes, root, FACT_BYTES, whole)
}

/// The same, with strings in the outline that are longer than those that facts are read from.
pub(super) fn read_keeping(bytes: &[u8], root: &str, keep: usize, whole: &mut Whole) -> Value {
    if !json::looks_like_json(bytes) {
        add_rest(bytes, root, whole);
        return Value::Null;
    }
    let mut doc = Value::Null;
    let mut take = |input: Input<'_>, whole: &mut Whole| {
        let outline = json::read_once(input, root, keep, &mut whole.opener())?;
        doc = outline.doc;
        Some(outline.end)
    };
    read_text(bytes, root, whole, &mut take);
    doc
}

/// As [`read`], and gives what facts of a request are read from.
pub(super) fn read_request(bytes: &[u8], root: &str, whole: &mut Whole) -> RequestFacts {
    let mut facts = RequestFacts::default();
    if !json::looks_like_json(bytes) {
        add_rest(bytes, root, whole);
        return facts;
    }
    let mut take = |input: Input<'_>, whole: &mut Whole| {
        let mut tape = Tape::new(FACT_BYTES);
        let end = json::tape(input, root, &mut tape, &mut whole.opener())?;
        facts = tape.into_facts();
        Some(end)
    };
    read_text(bytes, root, whole, &mut take);
    facts
}

/// Reads a document as if it were UTF-8, as nearly all are. Where that is wrong, it is replaced and all is read again.
fn read_text(
    bytes: &[u8],
    root: &str,
    whole: &mut Whole,
    read: &mut dyn FnMut(Input<'_>, &mut Whole) -> Option<Ended>,
) {
    whole.reserve(bytes.len());
    let mark = whole.mark();
    let end = read(Input::Bytes(bytes), whole).or_else(|| {
        whole.go_back(mark);
        Some(read(Input::Text(&quoted::text(bytes)), whole)?.within(bytes))
    });
    if let Some(Ended::Malformed(at)) = end {
        add_rest(bytes.get(at..).unwrap_or_default(), root, whole);
    }
}

/// What is no JSON is text all the same, and of what is binary the text in it.
fn add_rest(rest: &[u8], root: &str, whole: &mut Whole) {
    // A character that is cut at the end does not make it binary.
    match std::str::from_utf8(rest) {
        Ok(text) => whole.add(root, "", text),
        Err(error) if error.error_len().is_none() => {
            let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
            whole.add(root, "", &String::from_utf8_lossy(valid));
        }
        Err(_) => whole.add_bytes(root, rest),
    }
}

/// As [`read`], for a file that may be JSON lines: then line i stands below `root[i]`.
pub(super) fn read_file(bytes: &[u8], root: &str, whole: &mut Whole) {
    if !is_lines(bytes) {
        read(bytes, root, whole);
        return;
    }
    let mut rest = bytes;
    for index in 0..MAX_LINES {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        let line = line.trim_ascii();
        if !line.is_empty() {
            read(line, &format!("{root}[{index}]"), whole);
        }
        rest = tail;
        if rest.is_empty() {
            return;
        }
    }
    read(rest, root, whole);
}

/// The first line is a whole JSON document and another one begins after it.
fn is_lines(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    let Some(end) = memchr::memchr(b'\n', bytes).filter(|_| bytes.starts_with(b"{") || bytes.starts_with(b"[")) else {
        return false;
    };
    let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    json::looks_like_json(rest) && json::read(line, "$", 0, &mut |_: &str, _: &str, _: &str| {}).end == Ended::Whole
}
