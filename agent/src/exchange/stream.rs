//! Streamed answers. Enters: server-sent events. Leaves: facts and joined text, as if the answer had come whole. An event
//! that cannot be read is kept as text, so that nothing that was sent escapes the scan.

use serde_json::Value;

use super::{
    Leaves,
    facts::{Facts, Seen, named_code, replace},
    json::{self, Ended},
    path::Path,
    shapes,
    text::{Joined, Mode},
};
use crate::{
    assembly::{Event, UNVERIFIED},
    rules::vendors::Api,
};

/// Reads the events of one shape.
pub(super) trait Stream {
    /// Takes an event that is JSON.
    fn event(&mut self, name: &str, doc: &Value, joined: &mut Joined);
    /// The stream said that it is over (`[DONE]`).
    fn done(&mut self) {}
    /// All events were taken.
    fn finish(self: Box<Self>, seen: Seen, joined: &mut Joined) -> Facts;
}

/// Reads a whole stream.
pub(super) fn read(api: Api, events: &[Event], seen: Seen) -> (Facts, Leaves) {
    let mut stream = shapes::stream(api);
    let mut joined = Joined::default();
    let mut failed = None;
    for (index, event) in events.iter().enumerate() {
        if event.name == UNVERIFIED {
            unreadable(index, &event.data, &mut joined);
            continue;
        }
        // An exception of an AWS event stream: the same in every shape, and none of its events.
        if let Some(what) = event.name.strip_prefix('!') {
            failed = Some(named_code(what));
            unreadable(index, &event.data, &mut joined);
            continue;
        }
        if event.data == "[DONE]" {
            stream.done();
            continue;
        }
        if !json::looks_like_json(event.data.as_bytes()) {
            joined.put(&format!("$.events[{index}]"), "", &event.data, Mode::Set);
            continue;
        }
        let outline = json::read(event.data.as_bytes(), "$", usize::MAX, &mut |_: &str, _: &str, _: &str| {});
        match outline.end {
            Ended::Whole => stream.event(&event.name, &outline.doc, &mut joined),
            Ended::Cut | Ended::Malformed(_) => unreadable(index, &event.data, &mut joined),
        }
    }
    let mut facts = stream.finish(seen, &mut joined);
    replace(&mut facts.error, failed);
    (facts, joined.finish())
}

/// Half an event says nothing certain, but its text was sent.
fn unreadable(index: usize, data: &str, joined: &mut Joined) {
    let root = format!("$.events[{index}]");
    let outline = json::read(data.as_bytes(), &root, 0, &mut |path: &str, key: &str, text: &str| {
        joined.put(path, key, text, Mode::Set);
    });
    if let Ended::Malformed(at) = outline.end {
        joined.put(&root, "", data.get(at..).unwrap_or(data), Mode::Append);
    }
}

/// Pieces of JSON text, joined at a path, become the members that the whole answer would have.
pub(super) fn parse_pieces(path: &str, joined: &mut Joined) {
    let Some(pieces) = joined.take(path) else { return };
    let outline = json::read(pieces.as_bytes(), path, 0, &mut |path: &str, key: &str, text: &str| {
        joined.put(path, key, text, Mode::Set);
    });
    if let Ended::Malformed(at) = outline.end {
        joined.put(path, "", pieces.get(at..).unwrap_or(&pieces), Mode::Set);
    }
}

/// Events of a shape that is not understood: strings that stand at the same path in several events are taken as parts of one
/// text, which is what all vendors' streams do.
#[derive(Debug, Default)]
pub(super) struct Plain {
    facts: Facts,
}

impl Stream for Plain {
    fn event(&mut self, _: &str, doc: &Value, joined: &mut Joined) {
        self.facts.envelope(doc);
        joined.walk(doc, &mut Path::new("$"), "", Mode::Append);
    }

    fn finish(self: Box<Self>, _: Seen, _: &mut Joined) -> Facts {
        self.facts
    }
}
