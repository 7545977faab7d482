//! A WebSocket as a client and a server write it (RFC 6455). Enters: the request for it and its messages. Leaves: pieces of
//! both directions in order: the upgrade, its answer, masked frames of the client and plain ones of the server, and both
//! closes. What peers may do differently (fragments, compression, pings) comes from [`Peers`] and its seed.

use flate2::{Compress, Compression, FlushCompress};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::{Request, SessionMessage, cut::Random};
use crate::sources::Direction;

/// What a sender takes off the end of a compressed message (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// One frame in so many is followed by a ping, when the seed may choose.
const PING_ONE_IN: u64 = 8;
/// Status 1000 (RFC 6455, section 7.4.1).
const NORMAL_CLOSURE: [u8; 2] = [0x03, 0xe8];

/// What the peers do that the record does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peers {
    /// Seed: messages come in fragments, with pings between.
    pub fragments: Option<u64>,
    /// The peers agreed on permessage-deflate.
    pub deflate: Option<Takeover>,
    /// The server sends binary messages only, as Gemini Live does, whatever the record says.
    pub is_binary: bool,
    /// The connection ends without a close.
    pub is_cut: bool,
}

/// Whether a compressing peer goes on with its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Both do.
    Both,
    /// Neither does.
    Neither,
}

impl Peers {
    /// Peers of every kind, by a seed.
    pub(super) fn of(seed: u64) -> Self {
        Self {
            fragments: (!seed.is_multiple_of(4)).then_some(seed),
            deflate: match seed % 3 {
                0 => None,
                1 => Some(Takeover::Both),
                _ => Some(Takeover::Neither),
            },
            ..Self::default()
        }
    }
}

/// The bytes of both directions, in order.
pub fn wire(request: &Request, messages: &[SessionMessage], peers: Peers) -> Vec<(Direction, Vec<u8>)> {
    let mut random = Random::new(peers.fragments.unwrap_or(1), 0);
    let mut pieces = vec![
        (Direction::Sent, request_bytes(request, peers.deflate.is_some())),
        (Direction::Received, answer_bytes(peers.deflate)),
    ];
    let mut windows = [Compress::new(Compression::default(), false), Compress::new(Compression::default(), false)];
    let [sent, received] = &mut windows;
    for message in messages {
        let (direction, window) =
            if message.is_sent { (Direction::Sent, &mut *sent) } else { (Direction::Received, &mut *received) };
        let compressed = peers.deflate.map(|takeover| compress(window, takeover, &message.data));
        let is_binary = message.is_binary || (peers.is_binary && !message.is_sent);
        let payload = compressed.as_ref().unwrap_or(&message.data);
        let mut bytes = Vec::new();
        let mut first = Some(if is_binary { Data::Binary } else { Data::Text });
        for (part, is_final) in parts(payload, peers.fragments.map(|_| &mut random)) {
            let rsv1 = compressed.is_some() && first.is_some();
            let opcode = OpCode::Data(first.take().unwrap_or(Data::Continue));
            frame(&mut bytes, direction, opcode, rsv1, is_final, part, &mut random);
            if peers.fragments.is_some() && random.below(PING_ONE_IN) == 0 {
                frame(&mut bytes, direction, OpCode::Control(Control::Ping), false, true, b"still there?", &mut random);
            }
        }
        pieces.push((direction, bytes));
    }
    for direction in [Direction::Sent, Direction::Received].into_iter().filter(|_| !peers.is_cut) {
        let mut bytes = Vec::new();
        frame(&mut bytes, direction, OpCode::Control(Control::Close), false, true, &NORMAL_CLOSURE, &mut random);
        pieces.push((direction, bytes));
    }
    pieces
}

fn request_bytes(request: &Request, offers_deflate: bool) -> Vec<u8> {
    let mut wire = format!("GET {} HTTP/1.1\r\n", request.target).into_bytes();
    let offer = offers_deflate.then_some(("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"));
    let own = request.headers.iter().filter(|(name, _)| !name.starts_with("sec-websocket-"));
    let all = [
        ("host", request.authority.as_str()),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let all = all.into_iter().chain(offer).chain(own.map(|(name, value)| (name.as_str(), value.as_str())));
    for part in all.flat_map(|(name, value)| [name, ": ", value, "\r\n"]).chain(["\r\n"]) {
        wire.extend_from_slice(part.as_bytes());
    }
    wire
}

fn answer_bytes(deflate: Option<Takeover>) -> Vec<u8> {
    let extensions = match deflate {
        None => "",
        Some(Takeover::Both) => "sec-websocket-extensions: permessage-deflate\r\n",
        Some(Takeover::Neither) => {
            "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
        }
    };
    // The accept key is that of RFC 6455, section 1.3, for the key above.
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{extensions}\r\n"
    )
    .into_bytes()
}

fn compress(window: &mut Compress, takeover: Takeover, text: &[u8]) -> Vec<u8> {
    if takeover == Takeover::Neither {
        window.reset();
    }
    let (mut packed, mut rest) = (Vec::new(), text);
    loop {
        packed.reserve(text.len() / 2 + 64);
        let before = window.total_in();
        // Memory is the only thing that can go wrong, and then there is nothing to send.
        if window.compress_vec(rest, &mut packed, FlushCompress::Sync).is_err() {
            return Vec::new();
        }
        rest = rest.get((window.total_in() - before) as usize..).unwrap_or_default();
        if rest.is_empty() && packed.len() < packed.capacity() {
            break;
        }
    }
    if packed.ends_with(&TAIL) {
        packed.truncate(packed.len() - TAIL.len());
    }
    packed
}

/// One part, or a few of random sizes, empty ones too.
fn parts<'a>(payload: &'a [u8], random: Option<&mut Random>) -> Vec<(&'a [u8], bool)> {
    let Some(random) = random else { return vec![(payload, true)] };
    let (mut rest, mut parts) = (payload, Vec::new());
    for _ in 0..random.below(4) {
        let (part, tail) = rest.split_at(random.below(rest.len() as u64 + 1) as usize);
        parts.push((part, false));
        rest = tail;
    }
    parts.push((rest, true));
    parts
}

fn frame(
    wire: &mut Vec<u8>,
    direction: Direction,
    opcode: OpCode,
    rsv1: bool,
    is_final: bool,
    payload: &[u8],
    random: &mut Random,
) {
    let mask = (direction == Direction::Sent).then(|| (random.below(1 << 32) as u32).to_be_bytes());
    let header = FrameHeader { is_final, rsv1, opcode, mask, ..FrameHeader::default() };
    // Writing to memory cannot fail.
    if header.format(payload.len() as u64, wire).is_ok() {
        let key = mask.unwrap_or_default();
        wire.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_becomes_wire_bytes() {
        let message = |is_sent, data: &[u8]| SessionMessage { is_sent, is_binary: false, data: data.to_vec() };
        let request = Request {
            target: "/v1/realtime?model=m".into(),
            authority: "api.example:444".into(),
            headers: vec![("x-a".into(), "b".into()), ("sec-websocket-key".into(), "old".into())],
            ..Request::default()
        };
        let wire = wire(&request, &[message(true, br#"{"type":"a"}"#), message(false, b"plain")], Peers::default());
        let [(_, request), (_, answer), (Direction::Sent, asked), (Direction::Received, answered), closes @ ..] =
            &wire[..]
        else {
            panic!("{wire:?}");
        };
        let request = str::from_utf8(request).unwrap();
        assert!(
            request.starts_with("GET /v1/realtime?model=m HTTP/1.1\r\nhost: api.example:444\r\nupgrade: websocket\r\n")
        );
        assert!(request.ends_with("\r\nx-a: b\r\n\r\n") && !request.contains("old"), "{request}");
        assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n"));
        assert_eq!((asked[0], asked[1], asked.len()), (0x81, 0x8c, 2 + 4 + 12), "masked");
        assert_eq!(answered, b"\x81\x05plain");
        assert_eq!(closes.len(), 2);
    }
}
