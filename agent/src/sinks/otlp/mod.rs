//! Findings, spans and metrics to an OpenTelemetry collector, over gRPC or HTTP. Enters: records of the outbox, calls, and the agent's own counts.
//! Leaves: log records, each with an answer to the one who keeps them; spans, which are dropped and counted where a collector does not take them in
//! time; and metrics. The SDK's way of sending logs is not used: it drops what does not fit its queue, and says Ok (measured; docs/OTLP.md). It never
//! holds matched text, and no error or log of it shows a header's value.
//!
//! ```text
//! Record ─ encode ─► LogRecord ─┐                                       ┌─ grpc ─┐
//! Exchange ─ traces ─► Span ────┴─ group by service ─► request (export) ─┴─ http ─┴─► answer ─ outcome ─► taken, refused, not now
//! ```

mod collector;
mod encode;
mod environment;
mod export;
mod genai;
mod grpc;
mod http;
mod metrics;
mod outcome;
mod receiver;
mod reference;
mod sdk;
#[cfg(test)]
mod tests;
mod traces;
mod voice;

use std::{fmt, path::PathBuf, time::Duration};

pub(crate) use super::tls;
use super::{ConnectError, names, tls::Trust, words, words::Words};
use crate::config::{AbsolutePath, OtlpSink};
pub use crate::config::{OtlpCompression as Compression, OtlpProtocol as Protocol};
use environment::Environment;

pub use self::{
    encode::{SCOPE, log_record, request},
    environment::{EnvironmentError, Signal, Variables, variable},
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
    /// `http://host:port` or `https://…`.
    pub endpoint: String,
    /// Over HTTP, `/v1/logs`, `/v1/metrics` or `/v1/traces` is added to it. False when a variable of one signal names the whole address.
    pub adds_path: bool,
    /// Over what.
    pub protocol: Protocol,
    /// Until the collector shows that it takes nothing compressed.
    pub compression: Compression,
    /// Sent with every request; the values are secrets.
    pub headers: Vec<(String, String)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Names that are only proposed to the conventions go out too.
    pub experimental_names: bool,
    /// Certificates of those whose word is taken for who the collector is, PEM; else those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, PEM, when the collector asks for one.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
}

/// How long a request may take when nobody says.
const TIMEOUT: Duration = Duration::from_secs(10);

impl OtlpSettings {
    /// What the config says, else the environment; headers that stand in files and variables are read here.
    pub fn read(sink: &OtlpSink, signal: Signal, variables: Variables<'_>) -> Result<Self, ConnectError> {
        let mut settings =
            Self::without_headers_of(sink, signal, variables).map_err(|error| ConnectError(error.to_string()))?;
        for (name, setting) in sink.headers.iter().flatten() {
            let value = setting.value().map_err(|error| ConnectError(format!("header {name}: {error}")))?;
            settings.headers.push((name.clone(), value));
        }
        Ok(settings)
    }

    /// The same but for the headers of the config: what is wrong here stays wrong until the agent is started again.
    pub fn without_headers_of(
        sink: &OtlpSink,
        signal: Signal,
        variables: Variables<'_>,
    ) -> Result<Self, EnvironmentError> {
        let environment = Environment::new(signal, variables);
        let protocol = sink.protocol.map_or_else(|| environment.protocol(), |protocol| Ok(Some(protocol)))?;
        let protocol = protocol.unwrap_or_default();
        let (endpoint, adds_path) = match &sink.endpoint {
            Some(endpoint) => (endpoint.as_str().to_owned(), true),
            None => environment.endpoint(protocol)?.ok_or(EnvironmentError::NoEndpoint)?,
        };
        let compression = sink.compression.map_or_else(|| environment.compression(), |known| Ok(Some(known)))?;
        let headers = if sink.headers.is_some() { Vec::new() } else { environment.headers()? };
        let timeout = sink.timeout.map_or_else(|| environment.timeout(), |timeout| Ok(Some(timeout.get())))?;
        let path = |path: &Option<AbsolutePath>| path.as_ref().map(|path| path.get().to_owned());
        let (mut ca_file, mut cert_file, mut key_file) =
            (path(&sink.ca_file), path(&sink.cert_file), path(&sink.key_file));
        // Set for all programs of a host, they are of no use for one that is not encrypted, and no mistake.
        if endpoint.starts_with("https://") {
            ca_file = ca_file.map_or_else(|| environment.ca_file(), |path| Ok(Some(path)))?;
            // A certificate and another one's key are of no use.
            if cert_file.is_none() && key_file.is_none() {
                (cert_file, key_file) = environment.identity()?;
            }
        }
        Ok(Self {
            endpoint,
            adds_path,
            protocol,
            compression: compression.unwrap_or_default(),
            headers,
            timeout: timeout.unwrap_or(TIMEOUT),
            experimental_names: sink.experimental_names,
            ca_file,
            cert_file,
            key_file,
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
            .field("adds_path", &self.adds_path)
            .field("protocol", &self.protocol)
            .field("compression", &self.compression)
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .field("experimental_names", &self.experimental_names)
            .field("ca_file", &self.ca_file)
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .finish()
    }
}
