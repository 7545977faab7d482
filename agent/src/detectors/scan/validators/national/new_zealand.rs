//! New Zealand, IRD number: eight or nine digits from 10,000,000 to 150,000,000, two rows of weights mod 11. Source: Inland
//! Revenue, "RWT and NRWT specification", IRD number validation.

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module.
pub(super) fn ird(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(holds(text).unwrap_or_default())
}

fn holds(text: &Text<'_>) -> Option<bool> {
    let number = Number::of(text, &[8, 9])?;
    let whole = number.part(0..number.count());
    let padded = if number.count() == 8 { Number::from_digits([&[0], number.digits()].concat()) } else { number };
    let check = |weights: &[u32]| (11 - padded.sum(weights) % 11) % 11;
    let first = check(&[3, 2, 7, 6, 5, 4, 3, 2]);
    let digit = if first == 10 { check(&[7, 4, 3, 2, 5, 2, 7, 6]) } else { first };
    Some((10_000_000..150_000_000).contains(&whole) && digit == padded.at(8))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(ird, &["041366648", "103125375"], &["061489554", "143354265"]);
    }
}
