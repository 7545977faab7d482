//! India, GSTIN: state, PAN, registration, `Z`, and a check character in base 36. Source: GST portal, "GST registration number
//! format"; the check as in Wikipedia, "Goods and Services Tax (India)", read 2026-11.

use super::super::{Text, Verdict};

/// States and territories; 97 is other territory, 99 the centre's own.
const LAST_STATE: u8 = 38;

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let values: Option<Vec<u32>> = text.secret().iter().map(|byte| char::from(*byte).to_digit(36)).collect();
    let Some((check, body)) = values.as_deref().and_then(<[u32]>::split_last) else { return Verdict::Refused };
    let sum: u32 = body
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let product = value * if index & 1 == 0 { 1 } else { 2 };
            product / 36 + product % 36
        })
        .sum();
    let state = match text.secret() {
        [tens, ones, ..] if tens.is_ascii_digit() && ones.is_ascii_digit() => (tens - b'0') * 10 + (ones - b'0'),
        _ => return Verdict::Refused,
    };
    let known = (1..=LAST_STATE).contains(&state) || state == 97 || state == 99;
    Verdict::proven_if(body.len() == 14 && known && (36 - sum % 36) % 36 == *check)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_characters() {
        assert_eq!(verdict(validate, "27AAPFU0939F1ZV"), Verdict::Proven);
        for bad in ["27AAPFU0939F1ZW", "57AAPFU0939F1ZV", "27AAPFU0939F1Z", "27"] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
