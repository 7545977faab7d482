//! Switzerland, AHV number: 756, nine digits, the check digit of an EAN-13. Source: Zentrale Ausgleichsstelle, "AHV-Nummer";
//! Wikipedia, "AHV-Nummer".

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module.
pub(super) fn ahv(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[13]).is_some_and(|number| {
        number.part(0..3) == 756
            && number.part(3..13) != 0
            && number.sum(&[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(
            ahv,
            &["756.9217.0769.85", "7560274703623", "7560511020667"],
            &["757.9217.0769.85", "7568371476387", "7562416881741"],
        );
    }
}
