//! Hong Kong, identity card: one or two letters, six digits, check character mod 11, `A` for ten; a missing first letter counts
//! 36. Source: Immigration Department; Wikipedia, "Hong Kong identity card".

use super::{
    super::{Text, Verdict},
    number::{signs, value},
};

/// See the module.
pub(super) fn identity_card(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(holds(text).unwrap_or_default())
}

fn holds(text: &Text<'_>) -> Option<bool> {
    let signs = signs(text)?;
    let mut values: Vec<u32> = signs.iter().filter_map(|sign| value(*sign)).collect();
    if values.len() == 8 {
        values.insert(0, 36);
    }
    let digits = signs.iter().filter(|sign| sign.is_ascii_digit());
    let serial = digits.clone().nth(1)?;
    let all_equal = digits.take(6).all(|digit| digit == serial);
    let sum: u32 = values.iter().zip([9, 8, 7, 6, 5, 4, 3, 2, 1]).map(|(value, weight)| value * weight).sum();
    Some(values.len() == 9 && *values.last()? <= 10 && !all_equal && sum.is_multiple_of(11))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(identity_card, &["A123456(3)", "P0204475", "M6149311"], &["A123456(4)", "U6598672", "J0333532"]);
    }
}
