//! Devices and vehicles. Sources: IEEE 802 (EUI-48); 3GPP TS 23.003 (IMEI, with a Luhn digit; IMSI, a country and a network);
//! ITU-T E.118 (ICCID, 89 and a Luhn digit) and E.212 (mobile country codes); ISO 3779 and 49 CFR 565 (VIN, weights mod 11, a check
//! digit where North America is the maker or the market); Apple and Google, advertising identifiers (UUIDs; all zeros when switched off).

use super::super::{
    Text, Verdict,
    checksums::{all_equal, luhn},
    labels,
};

/// Six pairs. A longer row of pairs is a fingerprint or a dump.
pub(super) fn mac(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let hex: Vec<u8> = secret.iter().filter(|byte| byte.is_ascii_hexdigit()).map(u8::to_ascii_lowercase).collect();
    let marks: Vec<u8> = secret.iter().filter(|byte| !byte.is_ascii_hexdigit()).copied().collect();
    let joins = |byte: &u8| matches!(byte, b':' | b'-' | b'.');
    let longer = matches!(text.before(), [.., digit, mark] if joins(mark) && digit.is_ascii_hexdigit())
        || text.before().last().is_some_and(u8::is_ascii_alphanumeric)
        || matches!(text.after(), [mark, digit, ..] if joins(mark) && digit.is_ascii_hexdigit())
        || text.after().first().is_some_and(u8::is_ascii_alphanumeric);
    // A sample counts up; no device is all zeros, and all ones are everybody.
    let dull = all_equal(&hex) || hex == b"001122334455" || hex == b"aabbccddeeff" || hex == b"123456789abc";
    // Six groups of digits alone, joined by dashes, are as often a date and a time.
    let date = marks.first() == Some(&b'-') && hex.iter().all(u8::is_ascii_digit) && !named_mac(text.before());
    Verdict::plausible_if(hex.len() == 12 && all_equal(&marks) && !longer && !dull && !date)
}

fn named_mac(before: &[u8]) -> bool {
    labels::named(before, &["mac", "ether", "hwaddr", "bssid", "lladdr"])
}

/// Fifteen digits, the last by Luhn; a sixteenth or seventeenth digit is the version of the software.
pub(super) fn imei(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let holds = match digits.len() {
        15 => luhn(&digits),
        16 | 17 => !luhn(&digits) || digits.first().is_some_and(|first| *first < 3),
        _ => false,
    };
    // Type allocation codes begin with a body that reports: 01, 10, 30 to 35, 44 to 54, 86, 91, 97 to 99.
    let body = digits.get(..2).map_or(0, |pair| pair.iter().fold(0, |sum, digit| sum * 10 + digit));
    let reports = matches!(body, 1 | 10 | 30 | 33 | 35 | 44 | 45 | 49..=54 | 86 | 91 | 97..=99);
    Verdict::plausible_if(holds && reports && !all_equal(&digits))
}

/// Fourteen or fifteen digits that begin with a country of E.212.
pub(super) fn imsi(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let country =
        digits.get(..3).map_or(0, |three| three.iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(*digit)));
    let assigned = matches!(country, 202..=297 | 302..=376 | 400..=470 | 502..=555 | 602..=659 | 702..=750 | 901);
    Verdict::plausible_if(matches!(digits.len(), 14 | 15) && assigned)
}

/// Eighteen to twenty digits from 89 on; the last by Luhn where there are nineteen or twenty.
pub(super) fn iccid(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let known = digits.starts_with(&[8, 9]);
    let holds = match digits.len() {
        19 | 20 => luhn(&digits),
        _ => false,
    };
    Verdict::plausible_if(known && holds)
}

/// Seventeen characters. Where no check digit holds, the field must be called so.
pub(super) fn vin(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let letters = secret.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    let distinct = secret
        .iter()
        .enumerate()
        .filter(|(index, byte)| !secret.get(..*index).unwrap_or_default().contains(byte))
        .count();
    if secret.len() != 17 || letters < 3 || distinct < 6 {
        return Verdict::Refused;
    }
    if vin_check(secret) {
        return Verdict::Proven;
    }
    let called = labels::named(
        text.before(),
        &["vin", "chassis", "fahrgestellnummer", "fin", "fin-nr", "telaio", "bastidor", "vehicle"],
    );
    // European makers fill the check digit's place with a Z; any other is meant as one, and a wrong one is a wrong number.
    let filled = secret.get(8) == Some(&b'Z');
    Verdict::plausible_if(called && filled)
}

fn vin_check(secret: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let sum = secret.iter().zip(WEIGHTS).try_fold(0, |sum, (byte, weight)| {
        let value = match byte {
            b'0'..=b'9' => u32::from(byte - b'0'),
            b'A'..=b'H' => u32::from(byte - b'A') + 1,
            b'J'..=b'N' => u32::from(byte - b'J') + 1,
            b'P' => 7,
            b'R' => 9,
            b'S'..=b'Z' => u32::from(byte - b'S') + 2,
            _ => return None,
        };
        Some(sum + value * weight)
    });
    let expected = sum.map(|sum| sum % 11);
    let check = secret.get(8).map(|byte| if *byte == b'X' { 10 } else { u32::from(byte.wrapping_sub(b'0')) });
    expected.is_some() && expected == check
}

/// A UUID that is not switched off.
pub(super) fn advertising(text: &Text<'_>) -> Verdict {
    let hex: Vec<u8> = text.secret().iter().filter(|byte| byte.is_ascii_hexdigit()).copied().collect();
    Verdict::plausible_if(hex.len() == 32 && !all_equal(&hex))
}

#[cfg(test)]
mod tests {
    use super::{super::super::check, *};

    #[test]
    fn numbers_of_devices() {
        check(
            mac,
            &["3c:22:fb:0a:91:7e", "3C-22-FB-0A-91-7E", "3c22.fb0a.917e"],
            &["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "3c:22-fb:0a:91:7e", "3c:22:fb:0a:91", "20-26-11-23-01-13"],
        );
        for (haystack, span) in
            [("43:51:3c:22:fb:0a:91:7e", 6..23), ("3c:22:fb:0a:91:7e:01", 0..17), ("x3c:22:fb:0a:91:7e", 1..18)]
        {
            assert_eq!(mac(&Text { haystack: haystack.as_bytes(), span }), Verdict::Refused, "{haystack}");
        }
        check(
            imei,
            &["490154203237518", "35-209900-176148-1"],
            &["490154203237517", "000000000000000", "700154203237510", "49015"],
        );
        check(imsi, &["262011234567890", "310150123456789"], &["111011234567890", "26201", ""]);
        check(iccid, &["8944501012345678908"], &["8944501012345678905", "7944501012345678904", "89445"]);
        check(
            advertising,
            &["38400000-8CF0-11BD-B23E-10B96E40000D"],
            &["00000000-0000-0000-0000-000000000000", "38400000"],
        );
    }

    #[test]
    fn vehicles() {
        check(
            vin,
            &["1HGCM82633A004352", "1M8GDM9AXKP042788"],
            &["1HGCM82643A004352", "WVWZZZ1JZXW000001", "11111111111111111", "1HG"],
        );
        let haystack = b"VIN: WVWZZZ1JZXW000001";
        assert_eq!(vin(&Text { haystack, span: 5..22 }), Verdict::Plausible);
        let haystack = b"VIN: 1HGCM82643A004352";
        assert_eq!(vin(&Text { haystack, span: 5..22 }), Verdict::Refused);
    }
}
