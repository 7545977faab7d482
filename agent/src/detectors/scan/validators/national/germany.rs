//! Germany. Tax number: eleven digits, not 0 in front, mod 11,10; of the first ten one comes twice or three times, no other
//! twice. Source: § 139b AO; BZSt, "Steuerliche Identifikationsnummer".
//! Pension insurance number: area, birthday, letter, serial, check digit. Source: § 4 VKVV. Identity card and passport: ICAO
//! Doc 9303 part 3, weights 7 3 1, without the letters that can be misread; old cards have ten digits and a `D`. Source: PAuswV.

use super::{
    super::{Text, Verdict},
    iso7064::mod_11_10,
    mrz::is_checked,
    number::{Number, is_short_date, signs, stands_alone},
};

/// Steuerliche Identifikationsnummer.
pub(super) fn tax_id(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(
        Number::of(text, &[11]).is_some_and(|number| {
            number.at(0) != 0 && digits_repeat_once(number.digits()) && mod_11_10(number.digits())
        }),
    )
}

/// One digit of the first ten comes two or three times, all others at most once.
fn digits_repeat_once(digits: &[u8]) -> bool {
    let mut times = [0_u8; 10];
    for digit in digits.iter().take(10) {
        if let Some(times) = times.get_mut(usize::from(*digit)) {
            *times += 1;
        }
    }
    let repeated: Vec<u8> = times.into_iter().filter(|times| *times > 1).collect();
    matches!(repeated.as_slice(), [2 | 3])
}

/// Rentenversicherungsnummer.
pub(super) fn pension(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(pension_holds(text).unwrap_or_default())
}

fn pension_holds(text: &Text<'_>) -> Option<bool> {
    let signs = signs(text)?;
    let letter = signs.get(8).filter(|letter| letter.is_ascii_uppercase())? - b'A' + 1;
    let mut spelled = signs.clone();
    spelled.splice(8..9, [b'0' + letter / 10, b'0' + letter % 10]);
    let number = Number::from_signs(&spelled)?;
    let weights = [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1];
    let sum: u32 = number
        .digits()
        .iter()
        .zip(weights)
        .map(|(digit, weight)| u32::from(*digit) * weight)
        .map(|p| p / 10 + p % 10)
        .sum();
    let day = match number.part(2..4) {
        day @ 51..=81 => day - 50,
        day => day,
    };
    Some(
        signs.len() == 12
            && number.part(0..2) != 0
            && is_short_date(number.part(6..8), number.part(4..6), day)
            && sum % 10 == number.at(12)
            && stands_alone(text),
    )
}

/// Serial number of an identity card or a passport: nine signs, the last or a tenth the check digit; or nine digits, the check
/// digit, `D`.
pub(super) fn document(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(document_holds(text).unwrap_or_default() && stands_alone(text))
}

fn document_holds(text: &Text<'_>) -> Option<bool> {
    let mut signs = signs(text)?;
    if signs.len() == 11 && signs.last() == Some(&b'D') {
        signs.pop();
        return Some(signs.iter().all(u8::is_ascii_digit) && is_checked(&signs));
    }
    let issued = signs.iter().all(|sign| sign.is_ascii_digit() || b"CFGHJKLMNPRTVWXYZ".contains(sign));
    let letters = signs.iter().any(u8::is_ascii_uppercase);
    let first = signs.first()?.is_ascii_uppercase();
    Some(matches!(signs.len(), 9 | 10) && issued && letters && first && is_checked(&signs))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(document, &["1220001297D", "RYM6H0996"], &["XVY6L3329", "XK3PMPF56"]);
        check(
            pension,
            &["65170839J003", "15230974L394", "65220103U159"],
            &["65320839J003", "15111055Q835", "15071261A137"],
        );
        check(
            tax_id,
            &["86 095 742 719", "18382879544", "42407863147"],
            &["01234567890", "11111111111", "38006945102", "38799104267", "742407863147"],
        );
    }
}
