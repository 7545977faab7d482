//! Answers that are told before their request. Enters: pieces of answers that nobody asked for yet. Leaves: the same pieces, in order,
//! once something was sent. Interprets nothing.
//!
//! A program that writes in one thread and reads in another (Go's HTTP client, WebSocket clients) may read the answer before
//! the call that wrote the request returns, and a tap tells of calls when they return. State: [`EARLY_BYTES`] a connection.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::units::Timestamp;

/// Bytes that wait for a request. More than that and the request is not late, it is lost.
const EARLY_BYTES: usize = 256 * 1024;

/// A piece that waits: position, bytes, when it was read.
pub(super) type Piece = (u64, Bytes, Timestamp);

/// The pieces.
#[derive(Debug, Default)]
pub(super) struct Early {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

impl Early {
    /// Bytes held.
    pub(super) fn buffered(&self) -> usize {
        self.bytes
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Where the next piece begins.
    pub(super) fn first_offset(&self) -> Option<u64> {
        self.pieces.front().map(|(offset, ..)| *offset)
    }

    /// Keeps a piece. False when too much waits by now.
    pub(super) fn hold(&mut self, (offset, bytes, at): Piece) -> bool {
        self.bytes += bytes.len();
        self.pieces.push_back((offset, bytes, at));
        self.bytes <= EARLY_BYTES
    }

    /// The next piece.
    pub(super) fn take(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.1.len();
        Some(piece)
    }
}
