//! Mexico. CURP: letters of the name, birthday, sex, state, consonants, a sign that parts those born before and since 2000,
//! check digit. Source: rules of the CURP, official journal (DOF) of 18 October 2021. RFC: letters of the name, day
//! of birth or founding, three signs of which the last is a check. Source: SAT; Wikipedia, "Registro Federal de Contribuyentes".

use super::{
    super::{Text, Verdict},
    number::{Number, is_short_date, signs},
};

/// States, and NE for those born abroad.
const STATES: [&[u8; 2]; 34] = [
    b"AS", b"BC", b"BS", b"CC", b"CH", b"CL", b"CM", b"CS", b"CX", b"DF", b"DG", b"GR", b"GT", b"HG", b"JC", b"MC",
    b"MN", b"MS", b"NE", b"NL", b"NT", b"OC", b"PL", b"QR", b"QT", b"SL", b"SP", b"SR", b"TC", b"TL", b"TS", b"VZ",
    b"YN", b"ZS",
];

/// The check alphabet; `#` stands for the letter Ñ in the CURP's and for a space in front of a company's number in the RFC's.
const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMN&OPQRSTUVWXYZ ";

/// Sum of the signs' places in the alphabet, from the weight `top` downwards.
fn sum(signs: &[u8], top: usize) -> Option<usize> {
    signs.iter().enumerate().try_fold(0, |sum, (index, sign)| {
        let place = ALPHABET.iter().position(|known| known == sign)?;
        Some(sum + place * top.checked_sub(index)?)
    })
}

/// CURP.
pub(super) fn curp(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(curp_holds(text).unwrap_or_default())
}

fn curp_holds(text: &Text<'_>) -> Option<bool> {
    let signs = signs(text)?;
    let born = Number::from_signs(signs.get(4..10)?)?;
    let state = STATES.iter().any(|state| Some(state.as_slice()) == signs.get(11..13));
    let check = (10 - sum(signs.get(..17)?, 18)? % 10) % 10;
    Some(
        signs.len() == 18
            && born.date_at(0, 2, 4)
            && matches!(signs.get(10)?, b'H' | b'M' | b'X')
            && state
            && usize::from(signs.get(17)?.checked_sub(b'0')?) == check,
    )
}

/// RFC. Many in use carry a wrong check, so it only makes surer.
pub(super) fn rfc(text: &Text<'_>) -> Verdict {
    match rfc_holds(text) {
        Some(true) => Verdict::Proven,
        Some(false) => Verdict::Plausible,
        None => Verdict::Refused,
    }
}

/// `None`: no such day. Else whether the check holds.
fn rfc_holds(text: &Text<'_>) -> Option<bool> {
    let signs: Vec<u8> =
        text.secret().iter().filter(|sign| !b" -".contains(sign)).map(u8::to_ascii_uppercase).collect();
    let letters = signs.len().checked_sub(9).filter(|letters| matches!(letters, 3 | 4))?;
    let born = Number::from_signs(signs.get(letters..letters + 6)?)?;
    if !is_short_date(born.part(0..2), born.part(2..4), born.part(4..6)) {
        return None;
    }
    let (check, rest) = signs.split_last()?;
    let mut padded = vec![b' '; 4 - letters];
    padded.extend_from_slice(rest);
    let expected = sum(&padded, 13).map(|sum| (11 - sum % 11) % 11);
    Some(expected.and_then(|place| ALPHABET.get(place)) == Some(check))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(
            curp,
            &["BOXW310820HNERXN09", "MABV880528MJCCCF01", "HALQ950714MJCGMB07"],
            &["BOXW310820ANERXN09", "BOXW310820HXXRXN09", "GADW930321HDFPPR05", "CADW890720MJCTFV04"],
        );
        check(
            rfc,
            &["GODE561231GR8", "FAK800130AB1", "GERP470502JJ8", "PEFR730116EG8"],
            &["GODE561331GR8", "GODE560231GR8"],
        );
    }
}
