//! Dates of birth. The word beside them is the rule's; here it is decided whether it is a date on which somebody alive was born.
//! Sources: ISO 8601; the orders of day and month as Unicode CLDR has them.

use super::super::{Text, Verdict, labels};

/// Fields of a record that hold other dates.
const OTHERS: &[&str] = &[
    "created",
    "updated",
    "modified",
    "expires",
    "expiry",
    "expiration",
    "issued",
    "timestamp",
    "ts",
    "time",
    "visit",
    "admission",
    "appointment",
    "hired",
    "joined",
    "due",
    "signup",
    "login",
    "registered",
    "version",
    "at",
    "on",
    "ip",
    "order",
];
/// Words that end a label with the word of birth in it: `born on`, `birth at`.
const BIRTH: &[&str] = &["birth", "born", "dob", "birthday", "birthdate", "geboren"];
const FIRST_YEAR: u32 = 1900;
const LAST_YEAR: u32 = 2030;

/// Numbers alone, or with the name of a month.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let numbers: Vec<(u32, usize)> = secret
        .split(|byte| !byte.is_ascii_digit())
        .filter(|group| !group.is_empty())
        .map(|group| (group.iter().take(8).fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')), group.len()))
        .collect();
    let named_month = secret.iter().any(u8::is_ascii_alphabetic);
    let year =
        |(value, length): (u32, usize)| length == 2 || (length == 4 && (FIRST_YEAR..=LAST_YEAR).contains(&value));
    let day = |(value, length): (u32, usize)| length <= 2 && (1..=31).contains(&value);
    let month = |(value, length): (u32, usize)| length <= 2 && (1..=12).contains(&value);
    let is_date = match *numbers.as_slice() {
        [a, b] if named_month => (day(a) && year(b)) || (year(a) && day(b)),
        [a, b, c] => {
            (year(a) && month(b) && day(c) && a.1 == 4) || (year(c) && ((day(a) && month(b)) || (month(a) && day(b))))
        }
        [(value, 8)] => {
            let (tail_year, head_year) = (value % 10_000, value / 10_000);
            ((FIRST_YEAR..=LAST_YEAR).contains(&head_year) && month((value / 100 % 100, 2)) && day((value % 100, 2)))
                || ((FIRST_YEAR..=LAST_YEAR).contains(&tail_year)
                    && day((value / 1_000_000, 2))
                    && day((value / 10_000 % 100, 2)))
        }
        _ => false,
    };
    // A moment is no birthday, unless it is midnight.
    let clock = match text.after() {
        [b' ', rest @ ..] => is_clock(rest),
        rest => secret.ends_with(b"T") && is_clock(rest),
    };
    let piece = matches!(text.before().last(), Some(b'-' | b'/' | b'.' | b':' | b'_'))
        || matches!(text.after(), [b'-' | b'/' | b'.' | b':', byte, ..] if byte.is_ascii_alphanumeric());
    let other = labels::named(text.before(), OTHERS) && !labels::named(text.before(), BIRTH);
    Verdict::plausible_if(is_date && !clock && !piece && !other)
}

/// Hours and minutes, and not those of midnight.
fn is_clock(after: &[u8]) -> bool {
    matches!(after, [a, b, b':', ..] if a.is_ascii_digit() && b.is_ascii_digit() && (*a, *b) != (b'0', b'0'))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn dates_in_many_orders() {
        for good in [
            "1984-03-12",
            "12.03.1984",
            "3/12/84",
            "12 March 1984",
            "March 12, 1984",
            "19840312",
            "12031984",
            "1984/3/1",
        ] {
            assert_eq!(verdict(validate, good), Verdict::Plausible, "{good}");
        }
        for bad in ["1784-03-12", "1984-13-12", "32.12.1984", "1984-03", "13/13/84", "10.1.2.3", "12 March 3984", ""] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
        for (haystack, span, expected) in [
            ("created_at: 2026-01-02", 12..22, Verdict::Refused),
            ("born on 1984-03-12", 8..18, Verdict::Plausible),
            ("1984-03-12T10:11:12Z", 0..11, Verdict::Refused),
            ("1984-03-12T00:00:00Z", 0..11, Verdict::Plausible),
        ] {
            assert_eq!(validate(&Text { haystack: haystack.as_bytes(), span }), expected, "{haystack}");
        }
    }
}
