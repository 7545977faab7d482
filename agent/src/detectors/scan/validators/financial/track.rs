//! Magnetic stripes: the sentinels, a card number, the month of expiry. Source: ISO/IEC 7813.

use super::{
    super::{Text, Verdict},
    card,
};

/// The secret begins with the number; `^NAME^` or `=` parts it from the year and the month.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let number: Vec<u8> = secret.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect();
    let parted = secret.iter().rposition(|byte| matches!(byte, b'^' | b'=' | b'D'));
    let month = match parted.and_then(|at| secret.get(at + 1..)) {
        Some([_, _, tens, ones, ..]) if tens.is_ascii_digit() && ones.is_ascii_digit() => {
            (tens - b'0') * 10 + (ones - b'0')
        }
        _ => return Verdict::Refused,
    };
    Verdict::proven_if(card::is_card(&number) && (1..=12).contains(&month))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn number_and_month() {
        for good in ["4111111111111111^FAKE/OUTFLOW^29121010000", "5425233430109903=29121011234"] {
            assert_eq!(verdict(validate, good), Verdict::Proven, "{good}");
        }
        for bad in ["4111111111111112^FAKE/OUTFLOW^2912101", "5425233430109903=2913101", "4111111111111111", ""] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
