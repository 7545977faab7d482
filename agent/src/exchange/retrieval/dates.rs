//! Dates in the metadata of matches. Enters: members by their name. Leaves: days since 1970. What is no date of our time is none.

use serde_json::Number;

/// Names of members that say when a document was last touched or made, in lower case without `_` and `-`.
const NAMES: [&str; 20] = [
    "updatedat",
    "updated",
    "lastupdated",
    "lastupdate",
    "lastmodified",
    "lastmodifiedat",
    "modified",
    "modifiedat",
    "modifieddate",
    "mtime",
    "date",
    "createdat",
    "created",
    "creationdate",
    "publishedat",
    "published",
    "publisheddate",
    "publishdate",
    "timestamp",
    "lastediteddate",
];
/// Longest of them, with separators.
const NAME_BYTES_MAX: usize = 32;
/// 1990-01-01 and 2100-01-01, in days since 1970: what lies outside is no date of a document.
const DAYS: std::ops::Range<u32> = 7305..47_482;
/// Dates that are kept of one answer.
const MAX_DATES: usize = 64;
const SECONDS_A_DAY: u64 = 86_400;

/// Dates of the matches, in days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    /// The oldest.
    pub oldest: u32,
    /// The one in the middle.
    pub median: u32,
    /// The newest.
    pub newest: u32,
}

/// Gathers them.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    days: Vec<u32>,
    /// The newest of the present match.
    present: Option<u32>,
}

impl Gathered {
    /// Another match begins.
    pub(super) fn next(&mut self) {
        if let Some(day) = self.present.take()
            && self.days.len() < MAX_DATES
        {
            self.days.push(day);
        }
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        if is_date_name(name) {
            self.present = self.present.max(day_of_text(text));
        }
    }

    pub(super) fn number(&mut self, name: &str, number: &Number) {
        if is_date_name(name) {
            self.present = self.present.max(day_of_number(number));
        }
    }

    pub(super) fn finish(mut self) -> Option<Dates> {
        self.next();
        self.days.sort_unstable();
        let median = *self.days.get(self.days.len() / 2)?;
        Some(Dates { oldest: *self.days.first()?, median, newest: *self.days.last()? })
    }
}

fn is_date_name(name: &str) -> bool {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return false;
    }
    let plain = || name.bytes().filter(|byte| !matches!(byte, b'_' | b'-')).map(|byte| byte.to_ascii_lowercase());
    NAMES.iter().any(|known| plain().eq(known.bytes()))
}

/// `2026-11-23`, alone or with a time behind it; or a number.
fn day_of_text(text: &str) -> Option<u32> {
    if let Some(date) = text.get(..10).and_then(|date| date.parse::<jiff::civil::Date>().ok()) {
        let epoch = jiff::civil::date(1970, 1, 1);
        let days = date.since(epoch).ok()?.get_days();
        return u32::try_from(days).ok().filter(|day| DAYS.contains(day));
    }
    day_of_seconds(text.parse().ok()?)
}

fn day_of_number(number: &Number) -> Option<u32> {
    let seconds = number.as_u64().or_else(|| {
        let seconds = number.as_f64()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked; the fraction is not needed"
        )]
        (0.0..1e15).contains(&seconds).then_some(seconds as u64)
    })?;
    day_of_seconds(seconds)
}

/// Seconds since 1970, or milliseconds, which are a thousand times as many.
fn day_of_seconds(seconds: u64) -> Option<u32> {
    [seconds, seconds / 1000]
        .into_iter()
        .filter_map(|seconds| u32::try_from(seconds / SECONDS_A_DAY).ok())
        .find(|day| DAYS.contains(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_all_their_forms() {
        // 2026-11-23 is day 20780.
        for (text, day) in [
            ("2026-11-23", Some(20_780)),
            ("2026-11-23T10:00:00Z", Some(20_780)),
            ("2026-11-23 10:00", Some(20_780)),
            ("1795392000", Some(20_780)),
            ("1795392000123", Some(20_780)),
            ("2026-13-23", None),
            ("1950-01-01", None),
            ("yesterday", None),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(day_of_text(text), day, "{text}");
        }
        assert_eq!(day_of_number(&Number::from_f64(1_795_392_000.5).unwrap()), Some(20_780));
        assert_eq!(day_of_number(&Number::from(12)), None);
    }

    #[test]
    fn the_newest_of_each_match_counts() {
        let mut gathered = Gathered::default();
        for (created, updated) in [("2020-01-01", "2026-11-23"), ("2021-01-01", "2026-11-21"), ("2026-11-22", "x")] {
            gathered.next();
            gathered.text("created_at", created);
            gathered.text("lastModified", updated);
            gathered.text("title", "2030-01-01");
        }
        assert_eq!(gathered.finish(), Some(Dates { oldest: 20_778, median: 20_779, newest: 20_780 }));
        assert_eq!(Gathered::default().finish(), None);
    }
}
