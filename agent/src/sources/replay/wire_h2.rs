//! HTTP/2 as a client and a server write it (RFC 9113). Enters: a request and its answer. Leaves: [`Wire`], of a connection of their
//! own: preface, SETTINGS, one stream. Bodies come in DATA frames, those of a stream one a part.

use loona_hpack::Encoder;

use super::{Request, Response, Wire};
use crate::sources::http2::{self, PREFACE, flag, kind};

/// Longest payload.
const PAYLOAD_BYTES: usize = http2::DEFAULT_PAYLOAD_BYTES as usize;
/// The first stream of a client: RFC 9113, section 5.1.1.
const STREAM: u32 = 1;

/// One exchange on its wire. Without an answer the request stands alone.
pub(super) fn wire(request: &Request, response: Option<&Response>) -> Wire {
    Wire { sent: sent(request), received: response.map(received).unwrap_or_default() }
}

fn sent(request: &Request) -> Vec<Vec<u8>> {
    let scheme = if request.is_tls { "https" } else { "http" };
    let length = request.body.len().to_string();
    let mut fields = vec![
        (":method", request.method.as_str()),
        (":scheme", scheme),
        (":path", &request.target),
        (":authority", &request.authority),
    ];
    fields.extend(request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    if !request.body.is_empty() {
        fields.push(("content-length", &length));
    }
    // Streams may be as long as a connection allows: 2^31 - 1 bytes, of which 65,535 are given.
    let window = frame(kind::WINDOW_UPDATE, 0, 0, &(i32::MAX.unsigned_abs() - 65_535).to_be_bytes());
    let mut opening = [PREFACE, &frame(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 0]), &window].concat();
    head(&mut opening, &fields, request.body.is_empty());
    let mut pieces = vec![opening, frame(kind::SETTINGS, flag::ACK, 0, &[])];
    data(&mut pieces, request.body.chunks(PAYLOAD_BYTES));
    pieces
}

fn received(response: &Response) -> Vec<Vec<u8>> {
    let (status, length) = (response.status.to_string(), response.body.len().to_string());
    let mut fields = vec![(":status", status.as_str())];
    fields.extend(response.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    if !response.is_streamed() && !matches!(response.status, 204 | 304) {
        fields.push(("content-length", &length));
    }
    let mut opening =
        [frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]), frame(kind::SETTINGS, flag::ACK, 0, &[])].concat();
    head(&mut opening, &fields, response.body.is_empty());
    let mut pieces = vec![opening];
    data(&mut pieces, response.parts().into_iter());
    pieces
}

fn head(wire: &mut Vec<u8>, fields: &[(&str, &str)], ends: bool) {
    let block = Encoder::new().encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    let last = block.len().div_ceil(PAYLOAD_BYTES).max(1) - 1;
    for (number, part) in block.chunks(PAYLOAD_BYTES).enumerate() {
        let kind = if number == 0 { kind::HEADERS } else { kind::CONTINUATION };
        let ends_stream = if number == 0 && ends { flag::END_STREAM } else { 0 };
        let ends_block = if number == last { flag::END_HEADERS } else { 0 };
        wire.extend(frame(kind, ends_stream | ends_block, STREAM, part));
    }
}

fn data<'a>(pieces: &mut Vec<Vec<u8>>, parts: impl Iterator<Item = &'a [u8]>) {
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_none() { flag::END_STREAM } else { 0 };
        pieces.push(frame(kind::DATA, flags, STREAM, part));
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str, long: usize) -> Request {
        Request {
            method: "POST".into(),
            is_tls: true,
            host_name: "llm.test".into(),
            authority: "llm.test:8443".into(),
            target: "/v1/x?a=b".into(),
            headers: vec![("x-long".into(), "y".repeat(long))],
            body: body.as_bytes().to_vec(),
        }
    }

    /// Type, flags and length of each frame.
    fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, usize)> {
        let mut frames = Vec::new();
        while let [high, middle, low, kind, flags, _, _, _, _, rest @ ..] = bytes {
            let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            frames.push((*kind, *flags, length));
            bytes = &rest[length..];
        }
        assert!(bytes.is_empty());
        frames
    }

    #[test]
    fn a_request_is_preface_head_and_data() {
        let Wire { sent, received } = wire(&request(&"b".repeat(20_000), 20_000), None);
        assert!(received.is_empty());
        let sent = sent.concat();
        let frames = frames(sent.strip_prefix(PREFACE).unwrap());
        let kinds: Vec<(u8, u8)> = frames.iter().map(|(kind, flags, _)| (*kind, *flags)).collect();
        let head = [
            (kind::SETTINGS, 0),
            (kind::WINDOW_UPDATE, 0),
            (kind::HEADERS, 0),
            (kind::CONTINUATION, flag::END_HEADERS),
            (kind::SETTINGS, flag::ACK),
        ];
        assert_eq!(kinds, [&head[..], &[(kind::DATA, 0), (kind::DATA, flag::END_STREAM)]].concat());
        assert!(frames.iter().all(|(_, _, length)| *length <= PAYLOAD_BYTES));
        let fields = wire(&request("", 3), None).sent.concat();
        assert_eq!(self::frames(fields.strip_prefix(PREFACE).unwrap())[2].1, flag::END_HEADERS | flag::END_STREAM);
    }

    #[test]
    fn a_stream_comes_in_its_parts() {
        let response = Response {
            status: 200,
            headers: vec![("content-type".into(), "text/event-stream".into())],
            body: b"data: a\n\ndata: b\n\n".to_vec(),
        };
        let received = wire(&request("{}", 3), Some(&response)).received;
        assert_eq!(received.len(), 3);
        assert_eq!(&received[2][9..], b"data: b\n\n");
        assert_eq!(received[2][4], flag::END_STREAM);
        assert_eq!(frames(&received[0])[2].1, flag::END_HEADERS);
    }
}
