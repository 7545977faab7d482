//! What the head of a request says about where it goes. Enters: the first bytes that a client sends on a connection whose server is not
//! named, HTTP/1.1 or HTTP/2. Leaves: host, method and path. Keeps nothing, and reads no body.

use crate::sources::http2::{
    HEADER_BYTES, PREFACE,
    flag::{END_HEADERS, PADDED, PRIORITY},
    kind::{CONTINUATION, HEADERS},
};

/// Where a request goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// `Host` or `:authority`, in lower case.
    pub host: String,
    /// `POST`
    pub method: String,
    /// Path without query.
    pub path: String,
}

/// What the bytes so far say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadSays {
    /// This.
    Target(Target),
    /// Nothing, and more bytes will not help.
    Nothing,
    /// Nothing yet.
    NotYet,
}

/// Reads the head of the request that starts here.
pub(super) fn head_says(head: &[u8]) -> HeadSays {
    match head.strip_prefix(PREFACE) {
        Some(frames) => frames_say(frames),
        None if PREFACE.starts_with(head) => HeadSays::NotYet,
        None => lines_say(head),
    }
}

fn lines_say(head: &[u8]) -> HeadSays {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let complete = match request.parse(head) {
        Ok(status) => status.is_complete(),
        Err(_) => return HeadSays::Nothing,
    };
    let host = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
    match host.and_then(|header| std::str::from_utf8(header.value).ok()) {
        Some(host) => HeadSays::Target(Target {
            host: host.to_ascii_lowercase(),
            method: request.method.unwrap_or_default().to_owned(),
            path: without_query(request.path.unwrap_or_default()),
        }),
        None if complete => HeadSays::Nothing,
        None => HeadSays::NotYet,
    }
}

/// The first request's block of headers, which a client may cut into several frames.
fn frames_say(mut frames: &[u8]) -> HeadSays {
    let mut block = Vec::new();
    while let Some((header, rest)) = frames.split_first_chunk::<HEADER_BYTES>() {
        let [high, middle, low, kind, flags, ..] = *header;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let whole = rest.get(..length);
        // What there is of the last frame may hold the name already.
        let payload = whole.unwrap_or(rest);
        match kind {
            HEADERS => block.extend_from_slice(fragment(payload, flags)),
            CONTINUATION => block.extend_from_slice(payload),
            _ => {}
        }
        if matches!(kind, HEADERS | CONTINUATION) && (whole.is_none() || flags & END_HEADERS != 0) {
            return block_says(&block, whole.is_some());
        }
        let Some(next) = rest.get(length..) else { return HeadSays::NotYet };
        frames = next;
    }
    HeadSays::NotYet
}

/// A HEADERS frame without what stands around its part of the block; padding at its end does no harm.
fn fragment(payload: &[u8], flags: u8) -> &[u8] {
    let before = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    payload.get(before..).unwrap_or_default()
}

fn block_says(block: &[u8], complete: bool) -> HeadSays {
    let mut target = Target::default();
    // A block that breaks off has said what it said before.
    let _ = loona_hpack::Decoder::new().decode_with_cb(block, |name, value| {
        let value = String::from_utf8_lossy(&value);
        match &*name {
            b":authority" => target.host = value.to_ascii_lowercase(),
            b"host" if target.host.is_empty() => target.host = value.to_ascii_lowercase(),
            b":method" => target.method = value.into_owned(),
            b":path" => target.path = without_query(&value),
            _ => {}
        }
    });
    match (target.host.is_empty(), complete) {
        (false, true) => HeadSays::Target(target),
        // A path may still follow the name.
        (false, false) if !target.path.is_empty() => HeadSays::Target(target),
        (_, true) => HeadSays::Nothing,
        (_, false) => HeadSays::NotYet,
    }
}

fn without_query(path: &str) -> String {
    path.split(['?', '#']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(host: &str, method: &str, path: &str) -> HeadSays {
        HeadSays::Target(Target { host: host.to_owned(), method: method.to_owned(), path: path.to_owned() })
    }

    #[test]
    fn the_host_is_found_in_the_head_alone() {
        let says = |text: &str| head_says(text.as_bytes());
        assert_eq!(
            says("POST /v1/x?key=1 HTTP/1.1\r\nHost: API.OpenAI.com\r\n\r\n"),
            target("api.openai.com", "POST", "/v1/x")
        );
        assert_eq!(says("POST /v1 HTTP/1.1\r\nHost: a.test\r\nx: "), target("a.test", "POST", "/v1"));
        assert_eq!(says("POST /v1 HTTP/1.1\r\nAccept: */*\r\n"), HeadSays::NotYet);
        assert_eq!(says("POST /v1 HTTP/1.1\r\nAccept: */*\r\n\r\n"), HeadSays::Nothing);
        assert_eq!(says("\x16\x03\x01garbage"), HeadSays::Nothing);
        assert_eq!(says("PRI * HTTP/1.1\r\n\r\n"), HeadSays::Nothing);
    }

    /// Preface, SETTINGS, and the block in frames of `size` bytes.
    fn connection(block: &[u8], size: usize, flags: u8) -> Vec<u8> {
        let frame = |kind: u8, flags: u8, payload: &[u8]| {
            let length = (payload.len() as u32).to_be_bytes();
            [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
        };
        let mut bytes = [PREFACE, &frame(4, 0, &[0, 3, 0, 0, 0, 100])].concat();
        let parts: Vec<&[u8]> = block.chunks(size).collect();
        for (number, part) in parts.iter().enumerate() {
            let last = if number + 1 == parts.len() { END_HEADERS } else { 0 };
            let before: &[u8] = match flags & (PADDED | PRIORITY) {
                0 => &[],
                PADDED => &[0],
                PRIORITY => &[0; 5],
                _ => &[0; 6],
            };
            bytes.extend(match number {
                0 => frame(HEADERS, last | flags, &[before, part].concat()),
                _ => frame(CONTINUATION, last, part),
            });
        }
        bytes
    }

    fn block() -> Vec<u8> {
        let headers: [(&[u8], &[u8]); 4] = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":path", b"/v1/chat/completions?x=1"),
            (b":authority", b"API.openai.com"),
        ];
        loona_hpack::Encoder::new().encode(headers)
    }

    #[test]
    fn the_authority_is_found_however_the_block_is_cut() {
        for size in [1, 3, 7, 1000] {
            for flags in [0, PADDED, PRIORITY, PADDED | PRIORITY] {
                let bytes = connection(&block(), size, flags);
                let expected = target("api.openai.com", "POST", "/v1/chat/completions");
                assert_eq!(head_says(&bytes), expected, "{size} {flags}");
                for cut in 0..bytes.len() {
                    let says = head_says(&bytes[..cut]);
                    assert!(says == HeadSays::NotYet || says == expected, "{cut}: {says:?}");
                }
            }
        }
        // RFC 7541, appendix C.4.1: with Huffman's code.
        let coded = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(head_says(&connection(coded, 1000, 0)), target("www.example.com", "GET", "/"));
        assert_eq!(head_says(&connection(b"\x82\x86\x84", 1000, 0)), HeadSays::Nothing);
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_breaks_it(block in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..80) {
            let _ = head_says(&connection(&block, size, 0));
            let _ = head_says(&[PREFACE, &block].concat());
            let _ = head_says(&block);
        }
    }
}
