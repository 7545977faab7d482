//! What must be in a topic. Enters: the records that the store has made, and messages as kcat read them. Leaves: nothing when they are the same
//! records, in order, and repeats the same bytes; else what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use testbed::Message;

/// The record's id.
pub(super) fn id(message: &Message) -> String {
    message.header("ce_id").unwrap_or_default()
}

/// The ids of all records in a topic.
pub(super) fn ids(messages: &[Message]) -> BTreeSet<String> {
    messages.iter().map(id).collect()
}

/// The topic holds exactly these records.
pub(super) fn check(messages: &[Message], records: &BTreeMap<String, u64>) {
    let (arrived, made) = (ids(messages), records.keys().cloned().collect::<BTreeSet<_>>());
    let missed: Vec<_> = made.difference(&arrived).collect();
    let strange: Vec<_> = arrived.difference(&made).collect();
    assert!(missed.is_empty() && strange.is_empty(), "missed {missed:#?}\nnot of this store: {strange:#?}");
    check_each(messages);
    check_repeats(messages);
    check_order(messages);
}

/// Each message is an OCSF event of the finding that is its key, and its headers say so without the event.
fn check_each(messages: &[Message]) {
    for message in messages {
        let (key, id) = (message.key_text(), id(message));
        let event: Value = serde_json::from_slice(message.payload.as_deref().unwrap_or_default()).unwrap();
        assert_eq!(event["finding_info"]["uid"], key.as_str(), "{event:#}");
        assert_eq!(event["metadata"]["uid"], id.as_str(), "{event:#}");
        assert_eq!(id.rsplit_once('-').unwrap().0, key);
        let header = |name| message.header(name).unwrap_or_default();
        assert_eq!((header("ce_specversion").as_str(), header("content-type").as_str()), ("1.0", "application/json"));
        assert!(header("ce_source").ends_with("/outflow") && header("ce_type").starts_with("outflow.finding"));
        assert_eq!(event["time"].as_i64(), Some(message.timestamp_ms), "the message's time is the event's");
    }
}

/// A record that was sent twice is the same bytes, in all but its place.
pub(super) fn check_repeats(messages: &[Message]) {
    let mut first: BTreeMap<String, &Message> = BTreeMap::new();
    for message in messages {
        let known = first.entry(id(message)).or_insert(message);
        let same = (&known.key, &known.headers, &known.payload) == (&message.key, &message.headers, &message.payload);
        assert!(same && known.timestamp_ms == message.timestamp_ms, "{known:?}\nand again\n{message:?}");
    }
}

/// Revisions of a finding come one after the other, on one partition; a repeat of an earlier one may follow.
fn check_order(messages: &[Message]) {
    let mut newest: BTreeMap<String, (i32, u64)> = BTreeMap::new();
    for message in messages {
        let id = id(message);
        let revision: u64 = id.rsplit_once('-').unwrap().1.parse().unwrap();
        let (partition, last) = newest.entry(message.key_text()).or_insert((message.partition, 0));
        assert_eq!(*partition, message.partition, "{id} is on another partition than its finding's first record");
        assert!(revision <= *last + 1, "{id} came before its revision {}", *last + 1);
        *last = revision.max(*last);
    }
}

/// How many messages are repeats.
pub(super) fn repeats(messages: &[Message]) -> usize {
    messages.len() - ids(messages).len()
}
