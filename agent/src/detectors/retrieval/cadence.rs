//! How often an index is written. Enters: times of writes. Leaves: how long a pause may be before it is a finding. A pause of the usual length
//! is none, nor is one as long as a night or a weekend before a whole week was seen.

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

const HOUR_NS: u64 = 3_600_000_000_000;
const DAY_NS: u64 = 24 * HOUR_NS;
const WEEK_NS: u64 = 7 * DAY_NS;

/// Writes that are no further apart are one run.
const RUN_NS: u64 = HOUR_NS / 4;
/// Pauses between three runs.
const PAUSES_MIN: u32 = 2;
/// Pauses that must have been seen of an index that is written at no regular times.
const PAUSES_MIN_IRREGULAR: u32 = 12;
/// A pause may be so many times as long as the longest.
const LONGER: u64 = 2;
/// And longer by.
const SLACK_NS: u64 = HOUR_NS;
/// From Friday's noon to Monday's evening: what may pause before a weekend was seen.
const WEEKEND_NS: u64 = 80 * HOUR_NS;
/// Weeks whose longest pause is remembered.
const WEEKS: usize = 4;

/// What is known of the writes to one index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cadence {
    /// First and last write, nanoseconds.
    first: u64,
    pub(super) last: u64,
    pauses: u32,
    shortest: u64,
    /// Longest pause of each of the last weeks that had one: number of the week, nanoseconds.
    longest: Vec<(u64, u64)>,
}

/// How long a pause may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) pause_ns: u64,
    /// The longest so far; none when it was configured.
    pub(super) longest_ns: Option<u64>,
    pub(super) confidence: u8,
}

impl Cadence {
    /// A write.
    pub(super) fn written(&mut self, at: Timestamp) {
        if self.first == 0 {
            (self.first, self.last) = (at.0, at.0);
            return;
        }
        let pause = at.since_ns(Timestamp(self.last));
        self.last = self.last.max(at.0);
        if pause <= RUN_NS {
            return;
        }
        self.shortest = if self.pauses == 0 { pause } else { self.shortest.min(pause) };
        self.pauses = self.pauses.saturating_add(1);
        let week = at.0 / WEEK_NS;
        match self.longest.last_mut() {
            Some((last, longest)) if *last >= week => *longest = (*longest).max(pause),
            _ => self.longest.push((week, pause)),
        }
        if self.longest.len() > WEEKS {
            self.longest.remove(0);
        }
    }

    /// `None` while too little is known.
    pub(super) fn allowed(&self, now: Timestamp, configured_ns: Option<u64>) -> Option<Allowed> {
        if self.first == 0 {
            return None;
        }
        if let Some(pause_ns) = configured_ns {
            return Some(Allowed { pause_ns, longest_ns: None, confidence: 95 });
        }
        let longest = self.longest.iter().map(|(_, pause)| *pause).max()?;
        let is_regular = self.shortest.saturating_mul(2) >= longest;
        if self.pauses < if is_regular { PAUSES_MIN } else { PAUSES_MIN_IRREGULAR } {
            return None;
        }
        let knows_a_week = Timestamp(self.last).since_ns(Timestamp(self.first)) >= WEEK_NS && now.0 >= self.last;
        let least = if knows_a_week { 0 } else { WEEKEND_NS };
        let pause_ns = longest.saturating_mul(LONGER).saturating_add(SLACK_NS).max(least);
        Some(Allowed { pause_ns, longest_ns: Some(longest), confidence: if is_regular { 80 } else { 60 } })
    }

    /// What was read back may be anything.
    pub(super) fn bounded(mut self) -> Self {
        self.longest.truncate(WEEKS);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed_hours(hours: &[u64]) -> Option<u64> {
        let start = 20_000 * DAY_NS;
        let mut cadence = Cadence::default();
        for hour in hours {
            cadence.written(Timestamp(start + hour * HOUR_NS));
        }
        let now = Timestamp(start + hours.last().unwrap_or(&0) * HOUR_NS);
        cadence.allowed(now, None).map(|allowed| allowed.pause_ns / HOUR_NS)
    }

    #[test]
    fn pauses_that_are_allowed() {
        let daily: Vec<u64> = (0..9).map(|day| day * 24).collect();
        let hourly: Vec<u64> = (0..200).collect();
        let weekdays: Vec<u64> = (0..10).map(|day| day / 5 * 168 + day % 5 * 24).collect();
        let weekdays_long: Vec<u64> = (0..15).map(|day| day / 5 * 168 + day % 5 * 24).collect();
        for (hours, allowed) in [
            (&[][..], None),
            (&[0, 24], None),
            // A weekly run: two weeks and an hour from the third run on.
            (&[0, 168], None),
            (&[0, 168, 336], Some(337)),
            // Before a weekend was seen, one is allowed.
            (&[0, 24, 48], Some(80)),
            (&daily, Some(49)),
            (&hourly, Some(3)),
            // Pauses of one day and of three: irregular, so more of them must be seen.
            (&weekdays, None),
            (&weekdays_long, Some(145)),
            (&[0, 1, 50, 51, 300], None),
        ] {
            assert_eq!(allowed_hours(hours), allowed, "{hours:?}");
        }
        let mut run = Cadence::default();
        (0..100).for_each(|second| run.written(Timestamp(DAY_NS + second * 1_000_000_000)));
        assert_eq!(run.allowed(Timestamp(3 * DAY_NS), None), None, "one run is one run");
        let configured = run.allowed(Timestamp(3 * DAY_NS), Some(HOUR_NS)).map(|allowed| allowed.pause_ns);
        assert_eq!(configured, Some(HOUR_NS));
        assert_eq!(Cadence::default().allowed(Timestamp(1), Some(1)), None, "never written while we looked");
    }
}
