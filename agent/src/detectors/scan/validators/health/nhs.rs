//! United Kingdom, NHS number: weights 10 to 2, mod 11. Source: NHS Data Dictionary, "NHS NUMBER".

use super::super::{
    Text, Verdict,
    checksums::{all_equal, weighted},
};

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let check = 11 - weighted(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    let last = digits.get(9).map(|digit| u32::from(*digit));
    // A check digit of 10 is never issued; 11 is written 0.
    Verdict::plausible_if(digits.len() == 10 && !all_equal(&digits) && check != 10 && last == Some(check % 11))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_digits() {
        assert_ne!(verdict(validate, "943 476 5919"), Verdict::Refused);
        assert_eq!(verdict(validate, "943 476 5918"), Verdict::Refused);
    }
}
