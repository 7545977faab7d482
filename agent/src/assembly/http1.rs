//! HTTP/1.1, one direction of a connection (RFC 9112). Enters: bytes and holes in stream order. Leaves: messages. Never
//! splices: a hole freezes the body it falls into, and where the framing is lost with it, nothing is read until a later
//! piece starts like a message.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Anomaly, AnomalyKind, Assembled, End, Head, Limits, Message, Protocol,
    body::{Frozen, Incoming},
    chunked::{BadChunk, Chunked, Step},
    head::{self, Framing, NotHttp},
    http2,
    upgrade::Upgrade,
    websocket::WebSocket,
};
use crate::{
    sources::{Direction, Origin, StreamId},
    units::Timestamp,
};

/// What both directions of a connection share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) stream: StreamId,
    pub(super) origin: Arc<Origin>,
    pub(super) server_name: Option<Arc<str>>,
    pub(super) limits: Limits,
    /// Requests that wait for their answer, oldest first: number and method.
    waiting: VecDeque<(u64, String)>,
    calls: u64,
    /// The connection left HTTP/1: nothing in either direction is read any more.
    pub(super) ignored: bool,
    /// The connection became a WebSocket, in both directions.
    upgrade: Option<Upgrade>,
    /// A message of HTTP/1 began on it.
    spoken: bool,
    /// What showed that it speaks HTTP/2; nothing was read since.
    pub(super) http2: Option<http2::Found>,
}

impl Shared {
    pub(super) fn new(stream: StreamId, origin: Arc<Origin>, limits: Limits) -> Self {
        Self {
            stream,
            origin,
            server_name: None,
            limits,
            waiting: VecDeque::new(),
            calls: 0,
            ignored: false,
            upgrade: None,
            spoken: false,
            http2: None,
        }
    }

    pub(super) fn anomaly(&self, kind: AnomalyKind, at: Timestamp, out: &mut Vec<Assembled>) {
        out.push(Assembled::Anomaly(Anomaly { stream: self.stream, kind, at }));
    }

    fn ignore(&mut self, kind: AnomalyKind, at: Timestamp, out: &mut Vec<Assembled>) {
        if !self.ignored {
            self.ignored = true;
            self.anomaly(kind, at, out);
        }
    }

    /// The number of a call that begins.
    pub(super) fn next_call(&mut self) -> u64 {
        let call = self.calls;
        self.calls += 1;
        call
    }

    fn begin_call(&mut self, method: &str) -> u64 {
        let call = self.next_call();
        // Only HEAD and CONNECT matter to an answer; a longer name is not worth holding.
        self.waiting.push_back((call, if method.len() <= 7 { method.to_owned() } else { String::new() }));
        call
    }

    /// The connection is known from its start, speaks HTTP/1 as far as is known, and no answer is due.
    pub(super) fn awaits_nothing(&self) -> bool {
        self.server_name.is_some() && self.waiting.is_empty() && self.upgrade.is_none() && !self.ignored
    }

    /// The request that an answer which begins now belongs to. After a loss in the answers, earlier requests may have lost
    /// theirs: a client that does not pipeline waits for nothing but its newest request.
    fn answered_call(&mut self, after_loss: bool) -> Option<(u64, String)> {
        if after_loss {
            let newest = self.waiting.pop_back();
            self.waiting.clear();
            return newest;
        }
        self.waiting.pop_front()
    }
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Half {
    direction: Direction,
    /// Position of the next byte that was not seen yet.
    next: u64,
    state: State,
    /// Bytes were lost since the last message whose place is certain.
    after_loss: bool,
}

#[derive(Debug)]
enum State {
    /// Between messages, or in a head.
    Head { bytes: Vec<u8>, at: Option<Timestamp> },
    /// In a body.
    Body(Box<Open>),
    /// The end of the present message is unknown: waits for a piece that starts like one.
    Lost,
    /// No HTTP any more.
    WebSocket(Box<WebSocket>),
}

impl State {
    const IDLE: Self = Self::Head { bytes: Vec::new(), at: None };
}

#[derive(Debug)]
struct Open {
    head: Head,
    call: Option<u64>,
    started_at: Timestamp,
    place: Place,
    body: Incoming,
}

/// Where in a body we are.
#[derive(Debug)]
enum Place {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// What a message ran into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    OwnEnd,
    Hole,
    Closed,
    Unreadable,
}

impl Stop {
    /// How a message that ran into it ended. `frozen`: what its body ran into before.
    pub(super) fn end(self, frozen: Option<Frozen>) -> End {
        match (self, frozen) {
            (Self::Hole, _) | (_, Some(Frozen::Hole)) => End::Gap,
            (Self::Closed, _) => End::Cut,
            (_, Some(Frozen::TooLarge)) => End::TooLarge,
            (Self::Unreadable, _) | (_, Some(Frozen::Unreadable)) => End::Unreadable,
            (Self::OwnEnd, None) => End::Complete,
        }
    }
}

/// What is left of a direction that HTTP/2 takes over.
pub(super) struct Left {
    /// Position of the first byte that was not read.
    pub(super) from: u64,
    /// Bytes from there on that were held.
    pub(super) held: Vec<u8>,
    /// `from` is where a message may begin.
    pub(super) is_certain: bool,
}

impl Half {
    pub(super) fn new(direction: Direction) -> Self {
        Self { direction, next: 0, state: State::IDLE, after_loss: false }
    }

    /// Bytes held now.
    pub(super) fn buffered(&self) -> usize {
        match &self.state {
            State::Head { bytes, .. } => bytes.len(),
            State::Body(open) => open.body.buffered(),
            State::Lost => 0,
            State::WebSocket(websocket) => websocket.buffered(),
        }
    }

    /// Nothing was lost of it since the last message whose place is certain.
    pub(super) fn is_sound(&self) -> bool {
        !self.after_loss && !matches!(self.state, State::Lost)
    }

    /// It stands between messages, and the bytes at `offset` are the next ones.
    pub(super) fn may_begin_at(&self, offset: u64) -> bool {
        self.is_sound() && offset == self.next && matches!(&self.state, State::Head { bytes, .. } if bytes.is_empty())
    }

    /// Bytes before `offset` were not seen.
    pub(super) fn skips_to(&self, offset: u64) -> bool {
        offset > self.next
    }

    /// Takes a piece. Bytes that were seen before are ignored; a jump is a hole. Returns the bytes at its end that were not read
    /// because they are HTTP/2 (`shared.http2`).
    pub(super) fn push(
        &mut self,
        offset: u64,
        piece: &[u8],
        at: Timestamp,
        shared: &mut Shared,
        out: &mut Vec<Assembled>,
    ) -> usize {
        let known = usize::try_from(self.next.saturating_sub(offset)).unwrap_or(usize::MAX);
        let Some(fresh) = piece.get(known..).filter(|fresh| !fresh.is_empty()) else { return 0 };
        self.follow_upgrade(at, shared, out);
        self.reach(offset, at, shared, out);
        self.next = self.next.saturating_add(fresh.len() as u64);
        if shared.ignored {
            return 0;
        }
        if self.looks_like_http2(fresh, shared) {
            if !matches!(self.state, State::Lost) {
                shared.anomaly(AnomalyKind::NotHttp, at, out); // something began before we came
            }
            shared.http2 = Some(http2::Found::Frames);
        } else if matches!(self.state, State::Lost) && head::looks_like_start(self.direction, fresh) {
            self.state = State::IDLE;
        }
        let mut rest = fresh;
        while !rest.is_empty() && !shared.ignored && shared.http2.is_none() {
            match &mut self.state {
                State::Lost => return 0,
                State::WebSocket(websocket) => {
                    websocket.push(rest, at, shared, out);
                    return 0;
                }
                State::Head { .. } => self.in_head(&mut rest, at, shared, out),
                State::Body(_) => self.in_body(&mut rest, at, shared, out),
            }
        }
        self.next -= if shared.http2.is_some() { rest.len() as u64 } else { 0 };
        rest.len()
    }

    /// Whether a piece shows that we came late to a connection that speaks HTTP/2. Bytes that could still become the SETTINGS of
    /// its start show that we did not.
    fn looks_like_http2(&self, fresh: &[u8], shared: &Shared) -> bool {
        let is_between = match &self.state {
            State::Lost => true,
            State::Head { bytes, .. } => {
                bytes.is_empty()
                    && !(self.direction == Direction::Received && http2::may_become_settings(fresh).is_some())
            }
            State::Body(_) | State::WebSocket(_) => false,
        };
        is_between && !shared.spoken && http2::looks_like_frames(fresh)
    }

    /// HTTP/2 takes over.
    pub(super) fn leave(&mut self, at: Timestamp, shared: &mut Shared, out: &mut Vec<Assembled>) -> Left {
        let held = if let State::Head { bytes, .. } = &mut self.state { std::mem::take(bytes) } else { Vec::new() };
        let is_certain = matches!(self.state, State::Head { .. });
        self.end(Stop::Closed, at, shared, out);
        Left { from: self.next.saturating_sub(held.len() as u64), held, is_certain }
    }

    /// The next byte will be at `offset`: what lies between is lost.
    fn reach(&mut self, offset: u64, at: Timestamp, shared: &mut Shared, out: &mut Vec<Assembled>) {
        let Some(lost) = offset.checked_sub(self.next).filter(|lost| *lost > 0) else { return };
        self.next = offset;
        if shared.ignored {
            return;
        }
        shared.anomaly(AnomalyKind::Gap, at, out);
        match &mut self.state {
            State::Body(open) => match &mut open.place {
                Place::Length(left) if lost <= *left => {
                    *left -= lost;
                    open.body.lose(lost, at);
                    if *left == 0 {
                        self.end(Stop::OwnEnd, at, shared, out);
                    }
                    return;
                }
                Place::Length(left) => open.body.lose(*left, at),
                Place::Chunked(chunked) => {
                    if let Some(skipped) = chunked.skip(lost) {
                        open.body.lose(skipped, at);
                        return;
                    }
                    open.body.lose(chunked.announced(), at);
                }
                Place::UntilClose => {
                    open.body.lose(lost, at);
                    return;
                }
            },
            State::WebSocket(websocket) => return websocket.lose(lost, at, shared, out),
            State::Head { .. } | State::Lost => {}
        }
        self.end_head(Stop::Hole, at, shared, out);
        self.end(Stop::Hole, at, shared, out);
        self.lose_place();
    }

    fn in_head(&mut self, rest: &mut &[u8], at: Timestamp, shared: &mut Shared, out: &mut Vec<Assembled>) {
        let State::Head { bytes, at: since } = &mut self.state else { return };
        if bytes.is_empty() {
            // Empty lines before a message are skipped (RFC 9112, section 2.2).
            let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            *rest = rest.get(blank..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
        }
        if self.direction == Direction::Received && bytes.first().or(rest.first()) == Some(&0) {
            let start: Vec<u8> = bytes.iter().chain(*rest).take(http2::SETTINGS_START_BYTES).copied().collect();
            match http2::may_become_settings(&start) {
                Some(true) => return shared.http2 = Some(http2::Found::Settings),
                Some(false) => return bytes.extend_from_slice(std::mem::take(rest)),
                None => {}
            }
        }
        let started_at = *since.get_or_insert(at);
        let cap = shared.limits.head_bytes;
        let begun;
        if bytes.is_empty()
            && let Some(end) = head::end_of_head(rest, 0).filter(|end| *end <= cap)
        {
            let (whole, tail) = rest.split_at(end);
            begun = Begun::read(self.direction, whole, self.after_loss, shared);
            *rest = tail;
        } else {
            let searched = bytes.len();
            let taken = rest.get(..rest.len().min(cap.saturating_sub(searched))).unwrap_or_default();
            bytes.extend_from_slice(taken);
            if let Some(end) = head::end_of_head(bytes, searched) {
                *rest = rest.get(end - searched..).unwrap_or_default();
                bytes.truncate(end);
                begun = Begun::read(self.direction, bytes, self.after_loss, shared);
            } else if taken.len() < rest.len() || !head::may_become_head(self.direction, bytes) {
                begun = Err(NotHttp);
            } else {
                *rest = &[];
                return;
            }
        }
        self.begin(begun, started_at, at, shared, out);
    }

    fn begin(
        &mut self,
        begun: Result<Begun, NotHttp>,
        started_at: Timestamp,
        at: Timestamp,
        shared: &mut Shared,
        out: &mut Vec<Assembled>,
    ) {
        self.state = State::IDLE;
        let (head, call, framing, leaves_http) = match begun {
            Ok(Begun::Interim) => return,
            Ok(Begun::Http2) => return shared.http2 = Some(http2::Found::Preface),
            Ok(Begun::Message { head, call, framing, leaves_http }) => (head, call, framing, leaves_http),
            Err(NotHttp) => {
                shared.anomaly(AnomalyKind::NotHttp, at, out);
                return self.lose_place();
            }
        };
        self.after_loss = false;
        let upgrade = Upgrade::read(&head, call);
        shared.spoken = true;
        let length = if let Framing::Length(length) = framing { Some(length) } else { None };
        let body = Incoming::new(head.headers(), length, &shared.limits);
        let place = match framing {
            Framing::Empty => Place::Length(0),
            Framing::Length(length) => Place::Length(length),
            Framing::Chunked => Place::Chunked(Chunked::new()),
            Framing::UntilClose => Place::UntilClose,
        };
        self.state = State::Body(Box::new(Open { head, call, started_at, place, body }));
        if framing == Framing::Empty {
            self.end(Stop::OwnEnd, at, shared, out);
        }
        if upgrade.is_some() {
            shared.upgrade = upgrade;
            self.follow_upgrade(at, shared, out);
        } else if leaves_http {
            shared.ignore(AnomalyKind::UnknownProtocol, at, out);
        } else if shared.waiting.len() > shared.limits.outstanding {
            // Nobody pipelines this far; from here on answers could be given to the wrong requests.
            shared.ignore(AnomalyKind::Evicted, at, out);
        }
    }

    fn in_body(&mut self, rest: &mut &[u8], at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        let State::Body(open) = &mut self.state else { return };
        let (piece, ended) = match &mut open.place {
            Place::Length(left) => {
                let (piece, tail) = rest.split_at(rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX)));
                *rest = tail;
                *left -= piece.len() as u64;
                (piece, *left == 0)
            }
            Place::UntilClose => (std::mem::take(rest), false),
            Place::Chunked(chunked) => match chunked.step(rest) {
                Ok(Step::Data(piece)) => (piece, false),
                Ok(Step::More) => return,
                Ok(Step::End) => (&[][..], true),
                Err(BadChunk) => {
                    shared.anomaly(AnomalyKind::BadChunk, at, out);
                    self.end(Stop::Unreadable, at, shared, out);
                    return self.lose_place();
                }
            },
        };
        if let Some(kind) = open.body.push(piece, at) {
            shared.anomaly(kind, at, out);
        }
        if ended {
            self.end(Stop::OwnEnd, at, shared, out);
        }
    }

    /// The answer to an upgrade changes both directions: this one at its next byte.
    fn follow_upgrade(&mut self, at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        let Some(upgrade) = shared.upgrade.filter(|_| !matches!(self.state, State::WebSocket(_))) else { return };
        let in_place = matches!(&self.state, State::Head { bytes, .. } if bytes.is_empty());
        if !in_place {
            shared.anomaly(AnomalyKind::UnknownProtocol, at, out);
        }
        self.end(Stop::Unreadable, at, shared, out);
        let websocket = WebSocket::new(self.direction, upgrade, shared.limits.inflate_ratio, in_place);
        self.state = State::WebSocket(Box::new(websocket));
    }

    fn lose_place(&mut self) {
        self.state = State::Lost;
        self.after_loss = true;
    }

    /// The connection is gone. `total`: bytes that this direction carried in all, when known. `certain`: it did close, so a
    /// body that ends with the connection is whole.
    pub(super) fn close(
        &mut self,
        total: Option<u64>,
        certain: bool,
        at: Timestamp,
        shared: &mut Shared,
        out: &mut Vec<Assembled>,
    ) {
        self.follow_upgrade(at, shared, out);
        if let Some(total) = total {
            self.reach(total, at, shared, out);
        }
        if let State::WebSocket(websocket) = &mut self.state {
            return websocket.close(certain, at, shared, out);
        }
        let stop = match &self.state {
            State::Body(open) if certain && matches!(open.place, Place::UntilClose) => Stop::OwnEnd,
            _ => Stop::Closed,
        };
        if !shared.ignored || matches!(self.state, State::Body(_)) {
            self.end_head(stop, at, shared, out);
            self.end(stop, at, shared, out);
        }
    }

    /// A head that was cut still says who asked for what.
    fn end_head(&mut self, stop: Stop, at: Timestamp, shared: &mut Shared, out: &mut Vec<Assembled>) {
        let State::Head { bytes, at: since } = &mut self.state else { return };
        let (bytes, started_at) = (std::mem::take(bytes), since.take().unwrap_or(at));
        let Some(head) = head::parse_cut(self.direction, &bytes) else { return };
        let call = match &head {
            Head::Request { method, .. } => Some(shared.begin_call(method)),
            Head::Response { status: 100 | 102..=199, .. } => return,
            Head::Response { .. } => shared.answered_call(self.after_loss).map(|(call, _)| call),
        };
        let body = Incoming::new(head.headers(), None, &shared.limits);
        let open = Open { head, call, started_at, place: Place::Length(0), body };
        self.state = State::Body(Box::new(open));
        self.end(stop, at, shared, out);
    }

    /// Gives out the message that is open, if one is.
    fn end(&mut self, stop: Stop, at: Timestamp, shared: &Shared, out: &mut Vec<Assembled>) {
        let State::Body(open) = std::mem::replace(&mut self.state, State::IDLE) else { return };
        let Open { head, call, started_at, place, mut body } = *open;
        if stop == Stop::Closed {
            match &place {
                Place::Length(left) => body.lack(*left),
                Place::Chunked(chunked) => body.lack(chunked.announced()),
                Place::UntilClose => {}
            }
        }
        let body_at = body.first_at();
        let (body, frozen, anomaly) = body.finish(stop == Stop::OwnEnd, shared.stream, at);
        out.extend(anomaly.map(Assembled::Anomaly));
        let end = stop.end(frozen);
        out.push(Assembled::Message(Box::new(Message {
            stream: shared.stream,
            origin: Arc::clone(&shared.origin),
            server_name: shared.server_name.clone(),
            direction: self.direction,
            call,
            protocol: Protocol::Http1,
            head,
            body,
            started_at,
            body_at,
            ended_at: at,
            end,
        })));
    }
}

/// What a head turned out to be.
enum Begun {
    Message {
        head: Head,
        call: Option<u64>,
        framing: Framing,
        leaves_http: bool,
    },
    /// Answers nothing: the answer is still to come (RFC 9110, section 15.2).
    Interim,
    Http2,
}

impl Begun {
    fn read(direction: Direction, bytes: &[u8], after_loss: bool, shared: &mut Shared) -> Result<Self, NotHttp> {
        if head::is_http2(bytes) {
            return Ok(Self::Http2);
        }
        let head = head::parse(direction, bytes)?;
        Ok(match &head {
            Head::Request { method, headers, .. } => {
                let framing = head::request_framing(headers)?;
                let call = Some(shared.begin_call(method));
                Self::Message { head, call, framing, leaves_http: false }
            }
            Head::Response { status: 100 | 102..=199, .. } => Self::Interim,
            Head::Response { status, headers } => {
                let call = shared.answered_call(after_loss);
                let method = call.as_ref().map(|(_, method)| method.as_str());
                let tunnel = method == Some("CONNECT") && (200..300).contains(status);
                let leaves_http = tunnel || *status == 101;
                let framing = match head::response_framing(*status, method, headers)? {
                    _ if leaves_http => Framing::Empty,
                    framing => framing,
                };
                Self::Message { call: call.map(|(number, _)| number), framing, leaves_http, head }
            }
        })
    }
}
