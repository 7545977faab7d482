//! An OTLP collector that answers as it is told. Enters: requests over gRPC or HTTP, on loopback. Leaves: the answer that the test chose, and
//! what was taken. It lives in a thread of the test and is gone, with its connections, when it is dropped.
//!
//! Two things decide on an answer: what was queued with [`FakeCollector::then`] for the next requests, and else the [`Rules`], which look at
//! the records.

mod certificates;
mod spoken;
mod wire;

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::any_value::Value,
    logs::v1::LogRecord,
};
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

pub use certificates::Certificates;
pub use spoken::Spoken;
use spoken::{Recorded, Words};

/// The attribute that tells records apart.
const RECORD_ID: &str = "outflow.finding.record_id";

/// Over what it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/2 and gRPC's frames.
    Grpc,
    /// HTTP/1.1.
    Http,
    /// It writes [`Rules::raw`] to whoever connects, and hangs up.
    Raw,
}

/// What the next request meets, whatever is in it.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// As the rules say.
    Rules,
    /// Everything is taken, with a warning.
    Warn(&'static str),
    /// An HTTP answer; over gRPC it comes from a proxy before the collector.
    Http {
        /// Status.
        status: u16,
        /// Header fields.
        headers: Vec<(&'static str, String)>,
        /// Body.
        body: Vec<u8>,
    },
    /// A gRPC status; over HTTP, its message in the body of a 400.
    Status {
        /// Code.
        code: i32,
        /// Message.
        message: &'static str,
        /// `google.rpc.Status` with details.
        details: Vec<u8>,
    },
    /// It says nothing until it is dropped.
    Silent,
    /// It hangs up.
    Close,
}

/// A question about a record id.
pub type Predicate = Box<dyn Fn(&str) -> bool + Send>;

/// What it does of its own accord.
pub struct Rules {
    /// Takes all of a request but these, and says how many.
    pub reject: Predicate,
    /// Takes nothing of a request with one of these: INVALID_ARGUMENT, 400.
    pub invalid: Predicate,
    /// Takes what is compressed; else UNIMPLEMENTED, 415, or what [`Self::unpacked`] says.
    pub compressed: bool,
    /// What it answers to what it cannot unpack: gRPC code and HTTP status.
    pub unpacked: (i32, u16),
    /// Longest message, uncompressed: RESOURCE_EXHAUSTED, 413.
    pub bytes_max: usize,
    /// The message of what it does not take.
    pub message: String,
    /// What [`Wire::Raw`] writes.
    pub raw: Vec<u8>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            reject: Box::new(|_| false),
            invalid: Box::new(|_| false),
            compressed: true,
            unpacked: (12, 415),
            bytes_max: usize::MAX,
            message: "not this one".to_owned(),
            raw: Vec::new(),
        }
    }
}

/// One request with logs or spans in it, taken or not.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// How it was packed.
    pub encoding: Option<String>,
    /// What was in it.
    pub request: Signals,
}

impl Asked {
    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// What a request holds.
#[derive(Clone, Debug)]
pub enum Signals {
    /// Findings.
    Logs(ExportLogsServiceRequest),
    /// Calls.
    Traces(ExportTraceServiceRequest),
}

/// A record that it has, or a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its id; a span's name.
    pub record_id: String,
    /// The log record, or the span.
    pub bytes: Vec<u8>,
    /// The port of who sent it: a connection.
    pub port: u16,
    /// When it was read.
    pub at: SystemTime,
}

#[derive(Default)]
struct State {
    rules: Rules,
    next: VecDeque<Behaviour>,
    asked: Vec<Asked>,
    taken: Vec<Taken>,
    metrics: Vec<ExportMetricsServiceRequest>,
    /// Names of header fields that came with metrics.
    metric_headers: BTreeSet<String>,
    spoken: Vec<Words>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running collector.
pub struct FakeCollector {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for FakeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeCollector").field("address", &self.address).finish_non_exhaustive()
    }
}

impl FakeCollector {
    /// Listens on a free port when it returns.
    pub fn start(wire: Wire) -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), wire, None)
    }

    /// As [`start`](Self::start), at this address, and encrypted when there is a configuration for it.
    pub fn start_at(address: SocketAddr, wire: Wire, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let server = Server { wire, tls: tls.map(TlsAcceptor::from), shared: Arc::clone(&shared), port: 0 };
        let thread = std::thread::Builder::new()
            .name("fake-collector".to_owned())
            .spawn(move || runtime.block_on(server.run(listener, stopped)))?;
        Ok(Self { address, scheme, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as an endpoint; the name is that of [`Certificates`].
    pub fn endpoint(&self) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }

    /// What the next request meets for which nothing is queued yet.
    pub fn then(&self, behaviour: Behaviour) {
        self.shared.lock().next.push_back(behaviour);
    }

    /// Changes what it does of its own accord.
    pub fn rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.lock().rules);
    }

    /// All requests with logs, in their order.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.lock().asked.clone()
    }

    /// All records that it took, in their order, as often as it took them.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.lock().taken.clone()
    }

    /// Ends it, and gives all records that it took until its end.
    pub fn end(self) -> Vec<Taken> {
        let shared = Arc::clone(&self.shared);
        drop(self);
        shared.lock().taken.clone()
    }

    /// All metrics that it took.
    pub fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        self.shared.lock().metrics.clone()
    }

    /// Names of all header fields that came with metrics, in lower case.
    pub fn metric_headers(&self) -> BTreeSet<String> {
        self.shared.lock().metric_headers.clone()
    }

    /// What was said on each encrypted connection, without the encryption, in the order of the handshakes.
    pub fn spoken(&self) -> Vec<Spoken> {
        self.shared.lock().spoken.iter().map(spoken::so_far).collect()
    }

    /// Waits until it took so many records, or metrics so often; `false` when that did not happen in time.
    pub fn wait(&self, records: usize, metrics: usize, limit: Duration) -> bool {
        let lacks = |state: &mut State| state.taken.len() < records || state.metrics.len() < metrics;
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), limit, lacks);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for FakeCollector {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has told itself.
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Server {
    wire: Wire,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    /// Of the peer.
    port: u16,
}

/// The collector hangs up.
#[derive(Debug)]
struct HungUp;

impl fmt::Display for HungUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("told to hang up")
    }
}

impl std::error::Error for HungUp {}

type Answer = Response<UnsyncBoxBody<Bytes, HungUp>>;

impl Server {
    async fn run(self, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        // Dropped with all connections in it.
        let mut connections = JoinSet::new();
        loop {
            let (stream, peer) = tokio::select! {
                _ = &mut stopped => return,
                Some(_) = connections.join_next() => continue,
                Ok(connection) = listener.accept() => connection,
            };
            connections.spawn(Self { port: peer.port(), ..self.clone() }.connection(stream));
        }
    }

    async fn connection(self, stream: TcpStream) {
        match self.tls.clone() {
            None => self.speak(stream).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    let words = Words::default();
                    self.shared.lock().spoken.push(Words::clone(&words));
                    self.speak(Recorded::new(stream, words)).await;
                }
            }
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, mut stream: S) {
        let wire = self.wire;
        if wire == Wire::Raw {
            let raw = self.shared.lock().rules.raw.clone();
            let _ = stream.write_all(&raw).await;
            let _ = stream.shutdown().await;
            return;
        }
        let service = service_fn(move |request| self.clone().answer(request));
        // A peer's mistakes end that peer's connection and nothing else.
        if wire == Wire::Grpc {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        } else {
            let builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Answer, HungUp> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| HungUp)?.to_bytes();
        let Some(message) = wire::message(self.wire, &head.headers, &body) else {
            return Ok(wire::refused(self.wire, 3, 400, "cannot be read"));
        };
        if head.uri.path().to_ascii_lowercase().contains("metrics") {
            self.shared.lock().metric_headers.extend(head.headers.keys().map(|name| name.as_str().to_owned()));
            return Ok(self.take_metrics(&message.bytes));
        }
        let path = head.uri.path().to_ascii_lowercase();
        let request = if path.contains("trace") {
            ExportTraceServiceRequest::decode(message.bytes.clone()).map(Signals::Traces)
        } else {
            ExportLogsServiceRequest::decode(message.bytes.clone()).map(Signals::Logs)
        };
        let Ok(request) = request else { return Ok(wire::refused(self.wire, 3, 400, "is no request")) };
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let asked = Asked { headers: headers.collect(), encoding: message.encoding.clone(), request };
        let behaviour = {
            let mut state = self.shared.lock();
            state.asked.push(asked.clone());
            state.next.pop_front().unwrap_or(Behaviour::Rules)
        };
        match behaviour {
            Behaviour::Rules => Ok(self.by_the_rules(&asked, message.bytes.len())),
            Behaviour::Warn(warning) => {
                self.take(self.records(&asked.request));
                Ok(wire::taken(self.wire, 0, warning))
            }
            Behaviour::Http { status, headers, body } => Ok(wire::raw(status, &headers, body)),
            Behaviour::Status { code, message, details } => Ok(wire::status(self.wire, code, message, &details)),
            Behaviour::Silent => std::future::pending().await,
            Behaviour::Close => Err(HungUp),
        }
    }

    fn by_the_rules(&self, asked: &Asked, bytes: usize) -> Answer {
        let records = self.records(&asked.request);
        let (taken, rejected, message) = {
            let state = self.shared.lock();
            let rules = &state.rules;
            if asked.encoding.is_some() && !rules.compressed {
                let (code, status) = rules.unpacked;
                return wire::refused(self.wire, code, status, "cannot be unpacked");
            }
            if bytes > rules.bytes_max {
                let message = format!("grpc: received message larger than max ({bytes} vs. {})", rules.bytes_max);
                return wire::refused(self.wire, 8, 413, &message);
            }
            if records.iter().any(|record| (rules.invalid)(&record.record_id)) {
                return wire::refused(self.wire, 3, 400, &rules.message);
            }
            let (rejected, taken): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|record| (rules.reject)(&record.record_id));
            (taken, rejected.len(), rules.message.clone())
        };
        self.take(taken);
        wire::taken(self.wire, rejected, if rejected > 0 { &message } else { "" })
    }

    fn take(&self, records: Vec<Taken>) {
        self.shared.lock().taken.extend(records);
        self.shared.changed.notify_all();
    }

    /// The records or spans of a request with their ids.
    #[expect(clippy::disallowed_methods, reason = "told to who reads of a failure; nothing depends on it")]
    fn records(&self, request: &Signals) -> Vec<Taken> {
        let (port, at) = (self.port, SystemTime::now());
        let taken = |record_id, bytes| Taken { record_id, bytes, port, at };
        match request {
            Signals::Logs(request) => {
                let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
                let records = scopes.flat_map(|scope| &scope.log_records);
                records.map(|record| taken(record_id(record), record.encode_to_vec())).collect()
            }
            Signals::Traces(request) => {
                let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
                let spans = scopes.flat_map(|scope| &scope.spans);
                spans.map(|span| taken(span.name.clone(), span.encode_to_vec())).collect()
            }
        }
    }

    fn take_metrics(&self, bytes: &Bytes) -> Answer {
        let Ok(request) = ExportMetricsServiceRequest::decode(bytes.clone()) else {
            return wire::refused(self.wire, 3, 400, "is no request");
        };
        self.shared.lock().metrics.push(request);
        self.shared.changed.notify_all();
        wire::taken(self.wire, 0, "")
    }
}

/// The id of a log record; empty when it has none.
pub fn record_id(record: &LogRecord) -> String {
    let attribute = record.attributes.iter().find(|attribute| attribute.key == RECORD_ID);
    match attribute.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(id)) => id.clone(),
        _ => String::new(),
    }
}
