//! Payment cards: issuer range, length and the Luhn digit. Sources: ISO/IEC 7812-1 (structure, Annex B the Luhn formula);
//! ranges: Wikipedia, "Payment card number", section "Issuer identification number", read 2026-11.

use super::super::{Text, Verdict, checksums::luhn};

/// First digits from, to (inclusive, as many digits as written) and allowed lengths.
const ISSUERS: &[(u32, u32, u32, &[usize])] = &[
    (1, 4, 4, &[13, 16, 19]),                           // Visa
    (2, 51, 55, &[16]),                                 // Mastercard
    (4, 2221, 2720, &[16]),                             // Mastercard
    (2, 34, 34, &[15]),                                 // American Express
    (2, 37, 37, &[15]),                                 // American Express
    (4, 6011, 6011, &[16, 17, 18, 19]),                 // Discover
    (3, 644, 649, &[16, 17, 18, 19]),                   // Discover
    (2, 65, 65, &[16, 17, 18, 19]),                     // Discover
    (3, 300, 305, &[14, 16, 17, 18, 19]),               // Diners Club
    (2, 36, 36, &[14, 15, 16, 17, 18, 19]),             // Diners Club
    (2, 38, 39, &[14, 16, 17, 18, 19]),                 // Diners Club
    (4, 3528, 3589, &[16, 17, 18, 19]),                 // JCB
    (2, 62, 62, &[16, 17, 18, 19]),                     // UnionPay
    (4, 5018, 5018, &[12, 13, 14, 15, 16, 17, 18, 19]), // Maestro
    (4, 5020, 5020, &[12, 13, 14, 15, 16, 17, 18, 19]), // Maestro
    (4, 5038, 5038, &[12, 13, 14, 15, 16, 17, 18, 19]), // Maestro
    (4, 6304, 6304, &[12, 13, 14, 15, 16, 17, 18, 19]), // Maestro
    (4, 6759, 6763, &[12, 13, 14, 15, 16, 17, 18, 19]), // Maestro
];

fn issued(digits: &[u8]) -> bool {
    ISSUERS.iter().any(|(prefix_digits, from, to, lengths)| {
        let prefix = digits.iter().take(*prefix_digits as usize).fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit));
        (*from..=*to).contains(&prefix) && lengths.contains(&digits.len())
    })
}

/// A card number: 12 to 19 digits, in one piece or in the usual groups.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let (before, after) = (text.before(), text.after());
    // Part of a longer number, a decimal fraction or a dashed identifier.
    let continues = matches!(before, [.., digit, b'.' | b'-'] if digit.is_ascii_alphanumeric())
        || matches!(after, [b'-' | b'.', digit, ..] if digit.is_ascii_alphanumeric());
    if continues || !issued(&digits) || !luhn(&digits) {
        return Verdict::Refused;
    }
    // Test numbers that processors publish are reported too: they are what people paste to see whether this works.
    Verdict::Plausible
}

/// Digits that only need to pass Luhn.
pub(super) fn luhn_only(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    Verdict::plausible_if(luhn(&digits) && digits.iter().any(|digit| Some(digit) != digits.first()))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn issuer_length_and_luhn() {
        for good in
            ["4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "6011111111111117", "3530111333300000"]
        {
            assert_ne!(verdict(validate, good), Verdict::Refused, "{good}");
        }
        for bad in [
            "4111 1111 1111 1112", // Luhn
            "1234567812345670",    // no issuer
            "411111111111111",     // Visa with 15
            "1795392000000",       // milliseconds
            "0000000000000000",
            "4444444444444444", // Luhn
        ] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
        let text = Text { haystack: b"1.4111111111111111", span: 2..18 };
        assert_eq!(validate(&text), Verdict::Refused);
    }
}
