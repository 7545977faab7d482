//! Austria, social insurance number: serial, check digit mod 11, birthday. Sources: § 31 ASVG; Wikipedia,
//! "Sozialversicherungsnummer (Österreich)".

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module. A day that is used up goes on in months 13 to 15.
pub(super) fn svnr(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[10]).is_some_and(|number| {
        number.at(0) != 0
            && matches!(number.part(4..6), 1..=31)
            && matches!(number.part(6..8), 1..=15)
            && number.sum(&[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11 == number.at(3)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(svnr, &["1237 010180", "7849280795", "8404261297"], &["7431250596", "7128210947"]);
    }
}
