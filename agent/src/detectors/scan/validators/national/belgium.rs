//! Belgium, national register number: birthday, serial, 97 minus the rest mod 97; a 2 goes before for those born since 2000.
//! The numbers of foreigners (BIS) add 20 or 40 to the month. Sources: Royal decree of 3 April 1984; Rijksregister, IT000;
//! Wikipedia, "Rijksregisternummer".

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module. Month and day are 0 where they are unknown.
pub(super) fn register_number(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[11]).is_some_and(|number| {
        let rest = number.part(0..9);
        matches!(number.part(2..4), 0..=12 | 20..=32 | 40..=52)
            && number.part(4..6) <= 31
            && (97 - rest % 97 == number.part(9..11)
                // Nobody is born after 2049 yet.
                || number.part(0..2) < 50 && 97 - (2_000_000_000 + rest) % 97 == number.part(9..11))
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(
            register_number,
            &["85.07.30-033.28", "97101903151", "48112296938"],
            &["85.17.30-033.28", "59117786241", "46420826884"],
        );
    }
}
