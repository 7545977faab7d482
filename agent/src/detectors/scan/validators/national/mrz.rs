//! Machine-readable lines of travel documents, and the check digit that they share with other papers: weights 7 3 1, digits as
//! themselves, letters 10 to 35, the filler `<` 0. Source: ICAO Doc 9303, parts 3 to 6 (TD1, TD2, TD3) and 7 (visas).

use super::{
    super::{Text, Verdict},
    number::value,
};

/// A check digit, or none where a paper fills the place up.
fn check(signs: impl Iterator<Item = u8>) -> Option<u32> {
    signs.zip([7, 3, 1].iter().cycle()).try_fold(0, |sum, (sign, weight)| {
        let value = if sign == b'<' { 0 } else { value(sign)? };
        Some((sum + value * weight) % 10)
    })
}

/// The last sign checks the others.
pub(super) fn is_checked(signs: &[u8]) -> bool {
    let Some((last, rest)) = signs.split_last() else { return false };
    let expected = check(rest.iter().copied());
    // A field of fillers alone may have a filler for its check digit.
    let filled = *last == b'<' && rest.iter().all(|sign| *sign == b'<');
    filled || expected.is_some() && expected == char::from(*last).to_digit(10)
}

/// The line with the numbers: the second of a passport, of a card of two or three lines, or of a visa.
pub(super) fn numbers(text: &Text<'_>) -> Verdict {
    let line = text.secret();
    let fields = |extents: &[std::ops::Range<usize>]| {
        extents.iter().all(|extent| line.get(extent.clone()).is_some_and(is_checked))
    };
    // A line of its own: a neighbour makes it something else, but for the `n` of an escaped end of line.
    let sign = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'<';
    let alone = !text.before().last().is_some_and(sign) && !text.after().first().is_some_and(sign);
    let holds = match line.len() {
        // Number, birth and expiry; visas and cards of two lines have no further check that all carry.
        44 | 36 => fields(&[0..10, 13..20, 21..28]),
        // Birth and expiry.
        30 => fields(&[0..7, 8..15]),
        _ => false,
    };
    Verdict::proven_if(alone && holds)
}

/// The line with the name: the first of a passport, a visa or a card of two lines, as long as the format says.
pub(super) fn name(text: &Text<'_>) -> Verdict {
    let line = text.secret();
    let sign = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'<';
    let alone = !text.before().last().is_some_and(sign) && !text.after().first().is_some_and(sign);
    let parted = line.windows(2).filter(|pair| *pair == b"<<").count() > 0;
    Verdict::proven_if(
        alone && parted && matches!(line.len(), 44 | 36) && !line.ends_with(b"<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<"),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(
            name,
            &["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<"],
            &["P<UTOERIKSSON<ANNA<MARIA<<<<<<<<<<<<<<<<<<<<X", "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<"],
        );
        check(
            numbers,
            &["L898902C36UTO7408122F1204159ZE184226B<<<<<10", "7408122F1204159UTO<<<<<<<<<<<6"],
            &["L898902C37UTO7408122F1204159ZE184226B<<<<<10", "7408132F1204159UTO<<<<<<<<<<<6"],
        );
    }
}
