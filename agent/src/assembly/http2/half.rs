//! One direction of a connection: frames. Enters: bytes and holes in stream order. Leaves: what frames say to the streams
//! ([`Streams`]). Never splices: where a hole takes the place of the next frame with it, nothing is read until a later piece
//! starts like one.

use super::{
    frame::{self, FrameHeader, HEADER_BYTES, PREFACE, flag, kind},
    hpack::Decoder,
    streams::{Streams, Turn},
};
use crate::{
    assembly::{AnomalyKind, http1::Stop},
    sources::Direction,
    units::Timestamp,
};

/// Bytes kept of a frame that is read whole: SETTINGS with all that RFC 9113 knows, three times over.
const MAX_CONTROL_BYTES: usize = 128;
/// SETTINGS_MAX_FRAME_SIZE: RFC 9113, section 6.5.2.
const MAX_FRAME_SIZE: u16 = 5;

/// One direction.
#[derive(Debug)]
pub(super) struct Half {
    direction: Direction,
    /// Position of the next byte that was not seen yet.
    next: u64,
    state: State,
    /// A header block whose end is to come.
    block: Option<Block>,
    decoder: Decoder,
    /// Longest payload that is likely: what the other direction allowed.
    longest_bytes: u32,
}

/// Where a direction is when it is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// At its very start, or so many bytes into the preface.
    Preface(usize),
    /// Before a frame.
    Frame,
    /// Anywhere.
    Unknown,
}

#[derive(Debug)]
enum State {
    Preface(usize),
    /// Between frames, or in the header of one.
    Header {
        bytes: [u8; HEADER_BYTES],
        have: usize,
        at: Timestamp,
    },
    Payload(Payload),
    /// Where the next frame begins is unknown.
    Lost,
}

impl State {
    const IDLE: Self = Self::Header { bytes: [0; HEADER_BYTES], have: 0, at: Timestamp(0) };
}

#[derive(Debug)]
struct Payload {
    header: FrameHeader,
    /// Bytes that are to come.
    left: u32,
    /// Of these, bytes in front of the content; the first one may be the length of the padding.
    lead_left: u32,
    /// Of these, bytes behind the content.
    padding: u32,
    /// Bytes were lost.
    torn: bool,
    /// Content of a frame that is read whole.
    control: Vec<u8>,
}

impl Payload {
    /// Bytes of the content that are to come.
    fn content_left(&self) -> u32 {
        self.left.saturating_sub(self.lead_left).saturating_sub(self.padding)
    }
}

#[derive(Debug)]
struct Block {
    header: FrameHeader,
    bytes: Vec<u8>,
    /// Something of it is missing behind `bytes`.
    torn: bool,
    at: Timestamp,
}

impl Half {
    pub(super) fn new(direction: Direction, next: u64, start: Start) -> Self {
        let state = match start {
            Start::Preface(have) => State::Preface(have),
            Start::Frame => State::IDLE,
            Start::Unknown => State::Lost,
        };
        let longest_bytes = frame::DEFAULT_PAYLOAD_BYTES;
        Self { direction, next, state, block: None, decoder: Decoder::new(), longest_bytes }
    }

    /// The other direction allows longer frames.
    pub(super) fn allow(&mut self, longest_bytes: u32) {
        self.longest_bytes = longest_bytes;
    }

    /// Bytes held.
    pub(super) fn buffered(&self) -> usize {
        self.decoder.buffered() + self.block.as_ref().map_or(0, |block| block.bytes.len())
    }

    /// Takes a piece. Bytes that were seen before are ignored; a jump is a hole. Returns how long it lets the other direction's
    /// frames be, when it says so.
    pub(super) fn push(
        &mut self,
        offset: u64,
        piece: &[u8],
        streams: &mut Streams,
        turn: &mut Turn<'_>,
    ) -> Option<u32> {
        let known = usize::try_from(self.next.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut rest = piece.get(known..).filter(|fresh| !fresh.is_empty())?;
        self.reach(offset, streams, turn);
        self.next = self.next.saturating_add(rest.len() as u64);
        // Whoever does not begin with the preface began before we came.
        let is_late = matches!(self.state, State::Preface(0)) && rest.first() != PREFACE.first();
        if is_late {
            turn.anomaly(AnomalyKind::NotHttp);
        }
        if (is_late || matches!(self.state, State::Lost)) && frame::looks_like_start(rest, self.longest_bytes) {
            self.state = State::IDLE;
        } else if is_late {
            self.state = State::Lost;
        }
        let mut allowed = None;
        while !rest.is_empty() {
            let is_sound = match &self.state {
                State::Lost => break,
                State::Preface(_) => self.in_preface(&mut rest),
                State::Header { .. } => self.in_header(&mut rest, streams, turn),
                State::Payload(_) => {
                    allowed = self.in_payload(&mut rest, streams, turn).or(allowed);
                    true
                }
            };
            if !is_sound {
                turn.anomaly(AnomalyKind::NotHttp);
                self.lose_place(Stop::Unreadable, streams, turn);
            }
        }
        allowed
    }

    fn in_preface(&mut self, rest: &mut &[u8]) -> bool {
        let State::Preface(have) = &mut self.state else { return true };
        let same = PREFACE.iter().skip(*have).zip(*rest).take_while(|(want, have)| want == have).count();
        *have += same;
        *rest = rest.get(same..).unwrap_or_default();
        if *have == PREFACE.len() {
            self.state = State::IDLE;
            return true;
        }
        rest.is_empty()
    }

    fn in_header(&mut self, rest: &mut &[u8], streams: &mut Streams, turn: &mut Turn<'_>) -> bool {
        let State::Header { bytes, have, at } = &mut self.state else { return true };
        if *have == 0 {
            *at = turn.at;
        }
        let started_at = *at;
        for (place, byte) in bytes.iter_mut().skip(*have).zip(*rest) {
            *place = *byte;
        }
        let taken = rest.len().min(HEADER_BYTES - *have);
        *rest = rest.get(taken..).unwrap_or_default();
        *have += taken;
        if *have < HEADER_BYTES {
            return true;
        }
        let header = FrameHeader::read(*bytes);
        if !header.is_sound() {
            return false;
        }
        let continues = self.block.as_ref().is_some_and(|block| block.header.stream == header.stream);
        if self.block.is_some() && !(continues && header.kind == kind::CONTINUATION) {
            return false; // nothing may come between the parts of a block: RFC 9113, section 6.10
        }
        if matches!(header.kind, kind::HEADERS | kind::PUSH_PROMISE) {
            self.block = Some(Block { header, bytes: Vec::new(), torn: false, at: started_at });
        } else if header.kind == kind::CONTINUATION && self.block.is_none() {
            // The rest of one that was lost; so is what it did to the table.
            self.decoder.forget();
        }
        let (left, lead_left) = (header.length, header.lead_bytes());
        let control = Vec::new();
        self.state = State::Payload(Payload { header, left, lead_left, padding: 0, torn: false, control });
        if left == 0 {
            self.end_frame(streams, turn);
        }
        true
    }

    fn in_payload(&mut self, rest: &mut &[u8], streams: &mut Streams, turn: &mut Turn<'_>) -> Option<u32> {
        let State::Payload(payload) = &mut self.state else { return None };
        let header = payload.header;
        let (lead, content) = (payload.lead_left, payload.content_left());
        let step = [lead, content, payload.left].into_iter().find(|bytes| *bytes > 0).unwrap_or_default();
        let (piece, tail) = rest.split_at(rest.len().min(step as usize));
        *rest = tail;
        payload.left -= piece.len() as u32;
        if lead > 0 {
            if lead == header.lead_bytes() && header.has(flag::PADDED) {
                // More padding than payload is forbidden, and would be nothing to read.
                payload.padding = piece.first().map_or(0, |length| u32::from(*length));
            }
            payload.lead_left -= piece.len() as u32;
        } else if content > 0 {
            match header.kind {
                kind::DATA => streams.data(self.direction, header.stream, piece, turn),
                kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => {
                    if let Some(block) = self.block.as_mut().filter(|block| !block.torn) {
                        let room = turn.shared.limits.head_bytes.saturating_sub(block.bytes.len());
                        block.bytes.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
                        block.torn = piece.len() > room;
                    }
                }
                kind::SETTINGS | kind::GOAWAY => {
                    let room = MAX_CONTROL_BYTES.saturating_sub(payload.control.len());
                    payload.control.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
                }
                _ => {}
            }
        }
        if payload.left == 0 { self.end_frame(streams, turn) } else { None }
    }

    fn end_frame(&mut self, streams: &mut Streams, turn: &mut Turn<'_>) -> Option<u32> {
        let State::Payload(payload) = std::mem::replace(&mut self.state, State::IDLE) else { return None };
        let header = payload.header;
        match header.kind {
            kind::DATA if header.has(flag::END_STREAM) => {
                streams.end(self.direction, header.stream, Stop::OwnEnd, turn);
            }
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION if header.has(flag::END_HEADERS) => {
                self.end_block(streams, turn);
            }
            kind::RST_STREAM => streams.reset(header.stream, turn),
            kind::GOAWAY if self.direction == Direction::Received && !payload.torn => {
                if let Some(last) = payload.control.first_chunk() {
                    streams.refuse_after(u32::from_be_bytes(*last) & 0x7fff_ffff, turn);
                }
            }
            kind::SETTINGS if !payload.torn => return longest_frame(&payload.control),
            _ => {}
        }
        None
    }

    /// Gives out what there is of the block.
    fn end_block(&mut self, streams: &mut Streams, turn: &mut Turn<'_>) {
        let Some(Block { header, bytes, torn, at }) = self.block.take() else { return };
        let fields = self.decoder.decode(&bytes, !torn, turn.shared.limits.head_bytes);
        // What a server pushes, nobody asked for; its block is decoded for the sake of the table.
        if header.kind == kind::HEADERS {
            let ends = header.has(flag::END_STREAM);
            streams.head(self.direction, header.stream, fields, ends, at, turn);
        }
    }

    /// The next byte will be at `offset`: what lies between is lost.
    pub(super) fn reach(&mut self, offset: u64, streams: &mut Streams, turn: &mut Turn<'_>) {
        let Some(lost) = offset.checked_sub(self.next).filter(|lost| *lost > 0) else { return };
        self.next = offset;
        turn.anomaly(AnomalyKind::Gap);
        match &mut self.state {
            State::Payload(payload) if lost <= u64::from(payload.left) => {
                let lost = lost as u32;
                payload.torn = true;
                let lost_content = lost.saturating_sub(payload.lead_left).min(payload.content_left());
                // With the length of the padding, the end of the content is lost.
                let tears_body = lost_content > 0 || payload.lead_left > 0;
                payload.left -= lost;
                payload.lead_left = payload.lead_left.saturating_sub(lost);
                let (header, is_over) = (payload.header, payload.left == 0);
                match header.kind {
                    kind::DATA if tears_body => {
                        streams.lose(self.direction, header.stream, u64::from(lost_content), turn);
                    }
                    kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => {
                        self.block.iter_mut().for_each(|block| block.torn = true);
                    }
                    _ => {}
                }
                if is_over {
                    self.end_frame(streams, turn);
                }
            }
            _ => self.lose_place(Stop::Hole, streams, turn),
        }
    }

    /// Header blocks and whole messages may be gone.
    fn lose_place(&mut self, stop: Stop, streams: &mut Streams, turn: &mut Turn<'_>) {
        if let Some((stream, bytes)) = self.open_data() {
            streams.lose(self.direction, stream, bytes, turn);
        }
        self.tear_block(streams, turn);
        self.decoder.forget();
        streams.lost(self.direction, stop, turn);
        self.state = State::Lost;
    }

    /// A block whose end will not come says what it said.
    fn tear_block(&mut self, streams: &mut Streams, turn: &mut Turn<'_>) {
        if let Some(block) = self.block.as_mut() {
            block.torn = true;
            self.end_block(streams, turn);
        }
    }

    /// The stream whose data is coming in, and how much of them the frame still announces.
    fn open_data(&self) -> Option<(u32, u64)> {
        let State::Payload(payload) = &self.state else { return None };
        let content = u64::from(payload.content_left());
        (payload.header.kind == kind::DATA).then_some((payload.header.stream, content))
    }

    /// The connection is gone; `total`: bytes that this direction carried in all, when known.
    pub(super) fn close(&mut self, total: Option<u64>, streams: &mut Streams, turn: &mut Turn<'_>) {
        if let Some(total) = total {
            self.reach(total, streams, turn);
        }
        if let Some((stream, bytes)) = self.open_data() {
            streams.lack(self.direction, stream, bytes, turn);
        }
        self.tear_block(streams, turn);
    }
}

/// The SETTINGS_MAX_FRAME_SIZE of a SETTINGS frame, if it is in there and allowed (RFC 9113, section 6.5.2).
fn longest_frame(settings: &[u8]) -> Option<u32> {
    let setting = settings.chunks_exact(6).rev().find_map(|setting| match setting {
        [high, low, value @ ..] if u16::from_be_bytes([*high, *low]) == MAX_FRAME_SIZE => value.first_chunk().copied(),
        _ => None,
    });
    setting.map(u32::from_be_bytes).filter(|bytes| (frame::DEFAULT_PAYLOAD_BYTES..1 << 24).contains(bytes))
}
