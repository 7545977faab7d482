//! How long the texts are that are embedded for an index. Enters: the mean length of the texts of a call. Leaves: that it is another one, and has
//! been for ten calls: a splitter that was changed, or another kind of document.

use serde::{Deserialize, Serialize};

use super::is_due;
use crate::units::Timestamp;

/// Calls before anything is said, and after which older ones fade.
const LEARN_CALLS: u32 = 50;
const MEMORY_CALLS: f64 = 200.0;
/// Calls in a row that differ, in one direction; and after how many they are the usual.
const CALLS_MIN: u32 = 10;
const REBASE_CALLS: u32 = 200;
/// Twice or half as long, or four deviations: logarithms to the base 2.
const DOUBLE: f64 = 1.0;
const DEVIATIONS: f64 = 4.0;

/// What is known of one place that embeds documents.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Chunk {
    calls: u32,
    mean: f64,
    deviation: f64,
    run: u32,
    run_sum: f64,
    saved_at: u64,
}

/// Another length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    pub(super) before_bytes: f64,
    pub(super) bytes: f64,
}

impl Chunk {
    #[expect(clippy::cast_precision_loss, reason = "lengths need no more digits")]
    pub(super) fn see(&mut self, mean_bytes: u64) -> Option<Shift> {
        let length = (mean_bytes as f64 + 1.0).log2();
        let difference = length - self.mean;
        let is_other = difference.abs() > DOUBLE.max(DEVIATIONS * self.deviation);
        if self.calls < LEARN_CALLS || !is_other {
            (self.run, self.run_sum) = (0, 0.0);
            self.learn(length);
            return None;
        }
        let mean_of_run = self.run_sum / f64::from(self.run.max(1));
        let turns = self.run > 0 && (mean_of_run > self.mean) != (length > self.mean);
        if turns {
            (self.run, self.run_sum) = (0, 0.0);
        }
        self.run += 1;
        self.run_sum += length;
        let bytes = (self.run_sum / f64::from(self.run)).exp2();
        let shift = Shift { before_bytes: self.mean.exp2(), bytes };
        if self.run >= REBASE_CALLS {
            *self = Self { saved_at: self.saved_at, ..Self::default() };
            return None;
        }
        (self.run == CALLS_MIN).then_some(shift)
    }

    fn learn(&mut self, length: f64) {
        self.calls = self.calls.saturating_add(1);
        let weight = 1.0 / f64::from(self.calls).min(MEMORY_CALLS);
        self.mean += weight * (length - self.mean);
        self.deviation += weight * ((length - self.mean).abs() - self.deviation);
    }

    pub(super) fn is_to_be_saved(&mut self, at: Timestamp) -> bool {
        is_due(&mut self.saved_at, at)
    }

    /// What [`serde_json`] wrote.
    pub(super) fn read(value: &str) -> Option<Self> {
        let chunk: Self = serde_json::from_str(value).ok()?;
        let numbers = [chunk.mean, chunk.deviation, chunk.run_sum];
        (numbers.iter().all(|number| (0.0..1e6).contains(number)) && chunk.run <= REBASE_CALLS).then_some(chunk)
    }
}
