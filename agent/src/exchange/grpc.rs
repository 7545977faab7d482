//! Calls whose messages are not read as a vendor's shape: gRPC, and requests that are streams. Enters: events, headers. Leaves: text,
//! and the status that gRPC has behind the body. Never a fact out of a message whose schema is not known.

use super::{Leaves, body, facts::Facts, text::Whole};
use crate::assembly::{Event, Headers};

/// The text of all events, each with its number.
pub(super) fn text(events: &[Event]) -> Leaves {
    let mut whole = Whole::default();
    for (index, event) in events.iter().enumerate() {
        body::read(event.data.as_bytes(), &format!("$.events[{index}]"), &mut whole);
    }
    whole.finish()
}

/// A call that failed says so in its trailers, with HTTP status 200
/// (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>).
pub(super) fn status(headers: &Headers, facts: &mut Facts) {
    let code = headers.find("grpc-status").and_then(|code| code.parse::<u32>().ok());
    if let Some(code) = code.filter(|code| *code != 0) {
        facts.error.get_or_insert_with(|| format!("grpc_{code}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_its_text() {
        let event = |data: &str| Event { data: data.into(), ..Event::default() };
        let leaves = text(&[event("projects/p\nhello there"), event(""), event(r#"{"model":"of a tool","b":["x"]}"#)]);
        let all: Vec<_> = leaves.iter().map(|(path, range)| (path, &leaves.text()[range])).collect();
        let expect =
            [("$.events[0]", "projects/p\nhello there"), ("$.events[2].model", "of a tool"), ("$.events[2].b[0]", "x")];
        assert_eq!(all, expect);
    }

    #[test]
    fn a_status_behind_the_body_is_an_error() {
        for (status, error) in [("0", None), ("13", Some("grpc_13")), ("x", None)] {
            let mut facts = Facts::default();
            super::status(&Headers(vec![("grpc-status".to_owned(), status.to_owned())]), &mut facts);
            assert_eq!(facts.error.as_deref(), error, "{status}");
        }
    }
}
