//! ISIN: a country, nine characters, and Luhn over the digits that letters turn into (A is 10). Source: ISO 6166, annex A.

use super::super::{Text, Verdict, checksums::luhn, countries};

/// `XS` and its like are issuers without a country: ISO 6166, section 5.
const OTHERS: [&[u8]; 5] = [b"EU", b"XS", b"XA", b"XC", b"XF"];

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let known = secret.get(..2).is_some_and(|country| countries::is_country(country) || OTHERS.contains(&country));
    let mut digits = Vec::with_capacity(2 * secret.len());
    for byte in secret {
        match char::from(*byte).to_digit(36).and_then(|value| u8::try_from(value).ok()) {
            Some(value) if value > 9 => digits.extend([value / 10, value % 10]),
            Some(value) => digits.push(value),
            None => return Verdict::Refused,
        }
    }
    let dull = secret.get(2..).is_none_or(|number| number.iter().filter(|byte| byte.is_ascii_digit()).count() < 3);
    Verdict::plausible_if(secret.len() == 12 && known && !dull && luhn(&digits))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_digits() {
        for good in ["US0378331005", "AU0000XVGZA3", "GB0002634946"] {
            assert_ne!(verdict(validate, good), Verdict::Refused, "{good}");
        }
        for bad in ["US0378331004", "AU0000XVGZA4", "QQ0378331005", "US037833100"] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
