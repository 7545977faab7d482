//! What a sink says of itself. Enters: what happened to it. Leaves: notices for people, once a change, and figures. It never repeats what
//! is known already: a receiver that is down for an hour is one notice.

use std::sync::Arc;

use super::{receiver::Refused, stats::SinkStats};

/// Something that people should know of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkNotice {
    /// It does not deliver for now; nothing is lost.
    Waits {
        /// Its name.
        sink: String,
        /// Why.
        reason: String,
    },
    /// It delivers again.
    GoesOn {
        /// Its name.
        sink: String,
    },
    /// It does not send what nobody keeps, such as spans.
    Drops {
        /// Its name.
        sink: String,
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// It sends them again.
    Sends {
        /// Its name.
        sink: String,
        /// What.
        what: &'static str,
    },
    /// A record that its receiver will never take.
    DeadLetter {
        /// Its name.
        sink: String,
        /// Finding id and revision.
        record_id: String,
        /// Why.
        reason: String,
    },
}

/// Who is told of notices.
pub type Tell = Arc<dyn Fn(SinkNotice) + Send + Sync>;

/// One sink's voice.
#[derive(Clone)]
pub(super) struct Voice {
    sink: Arc<str>,
    pub(super) stats: Arc<SinkStats>,
    tell: Tell,
}

impl Voice {
    pub(super) fn new(sink: &str, stats: Arc<SinkStats>, tell: Tell) -> Self {
        Self { sink: sink.into(), stats, tell }
    }

    /// A batch was not taken, or a connection not made: it waits.
    pub(super) fn fails(&self, reason: &str) {
        self.stats.failed();
        self.waits(reason);
    }

    /// It waits, and says so when it did not wait before.
    pub(super) fn waits(&self, reason: &str) {
        if self.stats.waits(reason) {
            (self.tell)(SinkNotice::Waits { sink: self.sink.to_string(), reason: reason.to_owned() });
        }
    }

    /// It delivers, and says so when it waited before.
    pub(super) fn goes_on(&self) {
        if self.stats.goes_on() {
            (self.tell)(SinkNotice::GoesOn { sink: self.sink.to_string() });
        }
    }

    /// A record is given up.
    pub(super) fn refused(&self, refused: &Refused) {
        let (record_id, reason) = (refused.record_id.clone(), refused.detail.clone());
        (self.tell)(SinkNotice::DeadLetter { sink: self.sink.to_string(), record_id, reason });
    }
}
