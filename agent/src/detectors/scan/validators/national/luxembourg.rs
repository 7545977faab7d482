//! Luxembourg, national identification number: birthday, serial, a Luhn digit and a Verhoeff digit, each over the first eleven.
//! Source: law of 19 June 2013 on the identification of natural persons; Wikipedia, "National identification number".

use super::{
    super::{
        Text, Verdict,
        checksums::{luhn, verhoeff},
    },
    number::{Number, is_date},
};

/// See the module.
pub(super) fn identity(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[13]).is_some_and(|number| {
        let digits = number.digits();
        let year = number.part(0..4);
        let second: Vec<u8> = digits.iter().enumerate().filter(|(at, _)| *at != 11).map(|(_, digit)| *digit).collect();
        (1850..2150).contains(&year)
            && is_date(year, number.part(4..6), number.part(6..8))
            && digits.get(..12).is_some_and(luhn)
            && verhoeff(&second)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(identity, &["1999040822292", "1949022819313"], &["1991031109709", "1989010417541"]);
    }
}
