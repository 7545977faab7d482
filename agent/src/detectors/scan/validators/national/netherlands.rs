//! Netherlands. BSN: eight or nine digits, the "eleven test" with minus one for the last. Source: Logisch Ontwerp BSN;
//! Wikipedia, "Burgerservicenummer". Numbers of passports and identity cards have no letter O, and no check. Source: RvIG.

use super::{
    super::{Text, Verdict},
    number::{Number, signs},
};

/// BSN; of eight digits where the leading 0 is left out.
pub(super) fn bsn(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[8, 9]).is_some_and(|number| {
        let weights: &[u32] =
            if number.count() == 9 { &[9, 8, 7, 6, 5, 4, 3, 2, 10] } else { &[8, 7, 6, 5, 4, 3, 2, 10] };
        number.sum(weights).is_multiple_of(11)
    }))
}

/// Number of a passport or an identity card: two letters, six signs, a digit.
pub(super) fn document(text: &Text<'_>) -> Verdict {
    let holds = |signs: Vec<u8>| signs.len() == 9 && !signs.contains(&b'O') && signs.iter().any(u8::is_ascii_digit);
    Verdict::plausible_if(signs(text).is_some_and(holds))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(bsn, &["935353410", "149487903"], &["931976730", "840083990"]);
        check(document, &["FZ41N7411", "PD5S85NX3"], &["XO1234567"]);
    }
}
