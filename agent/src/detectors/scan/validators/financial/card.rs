//! Payment cards: issuer range, length and the Luhn digit. Sources: ISO/IEC 7812-1 (structure, Annex B the Luhn formula);
//! ranges: Wikipedia, "Payment card number", section "Issuer identification number", read 2026-11.

use super::super::{
    Text, Verdict,
    checksums::{all_equal, luhn},
    labels,
};

/// First digits from, to (inclusive, as many digits as written) and allowed lengths.
const ISSUERS: &[(u32, u32, u32, &[usize])] = &[
    (1, 4, 4, &[13, 16, 19]),                           // Visa
    (2, 51, 55, &[16]),                                 // Mastercard
    (4, 2221, 2720, &[16]),                             // Mastercard
    (2, 34, 34, &[15]),                                 // American Express
    (2, 37, 37, &[15]),                                 // American Express
    (4, 6011, 6011, &[16, 17, 18, 19]),                 // Discover
    (3, 644, 649, &[16, 17, 18, 19]),                   // Discover
    (2, 65, 65, &[16, 17, 18, 19]),                     // Discover, RuPay
    (3, 300, 305, &[14, 16, 17, 18, 19]),               // Diners Club
    (4, 3095, 3095, &[14, 16, 17, 18, 19]),             // Diners Club
    (2, 36, 36, &[14, 15, 16, 17, 18, 19]),             // Diners Club
    (2, 38, 39, &[14, 16, 17, 18, 19]),                 // Diners Club
    (2, 35, 35, &[16, 17, 18, 19]),                     // JCB: 3528 to 3589, and what generators take for it
    (4, 2131, 2131, &[15]),                             // JCB, before 1989
    (4, 1800, 1800, &[15]),                             // JCB, before 1989
    (4, 3088, 3088, &[16]),                             // JCB, ranges lent before 1989
    (4, 3096, 3096, &[16]),                             // JCB
    (4, 3112, 3112, &[16]),                             // JCB
    (4, 3158, 3158, &[16]),                             // JCB
    (4, 3337, 3337, &[16]),                             // JCB
    (4, 2200, 2204, &[16, 17, 18, 19]),                 // Mir
    (2, 60, 60, &[16]),                                 // RuPay
    (3, 508, 508, &[16]),                               // RuPay
    (2, 62, 62, &[16, 17, 18, 19]),                     // UnionPay
    (2, 81, 82, &[16, 17, 18, 19]),                     // UnionPay, RuPay
    (2, 50, 50, &[12, 13, 14, 15, 16, 17, 18, 19]),     // Maestro
    (2, 56, 58, &[12, 13, 14, 15, 16, 17, 18, 19]),     // Maestro
    (4, 604, 604, &[12]),                               // Maestro, as generators write it: 0604
    (4, 6304, 6304, &[12, 13, 14, 15, 16, 17, 18, 19]), // Maestro
    (4, 6390, 6390, &[12, 13, 14, 15, 16, 17, 18, 19]), // Maestro
    (2, 67, 67, &[12, 13, 14, 15, 16, 17, 18, 19]),     // Maestro
];
/// Fewer digits than these, or more, pass for something else too often: such a card must be called one.
const SURE_DIGITS: std::ops::RangeInclusive<usize> = 14..=16;
/// Labels of numbers that are no cards, whatever their digits sum up to.
const OTHERS: &[&str] = &[
    "order",
    "invoice",
    "tracking",
    "trace",
    "traceid",
    "span",
    "spanid",
    "request",
    "requestid",
    "timestamp",
    "ts",
    "epoch",
    "nonce",
    "barcode",
    "ean",
    "upc",
    "gtin",
    "isbn",
    "sku",
    "shipment",
    "parcel",
    "awb",
    "ticket",
    "build",
    "offset",
    "seq",
    "sequence",
    "event",
    "orderid",
    "correlation",
    "imei",
    "iccid",
    "serial",
    "bytes",
    "size",
    "ns",
    "micros",
    "nanos",
    "version",
    "commit",
];

fn issued(digits: &[u8]) -> bool {
    ISSUERS.iter().any(|(prefix_digits, from, to, lengths)| {
        let prefix = digits.iter().take(*prefix_digits as usize).fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit));
        (*from..=*to).contains(&prefix) && lengths.contains(&digits.len())
    })
}

/// Issuer, length and Luhn hold, and it is not one digit over and over.
pub(super) fn is_card(digits: &[u8]) -> bool {
    issued(digits) && luhn(digits) && !all_equal(digits)
}

/// A card number: 12 to 19 digits, in one piece or in the usual groups.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let (before, after) = (text.before(), text.after());
    // Part of a longer number, a decimal fraction or a dashed identifier.
    let continues = matches!(before, [.., digit, b'.' | b'-'] if digit.is_ascii_alphanumeric())
        || matches!(after, [b'-' | b'.', digit, ..] if digit.is_ascii_alphanumeric());
    // `LLM|4539…|` begins a key of Meta's Llama API.
    if continues || before.ends_with(b"LLM|") || !is_card(&digits) || !alike(text.secret()) {
        return Verdict::Refused;
    }
    let grouped = digits.len() < text.secret().len();
    let called = || {
        labels::named(
            before,
            &[
                "card",
                "cc",
                "pan",
                "visa",
                "maestro",
                "cardnumber",
                "credit",
                "debit",
                "karte",
                "carte",
                "tarjeta",
                "ccn",
            ],
        )
    };
    if !grouped && (labels::named(before, OTHERS) || (!SURE_DIGITS.contains(&digits.len()) && !called())) {
        return Verdict::Refused;
    }
    // Test numbers that processors publish are reported too: they are what people paste to see whether this works.
    Verdict::Plausible
}

/// One kind of separator, not two: `4111-1111 1111 1111` is two numbers.
fn alike(secret: &[u8]) -> bool {
    let mut marks = secret.iter().filter(|byte| !byte.is_ascii_digit());
    let first = marks.next();
    marks.all(|mark| Some(mark) == first)
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
        for good in [
            "4111 1111 1111 1111",
            "5555-5555-5555-4444",
            "378282246310005",
            "6011111111111117",
            "3530111333300000",
            "4111.1111.1111.1111",
            "2200123456789019",
            "180065008155082",
        ] {
            assert_ne!(verdict(validate, good), Verdict::Refused, "{good}");
        }
        for bad in [
            "4111 1111 1111 1112", // Luhn
            "1234567812345670",    // no issuer
            "411111111111111",     // Visa with 15
            "1795392000000",       // milliseconds
            "0000000000000000",
            "4444444444444444", // Luhn
            "630427373398",     // twelve digits and nobody says card
            "4111-1111 1111 1111",
        ] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
        for (haystack, start, expected) in [
            ("1.4111111111111111", 2, Verdict::Refused),
            ("order_id=4111111111111111", 9, Verdict::Refused),
            ("order, card 4111111111111111", 12, Verdict::Plausible),
            ("order 4111 1111 1111 1111", 6, Verdict::Plausible),
            ("card number 630427373398", 12, Verdict::Plausible),
        ] {
            let text = Text { haystack: haystack.as_bytes(), span: start..haystack.len() };
            assert_eq!(validate(&text), expected, "{haystack}");
        }
    }
}
