//! HTTP/1.1 as a client and a server write it (RFC 9112). Enters: a request and its answer. Leaves: [`Wire`]. The length is
//! the body's own; an answer that is a stream comes in chunks, one a part.

use super::{Request, Response, Wire};

/// One exchange on its wire. Without an answer the request stands alone.
pub(super) fn wire(request: &Request, response: Option<&Response>) -> Wire {
    Wire { sent: sent(request), received: response.map(received).unwrap_or_default() }
}

fn sent(request: &Request) -> Vec<Vec<u8>> {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target).into_bytes();
    field(&mut head, "host", &request.authority);
    for (name, value) in &request.headers {
        field(&mut head, name, value);
    }
    if !request.body.is_empty() || matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") {
        field(&mut head, "content-length", &request.body.len().to_string());
    }
    head.extend_from_slice(b"\r\n");
    // Most clients write head and body at once.
    head.extend_from_slice(&request.body);
    vec![head]
}

fn received(response: &Response) -> Vec<Vec<u8>> {
    let mut head = format!("HTTP/1.1 {} \r\n", response.status).into_bytes();
    for (name, value) in &response.headers {
        field(&mut head, name, value);
    }
    let parts = response.parts();
    let is_streamed = response.is_streamed();
    if is_streamed {
        field(&mut head, "transfer-encoding", "chunked");
    } else if !matches!(response.status, 204 | 304) {
        field(&mut head, "content-length", &response.body.len().to_string());
    }
    head.extend_from_slice(b"\r\n");
    let mut pieces = vec![head];
    for part in parts {
        pieces.push(if is_streamed {
            [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()
        } else {
            part.to_vec()
        });
    }
    if is_streamed {
        pieces.push(b"0\r\n\r\n".to_vec());
    }
    pieces
}

fn field(wire: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        wire.extend_from_slice(part.as_bytes());
    }
}
