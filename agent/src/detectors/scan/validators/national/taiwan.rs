//! Taiwan, national identity and resident numbers: a letter that counts as two digits, sex (8 and 9 residents), check digit mod
//! 10. Source: Ministry of the Interior; Wikipedia, "National identification card (Taiwan)".

use super::{
    super::{Text, Verdict},
    number::{Number, signs},
};

/// The letters by their number, from ten.
const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVXYWZIO";

/// See the module.
pub(super) fn identity(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(holds(text).unwrap_or_default())
}

fn holds(text: &Text<'_>) -> Option<bool> {
    let signs = signs(text)?;
    let (letter, digits) = signs.split_first()?;
    let place = u32::try_from(LETTERS.iter().position(|known| known == letter)?).ok()? + 10;
    let number = Number::from_signs(digits)?;
    let sum = place / 10 + place % 10 * 9 + number.sum(&[8, 7, 6, 5, 4, 3, 2, 1, 1]);
    Some(number.count() == 9 && matches!(number.at(0), 1 | 2 | 8 | 9) && sum.is_multiple_of(10))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(identity, &["A123456789", "D292057420", "O140401923"], &["A523456789", "Y207708345", "E101240421"]);
    }
}
