//! IBAN: length by country, then mod 97 = 1. Source: ISO 13616 and the SWIFT IBAN registry, release 99; lengths as in Wikipedia,
//! "International Bank Account Number", read 2026-11.

use super::super::{Text, Verdict, checksums::mod_97};

/// Country and length in characters.
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// An IBAN in one piece or in groups of four, in capitals or not. The pattern cannot know the country's length and may have
/// run on into the next word, so the secret ends where the country says.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let Some(country) = secret.get(..2).map(<[u8]>::to_ascii_uppercase) else { return Verdict::Refused };
    let Some(length) = LENGTHS.iter().find(|(known, _)| known.as_slice() == country).map(|(_, length)| *length) else {
        return Verdict::Refused;
    };
    let mut compact = Vec::with_capacity(length);
    let mut end = 0;
    for (index, byte) in secret.iter().enumerate() {
        if matches!(byte, b' ' | b'-' | b'.') {
            continue;
        }
        if compact.len() == length {
            break;
        }
        compact.push(*byte);
        end = index + 1;
    }
    let cut_in_a_word = secret.get(end).is_some_and(u8::is_ascii_alphanumeric);
    let (Some(head), Some(tail)) = (compact.get(..4), compact.get(4..)) else { return Verdict::Refused };
    if compact.len() != length || cut_in_a_word || mod_97(tail.iter().chain(head)) != Some(1) {
        return Verdict::Refused;
    }
    Verdict::ProvenUpTo(text.span.start + end)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn length_and_checksum() {
        for (iban, expected) in [
            ("GB82 WEST 1234 5698 7654 32", Verdict::ProvenUpTo(27)),
            ("DE89370400440532013000", Verdict::ProvenUpTo(22)),
            ("de89 3704 0044 0532 0130 00", Verdict::ProvenUpTo(27)),
            ("DE89-3704-0044-0532-0130-00", Verdict::ProvenUpTo(27)),
            ("BE68 5390 0754 7034 PAID", Verdict::ProvenUpTo(19)),
            ("BE68539007547034PAID", Verdict::Refused),
            ("GB82 WEST 1234 5698 7654 33", Verdict::Refused),
            ("GB82 WEST 1234 5698 7654", Verdict::Refused),
            ("ZZ82 WEST 1234 5698 7654 32", Verdict::Refused),
        ] {
            assert_eq!(verdict(validate, iban), expected, "{iban}");
        }
    }
}
