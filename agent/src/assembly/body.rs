//! One body as it comes in. Enters: pieces of its wire bytes, transfer coding removed. Leaves: [`Body`]. The content is kept
//! once, decoded, up to the cap; it is frozen at the first hole, so that nothing is ever joined across one.

use super::{
    Anomaly, AnomalyKind, Body, Content, Event, Headers, Limits,
    events::EventParser,
    grpc,
    inflate::{Decoder, Fault},
    protobuf,
};
use crate::{sources::StreamId, spare, units::Timestamp};

/// Room made at once for a body of known length; more is taken if it is there.
const FIRST_RESERVE_BYTES: usize = 1 << 20;

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
    decoder: Option<Decoder>,
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
    /// A stream is announced; the first byte says whether it is one.
    Announced(EventParser),
    Bytes(Vec<u8>),
    /// Protocol buffers: all of it, of which the text is given out.
    Protobuf(Vec<u8>),
    Events {
        parser: EventParser,
        events: Vec<Event>,
    },
}

/// Bytes that were not kept.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    bytes: usize,
    /// Why, when there are any.
    why: Option<Stop>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// They would have passed the cap.
    Cap,
    /// The framing is broken.
    Frame,
}

impl Incoming {
    /// What the headers announce. `length`: bytes on the wire, when known.
    pub(super) fn new(headers: &Headers, length: Option<u64>, limits: &Limits) -> Self {
        let into = EventParser::announced(headers, limits).map_or_else(
            || {
                if grpc::is_protobuf(headers) {
                    return Collect::Protobuf(Vec::new());
                }
                let known = length.unwrap_or_default().min(limits.body_bytes as u64);
                Collect::Bytes(spare::take_announced(known as usize, FIRST_RESERVE_BYTES))
            },
            Collect::Announced,
        );
        Self {
            decoder: headers
                .find("content-encoding")
                .and_then(|value| Decoder::from_header(value, limits.inflate_ratio)),
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
        let mut left = Left::default();
        let result = match &mut self.decoder {
            None => {
                left = keep.push(piece, at, cap);
                Ok(())
            }
            Some(decoder) => {
                let result = decoder.push(piece, &mut |plain| {
                    left = keep.push(plain, at, cap);
                    left.why.is_none()
                });
                // What decoded bytes were on the wire cannot be told: what the decoder did not take counts.
                left.bytes = decoder.left_bytes();
                result
            }
        };
        if result.is_err() || left.why.is_some() {
            self.unread_bytes += left.bytes as u64;
        }
        match (result, left.why) {
            (Err(Fault::Bomb), _) => self.freeze(Frozen::TooLarge, at, Some(AnomalyKind::Bomb)),
            (Err(Fault::Encoding), _) => self.freeze(Frozen::Unreadable, at, Some(AnomalyKind::BadEncoding)),
            // A body that was sent large is no bomb; one that was made large is.
            (Ok(()), Some(Stop::Cap)) => {
                let kind = self.decoder.is_some().then_some(AnomalyKind::Bomb);
                self.freeze(Frozen::TooLarge, at, kind)
            }
            (Ok(()), Some(Stop::Frame)) => self.freeze(Frozen::Unreadable, at, Some(AnomalyKind::BadFrame)),
            (Ok(()), None) => None,
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
            self.drain(at);
            self.keep.finish(at);
        } else if why == Frozen::Hole {
            self.frozen = Some(why); // of all reasons, loss is the one that must be seen
        }
        kind
    }

    /// Nothing will follow: what the decoder holds back is kept too.
    fn drain(&mut self, at: Timestamp) {
        let Some(decoder) = self.decoder.take() else { return };
        let (keep, cap) = (&mut self.keep, self.cap);
        let mut left = Left::default();
        decoder.finish(&mut |plain| {
            left = keep.push(plain, at, cap);
            left.why.is_none()
        });
        self.frozen = self.frozen.or(left.why.map(|why| match why {
            Stop::Cap => Frozen::TooLarge,
            Stop::Frame => Frozen::Unreadable,
        }));
    }

    /// Bytes held now.
    pub(super) fn buffered(&self) -> usize {
        self.keep.held
            + self.decoder.as_ref().map_or(0, Decoder::held_bytes)
            + match &self.keep.into {
                Collect::Announced(_) | Collect::Bytes(_) | Collect::Protobuf(_) => 0,
                Collect::Events { parser, .. } => parser.buffered(),
            }
    }

    /// Bytes on the wire so far, the lost ones included.
    pub(super) fn wire_bytes(&self) -> u64 {
        self.wire_bytes
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
        self.drain(at);
        self.keep.finish(at);
        let content = match self.keep.into {
            Collect::Bytes(bytes) if bytes.is_empty() => Content::Empty,
            Collect::Bytes(bytes) => Content::Bytes(bytes),
            Collect::Protobuf(bytes) => Content::Bytes(protobuf::strings(&bytes).into_bytes()),
            // A stream that said nothing is a stream all the same.
            Collect::Announced(parser) => Content::Events(parser.framing(), Vec::new()),
            Collect::Events { parser, events } => Content::Events(parser.framing(), events),
        };
        let Self { wire_bytes, missing_bytes, unread_bytes, .. } = self;
        (Body { content, wire_bytes, missing_bytes, unread_bytes }, self.frozen, anomaly)
    }
}

impl Keep {
    fn push(&mut self, piece: &[u8], at: Timestamp, cap: usize) -> Left {
        let Some(first) = piece.first() else { return Left::default() };
        self.into = match std::mem::replace(&mut self.into, Collect::Bytes(Vec::new())) {
            Collect::Announced(parser) if parser.may_begin_with(*first) => {
                Collect::Events { parser, events: Vec::new() }
            }
            Collect::Announced(_) => Collect::Bytes(Vec::new()),
            begun => begun,
        };
        match &mut self.into {
            Collect::Announced(_) => Left::default(), // was decided above
            Collect::Bytes(bytes) | Collect::Protobuf(bytes) => {
                let room = cap.saturating_sub(bytes.len());
                let kept = piece.get(..room.min(piece.len())).unwrap_or_default();
                if bytes.capacity() - bytes.len() < kept.len() {
                    grow(bytes, kept.len(), cap);
                }
                bytes.extend_from_slice(kept);
                self.held = bytes.len();
                Left::past_cap(piece.len() - kept.len())
            }
            Collect::Events { parser, events } => {
                let room = cap.saturating_sub(self.held + parser.buffered());
                let kept = piece.get(..room.min(piece.len())).unwrap_or_default();
                let cut = piece.len() - kept.len();
                match parser.push(kept, at, events) {
                    Ok(grown) => {
                        self.held += grown;
                        Left::past_cap(cut)
                    }
                    Err(bad) => {
                        self.held += bad.grown_bytes;
                        Left { bytes: bad.unread_bytes + cut, why: Some(Stop::Frame) }
                    }
                }
            }
        }
    }

    fn finish(&mut self, at: Timestamp) {
        if let Collect::Events { parser, events } = &mut self.into {
            parser.finish(at, events);
        }
    }
}

/// Makes room for more bytes of a body, and for as many again as there are, up to the cap.
fn grow(bytes: &mut Vec<u8>, more: usize, cap: usize) {
    let least = bytes.len() + more;
    let mut larger = spare::take((2 * bytes.len()).min(cap).max(least));
    larger.extend_from_slice(bytes);
    spare::give_back(std::mem::replace(bytes, larger));
}

impl Left {
    fn past_cap(bytes: usize) -> Self {
        Self { bytes, why: (bytes > 0).then_some(Stop::Cap) }
    }
}
