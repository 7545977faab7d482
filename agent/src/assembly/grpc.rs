//! Messages of a gRPC body (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>), of gRPC-Web and of Connect's streams: five bytes,
//! then a message. Enters: pieces of the body, cut anywhere. Leaves: an [`Event`] a message, its data the text of it. Never holds
//! more than one message, and inflates none past its caps.

use super::{Event, Headers, Limits, events::BadFrame, inflate::Decoder, protobuf};
use crate::units::Timestamp;

/// What an event costs to hold besides its text.
const EVENT_BYTES: usize = size_of::<Event>();
/// Before each message: flags, and the length in four bytes.
const PREFIX_BYTES: usize = 5;
/// Flags: compressed; the last message of Connect; trailers of gRPC-Web.
const COMPRESSED: u8 = 0x01;
const CONNECT_END: u8 = 0x02;
const WEB_TRAILERS: u8 = 0x80;

/// How the messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Protobuf,
    /// JSON or other text.
    Text,
}

/// An incremental parser.
#[derive(Debug)]
pub(crate) struct GrpcParser {
    codec: Codec,
    /// What compressed messages are compressed with.
    coding: String,
    ratio: u64,
    /// Text of all messages: past it they are not inflated any more.
    room: usize,
    prefix: [u8; PREFIX_BYTES],
    have: usize,
    /// Bytes of the present message that are to come.
    left: usize,
    message: Vec<u8>,
}

impl GrpcParser {
    /// A parser, when the headers announce such a body.
    pub(super) fn announced(headers: &Headers, limits: &Limits) -> Option<Self> {
        let kind = headers.find("content-type")?.to_ascii_lowercase();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let (coding, codec) = if let Some(rest) = kind.strip_prefix("application/grpc") {
            // The messages of grpc-web-text are in base64 on top of this.
            let rest = rest.strip_prefix("-web").unwrap_or(rest);
            let codec = if rest.is_empty() { "proto" } else { rest.strip_prefix('+')? };
            ("grpc-encoding", codec)
        } else {
            ("connect-content-encoding", kind.strip_prefix("application/connect+")?)
        };
        Some(Self {
            codec: if codec == "json" { Codec::Text } else { Codec::Protobuf },
            coding: headers.find(coding).unwrap_or_default().to_owned(),
            ratio: limits.inflate_ratio,
            room: limits.body_bytes,
            prefix: [0; PREFIX_BYTES],
            have: 0,
            left: 0,
            message: Vec::new(),
        })
    }

    /// Whether a body that begins with this byte is such a one; errors of what stands in between are not.
    pub(super) fn may_begin_with(first: u8) -> bool {
        first & !(COMPRESSED | CONNECT_END | WEB_TRAILERS) == 0
    }

    /// Takes a piece that arrived at `at`; finished messages are added to `events`. Returns the bytes that `events` grew by.
    pub(super) fn push(&mut self, piece: &[u8], at: Timestamp, events: &mut Vec<Event>) -> Result<usize, BadFrame> {
        let (mut grown, mut rest) = (0, piece);
        while !rest.is_empty() {
            if self.have < PREFIX_BYTES {
                let taken = rest.len().min(PREFIX_BYTES - self.have);
                for (place, byte) in self.prefix.iter_mut().skip(self.have).zip(rest) {
                    *place = *byte;
                }
                self.have += taken;
                rest = rest.get(taken..).unwrap_or_default();
                let [flags, length @ ..] = self.prefix;
                if !Self::may_begin_with(flags) {
                    return Err(BadFrame { grown_bytes: grown, unread_bytes: rest.len() + taken });
                }
                if self.have == PREFIX_BYTES {
                    self.left = u32::from_be_bytes(length) as usize;
                }
            } else {
                let (more, tail) = rest.split_at(rest.len().min(self.left));
                self.message.extend_from_slice(more);
                self.left -= more.len();
                rest = tail;
            }
            if self.have == PREFIX_BYTES && self.left == 0 {
                let taken = self.message.len();
                match self.end(at, events) {
                    (bytes, true) => grown += bytes,
                    (bytes, false) => {
                        return Err(BadFrame { grown_bytes: grown + bytes, unread_bytes: taken + rest.len() });
                    }
                }
            }
        }
        Ok(grown)
    }

    /// Gives out what there is of a message. Returns the bytes that `events` grew by, and whether it could be inflated.
    fn end(&mut self, at: Timestamp, events: &mut Vec<Event>) -> (usize, bool) {
        let mut message = std::mem::take(&mut self.message);
        self.have = 0;
        let [flags, ..] = self.prefix;
        let mut fits = true;
        if flags & COMPRESSED != 0
            && let Some(mut decoder) = Decoder::from_header(&self.coding, self.ratio)
        {
            let (mut plain, room) = (Vec::new(), self.room);
            let mut keep = |piece: &[u8]| {
                let room = room.saturating_sub(plain.len()).min(piece.len());
                plain.extend_from_slice(piece.get(..room).unwrap_or_default());
                room == piece.len()
            };
            fits = decoder.push(&message, &mut keep).is_ok() && decoder.is_whole();
            decoder.finish(&mut keep);
            message = plain;
        }
        let is_text = self.codec == Codec::Text || flags & (CONNECT_END | WEB_TRAILERS) != 0;
        let data = if is_text { String::from_utf8_lossy(&message).into_owned() } else { protobuf::strings(&message) };
        self.room = self.room.saturating_sub(data.len());
        let grown = EVENT_BYTES + data.len();
        events.push(Event { data: data.into(), at, ..Event::default() });
        (grown, fits)
    }

    /// Bytes held for the unfinished message.
    pub(super) fn buffered(&self) -> usize {
        self.message.len()
    }

    /// The body ended: what came of an unfinished message is given out, too.
    pub(super) fn finish(&mut self, at: Timestamp, events: &mut Vec<Event>) {
        if !self.message.is_empty() {
            self.end(at, events);
        }
    }
}

/// Whether a body is one message of protocol buffers.
pub(super) fn is_protobuf(headers: &Headers) -> bool {
    let kind = headers.find("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    ["application/x-protobuf", "application/protobuf", "application/vnd.google.protobuf", "application/proto"]
        .iter()
        .any(|name| kind.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::{super::protobuf::tests::with_length, *};

    fn prefixed(flags: u8, message: &[u8]) -> Vec<u8> {
        [&[flags], &(message.len() as u32).to_be_bytes()[..], message].concat()
    }

    fn headers(kind: &str) -> Headers {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Headers(vec![field("content-type", kind), field("grpc-encoding", "gzip")])
    }

    fn read(kind: &str, pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut parser = GrpcParser::announced(&headers(kind), &Limits::default()).unwrap();
        let mut events = Vec::new();
        let is_ok = pieces.iter().all(|piece| parser.push(piece, Timestamp(1), &mut events).is_ok());
        parser.finish(Timestamp(2), &mut events);
        (events.into_iter().map(|event| event.data.to_string()).collect(), is_ok)
    }

    fn body() -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&with_length(1, b"squeezed")).unwrap();
        [
            prefixed(0, &[with_length(1, b"one"), with_length(2, b"uno")].concat()),
            prefixed(0, b""),
            prefixed(1, &gzip.finish().unwrap()),
            prefixed(0, &with_length(3, b"last one")),
        ]
        .concat()
    }

    #[test]
    fn messages_become_events() {
        assert_eq!(
            read("application/grpc", &[&body()]),
            (vec!["one\nuno".into(), String::new(), "squeezed".into(), "last one".into()], true)
        );
        let cut = body();
        let (events, is_ok) = read("application/grpc+proto; x=y", &[&cut[..cut.len() - 2]]);
        assert_eq!((events.last().unwrap().as_str(), is_ok), ("last o", true));
        let json = prefixed(0, b"{\"a\":1}");
        assert_eq!(read("application/connect+json", &[&json]).0, ["{\"a\":1}"]);
        assert_eq!(
            read("application/grpc-web+proto", &[&prefixed(0x80, b"grpc-status: 0\r\n")]).0,
            ["grpc-status: 0\r\n"]
        );
        assert!(!read("application/grpc", &[b"{\"no\": 1}"]).1);
        for kind in ["application/grpc-web-text", "application/grpcx", "application/json", "application/connect"] {
            assert!(GrpcParser::announced(&headers(kind), &Limits::default()).is_none(), "{kind}");
        }
    }

    #[test]
    fn a_bomb_is_cut_off() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&with_length(1, &vec![b'a'; 8 << 20])).unwrap();
        let message = prefixed(1, &gzip.finish().unwrap());
        for (ratio, room) in [(200, 64 << 20), (1100, 1000)] {
            let limits = Limits { inflate_ratio: ratio, body_bytes: room, ..Limits::default() };
            let mut parser = GrpcParser::announced(&headers("application/grpc"), &limits).unwrap();
            let mut events = Vec::new();
            let bad = parser.push(&message, Timestamp(1), &mut events).unwrap_err();
            assert!(bad.grown_bytes <= EVENT_BYTES + room.min(2 << 20), "{bad:?}");
            assert_eq!(events[0].data.trim_matches('a'), "", "what came of it is kept");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(sizes in prop::collection::vec(1usize..20, 1..9)) {
            let (whole, mut sizes) = (body(), sizes.iter().cycle());
            let mut pieces = Vec::new();
            let mut rest = &whole[..];
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                pieces.push(piece);
                rest = tail;
            }
            prop_assert_eq!(read("application/grpc", &pieces), read("application/grpc", &[&whole]));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..200)) {
            let _ = read("application/grpc", &[&bytes]);
        }
    }
}
