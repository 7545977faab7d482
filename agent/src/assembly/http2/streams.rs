//! The streams of a connection: each is one request with its answer. Enters: what frames of both directions say. Leaves:
//! messages. Never gives out a body whose head was not seen, and never joins bodies across a hole.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{arriving::Arriving, fields, hpack::Fields};
use crate::{
    assembly::{
        Anomaly, AnomalyKind, Assembled, Head, Message, Protocol,
        http1::{Shared, Stop},
    },
    sources::Direction,
    units::Timestamp,
};

/// Streams that were broken off and whose last frames may still be on their way.
const MAX_GONE: usize = 32;

/// What every step needs: the connection, the time, and where to put what is found.
pub(super) struct Turn<'a> {
    pub(super) shared: &'a mut Shared,
    pub(super) at: Timestamp,
    pub(super) out: &'a mut Vec<Assembled>,
}

impl Turn<'_> {
    pub(super) fn anomaly(&mut self, kind: AnomalyKind) {
        self.out.push(Assembled::Anomaly(Anomaly { stream: self.shared.stream, kind, at: self.at }));
    }
}

/// All streams that are open.
///
/// State: at most `limits.outstanding` streams; the one that began first is let go.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: BTreeMap<u32, Stream>,
    gone: VecDeque<u32>,
    /// Newest request.
    newest: u32,
}

#[derive(Debug)]
struct Stream {
    /// `None`: its request was not seen.
    call: Option<u64>,
    sent: Side,
    received: Side,
    answered: bool,
    /// The head of its answer may have been lost.
    missed: bool,
}

impl Stream {
    fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }
}

/// One direction of a stream.
#[derive(Debug)]
enum Side {
    /// Nothing yet.
    Waiting,
    Open(Box<Open>),
    Over,
}

#[derive(Debug)]
struct Open {
    head: Head,
    started_at: Timestamp,
    body: Arriving,
}

impl Streams {
    /// Bytes held.
    pub(super) fn buffered(&self) -> usize {
        let side = |side: &Side| if let Side::Open(open) = side { open.body.buffered() } else { 0 };
        self.open.values().map(|stream| side(&stream.sent) + side(&stream.received)).sum()
    }

    /// A header block ended: a head, an interim answer, or trailers.
    pub(super) fn head(
        &mut self,
        direction: Direction,
        id: u32,
        fields: Fields,
        ends: bool,
        started_at: Timestamp,
        turn: &mut Turn<'_>,
    ) {
        let is_whole = fields.unknown == 0;
        if !is_whole {
            turn.anomaly(AnomalyKind::UnknownFields);
        }
        let read = fields::read(direction, fields);
        if let Some(stream) = self.open.get_mut(&id)
            && let Side::Open(open) = stream.side(direction)
            && !(read.is_head && open.is_provisional())
        {
            fields::add_trailers(&mut open.head, read.head);
        } else if self.opens(direction, id, &read.head, read.is_head, is_whole, ends, turn) {
            let body = Arriving::new(read.head.headers(), is_whole, &turn.shared.limits);
            if let Some(stream) = self.open.get_mut(&id) {
                *stream.side(direction) = Side::Open(Box::new(Open { head: read.head, started_at, body }));
            }
        }
        if ends {
            self.end(direction, id, Stop::OwnEnd, turn);
        }
    }

    /// Whether a message begins with this block. Makes room for it.
    #[expect(clippy::too_many_arguments, reason = "all that a block says")]
    fn opens(
        &mut self,
        direction: Direction,
        id: u32,
        head: &Head,
        is_head: bool,
        is_whole: bool,
        ends: bool,
        turn: &mut Turn<'_>,
    ) -> bool {
        // Even streams are pushed ones; trailers of what was not seen belong to nothing.
        if id.is_multiple_of(2) || self.gone.contains(&id) || (is_whole && !is_head) {
            return false;
        }
        match (direction, self.open.get_mut(&id)) {
            (Direction::Sent, None) if id > self.newest => {
                self.newest = id;
                let call = Some(turn.shared.next_call());
                self.insert(id, Stream { call, ..Stream::new() }, turn);
                true
            }
            // Its answer was told before it: see `early`.
            (Direction::Sent, Some(stream)) if stream.call.is_none() && id > self.newest => {
                self.newest = id;
                stream.call = Some(turn.shared.next_call());
                true
            }
            (Direction::Received, None) => {
                if fields::is_interim(head) {
                    return false;
                }
                self.insert(id, Stream { sent: Side::Over, ..Stream::new() }, turn);
                true
            }
            // Where the head may be lost, a block that could as well be trailers is no head.
            (Direction::Received, Some(stream)) => {
                let is_open = matches!(stream.received, Side::Waiting | Side::Open(_));
                is_open && !fields::is_interim(head) && (is_head || !(stream.missed && ends))
            }
            (Direction::Sent, _) => false,
        }
    }

    fn insert(&mut self, id: u32, stream: Stream, turn: &mut Turn<'_>) {
        self.open.insert(id, stream);
        while self.open.len() > turn.shared.limits.outstanding.max(1) {
            let Some((oldest, _)) = self.open.first_key_value() else { return };
            let oldest = *oldest;
            turn.anomaly(AnomalyKind::Evicted);
            self.reset(oldest, turn);
        }
    }

    /// Bytes of a body came.
    pub(super) fn data(&mut self, direction: Direction, id: u32, piece: &[u8], turn: &mut Turn<'_>) {
        if let Some(open) = self.open_side(direction, id)
            && let Some(kind) = open.body.push(piece, turn.at, &turn.shared.limits)
        {
            turn.anomaly(kind);
        }
    }

    /// Bytes of a body were lost, and its place was not.
    pub(super) fn lose(&mut self, direction: Direction, id: u32, bytes: u64, turn: &mut Turn<'_>) {
        if let Some(open) = self.open_side(direction, id) {
            open.body.lose(bytes, turn.at, &turn.shared.limits);
        }
    }

    /// Bytes of a body will never come.
    pub(super) fn lack(&mut self, direction: Direction, id: u32, bytes: u64, turn: &mut Turn<'_>) {
        if let Some(open) = self.open_side(direction, id) {
            open.body.lack(bytes, &turn.shared.limits);
        }
    }

    fn open_side(&mut self, direction: Direction, id: u32) -> Option<&mut Open> {
        match self.open.get_mut(&id)?.side(direction) {
            Side::Open(open) => Some(open),
            Side::Waiting | Side::Over => None,
        }
    }

    /// One direction of a stream is over.
    pub(super) fn end(&mut self, direction: Direction, id: u32, stop: Stop, turn: &mut Turn<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.end(direction, stop, turn);
        if matches!((&stream.sent, &stream.received), (Side::Over, Side::Over)) {
            self.remove(id, turn);
        }
    }

    /// A stream was broken off, by either side (RFC 9113, section 6.4).
    pub(super) fn reset(&mut self, id: u32, turn: &mut Turn<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        for direction in [Direction::Sent, Direction::Received] {
            stream.end(direction, Stop::Closed, turn);
        }
        self.remove(id, turn);
        if self.gone.len() >= MAX_GONE {
            self.gone.pop_front();
        }
        self.gone.push_back(id);
    }

    /// The server takes no stream after `last` (RFC 9113, section 6.8).
    pub(super) fn refuse_after(&mut self, last: u32, turn: &mut Turn<'_>) {
        while let Some((id, _)) = self.open.range(last.saturating_add(1)..).next() {
            let id = *id;
            self.reset(id, turn);
        }
    }

    /// A direction lost its place: its bodies end here, and what began in the hole is not known.
    pub(super) fn lost(&mut self, direction: Direction, stop: Stop, turn: &mut Turn<'_>) {
        let ids: Vec<u32> = self.open.keys().copied().collect();
        for id in ids {
            let Some(stream) = self.open.get_mut(&id) else { continue };
            if matches!(stream.side(direction), Side::Waiting) {
                stream.missed = true;
            } else {
                self.end(direction, id, stop, turn);
            }
        }
    }

    /// The connection is gone.
    pub(super) fn close(&mut self, turn: &mut Turn<'_>) {
        for (_, mut stream) in std::mem::take(&mut self.open) {
            stream.end(Direction::Sent, Stop::Closed, turn);
            stream.end(Direction::Received, Stop::Closed, turn);
        }
    }

    fn remove(&mut self, id: u32, turn: &mut Turn<'_>) {
        let Some(stream) = self.open.remove(&id) else { return };
        if let Some(call) = stream.call.filter(|_| !stream.answered) {
            turn.out.push(Assembled::CallOver { stream: turn.shared.stream, call });
        }
    }
}

impl Stream {
    fn new() -> Self {
        Self { call: None, sent: Side::Waiting, received: Side::Waiting, answered: false, missed: false }
    }

    /// Gives out the message of one direction, if there is one.
    fn end(&mut self, direction: Direction, stop: Stop, turn: &mut Turn<'_>) {
        let Side::Open(open) = std::mem::replace(self.side(direction), Side::Over) else { return };
        let Open { head, started_at, body } = *open;
        self.answered |= direction == Direction::Received;
        let (shared, at) = (&*turn.shared, turn.at);
        let mut body = body.decide(&shared.limits);
        if stop != Stop::OwnEnd
            && let Some(length) = head.headers().find("content-length").and_then(|length| length.parse::<u64>().ok())
        {
            body.lack(length.saturating_sub(body.wire_bytes()));
        }
        let body_at = body.first_at();
        let (body, frozen, anomaly) = body.finish(stop == Stop::OwnEnd, shared.stream, at);
        let message = Message {
            stream: shared.stream,
            origin: Arc::clone(&shared.origin),
            server_name: shared.server_name.clone(),
            direction,
            call: self.call,
            protocol: Protocol::Http2,
            head,
            body,
            started_at,
            body_at,
            ended_at: at,
            end: stop.end(frozen),
        };
        turn.out.extend(anomaly.map(Assembled::Anomaly));
        turn.out.push(Assembled::Message(Box::new(message)));
    }
}

impl Open {
    /// An answer whose status is not known and that has no body yet may have been an interim one.
    fn is_provisional(&self) -> bool {
        matches!(self.head, Head::Response { status: 0, .. }) && self.body.is_empty()
    }
}
