//! WebSockets: what peers may do, what a tap may lose, and what nobody should send. The senders are written here or are
//! tungstenite's own.

use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use proptest::prelude::*;
use tungstenite::{
    Message as Said, WebSocket as Peer,
    protocol::{
        Role,
        frame::{
            FrameHeader,
            coding::{Control, Data, OpCode},
        },
    },
};

use super::{tests::cut, *};
use crate::sources::{Input, StreamEvent};

const ASK: &[u8] = b"GET /v1/realtime HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n";

fn agree(extensions: &str) -> Vec<u8> {
    format!("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n{extensions}\r\n")
        .into_bytes()
}

fn header(opcode: OpCode, is_final: bool, rsv1: bool, mask: Option<[u8; 4]>, length: u64) -> Vec<u8> {
    let mut wire = Vec::new();
    FrameHeader { is_final, rsv1, opcode, mask, ..FrameHeader::default() }.format(length, &mut wire).unwrap();
    wire
}

/// A frame of the server.
fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    [header(opcode, is_final, false, None, payload.len() as u64), payload.to_vec()].concat()
}

fn text(payload: &str) -> Vec<u8> {
    frame(OpCode::Data(Data::Text), true, payload.as_bytes())
}

/// Pieces of a connection; `None` is a piece that was lost.
struct Wire {
    inputs: Vec<Input>,
    sent: u64,
    received: u64,
}

impl Wire {
    fn open(extensions: &str) -> Self {
        let mut wire = Self { inputs: Vec::new(), sent: 0, received: 0 };
        wire.give(Direction::Sent, ASK);
        wire.give(Direction::Received, &agree(extensions));
        wire
    }

    fn position(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }

    fn input(&mut self, event: StreamEvent) {
        let at = Timestamp(self.inputs.len() as u64 + 1);
        self.inputs.push(Input { stream: StreamId(1), origin: Arc::new(Origin::default()), at, event });
    }

    fn give(&mut self, direction: Direction, bytes: &[u8]) {
        let offset = *self.position(direction);
        *self.position(direction) += bytes.len() as u64;
        self.input(StreamEvent::Bytes { direction, offset, bytes: Bytes::copy_from_slice(bytes) });
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.give(Direction::Received, bytes);
    }

    fn lose(&mut self, bytes: u64) {
        self.received += bytes;
    }

    fn close(&mut self) {
        let (sent_bytes, received_bytes) = (Some(self.sent), Some(self.received));
        self.input(StreamEvent::Closed { sent_bytes, received_bytes });
    }
}

fn frames_with(inputs: &[Input], limits: Limits) -> (Vec<Frame>, Vec<AnomalyKind>) {
    let (mut assembler, mut out) = (Assembler::new(limits), Vec::new());
    for input in inputs {
        assembler.push(input, &mut out);
    }
    assembler.finish(Timestamp(9), &mut out);
    assert_eq!((assembler.connections(), assembler.buffered_bytes()), (0, 0), "nothing is held after the end");
    let (mut frames, mut anomalies) = (Vec::new(), Vec::new());
    for assembled in out {
        match assembled {
            Assembled::Frame(frame) => frames.push(*frame),
            Assembled::Anomaly(anomaly) => anomalies.push(anomaly.kind),
            _ => {}
        }
    }
    (frames, anomalies)
}

fn frames(inputs: &[Input]) -> Vec<Frame> {
    frames_with(inputs, Limits::default()).0
}

/// `text End missing/unread of wire`, short for a whole one.
fn render(frames: &[Frame]) -> Vec<String> {
    let line = |frame: &Frame| {
        let Frame { data, end, missing_bytes, unread_bytes, wire_bytes, .. } = frame;
        let side = if frame.direction == Direction::Sent { "> " } else { "" };
        match end {
            End::Complete if *unread_bytes == 0 => format!("{side}{data}"),
            _ => format!("{side}{data} {end:?} {missing_bytes}/{unread_bytes} of {wire_bytes}"),
        }
    };
    frames.iter().map(line).collect()
}

/// The same in pieces of any size.
fn check(wire: &Wire, limits: Limits, expected: &[&str]) -> Vec<AnomalyKind> {
    let (whole, anomalies) = frames_with(&wire.inputs, limits);
    assert_eq!(render(&whole), expected);
    for size in [1, 2, 3, 5, 7, 64] {
        let (split, _) = frames_with(&cut(&wire.inputs, || size), limits);
        assert_eq!(render(&split), expected, "pieces of {size}");
    }
    anomalies
}

#[test]
fn messages_of_every_kind() {
    let mut wire = Wire::open("");
    let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
    // RFC 6455, section 5.7: a masked "Hello".
    wire.give(Direction::Sent, &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    wire.receive(&text("Hello"));
    wire.receive(&text(""));
    // Fragmented, with a ping between.
    wire.receive(&frame(OpCode::Data(Data::Text), false, b"He"));
    wire.receive(&frame(OpCode::Control(Control::Ping), true, b"Hello"));
    wire.receive(&frame(OpCode::Data(Data::Continue), false, b""));
    wire.receive(&frame(OpCode::Data(Data::Continue), true, b"llo"));
    // A character over two fragments.
    wire.receive(&frame(OpCode::Data(Data::Text), false, b"gr\xc3"));
    wire.receive(&frame(OpCode::Data(Data::Continue), true, b"\xbc\xc3\x9f"));
    // Lengths of 16 and 64 bits, and one that is longer than it has to be.
    let long = "x".repeat(70_000);
    wire.receive(&text(&long[..300]));
    wire.receive(&text(&long));
    wire.receive(&[&[0x81, 127, 0, 0, 0, 0, 0, 0, 0, 2][..], b"ab"].concat());
    // Masked by the server: not allowed, and readable.
    wire.receive(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    wire.receive(&frame(OpCode::Data(Data::Binary), true, br#"{"binary":true}"#));
    wire.receive(&frame(OpCode::Data(Data::Binary), true, b"\0\x01\xfe\xff{\"wrapped\":1}\0\xff"));
    wire.receive(&frame(OpCode::Control(Control::Close), true, &[3, 0xe8]));
    wire.receive(b"what follows a close is nothing");
    wire.give(Direction::Sent, &header(OpCode::Control(Control::Close), true, false, mask, 0));
    wire.close();
    let binary = "{\"wrapped\":1}\n Complete 0/5 of 21";
    let expected = [
        "> Hello",
        "Hello",
        "",
        "Hello",
        "gr\u{fc}\u{df}",
        &long[..300],
        &long,
        "ab",
        "Hello",
        "{\"binary\":true}",
        binary,
    ];
    assert_eq!(check(&wire, Limits::default(), &expected), []);
}

#[test]
fn what_a_frame_knows() {
    let mut wire = Wire::open("");
    wire.receive(&frame(OpCode::Data(Data::Text), false, b"He"));
    wire.receive(&frame(OpCode::Data(Data::Continue), true, b"llo"));
    let [frame] = &frames(&wire.inputs)[..1] else { panic!() };
    assert_eq!((frame.call, frame.wire_bytes, frame.missing_bytes), (Some(0), 9, 0));
    assert_eq!((frame.started_at, frame.ended_at), (Timestamp(3), Timestamp(4)));
}

#[test]
fn compressed_messages() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let packed = |payload: &[u8], is_first: bool, is_final: bool| {
        let opcode = OpCode::Data(if is_first { Data::Text } else { Data::Continue });
        [header(opcode, is_final, is_first, None, payload.len() as u64), payload.to_vec()].concat()
    };
    // RFC 7692, sections 7.2.3.1 and 7.2.3.2: whole, in fragments, and with the window of the message before.
    let mut wire = Wire::open("sec-websocket-extensions: permessage-deflate\r\n");
    wire.receive(&packed(&hello, true, true));
    wire.receive(&[packed(&hello[..3], true, false), packed(&hello[3..], false, true)].concat());
    wire.receive(&text("not compressed"));
    wire.receive(&packed(&again, true, true));
    wire.close();
    check(&wire, Limits::default(), &["Hello", "Hello", "not compressed", "Hello"]);
    // A window that is not taken over.
    let mut wire = Wire::open("sec-websocket-extensions: permessage-deflate; server_no_context_takeover\r\n");
    wire.receive(&packed(&hello, true, true));
    wire.receive(&packed(&again, true, true));
    wire.receive(&packed(&hello, true, true));
    wire.close();
    let anomalies = check(&wire, Limits::default(), &["Hello", "H Unreadable 0/7 of 7", "Hello"]);
    assert_eq!(anomalies, [AnomalyKind::BadEncoding]);
    // Nobody agreed on it.
    let mut wire = Wire::open("");
    wire.receive(&packed(&hello, true, true));
    wire.receive(&text("next"));
    wire.close();
    check(&wire, Limits::default(), &[" Unreadable 0/9 of 9", "next"]);
}

#[test]
fn a_hole_in_a_payload_freezes_its_message_and_no_other() {
    let mut wire = Wire::open("");
    let whole = text("0123456789");
    wire.receive(&whole[..5]);
    wire.lose(4);
    wire.receive(&whole[9..]);
    wire.receive(&text("next"));
    // A hole that is the end of a payload, and one that is all of a ping's.
    wire.receive(&whole[..5]);
    wire.lose(7);
    wire.receive(&header(OpCode::Control(Control::Ping), true, false, None, 4));
    wire.lose(4);
    wire.receive(&text("last"));
    wire.close();
    check(&wire, Limits::default(), &["012 Gap 4/3 of 12", "next", "012 Gap 7/0 of 12", " Gap 4/0 of 4", "last"]);
}

#[test]
fn a_hole_that_takes_a_header_ends_the_reading_until_a_message_proves_itself() {
    let json = text(r#"{"type":"a"}"#);
    let run = |pieces: &[&[u8]]| {
        let mut wire = Wire::open("");
        wire.receive(&text("first")[..4]);
        wire.lose(20);
        for piece in pieces {
            wire.receive(piece);
        }
        wire.close();
        render(&frames(&wire.inputs))
    };
    let lost = ["fi Gap 3/0 of 7", " Gap 17/0 of 17"];
    let found = run(&[b"not a frame", &json, &text("then")]);
    assert_eq!(found, [&lost[..], &[" Gap 0/11 of 11", "{\"type\":\"a\"}", "then"]].concat());
    // The start of a frame that begins in the middle of a piece is not looked for.
    let found = run(&[&[b"xx", &json[..]].concat()]);
    assert_eq!(found, [&lost[..], &[" Gap 0/16 of 16", " Cut 0/0 of 0"]].concat());
    // It looks like a frame and ends like none: bytes of a text that happen to be a header.
    for payload in ["{\"type\":\"a\"", "{} {}", "{not json}", "plain"] {
        let found = run(&[&text(payload), &json]);
        let skipped = format!(" Gap 0/{0} of {0}", payload.len() + 2);
        assert_eq!(found, [&lost[..], &[&skipped, "{\"type\":\"a\"}"]].concat(), "{payload}");
    }
    // A client masks, a server does not.
    let masked = header(OpCode::Data(Data::Text), true, false, Some([0; 4]), 2);
    assert_eq!(run(&[&[&masked[..], b"{}"].concat()])[2..], [" Gap 0/8 of 8", " Cut 0/0 of 0"]);
    assert_eq!(run(&[])[2..], [" Cut 0/0 of 0"]);
}

#[test]
fn hostile_frames() {
    for (name, bytes) in [
        ("an unknown opcode", &[0x83, 0x01, b'a'][..]),
        ("a length whose first bit is set", &[0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0, b'a']),
        ("a ping in fragments", &[0x09, 0x01, b'a']),
        ("a ping that is too long", &[0x89, 126, 0, 200, b'a']),
        ("a continuation of nothing", &[0x80, 0x01, b'a']),
    ] {
        let mut wire = Wire::open("");
        wire.receive(&text("before"));
        wire.receive(bytes);
        wire.receive(&text("{}"));
        wire.close();
        let (found, anomalies) = frames_with(&wire.inputs, Limits::default());
        let skipped = format!(" Gap 0/{0} of {0}", bytes.len());
        assert_eq!(render(&found), ["before", &skipped, "{}"], "{name}");
        assert_eq!(anomalies, [AnomalyKind::UnknownProtocol], "{name}");
    }
    // A message that begins inside another.
    let mut wire = Wire::open("");
    wire.receive(&frame(OpCode::Data(Data::Text), false, b"one"));
    wire.receive(&text("two"));
    wire.close();
    assert_eq!(render(&frames(&wire.inputs))[0], "one Unreadable 0/0 of 5");
    // A length that never comes costs nothing.
    let mut wire = Wire::open("");
    wire.receive(&[0x81, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, b'a']);
    let (mut assembler, mut out) = (Assembler::new(Limits::default()), Vec::new());
    wire.inputs.iter().for_each(|input| assembler.push(input, &mut out));
    assert!(assembler.buffered_bytes() < 1 << 10);
}

#[test]
fn bounds() {
    let limits = Limits { body_bytes: 10, ..Limits::default() };
    let mut wire = Wire::open("");
    wire.receive(&text("0123456789"));
    wire.receive(&text("0123456789abcde"));
    wire.receive(&frame(OpCode::Data(Data::Text), false, b"01234567"));
    wire.receive(&frame(OpCode::Data(Data::Continue), true, b"89ab"));
    wire.close();
    check(&wire, limits, &["0123456789", "0123456789 TooLarge 0/5 of 17", "0123456789 TooLarge 0/2 of 16"]);
}

#[test]
fn an_end_without_a_close_is_a_cut_unless_the_connection_is_seen_to_close() {
    let mut wire = Wire::open("");
    wire.receive(&text("whole"));
    let open = render(&frames(&wire.inputs));
    assert_eq!(open, ["whole", ">  Cut 0/0 of 0", " Cut 0/0 of 0"], "the source ended: who knows");
    wire.receive(&text("half")[..4]);
    wire.close();
    check(&wire, Limits::default(), &["whole", "ha Cut 2/0 of 6", " Cut 0/0 of 0"]);
}

#[test]
fn other_upgrades_are_left_alone() {
    let mut wire = Wire { inputs: Vec::new(), sent: 0, received: 0 };
    wire.give(Direction::Sent, b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\n\r\n");
    wire.receive(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n\x81\x05Hello");
    wire.close();
    let (found, anomalies) = frames_with(&wire.inputs, Limits::default());
    assert_eq!((found.len(), anomalies), (0, vec![AnomalyKind::UnknownProtocol]));
}

type Noted = Vec<(Direction, Vec<u8>)>;

/// Both ends of a connection in memory; what each writes is noted.
#[derive(Clone, Default)]
struct Pipe {
    /// To the server, to the client.
    queues: Arc<Mutex<[Vec<u8>; 2]>>,
    noted: Arc<Mutex<Noted>>,
}

struct Side(Pipe, Direction);

impl Read for Side {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut queues = self.0.queues.lock().unwrap();
        let queue = &mut queues[usize::from(self.1 == Direction::Sent)];
        let length = queue.len().min(into.len());
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        into[..length].copy_from_slice(&queue[..length]);
        queue.drain(..length);
        Ok(length)
    }
}

impl Write for Side {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.queues.lock().unwrap()[usize::from(self.1 == Direction::Received)].extend_from_slice(bytes);
        self.0.noted.lock().unwrap().push((self.1, bytes.to_vec()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn tungstenite_talks_to_itself() {
    use tungstenite::handshake::{HandshakeError, MidHandshake};

    fn go_on<R: tungstenite::handshake::HandshakeRole>(
        middle: MidHandshake<R>,
    ) -> Result<R::FinalResult, MidHandshake<R>> {
        middle.handshake().map_err(|error| match error {
            HandshakeError::Interrupted(middle) => middle,
            HandshakeError::Failure(error) => panic!("{error}"),
        })
    }

    let pipe = Pipe::default();
    let client = tungstenite::client("ws://api.example/v1/realtime?model=m", Side(pipe.clone(), Direction::Sent));
    let Err(HandshakeError::Interrupted(client)) = client else { panic!("it waits for the answer") };
    let mut server: Peer<Side> = tungstenite::accept(Side(pipe.clone(), Direction::Received)).unwrap();
    let Ok((mut client, _)) = go_on(client) else { panic!("the answer is there") };
    let said = ["{\"type\":\"session.update\"}".to_owned(), "gr\u{fc}\u{df} dich".to_owned(), "x".repeat(200_000)];
    for text in &said {
        client.send(Said::text(text.clone())).unwrap();
        client.send(Said::Ping(Bytes::from_static(b"p"))).unwrap();
        while let Ok(message) = server.read() {
            if message.is_text() {
                server.send(Said::binary(message.into_data())).unwrap();
            }
        }
        while client.read().is_ok() {}
    }
    client.close(None).unwrap();
    while server.read().is_ok() {}
    while client.read().is_ok() {}
    let mut wire = Wire { inputs: Vec::new(), sent: 0, received: 0 };
    for (direction, bytes) in pipe.noted.lock().unwrap().iter() {
        wire.give(*direction, bytes);
    }
    wire.close();
    let expected: Vec<String> = said.iter().flat_map(|text| [format!("> {text}"), text.clone()]).collect();
    for size in [1, 13, 4096, usize::MAX] {
        let found = frames(&cut(&wire.inputs, || size));
        assert_eq!(render(&found), expected, "pieces of {size}");
    }
    let alone = Peer::from_raw_socket(Side(Pipe::default(), Direction::Sent), Role::Client, None);
    assert!(alone.can_write());
}

/// A conversation of JSON messages, each with its number in it, in frames as a seed has them.
fn conversation(texts: &[String], seed: u64, deflate: Option<bool>) -> Vec<(Direction, Vec<u8>)> {
    use crate::sources::replay::{
        Request, SessionMessage,
        wire_ws::{Peers, Takeover, wire},
    };
    let messages: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let data = serde_json::json!({"number": index, "text": text}).to_string().into_bytes();
            SessionMessage { is_sent: index % 3 == 0, is_binary: false, data }
        })
        .collect();
    let deflate = deflate.map(|keeps| if keeps { Takeover::Both } else { Takeover::Neither });
    let request = Request { target: "/".into(), authority: "a.example".into(), ..Request::default() };
    let fragments = (seed > 0).then_some(seed);
    wire(&request, &messages, Peers { fragments, deflate, is_binary: seed % 2 == 1, is_cut: false })
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-zé\u{1f600}{}\\[\\]\"]{0,60}", 1..12)
}

proptest! {
    #[test]
    fn any_split_gives_the_same_messages(
        texts in texts(),
        seed in 0u64..1000,
        deflate in prop::option::of(any::<bool>()),
        sizes in prop::collection::vec(1usize..40, 1..20),
    ) {
        let mut wire = Wire { inputs: Vec::new(), sent: 0, received: 0 };
        for (direction, bytes) in conversation(&texts, seed, deflate) {
            wire.give(direction, &bytes);
        }
        wire.close();
        let mut sizes = sizes.iter().cycle();
        let whole = frames(&wire.inputs);
        let split = frames(&cut(&wire.inputs, || *sizes.next().unwrap()));
        prop_assert_eq!(render(&split), render(&whole));
        prop_assert_eq!(whole.len(), texts.len());
        for (index, (frame, text)) in whole.iter().zip(&texts).enumerate() {
            let expected = serde_json::json!({"number": index, "text": text}).to_string();
            prop_assert_eq!((&frame.data, frame.end), (&expected, End::Complete));
        }
    }

    #[test]
    fn lost_pieces_never_join_what_was_apart(
        texts in texts(),
        seed in 0u64..1000,
        deflate in prop::option::of(any::<bool>()),
        sizes in prop::collection::vec(1usize..40, 1..20),
        lost in prop::collection::vec(0u8..5, 1..40),
    ) {
        let mut wire = Wire { inputs: Vec::new(), sent: 0, received: 0 };
        let conversation = conversation(&texts, seed, deflate);
        for (direction, bytes) in &conversation {
            wire.give(*direction, bytes);
        }
        wire.close();
        let said: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| serde_json::json!({"number": index, "text": text}).to_string())
            .collect();
        let (mut sizes, mut lost) = (sizes.iter().cycle(), lost.iter().cycle());
        let pieces = cut(&wire.inputs, || *sizes.next().unwrap());
        // The first two pieces are the upgrade: without it there is no session.
        let [asked, agreed] = [0, 1].map(|index: usize| conversation[index].1.len() as u64);
        let is_upgrade = |input: &Input| matches!(&input.event, StreamEvent::Bytes { direction, offset, .. }
            if *offset < if *direction == Direction::Sent { asked } else { agreed });
        let kept: Vec<_> = pieces.into_iter().filter(|piece| is_upgrade(piece) || *lost.next().unwrap() > 0).collect();
        for frame in frames(&kept) {
            prop_assert!(said.iter().any(|said| said.starts_with(&frame.data)), "{:?} was never said", frame.data);
            if frame.end == End::Complete {
                prop_assert!(said.contains(&frame.data), "{:?} is not whole", frame.data);
            }
        }
    }

    #[test]
    fn garbage_never_panics(
        pieces in prop::collection::vec((any::<bool>(), 0u64..40, prop::collection::vec(any::<u8>(), 0..40)), 0..30),
        deflate in any::<bool>(),
    ) {
        let extensions = if deflate { "sec-websocket-extensions: permessage-deflate\r\n" } else { "" };
        let mut wire = Wire::open(extensions);
        for (is_sent, skip, bytes) in pieces {
            let direction = if is_sent { Direction::Sent } else { Direction::Received };
            *wire.position(direction) += skip / 30;
            wire.give(direction, &bytes);
        }
        wire.close();
        frames_with(&wire.inputs, Limits { body_bytes: 50, ..Limits::default() });
    }
}
