//! Records of the topic of budget state. Enters: the key and the value of a message. Leaves: a [`StateRecord`], or why it is none; and the other
//! way round. `outflow fleet` and the jobs of `deploy/flink` write the same. Bad bytes are an answer, never a panic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::detectors::{
    budget::Unit,
    call_scope::{By, Owner},
};

/// Version of the shape; grows when a reader must change.
pub const STATE_SCHEMA_VERSION: u32 = 1;

/// What the record of a total is called.
pub const TOTAL_EVENT: &str = "outflow.fleet.total";

/// What the record of how far somebody counted is called.
pub const PROGRESS_EVENT: &str = "outflow.fleet.progress";

/// Instead of a partition: all of them. What a Flink job writes, which adds up over partitions by itself.
pub const WHOLE: i32 = -1;

/// No topic has more partitions.
const PARTS_MAX: i32 = 4096;

/// Longest key and value, bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Longest name, bytes: that of the detector of budgets.
const NAME_BYTES_MAX: usize = 256;

/// What a total is of; the key of its message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// Name of the budget.
    pub budget: String,
    /// What is counted.
    pub unit: Unit,
    /// The service that spent it. This and the next four are empty where the budget does not tell owners apart by it.
    pub service: String,
    /// The feature.
    pub feature: String,
    /// The model that was asked for.
    pub model: String,
    /// Fingerprint of the API key.
    pub caller: String,
    /// The host that was called.
    pub server: String,
    /// The partition of the usage topic that was added up; -1: all of them.
    #[schemars(range(min = -1, max = PARTS_MAX))]
    pub part: i32,
    /// When the window began, milliseconds since the Unix epoch.
    pub period_start_ms: u64,
}

impl Identity {
    /// Of an owner of a budget.
    pub(super) fn new(budget: &str, unit: Unit, owner: &Owner, part: i32, period_start_ms: u64) -> Self {
        let of = |by: By| owner.parts().iter().find(|(kind, _)| *kind == by).map(|(_, name)| name.clone());
        Self {
            budget: budget.to_owned(),
            unit,
            service: of(By::Service).unwrap_or_default(),
            feature: of(By::Feature).unwrap_or_default(),
            model: of(By::Model).unwrap_or_default(),
            caller: of(By::Key).unwrap_or_default(),
            server: of(By::Host).unwrap_or_default(),
            part,
            period_start_ms,
        }
    }

    /// By what owners may be told apart.
    pub(super) fn owner(&self) -> [(By, String); 5] {
        [
            (By::Service, self.service.clone()),
            (By::Feature, self.feature.clone()),
            (By::Model, self.model.clone()),
            (By::Key, self.caller.clone()),
            (By::Host, self.server.clone()),
        ]
    }

    fn is_sound(&self) -> bool {
        let names = [&self.budget, &self.service, &self.feature, &self.model, &self.caller, &self.server];
        names.iter().all(|name| name.len() <= NAME_BYTES_MAX) && is_part(self.part)
    }
}

fn is_part(part: i32) -> bool {
    (WHOLE..PARTS_MAX).contains(&part)
}

/// What was spent of one budget by one owner in one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Outflow fleet total")]
pub struct Total {
    /// Version of this shape.
    #[schemars(extend("const" = STATE_SCHEMA_VERSION))]
    pub schema_version: u32,
    /// Always `outflow.fleet.total`.
    #[schemars(extend("const" = TOTAL_EVENT))]
    pub event_name: String,
    /// What it is of; the same as the key.
    #[serde(flatten)]
    pub identity: Identity,
    /// How long the window is, milliseconds.
    pub period_ms: u64,
    /// What was spent: nano-USD or tokens.
    pub spent: u64,
    /// Calls that spent it.
    pub calls: u64,
    /// The newest event time among them, milliseconds since the Unix epoch.
    pub watermark_ms: u64,
    /// The offset in the partition behind the newest call that is counted; absent for all partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<u64>,
}

/// How far a partition of the usage topic was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Outflow fleet progress")]
pub struct Progress {
    /// Version of this shape.
    #[schemars(extend("const" = STATE_SCHEMA_VERSION))]
    pub schema_version: u32,
    /// Always `outflow.fleet.progress`.
    #[schemars(extend("const" = PROGRESS_EVENT))]
    pub event_name: String,
    /// The partition; -1: all of them.
    #[schemars(range(min = -1, max = PARTS_MAX))]
    pub part: i32,
    /// The totals hold everything that was in the partition at this time, milliseconds since the Unix epoch.
    pub as_of_ms: u64,
    /// Everything before this offset is counted; absent for all partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<u64>,
}

/// A key of the topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StateKey {
    /// Of a total.
    Total(Identity),
    /// Of a progress.
    Progress {
        /// The partition; -1: all of them.
        progress: i32,
    },
}

/// A message of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateRecord {
    /// What was spent.
    Total(Total),
    /// How far was counted.
    Progress(Progress),
    /// Nothing is kept of this key any more.
    Tombstone(StateKey),
}

/// Why a message is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Of a version that this program does not know.
    UnknownVersion,
    /// Something else.
    Invalid,
}

#[derive(Deserialize)]
struct Head {
    schema_version: u32,
    event_name: String,
}

impl StateRecord {
    /// Reads a message.
    pub fn read(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, Refusal> {
        let key = key.filter(|key| key.len() <= MESSAGE_BYTES_MAX).ok_or(Refusal::Invalid)?;
        let value = value.filter(|value| !value.is_empty());
        if value.is_some_and(|value| value.len() > MESSAGE_BYTES_MAX) {
            return Err(Refusal::Invalid);
        }
        // The version first: what a later one means by its key is not known.
        let head = value.map(json::<Head>).transpose()?;
        if head.as_ref().is_some_and(|head| head.schema_version != STATE_SCHEMA_VERSION) {
            return Err(Refusal::UnknownVersion);
        }
        let key: StateKey = json(key)?;
        let is_sound = match &key {
            StateKey::Total(identity) => identity.is_sound(),
            StateKey::Progress { progress } => is_part(*progress),
        };
        let event = head.as_ref().map(|head| head.event_name.as_str());
        match (key, value, event) {
            _ if !is_sound => Err(Refusal::Invalid),
            (key, None, _) => Ok(Self::Tombstone(key)),
            (StateKey::Total(identity), Some(value), Some(TOTAL_EVENT)) => {
                let total: Total = json(value)?;
                let is_it = total.identity == identity && total.is_window();
                if is_it { Ok(Self::Total(total)) } else { Err(Refusal::Invalid) }
            }
            (StateKey::Progress { progress }, Some(value), Some(PROGRESS_EVENT)) => {
                let found: Progress = json(value)?;
                if found.part == progress { Ok(Self::Progress(found)) } else { Err(Refusal::Invalid) }
            }
            _ => Err(Refusal::Invalid),
        }
    }

    /// The key of its message.
    pub fn key(&self) -> StateKey {
        match self {
            Self::Total(total) => StateKey::Total(total.identity.clone()),
            Self::Progress(progress) => StateKey::Progress { progress: progress.part },
            Self::Tombstone(key) => key.clone(),
        }
    }

    /// The value of its message; none for a tombstone.
    pub fn value(&self) -> serde_json::Result<Option<Vec<u8>>> {
        match self {
            Self::Total(total) => serde_json::to_vec(total).map(Some),
            Self::Progress(progress) => serde_json::to_vec(progress).map(Some),
            Self::Tombstone(_) => Ok(None),
        }
    }
}

impl Total {
    /// Windows begin at multiples of their length; what overflows is none.
    fn is_window(&self) -> bool {
        let end = self.identity.period_start_ms.checked_add(self.period_ms);
        let is_in_range = end.and_then(|end| end.checked_mul(1_000_000)).is_some();
        self.period_ms > 0 && self.identity.period_start_ms.is_multiple_of(self.period_ms) && is_in_range
    }

    /// One that was stopped for long and goes on may write what is known to be old: it counts less calls, and less money.
    pub(super) fn is_overtaken_by(&self, known: &Self) -> bool {
        self.next_offset < known.next_offset && self.spent < known.spent
    }

    /// When the window ends, milliseconds since the Unix epoch.
    pub(super) fn period_end_ms(&self) -> u64 {
        self.identity.period_start_ms.saturating_add(self.period_ms)
    }
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|_| Refusal::Invalid)
}

/// The JSON schema of the values, as `docs/schema/fleet-state-v1.json` holds it.
pub fn state_schema() -> serde_json::Value {
    /// Two records share the topic.
    #[derive(JsonSchema)]
    #[schemars(title = "Outflow fleet state")]
    #[serde(untagged)]
    #[expect(dead_code, reason = "its schema is all that is wanted")]
    enum State {
        Total(Total),
        Progress(Progress),
    }
    let mut schema = schemars::schema_for!(State);
    schema.insert("$id".to_owned(), "urn:outflow:schema:fleet-state-v1".into());
    schema.to_value()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(in crate::fleet) fn total(budget: &str, part: i32, spent: u64, next_offset: Option<u64>) -> Total {
        let owner = Owner::new(vec![(By::Feature, "chat".to_owned())]);
        Total {
            schema_version: STATE_SCHEMA_VERSION,
            event_name: TOTAL_EVENT.to_owned(),
            identity: Identity::new(budget, Unit::Usd, &owner, part, 3_600_000),
            period_ms: 3_600_000,
            spent,
            calls: 1,
            watermark_ms: 3_600_001,
            next_offset,
        }
    }

    fn read(key: &Value, value: &Value) -> Result<StateRecord, Refusal> {
        StateRecord::read(Some(key.to_string().as_bytes()), Some(value.to_string().as_bytes()))
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let progress = Progress {
            schema_version: 1,
            event_name: PROGRESS_EVENT.to_owned(),
            part: 3,
            as_of_ms: 7,
            next_offset: Some(9),
        };
        let first = total("day", 0, 5, Some(1));
        let key = StateKey::Total(first.identity.clone());
        for record in [StateRecord::Total(first), StateRecord::Progress(progress), StateRecord::Tombstone(key)] {
            let (key, value) = (serde_json::to_vec(&record.key()).unwrap(), record.value().unwrap());
            assert_eq!(StateRecord::read(Some(&key), value.as_deref()), Ok(record));
        }
    }

    #[test]
    fn the_key_is_these_bytes_for_whoever_writes_it() {
        let key = serde_json::to_string(&StateRecord::Total(total("day", -1, 5, None)).key()).unwrap();
        let expected = r#"{"budget":"day","unit":"usd","service":"","feature":"chat","model":"","caller":"","server":"","part":-1,"period_start_ms":3600000}"#;
        assert_eq!(key, expected, "the jobs of deploy/flink write it in this order: compaction compares bytes");
    }

    #[test]
    fn what_is_none_is_refused() {
        let good = serde_json::to_value(total("day", 0, 5, Some(1))).unwrap();
        let key = serde_json::to_value(StateRecord::Total(total("day", 0, 5, Some(1))).key()).unwrap();
        assert!(read(&key, &good).is_ok());
        let changed = |field: &str, value: Value| {
            let mut bad = good.clone();
            bad[field] = value;
            read(&key, &bad)
        };
        assert_eq!(changed("schema_version", 2.into()), Err(Refusal::UnknownVersion));
        for (field, value) in [
            ("event_name", json!("outflow.usage")),
            ("spent", json!(-1)),
            ("spent", json!(0.5)),
            ("spent", json!(null)),
            ("budget", json!("night")),
            ("period_ms", json!(0)),
            ("period_ms", json!(u64::MAX)),
            ("period_ms", json!(7)),
            ("unit", json!("eur")),
        ] {
            assert_eq!(changed(field, value.clone()), Err(Refusal::Invalid), "{field} = {value}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for (field, value) in [("budget", json!(long)), ("part", json!(-2)), ("part", json!(PARTS_MAX))] {
            let (mut key, mut bad) = (key.clone(), good.clone());
            (key[field], bad[field]) = (value.clone(), value);
            assert_eq!(read(&key, &bad), Err(Refusal::Invalid), "{field}");
        }
        let huge = vec![b' '; MESSAGE_BYTES_MAX + 1];
        for (key, value) in [
            (None, Some(b"{}".as_slice())),
            (Some(b"".as_slice()), None),
            (Some(b"\xff\xfe"), Some(b"\xff")),
            (Some(b"{}"), Some(b"{}")),
            (Some(&huge), None),
            (Some(b"{\"progress\":0}"), Some(&huge)),
            (Some(b"{\"progress\":-9}"), None),
        ] {
            assert_eq!(StateRecord::read(key, value), Err(Refusal::Invalid), "{key:?}");
        }
    }

    #[test]
    fn records_follow_the_schema() {
        let validator = jsonschema::validator_for(&state_schema()).unwrap();
        let value = serde_json::to_value(total("day", 0, 5, Some(1))).unwrap();
        assert!(validator.is_valid(&value), "{:?}", validator.iter_errors(&value).collect::<Vec<_>>());
        assert!(!validator.is_valid(&json!({"schema_version": 1})));
    }
}
