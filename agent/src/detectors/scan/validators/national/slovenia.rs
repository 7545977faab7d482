//! Slovenia, EMŠO (and the JMBG of the other successors of Yugoslavia): birthday with three digits of the year, region, serial,
//! check digit mod 11. Source: Wikipedia, "Unique Master Citizen Number". Tax number: eight digits mod 11. Source: FURS; OECD,
//! "TIN Slovenia".

use super::{
    super::{Text, Verdict},
    number::{Number, is_date},
};

/// EMŠO and JMBG.
pub(super) fn emso(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[13]).is_some_and(|number| {
        let year = match number.part(4..7) {
            year @ 800.. => 1000 + year,
            year @ ..200 => 2000 + year,
            _ => return false,
        };
        let check = (11 - number.sum(&[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11 % 10;
        is_date(year, number.part(2..4), number.part(0..2)) && check == number.at(12)
    }))
}

/// Davčna številka.
pub(super) fn tax_number(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[8]).is_some_and(|number| {
        // Where the rest is 0 no number is issued.
        let check = 11 - number.sum(&[8, 7, 6, 5, 4, 3, 2]) % 11;
        number.at(0) != 0 && check != 11 && check % 10 == number.at(7)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(emso, &["1905988509589", "1011962509474"], &["0106957104984", "2012996529864"]);
        check(tax_number, &["98603264", "38296250"], &["15413565", "30327189"]);
    }
}
