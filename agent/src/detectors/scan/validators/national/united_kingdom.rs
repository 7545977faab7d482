//! United Kingdom. National Insurance number: letters that are not issued. Source: HMRC, NIM39110. Unique taxpayer reference:
//! the first digit checks the others mod 11. Source: OECD, "TIN United Kingdom". Driving licence: name, birthday with 50 added
//! to the month for women, initials, three signs. Source: DVLA, "INF45"; Wikipedia, "Driving licence in the United Kingdom".

use super::{
    super::{Text, Verdict},
    number::{Number, is_short_date, is_sign_at, signs},
};

/// National Insurance number.
pub(super) fn nino(text: &Text<'_>) -> Verdict {
    const NOT_FIRST: &[u8] = b"DFIQUV";
    const NOT_SECOND: &[u8] = b"DFIOQUV";
    const NOT_TOGETHER: [&[u8; 2]; 7] = [b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"];
    let signs = signs(text).unwrap_or_default();
    let [first, second, digits @ .., _] = signs.as_slice() else { return Verdict::Refused };
    let refused = NOT_FIRST.contains(first)
        || NOT_SECOND.contains(second)
        || NOT_TOGETHER.iter().any(|pair| pair.as_slice() == [*first, *second])
        || digits.windows(2).all(|pair| matches!(pair, [a, b] if a == b));
    Verdict::plausible_if(!refused)
}

/// Unique taxpayer reference.
pub(super) fn utr(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[10]).is_some_and(|number| {
        let rest = u64::from(number.sum(&[0, 6, 7, 8, 9, 10, 5, 4, 3, 2]) % 11);
        is_sign_at(b"21987654321", rest, number.digits().first().map(|digit| digit + b'0'))
    }))
}

/// Driver number of Great Britain: five signs of the name, filled up with nines, decade, month, day, year, two initials, three
/// more.
pub(super) fn driver(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(driver_holds(text).unwrap_or_default())
}

fn driver_holds(text: &Text<'_>) -> Option<bool> {
    let signs = signs(text)?;
    let name = signs.get(..5)?;
    let letters = name.iter().take_while(|sign| sign.is_ascii_uppercase()).count();
    let filled = letters > 0 && name.get(letters..)?.iter().all(|sign| *sign == b'9');
    let born = Number::from_signs(signs.get(5..11)?)?;
    let month = match born.part(1..3) {
        month @ 51..=62 => month - 50,
        month => month,
    };
    let year = u64::from(born.at(0) * 10 + born.at(5));
    let initials = signs.get(11..13)?;
    let named = match initials {
        b"99" => true,
        [first, second] => first.is_ascii_uppercase() && (second.is_ascii_uppercase() || *second == b'9'),
        _ => false,
    };
    Some(signs.len() >= 16 && filled && named && is_short_date(year, month, born.part(3..5)))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(nino, &["AB123456C", "GH638940D", "TB467784D"], &["GB123456C", "AB000000C", "DA123456C"]);
        check(
            driver,
            &["MORGA657054SM9IJ", "OUTFL412068ML9RQ", "TESTA951271WC9NQ"],
            &["MORGA657354SM9IJ", "MORGA613054SM9IJ", "MO9GA657054SM9IJ"],
        );
        check(utr, &["1955839661", "3276105326", "1338928021"], &["2856513460", "2574935570"]);
    }
}
