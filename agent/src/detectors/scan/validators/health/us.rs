//! United States: numbers of providers and of patients. Sources: CMS, "Requirements for National Provider Identifier (NPI) and NPI
//! check digit" (Luhn with the prefix 80840); DEA, registration number check (first, third and fifth digit, plus twice the others);
//! CMS, "Understanding the Medicare Beneficiary Identifier (MBI) format".

use super::super::{
    Text, Verdict,
    checksums::{all_equal, luhn, weighted},
    labels,
};

/// What issuer the digits of an NPI belong to: health, United States.
const NPI_PREFIX: [u8; 5] = [8, 0, 8, 4, 0];
/// Kinds of registrants.
const DEA_KINDS: &[u8] = b"ABCDEFGHJKLMPRSTUX";

/// Ten digits, the first 1 or 2.
pub(super) fn npi(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let mut whole = NPI_PREFIX.to_vec();
    whole.extend_from_slice(&digits);
    let first = matches!(digits.first(), Some(1 | 2));
    let other = labels::named(text.before(), labels::OF_THINGS) && !labels::named(text.before(), &["npi", "provider"]);
    Verdict::plausible_if(digits.len() == 10 && first && !other && luhn(&whole))
}

/// A kind, a letter of the name or 9, seven digits.
pub(super) fn dea(text: &Text<'_>) -> Verdict {
    let secret = text.secret().to_ascii_uppercase();
    let digits = text.digits();
    let Some((head, tail)) = secret.split_at_checked(2) else { return Verdict::Refused };
    let known = head.first().is_some_and(|kind| DEA_KINDS.contains(kind))
        && head.last().is_some_and(|letter| letter.is_ascii_uppercase() || *letter == b'9');
    let Some((check, body)) = digits.last_chunk::<7>().and_then(|last| last.split_last()) else {
        return Verdict::Refused;
    };
    let sum = weighted(body, &[1, 2, 1, 2, 1, 2]);
    Verdict::plausible_if(
        known && tail.len() == 7 && tail.iter().all(u8::is_ascii_digit) && sum > 0 && sum % 10 == u32::from(*check),
    )
}

/// Eleven characters, each with its own alphabet; letters that look like digits (S, L, O, I, B, Z) are left out.
pub(super) fn mbi(text: &Text<'_>) -> Verdict {
    let compact: Vec<u8> =
        text.secret().iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    let letter = |byte: u8| byte.is_ascii_uppercase() && !b"SLOIBZ".contains(&byte);
    let fits = compact.iter().enumerate().all(|(index, byte)| match index {
        0 => (b'1'..=b'9').contains(byte),
        1 | 4 | 7 | 8 => letter(*byte),
        2 | 5 => byte.is_ascii_digit() || letter(*byte),
        _ => byte.is_ascii_digit(),
    });
    Verdict::plausible_if(compact.len() == 11 && fits)
}

/// A record number that is not filler, and no date, phone or size.
pub(super) fn record(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let called = labels::named(text.before(), &["mrn", "patient", "record", "chart", "hospital"]);
    let other = labels::named(text.before(), labels::OF_THINGS)
        || labels::named(text.before(), &["phone", "tel", "dob", "zip"]);
    let goes_on = matches!(text.after(), [b'-' | b'/' | b'.' | b':', byte, ..] if byte.is_ascii_alphanumeric())
        || matches!(text.before().last(), Some(b'-' | b'/' | b'.' | b':' | b'_' | b'+'));
    // A word in front of the digits that is the label itself is no part of the number.
    Verdict::plausible_if(digits.len() >= 4 && !all_equal(&digits) && !goes_on && (called || !other))
}

/// A code of ICD-10. A letter and two digits alone are much else, so the label must stand right before them.
pub(super) fn icd10(text: &Text<'_>) -> Verdict {
    const LABELS: [&str; 12] =
        ["icd", "icd10", "10", "cm", "gm", "diagnosis", "diagnose", "diagnosed", "with", "code", "is", "dx"];
    let dotted = text.secret().contains(&b'.');
    Verdict::plausible_if(dotted || labels::follows(text.before(), &LABELS))
}

#[cfg(test)]
mod tests {
    use super::{super::super::check_as, *};

    #[test]
    fn providers_and_patients() {
        check_as(
            npi,
            Verdict::Plausible,
            &["1234567893", "1245319599"],
            &["1234567890", "3234567893", "123456789", ""],
        );
        check_as(
            dea,
            Verdict::Plausible,
            &["AB1234563", "F91234563", "bb1388568"],
            &["AB1234564", "QB1234563", "AB0000000", "A", "AB123456"],
        );
        check_as(
            mbi,
            Verdict::Plausible,
            &["1EG4-TE5-MK73", "1EG4TE5MK73"],
            &["1SG4-TE5-MK73", "0EG4TE5MK73", "1EG4TE5MK7", "1EGATE5MK73", ""],
        );
        check_as(icd10, Verdict::Plausible, &["E11.9"], &["I10"]);
        assert_eq!(icd10(&Text { haystack: b"diagnosis: I10", span: 11..14 }), Verdict::Plausible);
        assert_eq!(icd10(&Text { haystack: b"diagnosis: disk A12", span: 16..19 }), Verdict::Refused);
        check_as(record, Verdict::Plausible, &["MRN-0012345"], &["0000", "12"]);
    }
}
