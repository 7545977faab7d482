//! India, Aadhaar: twelve digits, the first 2 to 9, Verhoeff. Source: UIDAI, "Aadhaar number" (UID numbering scheme, 2010).

use super::super::{
    Text, Verdict,
    checksums::{all_equal, verhoeff},
};

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    Verdict::plausible_if(
        digits.len() == 12
            && digits.first().is_some_and(|first| *first >= 2)
            && !all_equal(&digits)
            && verhoeff(&digits),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_digits() {
        assert_ne!(verdict(validate, "2341 2341 2346"), Verdict::Refused);
        assert_eq!(verdict(validate, "2341 2341 2347"), Verdict::Refused);
    }
}
