//! France, NIR: 97 minus the number mod 97; sex 1 or 2, month 1 to 12 (or 20 and more where it is unknown). Source: INSEE,
//! "Numéro d'inscription au répertoire".

use super::super::{Text, Verdict};

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let number = |range: std::ops::Range<usize>| {
        digits.get(range).unwrap_or_default().iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(*digit))
    };
    let month = number(3..5);
    let holds =
        digits.len() == 15 && matches!(month, 1..=12 | 20..=42 | 50..=99) && 97 - number(0..13) % 97 == number(13..15);
    Verdict::proven_if(holds && matches!(digits.first(), Some(1 | 2)))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_digits() {
        assert_ne!(verdict(validate, "2 55 08 14 168 025 38"), Verdict::Refused);
        assert_eq!(verdict(validate, "2 55 08 14 168 025 39"), Verdict::Refused);
    }
}
