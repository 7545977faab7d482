//! From fields to heads (RFC 9113, section 8.3). Enters: the fields of one block. Leaves: [`Head`]. What is not known stays empty: a
//! method, a target, a status of zero.

use super::hpack::Fields;
use crate::{
    assembly::{Head, Headers},
    sources::Direction,
};

/// Trailers that are kept of one message.
const MAX_TRAILERS: usize = 32;

/// A block that was read.
pub(super) struct Read {
    pub(super) head: Head,
    /// It has a field that only heads have.
    pub(super) is_head: bool,
}

/// Reads a block.
pub(super) fn read(direction: Direction, fields: Fields) -> Read {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (mut method, mut target, mut authority, mut status) = (String::new(), String::new(), None, 0);
    let (mut headers, mut is_head) = (Vec::new(), false);
    for (name, value) in fields.known {
        is_head |= name.first() == Some(&b':');
        match &*name {
            b":method" => method = text(&value),
            b":path" => target = text(&value),
            b":authority" => authority = Some(text(&value)),
            b":status" => status = text(&value).parse().ok().filter(|code| (100..=999).contains(code)).unwrap_or(0),
            [b':', ..] => {}
            _ => headers.push((text(&name).to_ascii_lowercase(), text(&value))),
        }
    }
    if let Some(authority) = authority.filter(|_| headers.iter().all(|(name, _)| name != "host")) {
        headers.insert(0, ("host".to_owned(), authority));
    }
    let headers = Headers(headers);
    let head = match direction {
        Direction::Sent => Head::Request { method, target, headers },
        Direction::Received => Head::Response { status, headers },
    };
    Read { head, is_head }
}

/// An answer that another one follows: RFC 9110, section 15.2.
pub(super) fn is_interim(head: &Head) -> bool {
    matches!(head, Head::Response { status: 100..=199, .. })
}

/// Trailers are fields of the message: gRPC has its status there.
pub(super) fn add_trailers(head: &mut Head, trailers: Head) {
    let (Head::Request { headers, .. } | Head::Response { headers, .. }) = head;
    let (Head::Request { headers: more, .. } | Head::Response { headers: more, .. }) = trailers;
    headers.0.extend(more.0.into_iter().take(MAX_TRAILERS));
}
