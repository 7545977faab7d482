//! Frames (RFC 9113, sections 4 and 6): their headers, and where one may begin. Enters: bytes. Leaves: [`FrameHeader`]. Never looks at
//! what a frame carries, beyond what tells it from other bytes.

pub(super) use crate::sources::http2::{DEFAULT_PAYLOAD_BYTES, HEADER_BYTES, PREFACE, flag, kind};

/// Frames in a row that are looked at before a piece is taken for one that starts with a frame.
const CHAIN: usize = 8;
/// Highest stream that is taken for one when the place in the bytes is uncertain: eight million requests on one connection.
const MAX_LIKELY_STREAM: u32 = 0x00ff_ffff;
/// Longest SETTINGS and GOAWAY that are taken for such when the place in the bytes is uncertain.
const MAX_LIKELY_CONTROL_BYTES: u32 = 256;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Of the payload, bytes.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// The reserved bit is set; a receiver ignores it.
    reserved: bool,
    pub(super) stream: u32,
}

impl FrameHeader {
    /// Reads a header.
    pub(super) fn read(bytes: [u8; HEADER_BYTES]) -> Self {
        let [high, middle, low, kind, flags, stream @ ..] = bytes;
        let stream = u32::from_be_bytes(stream);
        let length = u32::from_be_bytes([0, high, middle, low]);
        Self { length, kind, flags, reserved: stream >> 31 != 0, stream: stream & 0x7fff_ffff }
    }

    /// Whether a flag is set.
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Bytes at the start of the payload that say something about the rest of it.
    pub(super) fn lead_bytes(self) -> u32 {
        let padded = u32::from(self.has(flag::PADDED));
        match self.kind {
            kind::DATA => padded,
            kind::HEADERS => padded + if self.has(flag::PRIORITY) { 5 } else { 0 },
            kind::PUSH_PROMISE => padded + 4,
            _ => 0,
        }
    }

    /// Whether a peer that keeps the rules may send this. Types that nobody knows are for ignoring (section 4.1).
    pub(super) fn is_sound(self) -> bool {
        let on_stream = self.stream != 0;
        self.lead_bytes() <= self.length
            && match self.kind {
                kind::DATA | kind::HEADERS | kind::CONTINUATION | kind::PUSH_PROMISE => on_stream,
                kind::PRIORITY => on_stream && self.length == 5,
                kind::RST_STREAM => on_stream && self.length == 4,
                kind::SETTINGS => !on_stream && self.length.is_multiple_of(6),
                kind::PING => !on_stream && self.length == 8,
                kind::GOAWAY => !on_stream && self.length >= 8,
                kind::WINDOW_UPDATE => self.length == 4,
                _ => true,
            }
    }

    /// Whether bytes that could be anything are likely to be this: stricter, for here a mistake makes garbage.
    fn is_likely(self, longest_bytes: u32) -> bool {
        let (allowed, longest) = match self.kind {
            kind::DATA => (flag::END_STREAM | flag::PADDED, longest_bytes),
            kind::HEADERS => (flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY, longest_bytes),
            kind::CONTINUATION => (flag::END_HEADERS, longest_bytes),
            kind::SETTINGS => (flag::ACK, if self.has(flag::ACK) { 0 } else { MAX_LIKELY_CONTROL_BYTES }),
            kind::PING => (flag::ACK, 8),
            kind::GOAWAY => (0, MAX_LIKELY_CONTROL_BYTES),
            kind::PRIORITY | kind::RST_STREAM | kind::WINDOW_UPDATE => (0, 5),
            _ => return false,
        };
        // Streams that a server opens have even numbers (section 5.1.1), and hardly any client still lets it.
        let known_stream = self.stream == 0 || (self.stream % 2 == 1 && self.stream <= MAX_LIKELY_STREAM);
        self.is_sound() && !self.reserved && self.flags & !allowed == 0 && self.length <= longest && known_stream
    }
}

/// Whether a piece begins with a frame, as far as that can be told. Text never does: its first byte would make the frame longer
/// than any is. Used when the place in the bytes is not known: after a loss, and when we came late.
pub(super) fn looks_like_start(piece: &[u8], longest_bytes: u32) -> bool {
    let mut rest = piece;
    let mut block = None;
    for seen in 0..CHAIN {
        let Some((header, tail)) = rest.split_first_chunk() else {
            return seen > 0 && rest.first().is_none_or(|high| *high == 0);
        };
        let header = FrameHeader::read(*header);
        let is_next = block.is_none_or(|stream| header.kind == kind::CONTINUATION && header.stream == stream);
        if !is_next || !header.is_likely(longest_bytes) || !payload_is_likely(header, tail) {
            return false;
        }
        let opens = header.kind == kind::HEADERS && !header.has(flag::END_HEADERS);
        block = (opens || block.is_some() && !header.has(flag::END_HEADERS)).then_some(header.stream);
        // A header that is read one byte late announces a long frame, as a rule. So the first frame has to end here.
        let Some(next) = tail.get(header.length as usize..) else { return seen > 0 };
        rest = next;
    }
    true
}

/// Values that no peer may send: RFC 9113, sections 6.4, 6.5.2 and 6.9. Setting numbers are those of IANA's registry, and GREASE.
fn payload_is_likely(header: FrameHeader, payload: &[u8]) -> bool {
    let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    match header.kind {
        kind::RST_STREAM => number(payload).is_none_or(|code| code <= 0xff),
        kind::WINDOW_UPDATE => number(payload).is_none_or(|step| (1..=0x7fff_ffff).contains(&step)),
        kind::SETTINGS => match (header.length, payload) {
            (1.., [high, low, ..]) => {
                *high == 0 && (1..=0x10).contains(low) || (high & 0x0f == 0x0a && low & 0x0f == 0x0a)
            }
            _ => true,
        },
        _ => true,
    }
}

/// Whether more bytes could make these the SETTINGS that a server begins with. `Some(true)`: they are.
pub(in super::super) fn may_become_settings(bytes: &[u8]) -> Option<bool> {
    const START: [u8; 3] = [0, 0, 0];
    let at = |place: usize| bytes.get(place).copied();
    let fits = bytes.iter().zip(&START).take(2).all(|(have, want)| have == want)
        && at(2).is_none_or(|length| length.is_multiple_of(6))
        && at(3).is_none_or(|kind| kind == kind::SETTINGS)
        && bytes.iter().take(HEADER_BYTES).skip(4).all(|byte| *byte == 0);
    fits.then_some(bytes.len() >= HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn where_a_frame_may_begin() {
        let data = frame(kind::DATA, 1, 5, b"{}");
        let update = frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]);
        for (bytes, likely) in [
            (data.clone(), true),
            (data[..9].to_vec(), false),
            ([&*update, &data[..9]].concat(), true),
            ([&*update, &data[..2]].concat(), true),
            ([&*update, b"x"].concat(), false),
            // One byte late: a long frame of another kind.
            (frame(kind::DATA, 1, 7, b"cdefg")[1..].to_vec(), false),
            (frame(kind::HEADERS, 0, 5, b"x"), true),
            ([frame(kind::HEADERS, 0, 5, b"x"), frame(kind::CONTINUATION, 4, 5, b"x")].concat(), true),
            ([frame(kind::HEADERS, 0, 5, b"x"), frame(kind::CONTINUATION, 4, 7, b"x")].concat(), false),
            ([frame(kind::HEADERS, 0, 5, b"x"), data.clone()].concat(), false),
            (data[..8].to_vec(), false),
            ([&*data, &*update].concat(), true),
            ([&*data, b"some text behind it"].concat(), false),
            (frame(kind::DATA, 0x40, 5, b"{}"), false),
            (frame(kind::DATA, 0, 0, b"{}"), false),
            (frame(kind::DATA, 0, 6, b"{}"), false),
            (frame(kind::DATA, 0, 1 << 31 | 5, b"{}"), false),
            (frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]), true),
            (frame(kind::SETTINGS, 0, 0, &[9, 3, 0, 0, 0, 100]), false),
            (frame(kind::SETTINGS, 1, 0, &[]), true),
            (frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), false),
            (frame(kind::PING, 0, 0, &[0; 7]), false),
            (frame(0x20, 0, 0, &[0; 7]), false),
            (PREFACE.to_vec(), false),
            (b"data: {\"choices\":[]}\n\n".to_vec(), false),
            (b"HTTP/1.1 200 OK\r\n".to_vec(), false),
            (vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], false),
            (vec![0; 20], false),
        ] {
            assert_eq!(looks_like_start(&bytes, DEFAULT_PAYLOAD_BYTES), likely, "{bytes:?}");
        }
    }

    #[test]
    fn what_a_server_begins_with() {
        let settings = frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
        for end in 0..settings.len() {
            assert_eq!(may_become_settings(&settings[..end]), Some(end >= 9), "{end}");
        }
        for bytes in [&b"HTTP/1.1"[..], b"\0\0\x05\x04", b"\0\0\x06\x01", b"\0\0\x06\x04\x01"] {
            assert_eq!(may_become_settings(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn text_never_looks_like_a_frame(text in "[\\x09-\\x7e]{0,200}") {
            prop_assert!(!looks_like_start(text.as_bytes(), DEFAULT_PAYLOAD_BYTES));
        }
    }
}
