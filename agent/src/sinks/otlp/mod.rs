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
mod traces;

use std::{fmt, path::PathBuf, time::Duration};

pub(crate) use super::tls;
use super::{ConnectError, tls::Trust, words, words::Words};
use crate::config::{AbsolutePath, OtlpSink};
pub use crate::config::{OtlpCompression as Compression, OtlpProtocol as Protocol};

pub use self::{
    encode::{SCOPE, log_record, request},
    metrics::OtlpMetrics,
    receiver::OtlpReceiver,
    reference::reference,
    traces::OtlpTraces,
};

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

impl OtlpSettings {
    /// What the config says; headers that stand in files and variables are read here.
    pub fn read(sink: &OtlpSink) -> Result<Self, ConnectError> {
        let mut headers = Vec::new();
        for (name, setting) in &sink.headers {
            let value = setting.value().map_err(|error| ConnectError(format!("header {name}: {error}")))?;
            headers.push((name.clone(), value));
        }
        let path = |path: &Option<AbsolutePath>| path.as_ref().map(|path| path.get().to_owned());
        Ok(Self {
            endpoint: sink.endpoint.as_str().to_owned(),
            protocol: sink.protocol,
            compression: sink.compression,
            headers,
            timeout: sink.timeout.get(),
            ca_file: path(&sink.ca_file),
            cert_file: path(&sink.cert_file),
            key_file: path(&sink.key_file),
        })
    }
}

impl OtlpSettings {
    /// Whom it trusts, and who we are.
    fn trust(&self) -> Trust<'_> {
        Trust {
            whom: &self.endpoint,
            is_encrypted: self.endpoint.starts_with("https://"),
            ca_file: self.ca_file.as_deref(),
            cert_file: self.cert_file.as_deref(),
            key_file: self.key_file.as_deref(),
        }
    }

    /// Speaks of it, and of no header's value.
    fn words(&self) -> Words {
        Words::new(&self.endpoint, self.headers.iter().map(|(_, value)| value.as_str()))
    }
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
