//! Poland. PESEL: birthday with the century in the month, serial, weights 1 3 7 9, mod 10. Source: ustawa o ewidencji ludności;
//! gov.pl, "PESEL". NIP: ten digits mod 11. Source: Wikipedia, "NIP (Poland)".

use super::{
    super::{Text, Verdict},
    number::{Number, is_date},
};

/// PESEL.
pub(super) fn pesel(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[11]).is_some_and(|number| {
        let (century, month) = match number.part(2..4) {
            month @ 1..=12 => (1900, month),
            month @ 21..=32 => (2000, month - 20),
            month @ 41..=52 => (2100, month - 40),
            month @ 81..=92 => (1800, month - 80),
            _ => return false,
        };
        is_date(century + number.part(0..2), month, number.part(4..6))
            && number.sum(&[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
    }))
}

/// NIP; the first three digits, the tax office, hold no 0 but the last may.
pub(super) fn nip(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[10]).is_some_and(|number| {
        number.at(0) != 0 && number.at(1) != 0 && number.sum(&[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == number.at(9)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(nip, &["8117140784", "5455560226"], &["5696305341", "8222587857"]);
        check(pesel, &["68032425222", "67081639338"], &["72080714012", "97021384011"]);
    }
}
