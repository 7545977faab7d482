//! Connections of a client and a server that we did not write (the crate h2), recorded between the two.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::{
    assembly::{
        Assembled, Content, End, Head, Limits, Message,
        tests::{assemble, cut, render},
    },
    sources::{Direction, Input, Origin, StreamEvent, StreamId},
    units::Timestamp,
};

const CALLS: usize = 12;

type Log = Arc<Mutex<Vec<(Direction, Vec<u8>)>>>;

/// The client's end, as a tap sees it.
struct Recorder {
    inner: DuplexStream,
    log: Log,
}

impl AsyncRead for Recorder {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let fresh = buffer.filled()[before..].to_vec();
        if !fresh.is_empty() {
            self.log.lock().unwrap().push((Direction::Received, fresh));
        }
        result
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(taken)) = &result {
            self.log.lock().unwrap().push((Direction::Sent, bytes[..*taken].to_vec()));
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The body of call `number`: every byte says where it stands.
fn body(letter: char, number: usize) -> String {
    let length = [0, 10, 900, 40_000, 90_000][number % 5] + number;
    (0..length).map(|index| char::from(b'a' + (index / 7 + index + letter as usize + number) as u8 % 26)).collect()
}

async fn read(mut stream: h2::RecvStream) -> usize {
    let mut length = 0;
    while let Some(piece) = stream.data().await {
        let piece = piece.unwrap();
        length += piece.len();
        stream.flow_control().release_capacity(piece.len()).unwrap();
    }
    length
}

async fn serve(io: DuplexStream, table_bytes: u32) {
    let mut server = h2::server::Builder::new();
    server.header_table_size(table_bytes).max_frame_size(20_000);
    let mut connection = server.handshake::<_, Bytes>(io).await.unwrap();
    while let Some(call) = connection.accept().await {
        let Ok((request, mut respond)) = call else { return };
        tokio::spawn(async move {
            let number: usize = request.headers()["x-number"].to_str().unwrap().parse().unwrap();
            read(request.into_body()).await;
            let response = Response::builder()
                .status(if number == 3 { 429 } else { 200 })
                .header("content-type", "text/plain")
                .header("x-request-id", format!("req_{number}"))
                .header("server", "of the test")
                .body(())
                .unwrap();
            let mut stream = respond.send_response(response, false).unwrap();
            stream.send_data(body('z', number).into(), number.is_multiple_of(2)).unwrap();
            if !number.is_multiple_of(2) {
                stream
                    .send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]))
                    .unwrap();
            }
        });
    }
}

async fn ask(io: Recorder, table_bytes: u32) {
    let mut client = h2::client::Builder::new();
    client.header_table_size(table_bytes).initial_window_size(30_000);
    let (client, connection) = client.handshake::<_, Bytes>(io).await.unwrap();
    let connection = tokio::spawn(connection);
    for round in 0..3 {
        let mut calls = Vec::new();
        for number in (0..CALLS).filter(|number| number / 4 == round) {
            let request = Request::builder()
                .version(Version::HTTP_2)
                .method("POST")
                .uri(format!("https://llm.test/v1/{}", number % 4))
                .header("authorization", "Bearer of-the-test")
                .header("x-number", number)
                .body(())
                .unwrap();
            let mut client = client.clone().ready().await.unwrap();
            calls.push(tokio::spawn(async move {
                let (answer, mut stream) = client.send_request(request, false).unwrap();
                stream.send_data(body('q', number).into(), true).unwrap();
                read(answer.await.unwrap().into_body()).await
            }));
        }
        for (number, call) in (round * 4..).zip(calls) {
            assert_eq!(call.await.unwrap(), body('z', number).len());
        }
    }
    drop(client);
    connection.await.unwrap().unwrap();
}

/// What the tap sees of [`CALLS`] calls.
fn recorded(table_bytes: u32) -> Vec<Input> {
    let log = Log::default();
    let (client, server) = tokio::io::duplex(10_000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let io = Recorder { inner: client, log: Arc::clone(&log) };
    runtime.block_on(async {
        let server = tokio::spawn(serve(server, table_bytes));
        ask(io, table_bytes).await;
        server.await.unwrap();
    });
    let (mut sent, mut received) = (0, 0);
    let input = |event| Input { stream: StreamId(1), origin: Arc::new(Origin::default()), at: Timestamp(7), event };
    let mut inputs = Vec::new();
    for (direction, bytes) in log.lock().unwrap().drain(..) {
        let position = if direction == Direction::Sent { &mut sent } else { &mut received };
        let offset = *position;
        *position += bytes.len() as u64;
        inputs.push(input(StreamEvent::Bytes { direction, offset, bytes: bytes.into() }));
    }
    inputs.push(input(StreamEvent::Closed { sent_bytes: Some(sent), received_bytes: Some(received) }));
    inputs
}

fn messages(assembled: &[Assembled]) -> Vec<&Message> {
    assembled.iter().filter_map(|one| if let Assembled::Message(one) = one { Some(&**one) } else { None }).collect()
}

fn text(message: &Message) -> &str {
    let Content::Bytes(bytes) = &message.body.content else { return "" };
    str::from_utf8(bytes).unwrap()
}

/// What is known of a message is what was sent; all of it, when `is_whole`.
fn check(message: &Message, is_whole: bool) {
    let headers = message.head.headers();
    let letter = if message.direction == Direction::Sent { 'q' } else { 'z' };
    let known = headers.find("x-number").or_else(|| headers.find("x-request-id")?.strip_prefix("req_"));
    let numbers = known.map_or(0..CALLS, |number| {
        let number = number.parse().unwrap();
        number..number + 1
    });
    let mut bodies = numbers.clone().map(|number| body(letter, number));
    if message.end == End::Complete {
        assert!(bodies.any(|body| body == text(message)), "a body that was not sent");
    } else {
        assert!(bodies.any(|body| body.starts_with(text(message))), "a body that was not sent");
    }
    match &message.head {
        Head::Request { method, target, headers } => {
            assert!(method == "POST" || (method.is_empty() && !is_whole), "{method}");
            let fits = numbers.clone().any(|number| *target == format!("/v1/{}", number % 4));
            assert!(fits || (target.is_empty() && !is_whole), "{target} of {numbers:?}");
            for (name, value) in [("host", "llm.test"), ("authorization", "Bearer of-the-test")] {
                assert!(headers.find(name).map_or(!is_whole, |sent| sent == value), "{name}: {headers:?}");
            }
        }
        Head::Response { status, headers } => {
            let fits = numbers.clone().any(|number| *status == if number == 3 { 429 } else { 200 });
            assert!(fits || (*status == 0 && !is_whole), "{status} of {numbers:?}");
            for (name, value) in [("content-type", "text/plain"), ("server", "of the test")] {
                assert!(headers.find(name).map_or(!is_whole, |sent| sent == value), "{name}: {headers:?}");
            }
            assert!(headers.find("grpc-status").is_none_or(|status| status == "0"));
        }
    }
}

#[test]
fn every_call_of_a_real_client_is_read() {
    for table_bytes in [4096, 0, 200, 65_536] {
        let inputs = recorded(table_bytes);
        let out = assemble(&inputs, Limits::default());
        assert_eq!(out.len(), CALLS * 2 + 1, "messages, and the end; no anomaly");
        for message in messages(&out) {
            assert_eq!(message.end, End::Complete);
            check(message, true);
        }
        for size in [1, 9, 1000] {
            assert_eq!(render(&assemble(&cut(&inputs, || size), Limits::default())), render(&out), "pieces of {size}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_real_client_that_we_join_late_or_lose_bytes_of(
        late in 0usize..200,
        lost in prop::collection::vec(0u32..40, 1..200),
        table_bytes in prop_oneof![Just(4096u32), Just(100), Just(16_384)],
    ) {
        let inputs = recorded(table_bytes);
        let late = late.min(inputs.len() / 2);
        let mut lost = lost.iter().cycle();
        let kept: Vec<_> = inputs.into_iter().skip(late).filter(|_| *lost.next().unwrap() != 0).collect();
        for message in messages(&assemble(&kept, Limits::default())) {
            check(message, false);
        }
    }

    #[test]
    fn what_began_after_we_came_is_read(late in 5usize..60) {
        let inputs = recorded(4096);
        let late = late.min(inputs.len() / 2);
        let out = assemble(&inputs[late..], Limits::default());
        let whole = messages(&out).iter().filter(|message| message.end == End::Complete).count();
        // The last round begins when nothing is open any more.
        prop_assert!(whole >= 8, "{whole} messages");
    }
}
