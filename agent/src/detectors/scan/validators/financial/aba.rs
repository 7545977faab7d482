//! United States, ABA routing number: weights 3-7-1 mod 10, first two digits assigned. Source: ABA Key to Routing Numbers.

use super::super::{Text, Verdict, checksums::weighted};

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let [first, second, ..] = digits.as_slice() else { return Verdict::Refused };
    let district = first * 10 + second;
    let assigned = matches!(district, 1..=12 | 21..=32 | 61..=72 | 80);
    let sum = weighted(&digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]);
    Verdict::plausible_if(digits.len() == 9 && assigned && sum.is_multiple_of(10))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_digits() {
        assert_ne!(verdict(validate, "021000021"), Verdict::Refused);
        assert_eq!(verdict(validate, "021000022"), Verdict::Refused);
    }
}
