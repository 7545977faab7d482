//! Germany, health insurance number (KVNR): a letter and nine digits. The letter is its place in the alphabet as two digits; weights
//! 1 and 2 in turn, sums of digits, mod 10. Source: GKV-Spitzenverband, "Krankenversichertennummer", annex 1.

use super::super::{Text, Verdict};

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let Some((letter, rest)) = secret.split_first() else { return Verdict::Refused };
    let place = match letter.to_ascii_uppercase() {
        upper @ b'A'..=b'Z' => upper - b'A' + 1,
        _ => return Verdict::Refused,
    };
    let mut digits = vec![place / 10, place % 10];
    digits.extend(rest.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0'));
    let Some((check, body)) = digits.split_last() else { return Verdict::Refused };
    let sum: u32 = body
        .iter()
        .enumerate()
        .map(|(index, digit)| {
            let product = u32::from(*digit) << (index & 1);
            product / 10 + product % 10
        })
        .sum();
    Verdict::plausible_if(rest.len() == 9 && digits.len() == 11 && sum % 10 == u32::from(*check))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_digits() {
        assert_eq!(verdict(validate, "A123456780"), Verdict::Plausible);
        for bad in ["A123456781", "1123456780", "A12345678", ""] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
