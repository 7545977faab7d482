//! Requests and answers find each other. Enters: [`Message`]s, each with the number of its call. Leaves: [`Exchange`]s. An
//! answer without a request is counted, never given to another one.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    Exchange, read,
    realtime::{self, Opened, Sessions},
};
use crate::{
    assembly::{Body, Content, End, Frame, Head, Headers, Message, Protocol},
    rules::VendorTable,
    sources::{Direction, StreamId},
    units::Timestamp,
};

/// Messages that wait for their other half.
const MAX_WAITING: usize = 16_384;
/// Bytes of bodies that wait.
const MAX_WAITING_BYTES: usize = 256 << 20;

/// What did not become an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpaired {
    /// Answers whose request was not seen (the tap came late, or the request was lost).
    pub answers: u64,
    /// Requests and answers let go because too many waited; requests became exchanges without an answer.
    pub evicted: u64,
}

/// Pairs requests with answers.
///
/// State: the messages that wait, at most [`MAX_WAITING`] of them and [`MAX_WAITING_BYTES`] in all.
#[derive(Debug)]
pub struct Correlator {
    vendors: Arc<VendorTable>,
    waiting: BTreeMap<(StreamId, u64), Waiting>,
    /// Keys in the order in which they began to wait; entries that were served are skipped.
    order: VecDeque<((StreamId, u64), u64)>,
    turn: u64,
    bytes: usize,
    unpaired: Unpaired,
    sessions: Sessions,
    now: Timestamp,
}

#[derive(Debug)]
struct Waiting {
    message: Box<Message>,
    turn: u64,
    bytes: usize,
}

impl Correlator {
    /// A correlator that waits for nothing yet.
    pub fn new(vendors: Arc<VendorTable>) -> Self {
        Self {
            vendors,
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            turn: 0,
            bytes: 0,
            unpaired: Unpaired::default(),
            sessions: Sessions::default(),
            now: Timestamp::default(),
        }
    }

    /// What is pushed from here on happened at `now`: a call that is over without an answer lasted until then. That is how long its
    /// client waited before it gave up.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Takes a message; adds the exchange that it completes to `out`.
    pub fn push(&mut self, message: Message, out: &mut Vec<Exchange>) {
        let Some(call) = message.call else {
            if realtime::is_upgrade(&message) {
                return self.pair(unseen_request(&message), &message, out);
            }
            self.unpaired.answers += 1;
            return;
        };
        let key = (message.stream, call);
        if message.direction == Direction::Received && message.protocol == Protocol::Http1 {
            // Answers come in the order of their requests: those before this one will not be answered any more.
            self.give_up(message.stream, Some(call), out);
        }
        match self.take(key) {
            None => self.wait(key, Box::new(message), out),
            Some(other) => match (other.direction, message.direction) {
                (Direction::Sent, Direction::Received) => {
                    self.pair(*other, &message, out);
                    read::give_back(message.body);
                }
                (Direction::Received, Direction::Sent) => {
                    self.pair(message, &other, out);
                    read::give_back(other.body);
                }
                // Two of a kind: a source that numbers its streams twice. The older one stands alone.
                _ => {
                    self.alone(*other, out);
                    self.wait(key, Box::new(message), out);
                }
            },
        }
    }

    /// Takes a message of a WebSocket; adds the turn that it completes to `out`.
    #[expect(clippy::needless_pass_by_value, reason = "messages of every kind are given away to this room")]
    pub fn frame(&mut self, frame: Frame, out: &mut Vec<Exchange>) {
        self.sessions.frame(&frame, out);
    }

    /// No message of this call will follow: its request was not answered.
    pub fn call_over(&mut self, stream: StreamId, call: u64, out: &mut Vec<Exchange>) {
        if let Some(message) = self.take((stream, call)) {
            let before = out.len();
            self.alone(*message, out);
            self.waited(before, out);
        }
        self.sessions.call_over(stream, call, out);
    }

    /// No message of this connection will follow: requests that wait were not answered.
    pub fn closed(&mut self, stream: StreamId, out: &mut Vec<Exchange>) {
        let before = out.len();
        self.give_up(stream, None, out);
        self.waited(before, out);
        self.sessions.closed(stream, out);
    }

    /// Nothing will follow at all.
    pub fn finish(&mut self, out: &mut Vec<Exchange>) {
        self.order.clear();
        self.bytes = 0;
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            self.alone(*waiting.message, out);
        }
        self.sessions.finish(out);
    }

    /// What did not become an exchange, since the start.
    pub fn unpaired(&self) -> Unpaired {
        Unpaired { evicted: self.unpaired.evicted + self.sessions.evicted(), ..self.unpaired }
    }

    /// A request and its answer are an exchange, or the start of a session.
    fn pair(&mut self, request: Message, answer: &Message, out: &mut Vec<Exchange>) {
        if !realtime::is_upgrade(answer) {
            return out.push(read::exchange(request, Some(answer), &self.vendors));
        }
        let target = if let Head::Request { target, .. } = &request.head { target.clone() } else { String::new() };
        let upgrade = read::exchange(request, Some(answer), &self.vendors);
        let vendor = self.vendors.vendor_of(&upgrade.host);
        let api = vendor.and_then(|vendor| self.vendors.api_of_upgrade(vendor, &upgrade.path));
        self.sessions.open(answer.call, Opened { upgrade, api, target }, out);
    }

    fn wait(&mut self, key: (StreamId, u64), message: Box<Message>, out: &mut Vec<Exchange>) {
        let bytes = size(&message);
        let turn = self.turn;
        self.turn += 1;
        self.bytes += bytes;
        self.waiting.insert(key, Waiting { message, turn, bytes });
        self.order.push_back((key, turn));
        while self.waiting.len() > MAX_WAITING || self.bytes > MAX_WAITING_BYTES {
            let Some((key, turn)) = self.order.pop_front() else { return };
            if self.waiting.get(&key).is_some_and(|waiting| waiting.turn == turn)
                && let Some(message) = self.take(key)
            {
                self.unpaired.evicted += 1;
                self.alone(*message, out);
            }
        }
        // Served entries are swept when they are half of the list, so that it stays within twice its bound.
        if self.order.len() > 2 * self.waiting.len() + 64 {
            let waiting = &self.waiting;
            self.order.retain(|(key, turn)| waiting.get(key).is_some_and(|waiting| waiting.turn == *turn));
        }
    }

    fn take(&mut self, key: (StreamId, u64)) -> Option<Box<Message>> {
        let waiting = self.waiting.remove(&key)?;
        self.bytes -= waiting.bytes;
        Some(waiting.message)
    }

    /// What waits on a stream, up to (not with) a call, has no other half.
    fn give_up(&mut self, stream: StreamId, before: Option<u64>, out: &mut Vec<Exchange>) {
        let end = before.unwrap_or(u64::MAX);
        while let Some((key, _)) = self.waiting.range((stream, 0)..(stream, end)).next() {
            let key = *key;
            let Some(message) = self.take(key) else { return };
            self.alone(*message, out);
        }
    }

    /// Calls that were given up just now lasted until now.
    fn waited(&self, before: usize, out: &mut [Exchange]) {
        for exchange in out.iter_mut().skip(before) {
            exchange.ended_at = exchange.ended_at.max(self.now);
        }
    }

    fn alone(&mut self, message: Message, out: &mut Vec<Exchange>) {
        match message.direction {
            Direction::Sent => out.push(read::exchange(message, None, &self.vendors)),
            Direction::Received => self.unpaired.answers += 1,
        }
    }
}

/// What stands for a request that was not seen, but whose answer says that it was one for an upgrade.
fn unseen_request(answer: &Message) -> Message {
    let head = Head::Request { method: String::new(), target: String::new(), headers: Headers::default() };
    Message { direction: Direction::Sent, head, body: Body::default(), body_at: None, end: End::Gap, ..answer.clone() }
}

fn size(message: &Message) -> usize {
    let content = match &message.body.content {
        Content::Empty => 0,
        Content::Bytes(bytes) => bytes.len(),
        Content::Events(_, events) => {
            events.iter().map(|event| event.data.len() + event.name.len() + size_of_val(event)).sum()
        }
    };
    size_of::<Message>() + content
}
