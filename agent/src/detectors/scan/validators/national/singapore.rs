//! Singapore. NRIC and FIN: letter, seven digits, check letter mod 11. Source: Wikipedia, "National Registration Identity
//! Card" (series M: ICA, 2022). Unique entity number: three forms, check letter mod 11. Source: uen.gov.sg; OECD, "TIN
//! Singapore"; python-stdnum's description of `sg.uen`.

use super::{
    super::{Text, Verdict},
    number::{Number, is_sign_at, signs, stands_alone},
};

/// NRIC and FIN.
pub(super) fn nric(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(nric_holds(text).unwrap_or_default())
}

fn nric_holds(text: &Text<'_>) -> Option<bool> {
    let signs = signs(text)?;
    let number = Number::from_signs(signs.get(1..8)?)?;
    let sum = number.sum(&[2, 7, 6, 5, 4, 3, 2]);
    let (offset, table) = match signs.first()? {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"XWUTRQPNJLK"),
        _ => return None,
    };
    let rest = u64::from((sum + offset) % 11);
    Some(signs.len() == 9 && is_sign_at(table, rest, signs.get(8).copied()))
}

/// Unique entity number.
pub(super) fn uen(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(uen_holds(text).unwrap_or_default() && stands_alone(text))
}

fn uen_holds(text: &Text<'_>) -> Option<bool> {
    const SIGNS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWX0123456789";
    let signs = signs(text)?;
    let (check, rest) = signs.split_last()?;
    let (sum, table): (u64, &[u8]) = if let Some(number) = Number::from_signs(rest) {
        match rest.len() {
            8 => (u64::from(number.sum(&[10, 4, 9, 3, 8, 2, 7, 1])), b"XMKECAWLJDB"),
            9 if matches!(number.part(0..4), 1850..=2149) => {
                (u64::from(number.sum(&[10, 8, 6, 4, 9, 7, 5, 3, 1])), b"ZKCMDNERGWH")
            }
            _ => return None,
        }
    } else if rest.len() == 9 {
        let weights = [4, 3, 5, 3, 10, 2, 2, 5, 7];
        let sum = rest.iter().zip(weights).try_fold(0_usize, |sum, (sign, weight)| {
            Some(sum + SIGNS.iter().position(|known| known == sign)? * weight)
        })?;
        // Minus five, mod eleven.
        (u64::try_from(sum + 6).ok()?, SIGNS)
    } else {
        return None;
    };
    Some(is_sign_at(table, sum % 11, Some(*check)))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(nric, &["S1234567D", "M5072737P", "M2136730X"], &["A1234567D", "G3586297M", "G4571150Q"]);
        check(
            uen,
            &["197401143C", "S16FC0121D", "S12SS1694E", "T17SS8349H"],
            &["197401143D", "T20SS3612E", "204735990E"],
        );
    }
}
