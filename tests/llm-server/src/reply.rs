//! Enters: an answer in the vendor's words. Leaves: an HTTP response. Streamed events are handed over one at a time with a
//! pause of the task in between, so that each becomes its own chunk and its own TLS record, as from a model that thinks.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io::Write,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, SizeHint},
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::Value;

/// An answer, before HTTP.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Json(Value),
    Text(String),
    /// Server-sent events, each complete with its blank line.
    Events(Vec<String>),
}

impl Reply {
    /// A JSON object.
    pub(crate) fn json(status: StatusCode, body: Value) -> Self {
        Self { status, headers: Vec::new(), content: Content::Json(body) }
    }

    /// A plain page.
    pub(crate) fn text(text: String) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), content: Content::Text(text) }
    }

    /// A stream of server-sent events.
    pub(crate) fn events(events: Vec<String>) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), content: Content::Events(events) }
    }

    /// Adds a header; a value that cannot stand in a header is left out.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Turns the answer into HTTP, compressed when asked.
    pub(crate) fn into_response(self, gzip: bool) -> Response<Paced> {
        let (content_type, pieces, streamed) = match self.content {
            Content::Json(body) => ("application/json", vec![Bytes::from(body.to_string())], false),
            Content::Text(text) => ("text/plain; charset=utf-8", vec![Bytes::from(text)], false),
            Content::Events(events) => {
                ("text/event-stream; charset=utf-8", events.into_iter().map(Bytes::from).collect(), true)
            }
        };
        let pieces = if gzip { compress(&pieces) } else { pieces };
        let mut response = Response::new(Paced { pieces: pieces.into(), streamed, paused: false });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// One gzip stream over all pieces, flushed after each, so that a reader can decode every event as it comes.
fn compress(pieces: &[Bytes]) -> Vec<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut compressed = Vec::with_capacity(pieces.len() + 1);
    for piece in pieces {
        // Writing into memory cannot fail; were it to, the client would see a truncated gzip stream and say so.
        if encoder.write_all(piece).and_then(|()| encoder.flush()).is_ok() {
            compressed.push(Bytes::from(std::mem::take(encoder.get_mut())));
        }
    }
    compressed.extend(encoder.finish().map(Bytes::from));
    compressed
}

/// A body whose pieces are written one by one.
#[derive(Debug)]
pub(crate) struct Paced {
    pieces: VecDeque<Bytes>,
    streamed: bool,
    paused: bool,
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        this.paused = this.streamed && !this.paused;
        if this.paused {
            // hyper flushes what it has when the body is not ready: that ends the TLS record.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(this.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.streamed {
            return SizeHint::default(); // as the vendors do: chunked, no content-length
        }
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn gzip_pieces_join_to_the_same_stream() {
        let events: Vec<String> = (0..50).map(|n| format!("data: {{\"n\":{n}}}\n\n")).collect();
        let response = Reply::events(events.clone()).into_response(true);
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, events.concat());
    }

    #[test]
    fn a_document_has_a_length_and_a_stream_has_none() {
        let document = Reply::text("four".to_owned()).into_response(false);
        assert_eq!(document.body().size_hint().exact(), Some(4));
        assert_eq!(Reply::events(vec!["data: x\n\n".to_owned()]).into_response(false).body().size_hint().exact(), None);
    }
}
