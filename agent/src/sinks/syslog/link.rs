//! A connection to a syslog server. Enters: messages. Leaves: the same, framed as the transport wants it. It never waits longer than the
//! sink's time, and says what to do when it cannot go on.

use std::{io, time::Duration};

use futures_util::FutureExt as _;
use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixDatagram},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use crate::{
    config::{AbsolutePath, SyslogAddress, SyslogSink},
    sinks::{
        ConnectError,
        tls::{Tls, Trust},
        words::innermost,
    },
};

/// A connection.
pub(super) struct Link {
    wire: Wire,
    whom: String,
    timeout: Duration,
}

enum Wire {
    Stream(Box<dyn Stream>),
    Datagram(UnixDatagram),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What became of messages.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Those that the socket does not take, by their place, with the reason.
    pub(super) too_large: Vec<(usize, String)>,
    /// They went into a stream, so nobody knows how far they came.
    pub(super) is_stream: bool,
}

impl Link {
    pub(super) async fn new(sink: &SyslogSink) -> Result<Self, ConnectError> {
        let (whom, timeout) = (sink.address.to_string(), sink.timeout.get());
        let connecting = tokio::time::timeout(timeout, connect(sink, &whom));
        let late = |_| ConnectError(format!("no answer from {whom} within {timeout:?}"));
        let wire = connecting.await.map_err(late)??;
        Ok(Self { wire, whom, timeout })
    }

    /// Sends messages in their order. An error: perhaps some of them are there.
    pub(super) async fn send<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Result<Sent, String> {
        let Self { wire, whom, timeout } = self;
        let timeout = *timeout;
        let sending = async {
            match wire {
                Wire::Stream(stream) => send_stream(stream.as_mut(), messages).await,
                Wire::Datagram(socket) => send_datagrams(socket, messages).await,
            }
        };
        match tokio::time::timeout(timeout, sending).await {
            Ok(Ok(sent)) => Ok(sent),
            Ok(Err(error)) => Err(format!("{whom} hung up: {}", innermost(&error))),
            Err(_) => Err(format!("{whom} takes nothing for {timeout:?}")),
        }
    }
}

async fn connect(sink: &SyslogSink, whom: &str) -> Result<Wire, ConnectError> {
    let failed = |error: io::Error| ConnectError(format!("cannot reach {whom}: {}", innermost(&error)));
    let path = |path: &'_ Option<AbsolutePath>| path.as_ref().map(|path| path.get().to_owned());
    let (ca, cert, key) = (path(&sink.ca_file), path(&sink.cert_file), path(&sink.key_file));
    let is_encrypted = matches!(sink.address, SyslogAddress::Tls { .. });
    let (ca_file, cert_file, key_file) = (ca.as_deref(), cert.as_deref(), key.as_deref());
    let tls = Tls::read(&Trust { whom, is_encrypted, ca_file, cert_file, key_file })?;
    let (host, port) = match &sink.address {
        SyslogAddress::Tls { host, port } | SyslogAddress::Tcp { host, port } => (host.as_str(), *port),
        SyslogAddress::Unix(path) => {
            let socket = UnixDatagram::unbound().map_err(failed)?;
            socket.connect(path).map_err(|error| {
                let advice = match error.kind() {
                    io::ErrorKind::NotFound => "; is a syslog daemon running, and its socket mounted here?",
                    _ if error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
                        "; it is a stream socket, and only datagram sockets such as /dev/log are spoken to"
                    }
                    _ => "",
                };
                ConnectError(format!("cannot reach {whom}: {}{advice}", innermost(&error)))
            })?;
            return Ok(Wire::Datagram(socket));
        }
    };
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(failed)?;
    // Batches are written whole, so nothing is gained by waiting for more.
    stream.set_nodelay(true).map_err(failed)?;
    // Data that the other side's system does not acknowledge ends the connection: without it that takes a quarter of an hour.
    let unanswered_ms = u32::try_from(sink.timeout.get().as_millis()).unwrap_or(u32::MAX);
    let _ = sockopt::set_tcp_user_timeout(&stream, unanswered_ms);
    let Some(tls) = tls else { return Ok(Wire::Stream(Box::new(stream))) };
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|_| ConnectError(format!("{whom}: a certificate has no such name")))?;
    let shaking = TlsConnector::from(std::sync::Arc::new(tls.rustls())).connect(name, stream);
    let refused = |error: io::Error| ConnectError(format!("no TLS with {whom}: {}", innermost(&error)));
    Ok(Wire::Stream(Box::new(shaking.await.map_err(refused)?)))
}

async fn send_stream<M: AsRef<[u8]>>(stream: &mut dyn Stream, messages: &[M]) -> io::Result<Sent> {
    // A server that went away since the last batch: what is written now would be lost without a word.
    is_open(stream)?;
    let mut bytes = Vec::new();
    for message in messages {
        let message = message.as_ref();
        bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
        bytes.extend_from_slice(message);
    }
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    is_open(stream)?;
    Ok(Sent { is_stream: true, ..Sent::default() })
}

/// Looks whether the other side has hung up. What it says otherwise is not read by anybody.
fn is_open(stream: &mut dyn Stream) -> io::Result<()> {
    let mut said = [0; 256];
    while let Some(read) = stream.read(&mut said).now_or_never() {
        if read? == 0 {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server closed the connection"));
        }
    }
    Ok(())
}

async fn send_datagrams<M: AsRef<[u8]>>(socket: &UnixDatagram, messages: &[M]) -> io::Result<Sent> {
    let mut sent = Sent::default();
    for (index, message) in messages.iter().enumerate() {
        match socket.send(message.as_ref()).await {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                let bytes = message.as_ref().len();
                sent.too_large
                    .push((index, format!("the socket takes no datagram of {bytes} bytes: lower `max_bytes`")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
