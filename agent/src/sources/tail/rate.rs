//! How much of a group of files is scanned a second. Enters: bytes that were scanned, the time. Leaves: whether there may be more. It
//! never waits.

use super::LogGroup;
use crate::units::Timestamp;

/// What may pass at once after a pause, nanoseconds of the rate: as long, too, nothing passes after it.
const BURST_NS: u64 = 1_000_000_000;

/// The rate of a group.
#[derive(Debug)]
pub(super) struct Rate {
    bytes_per_second: Option<u64>,
    /// When all that has passed would have passed at the rate.
    even_at: Timestamp,
    is_over: bool,
}

impl Rate {
    pub(super) fn of(group: &LogGroup) -> Self {
        let bytes_per_second = group.max_bytes_per_second.map(|bytes| bytes.max(1));
        Self { bytes_per_second, even_at: Timestamp::default(), is_over: false }
    }

    /// Did too much pass? Then nothing passes until the rate has caught up, so that this changes once a second and not at every block.
    pub(super) fn is_over(&mut self, now: Timestamp) -> bool {
        let ahead_ns = self.even_at.0.saturating_sub(now.0);
        self.is_over = ahead_ns > if self.is_over { 0 } else { BURST_NS };
        self.is_over
    }

    /// So many bytes passed.
    pub(super) fn pass(&mut self, bytes: u64, now: Timestamp) {
        let Some(per_second) = self.bytes_per_second else { return };
        let took_ns = u128::from(bytes) * 1_000_000_000 / u128::from(per_second);
        let from = self.even_at.max(now).0;
        self.even_at = Timestamp(from.saturating_add(u64::try_from(took_ns).unwrap_or(u64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_the_rate_in_the_long_run() {
        let second = 1_000_000_000;
        let mut rate = Rate::of(&LogGroup { max_bytes_per_second: Some(1000), ..LogGroup::default() });
        let (mut passed, mut changes, mut was_over) = (0, 0, false);
        for turn in 0..10_000_u64 {
            let now = Timestamp(turn * second / 100);
            let over = rate.is_over(now);
            changes += u32::from(over != was_over);
            was_over = over;
            if !over {
                rate.pass(300, now);
                passed += 300;
            }
        }
        assert!((100_000..=102_000).contains(&passed), "{passed} in 100 s");
        assert!(changes <= 202, "{changes}");
        let mut none = Rate::of(&LogGroup::default());
        none.pass(u64::MAX, Timestamp(0));
        assert!(!none.is_over(Timestamp(0)));
    }
}
