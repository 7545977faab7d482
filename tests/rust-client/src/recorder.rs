//! A server that speaks HTTP/2 and writes down the plain bytes of every connection, as the tests' own server does: one file of what it
//! got, one of what it sent. It is a process of its own, from a file of its own, so that no probe on the client's file sees it. It
//! ends with its standard input.

use std::{
    convert::Infallible,
    fs::File,
    io::{self, Write as _},
    net::Ipv4Addr,
    path::Path,
    pin::Pin,
    process::Stdio,
    sync::Arc,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader, ReadBuf},
    net::TcpListener,
    process::{Child, Command},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

/// A server that was started.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// Where it is.
    pub(crate) address: Address,
    child: Child,
}

/// How to reach a recorder.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// On the loopback.
    pub(crate) port: u16,
    /// Whom to trust, in PEM.
    pub(crate) certificate: String,
}

impl Recorder {
    /// Starts it, and waits until it listens.
    pub(crate) async fn start(program: &Path, host: &str, journal: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["--record", "--host", host, "--journal"]).arg(journal);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut line = String::new();
        let said = child.stdout.take().context("it has a standard output")?;
        BufReader::new(said).read_line(&mut line).await?;
        let ready: Value = serde_json::from_str(&line).context("the recorder did not start")?;
        let port = ready["port"].as_u64().and_then(|port| u16::try_from(port).ok()).context("it has a port")?;
        let certificate = ready["certificate"].as_str().context("it has a certificate")?.to_owned();
        Ok(Self { address: Address { port, certificate }, child })
    }

    /// Ends it, and waits until all is written.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await?;
        ensure!(status.success(), "the recorder ended with {status}");
        Ok(())
    }
}

/// Is that server.
pub(crate) async fn serve(host: &str, journal: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    std::fs::create_dir_all(journal)?;
    println!("{}", json!({"port": listener.local_addr()?.port(), "certificate": made.cert.pem()}));
    let mut end = tokio::io::stdin();
    let (mut number, mut byte) = (0, [0]);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = end.read(&mut byte) => break,
            accepted = listener.accept() => {
                number += 1;
                let page = |way: &str| File::create(journal.join(format!("{number}-{host}.{way}")));
                let (received, sent) = (page("received")?, page("sent")?);
                let stream = acceptor.accept(accepted?.0).await?;
                let recorded = Recorded { stream, received, sent };
                let server = http2::Builder::new(TokioExecutor::new());
                connections.spawn(server.serve_connection(TokioIo::new(recorded), service_fn(answer)));
            }
        }
    }
    // The client has closed them: what it said last is written down too.
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let length = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    let text = format!("{length} bytes came. ").repeat(20_000);
    let answer = json!({"object": "chat.completion", "model": "gpt-5", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": text}}]});
    Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
}

/// A stream whose plain bytes are written down as they pass.
struct Recorded<S> {
    stream: S,
    received: File,
    sent: File,
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(new) = buffer.filled().get(before..) {
            self.received.write_all(new)?;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled
            && let Some(written) = bytes.get(..count)
        {
            self.sent.write_all(written)?;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
