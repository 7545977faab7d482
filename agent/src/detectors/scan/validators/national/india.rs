//! India. Aadhaar: twelve digits, the first 2 to 9, Verhoeff. Source: UIDAI, "Aadhaar number" (UID numbering scheme, 2010).
//! Permanent account number: the fourth letter says what the holder is. Source: Income Tax Department, "PAN". Voter's card
//! (EPIC): the digits often end in a Luhn digit. Source: Election Commission; python-stdnum's description of `in_.epic`.

use super::{
    super::{Text, Verdict, checksums::verhoeff},
    number::{Number, signs},
};

/// Aadhaar.
pub(super) fn aadhaar(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[12]).is_some_and(|number| number.at(0) >= 2 && verhoeff(number.digits())))
}

/// PAN: five letters, four digits, a letter.
pub(super) fn pan(text: &Text<'_>) -> Verdict {
    let holds = |signs: Vec<u8>| {
        let holder = signs.get(3).is_some_and(|sign| b"ABCFGHJKLPT".contains(sign));
        signs.len() == 10 && holder && signs.get(5..9) != Some(b"0000")
    };
    Verdict::plausible_if(signs(text).is_some_and(holds))
}

/// Voter's card.
pub(super) fn voter(text: &Text<'_>) -> Verdict {
    match Number::of(text, &[7]) {
        Some(number) if number.luhn() => Verdict::Proven,
        Some(_) => Verdict::Plausible,
        None => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(
            aadhaar,
            &["2341 2341 2346", "355834002118", "479725670312"],
            &["1341 2341 2346", "2222 2222 2222", "583491903007", "444137175685"],
        );
        check(pan, &["IBOPS9184A", "XRTPI4716N"], &["ABCXE1234F", "ABCPE0000F"]);
        check(voter, &["HUQ5389499", "KJK6159586"], &["ABC1111111"]);
    }
}
