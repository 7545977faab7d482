//! How occurrences of one finding become one. Enters: a [`Finding`] and another occurrence of it. Leaves: the same finding, counted
//! up. Standard output and the store both count with these, so there is one truth; neither time nor table is here.

use super::{Activity, Finding};
use crate::units::NanoUsd;

impl Finding {
    /// Takes another occurrence in: count, times, the newest place, the gravest severity. `same_call` says that the call behind
    /// it was counted already, so that a call with two equal leaks is paid for once.
    pub fn absorb(&mut self, seen: Self, same_call: bool) {
        self.count = self.count.saturating_add(seen.count);
        self.severity = self.severity.max(seen.severity);
        self.confidence = self.confidence.max(seen.confidence);
        if let Some(cost) = seen.cost_nano_usd.filter(|_| !same_call) {
            let before = self.cost_nano_usd.unwrap_or_default();
            self.cost_nano_usd = Some(NanoUsd(before.0.saturating_add(cost.0)));
            self.cost_source = self.cost_source.max(seen.cost_source);
        }
        // All times are written alike, so their texts sort as they do.
        if seen.first_seen < self.first_seen {
            self.first_seen = seen.first_seen;
        }
        // Connections are read side by side: what comes later may have happened earlier.
        if seen.last_seen < self.last_seen {
            return;
        }
        self.last_seen = seen.last_seen;
        self.title = seen.title;
        self.excerpt = seen.excerpt;
        self.location = seen.location;
        self.process = seen.process;
        self.destination = seen.destination;
        self.model = seen.model;
        self.coverage = seen.coverage;
        self.attributes = seen.attributes;
    }

    /// Makes it the record `revision`; the first one is 1.
    pub fn revise(&mut self, revision: u32, activity: Activity) {
        self.revision = revision;
        self.activity = activity;
        self.record_id = record_id(&self.finding_id, revision);
    }
}

/// The same record sent twice has the same.
pub(crate) fn record_id(finding_id: &str, revision: u32) -> String {
    [finding_id, "-", &revision.to_string()].concat()
}
