//! South Korea. Resident and foreigner registration numbers: birthday, sex and century, check digit mod 11, which those issued
//! since October 2020 no longer have. Source: Resident Registration Act, enforcement rules; Wikipedia, "Resident registration
//! number". Business registration number: ten digits, weights 1 3 7, mod 10. Source: National Tax Service; Wikipedia.

use super::{
    super::{Text, Verdict},
    number::{Number, is_date},
};

/// Resident registration number, sex digits 1 to 4 and 9, 0.
pub(super) fn resident(text: &Text<'_>) -> Verdict {
    registration(text, |sex| !matches!(sex, 5..=8), 11)
}

/// Foreigner registration number, sex digits 5 to 8.
pub(super) fn foreigner(text: &Text<'_>) -> Verdict {
    registration(text, |sex| matches!(sex, 5..=8), 13)
}

fn registration(text: &Text<'_>, sex: impl Fn(u32) -> bool, base: u32) -> Verdict {
    let Some(number) = Number::of(text, &[13]) else { return Verdict::Refused };
    let century = match number.at(6) {
        1 | 2 | 5 | 6 => 1900,
        3 | 4 | 7 | 8 => 2000,
        _ => 1800,
    };
    let year = century + number.part(0..2);
    if !sex(number.at(6)) || !is_date(year, number.part(2..4), number.part(4..6)) {
        return Verdict::Refused;
    }
    let rest = number.sum(&[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]) % 11;
    if (base - rest) % 10 == number.at(12) { Verdict::Proven } else { Verdict::Plausible }
}

/// Business registration number.
pub(super) fn business(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[10]).is_some_and(|number| {
        let sum = number.sum(&[1, 3, 7, 1, 3, 7, 1, 3, 5]) + number.at(8) * 5 / 10;
        (10 - sum % 10) % 10 == number.at(9) && number.part(0..3) > 100 && number.part(3..5) != 0
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(business, &["7301665070", "9626692669"], &["9220142701", "7660620830"]);
        check(foreigner, &["5411026386323", "4705095107510"], &["900101-1234567"]);
        check(resident, &["7305301390317", "5310011677463"], &["901332-1234567", "900101-5234567"]);
    }
}
