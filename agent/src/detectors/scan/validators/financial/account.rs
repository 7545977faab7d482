//! Bank accounts without a check digit: nothing but their length and their label tells them. Sources: Nacha operating rules
//! (account field of 4 to 17 characters; 8 to 17 are usual); Pay.UK, "Vocalink modulus checking" (six digits and eight).

use super::super::{Text, Verdict, checksums::all_equal, labels};

/// Labels of other numbers.
const OTHERS: &[&str] =
    &["phone", "tel", "mobile", "card", "routing", "aba", "zip", "ssn", "tax", "imei", "arn", "aws"];

/// Not all the same and not counted up: `12345678` is what people write for a placeholder, `00000000` what a mask leaves.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let counted = digits.len() < 9 && digits.windows(2).all(|pair| matches!(pair, [a, b] if *b == (a + 1) % 10));
    // A date or a part of a longer number.
    let longer = matches!(text.before(), [.., digit, b'.' | b'-' | b'/'] if digit.is_ascii_digit())
        || matches!(text.after(), [b'.' | b'-' | b'/', digit, ..] if digit.is_ascii_digit());
    let other = labels::named(text.before(), labels::OF_THINGS) || labels::named(text.before(), OTHERS);
    let filler = digits.is_empty() || counted || all_equal(&digits);
    Verdict::plausible_if(!filler && !longer && !other)
}

/// A sort code, perhaps with the account behind it; only digits in groups, and not all the same.
pub(super) fn sort_code(text: &Text<'_>) -> Verdict {
    let longer = matches!(text.before(), [.., digit, b'.' | b'-' | b'/'] if digit.is_ascii_digit())
        || matches!(text.after(), [b'.' | b'-' | b'/' | b':', digit, ..] if digit.is_ascii_digit());
    Verdict::plausible_if(!longer && !all_equal(&text.digits()))
}

/// A card's code: three or four digits that no text goes on behind, such as a version or a sum.
pub(super) fn cvv(text: &Text<'_>) -> Verdict {
    let goes_on = matches!(text.after(), [b'.' | b',' | b'-' | b':' | b'/', digit, ..] if digit.is_ascii_digit())
        || matches!(text.after(), [b'%', ..] | [b' ', b'0'..=b'9', ..])
        || matches!(text.before().last(), Some(b'.' | b'-' | b'/' | b'$' | b'#'));
    let other = labels::named(text.before(), labels::OF_THINGS) && !names_a_card(text.before());
    // `security code scanning 2024`
    let year = text.secret().len() == 4 && (text.secret().starts_with(b"20") || text.secret().starts_with(b"19"));
    let right_before = labels::follows(text.before(), &["cvv", "cvv2", "cvc", "cvc2", "cvn", "code", "is"]);
    Verdict::plausible_if(!goes_on && !other && (!year || right_before))
}

/// `security code`: that word is one of things too.
fn names_a_card(before: &[u8]) -> bool {
    labels::named(before, &["cvv", "cvv2", "cvc", "cvc2", "cvn", "security", "verification"])
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn fillers_are_no_accounts() {
        for good in ["55779911", "1234567890", "000123456789"] {
            assert_eq!(verdict(validate, good), Verdict::Plausible, "{good}");
        }
        for bad in ["00000000", "12345678", ""] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
        assert_eq!(verdict(sort_code, "20-31-47 55779911"), Verdict::Plausible);
        assert_eq!(verdict(sort_code, "00-00-00"), Verdict::Refused);
        for (haystack, expected) in [
            ("cvv 417", Verdict::Plausible),
            ("security code 417", Verdict::Plausible),
            ("cvv, size 417", Verdict::Refused),
            ("security code scan 417", Verdict::Plausible),
            ("cvv $417", Verdict::Refused),
        ] {
            let text = Text { haystack: haystack.as_bytes(), span: haystack.len() - 3..haystack.len() };
            assert_eq!(cvv(&text), expected, "{haystack}");
        }
        assert_eq!(cvv(&Text { haystack: b"cvc 417.5", span: 4..7 }), Verdict::Refused);
        assert_eq!(validate(&Text { haystack: b"ts: 55779911", span: 4..12 }), Verdict::Refused);
        assert_eq!(validate(&Text { haystack: b"55779911-2", span: 0..8 }), Verdict::Refused);
    }
}
