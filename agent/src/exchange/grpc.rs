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
