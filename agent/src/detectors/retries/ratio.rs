//! How many of a service's calls to a host are retries. Enters: calls, roughly in order. Leaves: the figures of the last ten
//! minutes when they are too many, once until they are not. Pure. State: ten minutes, two counts each.

use crate::units::Timestamp;

const MINUTES: usize = 10;
const MINUTE_NS: u64 = 60 * 1_000_000_000;
/// Calls without which a part of them says nothing.
const MIN_CALLS: u32 = 50;
/// Retries for each hundred first tries.
const MOST_PERCENT: u32 = 20;

/// The last ten minutes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ratio {
    /// Minute since the epoch, first tries, retries.
    minutes: [(u64, u32, u32); MINUTES],
    is_told: bool,
}

impl Ratio {
    /// Takes a call in; gives retries and calls when it is to be told.
    pub(super) fn take(&mut self, at: Timestamp, is_retry: bool) -> Option<(u32, u32)> {
        let minute = at.0 / MINUTE_NS;
        let place = usize::try_from(minute % MINUTES as u64).unwrap_or_default();
        if let Some(held) = self.minutes.get_mut(place) {
            if held.0 > minute {
                return None; // it comes too late to count
            }
            if held.0 != minute {
                *held = (minute, 0, 0);
            }
            held.1 = held.1.saturating_add(u32::from(!is_retry));
            held.2 = held.2.saturating_add(u32::from(is_retry));
        }
        let recent = self.minutes.iter().filter(|(held, ..)| held + MINUTES as u64 > minute);
        let (firsts, retries) =
            recent.fold((0_u32, 0_u32), |sum, held| (sum.0.saturating_add(held.1), sum.1.saturating_add(held.2)));
        let calls = firsts.saturating_add(retries);
        let is_much = calls >= MIN_CALLS && u64::from(retries) * 100 > u64::from(firsts) * u64::from(MOST_PERCENT);
        let is_news = is_much && !self.is_told;
        // It is over when it is half of that: figures at the edge would be told over and over.
        let is_over = u64::from(retries) * 200 <= u64::from(firsts) * u64::from(MOST_PERCENT);
        self.is_told = is_much || (self.is_told && !is_over);
        is_news.then_some((retries, calls))
    }
}
