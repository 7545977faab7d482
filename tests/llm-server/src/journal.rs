//! Enters: the plain bytes of each connection, as they pass between TLS and HTTP. Leaves: two files a connection,
//! `NNN-<sni>.received` and `NNN-<sni>.sent`. A byte is in the file before the next layer sees it, and a journal that
//! cannot be written breaks the connection: a test must never compare with half a truth.

use std::{
    fs::{File, OpenOptions, create_dir_all},
    io::{self, Write},
    path::{Path, PathBuf},
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where the connections of one server run are written down.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    connections: AtomicU32,
}

impl Journal {
    /// Opens a journal in `dir`, which is made if missing.
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), connections: AtomicU32::new(0) })
    }

    /// Opens the two files of the next connection. Connections are numbered from 001 in the order of their handshakes.
    fn open(&self, server_name: Option<&str>) -> io::Result<Pages> {
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let stem = format!("{number:03}-{}", server_name.map_or_else(|| "no-sni".to_owned(), file_name));
        let page = |suffix: &str| {
            OpenOptions::new().write(true).create_new(true).open(self.dir.join(format!("{stem}.{suffix}")))
        };
        Ok(Pages { received: page("received")?, sent: page("sent")? })
    }
}

/// A server name comes from the peer: only what can stand in a host name goes into a file's name.
fn file_name(server_name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    server_name.chars().take(128).map(safe).collect()
}

#[derive(Debug)]
struct Pages {
    received: File,
    sent: File,
}

/// A stream whose plain bytes are written down.
#[derive(Debug)]
pub(crate) struct Recorded<S> {
    inner: S,
    pages: Option<Pages>,
}

impl<S> Recorded<S> {
    /// Wraps `inner`; without a journal nothing is written.
    pub(crate) fn new(inner: S, journal: Option<&Journal>, server_name: Option<&str>) -> io::Result<Self> {
        let pages = journal.map(|journal| journal.open(server_name)).transpose()?;
        Ok(Self { inner, pages })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        let written = this.pages.as_mut().map_or(Ok(()), |pages| pages.received.write_all(new));
        Poll::Ready(written)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
        let new = buf.get(..taken).unwrap_or_default();
        let written = this.pages.as_mut().map_or(Ok(()), |pages| pages.sent.write_all(new));
        Poll::Ready(written.map(|()| taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn both_directions_are_written_down_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(dir.path()).unwrap();
        let (near, mut far) = tokio::io::duplex(5); // smaller than the messages, so that they pass in parts
        let mut near = Recorded::new(near, Some(&journal), Some("api.openai.com")).unwrap();
        let peer = tokio::spawn(async move {
            far.write_all(b"\x00hello from the far side\xff").await.unwrap();
            let mut heard = vec![0; 9];
            far.read_exact(&mut heard).await.unwrap();
            heard
        });
        let mut heard = vec![0; 25];
        near.read_exact(&mut heard).await.unwrap();
        near.write_all(b"an answer").await.unwrap();
        assert_eq!(peer.await.unwrap(), b"an answer");
        let page = |suffix| std::fs::read(dir.path().join(format!("001-api.openai.com.{suffix}"))).unwrap();
        assert_eq!(page("received"), b"\x00hello from the far side\xff");
        assert_eq!(page("sent"), b"an answer");
    }

    #[test]
    fn a_server_name_cannot_leave_the_folder() {
        assert_eq!(file_name("../../etc/passwd\0"), ".._.._etc_passwd_");
        assert_eq!(file_name(&"a".repeat(1000)).len(), 128);
    }
}
