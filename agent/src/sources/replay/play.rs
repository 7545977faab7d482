//! Records become inputs in the order of time. Enters: [`Record`]s. Leaves: [`Input`]s, those of several connections woven
//! together as they would have come. Times are the recording's own; without them time is virtual: one second an exchange.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use bytes::Bytes;

use super::wire_ws::Peers;
use super::{
    Answer, Options, Record, SessionMessage, Times, Wire, WireVersion, cut, cut::Random, wire_h1, wire_h2, wire_ws,
};
use crate::{
    sources::{Direction, Input, Origin, StreamEvent, StreamId},
    units::Timestamp,
};

/// Virtual time begins on 2026-01-01T00:00:00Z.
const EPOCH: Timestamp = Timestamp(1_767_225_600_000_000_000);
/// Virtual time that an exchange takes; the next one starts when it ends.
const EXCHANGE_NS: u64 = 1_000_000_000;

/// The inputs of some records, in the order of time.
#[derive(Debug)]
pub struct Playing {
    records: Vec<Record>,
    options: Options,
    /// What each record plays on, in the order in which they start; the first `next` of them have begun.
    slots: Vec<Slot>,
    next: usize,
    /// Which record began when on which connection.
    began: BTreeMap<(StreamId, Timestamp), usize>,
    /// How far each open connection is.
    positions: BTreeMap<StreamId, Positions>,
    /// Inputs of records that have begun, at most those of the records that overlap.
    pending: BinaryHeap<Reverse<Pending>>,
    count: u64,
}

/// One record's place in time and on a connection.
#[derive(Clone, Copy, Debug)]
struct Slot {
    record: usize,
    stream: StreamId,
    times: Times,
    /// No record before it used the connection.
    is_first: bool,
    /// No record after it uses the connection.
    is_last: bool,
}

/// Bytes that each side has sent on a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Positions {
    sent: u64,
    received: u64,
}

#[derive(Debug)]
struct Pending {
    at: Timestamp,
    number: u64,
    input: Input,
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pending {}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Playing {
    /// Plans how to play some records.
    pub fn new(records: Vec<Record>, options: Options) -> Self {
        let slots = plan(&records, options);
        let began = slots.iter().map(|slot| ((slot.stream, slot.times.started), slot.record)).collect();
        let (positions, pending) = (BTreeMap::new(), BinaryHeap::new());
        Self { records, options, slots, next: 0, began, positions, pending, count: 0 }
    }

    /// The records, in the order in which they were given.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Number of the record that was played on a connection when something began there.
    pub fn record_at(&self, stream: StreamId, began: Timestamp) -> Option<usize> {
        let mut before = self.began.range((stream, Timestamp(0))..=(stream, began));
        before.next_back().map(|(_, record)| *record)
    }

    fn begin(&mut self, slot: Slot) {
        let Some(record) = self.records.get(slot.record) else { return };
        let positions = self.positions.entry(slot.stream).or_default();
        let origin = Arc::new(record.origin.clone());
        let inputs = inputs(record, slot, self.options, positions, &origin);
        if slot.is_last {
            self.positions.remove(&slot.stream);
        }
        for input in inputs {
            self.count += 1;
            self.pending.push(Reverse(Pending { at: input.at, number: self.count, input }));
        }
    }
}

impl Iterator for Playing {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        while let Some(slot) = self.slots.get(self.next).copied() {
            if self.pending.peek().is_some_and(|Reverse(first)| first.at < slot.times.started) {
                break;
            }
            self.next += 1;
            self.begin(slot);
        }
        self.pending.pop().map(|Reverse(first)| first.input)
    }
}

fn virtual_times(from: Timestamp) -> Times {
    let after = |ns: u64| Timestamp(from.0.saturating_add(ns));
    Times { started: from, first_byte: after(EXCHANGE_NS / 2), ended: after(EXCHANGE_NS) }
}

/// Gives each record its time and its connection.
fn plan(records: &[Record], options: Options) -> Vec<Slot> {
    let mut slots: Vec<Slot> = (0_u64..)
        .zip(records)
        .enumerate()
        .map(|(record, (number, recorded))| Slot {
            record,
            stream: StreamId(number),
            times: recorded.times.unwrap_or_else(|| {
                virtual_times(Timestamp(EPOCH.0.saturating_add(EXCHANGE_NS.saturating_mul(number))))
            }),
            is_first: true,
            is_last: true,
        })
        .collect();
    slots.sort_by_key(|slot| slot.times.started);
    if options.wire != WireVersion::H1 {
        return slots; // each has a connection, and with it a header table, of its own
    }
    let mut open: BTreeMap<(&str, &str, bool), usize> = BTreeMap::new();
    for index in 0..slots.len() {
        let Some(slot) = slots.get(index).copied() else { break };
        let Some(record) = records.get(slot.record) else { break };
        let Some(label) = record.connection.as_deref() else { continue };
        let key = (label, record.request.authority.as_str(), record.request.is_tls);
        // One that ended without an answer, or as a WebSocket, ended the connection.
        let before = open.get(&key).and_then(|before| slots.get_mut(*before)).filter(|before| {
            let is_over = before.times.ended <= slot.times.started && before.times.started < slot.times.started;
            let is_whole = records.get(before.record).is_some_and(|record| matches!(record.answer, Answer::Http(_)));
            is_over && is_whole
        });
        if let Some(before) = before {
            before.is_last = false;
            let stream = before.stream;
            if let Some(slot) = slots.get_mut(index) {
                (slot.stream, slot.is_first) = (stream, false);
            }
        }
        open.insert(key, index);
    }
    slots
}

/// One record alone on a connection.
pub(super) fn alone(record: &Record, stream: StreamId, from: Timestamp, options: Options) -> Vec<Input> {
    let times = record.times.unwrap_or_else(|| virtual_times(from));
    let slot = Slot { record: 0, stream, times, is_first: true, is_last: true };
    inputs(record, slot, options, &mut Positions::default(), &Arc::new(record.origin.clone()))
}

fn inputs(
    record: &Record,
    slot: Slot,
    options: Options,
    positions: &mut Positions,
    origin: &Arc<Origin>,
) -> Vec<Input> {
    let mut inputs = Vec::new();
    let mut add = |at, event| inputs.push(Input { stream: slot.stream, origin: Arc::clone(origin), at, event });
    if slot.is_first && record.request.is_tls {
        add(slot.times.started, StreamEvent::Opened { server_name: record.request.host_name.as_str().into() });
    }
    let seed = |seed: u64| Random::new(seed, slot.record as u64);
    let (mut sizes, mut losses) = (options.split.map(seed), options.drop.map(seed));
    for run in runs(record, slot.times, options) {
        let direction = run.direction;
        let position = if direction == Direction::Sent { &mut positions.sent } else { &mut positions.received };
        let (base, total) = (*position, run.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>());
        let (from, until, head) = (run.from, run.until, run.head_bytes);
        for bytes in cut(run.pieces, sizes.as_mut(), until > from) {
            let (offset, length) = (*position, bytes.len() as u64);
            let at = when(offset - base, length, head, total, from, until);
            if !losses.as_mut().is_some_and(Random::is_lost) {
                add(at, StreamEvent::Bytes { direction, offset, bytes });
            }
            *position += length;
        }
    }
    if slot.is_last {
        let Positions { sent, received } = *positions;
        add(slot.times.ended, StreamEvent::Closed { sent_bytes: Some(sent), received_bytes: Some(received) });
    }
    inputs
}

/// What one side writes before the other side writes again.
struct Run {
    direction: Direction,
    pieces: Vec<Vec<u8>>,
    /// Bytes of the head in front of an answer.
    head_bytes: u64,
    from: Timestamp,
    until: Timestamp,
}

fn runs(record: &Record, times: Times, options: Options) -> Vec<Run> {
    let response = match &record.answer {
        Answer::Http(response) => Some(response),
        Answer::None => None,
        Answer::Session(messages) => return session(record, messages, times, options),
    };
    let Wire { sent, received } = match options.wire {
        WireVersion::H1 => wire_h1::wire(&record.request, response),
        WireVersion::H2 => wire_h2::wire(&record.request, response),
    };
    // The request takes half of the time until the answer begins.
    let Times { started, first_byte, ended } = times;
    let asked = Timestamp(started.0 + first_byte.since_ns(started) / 2);
    let head_bytes = received.first().map_or(0, Vec::len) as u64;
    vec![
        Run { direction: Direction::Sent, pieces: sent, head_bytes: 0, from: started, until: asked },
        Run { direction: Direction::Received, pieces: received, head_bytes, from: first_byte, until: ended },
    ]
}

/// A WebSocket, which is HTTP/1.1 on either wire. Its peers are other ones with each seed; what they say is spread evenly over
/// the time that it took.
fn session(record: &Record, messages: &[SessionMessage], times: Times, options: Options) -> Vec<Run> {
    let peers = options.split.map(Peers::of).unwrap_or_default();
    let pieces = wire_ws::wire(&record.request, messages, peers);
    let (count, all) = (pieces.len().max(1) as u64, times.ended.since_ns(times.started));
    let run = |(number, (direction, piece)): (u64, (Direction, Vec<u8>))| {
        let at = Timestamp(times.started.0.saturating_add(all / count * number));
        Run { direction, pieces: vec![piece], head_bytes: 0, from: at, until: at }
    };
    (0..).zip(pieces).map(run).collect()
}

/// The pieces of one direction. An answer that takes time and has but one piece behind its head comes in two, so that its
/// first and its last byte have times of their own.
fn cut(pieces: Vec<Vec<u8>>, sizes: Option<&mut Random>, takes_time: bool) -> Vec<Bytes> {
    if let Some(random) = sizes {
        return cut::split(pieces.concat(), random);
    }
    let mut pieces: Vec<Bytes> = pieces.into_iter().map(Bytes::from).collect();
    if let [_, body] = pieces.as_mut_slice()
        && takes_time
        && body.len() > 1
    {
        let rest = body.split_off(body.len() / 2);
        pieces.push(rest);
    }
    pieces
}

/// When a piece comes: the head and the first byte behind it at `from`, the last byte at `until`, what is between in
/// proportion.
fn when(offset: u64, length: u64, head: u64, total: u64, from: Timestamp, until: Timestamp) -> Timestamp {
    if offset + length >= total && offset > 0 {
        return until;
    }
    let (done, all) = (offset.saturating_sub(head), total.saturating_sub(head).max(1));
    let passed = u128::from(until.since_ns(from)) * u128::from(done) / u128::from(all);
    Timestamp(from.0.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
}
