//! Australia, tax file number and Medicare card. Sources: Wikipedia, "Tax file number" (weights, sum a multiple of 11);
//! Services Australia and Wikipedia, "Medicare card" (first digit 2 to 6, weights 1 3 7 9, check digit ninth, then the issue,
//! then perhaps the person's number on the card).

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// Tax file number: nine digits, or eight of the old ones.
pub(super) fn tfn(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[8, 9]).is_some_and(|number| {
        let weights: &[u32] =
            if number.count() == 9 { &[1, 4, 3, 7, 5, 8, 6, 9, 10] } else { &[10, 7, 8, 4, 6, 3, 5, 1] };
        number.sum(weights).is_multiple_of(11)
    }))
}

/// Medicare card number.
pub(super) fn medicare(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[10, 11]).is_some_and(|number| {
        matches!(number.at(0), 2..=6)
            && number.at(9) != 0
            && number.sum(&[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == number.at(8)
            && (number.count() == 10 || number.at(10) != 0)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(medicare, &["2123 45670 1", "2490165831", "2924988171"], &["4644924231", "2229499721"]);
        check(tfn, &["471336198", "352732460"], &["041681536", "528360029"]);
    }
}
