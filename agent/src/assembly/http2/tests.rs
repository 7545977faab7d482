//! Connections that are built frame by frame, and what holds for all of them.

mod real;

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use loona_hpack::encoder::encode_integer_into;
use proptest::prelude::*;

use super::{
    frame::{HEADER_BYTES, PREFACE, flag, kind},
    static_table,
};
use crate::{
    assembly::{
        Assembled, Content, End, Limits, Message,
        tests::{assemble, cut, render},
    },
    sources::{
        Direction::{self, Received, Sent},
        Input, Origin, StreamEvent, StreamId,
    },
    units::Timestamp,
};

const END: u8 = flag::END_STREAM;
const ALL: u8 = flag::END_HEADERS;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// One direction's bytes: they are sent, or they are lost.
#[derive(Clone)]
enum Step {
    Seen(Direction, Vec<u8>),
    Lost(Direction, usize),
}

/// Abbreviates all that it can, as browsers and proxies do.
pub(super) struct Encoder {
    /// Newest first.
    entries: VecDeque<(String, String)>,
    max_bytes: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), max_bytes: 4096 }
    }
}

impl Encoder {
    /// Makes the table smaller; gives what says so.
    pub(super) fn shrink(&mut self, max_bytes: usize) -> Vec<u8> {
        let mut size = Vec::new();
        encode_integer_into(max_bytes, 5, 0x20, &mut size).unwrap();
        self.max_bytes = max_bytes;
        self.evict();
        size
    }

    fn evict(&mut self) {
        while self.entries.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > self.max_bytes {
            self.entries.pop_back();
        }
    }

    pub(super) fn encode(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            let fixed = static_table::ENTRIES.iter().position(|entry| entry == &(*name, *value));
            let held = self.entries.iter().position(|(have, text)| have == name && text == value);
            if let Some(index) = fixed.or(held.map(|index| index + static_table::ENTRIES.len())) {
                encode_integer_into(index + 1, 7, 0x80, &mut block).unwrap();
                continue;
            }
            block.push(0x40);
            for text in [name, value] {
                encode_integer_into(text.len(), 7, 0, &mut block).unwrap();
                block.extend_from_slice(text.as_bytes());
            }
            self.entries.push_front(((*name).to_owned(), (*value).to_owned()));
            self.evict();
        }
        block
    }
}

/// A connection under construction.
struct Wire {
    steps: Vec<Step>,
    client: Encoder,
    server: Encoder,
}

impl Wire {
    /// With the preface and the SETTINGS of both.
    fn new() -> Self {
        let mut wire = Self::late();
        wire.push(Sent, [PREFACE, &frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])].concat());
        wire.push(Received, frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 1, 0, 0]));
        wire.push(Received, frame(kind::SETTINGS, flag::ACK, 0, &[]));
        wire
    }

    /// Without: we came late.
    fn late() -> Self {
        Self { steps: Vec::new(), client: Encoder::default(), server: Encoder::default() }
    }

    fn push(&mut self, direction: Direction, bytes: Vec<u8>) -> &mut Self {
        self.steps.push(Step::Seen(direction, bytes));
        self
    }

    /// So many bytes at the end of the last step were lost.
    fn lose_end(&mut self, bytes: usize) -> &mut Self {
        let Some(Step::Seen(direction, seen)) = self.steps.last_mut() else { panic!("nothing to lose") };
        let direction = *direction;
        seen.truncate(seen.len() - bytes);
        self.steps.push(Step::Lost(direction, bytes));
        self
    }

    /// The last step was lost.
    fn lose(&mut self) -> &mut Self {
        let Some(Step::Seen(direction, seen)) = self.steps.pop() else { panic!("nothing to lose") };
        self.steps.push(Step::Lost(direction, seen.len()));
        self
    }

    fn block(&mut self, direction: Direction, fields: &[(&str, &str)]) -> Vec<u8> {
        let encoder = if direction == Sent { &mut self.client } else { &mut self.server };
        encoder.encode(fields)
    }

    fn headers(&mut self, direction: Direction, stream: u32, flags: u8, fields: &[(&str, &str)]) -> &mut Self {
        let block = self.block(direction, fields);
        self.push(direction, frame(kind::HEADERS, flags, stream, &block))
    }

    fn request(&mut self, stream: u32, flags: u8, path: &str) -> &mut Self {
        let fields = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "llm.test")];
        self.headers(Sent, stream, flags | ALL, &fields)
    }

    fn answer(&mut self, stream: u32, flags: u8, status: &str, kind: &str) -> &mut Self {
        let fields = [(":status", status), ("content-type", kind)];
        self.headers(Received, stream, flags | ALL, &fields)
    }

    fn data(&mut self, direction: Direction, stream: u32, flags: u8, text: &str) -> &mut Self {
        self.push(direction, frame(kind::DATA, flags, stream, text.as_bytes()))
    }

    fn inputs(&self) -> Vec<Input> {
        let (mut sent, mut received) = (0, 0);
        let mut inputs = Vec::new();
        let mut input = |event| {
            inputs.push(Input { stream: StreamId(1), origin: Arc::new(Origin::default()), at: Timestamp(7), event });
        };
        for step in &self.steps {
            let (direction, length) = match step {
                Step::Seen(direction, bytes) => (*direction, bytes.len()),
                Step::Lost(direction, length) => (*direction, *length),
            };
            let position = if direction == Sent { &mut sent } else { &mut received };
            if let Step::Seen(_, bytes) = step {
                let bytes = Bytes::from(bytes.clone());
                input(StreamEvent::Bytes { direction, offset: *position, bytes });
            }
            *position += length as u64;
        }
        input(StreamEvent::Closed { sent_bytes: Some(sent), received_bytes: Some(received) });
        inputs
    }

    fn run(&self) -> Vec<Assembled> {
        assemble(&self.inputs(), Limits::default())
    }

    /// What comes out, however it is cut.
    #[track_caller]
    fn check(&self, expect: &[&str]) {
        self.check_whole(expect);
        for size in [1, 2, 3, 5, 9, 10, 64] {
            let pieces = cut(&self.inputs(), || size);
            assert_eq!(render(&assemble(&pieces, Limits::default())), expect, "pieces of {size}");
        }
    }

    /// What comes out of these very pieces.
    #[track_caller]
    fn check_whole(&self, expect: &[&str]) {
        assert_eq!(render(&self.run()), expect);
    }
}

fn messages(assembled: &[Assembled]) -> Vec<&Message> {
    assembled.iter().filter_map(|one| if let Assembled::Message(one) = one { Some(&**one) } else { None }).collect()
}

#[test]
fn requests_and_answers_are_paired_by_their_stream() {
    let mut wire = Wire::new();
    wire.request(1, 0, "/a").data(Sent, 1, 0, "ques").request(3, END, "/b").data(Sent, 1, END, "tion");
    wire.answer(3, 0, "200", "text/event-stream").answer(1, 0, "404", "text/plain");
    wire.data(Received, 3, 0, "data: on").data(Received, 1, END, "no").data(Received, 3, END, "e\n\ndata: two\n\n");
    wire.check(&[
        "1 POST /b Complete",
        "0 POST /a Complete: question",
        "0 404 Complete: no",
        "1 200 Complete [=one | =two]",
    ]);
    let out = wire.run();
    let first = messages(&out)[0];
    assert_eq!(first.head.headers().find("host"), Some("llm.test"));
}

#[test]
fn whatever_stands_around_is_read_over() {
    let mut wire = Wire::new();
    let block = wire.block(Sent, &[(":method", "POST"), (":path", "/a"), ("x-long", &"y".repeat(50)), ("x-more", "z")]);
    let (first, rest) = block.split_at(7);
    let (second, third) = rest.split_at(9);
    wire.push(
        Sent,
        frame(kind::HEADERS, flag::PADDED | flag::PRIORITY, 1, &[&[3, 0, 0, 0, 0, 9], first, &[0; 3]].concat()),
    );
    wire.push(Sent, frame(kind::CONTINUATION, 0, 1, second)).push(Sent, frame(kind::CONTINUATION, ALL, 1, third));
    wire.push(Sent, frame(kind::PRIORITY, 0, 1, &[0; 5])).push(Sent, frame(kind::PING, 0, 0, &[0; 8]));
    wire.push(Sent, frame(kind::DATA, flag::PADDED, 1, b"\x04body\0\0\0\0"))
        .push(Sent, frame(0x2a, 0xff, 77, b"grease"));
    wire.push(Sent, frame(kind::DATA, flag::PADDED | END, 1, b"\x02\0\0"));
    wire.headers(Received, 1, ALL, &[(":status", "103"), ("link", "</x>")]);
    let pushed = wire.block(Received, &[(":method", "GET"), (":path", "/pushed"), ("x-pushed", "1")]);
    wire.push(Received, frame(kind::PUSH_PROMISE, ALL, 1, &[&[0, 0, 0, 2], &*pushed].concat()));
    wire.headers(Received, 2, ALL | END, &[(":status", "200"), ("x-pushed", "1")]);
    wire.push(Received, frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]));
    wire.answer(1, 0, "200", "text/plain").data(Received, 1, 0, "yes");
    wire.headers(Received, 1, ALL | END, &[("grpc-status", "13"), ("x-pushed", "1")]);
    wire.check(&["0 POST /a Complete: body", "0 200 Complete: yes"]);
    let out = wire.run();
    let [request, answer] = messages(&out)[..] else { panic!("{out:?}") };
    assert_eq!(request.head.headers().find("x-long"), Some(&*"y".repeat(50)));
    assert_eq!(request.head.headers().find("x-more"), Some("z"));
    assert_eq!(answer.head.headers().find("grpc-status"), Some("13"), "trailers are fields of the message");
    assert_eq!(answer.head.headers().find("x-pushed"), Some("1"), "the block of a promise fills the table too");
}

#[test]
fn a_stream_that_is_broken_off_is_over() {
    let reset = |stream| frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    let mut wire = Wire::new();
    wire.request(1, 0, "/a").data(Sent, 1, 0, "half").push(Sent, reset(1)).answer(1, END, "200", "text/plain");
    wire.request(3, END, "/b").answer(3, 0, "200", "text/plain").data(Received, 3, 0, "part").push(Received, reset(3));
    wire.request(5, END, "/c")
        .request(7, END, "/d")
        .push(Received, frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0]));
    wire.answer(5, END, "204", "text/plain").request(9, END, "/e");
    wire.check(&[
        "0 POST /a Cut: half",
        "over 0",
        "1 POST /b Complete",
        "1 200 Cut: part",
        "2 POST /c Complete",
        "3 POST /d Complete",
        "over 3",
        "2 204 Complete",
        "4 POST /e Complete",
    ]);
}

#[test]
fn the_server_may_be_heard_first() {
    let mut wire = Wire::new();
    wire.request(1, END, "/a").answer(1, END, "200", "text/plain");
    wire.steps.swap(0, 1);
    wire.check(&["0 POST /a Complete", "0 200 Complete"]);
}

#[test]
fn what_is_open_when_the_connection_closes_is_cut() {
    let mut wire = Wire::new();
    wire.request(1, END, "/a");
    wire.headers(Received, 1, ALL, &[(":status", "200"), ("content-length", "10")]).data(Received, 1, 0, "1234");
    wire.check(&["0 POST /a Complete", "0 200 Cut missing 6 of 10: 1234"]);
    let mut wire = Wire::new();
    wire.request(1, 0, "/a").data(Sent, 1, END, "12345678");
    if let Some(Step::Seen(_, bytes)) = wire.steps.last_mut() {
        bytes.truncate(HEADER_BYTES + 3);
    }
    wire.check(&["0 POST /a Cut missing 5 of 8: 123"]);
}

#[test]
fn a_hole_in_a_body_leaves_the_others_whole() {
    let mut wire = Wire::new();
    wire.request(1, END, "/a").request(3, END, "/b").answer(1, 0, "200", "text/plain").answer(
        3,
        0,
        "200",
        "text/plain",
    );
    wire.data(Received, 1, 0, "0123456789").lose_end(4).data(Received, 3, 0, "whole");
    wire.data(Received, 1, END, "rest").data(Received, 3, END, "!");
    wire.check(&[
        "0 POST /a Complete",
        "1 POST /b Complete",
        "! Gap",
        "0 200 Gap missing 4 of 14: 012345",
        "1 200 Complete: whole!",
    ]);
    // The padding is no part of the body, lost or not.
    let mut wire = Wire::new();
    wire.request(1, 0, "/a").push(Sent, frame(kind::DATA, flag::PADDED | END, 1, b"\x03body\0\0\0")).lose_end(4);
    wire.check(&["! Gap", "0 POST /a Gap missing 1 of 4: bod"]);
}

#[test]
fn a_hole_that_takes_a_frame_ends_what_is_open() {
    let mut wire = Wire::new();
    wire.request(1, END, "/a").request(3, END, "/b").answer(1, 0, "200", "text/plain").data(Received, 1, 0, "start");
    wire.data(Received, 1, 0, "lost").lose().data(Received, 1, END, "behind").answer(3, 0, "200", "text/plain");
    wire.data(Received, 3, END, "known");
    // The content type of the second answer is named by an entry of the table that may have moved.
    wire.check_whole(&[
        "0 POST /a Complete",
        "1 POST /b Complete",
        "! Gap",
        "0 200 Gap: start",
        "! UnknownFields",
        "1 200 Complete: known",
    ]);
    let mut wire = Wire::new();
    wire.request(1, 0, "/a").data(Sent, 1, 0, "0123456789").lose_end(4).data(Sent, 1, 0, "gone").lose();
    wire.data(Sent, 1, END, "behind").request(3, END, "/a");
    // Two holes next to each other are one.
    wire.check_whole(&["! Gap", "0 POST /a Gap missing 4 of 10: 012345", "! UnknownFields", "1 POST  Complete"]);
}

#[test]
fn half_a_head_says_what_it_said() {
    let mut wire = Wire::new();
    wire.request(1, END, "/a/b/c").lose_end(9);
    wire.request(3, END, "/d");
    wire.check(&["! Gap", "! UnknownFields", "0 POST /a/b/c Complete", "! UnknownFields", "1 POST /d Complete"]);
}

#[test]
fn a_lost_answer_is_no_other_answer() {
    let mut wire = Wire::new();
    wire.request(1, END, "/a").answer(1, 0, "200", "text/plain").lose().data(Received, 1, 0, "body");
    wire.headers(Received, 1, ALL | END, &[("grpc-status", "0")]);
    wire.check_whole(&["0 POST /a Complete", "! Gap", "over 0"]);
}

#[test]
fn who_comes_late_reads_what_is_certain() {
    let mut wire = Wire::late();
    wire.request(1, END, "/a").answer(1, END, "200", "application/json");
    wire.steps.clear();
    wire.data(Received, 1, 0, "in the midst of an answer ...").data(Sent, 3, END, "and of a request");
    let Some(Step::Seen(_, bytes)) = wire.steps.first_mut() else { panic!() };
    bytes.drain(..HEADER_BYTES + 4);
    wire.request(5, 0, "/a").data(Sent, 5, END, "question");
    wire.answer(5, 0, "200", "application/json").data(Received, 5, END, "answer");
    wire.request(7, END, "/new").headers(Received, 7, ALL | END, &[(":status", "429"), ("x-new", "1")]);
    wire.headers(Received, 9, ALL | END, &[(":status", "429"), ("x-new", "1")]);
    wire.check_whole(&[
        "! NotHttp",
        "! NotHttp",
        "! UnknownFields",
        "0 POST  Complete: question",
        "! UnknownFields",
        "0 200 Complete: answer",
        "! UnknownFields",
        "1 POST /new Complete",
        "1 429 Complete",
        "- 429 Complete",
    ]);
    let out = wire.run();
    assert_eq!(messages(&out)[4].head.headers().find("x-new"), Some("1"), "inserted since");
    assert_eq!(messages(&out)[1].head.headers().find("content-type"), None);
}

#[test]
fn an_unknown_coding_is_seen_in_the_body() {
    let mut wire = Wire::late();
    let head = [(":status", "200"), ("content-encoding", "gzip"), ("x-coding", "gzip")];
    wire.headers(Received, 1, ALL, &head);
    wire.steps.clear();
    wire.request(3, END, "/a").headers(Received, 3, ALL, &[(":status", "200"), ("x-coding", "gzip")]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, b"plain text").unwrap();
    let coded = encoder.finish().unwrap();
    for byte in &coded {
        wire.push(Received, frame(kind::DATA, 0, 3, &[*byte]));
    }
    wire.data(Received, 3, END, "");
    let out = wire.run();
    let answer = messages(&out)[1];
    assert_eq!(answer.body.content, Content::Bytes(b"plain text".to_vec()));
    assert_eq!(answer.head.headers().find("content-encoding"), None, "the head says what the wire said");
}

#[test]
fn messages_of_grpc_are_events() {
    let mut wire = Wire::new();
    wire.headers(
        Sent,
        1,
        ALL,
        &[(":method", "POST"), (":path", "/llm.Service/Ask"), ("content-type", "application/grpc")],
    );
    wire.data(Sent, 1, 0, "\0\0\0\0\u{7}\n").data(Sent, 1, END, "\u{5}hello");
    wire.answer(1, 0, "200", "application/grpc+proto");
    wire.data(Received, 1, 0, "\0\0\0\0\u{5}\n\u{3}one\0\0").data(Received, 1, 0, "\0\0\u{5}\u{12}\u{3}two");
    wire.headers(Received, 1, ALL | END, &[("grpc-status", "0")]);
    wire.check(&["0 POST /llm.Service/Ask Complete [=hello]", "0 200 Complete [=one | =two]"]);
}

#[test]
fn streams_and_blocks_are_bounded() {
    let limits = Limits { outstanding: 2, head_bytes: 100, ..Limits::default() };
    let mut wire = Wire::new();
    wire.request(1, 0, "/a").data(Sent, 1, 0, "half").request(3, END, "/b").request(5, END, "/c");
    wire.headers(Sent, 7, ALL | END, &[(":method", "GET"), (":path", "/d"), ("x-long", &"y".repeat(200))]);
    wire.request(9, END, "/e");
    let lines = render(&assemble(&wire.inputs(), limits));
    let expect = [
        "1 POST /b Complete",
        "! Evicted",
        "0 POST /a Cut: half",
        "over 0",
        "2 POST /c Complete",
        "! UnknownFields",
        "! Evicted",
        "over 1",
        "3 GET /d Complete",
        "! UnknownFields",
        "! Evicted",
        "over 2",
        "4 POST /e Complete",
    ];
    assert_eq!(lines, expect);
}

#[test]
fn an_idle_connection_is_small() {
    let mut assembler = crate::assembly::Assembler::new(Limits::default());
    let (mut wire, mut out) = (Wire::new(), Vec::new());
    for call in 0..200_u32 {
        let path = format!("/v1/messages/{call}");
        wire.request(call * 2 + 1, END, &path).headers(
            Received,
            call * 2 + 1,
            ALL | END,
            &[(":status", "200"), (&format!("x-{call}"), &"v".repeat(call as usize))],
        );
    }
    let inputs = wire.inputs();
    for input in &inputs[..inputs.len() - 1] {
        assembler.push(input, &mut out);
    }
    assert_eq!(messages(&out).len(), 400);
    assert!(assembler.buffered_bytes() <= 2 * 4096, "{}", assembler.buffered_bytes());
    assert!(size_of::<super::Http2>() < 700, "{}", size_of::<super::Http2>());
}

/// Requests and answers whose bodies are cut into frames that lie between each other.
fn conversation(calls: &[(usize, usize)], order: &[usize], frame_bytes: usize) -> (Wire, Vec<String>) {
    let body = |letter: char, length: usize| -> String {
        (0..length).map(|index| char::from(b'a' + (index / 7 + index + letter as usize) as u8 % 26)).collect()
    };
    let (mut wire, mut bodies) = (Wire::new(), Vec::new());
    let mut open = Vec::new();
    for (number, (asked, answered)) in calls.iter().enumerate() {
        let stream = number as u32 * 2 + 1;
        wire.request(stream, 0, &format!("/{number}"));
        wire.answer(stream, 0, "200", ["text/plain", "application/json"][number % 2]);
        for (direction, letter, length) in [(Sent, 'q', *asked), (Received, 'z', *answered)] {
            let text = body(letter, length);
            open.push((direction, stream, text.clone()));
            bodies.push(text);
        }
    }
    let mut turns = order.iter().cycle();
    while !open.is_empty() {
        let at = turns.next().unwrap() % open.len();
        let (direction, stream, text) = &mut open[at];
        let rest = text.split_off(frame_bytes.min(text.len()));
        wire.data(*direction, *stream, if rest.is_empty() { END } else { 0 }, text);
        if rest.is_empty() {
            open.remove(at);
        } else {
            open[at].2 = rest;
        }
    }
    (wire, bodies)
}

fn calls() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0usize..200, 0usize..200), 1..5)
}

proptest! {
    #[test]
    fn any_split_gives_the_same_messages(
        calls in calls(),
        order in prop::collection::vec(0usize..100, 1..20),
        frame_bytes in 1usize..90,
        sizes in prop::collection::vec(1usize..50, 1..20),
    ) {
        let (wire, _) = conversation(&calls, &order, frame_bytes);
        let whole = wire.inputs();
        let mut sizes = sizes.iter().cycle();
        let pieces = cut(&whole, || *sizes.next().unwrap());
        let (whole, split) = (assemble(&whole, Limits::default()), assemble(&pieces, Limits::default()));
        prop_assert_eq!(messages(&whole).iter().filter(|one| one.end == End::Complete).count(), calls.len() * 2);
        prop_assert_eq!(render(&split), render(&whole));
    }

    #[test]
    fn lost_pieces_never_join_what_was_apart(
        calls in calls(),
        order in prop::collection::vec(0usize..100, 1..20),
        frame_bytes in 1usize..90,
        sizes in prop::collection::vec(1usize..50, 1..20),
        lost in prop::collection::vec(0u8..6, 1..60),
        late in 0usize..4,
    ) {
        let (wire, bodies) = conversation(&calls, &order, frame_bytes);
        let mut sizes = sizes.iter().cycle();
        let pieces = cut(&wire.inputs(), || *sizes.next().unwrap());
        let mut lost = lost.iter().cycle();
        let kept: Vec<_> = pieces.into_iter().skip(late).filter(|_| *lost.next().unwrap() != 0).collect();
        for message in messages(&assemble(&kept, Limits::default())) {
            if let crate::assembly::Head::Request { target, .. } = &message.head {
                let number = message.head.headers().find("host").map(|_| target.len());
                prop_assert!(target.is_empty() || number.is_none() || target.starts_with('/'), "{target:?}");
            }
            for (name, value) in &message.head.headers().0 {
                let known = [("host", "llm.test"), ("content-type", "text/plain"), ("content-type", "application/json")];
                prop_assert!(known.contains(&(name, value)), "{name}: {value}");
            }
            let Content::Bytes(content) = &message.body.content else { continue };
            let text = str::from_utf8(content).unwrap();
            prop_assert!(bodies.iter().any(|body| body.starts_with(text)), "{text:?} was never contiguous");
            if message.end == End::Complete {
                prop_assert!(bodies.iter().any(|body| body == text), "{text:?} is not whole");
            }
        }
    }

    #[test]
    fn garbage_never_panics(
        frames in prop::collection::vec(
            (any::<bool>(), 0u8..11, any::<u8>(), 0u32..6, prop::collection::vec(any::<u8>(), 0..40), 0u64..3, any::<bool>()),
            0..30,
        ),
        with_preface in any::<bool>(),
    ) {
        let mut wire = if with_preface { Wire::new() } else { Wire::late() };
        for (sent, kind, flags, stream, payload, lost, cut) in frames {
            let mut bytes = frame(kind, flags, stream, &payload);
            if cut {
                bytes.truncate(bytes.len() * 2 / 3);
            }
            let direction = if sent { Sent } else { Received };
            wire.push(direction, bytes);
            if lost == 0 {
                wire.lose();
            }
        }
        assemble(&wire.inputs(), Limits { body_bytes: 100, head_bytes: 60, outstanding: 2, ..Limits::default() });
    }
}
