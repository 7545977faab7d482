//! Replays recorded exchanges as the bytes of connections. Enters: files with exchange records, or HAR files. Leaves:
//! [`Input`]s, as the tap would have handed them over: HTTP in pieces, with holes if asked for. Only [`read`] touches the
//! disk; the rest is pure. Never trusts a recorded length: recorders decompress and re-serialise.

use std::{io, path::PathBuf};

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use self::files::parse;
pub use self::{files::read, play::Playing};
use super::{Input, Origin, StreamId};
use crate::units::Timestamp;

mod cut;
mod files;
mod har;
mod message;
mod play;
mod record;
#[cfg(test)]
mod tests;
mod wire_h1;
mod wire_h2;
pub mod wire_ws;

/// What is wrong with what should be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file cannot be read.
    #[error("cannot read {path}: {why}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// A file holds something else.
    #[error("{path}: {message}")]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What is wrong; names the member.
        message: String,
    },
    /// More than is held in memory at once.
    #[error("these files hold more than {0}: replay them in parts")]
    TooMuch(&'static str),
}

/// How records become inputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Seed: cuts the bytes into pieces of 1 byte to 64 KiB.
    pub split: Option<u64>,
    /// Seed: drops random pieces, which leaves holes.
    pub drop: Option<u64>,
    /// Which protocol the bytes are.
    pub wire: WireVersion,
}

/// The protocol that records are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WireVersion {
    /// HTTP/1.1
    #[default]
    H1,
    /// HTTP/2
    H2,
}

/// One exchange on its wire: what each side wrote, in the pieces in which a client and a server would have. The first piece
/// of the answer is its head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// What the client sent.
    pub sent: Vec<Vec<u8>>,
    /// What it received.
    pub received: Vec<Vec<u8>>,
}

/// A recorded request, ready for any wire: headers that belong to one hop, and those that the body contradicts, are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `POST`
    pub method: String,
    /// The scheme is https or wss.
    pub is_tls: bool,
    /// Host of the URL, lower case and without its port: what the client's SNI would name.
    pub host_name: String,
    /// Host and port, as the Host header or `:authority` says.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case; no `host`, no `content-length`.
    pub headers: Vec<(String, String)>,
    /// As it travelled: compressed if the headers say so.
    pub body: Vec<u8>,
}

/// A recorded answer, ready for any wire like [`Request`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Final status.
    pub status: u16,
    /// Names in lower case; no `content-length`.
    pub headers: Vec<(String, String)>,
    /// As it travelled.
    pub body: Vec<u8>,
}

/// What followed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: the client, or the network, broke it off.
    None,
    /// An answer.
    Http(Response),
    /// The messages of a WebSocket, in order.
    Session(Vec<SessionMessage>),
}

/// One message of a recorded WebSocket session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionMessage {
    /// The client sent it; else it received it.
    pub is_sent: bool,
    /// It travels in a binary frame.
    pub is_binary: bool,
    /// Its payload.
    pub data: Vec<u8>,
}

/// When a recorded exchange happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// First byte of the request.
    pub started: Timestamp,
    /// First byte of the answer.
    pub first_byte: Timestamp,
    /// Last byte of the answer.
    pub ended: Timestamp,
}

/// A recorded exchange.
#[derive(Clone, Debug)]
pub struct Record {
    /// The record's own id; of a HAR entry `file.har#3`.
    pub id: String,
    /// What was asked.
    pub request: Request,
    /// What came back.
    pub answer: Answer,
    /// When, if the recording says so.
    pub times: Option<Times>,
    /// Who asked.
    pub origin: Origin,
    /// Label of the connection: records with the same one share a connection while they do not overlap.
    pub connection: Option<String>,
}

impl Record {
    /// Plays the record alone on a connection. Without times of its own it starts at `from`.
    pub fn inputs(&self, stream: StreamId, from: Timestamp, options: Options) -> Vec<Input> {
        play::alone(self, stream, from, options)
    }
}
