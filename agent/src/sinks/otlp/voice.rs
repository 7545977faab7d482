//! What is told of spans and metrics, which nobody keeps. Enters: what became of exports. Leaves: notices for people, once a change. It never tells
//! of the same trouble twice.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::sinks::{SinkNotice, Tell};

/// The voice of what a sink sends besides findings.
#[derive(Debug)]
pub(super) struct SideVoice {
    sink: Arc<str>,
    what: &'static str,
    fails: AtomicBool,
    tell: Told,
}

/// Who is told, which nothing shows.
struct Told(Tell);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl SideVoice {
    /// `what`: "spans", "metrics".
    pub(super) fn new(sink: &str, what: &'static str, tell: Tell) -> Self {
        Self { sink: sink.into(), what, fails: AtomicBool::new(false), tell: Told(tell) }
    }

    /// None is taken; said when those before were.
    pub(super) fn fails(&self, reason: &str) {
        self.once(&self.fails, reason);
    }

    /// Some are lost, and others are not: said the first time, which the caller keeps.
    pub(super) fn once(&self, is_said: &AtomicBool, reason: &str) {
        if !is_said.swap(true, Relaxed) {
            let (sink, what, reason) = (self.sink.to_string(), self.what, reason.to_owned());
            (self.tell.0)(SinkNotice::Drops { sink, what, reason });
        }
    }

    /// They were taken; said when those before them were not.
    pub(super) fn goes_on(&self) {
        if self.fails.swap(false, Relaxed) {
            (self.tell.0)(SinkNotice::Sends { sink: self.sink.to_string(), what: self.what });
        }
    }
}
