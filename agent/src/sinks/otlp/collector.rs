//! The one who is talked to, over either transport. Enters: requests of one signal. Leaves: an [`Outcome`] within the time that one request may take. It
//! remembers what the collector has shown of itself: whether it takes what is compressed, and whether it ever took anything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use super::{
    OtlpSettings, Protocol, Signal,
    export::Export,
    grpc::Grpc,
    http::Http,
    outcome::{Outcome, Packing},
    words::Words,
};
use crate::sinks::ConnectError;

/// How we call ourselves.
pub(super) const AGENT: &str = concat!("outflow/", env!("CARGO_PKG_VERSION"));

/// A connection that is not there by then is none.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Largest request, bytes before compression. Receivers take 4 MiB of gRPC by default (grpc-go `defaultServerMaxReceiveMessageSize`).
pub(super) const REQUEST_BYTES_MAX: usize = 3_500_000;

/// Header fields that belong to the transport.
const OURS: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "user-agent",
];

/// A collector, and how to reach it.
#[derive(Debug)]
pub(super) struct Collector {
    transport: Transport,
    compress: AtomicBool,
    /// It took something that was compressed.
    understood: AtomicBool,
    /// It took something.
    proven: Arc<AtomicBool>,
    timeout: Duration,
    words: Words,
}

#[derive(Debug)]
enum Transport {
    Grpc(Box<Grpc>),
    Http(Http),
}

impl Collector {
    /// Reads certificates and makes a client; nobody is asked yet. Needs a tokio runtime around it.
    pub(super) fn new(settings: &OtlpSettings, signal: Signal, proven: Arc<AtomicBool>) -> Result<Self, ConnectError> {
        let headers = checked(settings)?;
        let transport = match settings.protocol {
            Protocol::Grpc => Transport::Grpc(Box::new(Grpc::new(settings, headers)?)),
            Protocol::Http => Transport::Http(Http::new(settings, signal, headers)?),
        };
        Ok(Self {
            transport,
            compress: AtomicBool::new(settings.compression.encoding().is_some()),
            understood: AtomicBool::new(false),
            proven,
            timeout: settings.timeout,
            words: settings.words(),
        })
    }

    /// Sends this request; uncompressed and at once again when the collector takes nothing that is compressed, or when that
    /// may be what is wrong.
    pub(super) async fn export<R: Export>(&self, request: impl Fn() -> R + Sync) -> Outcome {
        let packing = match (self.compress.load(Relaxed), self.understood.load(Relaxed)) {
            (false, _) => Packing::Plain,
            (true, false) => Packing::Untried,
            (true, true) => Packing::Understood,
        };
        let outcome = match self.ask(request(), packing).await {
            told @ (Outcome::Compressed | Outcome::Suspect) => {
                let plain = self.ask(request(), Packing::Plain).await;
                if told == Outcome::Compressed || plain.is_read() {
                    self.compress.store(false, Relaxed);
                }
                plain
            }
            outcome => {
                if packing == Packing::Untried && outcome.is_read() {
                    self.understood.store(true, Relaxed);
                }
                outcome
            }
        };
        if outcome.is_read() {
            self.proven.store(true, Relaxed);
        }
        outcome
    }

    /// Whether it ever took anything, over this connection or one before.
    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Relaxed)
    }

    /// Who it is.
    pub(super) fn endpoint(&self) -> &str {
        self.words.endpoint()
    }

    async fn ask<R: Export>(&self, request: R, packing: Packing) -> Outcome {
        let bytes = request.encoded_len();
        if bytes > REQUEST_BYTES_MAX {
            return Outcome::TooLarge(format!("{bytes} bytes, and a request holds {REQUEST_BYTES_MAX} at most"));
        }
        let asking = async {
            match &self.transport {
                Transport::Grpc(grpc) => grpc.export(request, packing, &self.words).await,
                Transport::Http(http) => http.export(&request, packing, &self.words).await,
            }
        };
        // The connection may be dead without anybody having said so; another one is made.
        let late = || Outcome::Broken(format!("no answer from {} within {:?}", self.words.endpoint(), self.timeout));
        tokio::time::timeout(self.timeout, asking).await.unwrap_or_else(|_| late())
    }
}

/// The header fields, when they and the endpoint can be used as they are.
pub(super) fn checked(settings: &OtlpSettings) -> Result<HeaderMap, ConnectError> {
    address(&settings.endpoint, settings.protocol).map_err(|why| ConnectError(format!("`endpoint` {why}")))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let field = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| ConnectError(format!("`{}` is no name of a header", name.escape_debug())))?;
        if OURS.contains(&field.as_str()) || field.as_str().starts_with("grpc-") || field.as_str().ends_with("-bin") {
            return Err(ConnectError(format!("the header `{field}` is not yours to set")));
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| ConnectError(format!("the value of the header `{field}` holds what a header cannot")))?;
        value.set_sensitive(true);
        headers.append(field, value);
    }
    Ok(headers)
}

/// What is wrong with an address, as a sentence goes on behind the name of the key or variable that it stands in. What cannot be parsed may
/// have a password in it, so it is not quoted.
pub(super) fn address(text: &str, protocol: Protocol) -> Result<(), String> {
    let url: Url = text.parse().map_err(|error| format!("is no address such as http://localhost:4317: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("begins with http:// or https://, then a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("is shown in logs: put the password into `headers`".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("ends with its path: nothing behind `?` or `#`".to_owned());
    }
    if protocol == Protocol::Grpc && url.path() != "/" {
        return Err(format!("is {text}, which has a path, and gRPC has none: leave it out"));
    }
    Ok(())
}
