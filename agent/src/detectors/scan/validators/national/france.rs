//! France. NIR: 97 minus the number mod 97; sex 1 or 2 (3, 4, 7, 8 are temporary), month 1 to 12 (or 20 and more where it is
//! unknown), Corsica's departments 2A and 2B count as 19 and 18. Source: INSEE, "Numéro d'inscription au répertoire".
//! Tax number (SPI): thirteen digits, the first 0 to 3, the last three the others mod 511. Source: OECD, "TIN France".

use super::{
    super::{Text, Verdict},
    number::{Number, signs, stands_alone},
};

/// Social security number.
pub(super) fn nir(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(holds(text).unwrap_or_default())
}

fn holds(text: &Text<'_>) -> Option<bool> {
    let mut signs = signs(text)?;
    let corsica = match signs.get(5..7)? {
        b"2A" => Some(*b"19"),
        b"2B" => Some(*b"18"),
        _ => None,
    };
    if let Some(department) = corsica {
        signs.splice(5..7, department);
    }
    let number = Number::from_signs(&signs).filter(|number| number.count() == 15)?;
    let month = matches!(number.part(3..5), 1..=12 | 20..=42 | 50..=99);
    let commune = number.part(5..10) != 0;
    let check = 97 - number.part(0..13) % 97 == number.part(13..15);
    Some(matches!(number.at(0), 1..=4 | 7 | 8) && month && commune && check && stands_alone(text))
}

/// Tax number.
pub(super) fn spi(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(
        Number::of(text, &[13])
            .is_some_and(|number| number.at(0) <= 3 && number.part(0..10) % 511 == number.part(10..13)),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(spi, &["1941382409407", "3024031517458"], &["3187548505312", "2999681001442"]);
        check(
            nir,
            &["1 85 05 2A 123 456 33", "285051812345610", "181046965686620", "266081344503434"],
            &["1 55 13 14 168 025 38", "185052C12345678", "297041327043653", "246046942342262"],
        );
    }
}
