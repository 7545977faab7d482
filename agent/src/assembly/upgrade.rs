//! What the answer to an upgrade agrees on (RFC 6455, section 4.2.2; RFC 7692, section 7.1). Enters: the head of a 101.
//! Leaves: [`Upgrade`]. What the client merely offered is never looked at.

use super::{Head, Headers};
use crate::sources::Direction;

/// A connection became a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Upgrade {
    /// The call that asked for it.
    pub(super) call: Option<u64>,
    deflate: Option<Deflate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deflate {
    client_keeps: bool,
    server_keeps: bool,
}

impl Upgrade {
    /// `None`: no answer that makes a connection a WebSocket.
    pub(super) fn read(head: &Head, call: Option<u64>) -> Option<Self> {
        let Head::Response { status: 101, headers } = head else { return None };
        let is_websocket = elements(headers, "upgrade", ',').any(|name| name.eq_ignore_ascii_case("websocket"));
        let deflate = elements(headers, "sec-websocket-extensions", ',').find_map(Deflate::read);
        is_websocket.then_some(Self { call, deflate })
    }

    /// Whether the sender of a direction refers to earlier messages; `None` when it does not compress.
    pub(super) fn keeps_context(self, direction: Direction) -> Option<bool> {
        let deflate = self.deflate?;
        Some(match direction {
            Direction::Sent => deflate.client_keeps,
            Direction::Received => deflate.server_keeps,
        })
    }
}

impl Deflate {
    /// Window sizes do not matter: a decoder with the largest window reads all of them.
    fn read(extension: &str) -> Option<Self> {
        let mut parts = extension.split(';').map(str::trim);
        let name = parts.next()?;
        let mut read = Self { client_keeps: true, server_keeps: true };
        for part in parts {
            let parameter = part.split('=').next().unwrap_or_default().trim();
            if parameter.eq_ignore_ascii_case("client_no_context_takeover") {
                read.client_keeps = false;
            } else if parameter.eq_ignore_ascii_case("server_no_context_takeover") {
                read.server_keeps = false;
            }
        }
        name.eq_ignore_ascii_case("permessage-deflate").then_some(read)
    }
}

/// Elements of a header that is a list and may be repeated.
fn elements<'a>(headers: &'a Headers, name: &'a str, by: char) -> impl Iterator<Item = &'a str> {
    let values = headers.0.iter().filter(move |(field, _)| field == name);
    values.flat_map(move |(_, value)| value.split(by)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_agreed_on() {
        let deflate = |client_keeps, server_keeps| Some(Deflate { client_keeps, server_keeps });
        for (status, upgrade, extensions, expected) in [
            (101, "websocket", "", Some(None)),
            (101, "WebSocket", "permessage-deflate", Some(deflate(true, true))),
            (101, "h2c, websocket", "x; a, Permessage-Deflate; server_no_context_takeover", Some(deflate(true, false))),
            (
                101,
                "websocket",
                "permessage-deflate; client_max_window_bits=12; client_no_context_takeover",
                Some(deflate(false, true)),
            ),
            (101, "websocket", "x-webkit-deflate-frame", Some(None)),
            (101, "h2c", "", None),
            (200, "websocket", "", None),
        ] {
            let fields = [("upgrade", upgrade), ("sec-websocket-extensions", extensions)];
            let headers = Headers(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect());
            let read = Upgrade::read(&Head::Response { status, headers }, Some(3));
            assert_eq!(read.map(|read| read.deflate), expected, "{status} {upgrade} {extensions}");
            assert!(read.is_none_or(|read| read.call == Some(3)));
        }
    }
}
