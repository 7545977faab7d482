//! Lengths of time and moments as people write them. Enters: `"5d 3h"`, `"2026-03-02T00:00:00Z"`. Leaves: nanoseconds.

use std::time::UNIX_EPOCH;

use serde::{Deserialize, Deserializer, de::Error as _};

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// Nanoseconds of a minute.
pub(crate) const MINUTE: u64 = 60 * SECOND;
/// Nanoseconds of an hour.
pub(crate) const HOUR: u64 = 60 * MINUTE;
/// Nanoseconds of a day.
pub(crate) const DAY: u64 = 24 * HOUR;

/// A length of time in nanoseconds; `"90s"`, `"5d 3h"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let length = humantime::parse_duration(&text).map_err(D::Error::custom)?;
        u64::try_from(length.as_nanos()).map(Self).map_err(D::Error::custom)
    }
}

/// A moment in nanoseconds since 1970; `"2026-03-02T00:00:00Z"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = humantime::parse_rfc3339(&text).map_err(D::Error::custom)?;
        let since = moment.duration_since(UNIX_EPOCH).map_err(D::Error::custom)?;
        u64::try_from(since.as_nanos()).map(Self).map_err(D::Error::custom)
    }
}

/// Seconds as nanoseconds.
pub(crate) fn seconds(length: f64) -> u64 {
    whole(length * 1e9)
}

/// A number that is not negative, without its fraction.
#[expect(clippy::cast_sign_loss, reason = "at least 0")]
pub(crate) fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
