//! Japan, individual number ("My Number"): twelve digits, mod 11. Source: Ordinance of the Ministry of Internal Affairs 85 of
//! 2014, article 5.

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module.
pub(super) fn my_number(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[12]).is_some_and(|number| {
        let rest = number.sum(&[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
        number.at(11) == if rest <= 1 { 0 } else { 11 - rest }
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(my_number, &["005562360842", "884097328736"], &["343077492667", "733074283250", "7884097328736"]);
    }
}
