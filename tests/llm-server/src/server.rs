//! Enters: options. Leaves: a listening server, ready when [`Server::start`] returns. It serves HTTP/1.1 with
//! WebSockets, HTTP/2 when told to, and Postgres to a client that begins so; bounds connections and bodies, and stops when told; a peer's mistakes end that peer's connection and nothing else.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode, body,
    header::HOST,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    answers::{self, Incoming},
    journal::{Journal, Recorded},
    postgres, realtime,
    reply::{Paced, Reply},
    tls,
};

/// Connections at one time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// The longest request body, in bytes; longer ones are answered with 413.
const MAX_BODY_BYTES: usize = 128 << 20;
/// How long a peer may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open answers may go on after the server was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The wanted address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The host names in the certificate.
    pub names: Vec<String>,
    /// Where the CA certificate goes, as PEM.
    pub ca_out: PathBuf,
    /// The folder for the plain bytes of every connection, if they are wanted.
    pub journal: Option<PathBuf>,
    /// Whether to speak HTTP/2 to clients that can.
    pub http2: bool,
}

/// A server that is listening. Dropping it stops it at once; [`Running::stop`] lets open answers end.
#[derive(Debug)]
pub struct Running {
    /// The address that it listens on.
    pub addr: SocketAddr,
    /// The CA certificate that clients must trust.
    pub ca_path: PathBuf,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Running {
    /// Stops listening, lets open answers end for a moment, and closes everything.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.accepting).await.is_err() {
            self.accepting.abort();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The server itself; it has no state before it is started.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Makes the CA, listens, and serves in the background of the current tokio runtime.
    pub async fn start(options: Options) -> Result<Running, Error> {
        let write_error = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Write { path, source }
        };
        let identity = tls::identity(&options.names, options.http2)?;
        std::fs::write(&options.ca_out, &identity.ca_pem).map_err(write_error(&options.ca_out))?;
        let journal = match &options.journal {
            Some(dir) => Some(Journal::create(dir).map_err(write_error(dir))?),
            None => None,
        };
        let listen_error = |source| Error::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen_error)?;
        let addr = listener.local_addr().map_err(listen_error)?;
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared { acceptor: identity.config.into(), journal, requests: AtomicU64::new(0) });
        let accepting = tokio::spawn(accept(listener, shared, stopped));
        Ok(Running { addr, ca_path: options.ca_out, stop, accepting })
    }
}

struct Shared {
    acceptor: TlsAcceptor,
    journal: Option<Journal>,
    requests: AtomicU64,
}

/// Takes connections until told to stop; then waits for those that are open. Dropping the set ends them.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let slot = Arc::clone(&slots).acquire_owned();
        tokio::select! {
            () = told(&mut stopped) => break,
            Some(_) = connections.join_next() => {}
            (slot, accepted) = async { (slot.await, listener.accept().await) } => {
                let Ok((stream, _)) = accepted else {
                    // Out of descriptors: let the open connections give some back.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
                connections.spawn(async move {
                    let _slot = slot;
                    if let Err(error) = serve(stream, shared, stopped).await {
                        eprintln!("llm-server: {error}");
                    }
                });
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until the server is told to stop; a server that was dropped counts as told.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _either_way = stopped.wait_for(|stop| *stop).await;
}

/// Serves one connection to its end. The error is for a person; clients that just hang up are no error.
async fn serve(stream: TcpStream, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| format!("cannot set TCP_NODELAY: {error}"))?;
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(stream, &shared.acceptor));
    let (stream, is_postgres) = handshake
        .await
        .map_err(|_| "a handshake took too long".to_owned())?
        .map_err(|error| format!("a handshake failed: {error}"))?;
    let server_name = stream.get_ref().1.server_name().map(str::to_ascii_lowercase);
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2);
    let recorded = Recorded::new(stream, shared.journal.as_ref(), server_name.as_deref())
        .map_err(|error| format!("cannot write the journal: {error}"))?;
    if is_postgres {
        return tokio::select! {
            served = postgres::serve(recorded) => served.map_err(|error| format!("Postgres: {error}")),
            () = told(&mut stopped) => Ok(()),
        };
    }
    let server_name: Option<Arc<str>> = server_name.map(Into::into);
    let service = service_fn(move |request| {
        // Over HTTP/2 requests live apart from the connection that brought them.
        let (shared, server_name) = (Arc::clone(&shared), server_name.clone());
        async move { respond(&shared, server_name.as_deref(), request).await }
    });
    let recorded = TokioIo::new(recorded);
    if is_http2 {
        let mut connection =
            std::pin::pin!(http2::Builder::new(TokioExecutor::new()).serve_connection(recorded, service));
        // A peer that hangs up in the middle is no error of ours.
        let _served = tokio::select! {
            served = &mut connection => served,
            () = told(&mut stopped) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        return Ok(());
    }
    let connection = http1::Builder::new().serve_connection(recorded, service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match served {
        Err(error) if error.is_parse() => Err(format!("a request is no HTTP/1.1: {error}")),
        _ => Ok(()),
    }
}

/// TLS at once, or asked for in the way of Postgres: then true.
async fn handshake(mut stream: TcpStream, acceptor: &TlsAcceptor) -> io::Result<(TlsStream<TcpStream>, bool)> {
    let mut first = [0; 1];
    stream.peek(&mut first).await?;
    let is_postgres = first == postgres::SSL_REQUEST[..1];
    if is_postgres {
        let mut request = [0; postgres::SSL_REQUEST.len()];
        stream.read_exact(&mut request).await?;
        if request != postgres::SSL_REQUEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "neither TLS nor a Postgres client that asks for it",
            ));
        }
        stream.write_u8(postgres::SSL_YES).await?;
    }
    Ok((acceptor.accept(stream).await?, is_postgres))
}

async fn respond(
    shared: &Shared,
    server_name: Option<&str>,
    mut request: Request<body::Incoming>,
) -> Result<Response<Paced>, Infallible> {
    let serial = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
    if let Some(response) = realtime::upgrade(&mut request) {
        return Ok(response);
    }
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let too_long = error.is::<LengthLimitError>();
            let status = if too_long { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
            let reply = Reply::json(status, json!({"error": {"message": error.to_string()}}));
            return Ok(reply.into_response(false));
        }
    };
    // HTTP/2 names the host in the URL (`:authority`).
    let host = head.uri.host().or_else(|| head.headers.get(HOST).and_then(|host| host.to_str().ok()));
    let host = host.map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host)).or(server_name);
    let incoming = Incoming {
        host: host.unwrap_or_default().to_ascii_lowercase(),
        method: &head.method,
        path: head.uri.path(),
        headers: &head.headers,
        body: &body,
        serial,
    };
    let (reply, gzip) = answers::answer(&incoming);
    Ok(reply.into_response(gzip))
}
