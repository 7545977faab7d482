//! Greece. AMKA: birthday, serial, Luhn. Source: amka.gr. AFM: nine digits, powers of two mod 11. Source: OECD, "TIN Greece";
//! Wikipedia, "VAT identification number".

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// Social security number.
pub(super) fn amka(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[11]).is_some_and(|number| number.date_at(4, 2, 0) && number.luhn()))
}

/// Tax number.
pub(super) fn afm(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[9]).is_some_and(|number| {
        number.sum(&[256, 128, 64, 32, 16, 8, 4, 2]) % 11 % 10 == number.at(8) && number.part(0..8) != 0
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(afm, &["108833450", "674600650"], &["757511445", "462982898"]);
        check(amka, &["24048600498", "31014778455"], &["05835733673", "30079139807"]);
    }
}
