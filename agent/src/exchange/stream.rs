//! Streamed answers. Enters: server-sent events. Leaves: facts and joined text, as if the answer had come whole. An event
//! that cannot be read is kept as text, so that nothing that was sent escapes the scan.

use serde_json::Value;

use super::{
    Leaves,
    facts::{Facts, Seen},
    json::{self, Ended},
    path::Path,
    shapes,
    text::{Joined, Mode},
    tree::{Node, Tree},
};
use crate::{assembly::Event, rules::vendors::Api};

/// Longer events are no bits of text.
const DELTA_BYTES: usize = 4 << 10;

/// Reads the events of one shape.
pub(super) trait Stream {
    /// Takes an event that is JSON.
    fn event(&mut self, name: &str, doc: &Value, joined: &mut Joined);
    /// Takes an event that adds a bit of text and says nothing else, which is what nearly all do. False: it may say more, and
    /// nothing of it was taken. Asked only where [`Stream::has_deltas`].
    fn delta(&mut self, _name: &str, _doc: Node<'_>, _joined: &mut Joined) -> bool {
        false
    }
    /// Whether [`Stream::delta`] is worth asking.
    fn has_deltas(&self) -> bool {
        false
    }
    /// The stream said that it is over (`[DONE]`).
    fn done(&mut self) {}
    /// All events were taken.
    fn finish(self: Box<Self>, seen: Seen, joined: &mut Joined) -> Facts;
}

/// Reads a whole stream.
pub(super) fn read(api: Api, events: &[Event], seen: Seen) -> (Facts, Leaves) {
    let mut stream = shapes::stream(api);
    let (mut joined, mut tree) = (Joined::default(), Tree::default());
    let has_deltas = stream.has_deltas();
    for (index, event) in events.iter().enumerate() {
        if event.data == "[DONE]" {
            stream.done();
            continue;
        }
        if has_deltas && event.data.len() <= DELTA_BYTES && event.data.starts_with('{') {
            tree.clear();
            let is_whole = json::tree(&event.data, &mut tree) == Ended::Whole;
            if is_whole && tree.root().is_some_and(|doc| stream.delta(&event.name, doc, &mut joined)) {
                continue;
            }
        }
        if !json::looks_like_json(event.data.as_bytes()) {
            joined.put(&format!("$.events[{index}]"), "", &event.data, Mode::Set);
            continue;
        }
        let outline = json::outline(event.data.as_bytes(), usize::MAX);
        match outline.end {
            Ended::Whole => stream.event(&event.name, &outline.doc, &mut joined),
            Ended::Cut | Ended::Malformed(_) => unreadable(index, &event.data, &mut joined),
        }
    }
    let facts = stream.finish(seen, &mut joined);
    (facts, joined.finish())
}

/// Half an event says nothing certain, but its text was sent.
fn unreadable(index: usize, data: &str, joined: &mut Joined) {
    let root = format!("$.events[{index}]");
    let end = json::strings(data.as_bytes(), &root, &mut |path: &str, key: &str, text: &str| {
        joined.put(path, key, text, Mode::Set);
    });
    if let Ended::Malformed(at) = end {
        joined.put(&root, "", data.get(at..).unwrap_or(data), Mode::Append);
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
