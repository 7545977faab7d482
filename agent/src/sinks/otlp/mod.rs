//! Findings and metrics to an OpenTelemetry collector, over gRPC or HTTP. Enters: records of the outbox, and the agent's own counts.
//! Leaves: log records, each with an answer to the one who keeps them, and metrics. The SDK's way of sending logs is not used: it drops what
//! does not fit its queue, and says Ok (measured; docs/OTLP.md). It never holds matched text, and no error or log of it shows a header's value.
//!
//! ```text
//! Record ─ encode ─► LogRecord ─ group by service ─► request ─┬─ grpc ─┐
//!                                                              └─ http ─┴─► answer ─ outcome ─► taken, refused, not now
//! ```

mod collector;
mod encode;
mod genai;
mod grpc;
mod http;
mod metrics;
mod names;
mod outcome;
mod receiver;
mod reference;
#[cfg(test)]
mod tests;
mod tls;
mod words;

use std::{fmt, path::PathBuf, time::Duration};

pub use self::{
    encode::{SCOPE, log_record, request},
    metrics::OtlpMetrics,
    receiver::OtlpReceiver,
    reference::reference,
};

/// Which transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC, mostly on port 4317.
    Grpc,
    /// OTLP/HTTP with protobuf bodies, mostly on port 4318.
    Http,
}

/// How what is sent is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Every receiver is to know it.
    Gzip,
    /// Smaller, and fewer receivers know it.
    Zstd,
}

impl Compression {
    /// As HTTP's `content-encoding` has it.
    fn encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// Where a collector is and how to talk to it.
#[derive(Clone, PartialEq, Eq)]
pub struct OtlpSettings {
    /// `http://host:port` or `https://…`; HTTP adds `/v1/logs` and `/v1/metrics` to it.
    pub endpoint: String,
    /// Over what.
    pub protocol: Protocol,
    /// Of findings; metrics are small and go as they are.
    pub compression: Compression,
    /// Sent with every request; the values are secrets.
    pub headers: Vec<(String, String)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Certificates of those whose word is taken for who the collector is, PEM; else those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, PEM, when the collector asks for one.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
}

impl fmt::Debug for OtlpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("OtlpSettings")
            .field("endpoint", &self.endpoint)
            .field("protocol", &self.protocol)
            .field("compression", &self.compression)
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .field("ca_file", &self.ca_file)
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .finish()
    }
}
