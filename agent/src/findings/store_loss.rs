//! The findings that the store makes about itself: what went or found no room because it was full, and that its file was damaged. Enters: paths and counts. Leaves:
//! one occurrence of `coverage.store-full` or `coverage.store-damaged`. Nothing of what was lost is known here.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use super::{Category, Finding, Location, Policy, Process, fingerprint::stable_id, mask};
use crate::units::{Severity, Timestamp};

/// Id of the rule about what went to make room.
pub const STORE_FULL: &str = "coverage.store-full";

/// Id of the rule about a file that was set aside.
pub const STORE_DAMAGED: &str = "coverage.store-damaged";

/// Longest path, characters: PATH_MAX of linux/limits.h.
const MAX_PATH_CHARS: usize = 4096;

/// Longest text of a library, characters.
const MAX_REASON_CHARS: usize = 256;

/// So many revisions, which some sink does not have, and so many states of findings went because the store was full. Each of them is an occurrence.
pub fn store_full(
    store: &Path,
    (revisions, findings): (u64, u64),
    max_bytes: u64,
    at: Timestamp,
    policy: &Policy,
) -> Finding {
    let facts = BTreeMap::from([
        ("store.dropped_records".to_owned(), revisions.into()),
        ("store.dropped_findings".to_owned(), findings.into()),
        ("store.max_bytes".to_owned(), max_bytes.into()),
    ]);
    let title = "The store was full: its oldest findings were dropped, delivered or not";
    let count = revisions.saturating_add(findings).max(1);
    Finding { count, ..about(STORE_FULL, store, title.to_owned(), Severity::High, facts, at, policy) }
}

/// So many batches of live sources, each of one call or connection, were refused, because the store had no room or no time for them. Each of them
/// is an occurrence.
pub fn store_refused(store: &Path, batches: u64, max_bytes: u64, at: Timestamp, policy: &Policy) -> Finding {
    let facts = BTreeMap::from([("store.max_bytes".to_owned(), max_bytes.into())]);
    let title = "The store had no room or no time: what was found in calls that the tap saw was dropped".to_owned();
    let about = about(STORE_FULL, store, title, Severity::High, facts, at, policy);
    // Beside what went by `drop_oldest`: one finding has one title.
    let finding_id = stable_id(&[STORE_FULL, "outflow", "tap", &about.finding_id]);
    Finding { count: batches.max(1), finding_id, ..about }
}

/// The file of the store was damaged, and a new one goes on in its place.
pub fn store_damaged(store: &Path, aside: &Path, reason: &str, at: Timestamp, policy: &Policy) -> Finding {
    let aside = mask::bounded(&aside.display().to_string(), MAX_PATH_CHARS);
    let title = "The store was damaged: what it held is set aside, and a new one goes on".to_owned();
    let facts = BTreeMap::from([
        ("store.set_aside".to_owned(), Value::from(aside)),
        ("store.reason".to_owned(), mask::bounded(reason, MAX_REASON_CHARS).into()),
    ]);
    about(STORE_DAMAGED, store, title, Severity::High, facts, at, policy)
}

fn about(
    rule: &str,
    store: &Path,
    title: String,
    severity: Severity,
    attributes: BTreeMap<String, Value>,
    at: Timestamp,
    policy: &Policy,
) -> Finding {
    let path = mask::bounded(&store.display().to_string(), MAX_PATH_CHARS);
    let id = stable_id(&[rule, "outflow", "store", &path]);
    let seen = (at.rfc3339(), at.rfc3339());
    let mut finding = Finding {
        severity,
        title,
        location: Some(Location {
            side: None,
            path: None,
            file: Some(path),
            line: None,
            byte_offset: None,
            start: 0,
            end: 0,
        }),
        attributes,
        ..Finding::of_agent(id, Category::Coverage, Process::of_agent(), seen)
    };
    policy.describe(&mut finding, rule, None, &[]);
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_names_the_store_and_what_to_do_and_repeats_are_one_finding() {
        let (store, at, policy) = (Path::new("/var/lib/outflow/outflow.db"), Timestamp(1), Policy::default());
        let full = store_full(store, (7, 2), 1 << 20, at, &policy);
        assert_eq!((full.count, full.severity, full.category), (9, Severity::High, Category::Coverage));
        assert_eq!(full.attributes["store.dropped_records"], 7);
        assert!(full.remedy.contains("max_bytes"), "{}", full.remedy);
        assert_eq!(full.finding_id, store_full(store, (1, 0), 9, Timestamp(5), &policy).finding_id);
        let refused = store_refused(store, 5, 9, at, &policy);
        assert_eq!((refused.count, &refused.attributes["store.max_bytes"]), (5, &Value::from(9)));
        assert_eq!(refused.finding_id, store_refused(store, 1, 9, Timestamp(5), &policy).finding_id);
        assert!(refused.finding_id != full.finding_id && refused.finding_id.len() == full.finding_id.len());
        let damaged = store_damaged(store, Path::new("/x/y"), "malformed", at, &policy);
        assert_eq!((damaged.count, &damaged.attributes["store.set_aside"]), (1, &Value::from("/x/y")));
        assert!(damaged.remedy.contains("outflow verify"), "{}", damaged.remedy);
        assert_ne!(damaged.finding_id, full.finding_id);
        assert_eq!(damaged.location.and_then(|location| location.file).as_deref(), store.to_str());
    }
}
