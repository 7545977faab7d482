//! Which models changed behind their name lately, for the detectors that ask why answers look different. Enters: a change, as
//! [`ResolvedModel`](super::resolved_model::ResolvedModel) saw it. Leaves: the last change of one (service, host, api, requested id). It
//! decides nothing and emits nothing.
//!
//! State: the last change of each name in one table of [`MAX_CHANGES`] entries with ids of at most [`MAX_ID_BYTES`]; the least recently
//! used goes first. It is not kept by itself: the detector that notes the changes keeps them with its own state and notes them again
//! after a restart.

use std::sync::{Arc, Mutex, PoisonError};

use super::resolved_model::plain_id;
use crate::{exchange::Api, lru::Lru, units::Timestamp};

/// Bound of the table.
const MAX_CHANGES: usize = 1024;

/// Ids longer than this are not kept: no vendor has such.
const MAX_ID_BYTES: usize = 256;

/// Changes that several detectors share; clones see the same table.
#[derive(Clone, Debug)]
pub struct ModelChanges {
    table: Arc<Mutex<Lru<Key, Change>>>,
}

/// One change of the model behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The id that answered before.
    pub from: String,
    /// The id that answers since.
    pub to: String,
    /// Start of the first call that it answered.
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: String,
    host: String,
    api: Api,
    requested: String,
}

impl ModelChanges {
    /// A table without a change.
    pub fn new() -> Self {
        Self { table: Arc::new(Mutex::new(Lru::new(MAX_CHANGES))) }
    }

    /// Keeps the newest change of a name. `requested` may be written in any of the ways in which vendors and clients write an id.
    #[expect(clippy::too_many_arguments, reason = "a name has four parts, a change three")]
    pub fn note(&self, service: &str, host: &str, api: Api, requested: &str, from: &str, to: &str, at: Timestamp) {
        if requested.len().max(from.len()).max(to.len()) > MAX_ID_BYTES {
            return;
        }
        let change = Change { from: from.to_owned(), to: to.to_owned(), at };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.touch(&key(service, host, api, requested)) {
            // Calls are told when they end: one that began earlier may come later.
            Some(kept) if kept.at > at => {}
            Some(kept) => *kept = change,
            None => drop(table.insert(key(service, host, api, requested), change)),
        }
    }

    /// The last change of that name, if it happened at most `window_ns` before `at`.
    pub fn within(
        &self,
        service: &str,
        host: &str,
        api: Api,
        requested: &str,
        at: Timestamp,
        window_ns: u64,
    ) -> Option<Change> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let change = table.peek(&key(service, host, api, requested))?;
        (change.at <= at && at.since_ns(change.at) <= window_ns).then(|| change.clone())
    }
}

impl Default for ModelChanges {
    fn default() -> Self {
        Self::new()
    }
}

fn key(service: &str, host: &str, api: Api, requested: &str) -> Key {
    Key { service: service.to_owned(), host: host.to_owned(), api, requested: plain_id(requested) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;
    const HOST: &str = "api.openai.com";

    fn at(hours: u64) -> Timestamp {
        Timestamp(1_795_392_000_000_000_000 + hours * HOUR_NS)
    }

    fn asked(changes: &ModelChanges, service: &str, requested: &str, hours: u64) -> Option<String> {
        changes.within(service, HOST, Api::ChatCompletions, requested, at(hours), 24 * HOUR_NS).map(|change| change.to)
    }

    #[test]
    fn a_change_is_known_for_as_long_as_one_asks() {
        let changes = ModelChanges::new();
        let shared = changes.clone();
        shared.note("checkout", HOST, Api::ChatCompletions, "GPT-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20", at(10));
        // service, requested, hour, known
        let cases = [
            ("checkout", "gpt-4o", 10, true),
            ("checkout", "openai/gpt-4o", 34, true),
            ("checkout", "gpt-4o", 35, false),
            ("checkout", "gpt-4o", 9, false),
            ("checkout", "gpt-4o-mini", 10, false),
            ("search", "gpt-4o", 10, false),
        ];
        for (service, requested, hour, known) in cases {
            let found = asked(&changes, service, requested, hour);
            assert_eq!(found.is_some(), known, "{service} {requested} {hour}");
        }
        assert_eq!(changes.within("checkout", HOST, Api::Responses, "gpt-4o", at(10), HOUR_NS), None);
    }

    #[test]
    fn the_newest_change_counts_and_the_table_has_a_bound() {
        let changes = ModelChanges::new();
        for (to, hour) in [("second", 2), ("third", 3), ("late-news-of-the-first", 1)] {
            changes.note("checkout", HOST, Api::ChatCompletions, "m", "before", to, at(hour));
        }
        assert_eq!(asked(&changes, "checkout", "m", 4).as_deref(), Some("third"));
        changes.note("checkout", HOST, Api::ChatCompletions, &"x".repeat(MAX_ID_BYTES + 1), "a", "b", at(4));
        for number in 0..MAX_CHANGES {
            changes.note("checkout", HOST, Api::ChatCompletions, &format!("model-{number}"), "a", "b", at(4));
        }
        assert_eq!(asked(&changes, "checkout", "m", 4), None, "the oldest had to go");
        assert_eq!(changes.table.lock().unwrap().len(), MAX_CHANGES);
    }
}
