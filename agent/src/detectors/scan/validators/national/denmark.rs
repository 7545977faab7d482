//! Denmark, CPR number: birthday and serial, whose first digit tells the century. The mod 11 check has not held for all since
//! 2007, so it only makes surer. Sources: CPR-kontoret, "Personnummeret i CPR"; Wikipedia, "CPR-nummer".

use super::{
    super::{Text, Verdict},
    number::{Number, is_date},
};

/// See the module.
pub(super) fn cpr(text: &Text<'_>) -> Verdict {
    let Some(number) = Number::of(text, &[10]) else { return Verdict::Refused };
    let year = number.part(4..6);
    let century = match (number.at(6), year) {
        (0..=3, _) | (4 | 9, 37..) => 1900,
        (4 | 9, _) | (5..=8, ..58) => 2000,
        _ => 1800,
    };
    if !is_date(century + year, number.part(2..4), number.part(0..2)) {
        return Verdict::Refused;
    }
    if number.sum(&[4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11) { Verdict::Proven } else { Verdict::Plausible }
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(cpr, &["0406540308", "0703501788"], &["310299-1234", "011399-1234"]);
    }
}
