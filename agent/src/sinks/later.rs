//! How long a receiver asks us to wait. Enters: the value of `retry-after`. Leaves: a time with a bound: nobody can silence us for longer.

use std::time::Duration;

use crate::units::Timestamp;

/// Nobody can silence us for longer.
pub(super) const AFTER_MAX: Duration = Duration::from_mins(5);

/// Seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds).min(AFTER_MAX));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_nanosecond();
    let wait_ns = u64::try_from(date).ok()?.saturating_sub(now.0);
    Some(Duration::from_nanos(wait_ns).min(AFTER_MAX))
}
