//! Bank accounts without a check digit: nothing but their length and their label tells them. Sources: Nacha operating rules
//! (account field of 4 to 17 characters; 8 to 17 are usual); Pay.UK, "Vocalink modulus checking" (six digits and eight).

use super::super::{Text, Verdict, checksums::all_equal};

/// Not all the same and not counted up: `12345678` is what people write for a placeholder, `00000000` what a mask leaves.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let counted = digits.windows(2).all(|pair| matches!(pair, [a, b] if *b == (a + 1) % 10));
    // A date or a part of a longer number.
    let longer = matches!(text.before(), [.., digit, b'.' | b'-' | b'/'] if digit.is_ascii_digit())
        || matches!(text.after(), [b'.' | b'-' | b'/', digit, ..] if digit.is_ascii_digit());
    Verdict::plausible_if(!digits.is_empty() && !longer && !all_equal(&digits) && !(counted && digits.len() < 9))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn fillers_are_no_accounts() {
        for good in ["55779911", "20-00-00", "1234567890", "000123456789"] {
            assert_eq!(verdict(validate, good), Verdict::Plausible, "{good}");
        }
        for bad in ["00000000", "12345678", ""] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
        assert_eq!(validate(&Text { haystack: b"55779911-2", span: 0..8 }), Verdict::Refused);
    }
}
