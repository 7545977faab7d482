//! Form bodies with files (`multipart/form-data`, RFC 7578). Enters: the body and its content type. Leaves: fields at
//! `$form.purpose`, text and JSON of files at `$file.file`, file names at `$file.file~`, and short fields as an outline for
//! facts. Media are left out and counted.
//!
//! The splitter is our own: the crates for this (`multer`, `multipart`) read an async or blocking stream and fail at the
//! first odd byte or missing end; here the whole body lies in memory, is often cut, and must give what is readable.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use memchr::memmem;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{
    Leaves,
    body::{self, FACT_BYTES},
    path::Path,
    text::Whole,
};

/// Longest boundary (RFC 2046, section 5.1.1).
const MAX_BOUNDARY_BYTES: usize = 70;
/// Parts that are read of one body; the rest is counted.
const MAX_PARTS: usize = 4096;
/// Longest head of one part.
const MAX_HEAD_BYTES: usize = 8 << 10;

/// The boundary that a content type names; `None` when it is no form.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, _) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(content_type, "boundary").filter(|text| (1..=MAX_BOUNDARY_BYTES).contains(&text.len()))
}

/// A parameter of a header value: `name="file"`, `boundary=x`.
fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = value;
    while let Some((_, tail)) = rest.split_once(';') {
        let tail = tail.trim_start();
        let (key, text) = tail.split_once('=')?;
        let text = text.trim_start();
        let (found, after) = match text.strip_prefix('"') {
            // Browsers write a quote inside as %22 (HTML, "multipart/form-data"): the next one is the end.
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => text.find(';').map_or((text, ""), |end| text.split_at(end)),
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(found.trim_end());
        }
        rest = after;
    }
    None
}

/// Reads a form. `None`: the boundary does not stand in it.
pub(super) fn read(bytes: &[u8], boundary: &str) -> Option<(Value, Leaves)> {
    let delimiter = format!("--{boundary}");
    let mut ends = memmem::find_iter(bytes, &delimiter).filter(|at| {
        // Only at the start of a line; a file may hold the text of another form.
        *at == 0 || bytes.get(at - 1) == Some(&b'\n')
    });
    let mut start = ends.next()? + delimiter.len();
    let (mut whole, mut doc, mut left_out_bytes) = (Whole::default(), Map::new(), 0);
    let mut parts = 0;
    loop {
        let rest = bytes.get(start..).unwrap_or_default();
        if rest.starts_with(b"--") {
            break; // the last delimiter
        }
        let end = ends.next();
        let part = bytes.get(start..end.unwrap_or(bytes.len())).unwrap_or_default();
        if parts < MAX_PARTS {
            left_out_bytes += read_part(part, &mut whole, &mut doc);
        } else {
            left_out_bytes += part.len() as u64;
        }
        parts += 1;
        let Some(end) = end else { break };
        start = end + delimiter.len();
    }
    let mut leaves = whole.finish();
    leaves.left_out_bytes += left_out_bytes;
    let doc = if doc.is_empty() { Value::Null } else { Value::Object(doc) };
    Some((doc, leaves))
}

/// What the head of a part says.
#[derive(Default)]
struct Part<'a> {
    name: &'a str,
    file_name: Option<String>,
    kind: String,
    is_base64: bool,
}

/// Reads what stands between two delimiters; gives the bytes that were left out.
fn read_part(part: &[u8], whole: &mut Whole, doc: &mut Map<String, Value>) -> u64 {
    let Some((head, content)) = split_head(part) else {
        // The head is cut: nothing says what this is.
        return part.len() as u64;
    };
    let head = String::from_utf8_lossy(head);
    let part = Part::parse(&head);
    let content = content.strip_suffix(b"\n").map_or(content, |line| line.strip_suffix(b"\r").unwrap_or(line));
    let decoded = if part.is_base64 { STANDARD.decode(without_space(content)).ok() } else { None };
    let content = decoded.as_deref().unwrap_or(content);

    let mut path = Path::new(if part.file_name.is_some() { "$file" } else { "$form" });
    path.key(part.name);
    if let Some(file_name) = &part.file_name {
        let length = path.len();
        path.name();
        whole.add(path.as_str(), "", file_name);
        path.truncate(length);
    } else if let Ok(text) = std::str::from_utf8(content)
        && part.kind.is_empty()
    {
        if text.len() <= FACT_BYTES {
            doc.insert(part.name.to_owned(), Value::String(text.to_owned()));
        }
        whole.add(path.as_str(), part.name, text);
        return 0;
    }
    if ["image/", "audio/", "video/", "font/"].iter().any(|media| part.kind.starts_with(media)) {
        return content.len() as u64;
    }
    body::read_file(content, path.as_str(), whole);
    0
}

/// Head and content of a part; the delimiter's line ends in front of them.
fn split_head(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = memchr::memchr(b'\n', part)? + 1;
    let rest = part.get(line..)?;
    if let Some(content) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
        return Some((&[], content));
    }
    let window = rest.get(..rest.len().min(MAX_HEAD_BYTES))?;
    let ends = [(memmem::find(window, b"\r\n\r\n"), 4), (memmem::find(window, b"\n\n"), 2)];
    let (at, length) = ends.into_iter().filter_map(|(at, length)| Some((at?, length))).min()?;
    Some((rest.get(..at)?, rest.get(at + length..)?))
}

impl<'a> Part<'a> {
    fn parse(head: &'a str) -> Self {
        let mut part = Self::default();
        for (name, value) in head.lines().filter_map(|line| line.split_once(':')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "content-disposition" => {
                    part.name = parameter(value, "name").unwrap_or_default();
                    // RFC 5987: `filename*=UTF-8''na%C3%AFve.txt`
                    let extended = parameter(value, "filename*").and_then(|text| text.rsplit_once('\''));
                    part.file_name = extended
                        .map(|(_, text)| text)
                        .or_else(|| parameter(value, "filename"))
                        .map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
                }
                "content-type" => part.kind = value.trim().to_ascii_lowercase(),
                "content-transfer-encoding" => part.is_base64 = value.trim().eq_ignore_ascii_case("base64"),
                _ => {}
            }
        }
        part
    }
}

fn without_space(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}
