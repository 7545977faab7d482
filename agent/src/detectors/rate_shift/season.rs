//! What hours are like: the most that was spent in five buckets of each hour of the day and of each hour of the week. Enters: peaks
//! of hours that are over. Leaves: the peak to expect. 192 bytes, each a logarithm in quarters of an octave; and [`Hours`], which is
//! kept with it.

use crate::{detectors::Record, units::hex};

use super::hours::Hours;

/// Hours of a week.
const WEEK: usize = 168;
/// Hours of a day.
const DAY: usize = 24;
/// Steps of an octave.
const STEPS: u32 = 4;

/// Peaks of hours. The epoch began on a Thursday, which is the first day of the week here.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Season {
    day: [u8; DAY],
    week: [u8; WEEK],
    pub(super) hours: Hours,
}

impl Default for Season {
    fn default() -> Self {
        Self { day: [0; DAY], week: [0; WEEK], hours: Hours::default() }
    }
}

impl Season {
    /// Takes in the peak of an hour that is over; `hour` counts from the epoch. What was known fades: by a sixth a day, and by a
    /// quarter a week.
    pub(super) fn close(&mut self, hour: u64, peak: u64) {
        let peak = step(peak);
        let fold = |slot: Option<&mut u8>, fade: u8| {
            if let Some(known) = slot {
                *known = peak.max(known.saturating_sub(fade));
            }
        };
        fold(self.day.get_mut((hour % DAY as u64) as usize), 1);
        fold(self.week.get_mut((hour % WEEK as u64) as usize), 2);
    }

    /// The highest peak of this hour and of those beside it, for a job is not always on time: of the day, and of the week, so that
    /// a job of Sundays is known on Sunday.
    pub(super) fn peak(&self, hour: u64) -> u64 {
        let around = [hour.saturating_sub(1), hour, hour.saturating_add(1)];
        let of = |slots: &[u8]| {
            let slot = |hour: u64| slots.get((hour % slots.len().max(1) as u64) as usize).copied();
            around.into_iter().filter_map(slot).max().unwrap_or(0)
        };
        value(of(&self.day).max(of(&self.week)))
    }

    /// No hour is below this.
    pub(super) fn raise(&mut self, peak: u64) {
        let peak = step(peak);
        self.day.iter_mut().chain(&mut self.week).for_each(|slot| *slot = (*slot).max(peak));
    }

    /// Reads a [`text`](Record::text).
    pub(super) fn read(text: &str) -> Option<Self> {
        let (text, hours) = text.split_at_checked(2 * (DAY + WEEK))?;
        if !text.is_ascii() {
            return None;
        }
        // A version before this one knew no hours.
        let hours = if hours.is_empty() { Hours::default() } else { Hours::read(hours)? };
        let mut season = Self { hours, ..Self::default() };
        for (slot, at) in season.day.iter_mut().chain(&mut season.week).zip((0..).step_by(2)) {
            *slot = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(season)
    }
}

impl Record for Season {
    /// Hexadecimal: two digits an hour; then the [`Hours`].
    fn text(&self) -> Option<String> {
        let all: Vec<u8> = self.day.iter().chain(&self.week).copied().collect();
        Some(hex(&all, 2 * all.len()) + &self.hours.text())
    }
}

/// The step at or above an amount; 0 is nothing.
fn step(amount: u64) -> u8 {
    if amount == 0 {
        return 0;
    }
    let octave = amount.ilog2();
    let steps = (octave * STEPS..=octave * STEPS + STEPS).find(|steps| value_of(*steps) >= amount);
    u8::try_from(steps.unwrap_or(u32::MAX).saturating_add(1)).unwrap_or(u8::MAX)
}

/// The amount of a step.
fn value(step: u8) -> u64 {
    u32::from(step).checked_sub(1).map_or(0, value_of)
}

/// Quarters of an octave are even parts of it here: 1, 1.25, 1.5, 1.75 times a power of two.
fn value_of(steps: u32) -> u64 {
    let (octave, quarter) = (steps / STEPS, steps % STEPS);
    let quarters = 1_u128.checked_shl(octave).unwrap_or(0) * u128::from(STEPS + quarter);
    u64::try_from(quarters / u128::from(STEPS)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_close_above() {
        for (amount, known) in [(0, 0), (1, 1), (8, 8), (9, 10), (1000, 1024), (1025, 1280), (u64::MAX, 3 << 62)] {
            assert_eq!(value(step(amount)), known, "{amount}");
        }
    }

    #[test]
    fn hours_are_remembered_with_their_neighbours_and_fade() {
        let mut season = Season::default();
        season.close(26, 1024);
        assert_eq!([0, 1, 2, 3, 4].map(|hour| season.peak(48 + hour)), [0, 1024, 1024, 1024, 0]);
        for day in 2..6 {
            season.close(24 * day + 2, 0);
        }
        assert_eq!([26, 26 + 168, 2].map(|hour| season.peak(hour)), [1024, 1024, 512], "an octave in four days");
        season.raise(300);
        assert_eq!((season.peak(100), season.peak(2)), (320, 512));
        assert_eq!(season.text().and_then(|text| Season::read(&text)), Some(season));
    }

    #[test]
    fn nonsense_is_not_read() {
        for text in ["", "zz", &"g".repeat(384), &"a".repeat(383), &"ä".repeat(192)] {
            assert_eq!(Season::read(text), None);
        }
    }
}
