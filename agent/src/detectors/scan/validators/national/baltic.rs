//! Estonia and Lithuania (one scheme) and Latvia: sex and century, birthday, serial, check digit mod 11. Sources: Estonian
//! standard EVS 585:2007; Lithuanian law I-1524 on the register of residents; Wikipedia, "National identification number"
//! (Estonia, Lithuania, Latvia); Latvia's numbers since 2017 begin with 32 and carry no birthday.

use super::{
    super::{Text, Verdict},
    number::{Number, is_date},
};

/// Estonia's isikukood, Lithuania's asmens kodas.
pub(super) fn personal_code(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[11]).is_some_and(|number| {
        let century = match number.at(0) {
            1 | 2 => 1800,
            3 | 4 => 1900,
            5 | 6 => 2000,
            7 | 8 => 2100,
            _ => return false,
        };
        let first = number.sum(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
        let check = if first == 10 { number.sum(&[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10 } else { first };
        is_date(century + number.part(1..3), number.part(3..5), number.part(5..7)) && check == number.at(10)
    }))
}

/// Latvia's personas kods.
pub(super) fn latvia(text: &Text<'_>) -> Verdict {
    let Some(number) = Number::of(text, &[11]) else { return Verdict::Refused };
    let check = (1 + number.sum(&[10, 5, 8, 4, 2, 1, 6, 3, 7, 9])) % 11 % 10 == number.at(10);
    if matches!(number.part(0..2), 32..=39) {
        // Nobody outside knows whether these keep the check digit.
        return if check { Verdict::Proven } else { Verdict::Plausible };
    }
    let year = 1800 + 100 * u64::from(number.at(6)) + number.part(4..6);
    Verdict::proven_if(check && number.at(6) < 3 && is_date(year, number.part(2..4), number.part(0..2)))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(personal_code, &["48001289175", "39912042519"], &["48801069639", "46312084392"]);
        check(latvia, &["329876-54321", "21055215459", "27106618141"], &["06018911027", "01056314340"]);
    }
}
