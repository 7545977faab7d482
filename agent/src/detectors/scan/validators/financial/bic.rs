//! BIC (SWIFT code): four letters of the bank, the country, two characters of the place, perhaps three of the branch. Source:
//! ISO 9362:2022.

use super::super::{Text, Verdict, countries};

/// Nothing but the country can be checked.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret().to_ascii_uppercase();
    let bank = secret.get(..6).is_some_and(|bank| bank.iter().all(u8::is_ascii_uppercase));
    let country = secret.get(4..6).is_some_and(|country| countries::is_country(country) || country == b"XK");
    // A word of eight letters, such as a currency's or a key's name, is written in one case only when all around is.
    Verdict::plausible_if(bank && country && matches!(secret.len(), 8 | 11))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn the_country_must_exist() {
        for good in ["DEUTDEFF", "NEDSZAJJXXX", "chasus33"] {
            assert_eq!(verdict(validate, good), Verdict::Plausible, "{good}");
        }
        for bad in ["DEUTQQFF", "DEUTDEFFX", "D3UTDEFF", "DEUT"] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
