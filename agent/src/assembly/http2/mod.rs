//! HTTP/2, both directions of a connection (RFC 9113). Enters: bytes and holes of each direction. Leaves: messages, answers in
//! any order. Never keeps more than the bodies that are open and two tables of header fields; of a connection that we came late to,
//! it reads what is certain and no more.

mod arriving;
mod fields;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub(super) mod fuzz;
mod half;
mod hpack;
mod huffman;
mod static_table;
mod streams;
#[cfg(test)]
mod tests;

pub(super) use self::frame::may_become_settings;
use self::{
    half::{Half, Start},
    streams::{Streams, Turn},
};
use super::{Assembled, http1, http1::Shared};
use crate::{sources::Direction, units::Timestamp};

/// Bytes that show the SETTINGS that a server begins with: the header of the frame.
pub(super) const SETTINGS_START_BYTES: usize = frame::HEADER_BYTES;
/// Length of what HTTP/1.1 takes for the head of a request: the preface up to its first empty line.
const PREFACE_HEAD_BYTES: usize = 18;

/// What showed that a connection speaks HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The client's preface, up to its first empty line.
    Preface,
    /// The SETTINGS that a server begins with.
    Settings,
    /// Frames, in the midst of a connection that we came late to.
    Frames,
}

/// Whether a piece begins with a frame, as far as that can be told.
pub(super) fn looks_like_frames(piece: &[u8]) -> bool {
    frame::looks_like_start(piece, frame::DEFAULT_PAYLOAD_BYTES)
}

/// A connection.
#[derive(Debug)]
pub(super) struct Http2 {
    sent: Half,
    received: Half,
    streams: Streams,
}

impl Http2 {
    /// Takes a connection over from HTTP/1.1, with the bytes that were not read yet; those of the piece that showed what it
    /// speaks are not among them, but for the start of it that was held.
    pub(super) fn take_over(
        found: Found,
        [mut sent, mut received]: [http1::Left; 2],
        at: Timestamp,
        shared: &mut Shared,
        out: &mut Vec<Assembled>,
    ) -> Self {
        let start = |left: &http1::Left, start| match found {
            Found::Preface | Found::Settings if left.is_certain => start,
            _ => Start::Unknown,
        };
        let preface = if found == Found::Preface { PREFACE_HEAD_BYTES } else { 0 };
        let mut http2 = Self {
            sent: Half::new(Direction::Sent, sent.from, start(&sent, Start::Preface(preface))),
            received: Half::new(Direction::Received, received.from, start(&received, Start::Frame)),
            streams: Streams::default(),
        };
        for (direction, left) in [(Direction::Sent, &mut sent), (Direction::Received, &mut received)] {
            let held = std::mem::take(&mut left.held);
            http2.push(direction, left.from, &held, at, shared, out);
        }
        http2
    }

    /// Bytes held now.
    pub(super) fn buffered(&self) -> usize {
        self.sent.buffered() + self.received.buffered() + self.streams.buffered()
    }

    /// Takes a piece of one direction.
    pub(super) fn push(
        &mut self,
        direction: Direction,
        offset: u64,
        piece: &[u8],
        at: Timestamp,
        shared: &mut Shared,
        out: &mut Vec<Assembled>,
    ) {
        let (half, other) = match direction {
            Direction::Sent => (&mut self.sent, &mut self.received),
            Direction::Received => (&mut self.received, &mut self.sent),
        };
        let allowed = half.push(offset, piece, &mut self.streams, &mut Turn { shared, at, out });
        if let Some(longest_bytes) = allowed {
            other.allow(longest_bytes);
        }
    }

    /// The connection is gone; `totals`: bytes that each direction carried, when known.
    pub(super) fn close(
        &mut self,
        totals: (Option<u64>, Option<u64>),
        at: Timestamp,
        shared: &mut Shared,
        out: &mut Vec<Assembled>,
    ) {
        let mut turn = Turn { shared, at, out };
        self.sent.close(totals.0, &mut self.streams, &mut turn);
        self.received.close(totals.1, &mut self.streams, &mut turn);
        self.streams.close(&mut turn);
    }
}
