//! WebSocket (RFC 6455), one direction of a connection after its upgrade. Enters: bytes and holes in stream order. Leaves:
//! [`Frame`]s, one a message, unmasked, joined and decompressed; pings, pongs and closes leave nothing. Never splices: a
//! hole in a payload freezes its message, a hole that takes a header ends the reading until a piece begins with a message
//! that proves itself.
//!
//! tungstenite reads the headers. Its state machine is of no use here: it answers pings, refuses what a peer may not send,
//! and knows no bytes that are missing.

use std::io::Cursor;

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::{
    AnomalyKind, Assembled, End, Frame,
    http1::Shared,
    message_deflate::MessageDeflate,
    upgrade::Upgrade,
    websocket_message::{Doubt, Open},
};
use crate::{sources::Direction, units::Timestamp};

/// Longest header: two bytes, eight of length, four of mask.
const HEADER_MAX_BYTES: usize = 14;
/// Longest payload of a control frame (section 5.5).
const CONTROL_MAX_BYTES: u64 = 125;
/// Room made at once for the payload of a frame.
const FIRST_RESERVE_BYTES: u64 = 16 << 10;

/// One direction.
///
/// State: a part of a header, one message of at most `limits.body_bytes`, and the window of its compression.
#[derive(Debug)]
pub(super) struct WebSocket {
    direction: Direction,
    call: Option<u64>,
    /// What the peers agreed on, when they compress.
    deflate: Option<MessageDeflate>,
    place: Place,
    message: Option<Box<Open>>,
    /// Bytes that came while the place was lost.
    skipped_bytes: u64,
}

#[derive(Debug)]
enum Place {
    /// Between frames, or in a header.
    Header { bytes: Vec<u8>, at: Timestamp },
    /// In a payload.
    Payload(Payload),
    /// The end of the present frame is unknown.
    Lost,
    /// This direction said that it is over.
    Over,
}

impl Place {
    const IDLE: Self = Self::Header { bytes: Vec::new(), at: Timestamp(0) };
}

#[derive(Clone, Copy, Debug)]
struct Payload {
    left: u64,
    /// The mask, turned so that its first byte is that of the next byte of the payload.
    mask: Option<[u8; 4]>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Part of a message. `last`: the message ends with it.
    Data { last: bool },
    /// Ping, pong or close.
    Control { is_close: bool },
}

impl WebSocket {
    /// `in_place`: the next byte is the first of a frame.
    pub(super) fn new(direction: Direction, upgrade: Upgrade, ratio: u64, in_place: bool) -> Self {
        Self {
            direction,
            call: upgrade.call,
            deflate: upgrade.keeps_context(direction).map(|keeps| MessageDeflate::new(keeps, ratio)),
            place: if in_place { Place::IDLE } else { Place::Lost },
            message: None,
            skipped_bytes: 0,
        }
    }

    /// Bytes held now.
    pub(super) fn buffered(&self) -> usize {
        let header = if let Place::Header { bytes, .. } = &self.place { bytes.len() } else { 0 };
        header
            + self.message.as_ref().map_or(0, |message| message.buffered())
            + self.deflate.as_ref().map_or(0, MessageDeflate::held_bytes)
    }

    /// Takes a piece.
    pub(super) fn push(&mut self, piece: &[u8], at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        let mut doubt = Doubt::None;
        if matches!(self.place, Place::Lost) {
            if !self.looks_like_start(piece) {
                self.skipped_bytes += piece.len() as u64;
                return;
            }
            (self.place, doubt) = (Place::IDLE, Doubt::Unproven);
        }
        let mut rest = piece;
        while !rest.is_empty() {
            match &mut self.place {
                Place::Header { .. } => {
                    let doubt = std::mem::replace(&mut doubt, Doubt::None);
                    self.in_header(&mut rest, doubt, at, shared, out);
                }
                Place::Payload(_) => self.in_payload(&mut rest, at, shared, out),
                Place::Lost => {
                    self.skipped_bytes += rest.len() as u64;
                    return;
                }
                Place::Over => return,
            }
        }
    }

    /// Bytes were lost.
    pub(super) fn lose(&mut self, lost: u64, at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        let within = match &mut self.place {
            Place::Payload(payload) if lost <= payload.left => {
                payload.left -= lost;
                if let Some(mask) = &mut payload.mask {
                    mask.rotate_left((lost % 4) as usize);
                }
                let (kind, left) = (payload.kind, payload.left);
                match (kind, &mut self.message) {
                    (Kind::Data { .. }, Some(message)) => message.lose(lost, self.deflate.as_mut()),
                    _ => self.hole(lost, at, shared, out),
                }
                if left == 0 {
                    self.end_of_frame(kind, at, shared, out);
                }
                return;
            }
            Place::Payload(payload) if matches!(payload.kind, Kind::Data { .. }) => payload.left,
            Place::Over => return,
            _ => 0,
        };
        if let Place::Header { bytes, .. } = &self.place {
            self.skipped_bytes += bytes.len() as u64;
        }
        // The window is behind from here on, whatever was lost.
        if let Some(deflate) = &mut self.deflate {
            deflate.forget();
        }
        if let Some(message) = &mut self.message {
            message.lose(within, self.deflate.as_mut());
        }
        self.give_message(End::Gap, at, shared, out);
        self.hole(lost.saturating_sub(within), at, shared, out);
        self.place = Place::Lost;
    }

    /// The connection is gone. `certain`: nothing followed on it.
    pub(super) fn close(&mut self, certain: bool, at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        let place = std::mem::replace(&mut self.place, Place::Over);
        if let (Place::Payload(payload), Some(message)) = (&place, &mut self.message)
            && matches!(payload.kind, Kind::Data { .. })
        {
            message.lack(payload.left);
        }
        let is_whole = match &place {
            Place::Over => true,
            Place::Header { bytes, .. } => certain && bytes.is_empty() && self.message.is_none(),
            Place::Payload(_) | Place::Lost => false,
        };
        self.give_message(End::Cut, at, shared, out);
        self.give_skipped(at, shared, out);
        if !is_whole {
            out.push(self.nothing(0, 0, End::Cut, at, shared));
        }
    }

    fn in_header(&mut self, rest: &mut &[u8], doubt: Doubt, at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        let Place::Header { bytes, at: since } = &mut self.place else { return };
        if bytes.is_empty() {
            *since = at;
        }
        let (had, started_at) = (bytes.len(), *since);
        let taken = rest.get(..rest.len().min(HEADER_MAX_BYTES.saturating_sub(had))).unwrap_or_default();
        bytes.extend_from_slice(taken);
        let read = match parse(bytes) {
            Parsed::Short if taken.is_empty() => Parsed::Bad,
            Parsed::Short => {
                *rest = rest.get(taken.len()..).unwrap_or_default();
                return;
            }
            read => read,
        };
        self.place = Place::IDLE;
        if let Parsed::Header { header, length, used } = read
            && self.begin_frame(&header, length, used as u64, started_at, doubt, shared)
        {
            *rest = rest.get(used.saturating_sub(had)..).unwrap_or_default();
            if let Place::Payload(Payload { left: 0, kind, .. }) = &self.place {
                let kind = *kind;
                self.end_of_frame(kind, at, shared, out);
            }
            return;
        }
        shared.anomaly(AnomalyKind::UnknownProtocol, at, out);
        self.give_message(End::Unreadable, at, shared, out);
        if let Some(deflate) = &mut self.deflate {
            deflate.forget();
        }
        self.skipped_bytes += had as u64;
        self.place = Place::Lost;
    }

    /// False: no frame that may stand here (section 5.2).
    fn begin_frame(
        &mut self,
        header: &FrameHeader,
        length: u64,
        header_bytes: u64,
        started_at: Timestamp,
        doubt: Doubt,
        shared: &Shared,
    ) -> bool {
        // The most significant bit of a length is zero; so long a frame would never end.
        if i64::try_from(length).is_err() {
            return false;
        }
        let kind = match header.opcode {
            OpCode::Control(control) => {
                if !header.is_final || length > CONTROL_MAX_BYTES {
                    return false;
                }
                Kind::Control { is_close: control == Control::Close }
            }
            OpCode::Data(Data::Continue) => Kind::Data { last: header.is_final },
            OpCode::Data(data) => {
                if self.message.is_some() {
                    return false;
                }
                // Bits of an extension that nobody agreed on, or that is not known here: the frames still show their
                // ends, but what is in them has another meaning.
                let is_readable = !header.rsv2 && !header.rsv3 && (!header.rsv1 || self.deflate.is_some());
                let message = Open::new(
                    data == Data::Text,
                    header.rsv1,
                    is_readable,
                    started_at,
                    shared.limits.body_bytes,
                    doubt,
                );
                self.message = Some(Box::new(message));
                Kind::Data { last: header.is_final }
            }
        };
        if let Kind::Data { .. } = kind {
            let Some(message) = &mut self.message else { return false };
            message.frame(header_bytes, length.min(FIRST_RESERVE_BYTES) as usize);
        }
        self.place = Place::Payload(Payload { left: length, mask: header.mask, kind });
        true
    }

    fn in_payload(&mut self, rest: &mut &[u8], at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        let Place::Payload(payload) = &mut self.place else { return };
        let most = usize::try_from(payload.left).unwrap_or(usize::MAX);
        let (piece, tail) = rest.split_at(rest.len().min(most));
        *rest = tail;
        payload.left -= piece.len() as u64;
        let mask = payload.mask;
        if let Some(mask) = &mut payload.mask {
            mask.rotate_left(piece.len() % 4);
        }
        let (kind, left) = (payload.kind, payload.left);
        if let (Kind::Data { .. }, Some(message)) = (kind, &mut self.message)
            && let Some(anomaly) = message.push(piece, mask, self.deflate.as_mut())
            && message.doubt() == Doubt::None
        {
            shared.anomaly(anomaly, at, out);
        }
        if left == 0 {
            self.end_of_frame(kind, at, shared, out);
        }
    }

    fn end_of_frame(&mut self, kind: Kind, at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        self.place = Place::IDLE;
        match kind {
            Kind::Control { is_close: true } => {
                self.give_message(End::Cut, at, shared, out);
                self.place = Place::Over;
            }
            Kind::Data { last: true } => self.give_message(End::Complete, at, shared, out),
            Kind::Control { .. } | Kind::Data { .. } => {}
        }
    }

    /// Gives out the message that is open, if one is.
    fn give_message(&mut self, end: End, at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        let Some(message) = self.message.take() else { return };
        let doubt = message.doubt();
        let started_at = message.started_at();
        let (read, anomaly) = message.finish(end, self.deflate.as_mut());
        if let Some(kind) = anomaly.filter(|_| doubt == Doubt::None) {
            shared.anomaly(kind, at, out);
        }
        if doubt == Doubt::Unproven && !read.proves_itself() {
            // It only looked like a frame.
            self.skipped_bytes += read.wire_bytes - read.missing_bytes;
            self.place = Place::Lost;
            return;
        }
        self.give_skipped(at, shared, out);
        out.push(Assembled::Frame(Box::new(Frame {
            stream: shared.stream,
            origin: std::sync::Arc::clone(&shared.origin),
            call: self.call,
            direction: self.direction,
            data: read.data,
            wire_bytes: read.wire_bytes,
            missing_bytes: read.missing_bytes,
            unread_bytes: read.unread_bytes,
            started_at,
            ended_at: at,
            end: read.end,
        })));
    }

    /// Bytes of nobody knows how many messages were lost.
    fn hole(&self, lost: u64, at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        if lost > 0 {
            out.push(self.nothing(lost, 0, End::Gap, at, shared));
        }
    }

    fn give_skipped(&mut self, at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        let skipped = std::mem::take(&mut self.skipped_bytes);
        if skipped > 0 {
            out.push(self.nothing(0, skipped, End::Gap, at, shared));
        }
    }

    fn nothing(&self, missing_bytes: u64, unread_bytes: u64, end: End, at: Timestamp, shared: &Shared) -> Assembled {
        Assembled::Frame(Box::new(Frame {
            stream: shared.stream,
            origin: std::sync::Arc::clone(&shared.origin),
            call: self.call,
            direction: self.direction,
            data: String::new(),
            wire_bytes: missing_bytes + unread_bytes,
            missing_bytes,
            unread_bytes,
            started_at: at,
            ended_at: at,
            end,
        }))
    }

    /// Whether a piece may begin with a whole message. Senders write a frame at once, so that pieces often do; but a piece
    /// can also begin inside a payload, so this asks for all that a JSON message shows at its start, and what it says is
    /// believed only when the end of the message confirms it ([`Doubt`]).
    fn looks_like_start(&self, piece: &[u8]) -> bool {
        let Parsed::Header { header, length, used } = parse(piece) else { return false };
        let is_data = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        let is_masked = header.mask.is_some() == (self.direction == Direction::Sent);
        let is_shortest = header.len(length) == used;
        let bits = header.rsv2 || header.rsv3 || (header.rsv1 && self.deflate.is_none());
        let first = piece.get(used).map(|byte| byte ^ header.mask.map_or(0, |mask| mask[0]));
        let is_json = header.rsv1 || matches!(first, Some(b'{' | b'['));
        let is_long = length > 1 && i64::try_from(length).is_ok();
        is_data && is_masked && is_shortest && is_long && header.is_final && !bits && is_json
    }
}

enum Parsed {
    Header { header: FrameHeader, length: u64, used: usize },
    Short,
    Bad,
}

fn parse(bytes: &[u8]) -> Parsed {
    let mut cursor = Cursor::new(bytes);
    match FrameHeader::parse(&mut cursor) {
        Ok(Some((header, length))) => Parsed::Header { header, length, used: cursor.position() as usize },
        Ok(None) => Parsed::Short,
        Err(_) => Parsed::Bad,
    }
}
