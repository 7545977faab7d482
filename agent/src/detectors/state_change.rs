//! What a detector learned and must know again after a restart. Enters: a record. Leaves: its text, when somebody asks. A record that
//! changes with each call is handed on with each call, and becomes text once, where a batch is written.

use std::{fmt, sync::Arc};

use serde::Serialize;

/// A change of what a detector keeps.
#[derive(Clone)]
pub struct StateChange {
    /// [`Detector::name`](super::Detector::name).
    pub detector: &'static str,
    /// The detector's own key, unique within it.
    pub key: String,
    /// The detector's own record; `None`: forget the key.
    pub record: Option<Arc<dyn Record>>,
}

/// A record that can be kept.
pub trait Record: Send + Sync {
    /// As JSON; `None`: it cannot be written, and is forgotten.
    fn text(&self) -> Option<String>;
}

impl<T: Serialize + Send + Sync> Record for T {
    fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

impl StateChange {
    /// A change of a detector's key; without a record the key is forgotten.
    pub fn new<T: Record + 'static>(detector: &'static str, key: String, record: Option<Arc<T>>) -> Self {
        Self { detector, key, record: record.map(|record| record as Arc<dyn Record>) }
    }

    /// What is to be kept under the key; `None`: nothing.
    pub fn text(&self) -> Option<String> {
        self.record.as_ref().and_then(|record| record.text())
    }
}

impl fmt::Debug for StateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { detector, key, .. } = self;
        f.debug_struct("StateChange")
            .field("detector", detector)
            .field("key", key)
            .field("text", &self.text())
            .finish_non_exhaustive()
    }
}
