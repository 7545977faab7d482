//! A point in time as people give it. Enters: `24h`, a day, or RFC 3339. Leaves: a [`Timestamp`].

use std::str::FromStr;

use crate::{clock, units::Timestamp};

/// Seconds of the units that a span may have.
const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86400)];

/// A point in time: a span before now, or given outright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// So many seconds ago.
    Ago(u64),
    /// Then.
    At(Timestamp),
}

impl Since {
    /// The time that is meant.
    pub(super) fn at(self) -> Timestamp {
        match self {
            Self::Ago(seconds) => Timestamp(clock::now().0.saturating_sub(seconds.saturating_mul(1_000_000_000))),
            Self::At(at) => at,
        }
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span = UNITS.iter().find_map(|(unit, seconds)| {
            let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
            number.checked_mul(*seconds).map(Self::Ago)
        });
        // A day begins at midnight in UTC, as all times of findings are in UTC.
        let at = || Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z"))).map(Self::At);
        span.or_else(at).ok_or("write a span (90m, 24h, 7d), a day (2026-11-23) or RFC 3339 (2026-11-23T08:00:00Z)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for (text, expected) in [
            ("90s", Some(Since::Ago(90))),
            ("15m", Some(Since::Ago(900))),
            ("24h", Some(Since::Ago(86400))),
            ("7d", Some(Since::Ago(604_800))),
            ("2026-11-23", Some(Since::At(Timestamp(1_795_392_000_000_000_000)))),
            ("2026-11-23T01:00:00+01:00", Some(Since::At(Timestamp(1_795_392_000_000_000_000)))),
            ("", None),
            ("h", None),
            ("-1h", None),
            ("yesterday", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
        assert!(Since::Ago(3600).at() < clock::now());
        assert_eq!(Since::Ago(u64::MAX).at(), Timestamp(0));
    }
}
