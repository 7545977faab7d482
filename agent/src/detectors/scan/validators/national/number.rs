//! Parts that many identifiers have: digits by position, dates, neighbours, letters as numbers. Enters: a match in its segment.
//! Leaves: the digits or letters of the secret, or nothing where it is a piece of something longer. It judges no identifier.

use std::ops::Range;

use super::super::{
    Text,
    checksums::{all_equal, luhn, weighted},
};

/// Longest identifier of this group, bytes: three lines of thirty of an identity card.
const MAX_SIGNS: usize = 96;

/// The digits of a secret.
pub(super) struct Number(Vec<u8>);

impl Number {
    /// The digits, when there are as many as one of `counts`, they are not all the same, and none stands beyond the secret.
    pub(super) fn of(text: &Text<'_>, counts: &[usize]) -> Option<Self> {
        let digits = text.digits();
        (counts.contains(&digits.len()) && !all_equal(&digits) && stands_alone(text)).then_some(Self(digits))
    }

    /// The first digits of the secret, however many follow and whatever stands beyond.
    pub(super) fn leading(text: &Text<'_>, count: usize) -> Option<Self> {
        Self::from_signs(text.secret().get(..count)?)
    }

    /// Signs that are all digits.
    pub(super) fn from_signs(signs: &[u8]) -> Option<Self> {
        let digit = |sign: &u8| sign.is_ascii_digit().then(|| sign - b'0');
        (!signs.is_empty()).then(|| signs.iter().map(digit).collect::<Option<Vec<u8>>>().map(Self)).flatten()
    }

    /// Digits as they are.
    pub(super) fn from_digits(digits: Vec<u8>) -> Self {
        Self(digits)
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// One digit, 0 beyond the end.
    pub(super) fn at(&self, index: usize) -> u32 {
        self.0.get(index).copied().map_or(0, u32::from)
    }

    /// Several digits as one number.
    pub(super) fn part(&self, range: Range<usize>) -> u64 {
        let digits = self.0.get(range).unwrap_or_default();
        digits.iter().fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(*digit)))
    }

    /// The digits from the left times these weights, added.
    pub(super) fn sum(&self, weights: &[u32]) -> u32 {
        weighted(&self.0, weights)
    }

    /// See [`luhn`].
    pub(super) fn luhn(&self) -> bool {
        luhn(&self.0)
    }

    /// All digits.
    pub(super) fn digits(&self) -> &[u8] {
        &self.0
    }

    /// A day of any century at these places, each of two digits: year, month, day.
    pub(super) fn date_at(&self, year: usize, month: usize, day: usize) -> bool {
        let two = |index: usize| self.part(index..index + 2);
        is_short_date(two(year), two(month), two(day))
    }
}

/// A day of the calendar.
pub(super) fn is_date(year: u64, month: u64, day: u64) -> bool {
    let day = (i16::try_from(year), i8::try_from(month), i8::try_from(day));
    matches!(day, (Ok(year), Ok(month), Ok(day)) if jiff::civil::Date::new(year, month, day).is_ok())
}

/// A day of the calendar in some century: year 0 to 99. 1900 had no leap day, 2000 had.
pub(super) fn is_short_date(year: u64, month: u64, day: u64) -> bool {
    year < 100 && is_date(2000 + year, month, day)
}

/// No digit follows or goes before, neither directly nor behind a separator that the secret itself uses, nor (for a secret
/// without separators) behind `-`, `.` or `/`: else it is a piece of a longer number, of a UUID, a date or a fraction. A space
/// before a number without spaces parts words and columns.
pub(super) fn stands_alone(text: &Text<'_>) -> bool {
    let secret = text.secret();
    let own = |byte: u8| matches!(byte, b'-' | b'.' | b'/' | b' ') && secret.contains(&byte);
    let bare = !secret.iter().copied().any(|byte| matches!(byte, b'-' | b'.' | b'/' | b' '));
    let joins = |byte: u8| own(byte) || bare && matches!(byte, b'-' | b'.' | b'/');
    let before = match text.before() {
        [.., digit, separator] => digit.is_ascii_digit() && joins(*separator) || separator.is_ascii_digit(),
        [single] => single.is_ascii_digit(),
        [] => false,
    };
    let after = match text.after() {
        [separator, digit, ..] => digit.is_ascii_digit() && joins(*separator) || separator.is_ascii_digit(),
        [single] => single.is_ascii_digit(),
        [] => false,
    };
    !before && !after
}

/// Letters and digits of the secret, letters as capitals; `None` when there are more than any identifier has.
pub(super) fn signs(text: &Text<'_>) -> Option<Vec<u8>> {
    let signs = text.secret().iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase);
    let signs: Vec<u8> = signs.take(MAX_SIGNS + 1).collect();
    (signs.len() <= MAX_SIGNS).then_some(signs)
}

/// A digit as itself, letters as 10 to 35.
pub(super) fn value(sign: u8) -> Option<u32> {
    char::from(sign).to_digit(36)
}

/// The sign of a table at a remainder, compared.
pub(super) fn is_sign_at(table: &[u8], index: u64, sign: Option<u8>) -> bool {
    sign.is_some() && usize::try_from(index).ok().and_then(|index| table.get(index)).copied() == sign
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_longer_numbers_do_not_stand_alone() {
        for (before, secret, after, expected) in [
            ("", "123456782", "", true),
            ("at 09 ", "123456782", " 17", true),
            ("id-", "123456782", ".", true),
            ("3.", "123456782", "", false),
            ("12-", "123456782", "", false),
            ("", "123456782", "/7", false),
            ("1", "123456782", "", false),
            ("", "123456782", "3", false),
            ("12 ", "123 456 782", "", false),
            ("", "123 456 782", " 001", false),
            ("12 ", "123-456-782", "", true),
            ("12-", "123-456-782", "", false),
        ] {
            let haystack = format!("{before}{secret}{after}");
            let span = before.len()..before.len() + secret.len();
            assert_eq!(stands_alone(&Text { haystack: haystack.as_bytes(), span }), expected, "{haystack}");
        }
    }

    #[test]
    fn dates_are_days_of_the_calendar() {
        assert!(is_date(2000, 2, 29) && is_short_date(99, 12, 31));
        assert!(!is_date(1900, 2, 29) && !is_date(2001, 2, 29) && !is_short_date(100, 1, 1));
        assert!(!is_date(2001, 13, 1) && !is_date(2001, 0, 1) && !is_date(u64::MAX, 300, 1));
    }
}
