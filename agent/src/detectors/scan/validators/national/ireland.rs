//! Ireland, PPS number: seven digits, check letter mod 23, since 2013 a further letter that counts nine times. Sources: Revenue;
//! Wikipedia, "Personal Public Service Number".

use super::{
    super::{Text, Verdict},
    number::{Number, is_sign_at, signs, stands_alone},
};

/// See the module.
pub(super) fn pps(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(holds(text).unwrap_or_default() && stands_alone(text))
}

fn holds(text: &Text<'_>) -> Option<bool> {
    let signs = signs(text)?;
    let number = Number::leading(text, 7)?;
    // W before 2013 (married women), T and X of old cards do not count.
    let second = match signs.get(8) {
        Some(letter @ b'A'..=b'I') => u32::from(letter - b'A' + 1),
        None | Some(b'T' | b'W' | b'X') => 0,
        Some(_) => return None,
    };
    let sum = number.sum(&[8, 7, 6, 5, 4, 3, 2]) + 9 * second;
    Some(
        matches!(signs.len(), 8 | 9)
            && number.part(0..7) != 0
            && is_sign_at(b"WABCDEFGHIJKLMNOPQRSTUV", u64::from(sum % 23), signs.get(7).copied()),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(pps, &["4687428FB", "3941526KB"], &["5599707OB", "5223878C"]);
    }
}
