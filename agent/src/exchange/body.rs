//! Text and outline of one document. Enters: decoded bytes: a body, or a file in one. Leaves: the outline for facts, and every
//! string at its path. Never fails: what is no JSON is text, and of what is binary the text in it.

use serde_json::Value;

use super::{
    json::{self, Ended, Strings},
    text::Whole,
    tool_results::Digests,
};

/// Longest string that a fact is read from.
pub(super) const FACT_BYTES: usize = 256;
/// Lines of JSON lines with a path of their own.
const MAX_LINES: usize = 65_536;

/// Reads one document whose strings stand below `root`.
pub(super) fn read(bytes: &[u8], root: &str, whole: &mut Whole) -> Value {
    let add = &mut |whole: &mut Whole| {
        json::read(bytes, root, FACT_BYTES, &mut |path: &str, key: &str, text: &str| whole.add(path, key, text))
    };
    read_with(bytes, root, whole, add)
}

/// As [`read`], and keeps of what the outline does not hold that which tells results of tools apart.
pub(super) fn read_request(bytes: &[u8], root: &str, whole: &mut Whole, digests: &mut Digests) -> Value {
    let add = &mut |whole: &mut Whole| json::read(bytes, root, FACT_BYTES, &mut Asked { whole, digests });
    read_with(bytes, root, whole, add)
}

/// Where the strings of a request go.
struct Asked<'a> {
    whole: &'a mut Whole,
    digests: &'a mut Digests,
}

impl Strings for Asked<'_> {
    fn string(&mut self, path: &str, key: &str, text: &str) {
        self.digests.string(path, text);
        self.whole.add(path, key, text);
    }

    fn wants_elements(&self) -> bool {
        true
    }

    fn element(&mut self, path: &str, number: &str) {
        self.digests.element(path, number);
    }
}

fn read_with(
    bytes: &[u8],
    root: &str,
    whole: &mut Whole,
    outline: &mut dyn FnMut(&mut Whole) -> json::Outline,
) -> Value {
    let (doc, text_from) = if json::looks_like_json(bytes) {
        whole.reserve(bytes.len());
        let outline = outline(whole);
        (outline.doc, if let Ended::Malformed(at) = outline.end { at } else { bytes.len() })
    } else {
        (Value::Null, 0)
    };
    // No JSON from here on: text all the same, and of what is binary the text in it. A character that is cut at the end does
    // not make it so.
    let rest = bytes.get(text_from..).unwrap_or_default();
    match std::str::from_utf8(rest) {
        Ok(text) => whole.add(root, "", text),
        Err(error) if error.error_len().is_none() => {
            let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
            whole.add(root, "", &String::from_utf8_lossy(valid));
        }
        Err(_) => whole.add_bytes(root, rest),
    }
    doc
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
