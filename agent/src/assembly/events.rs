//! Streamed bodies. Enters: pieces of a decoded body, cut anywhere. Leaves: [`Event`]s, each with the arrival time of its last
//! byte. It knows which parser reads which framing, and no framing itself.

use super::{AwsEventParser, Event, Framing, Headers, Limits, NdjsonParser, SseParser, grpc::GrpcParser};
use crate::units::Timestamp;

/// A framing does not say what its rules allow, so nothing behind this point can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame {
    /// Bytes that the events grew by before that.
    pub grown_bytes: usize,
    /// Bytes taken that became no event: those of the frame that came before, and the rest of this piece.
    pub unread_bytes: usize,
}

/// An incremental parser of one framing.
#[derive(Debug)]
pub(crate) enum EventParser {
    Sse(SseParser),
    Ndjson(NdjsonParser),
    AwsEventStream(AwsEventParser),
    Grpc(GrpcParser),
}

impl EventParser {
    /// The parser for the content type of a message; `None` when that announces no stream of events.
    pub(super) fn announced(headers: &Headers, limits: &Limits) -> Option<Self> {
        let kind = headers.find("content-type")?;
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Some(match essence.as_str() {
            "text/event-stream" => Self::Sse(SseParser::default()),
            "application/vnd.amazon.eventstream" => Self::AwsEventStream(AwsEventParser::default()),
            // None of them is registered; all are in use for the same thing.
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonl"
            | "application/jsonlines"
            | "application/x-jsonlines"
            | "application/json-lines"
            | "application/stream+json" => Self::Ndjson(NdjsonParser::default()),
            _ => return GrpcParser::announced(headers, limits).map(Self::Grpc),
        })
    }

    /// What it reads.
    pub(crate) fn framing(&self) -> Framing {
        match self {
            Self::Sse(_) => Framing::Sse,
            Self::Ndjson(_) => Framing::Ndjson,
            Self::AwsEventStream(_) => Framing::AwsEventStream,
            Self::Grpc(_) => Framing::Grpc,
        }
    }

    /// Whether a body that begins with this byte is in this framing. Servers announce a stream and answer with an error
    /// document: a JSON container is no field of an event stream, and as a frame it would be gigabytes long.
    pub(super) fn may_begin_with(&self, first: u8) -> bool {
        match self {
            Self::Sse(_) | Self::AwsEventStream(_) => !matches!(first, b'{' | b'['),
            Self::Ndjson(_) => true,
            Self::Grpc(_) => GrpcParser::may_begin_with(first),
        }
    }

    /// Takes a piece; finished events are added to `events`. Returns the bytes that `events` grew by.
    pub(crate) fn push(&mut self, piece: &[u8], at: Timestamp, events: &mut Vec<Event>) -> Result<usize, BadFrame> {
        match self {
            Self::Sse(parser) => Ok(parser.push(piece, at, events)),
            Self::Ndjson(parser) => Ok(parser.push(piece, at, events)),
            Self::AwsEventStream(parser) => parser.push(piece, at, events),
            Self::Grpc(parser) => parser.push(piece, at, events),
        }
    }

    /// The body ended: gives out what is unfinished.
    pub(crate) fn finish(&mut self, at: Timestamp, events: &mut Vec<Event>) {
        match self {
            Self::Sse(parser) => parser.finish(at, events),
            Self::Ndjson(parser) => parser.finish(at, events),
            Self::AwsEventStream(parser) => parser.finish(at, events),
            Self::Grpc(parser) => parser.finish(at, events),
        }
    }

    /// Bytes held for the unfinished event.
    pub(super) fn buffered(&self) -> usize {
        match self {
            Self::Sse(parser) => parser.buffered(),
            Self::Ndjson(parser) => parser.buffered(),
            Self::AwsEventStream(parser) => parser.buffered(),
            Self::Grpc(parser) => parser.buffered(),
        }
    }
}
