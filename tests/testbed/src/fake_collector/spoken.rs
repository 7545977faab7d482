//! Writes down what is said on an encrypted connection. Enters: a stream, behind its encryption. Leaves: the same stream, and the bytes that
//! went each way, to compare with what a tap saw.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The plain bytes of one connection, so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// From the client.
    pub received: Vec<u8>,
    /// To the client.
    pub sent: Vec<u8>,
}

pub(super) type Words = Arc<Mutex<Spoken>>;

/// A copy of what was said until now.
pub(super) fn so_far(words: &Words) -> Spoken {
    words.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A stream that is written down.
pub(super) struct Recorded<S> {
    stream: S,
    words: Words,
}

impl<S> Recorded<S> {
    pub(super) fn new(stream: S, words: Words) -> Self {
        Self { stream, words }
    }

    fn record(&self, add: impl FnOnce(&mut Spoken)) {
        add(&mut self.words.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.record(|spoken| spoken.received.extend_from_slice(new));
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        if let Ok(count) = written {
            self.record(|spoken| spoken.sent.extend_from_slice(bytes.get(..count).unwrap_or_default()));
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
