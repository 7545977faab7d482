//! One body as it comes in. Enters: pieces of its wire bytes, transfer coding removed. Leaves: [`Body`]. The content is kept
//! once, decoded, up to the cap; it is frozen at the first hole, so that nothing is ever joined across one.

use super::{
    Anomaly, AnomalyKind, Body, Content, Event, Framing, Headers, Limits, SseParser,
    inflate::{Coding, Fault, Inflate},
};
use crate::{sources::StreamId, units::Timestamp};

/// Room made at once for a body of known length.
const FIRST_RESERVE_BYTES: u64 = 1 << 20;

/// Why no more content is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frozen {
    /// Bytes were lost.
    Hole,
    /// Past a cap.
    TooLarge,
    /// Does not decode.
    Unreadable,
}

/// A body that is coming in.
#[derive(Debug)]
pub(super) struct Incoming {
    decoder: Option<Inflate>,
    keep: Keep,
    cap: usize,
    frozen: Option<Frozen>,
    wire_bytes: u64,
    missing_bytes: u64,
    unread_bytes: u64,
    first_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Keep {
    into: Collect,
    /// Bytes held, the cost of small events included.
    held: usize,
}

#[derive(Debug)]
enum Collect {
    Bytes(Vec<u8>),
    Events { parser: SseParser, events: Vec<Event> },
}

impl Incoming {
    /// What the headers announce. `length`: bytes on the wire, when known.
    pub(super) fn new(headers: &Headers, length: Option<u64>, limits: &Limits) -> Self {
        let coding = headers.find("content-encoding").map_or(Coding::Identity, Coding::from_header);
        let is_stream = headers.find("content-type").is_some_and(|kind| {
            let essence = kind.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("text/event-stream")
        });
        let into = if is_stream {
            Collect::Events { parser: SseParser::default(), events: Vec::new() }
        } else {
            let known = length.unwrap_or_default().min(FIRST_RESERVE_BYTES).min(limits.body_bytes as u64);
            Collect::Bytes(Vec::with_capacity(known as usize))
        };
        Self {
            decoder: (coding != Coding::Identity).then(|| Inflate::new(coding, limits.inflate_ratio)),
            keep: Keep { into, held: 0 },
            cap: limits.body_bytes,
            frozen: None,
            wire_bytes: 0,
            missing_bytes: 0,
            unread_bytes: 0,
            first_at: None,
        }
    }

    /// Takes wire bytes. Something wrong with them is reported once.
    pub(super) fn push(&mut self, piece: &[u8], at: Timestamp) -> Option<AnomalyKind> {
        if piece.is_empty() {
            return None;
        }
        self.wire_bytes += piece.len() as u64;
        self.first_at.get_or_insert(at);
        if self.frozen.is_some() {
            self.unread_bytes += piece.len() as u64;
            return None;
        }
        let (keep, cap) = (&mut self.keep, self.cap);
        let (mut fits, unread);
        let result = match &mut self.decoder {
            None => {
                unread = keep.push(piece, at, cap);
                fits = unread == 0;
                Ok(())
            }
            Some(decoder) => {
                fits = true;
                let result = decoder.push(piece, &mut |plain| {
                    fits = keep.push(plain, at, cap) == 0;
                    fits
                });
                unread = decoder.left_bytes();
                result
            }
        };
        if result.is_err() || !fits {
            self.unread_bytes += unread as u64;
        }
        match result {
            Err(Fault::Bomb) => self.freeze(Frozen::TooLarge, at, Some(AnomalyKind::Bomb)),
            Err(Fault::Encoding) => self.freeze(Frozen::Unreadable, at, Some(AnomalyKind::BadEncoding)),
            // A body that was sent large is no bomb; one that was made large is.
            Ok(()) if !fits => {
                let kind = self.decoder.is_some().then_some(AnomalyKind::Bomb);
                self.freeze(Frozen::TooLarge, at, kind)
            }
            Ok(()) => None,
        }
    }

    /// Bytes of this body were lost.
    pub(super) fn lose(&mut self, bytes: u64, at: Timestamp) {
        self.wire_bytes = self.wire_bytes.saturating_add(bytes);
        self.missing_bytes = self.missing_bytes.saturating_add(bytes);
        self.freeze(Frozen::Hole, at, None);
    }

    /// Bytes of this body will never come.
    pub(super) fn lack(&mut self, bytes: u64) {
        self.wire_bytes = self.wire_bytes.saturating_add(bytes);
        self.missing_bytes = self.missing_bytes.saturating_add(bytes);
    }

    fn freeze(&mut self, why: Frozen, at: Timestamp, kind: Option<AnomalyKind>) -> Option<AnomalyKind> {
        if self.frozen.is_none() {
            self.frozen = Some(why);
            self.decoder = None;
            self.keep.finish(at);
        } else if why == Frozen::Hole {
            self.frozen = Some(why); // of all reasons, loss is the one that must be seen
        }
        kind
    }

    /// Bytes held now.
    pub(super) fn buffered(&self) -> usize {
        self.keep.held
            + match &self.keep.into {
                Collect::Bytes(_) => 0,
                Collect::Events { parser, .. } => parser.buffered(),
            }
    }

    /// When the first byte came.
    pub(super) fn first_at(&self) -> Option<Timestamp> {
        self.first_at
    }

    /// The body is over. `whole`: its framing says that nothing is to follow.
    pub(super) fn finish(
        mut self,
        whole: bool,
        stream: StreamId,
        at: Timestamp,
    ) -> (Body, Option<Frozen>, Option<Anomaly>) {
        let mut anomaly = None;
        if self.frozen.is_none() && whole && self.decoder.as_ref().is_some_and(|decoder| !decoder.is_whole()) {
            anomaly = self.freeze(Frozen::Unreadable, at, Some(AnomalyKind::BadEncoding)).map(|kind| Anomaly {
                stream,
                kind,
                at,
            });
        }
        self.keep.finish(at);
        let content = match self.keep.into {
            Collect::Bytes(bytes) if bytes.is_empty() => Content::Empty,
            Collect::Bytes(bytes) => Content::Bytes(bytes),
            Collect::Events { events, .. } => Content::Events(Framing::Sse, events),
        };
        let Self { wire_bytes, missing_bytes, unread_bytes, .. } = self;
        (Body { content, wire_bytes, missing_bytes, unread_bytes }, self.frozen, anomaly)
    }
}

impl Keep {
    /// Gives the number of bytes that were not kept, because they would have passed the cap.
    fn push(&mut self, piece: &[u8], at: Timestamp, cap: usize) -> usize {
        match &mut self.into {
            Collect::Bytes(bytes) => {
                let room = cap.saturating_sub(bytes.len());
                let kept = piece.get(..room.min(piece.len())).unwrap_or_default();
                bytes.extend_from_slice(kept);
                self.held = bytes.len();
                piece.len() - kept.len()
            }
            Collect::Events { parser, events } => {
                let room = cap.saturating_sub(self.held + parser.buffered());
                let kept = piece.get(..room.min(piece.len())).unwrap_or_default();
                self.held += parser.push(kept, at, events);
                piece.len() - kept.len()
            }
        }
    }

    fn finish(&mut self, at: Timestamp) {
        if let Collect::Events { parser, events } = &mut self.into {
            parser.finish(at, events);
        }
    }
}
