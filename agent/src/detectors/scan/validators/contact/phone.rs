//! Phone numbers. Sources: ITU-T E.164 and E.123 (notation); NANPA, "Central office code assignment guidelines" (area and exchange
//! begin with 2 to 9, neither is N11; 555-0100 to 555-0199 are for fiction). Country codes and lengths: [`plan`].

use super::{
    super::{Text, Verdict, checksums::all_equal, labels},
    plan,
};

/// Labels of other numbers of persons.
const OTHERS: &[&str] = &[
    "zip",
    "postcode",
    "account",
    "iban",
    "ssn",
    "nhs",
    "npi",
    "card",
    "imei",
    "imsi",
    "iccid",
    "date",
    "dob",
    "born",
    "birth",
    "uid",
    "ref",
    "reference",
    "passport",
    "aadhaar",
    "tax",
    "routing",
    "aba",
    "abn",
    "vat",
    "mrn",
];

/// The number is called something else.
fn is_called_else(text: &Text<'_>) -> bool {
    labels::named(text.before(), OTHERS) || labels::named(text.before(), labels::OF_THINGS)
}

/// A number as it is written: its digits with the offset behind each, up to an extension.
struct Written {
    digits: Vec<u8>,
    /// By digit: where it ends in the secret.
    ends: Vec<usize>,
    /// Lengths of the groups of digits.
    groups: Vec<usize>,
    /// The extension's part, if there is one.
    extended: bool,
}

fn read(secret: &[u8]) -> Written {
    let extension = secret.iter().position(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'#' | b','));
    let main = secret.get(..extension.unwrap_or(secret.len())).unwrap_or_default();
    // The trunk prefix in `+44 (0)20` is not dialled.
    let trunk = memchr::memmem::find(main, b"(0)");
    let mut written =
        Written { digits: Vec::new(), ends: Vec::new(), groups: Vec::new(), extended: extension.is_some() };
    let mut last = None;
    for (at, byte) in main.iter().enumerate() {
        if !byte.is_ascii_digit() || trunk.is_some_and(|trunk| trunk + 1 == at) {
            continue;
        }
        written.digits.push(byte - b'0');
        written.ends.push(at + 1);
        match written.groups.last_mut() {
            Some(group) if last == Some(at) => *group += 1,
            _ => written.groups.push(1),
        }
        last = Some(at + 1);
    }
    written
}

/// The number goes on, to the left or to the right: it is a piece of something else.
fn is_piece(text: &Text<'_>) -> bool {
    let before = match text.before() {
        [.., byte, b'-' | b'_'] => byte.is_ascii_alphanumeric(),
        // `tel:030`, `Tel.030`, but not `0.30` and not a clock.
        [.., byte, b'.' | b':' | b'/'] => byte.is_ascii_digit(),
        [.., byte] => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'$' | b'#' | b'_'),
        [] => false,
    };
    before || goes_on(text.after()) || matches!(text.after().first(), Some(b'%' | b'_'))
}

/// `212-736-5000-77`, but not `212-736-5000-Office`.
fn goes_on(after: &[u8]) -> bool {
    match after {
        [b'-', first, second, ..] if first.is_ascii_uppercase() && second.is_ascii_lowercase() => false,
        [b'-' | b'.' | b'/' | b':' | b'_' | b'%', byte, ..] => byte.is_ascii_alphanumeric(),
        _ => false,
    }
}

fn counts_up(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| matches!(pair, [a, b] if *b == (a + 1) % 10))
}

/// `01 02 03 04 05`.
fn lists(digits: &[u8]) -> bool {
    let mut pairs = digits.chunks(2).map(|pair| pair.iter().fold(0_u8, |sum, digit| sum * 10 + digit));
    digits.len() > 5
        && pairs.next().is_some_and(|first| (first + 1..).zip(pairs).all(|(expected, pair)| pair == expected))
}

/// Ten digits that somebody may have in the North American plan.
fn is_nanp(national: &[u8]) -> bool {
    let (Some(area), Some(exchange), Some(line)) = (national.get(..3), national.get(3..6), national.get(6..)) else {
        return false;
    };
    let valid = |code: &[u8]| matches!(code, [first, second, third] if *first >= 2 && (*second, *third) != (1, 1));
    let fiction = exchange == [5, 5, 5] && matches!(line, [0, 1, ..]);
    line.len() == 4 && valid(area) && valid(exchange) && !fiction && !all_equal(national) && !counts_up(national)
}

/// `+` or `00`, and a country code. A pattern cannot know where such a number ends: at the last group that fits.
pub(super) fn e164(text: &Text<'_>) -> Verdict {
    // Base64 holds both.
    let joined =
        matches!(text.before().last(), Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+'));
    let written = read(text.secret());
    let skipped = if text.secret().starts_with(b"0") { 2 } else { 0 };
    let fits = |count: usize| {
        let digits = written.digits.get(skipped..count).unwrap_or_default();
        plan::is_international(digits) && !digits.get(3..).is_none_or(all_equal)
    };
    if joined {
        return Verdict::Refused;
    }
    let all = written.digits.len();
    let cut = !written.extended && text.after().first().is_some_and(u8::is_ascii_digit);
    if !cut && fits(all) {
        return Verdict::Plausible;
    }
    // Not when the extension would be cut off as well: then it is no number at all.
    let mut count = if written.extended { 0 } else { all };
    for group in written.groups.iter().rev() {
        count = count.saturating_sub(*group);
        if fits(count) {
            let end = count.checked_sub(1).and_then(|last| written.ends.get(last)).copied().unwrap_or_default();
            return Verdict::PlausibleUpTo(text.span.start + end);
        }
    }
    Verdict::Refused
}

/// The ten digits of a North American number, without what is dialled before.
fn national_of(digits: &[u8]) -> Option<&[u8]> {
    match digits.len() {
        10 => Some(digits),
        11 => digits.strip_prefix(&[1]),
        13 => digits.strip_prefix(&[0, 0, 1]),
        _ => None,
    }
}

/// Ten digits in the usual American groups, perhaps with a 1 in front, that can be somebody's.
pub(super) fn nanp(text: &Text<'_>) -> Verdict {
    if text.secret().contains(&b'(') {
        return nanp_called(text);
    }
    let written = read(text.secret());
    let national = national_of(&written.digits);
    Verdict::plausible_if(!is_piece(text) && !is_called_else(text) && national.is_some_and(is_nanp))
}

/// The same where a word, or the marks around the area, say that it is a phone's: what is invented counts too.
pub(super) fn nanp_called(text: &Text<'_>) -> Verdict {
    let written = read(text.secret());
    let national = national_of(&written.digits).filter(|national| national.first() > Some(&1) && !all_equal(national));
    Verdict::plausible_if(!is_piece(text) && !is_called_else(text) && national.is_some())
}

/// A number as it is dialled inside of some country, where a word says so or its groups do.
pub(super) fn national(text: &Text<'_>) -> Verdict {
    let written = read(text.secret());
    let other = is_piece(text) || is_called_else(text);
    if other
        || is_date(&written.groups, &written.digits)
        || is_decimal(text.secret(), &written.groups)
        || is_measured(text)
        || is_calculated(text)
        || is_behind_a_date(text.secret())
    {
        return Verdict::Refused;
    }
    let grouped = written.groups.len() > 3; // `01 23 45 67 89` may be somebody's, `12345678` is nobody's
    let sound = |digits: &[u8]| !all_equal(digits) && (grouped || !counts_up(digits)) && !lists(digits);
    if (6..=14).contains(&written.digits.len()) && sound(&written.digits) {
        return Verdict::Plausible;
    }
    // The pattern may have run on into the next number.
    let mut count = if written.extended { 0 } else { written.digits.len() };
    for group in written.groups.iter().rev() {
        count = count.saturating_sub(*group);
        if (7..=12).contains(&count) && written.digits.get(..count).is_some_and(sound) {
            let end = count.checked_sub(1).and_then(|last| written.ends.get(last)).copied().unwrap_or_default();
            return Verdict::PlausibleUpTo(text.span.start + end);
        }
    }
    Verdict::Refused
}

/// The same where no more is said than that somebody may be called: seven digits in two groups at the least.
pub(super) fn spoken(text: &Text<'_>) -> Verdict {
    let written = read(text.secret());
    // 555-0100 to 555-0199 is for fiction; with an area of people in front it is what stands for a phone in a text.
    let line = written.digits.last_chunk::<7>().is_some_and(|line| line.starts_with(&[5, 5, 5, 0, 1]));
    let area = national_of(&written.digits).and_then(<[u8]>::first);
    let fiction = line && area.is_none_or(|area| *area == 8);
    if written.digits.len() < 7 || written.groups.len() < 2 || fiction { Verdict::Refused } else { national(text) }
}

/// A unit stands behind it.
fn is_measured(text: &Text<'_>) -> bool {
    const UNITS: [&[u8]; 9] = [b"ms", b"bytes", b"KB", b"MB", b"GB", b"rows", b"items", b"seconds", b"tokens"];
    matches!(text.after(), [b' ', unit @ ..] if UNITS.iter().any(|known| unit.starts_with(known)))
}

/// `6544 * 65464`, `= 65465-6544`.
fn is_calculated(text: &Text<'_>) -> bool {
    const OPERATORS: [&[u8]; 5] = [b"*", b"=", b"^", "×".as_bytes(), "÷".as_bytes()];
    let (before, after) = (text.before().trim_ascii_end(), text.after().trim_ascii_start());
    let behind = OPERATORS.iter().find_map(|operator| after.strip_prefix(*operator));
    let ahead = OPERATORS.iter().find_map(|operator| before.strip_suffix(*operator));
    // Not the stars of `**Phone:** 030 901820 **Fax:**`, nor `phone = 030 901820`.
    behind.is_some_and(|rest| rest.trim_ascii_start().first().is_some_and(u8::is_ascii_digit))
        || ahead.is_some_and(|rest| rest.trim_ascii_end().last().is_some_and(u8::is_ascii_digit))
}

/// `9/17/25. 742`: a date, and a number that the pattern took with it.
fn is_behind_a_date(secret: &[u8]) -> bool {
    let mut parts = secret.splitn(3, |byte| *byte == b'/');
    let (Some(first), Some(second), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u8>().ok();
    let (Some(first), Some(second)) = (number(first), number(second)) else { return false };
    let year = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=12).contains(&first.min(second))
        && first.max(second) <= 31
        && matches!(year, 2 | 4)
        && matches!(rest.get(year), Some(b'.' | b' '))
}

/// `2026-11-23`, `23.11.2026`, `1998 2004`.
fn is_date(groups: &[usize], digits: &[u8]) -> bool {
    let number = |from: usize, count: usize| {
        digits.iter().skip(from).take(count).fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit))
    };
    let year = |from: usize| (1900..2100).contains(&number(from, 4));
    match groups {
        [4, 1 | 2, 1 | 2] => year(0) && number(4, groups.get(1).copied().unwrap_or_default()) <= 12,
        [first @ (1 | 2), second @ (1 | 2), 4] => year(first + second),
        [4, 4] => year(0) && year(4),
        [8] => year(0) && (1..=12).contains(&number(4, 2)) && (1..=31).contains(&number(6, 2)),
        _ => false,
    }
}

/// `450.0840`, `1.234.567`, `10.1.2.3`: an amount, a version, an address.
fn is_decimal(secret: &[u8], groups: &[usize]) -> bool {
    let dots = memchr::memchr_iter(b'.', secret).count();
    let marks = secret.iter().filter(|byte| !byte.is_ascii_digit()).count();
    dots == marks
        && dots > 0
        && (dots == 1 || (dots == 3 && groups.iter().all(|group| *group <= 3)) || {
            groups.iter().skip(1).all(|group| *group == 3)
        })
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{check_as, verdict},
        *,
    };

    #[test]
    fn across_countries() {
        check_as(
            e164,
            Verdict::Plausible,
            &[
                "+14155552671",
                "+44 20 7946 0958",
                "+49 30 901820",
                "+46 (0)8 928 571 38",
                "+1-903-140-4508x769",
                "0049 30 901820",
            ],
            &["+1 111 555 2671", "+999 123 456 789", "+441", "+44444444444", "+1 23456", "+14155552671234567"],
        );
        assert_eq!(verdict(e164, "+442079460958 2026"), Verdict::PlausibleUpTo(13));
        assert_eq!(e164(&Text { haystack: b"a+14155552671", span: 1..13 }), Verdict::Refused);
    }

    #[test]
    fn in_north_america() {
        check_as(
            nanp,
            Verdict::Plausible,
            &[
                "(415) 555-2671",
                "(202) 555-0173",
                "212-736-5000",
                "1-212-736-5000",
                "001-253-366-9781",
                "212.736.5000 ext 12",
            ],
            &["115-736-5000", "212-136-5000", "211-736-5000", "212-555-0147", "222-222-2222", "234-567-8901"],
        );
        check_as(
            nanp_called,
            Verdict::Plausible,
            &["(555) 010-2671", "212-555-0147", "930.167.3943"],
            &["115-736-5000", "222-222-2222", "12-34"],
        );
        for (haystack, span) in [
            ("order 212-736-5000", 6..18),
            ("7-212-736-5000", 2..14),
            ("212-736-5000-77", 0..12),
            ("$212-736-5000", 1..13),
        ] {
            assert_eq!(nanp(&Text { haystack: haystack.as_bytes(), span }), Verdict::Refused, "{haystack}");
        }
    }

    #[test]
    fn inside_a_country() {
        check_as(
            national,
            Verdict::Plausible,
            &[
                "020 7946 0958",
                "06 12 34 56 78",
                "030/901820",
                "98765 43210",
                "090-1234-5678",
                "450 0840",
                "28-64-66-98",
                "079 0442 1744",
            ],
            &[
                "2026-11-23",
                "23.11.2026",
                "20261123",
                "1998 2004",
                "450.0840",
                "10.1.2.3",
                "1.234.567",
                "111 1111",
                "12345",
                "123 4567",
            ],
        );
        check_as(
            spoken,
            Verdict::Plausible,
            &["450 0840", "415-555-0199"],
            &["555-0142", "1-800-555-0142", "123456789"],
        );
        for (haystack, span) in [
            ("tel:030 901820", 4..14),
            ("Tel.030 901820", 4..14),
            ("788-063-Office", 0..7),
            ("**Tel:** 030 901820 **Fax:** no", 9..19),
            ("tel = 030 901820", 6..16),
        ] {
            assert_eq!(national(&Text { haystack: haystack.as_bytes(), span }), Verdict::Plausible, "{haystack}");
        }
        for (haystack, span) in [
            ("ts: 1795392", 4..11),
            ("took 450 0840 ms", 5..13),
            ("call me when 65465-6544 * 65464 is done", 13..23),
            ("call: 3 = 65465-6544", 10..20),
            ("called 9/17/25. 742 views", 7..19),
        ] {
            assert_eq!(national(&Text { haystack: haystack.as_bytes(), span }), Verdict::Refused, "{haystack}");
        }
    }
}
