//! Norway, fødselsnummer and D-number (day plus 40): birthday, serial, two digits mod 11. Sources: Skatteetaten,
//! "Fødselsnummer"; Wikipedia, "Fødselsnummer".

use super::{
    super::{Text, Verdict},
    number::{Number, is_short_date},
};

/// See the module.
pub(super) fn birth_number(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[11]).is_some_and(|number| {
        let day = match number.part(0..2) {
            day @ 41..=71 => day - 40,
            day => day,
        };
        is_short_date(number.part(4..6), number.part(2..4), day)
            && number.sum(&[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]).is_multiple_of(11)
            && number.sum(&[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(birth_number, &["15108695088", "12106341379", "29017005977"], &["15355228806", "05027736374"]);
    }
}
