//! Recorded messages become what can be put on a wire. Enters: method, URL, headers, body as a recorder wrote them. Leaves:
//! [`Request`] and [`Response`]. Never keeps a header that would make the wire lie about the body.

use std::fmt::Write as _;

use super::{Request, Response};

/// Largest piece that a server writes at once: a TLS record (RFC 8446, section 5.1).
const PIECE_BYTES: usize = 16 << 10;

/// Headers of one hop (RFC 9110, section 7.6.1) and those that are made anew from the body.
const MADE_ANEW: [&str; 8] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// A body, and how much its recorder can be trusted about its encoding.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordedBody {
    pub(super) bytes: Vec<u8>,
    /// The bytes are those of the wire, as far as known: base64 in an exchange record.
    pub(super) is_raw: bool,
}

/// The parts of a URL that a request needs.
struct Url<'a> {
    is_tls: bool,
    authority: &'a str,
    target: String,
}

impl Url<'_> {
    /// `None`: no `http(s)://host/…`, nor `ws(s)://`.
    fn parse(url: &str) -> Option<Url<'_>> {
        let (scheme, rest) = url.split_once("://")?;
        let is_tls = match scheme {
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let (authority, target) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let is_host = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
        if authority.is_empty() || !authority.bytes().all(is_host) {
            return None;
        }
        // Recorders write URLs as people read them; on the wire there is neither a space nor a letter outside ASCII.
        let mut wire = if target.starts_with('/') { String::new() } else { "/".to_owned() };
        for letter in target.chars() {
            if letter.is_ascii_graphic() {
                wire.push(letter);
            } else {
                let mut utf8 = [0; 4];
                for byte in letter.encode_utf8(&mut utf8).bytes() {
                    let _ = write!(wire, "%{byte:02X}");
                }
            }
        }
        Some(Url { is_tls, authority, target: wire })
    }
}

/// A request. `Err`: what is wrong, beginning with the member.
pub(super) fn request(
    method: &str,
    url: &str,
    headers: Vec<(String, String)>,
    body: RecordedBody,
) -> Result<Request, String> {
    if method.is_empty() || method.len() > 24 || !method.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
    {
        return Err(format!("method: `{method}` is no method"));
    }
    let parts = Url::parse(url).ok_or_else(|| format!("url: `{url}` must be http(s)://host/path"))?;
    let named = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host") || name == ":authority");
    let authority = named
        .map(|(_, host)| host.trim())
        .filter(|host| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()));
    Ok(Request {
        method: method.to_owned(),
        is_tls: parts.is_tls,
        host_name: host_name(parts.authority).to_ascii_lowercase(),
        authority: authority.unwrap_or(parts.authority).to_owned(),
        headers: kept(headers, &body),
        target: parts.target,
        body: body.bytes,
    })
}

/// An answer. `Err`: what is wrong, beginning with the member.
pub(super) fn response(
    method: &str,
    status: u16,
    headers: Vec<(String, String)>,
    body: RecordedBody,
) -> Result<Response, String> {
    // Some sites answer bots with numbers that no RFC knows, such as 999.
    if !(200..=999).contains(&status) {
        return Err(format!("status: {status} is no final status"));
    }
    // These never have a body (RFC 9112, section 6.3); browsers write the cached one into the entry of a 304.
    let is_empty = method.eq_ignore_ascii_case("HEAD") || matches!(status, 204 | 304);
    let body = if is_empty { RecordedBody::default() } else { body };
    Ok(Response { status, headers: kept(headers, &body), body: body.bytes })
}

fn host_name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

/// Recorded headers, in lower case, without those that are made anew or that the body contradicts. Pseudo headers of HTTP/2
/// stand in HAR files beside the others.
fn kept(headers: Vec<(String, String)>, body: &RecordedBody) -> Vec<(String, String)> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let lower = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    lower
        .filter(|(name, _)| !name.is_empty() && name.bytes().all(is_token) && !MADE_ANEW.contains(&name.as_str()))
        .filter(|(name, value)| name != "content-encoding" || is_encoded(value, body))
        .map(|(name, value)| (name, value.replace(['\r', '\n', '\0'], " ").trim().to_owned()))
        .collect()
}

/// Whether a body is still encoded as its header says: most recorders store it decoded and keep the header.
fn is_encoded(coding: &str, body: &RecordedBody) -> bool {
    let bytes = body.bytes.as_slice();
    match coding.rsplit(',').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => bytes.starts_with(&[0x1f, 0x8b]),
        "zstd" => bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
        // Neither has a mark of its own; no text is valid in both.
        "br" | "deflate" => body.is_raw && std::str::from_utf8(bytes).is_err(),
        _ => false,
    }
}

/// First value of a header; `name` is lower case.
fn find<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    headers.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
}

impl Response {
    /// The length of the body was not known when it began: it comes in parts, as they were made.
    pub(super) fn is_streamed(&self) -> bool {
        self.stream_kind().is_some()
    }

    fn stream_kind(&self) -> Option<Parts> {
        let kind = find(&self.headers, "content-type").to_ascii_lowercase();
        match kind.split(';').next().unwrap_or_default().trim() {
            _ if !find(&self.headers, "content-encoding").is_empty() => None,
            "text/event-stream" => Some(Parts::Events),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/stream+json" => {
                Some(Parts::Lines)
            }
            "application/vnd.amazon.eventstream" => Some(Parts::Frames),
            _ => None,
        }
    }

    /// The body in the parts in which a server sends it.
    pub(super) fn parts(&self) -> Vec<&[u8]> {
        let Some(kind) = self.stream_kind() else { return self.body.chunks(PIECE_BYTES).collect() };
        let (mut rest, mut parts) = (self.body.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (part, tail) = rest.split_at_checked(kind.first(rest)).unwrap_or((rest, &[]));
            parts.extend(part.chunks(PIECE_BYTES));
            rest = tail;
        }
        parts
    }
}

/// How a streamed body falls into parts.
#[derive(Clone, Copy)]
enum Parts {
    /// Each with the empty line that ends it.
    Events,
    /// Each with its line feed.
    Lines,
    /// Each with its length in the first four bytes.
    Frames,
}

impl Parts {
    /// Bytes of the first part; never 0.
    fn first(self, bytes: &[u8]) -> usize {
        let end = match self {
            Self::Events => {
                let ends = [
                    memchr::memmem::find(bytes, b"\n\n").map(|at| at + 2),
                    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4),
                ];
                ends.into_iter().flatten().min()
            }
            Self::Lines => memchr::memchr(b'\n', bytes).map(|at| at + 1),
            Self::Frames => bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize),
        };
        end.unwrap_or(bytes.len()).clamp(1, bytes.len().max(1))
    }
}
