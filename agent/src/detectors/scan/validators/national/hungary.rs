//! Hungary. Personal tax number: 8, days since 1867, serial, mod 11. Social security number (TAJ): nine digits, weights 3 and 7,
//! mod 10. Source: 1996. évi XX. törvény, annexes. Tax number of companies: eight digits, weights 9 7 3 1, then kind and county.
//! Source: OECD, "TIN Hungary"; Wikipedia, "Adószám".

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// Adóazonosító jel.
pub(super) fn personal_tax_id(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(
        Number::of(text, &[10])
            .is_some_and(|number| number.at(0) == 8 && number.sum(&[1, 2, 3, 4, 5, 6, 7, 8, 9]) % 11 == number.at(9)),
    )
}

/// TAJ-szám.
pub(super) fn social_security(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(
        Number::of(text, &[9]).is_some_and(|number| number.sum(&[3, 7, 3, 7, 3, 7, 3, 7]) % 10 == number.at(8)),
    )
}

/// Adószám.
pub(super) fn company_tax_number(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[11]).is_some_and(|number| {
        number.sum(&[9, 7, 3, 1, 9, 7, 3, 1]).is_multiple_of(10)
            && matches!(number.at(8), 1..=5)
            && matches!(number.part(9..11), 2..=20 | 22..=44 | 51)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(company_tax_number, &["12892312-2-41", "53050047213", "12256624141"], &["84664643142", "94871310241"]);
        check(personal_tax_id, &["8700780758", "8766510694"], &["8469006876", "8428942980"]);
        check(social_security, &["065929944", "808089988"], &["761751697", "471868371"]);
    }
}
