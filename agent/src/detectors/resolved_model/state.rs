//! The detector's state as it is kept over a restart. Enters: an entry of its table. Leaves: the same as two JSON texts, and back.
//! It holds names that vendors and programs gave, never text; what does not read as an entry is no entry.

use super::{Answer, Key, MAX_ANSWERS, MAX_ID_BYTES, Track};
use crate::units::Timestamp;

/// Under which name the store keeps it.
pub(super) const NAME: &str = "resolved_model";

/// `["checkout","api.openai.com","chat_completions","gpt-4o"]`
pub(super) fn key(key: &Key) -> String {
    serde_json::json!([key.service, key.host, key.api, key.requested]).to_string()
}

/// What [`key`] wrote.
pub(super) fn read_key(text: &str) -> Option<Key> {
    let (service, host, api, requested) = serde_json::from_str(text).ok()?;
    Some(Key { service, host, api, requested })
}

/// `{"answers":[["gpt-4o-2024-08-06",17,1795392000000000000]],"flapping":false}`: id, calls, last seen in nanoseconds.
pub(super) fn value(track: &Track) -> String {
    let answers: Vec<_> =
        track.answers.iter().map(|answer| serde_json::json!([answer.id, answer.calls, answer.last_at.0])).collect();
    serde_json::json!({"answers": answers, "flapping": track.flapping}).to_string()
}

/// What [`value`] wrote, within the bounds of the table.
pub(super) fn read_value(text: &str) -> Option<Track> {
    #[derive(serde::Deserialize)]
    struct Record {
        answers: Vec<(String, u64, u64)>,
        flapping: bool,
    }
    let record: Record = serde_json::from_str(text).ok()?;
    let bounded = (1..=MAX_ANSWERS).contains(&record.answers.len())
        && record.answers.iter().all(|(id, ..)| id.len() <= MAX_ID_BYTES);
    let answer = |(id, calls, last_at)| Answer { id, calls, last_at: Timestamp(last_at) };
    bounded.then(|| Track { answers: record.answers.into_iter().map(answer).collect(), flapping: record.flapping })
}
