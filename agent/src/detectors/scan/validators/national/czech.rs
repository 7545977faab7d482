//! Czechia and Slovakia, rodné číslo: birthday (month plus 50 for women, plus 20 where numbers ran out), serial, divisible by
//! 11; nine digits and no check before 1954. Sources: zákon 133/2000 Sb.; Wikipedia, "Rodné číslo".

use super::{
    super::{Text, Verdict},
    number::{Number, is_date},
};

/// See the module.
pub(super) fn birth_number(text: &Text<'_>) -> Verdict {
    let Some(number) = Number::of(text, &[9, 10]) else { return Verdict::Refused };
    let short = number.count() == 9;
    let year = number.part(0..2);
    let century = if short || year >= 54 { 1900 } else { 2000 };
    let month = match number.part(2..4) {
        month @ 1..=12 => month,
        month @ 51..=62 => month - 50,
        month @ 21..=32 if !short => month - 20,
        month @ 71..=82 if !short => month - 70,
        _ => return Verdict::Refused,
    };
    if !is_date(century + year, month, number.part(4..6)) {
        return Verdict::Refused;
    }
    if short {
        return Verdict::plausible_if(year < 54 && number.part(6..9) != 0);
    }
    // Until 1985 a rest of ten was written as 0.
    Verdict::proven_if(number.part(0..9) % 11 % 10 == number.part(9..10))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(birth_number, &["9308187713", "7804180142"], &["9307091202", "7811140903"]);
    }
}
