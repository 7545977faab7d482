//! All connections. Enters: [`Input`]. Leaves: [`Assembled`]. Never holds more connections or bytes than its [`Limits`]: the
//! connection that was silent for longest is let go, with what was understood of it, and counted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Anomaly, AnomalyKind, Assembled, Limits,
    early::Early,
    http1::{Half, Shared},
    http2::Http2,
};
use crate::{
    sources::{Direction, Input, StreamEvent, StreamId},
    units::Timestamp,
};

/// Turns the bytes of many connections into messages.
///
/// State: one entry a connection, at most `limits.connections` of them and `limits.buffered_bytes` in all.
#[derive(Debug)]
pub struct Assembler {
    limits: Limits,
    connections: HashMap<StreamId, Connection>,
    /// Connections by the turn of their last event: the first was silent for longest.
    by_turn: BTreeMap<u64, StreamId>,
    turn: u64,
    buffered: usize,
}

#[derive(Debug)]
struct Connection {
    shared: Shared,
    sent: Half,
    received: Half,
    early: Early,
    /// Once it left HTTP/1 for HTTP/2.
    http2: Option<Box<Http2>>,
    turn: u64,
    buffered: usize,
}

impl Connection {
    /// Takes a piece, in its turn: an answer waits for its request, as long as it can still come.
    fn push(&mut self, direction: Direction, offset: u64, bytes: &Bytes, at: Timestamp, out: &mut Vec<Assembled>) {
        if direction == Direction::Received {
            if self.early.is_empty() && !self.is_early(offset) {
                self.read(direction, offset, bytes, at, out);
            } else if !self.early.hold((offset, bytes.clone(), at)) {
                self.read_early(out);
            }
            return;
        }
        // What was sent in between is lost: the answer may be to that, and is to nothing that follows.
        if !self.early.is_empty() && self.sent.skips_to(offset) {
            self.read_early(out);
        }
        self.read(direction, offset, bytes, at, out);
        while !self.early.is_empty() && !self.early.first_offset().is_some_and(|offset| self.is_early(offset)) {
            let Some((offset, bytes, at)) = self.early.take() else { return };
            self.read(Direction::Received, offset, &bytes, at, out);
        }
    }

    /// An answer that begins here has no request. We know the connection from its start and lost nothing of it, so the request
    /// is on its way: on HTTP/1 and in TLS with a server's name no server speaks first but to say good-bye.
    fn is_early(&self, offset: u64) -> bool {
        self.http2.is_none()
            && self.shared.awaits_nothing()
            && self.sent.is_sound()
            && self.received.may_begin_at(offset)
    }

    /// No request came: the answers are to nothing that is known.
    fn read_early(&mut self, out: &mut Vec<Assembled>) {
        while let Some((offset, bytes, at)) = self.early.take() {
            self.read(Direction::Received, offset, &bytes, at, out);
        }
    }

    fn read(&mut self, direction: Direction, offset: u64, bytes: &[u8], at: Timestamp, out: &mut Vec<Assembled>) {
        let Self { shared, sent, received, http2, .. } = self;
        if let Some(http2) = http2 {
            return http2.push(direction, offset, bytes, at, shared, out);
        }
        let half = match direction {
            Direction::Sent => &mut *sent,
            Direction::Received => &mut *received,
        };
        let unread = half.push(offset, bytes, at, shared, out);
        if let Some(found) = shared.http2.take() {
            let left = [sent.leave(at, shared, out), received.leave(at, shared, out)];
            let taken = http2.insert(Box::new(Http2::take_over(found, left, at, shared, out)));
            let read = bytes.len() - unread;
            let rest = bytes.get(read..).unwrap_or_default();
            taken.push(direction, offset.saturating_add(read as u64), rest, at, shared, out);
        }
    }

    fn buffered(&self) -> usize {
        let http2 = self.http2.as_ref().map_or(0, |http2| http2.buffered());
        self.sent.buffered() + self.received.buffered() + self.early.buffered() + http2
    }

    fn close(mut self, totals: (Option<u64>, Option<u64>), certain: bool, at: Timestamp, out: &mut Vec<Assembled>) {
        self.read_early(out);
        if let Some(mut http2) = self.http2 {
            http2.close(totals, at, &mut self.shared, out);
        } else {
            self.sent.close(totals.0, certain, at, &mut self.shared, out);
            self.received.close(totals.1, certain, at, &mut self.shared, out);
        }
        out.push(Assembled::Closed(self.shared.stream));
    }
}

impl Assembler {
    /// An assembler without connections.
    pub fn new(limits: Limits) -> Self {
        Self { limits, connections: HashMap::new(), by_turn: BTreeMap::new(), turn: 0, buffered: 0 }
    }

    /// Takes what happened on a connection; adds what it completes to `out`.
    pub fn push(&mut self, input: &Input, out: &mut Vec<Assembled>) {
        if let StreamEvent::Closed { sent_bytes, received_bytes } = &input.event {
            if let Some(connection) = self.remove(input.stream) {
                connection.close((*sent_bytes, *received_bytes), true, input.at, out);
            }
            return;
        }
        let turn = self.turn;
        self.turn += 1;
        let limits = self.limits;
        let connection = self.connections.entry(input.stream).or_insert_with(|| Connection {
            shared: Shared::new(input.stream, Arc::clone(&input.origin), limits),
            sent: Half::new(Direction::Sent),
            received: Half::new(Direction::Received),
            early: Early::default(),
            http2: None,
            turn,
            buffered: 0,
        });
        self.by_turn.remove(&std::mem::replace(&mut connection.turn, turn));
        self.by_turn.insert(turn, input.stream);
        match &input.event {
            StreamEvent::Opened { server_name } => connection.shared.server_name = Some(Arc::clone(server_name)),
            StreamEvent::Bytes { direction, offset, bytes } => {
                connection.push(*direction, *offset, bytes, input.at, out);
                let buffered = connection.buffered();
                self.buffered = self.buffered - std::mem::replace(&mut connection.buffered, buffered) + buffered;
            }
            StreamEvent::Closed { .. } => {}
        }
        self.keep_bounds(input.at, out);
    }

    /// The source ended: gives out what is open, as cut.
    pub fn finish(&mut self, at: Timestamp, out: &mut Vec<Assembled>) {
        while let Some((_, stream)) = self.by_turn.first_key_value() {
            let stream = *stream;
            match self.remove(stream) {
                Some(connection) => connection.close((None, None), false, at, out),
                None => return,
            }
        }
    }

    /// Connections held now.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Bytes held now, for all connections.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered
    }

    fn keep_bounds(&mut self, at: Timestamp, out: &mut Vec<Assembled>) {
        while self.connections.len() > self.limits.connections || self.buffered > self.limits.buffered_bytes {
            let Some((_, stream)) = self.by_turn.first_key_value() else { return };
            let stream = *stream;
            let Some(connection) = self.remove(stream) else { return };
            out.push(Assembled::Anomaly(Anomaly { stream, kind: AnomalyKind::Evicted, at }));
            connection.close((None, None), false, at, out);
        }
    }

    fn remove(&mut self, stream: StreamId) -> Option<Connection> {
        let connection = self.connections.remove(&stream)?;
        self.by_turn.remove(&connection.turn);
        self.buffered -= connection.buffered;
        Some(connection)
    }
}
