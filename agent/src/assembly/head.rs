//! Start lines and headers (RFC 9112, sections 3 to 5) and what they say about the body (section 6.3). Enters: the bytes of
//! one head. Leaves: [`Head`] and [`Framing`]. Never looks past the empty line.

use super::{Head, Headers};
use crate::sources::Direction;

/// Header fields that are read; a head with more is refused.
const MAX_FIELDS: usize = 256;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// No body.
    Empty,
    /// This many bytes.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// All that comes until the connection closes.
    UntilClose,
}

/// These bytes are no HTTP/1 head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHttp;

/// Methods that a request may start with, as far as resynchronising goes.
const METHODS: [&[u8]; 8] = [b"POST ", b"GET ", b"PUT ", b"PATCH ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"CONNECT "];

/// The start of the HTTP/2 connection preface (RFC 9113, section 3.4); no HTTP/1 client sends it.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2";

/// Whether a piece looks like the start of a message. Used only after a loss, when the end of the last message is unknown.
pub(super) fn looks_like_start(direction: Direction, piece: &[u8]) -> bool {
    match direction {
        Direction::Received => piece.starts_with(b"HTTP/1."),
        Direction::Sent => METHODS.iter().any(|method| piece.starts_with(method)),
    }
}

/// Whether a head is the HTTP/2 preface.
pub(super) fn is_http2(head: &[u8]) -> bool {
    head.starts_with(HTTP2_PREFACE)
}

/// Whether more bytes could still make these the start of a head. Refuses binary protocols at their first bytes, so that
/// they are not collected up to the head's cap.
pub(super) fn may_become_head(direction: Direction, start: &[u8]) -> bool {
    match direction {
        Direction::Received => start.iter().zip(b"HTTP/1.").all(|(have, want)| have == want),
        Direction::Sent => {
            let method = start.iter().position(|byte| *byte == b' ').unwrap_or(start.len());
            method <= 24 && start.iter().take(method).all(u8::is_ascii_uppercase) && (method > 0 || start.is_empty())
        }
    }
}

/// Where a head ends: just past its empty line. `from`: bytes that were searched before.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let start = from.saturating_sub(3);
    let window = bytes.get(start..)?;
    memchr::memchr_iter(b'\n', window).find_map(|at| match window.get(at + 1..) {
        Some([b'\n', ..]) => Some(start + at + 2),
        Some([b'\r', b'\n', ..]) => Some(start + at + 3),
        _ => None,
    })
}

/// Reads a whole head, its empty line included.
pub(super) fn parse(direction: Direction, bytes: &[u8]) -> Result<Head, NotHttp> {
    // What is refused when it comes in pieces is refused as a whole.
    if !may_become_head(direction, bytes) {
        return Err(NotHttp);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match direction {
        Direction::Sent => {
            let mut request = httparse::Request::new(&mut fields);
            match request.parse(bytes) {
                Ok(httparse::Status::Complete(_)) => Ok(Head::Request {
                    method: request.method.unwrap_or_default().to_owned(),
                    target: request.path.unwrap_or_default().to_owned(),
                    headers: headers(request.headers),
                }),
                _ => Err(NotHttp),
            }
        }
        Direction::Received => {
            let mut response = httparse::Response::new(&mut fields);
            match response.parse(bytes) {
                Ok(httparse::Status::Complete(_)) => {
                    let status = response.code.unwrap_or_default();
                    Ok(Head::Response { status, headers: headers(response.headers) })
                }
                _ => Err(NotHttp),
            }
        }
    }
}

/// Reads as much as there is of a head that was cut: its whole lines.
pub(super) fn parse_cut(direction: Direction, bytes: &[u8]) -> Option<Head> {
    let lines = memchr::memrchr(b'\n', bytes)? + 1;
    let mut head = bytes.get(..lines)?.to_vec();
    head.extend_from_slice(b"\r\n");
    parse(direction, &head).ok()
}

fn headers(fields: &[httparse::Header<'_>]) -> Headers {
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    Headers(fields.iter().map(|field| (field.name.to_ascii_lowercase(), text(field.value))).collect())
}

/// How the body of a request ends.
pub(super) fn request_framing(headers: &Headers) -> Result<Framing, NotHttp> {
    match coded(headers) {
        Some(Coded::Chunked) => Ok(Framing::Chunked),
        // A request whose last coding is not chunked has no end that can be found.
        Some(Coded::Other) => Err(NotHttp),
        None => Ok(match length(headers)? {
            None | Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
        }),
    }
}

/// How the body of an answer to `method` ends.
pub(super) fn response_framing(status: u16, method: Option<&str>, headers: &Headers) -> Result<Framing, NotHttp> {
    if method == Some("HEAD") || matches!(status, 100..=199 | 204 | 304) {
        return Ok(Framing::Empty);
    }
    match coded(headers) {
        Some(Coded::Chunked) => Ok(Framing::Chunked),
        Some(Coded::Other) => Ok(Framing::UntilClose),
        None => Ok(match length(headers)? {
            None => Framing::UntilClose,
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
        }),
    }
}

enum Coded {
    Chunked,
    Other,
}

fn coded(headers: &Headers) -> Option<Coded> {
    let last = headers.0.iter().rev().find(|(name, _)| name == "transfer-encoding")?;
    let last = last.1.rsplit(',').next().unwrap_or_default().trim();
    Some(if last.eq_ignore_ascii_case("chunked") { Coded::Chunked } else { Coded::Other })
}

/// `content-length`; repeated fields must agree (RFC 9112, section 6.3, rule 5).
fn length(headers: &Headers) -> Result<Option<u64>, NotHttp> {
    let mut found = None;
    for (_, value) in headers.0.iter().filter(|(name, _)| name == "content-length") {
        for part in value.split(',') {
            let part = part.trim();
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let length =
                part.parse::<u64>().ok().filter(|length| digits && i64::try_from(*length).is_ok()).ok_or(NotHttp)?;
            if found.replace(length).is_some_and(|before| before != length) {
                return Err(NotHttp);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Headers {
        Headers(
            text.lines().filter_map(|line| line.split_once(": ")).map(|(a, b)| (a.to_owned(), b.to_owned())).collect(),
        )
    }

    #[test]
    fn the_end_of_a_head() {
        for (text, end) in [
            ("GET / HTTP/1.1\r\n\r\nrest", Some(18)),
            ("GET / HTTP/1.1\n\nrest", Some(16)),
            ("GET / HTTP/1.1\r\na: b\r\n\r", None),
            ("", None),
        ] {
            assert_eq!(end_of_head(text.as_bytes(), 0), end, "{text:?}");
            if let Some(end) = end {
                for from in 0..end {
                    assert_eq!(end_of_head(text.as_bytes(), from), Some(end), "{text:?} from {from}");
                }
            }
        }
    }

    #[test]
    fn framing() {
        use Framing::{Chunked, Empty, Length, UntilClose};
        for (head, request, response) in [
            ("", Ok(Empty), Ok(UntilClose)),
            ("content-length: 0", Ok(Empty), Ok(Empty)),
            ("content-length: 5", Ok(Length(5)), Ok(Length(5))),
            ("content-length: 5\ncontent-length: 5", Ok(Length(5)), Ok(Length(5))),
            ("content-length: 5, 5", Ok(Length(5)), Ok(Length(5))),
            ("content-length: 5\ncontent-length: 6", Err(NotHttp), Err(NotHttp)),
            ("content-length: -1", Err(NotHttp), Err(NotHttp)),
            ("content-length: +1", Err(NotHttp), Err(NotHttp)),
            ("content-length: 99999999999999999999", Err(NotHttp), Err(NotHttp)),
            ("transfer-encoding: chunked", Ok(Chunked), Ok(Chunked)),
            ("transfer-encoding: gzip, Chunked\ncontent-length: 5", Ok(Chunked), Ok(Chunked)),
            ("transfer-encoding: gzip", Err(NotHttp), Ok(UntilClose)),
        ] {
            assert_eq!(request_framing(&fields(head)), request, "{head:?}");
            assert_eq!(response_framing(200, Some("POST"), &fields(head)), response, "{head:?}");
            assert_eq!(response_framing(204, Some("POST"), &fields(head)), Ok(Empty));
            assert_eq!(response_framing(200, Some("HEAD"), &fields(head)), Ok(Empty));
        }
    }

    #[test]
    fn starts() {
        use Direction::{Received, Sent};
        for (direction, bytes, may) in [
            (Sent, &b"P"[..], true),
            (Sent, b"POST /v1", true),
            (Sent, b"post /", false),
            (Sent, b" /", false),
            (Sent, b"\x16\x03\x01", false),
            (Sent, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", false),
            (Received, b"HT", true),
            (Received, b"HTTP/1.1 200", true),
            (Received, b"HTTP/2", false),
            (Received, b"\0\0\x12\x04", false),
        ] {
            assert_eq!(may_become_head(direction, bytes), may, "{direction:?} {bytes:?}");
        }
    }

    #[test]
    fn a_cut_head_keeps_its_whole_lines() {
        let head = parse_cut(Direction::Sent, b"POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-le").unwrap();
        assert_eq!(head, Head::Request { method: "POST".into(), target: "/v1/x".into(), headers: fields("host: a") });
        assert_eq!(parse_cut(Direction::Sent, b"POST /v1/x HT"), None);
    }
}
