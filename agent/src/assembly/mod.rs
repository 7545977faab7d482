//! Room 2: bytes become messages. Enters: [`Input`](crate::sources::Input). Leaves: [`Message`] and [`Anomaly`]. Pure; it
//! never fails: bad bytes become an [`Anomaly`] and the stream resynchronises at the next message.

use std::sync::Arc;

use crate::{
    sources::{Direction, Origin, StreamId},
    units::Timestamp,
};

mod assembler;
pub(crate) mod aws_events;
mod body;
mod chunked;
mod early;
mod event_text;
mod events;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod grpc;
mod head;
mod http1;
mod http2;
mod inflate;
mod message_deflate;
mod ndjson;
mod protobuf;
mod sse;
#[cfg(test)]
mod tests;
mod upgrade;
mod websocket;
mod websocket_message;
#[cfg(test)]
mod websocket_tests;
mod zstd;

pub(crate) use self::events::EventParser;
pub use self::{
    assembler::Assembler,
    aws_events::{AwsEventParser, UNVERIFIED},
    event_text::EventText,
    events::BadFrame,
    ndjson::NdjsonParser,
    sse::SseParser,
};

/// What leaves this room.
#[derive(Clone, Debug)]
pub enum Assembled {
    /// A message, once it has ended.
    Message(Box<Message>),
    /// A message of a WebSocket, once it has ended.
    Frame(Box<Frame>),
    /// Something that is not a message.
    Anomaly(Anomaly),
    /// No message of this call will follow (HTTP/2: the stream was reset).
    CallOver {
        /// Connection.
        stream: StreamId,
        /// Its number, as in [`Message::call`].
        call: u64,
    },
    /// No message of this connection will follow.
    Closed(StreamId),
}

/// Bounds of this room. What goes past them is counted, never kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections held at once; past it the one that was silent for longest is let go.
    pub connections: usize,
    /// Bytes held for all connections together (heads, decoded bodies); past it connections are let go likewise.
    pub buffered_bytes: usize,
    /// Bytes of one start line with its headers.
    pub head_bytes: usize,
    /// Decoded bytes kept of one body.
    pub body_bytes: usize,
    /// Decoded bytes per compressed byte, judged past the first MiB of output. Deflate itself cannot pass 1032.
    pub inflate_ratio: u64,
    /// Requests of one connection that wait for their answer.
    pub outstanding: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            buffered_bytes: 512 << 20,
            head_bytes: 64 << 10,
            body_bytes: 32 << 20,
            inflate_ratio: 200,
            outstanding: 256,
        }
    }
}

/// One HTTP message, decoded, with what is known about how complete our view of it was.
#[derive(Clone, Debug)]
pub struct Message {
    /// Connection it travelled on.
    pub stream: StreamId,
    /// Whose connection.
    pub origin: Arc<Origin>,
    /// Server name the client asked for (SNI), when seen.
    pub server_name: Option<Arc<str>>,
    /// Sent: a request. Received: an answer.
    pub direction: Direction,
    /// Which call of the connection this belongs to, counted in the order in which requests began; a request and its answer
    /// have the same number. `None`: an answer whose request was not seen.
    pub call: Option<u64>,
    /// The protocol it came by.
    pub protocol: Protocol,
    /// Start line and headers.
    pub head: Head,
    /// Body after transfer and content decoding.
    pub body: Body,
    /// First byte of the head.
    pub started_at: Timestamp,
    /// First byte of the body, when there was one.
    pub body_at: Option<Timestamp>,
    /// Last byte.
    pub ended_at: Timestamp,
    /// How the message ended.
    pub end: End,
}

/// Version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 9112: answers come in the order of their requests.
    Http1,
    /// RFC 9113: answers come in any order.
    Http2,
}

/// One message of a WebSocket (RFC 6455), unmasked, its fragments joined, decompressed. An empty one that ended as
/// [`End::Gap`] or [`End::Cut`] stands for bytes among which there may have been messages.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Connection it travelled on.
    pub stream: StreamId,
    /// Whose connection.
    pub origin: Arc<Origin>,
    /// Which call of the connection asked for the upgrade; `None` when that was not seen.
    pub call: Option<u64>,
    /// Which way.
    pub direction: Direction,
    /// Its text; of a binary message what is UTF-8 in it (Gemini Live sends JSON so).
    pub data: String,
    /// Bytes on the wire, frame headers included.
    pub wire_bytes: u64,
    /// Bytes known to be missing.
    pub missing_bytes: u64,
    /// Bytes that came and are not in the text: past a cap, behind a hole, not decodable, or no text.
    pub unread_bytes: u64,
    /// When its first byte came.
    pub started_at: Timestamp,
    /// When its last byte came.
    pub ended_at: Timestamp,
    /// How it ended.
    pub end: End,
}

/// Start line and headers of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// `POST /v1/messages`
    Request {
        /// Method as sent; empty when it is not known (HTTP/2, seen in part).
        method: String,
        /// Path and query as sent; empty when it is not known.
        target: String,
        /// Headers, names in lower case.
        headers: Headers,
    },
    /// `200`
    Response {
        /// Status code; zero when it is not known (HTTP/2, seen in part).
        status: u16,
        /// Headers, names in lower case.
        headers: Headers,
    },
}

impl Head {
    /// The headers of either kind.
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request { headers, .. } | Self::Response { headers, .. } => headers,
        }
    }
}

/// Header fields in order; names are lower case, values are as sent (bytes outside UTF-8 replaced).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// First value of a field; `name` is lower case.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// A decoded body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// What it holds.
    pub content: Content,
    /// Bytes on the wire, before decoding, without chunk framing.
    pub wire_bytes: u64,
    /// Bytes of the wire body known to be missing (gaps, cuts). The true figure may be higher when the end is unknown.
    pub missing_bytes: u64,
    /// Bytes of the wire body that came and are not in the content: past a cap, behind a gap, or not decodable.
    pub unread_bytes: u64,
}

/// Decoded content of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// No body.
    #[default]
    Empty,
    /// Anything that is not a stream of events: all of it, up to the cap.
    Bytes(Vec<u8>),
    /// A stream of events, in order.
    Events(Framing, Vec<Event>),
}

/// How the events of a streamed body are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `text/event-stream` (WHATWG HTML, section 9.2).
    Sse,
    /// One JSON document a line (`application/x-ndjson`, `application/jsonl`, `application/stream+json`).
    Ndjson,
    /// `application/vnd.amazon.eventstream`.
    AwsEventStream,
    /// gRPC: messages with a prefix of five bytes.
    Grpc,
}

/// One event of a streamed body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// SSE: the `event:` field. AWS: `:event-type`, or for an exception `:exception-type` with `!` in front;
    /// [`UNVERIFIED`] when its checksum did not come. Empty when absent.
    pub name: EventText,
    /// SSE: the `data:` lines joined by a line feed. Others: the payload; of a binary one the strings in it, one a line.
    pub data: EventText,
    /// When its last byte arrived.
    pub at: Timestamp,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At its own end: length, last chunk, or close where close is the end.
    Complete,
    /// Bytes inside it were lost; `missing_bytes` says how many are known to be.
    Gap,
    /// The connection closed, or the source ended, before the message did.
    Cut,
    /// Longer than the cap: the start is kept, the rest was only counted.
    TooLarge,
    /// All its bytes came, but they do not decode: what did is kept.
    Unreadable,
}

/// Something a stream did that is not a message. Counted and shown; never an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Connection.
    pub stream: StreamId,
    /// What.
    pub kind: AnomalyKind,
    /// When.
    pub at: Timestamp,
}

/// Kinds of [`Anomaly`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnomalyKind {
    /// Bytes that are no HTTP/1.1 message where one had to start.
    NotHttp,
    /// A chunk size or trailer that cannot be read.
    BadChunk,
    /// A compressed body that does not decode.
    BadEncoding,
    /// A frame of a streamed body that is not what its checksum or its framing says.
    BadFrame,
    /// A decompressed body past its size or ratio cap.
    Bomb,
    /// Bytes lost before they reached us.
    Gap,
    /// More connections or buffered bytes than the bound: the oldest was let go.
    Evicted,
    /// A protocol this room does not read, or bytes of one that it does and that are none of it.
    UnknownProtocol,
    /// Header fields of HTTP/2 that a peer abbreviated by something that we did not see: we came late, or bytes were lost.
    UnknownFields,
}
