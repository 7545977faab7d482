//! Realtime sessions: a WebSocket's messages become one [`Exchange`] a turn. Enters: the exchange that an upgrade was, and
//! the [`Frame`]s that follow it. Leaves: [`Exchange`]s. Never holds more sessions or text than its bounds: the session that
//! was silent for longest is let go, with what was understood of it.

use std::collections::BTreeMap;

use super::{Api, Exchange};
use crate::{
    assembly::{Frame, Head, Message},
    sources::StreamId,
};

mod facts;
mod gemini;
mod openai;
mod session;
#[cfg(test)]
mod tests;
mod turn;

pub use self::facts::facts_of_session;
use self::session::{Session, Took};

/// Sessions held at once.
const MAX_SESSIONS: usize = 4096;
/// Bytes of text held for all turns that are open.
const MAX_SESSIONS_BYTES: usize = 128 << 20;

/// A session's connection and call.
type Key = (StreamId, u64);

/// All sessions.
///
/// State: one entry a session, at most [`MAX_SESSIONS`] of them and [`MAX_SESSIONS_BYTES`] in all.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<Key, Held>,
    /// Sessions by the turn of their last message: the first was silent for longest.
    by_turn: BTreeMap<u64, Key>,
    turn: u64,
    bytes: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Held {
    session: Session,
    turn: u64,
    bytes: usize,
}

/// What is known of a WebSocket when it opens.
#[derive(Debug)]
pub(super) struct Opened {
    /// The upgrade itself: who, to whom, with what headers.
    pub(super) upgrade: Exchange,
    /// What the path says that it is, on a host that a table lists.
    pub(super) api: Option<Api>,
    /// Path and query as sent.
    pub(super) target: String,
}

/// Whether an answer makes the connection a WebSocket.
pub(super) fn is_upgrade(answer: &Message) -> bool {
    let Head::Response { status: 101, headers } = &answer.head else { return false };
    let names = headers.find("upgrade").unwrap_or_default();
    names.split(',').any(|name| name.trim().eq_ignore_ascii_case("websocket"))
}

fn key(stream: StreamId, call: Option<u64>) -> Key {
    (stream, call.unwrap_or(u64::MAX))
}

impl Sessions {
    /// A connection became a WebSocket.
    pub(super) fn open(&mut self, call: Option<u64>, opened: Opened, out: &mut Vec<Exchange>) {
        let key = key(opened.upgrade.stream, call);
        self.end(key, true, out);
        let turn = self.next_turn(key);
        self.open.insert(key, Held { session: Session::new(opened), turn, bytes: 0 });
        self.keep_bounds(out);
    }

    /// Takes a message. One of a connection that is no session, or no longer one, is nothing.
    pub(super) fn frame(&mut self, frame: &Frame, out: &mut Vec<Exchange>) {
        let key = key(frame.stream, frame.call);
        let turn = self.turn;
        let Some(held) = self.open.get_mut(&key) else { return };
        self.by_turn.remove(&std::mem::replace(&mut held.turn, turn));
        let took = held.session.frame(frame, out);
        let bytes = held.session.held_bytes();
        self.bytes = self.bytes - std::mem::replace(&mut held.bytes, bytes) + bytes;
        self.next_turn(key);
        if took == Took::NotLlm {
            self.remove(key);
        }
        self.keep_bounds(out);
    }

    /// No message of this connection will follow.
    pub(super) fn closed(&mut self, stream: StreamId, out: &mut Vec<Exchange>) {
        while let Some((key, _)) = self.open.range((stream, 0)..=(stream, u64::MAX)).next() {
            self.end(*key, false, out);
        }
    }

    /// No message of this call will follow.
    pub(super) fn call_over(&mut self, stream: StreamId, call: u64, out: &mut Vec<Exchange>) {
        self.end((stream, call), false, out);
    }

    /// Nothing will follow at all.
    pub(super) fn finish(&mut self, out: &mut Vec<Exchange>) {
        while let Some((key, _)) = self.open.first_key_value() {
            self.end(*key, true, out);
        }
    }

    /// Sessions let go because there were too many, since the start.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    fn next_turn(&mut self, key: Key) -> u64 {
        let turn = self.turn;
        self.turn += 1;
        self.by_turn.insert(turn, key);
        turn
    }

    /// `is_cut`: it may go on unseen.
    fn end(&mut self, key: Key, is_cut: bool, out: &mut Vec<Exchange>) {
        if let Some(held) = self.remove(key) {
            held.session.end(is_cut, out);
        }
    }

    fn remove(&mut self, key: Key) -> Option<Held> {
        let held = self.open.remove(&key)?;
        self.by_turn.remove(&held.turn);
        self.bytes -= held.bytes;
        Some(held)
    }

    fn keep_bounds(&mut self, out: &mut Vec<Exchange>) {
        while self.open.len() > MAX_SESSIONS || self.bytes > MAX_SESSIONS_BYTES {
            let Some((_, key)) = self.by_turn.first_key_value() else { return };
            let key = *key;
            self.evicted += 1;
            self.end(key, true, out);
        }
    }
}
