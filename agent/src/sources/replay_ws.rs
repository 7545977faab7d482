//! Turns a recorded realtime session into the bytes of a connection. Enters: a session record (JSON: `request`, `messages`).
//! Leaves: pieces of both directions, in the order in which they were on the wire: the upgrade, its answer, masked frames of
//! the client and plain ones of the server, and both closes. A pure function of the record and the options; what peers may
//! do differently (fragments, compression, pings) comes from a seed.

use std::collections::BTreeMap;

use flate2::{Compress, Compression, FlushCompress};
use serde::Deserialize;
use serde_json::Value;
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::Direction;

/// What a sender takes off the end of a compressed message (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// One frame in so many is followed by a ping, when the seed may choose.
const PING_ONE_IN: u64 = 8;

/// A recorded session. Members that are not needed to replay it are ignored.
#[derive(Clone, Debug, Deserialize)]
pub struct SessionRecord {
    request: Upgrade,
    messages: Vec<Recorded>,
}

#[derive(Clone, Debug, Deserialize)]
struct Upgrade {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Recorded {
    direction: Side,
    data: Value,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Sent,
    Received,
}

/// What the peers do that the record does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire {
    /// Seed: messages come in fragments, with pings between.
    pub fragments: Option<u64>,
    /// The peers agreed on permessage-deflate.
    pub deflate: Option<Takeover>,
    /// The server sends binary messages, as Gemini Live does.
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

impl SessionRecord {
    /// Reads a record from its text. `Err`: what is wrong, for people.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(text).map_err(|error| format!("no session record: {error}"))?;
        let is_token = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if record.target().is_none_or(|(host, target)| !is_token(host) || !is_token(target)) {
            return Err(format!("request.url: `{}` must be ws(s)://host/path", record.request.url));
        }
        Ok(record)
    }

    /// Host, with its port, as the URL names it.
    pub fn host(&self) -> &str {
        self.target().map_or("", |(host, _)| host)
    }

    /// The bytes of both directions, in order.
    pub fn wire(&self, wire: Wire) -> Vec<(Direction, Vec<u8>)> {
        let mut random = Random(wire.fragments.unwrap_or(1));
        let mut pieces = vec![
            (Direction::Sent, self.request_bytes(wire.deflate.is_some())),
            (Direction::Received, answer_bytes(wire.deflate)),
        ];
        let mut windows = [Compress::new(Compression::default(), false), Compress::new(Compression::default(), false)];
        let [sent, received] = &mut windows;
        for message in &self.messages {
            let (direction, window) = match message.direction {
                Side::Sent => (Direction::Sent, &mut *sent),
                Side::Received => (Direction::Received, &mut *received),
            };
            let text = message.data.as_str().map_or_else(|| message.data.to_string(), str::to_owned);
            let compressed = wire.deflate.map(|takeover| compress(window, takeover, text.as_bytes()));
            let is_binary = wire.is_binary && direction == Direction::Received;
            let payload = compressed.as_deref().unwrap_or(text.as_bytes());
            let mut bytes = Vec::new();
            let mut first = Some(if is_binary { Data::Binary } else { Data::Text });
            for (part, is_final) in parts(payload, wire.fragments.map(|_| &mut random)) {
                let opcode = OpCode::Data(first.unwrap_or(Data::Continue));
                let rsv1 = compressed.is_some() && first.take().is_some();
                first = None;
                frame(&mut bytes, direction, opcode, rsv1, is_final, part, &mut random);
                if wire.fragments.is_some() && random.below(PING_ONE_IN) == 0 {
                    frame(
                        &mut bytes,
                        direction,
                        OpCode::Control(Control::Ping),
                        false,
                        true,
                        b"still there?",
                        &mut random,
                    );
                }
            }
            pieces.push((direction, bytes));
        }
        for direction in [Direction::Sent, Direction::Received].into_iter().filter(|_| !wire.is_cut) {
            let mut bytes = Vec::new();
            frame(&mut bytes, direction, OpCode::Control(Control::Close), false, true, &[0x03, 0xe8], &mut random);
            pieces.push((direction, bytes));
        }
        pieces
    }

    fn target(&self) -> Option<(&str, &str)> {
        let (scheme, rest) = self.request.url.split_once("://")?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        (matches!(scheme, "ws" | "wss" | "http" | "https") && !host.is_empty()).then_some((host, path))
    }

    fn request_bytes(&self, offers_deflate: bool) -> Vec<u8> {
        let (host, target) = self.target().unwrap_or(("", "/"));
        let mut wire = format!(
            "GET {target} HTTP/1.1\r\nhost: {host}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        if offers_deflate {
            wire.push_str("sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n");
        }
        for (name, value) in &self.request.headers {
            let name = name.to_ascii_lowercase();
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            let is_made_anew = matches!(name.as_str(), "host" | "upgrade" | "connection" | "content-length")
                || name.starts_with("sec-websocket-");
            if !is_made_anew && !name.is_empty() && name.bytes().all(is_token) {
                wire.extend([&name, ": ", &value.replace(['\r', '\n', '\0'], " "), "\r\n"]);
            }
        }
        wire.push_str("\r\n");
        wire.into_bytes()
    }
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

/// SplitMix64, as in [`super::replay`].
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"request":{"method":"GET","url":"wss://api.example:444/v1/realtime?model=m",
        "headers":{"upgrade":"websocket","X-A":"b"}},
        "messages":[{"direction":"sent","data":{"type":"a"}},{"direction":"received","data":"plain"}]}"#;

    #[test]
    fn a_record_becomes_wire_bytes() {
        let wire = SessionRecord::parse(RECORD.as_bytes()).unwrap().wire(Wire::default());
        let [(_, request), (_, answer), (Direction::Sent, asked), (Direction::Received, answered), closes @ ..] =
            &wire[..]
        else {
            panic!("{wire:?}");
        };
        let request = str::from_utf8(request).unwrap();
        assert!(
            request.starts_with("GET /v1/realtime?model=m HTTP/1.1\r\nhost: api.example:444\r\nupgrade: websocket\r\n")
        );
        assert!(request.ends_with("\r\nx-a: b\r\n\r\n") && request.matches("upgrade:").count() == 1, "{request}");
        assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n"));
        assert_eq!((asked[0], asked[1], asked.len()), (0x81, 0x8c, 2 + 4 + 12), "masked");
        assert_eq!(answered, b"\x81\x05plain");
        assert_eq!(closes.len(), 2);
    }

    #[test]
    fn bad_records_say_what_is_wrong() {
        for (from, to, message) in [
            ("wss://", "ftp://", "request.url"),
            ("\"messages\"", "\"frames\"", "missing field `messages`"),
            ("\"sent\"", "\"up\"", "unknown variant `up`"),
        ] {
            let error = SessionRecord::parse(RECORD.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
