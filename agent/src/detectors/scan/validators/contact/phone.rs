//! Phone numbers. Sources: ITU-T E.164 (at most 15 digits) and its list of country codes; NANPA, "Central office code assignment
//! guidelines" (area and exchange begin with 2 to 9, neither is N11; 555-0100 to 555-0199 are for fiction).

use super::super::{Text, Verdict};

/// Country codes by their first digits; a code not listed is not assigned. Three-digit ranges as ITU assigned them, 2026.
fn country_code_digits(digits: &[u8]) -> Option<usize> {
    let number = |count: usize| digits.iter().take(count).fold(0_u16, |sum, digit| sum * 10 + u16::from(*digit));
    match number(1) {
        1 | 7 => return Some(1),
        _ => {}
    }
    match number(2) {
        20 | 27 | 30..=34 | 36 | 39..=41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98 => {
            return Some(2);
        }
        _ => {}
    }
    match number(3) {
        211..=213
        | 216
        | 218
        | 220..=258
        | 260..=269
        | 290
        | 291
        | 297..=299
        | 350..=359
        | 370..=378
        | 379..=383
        | 385..=387
        | 389
        | 420
        | 421
        | 423
        | 500..=509
        | 590..=599
        | 670
        | 672..=683
        | 685..=692
        | 800
        | 808
        | 850
        | 852
        | 853
        | 855
        | 856
        | 870
        | 878
        | 880..=883
        | 886
        | 888
        | 960..=968
        | 970..=977
        | 979
        | 992..=996
        | 998 => Some(3),
        _ => None,
    }
}

fn filler(digits: &[u8]) -> bool {
    let Some((first, rest)) = digits.split_first() else { return true };
    rest.iter().all(|digit| digit == first)
        || digits.windows(2).all(|pair| matches!(pair, [a, b] if *b == (a + 1) % 10))
}

/// Ten digits of the North American plan.
fn is_nanp(national: &[u8]) -> bool {
    let (Some(area), Some(exchange), Some(line)) = (national.get(..3), national.get(3..6), national.get(6..)) else {
        return false;
    };
    let valid = |code: &[u8]| matches!(code, [first, second, third] if *first >= 2 && (*second, *third) != (1, 1));
    let fiction = exchange == [5, 5, 5] && matches!(line, [0, 1, ..]);
    line.len() == 4 && valid(area) && valid(exchange) && !fiction && !filler(national)
}

/// `+` and a country code.
pub(super) fn e164(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let joined = text.before().last().is_some_and(u8::is_ascii_alphanumeric);
    let Some(code) = country_code_digits(&digits).filter(|_| !joined) else { return Verdict::Refused };
    let national = digits.get(code..).unwrap_or_default();
    let fits = match digits.first() {
        Some(1) => is_nanp(national),
        _ => (8..=15).contains(&digits.len()) && !filler(national),
    };
    Verdict::plausible_if(fits)
}

/// Ten digits in the usual American groups, perhaps with a 1 in front.
pub(super) fn nanp(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let national = if digits.len() == 11 { digits.strip_prefix(&[1]) } else { Some(digits.as_slice()) };
    let longer = matches!(text.before(), [.., digit, b'-' | b'.' | b'/'] if digit.is_ascii_digit())
        || matches!(text.before().last(), Some(b'+' | b'-' | b'.' | b'/'))
        || matches!(text.after(), [b'-' | b'.' | b'/', digit, ..] if digit.is_ascii_alphanumeric());
    Verdict::plausible_if(!longer && national.is_some_and(is_nanp))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn plans() {
        for good in ["+14155552671", "+44 20 7946 0958", "+49 30 901820", "+380 44 279 0000"] {
            assert_eq!(verdict(e164, good), Verdict::Plausible, "{good}");
        }
        for bad in ["+14155550123", "+1 111 555 2671", "+999 123 456 789", "+441", "+44444444444", "+1 23456"] {
            assert_eq!(verdict(e164, bad), Verdict::Refused, "{bad}");
        }
        for good in ["(415) 555-2671", "212-736-5000", "1-212-736-5000"] {
            assert_eq!(verdict(nanp, good), Verdict::Plausible, "{good}");
        }
        for bad in ["115-736-5000", "212-136-5000", "211-736-5000", "212-555-0147", "222-222-2222"] {
            assert_eq!(verdict(nanp, bad), Verdict::Refused, "{bad}");
        }
    }
}
