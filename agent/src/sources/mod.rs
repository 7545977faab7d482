//! Room 1: where bytes enter. Leaves: [`Input`]. The only room that blocks on the outside world; it never interprets bytes.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

pub mod coverage;
pub mod files;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub mod handshake;
pub(crate) mod http2;
pub mod journal;
pub mod log;
pub mod privileges;
pub mod refusal;
pub mod replay;
pub mod tail;
#[cfg(feature = "tap")]
pub mod tap;

/// What a source must remember about one thing it reads, so that it can go on there after a restart. Opaque to all but the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Unique: source kind and identity, `tail/8:1/1234`.
    pub key: String,
    /// The source's own record, JSON.
    pub value: String,
}

/// One connection, for as long as it lives. Never reused by a source, even when the address of the TLS object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// Seen from the process that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// What the process sent.
    Sent,
    /// What the process received.
    Received,
}

/// Who the bytes belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Process id on the host; zero when there is no process (replay).
    pub pid: u32,
    /// Name of the executable, `python3.11`.
    pub process: String,
    /// What the process is for: `OTEL_SERVICE_NAME`, else the script, else the executable.
    pub service: String,
    /// Container id, when the control group names one.
    pub container: Option<String>,
    /// Uid of the Kubernetes pod, when the control group names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Systemd unit, when the control group is one's: `summarizer.service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Where in Kubernetes it runs, when a path of its logs says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// Part of the service that asks, when something says so (`outflow.feature` of an exchange record).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
}

/// A container in Kubernetes, by its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// Namespace of the pod.
    pub namespace: Box<str>,
    /// Name of the pod.
    pub pod: Box<str>,
    /// Name of the container in it.
    pub container: Box<str>,
}

/// What happened on a connection, in the order the kernel saw it.
#[derive(Clone, Debug)]
pub struct Input {
    /// Which connection.
    pub stream: StreamId,
    /// Whose it is.
    pub origin: Arc<Origin>,
    /// When, as the source stamped it.
    pub at: Timestamp,
    /// What.
    pub event: StreamEvent,
}

/// One event of a connection.
#[derive(Clone, Debug)]
pub enum StreamEvent {
    /// The connection names the server it wants (SNI), before any byte.
    Opened {
        /// Lower-case host name.
        server_name: Arc<str>,
    },
    /// Plaintext.
    Bytes {
        /// Which way.
        direction: Direction,
        /// Absolute position of the first byte in its direction. A jump past what came before is a gap: bytes that existed
        /// and were not handed over. It is never spliced over.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The connection is gone. Final positions show bytes lost at the end.
    Closed {
        /// Bytes sent in all, when the source knows.
        sent_bytes: Option<u64>,
        /// Bytes received in all, when the source knows.
        received_bytes: Option<u64>,
    },
}
