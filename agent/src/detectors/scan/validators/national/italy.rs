//! Italy. Codice fiscale: sixteen signs, digits perhaps replaced by letters where two persons would have the same, check letter
//! from a table for odd and even places. Source: D.M. 23 December 1976, art. 7 ff. Partita IVA: eleven digits, Luhn, the office
//! in digits eight to ten. Source: D.P.R. 633/1972; OECD, "TIN Italy".

use super::{
    super::{Text, Verdict},
    number::{Number, is_short_date, signs, value},
};

/// Values at odd places of the digits 0 to 9 and the letters A to J.
const ODD: [u32; 26] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
/// The letters of the months.
const MONTHS: &[u8] = b"ABCDEHLMPRST";
/// The letters that stand for 0 to 9 where two persons would have the same number.
const REPLACED: &[u8] = b"LMNPQRSTUV";

/// Codice fiscale.
pub(super) fn fiscal_code(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(holds(text).unwrap_or_default())
}

fn holds(text: &Text<'_>) -> Option<bool> {
    let signs = signs(text)?;
    let (check, rest) = signs.split_last()?;
    let digit = |index: usize| {
        let sign = signs.get(index)?;
        let replaced = REPLACED.iter().position(|letter| letter == sign).and_then(|at| u64::try_from(at).ok());
        replaced.or_else(|| sign.is_ascii_digit().then(|| u64::from(sign - b'0')))
    };
    let month = MONTHS.iter().position(|letter| Some(letter) == signs.get(8))? + 1;
    let day = digit(9)? * 10 + digit(10)?;
    let born =
        is_short_date(digit(6)? * 10 + digit(7)?, u64::try_from(month).ok()?, if day > 40 { day - 40 } else { day });
    let sum: u32 = rest
        .iter()
        .zip([true, false].iter().cycle())
        .filter_map(|(sign, odd)| {
            let value = value(*sign)?;
            // Letters and digits share the values: A counts as 0 does.
            let value = if value > 9 { value - 10 } else { value };
            if *odd { ODD.get(usize::try_from(value).ok()?).copied() } else { Some(value) }
        })
        .sum();
    Some(signs.len() == 16 && born && u32::from(check.checked_sub(b'A')?) == sum % 26)
}

/// Partita IVA.
pub(super) fn vat(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[11]).is_some_and(|number| {
        let office = number.part(7..10);
        number.luhn() && number.part(0..7) != 0 && matches!(office, 1..=100 | 120 | 121 | 888 | 999)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(
            fiscal_code,
            &["RSSMRA85T10A562S", "MFNGFN04P63L219E", "DCMGBP56E65L219D"],
            &["RSSMRA85T10A562T", "RSSMRA85T40A562S", "DNPTMC91L07F205U", "FRPRTT91S01L215Z"],
        );
        check(vat, &["04347160568", "27104240612"], &["00000000000", "35124380388", "50124110940"]);
    }
}
