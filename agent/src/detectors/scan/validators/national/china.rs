//! China, resident identity number: region, birthday, serial, check character ISO 7064 mod 11-2. Sources: GB 11643-1999;
//! GB/T 2260 (provinces); Wikipedia, "Resident Identity Card".

use super::{
    super::{Text, Verdict},
    iso7064::mod_11_2,
    number::{Number, is_date, signs, stands_alone},
};

/// See the module.
pub(super) fn resident(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(holds(text).unwrap_or_default())
}

fn holds(text: &Text<'_>) -> Option<bool> {
    let signs = signs(text)?;
    let number = Number::leading(text, 17)?;
    let province =
        matches!(number.part(0..2), 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91);
    let year = number.part(6..10);
    let born = (1850..2150).contains(&year) && is_date(year, number.part(10..12), number.part(12..14));
    Some(signs.len() == 18 && province && born && mod_11_2(&signs) && stands_alone(text))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(
            resident,
            &["11010519491231002X", "11010119610105947X", "110101198004125526"],
            &["110105194912310020", "99010519491231002X", "110101197626110861", "11000119920409321X"],
        );
    }
}
