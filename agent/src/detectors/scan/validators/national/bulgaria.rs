//! Bulgaria, EGN: birthday with the century in the month, serial, check digit mod 11. Sources: GRAO; Wikipedia, "Unique
//! citizenship number".

use super::{
    super::{Text, Verdict},
    number::{Number, is_date},
};

/// See the module.
pub(super) fn egn(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[10]).is_some_and(|number| {
        let (century, month) = match number.part(2..4) {
            month @ 1..=12 => (1900, month),
            month @ 21..=32 => (1800, month - 20),
            month @ 41..=52 => (2000, month - 40),
            _ => return false,
        };
        is_date(century + number.part(0..2), month, number.part(4..6))
            && number.sum(&[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10 == number.at(9)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(egn, &["9904038261", "8710310174"], &["7503142690", "5112015201"]);
    }
}
