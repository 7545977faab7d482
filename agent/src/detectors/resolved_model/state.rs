//! The detector's state as it is kept over a restart. Enters: an entry of its table. Leaves: the same as two JSON texts, and back.
//! It holds names that vendors and programs gave, never text; what does not read as an entry is no entry.

use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use smallvec::SmallVec;

use super::{Answer, Key, MAX_ANSWERS, MAX_ID_BYTES, Track};
use crate::{detectors::model_changes::Change, units::Timestamp};

/// Services and hosts with longer names are not taken back.
const MAX_NAME_BYTES: usize = 1024;

/// Under which name the store keeps it.
pub(super) const NAME: &str = "resolved_model";

/// `["checkout","api.openai.com","chat_completions","gpt-4o"]`
pub(super) fn key(key: &Key) -> String {
    // Names in a list are always JSON.
    serde_json::to_string(&(&key.service, &key.host, key.api, &key.requested)).unwrap_or_default()
}

/// What [`key`] wrote.
pub(super) fn read_key(text: &str) -> Option<Key> {
    let (service, host, api, requested): (String, String, _, String) = serde_json::from_str(text).ok()?;
    let bounded = requested.len() <= MAX_ID_BYTES && service.len().max(host.len()) <= MAX_NAME_BYTES;
    bounded.then_some(Key { service, host, api, requested })
}

/// `{"answers":[["gpt-4o-2024-08-06",17,1795392000000000000]],"flapping":false,"unconfirmed":null,"last_change":null}`: id, calls, last
/// seen in nanoseconds; `unconfirmed` id and calls; `last_change` from, to, and when.
impl Serialize for Track {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let answers: SmallVec<[_; MAX_ANSWERS]> =
            self.answers.iter().map(|answer| (answer.id.as_str(), answer.calls, answer.last_at.0)).collect();
        let last_change = self.last_change.as_ref().map(|change| (&change.from, &change.to, change.at.0));
        let mut record = serializer.serialize_struct("Track", 4)?;
        record.serialize_field("answers", answers.as_slice())?;
        record.serialize_field("flapping", &self.flapping)?;
        record.serialize_field("unconfirmed", &self.unconfirmed)?;
        record.serialize_field("last_change", &last_change)?;
        record.end()
    }
}

/// What was written of one, within the bounds of the table.
pub(super) fn read_value(text: &str) -> Option<Track> {
    #[derive(serde::Deserialize)]
    struct Record {
        answers: Vec<(String, u64, u64)>,
        flapping: bool,
        // Absent in what an older version wrote.
        unconfirmed: Option<(String, u64)>,
        last_change: Option<(String, String, u64)>,
    }
    let record: Record = serde_json::from_str(text).ok()?;
    let fits = |id: &String| id.len() <= MAX_ID_BYTES;
    let bounded = (1..=MAX_ANSWERS).contains(&record.answers.len())
        && record.answers.iter().all(|(id, ..)| fits(id))
        && record.unconfirmed.iter().all(|(id, _)| fits(id))
        && record.last_change.iter().all(|(from, to, _)| fits(from) && fits(to));
    if !bounded {
        return None;
    }
    let answer = |(id, calls, last_at)| Answer { id, calls, last_at: Timestamp(last_at) };
    Some(Track {
        answers: record.answers.into_iter().map(answer).collect(),
        flapping: record.flapping,
        unconfirmed: record.unconfirmed,
        last_change: record.last_change.map(|(from, to, at)| Change { from, to, at: Timestamp(at) }),
    })
}
