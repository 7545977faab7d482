//! Spain. DNI and NIE: the letter is the number mod 23; X, Y and Z in front count 0, 1 and 2. Source: Real Decreto 1553/2005;
//! Ministerio del Interior, "Cálculo del dígito de control del NIF/NIE". Social security (NUSS): province, number, the whole mod
//! 97. Source: Wikipedia, "Número de la Seguridad Social".

use super::{
    super::{Text, Verdict},
    number::{Number, is_sign_at, signs, stands_alone},
};

const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

/// DNI: eight digits and a letter.
pub(super) fn dni(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(letter_holds(text).unwrap_or_default() && stands_alone(text))
}

/// NIE: a letter, seven digits and a letter.
pub(super) fn nie(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(letter_holds(text).unwrap_or_default())
}

fn letter_holds(text: &Text<'_>) -> Option<bool> {
    let mut signs = signs(text)?;
    let letter = signs.pop()?;
    let first = signs.first_mut()?;
    *first = match *first {
        b'X' => b'0',
        b'Y' => b'1',
        b'Z' => b'2',
        other => other,
    };
    let number = Number::from_signs(&signs)?;
    let same = signs.windows(2).all(|pair| matches!(pair, [a, b] if a == b));
    Some(signs.len() == 8 && !same && is_sign_at(LETTERS, number.part(0..8) % 23, Some(letter)))
}

/// NUSS.
pub(super) fn social_security(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[12]).is_some_and(|number| {
        let (province, serial) = (number.part(0..2), number.part(2..10));
        // Numbers below ten million are counted without their leading 0.
        let whole = province * if serial < 10_000_000 { 10_000_000 } else { 100_000_000 } + serial;
        matches!(province, 1..=53 | 66) && whole % 97 == number.part(10..12)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(dni, &["12345678Z", "86624684Z", "08132497L"], &["12345678A", "00000000T", "03245409P", "61253228M"]);
        check(nie, &["X1234567L", "Z3244509L", "Z4301529M"], &["X1234567A", "X0213153B", "Z1641758F"]);
        check(social_security, &["289098346928", "418266929400"], &["087652190840", "080402008129", "7418266929400"]);
    }
}
