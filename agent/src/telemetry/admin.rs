//! The page for probes and monitoring. Enters: HTTP/1.1 requests on a loopback address. Leaves: `/healthz`, `/readyz`, `/metrics`. It
//! takes no body, changes nothing, and cannot be held up: connections, time and request size are bounded, and when all places
//! are taken the oldest connection goes.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::oneshot,
    task::{AbortHandle, JoinSet},
};

use super::{Health, Metrics};

/// Connections at one time.
pub const CONNECTIONS_MAX: usize = 32;
/// A connection that is not done by then is cut.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// A request whose head is not there by then is none.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Pause when the system gives us no connection.
const RETRY_TIME: Duration = Duration::from_millis(100);
/// Largest request head, bytes; the smallest that hyper takes.
const HEAD_BYTES_MAX: usize = 8192;
/// Most header fields of a request.
const HEADERS_MAX: usize = 64;

/// The format of the metrics page (OpenMetrics 1.0, "Overall Structure").
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The config refuses such an address; so does this room.
    #[error("{0} is no loopback address: the page has neither a password nor encryption")]
    NotLoopback(SocketAddr),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose another one with `[admin] listen`, or \"off\"")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No thread, no runtime.
    #[error("cannot start the admin thread: {0}")]
    Thread(io::Error),
}

/// The running server. Dropping it stops it.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Listens when it returns. The server has a thread of its own, so that it answers whatever the rest is doing.
    pub fn start(address: SocketAddr, metrics: Metrics, health: Health) -> Result<Self, AdminError> {
        if !address.ip().is_loopback() {
            return Err(AdminError::NotLoopback(address));
        }
        let failed = |source| AdminError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("outflow-admin".to_owned())
            .spawn(move || runtime.block_on(serve(listener, Page { metrics, health }, stopped)))
            .map_err(AdminError::Thread)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens; the port is a real one even when zero was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself; a panic in it has told itself.
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Page {
    metrics: Metrics,
    health: Health,
}

async fn serve(listener: TcpListener, page: Page, mut stopped: oneshot::Receiver<()>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = tokio::select! {
            _ = &mut stopped => return,
            // What has ended makes room.
            Some(_) = connections.join_next() => {
                oldest.retain(|connection| !connection.is_finished());
                continue;
            }
            accepted = listener.accept() => accepted.map(|(stream, _)| stream),
        };
        let Ok(stream) = stream else {
            // Out of descriptors, for example: it passes, and the thread must not spin meanwhile.
            tokio::time::sleep(RETRY_TIME).await;
            continue;
        };
        if oldest.len() >= CONNECTIONS_MAX
            && let Some(connection) = oldest.pop_front()
        {
            connection.abort();
        }
        oldest.push_back(connections.spawn(connection(stream, page.clone())));
    }
}

async fn connection(stream: TcpStream, page: Page) {
    let service = service_fn(move |request| {
        let answer = page.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A peer's mistakes end that peer's connection and nothing else.
    let _ = tokio::time::timeout(CONNECTION_TIME, serving).await;
}

impl Page {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/healthz" | "/readyz" | "/metrics" if !is_read => {
                let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "this page is only read: use GET\n".to_owned());
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                answer
            }
            "/healthz" => plain(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => self.ready(),
            "/metrics" => written(StatusCode::OK, OPEN_METRICS, self.metrics.page(&self.health)),
            _ => plain(StatusCode::NOT_FOUND, "there is /healthz, /readyz and /metrics\n".to_owned()),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let reasons = self.health.reasons();
        if reasons.is_empty() {
            return plain(StatusCode::OK, "ready\n".to_owned());
        }
        plain(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    written(status, PLAIN, text)
}

fn written(status: StatusCode, kind: HeaderValue, text: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
    };

    use super::*;

    fn start() -> (Admin, Metrics, Health) {
        let (metrics, health) = (Metrics::new(), Health::new(&["store"]));
        let address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        (Admin::start(address, metrics.clone(), health.clone()).unwrap(), metrics, health)
    }

    /// Sends the bytes as they are and gives all that comes back; empty when the connection was cut.
    fn send(admin: &Admin, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(admin.address()).unwrap();
        // The server may cut us off while we write.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    fn get(admin: &Admin, method: &str, path: &str) -> String {
        send(admin, format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    #[test]
    fn the_pages_say_how_the_agent_is() {
        let (admin, metrics, health) = start();
        assert!(get(&admin, "GET", "/healthz").starts_with("HTTP/1.1 200 OK"));
        let answer = get(&admin, "GET", "/readyz");
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nstore is starting\n"), "{answer}");
        let store = health.component("store");
        store.ready();
        assert!(get(&admin, "GET", "/readyz").ends_with("\r\n\r\nready\n"));
        metrics.add(super::super::Metric::LogBytes, &[], 42);
        let answer = get(&admin, "GET", "/metrics");
        assert!(
            answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
            "{answer}"
        );
        assert!(answer.contains("\noutflow_log_read_bytes_total 42\n"), "{answer}");
        assert!(answer.contains("\noutflow_ready{component=\"store\"} 1\n") && answer.ends_with("# EOF\n"), "{answer}");
        drop(store);
        assert!(get(&admin, "GET", "/readyz").ends_with("\r\n\r\nstore has ended\n"));
    }

    #[test]
    fn everything_else_is_refused() {
        let (admin, ..) = start();
        for (method, path, status) in [
            ("GET", "/", "404"),
            ("GET", "/metrics/", "404"),
            ("GET", "/healthz?verbose", "200"),
            ("HEAD", "/healthz", "200"),
            ("POST", "/metrics", "405"),
            ("DELETE", "/readyz", "405"),
            ("POST", "/x", "404"),
        ] {
            let answer = get(&admin, method, path);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
        }
        for request in ["nonsense\r\n\r\n".to_owned(), format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000))] {
            let answer = send(&admin, request.as_bytes());
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
        assert!(get(&admin, "GET", "/healthz").starts_with("HTTP/1.1 200 OK"), "it still answers");
    }

    #[test]
    fn slow_clients_do_not_block_others() {
        let (admin, ..) = start();
        let mut slow = Vec::new();
        for _ in 0..3 * CONNECTIONS_MAX {
            let mut stream = TcpStream::connect(admin.address()).unwrap();
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHos");
            slow.push(stream);
            assert!(slow.len() % CONNECTIONS_MAX != 0 || get(&admin, "GET", "/healthz").starts_with("HTTP/1.1 200 OK"));
        }
        // The first of them was cut to make room: it reads the end.
        let mut nothing = Vec::new();
        let cut = slow.first_mut().unwrap().read_to_end(&mut nothing);
        assert!(cut.is_err() || nothing.is_empty());
    }

    #[test]
    fn it_stops_and_frees_its_address() {
        let (admin, metrics, health) = start();
        let address = admin.address();
        assert!(matches!(Admin::start(address, metrics.clone(), health.clone()), Err(AdminError::Listen { .. })));
        let held = TcpStream::connect(address).unwrap();
        drop(admin);
        drop(held);
        Admin::start(address, metrics.clone(), health.clone()).unwrap();
        let open = Admin::start((std::net::Ipv4Addr::UNSPECIFIED, 0).into(), metrics, health);
        assert!(matches!(open, Err(AdminError::NotLoopback(_))));
    }
}
