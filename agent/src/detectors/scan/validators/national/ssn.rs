//! US social security and taxpayer numbers. Sources: SSA, "Social Security Number Randomization" (area never 000, 666 or 900 to
//! 999; group never 00; serial never 0000) and "Misused SSNs" (the numbers printed in wallets and advertisements); IRS
//! Publication 1915 (ITIN: 9xx, fourth and fifth digit 50-65, 70-88, 90-92, 94-99).

use super::super::{Text, Verdict};

/// Published over and over, nobody's: the Woolworth wallet, the SSA pamphlet, and the one every form shows.
const SAMPLES: [&[u8; 9]; 3] = [b"078051120", b"219099999", b"123456789"];

struct Parts {
    area: u32,
    group: u32,
    serial: u32,
}

fn parts(text: &Text<'_>) -> Option<Parts> {
    let digits = text.digits();
    let number = |range: std::ops::Range<usize>| {
        Some(digits.get(range)?.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit)))
    };
    // A dash, dot or blank with a digit beyond means a longer identifier or a row of figures.
    let longer = matches!(text.before(), [.., digit, b'-' | b'.' | b' '] if digit.is_ascii_digit())
        || matches!(text.after(), [b'-' | b'.' | b' ', digit, ..] if digit.is_ascii_digit());
    if digits.len() != 9 || longer {
        return None;
    }
    Some(Parts { area: number(0..3)?, group: number(3..5)?, serial: number(5..9)? })
}

/// A social security number.
pub(super) fn ssn(text: &Text<'_>) -> Verdict {
    let digits: Vec<u8> = text.secret().iter().copied().filter(u8::is_ascii_digit).collect();
    if SAMPLES.iter().any(|sample| sample.as_slice() == digits) {
        return Verdict::Refused;
    }
    // 987-65-4320 to 4329 are reserved for advertisements and lie in area 9xx anyway.
    Verdict::plausible_if(
        parts(text)
            .is_some_and(|Parts { area, group, serial }| !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0),
    )
}

/// An individual taxpayer identification number.
pub(super) fn itin(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(
        parts(text).is_some_and(|Parts { area, group, .. }| {
            area >= 900 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99)
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn areas_groups_serials() {
        for good in ["536-90-4399", "001-01-0001", "899 99 9999"] {
            assert_eq!(verdict(ssn, good), Verdict::Plausible, "{good}");
        }
        for bad in
            ["000-12-3456", "666-12-3456", "900-12-3456", "536-00-4399", "536-90-0000", "078-05-1120", "123-45-6789"]
        {
            assert_eq!(verdict(ssn, bad), Verdict::Refused, "{bad}");
        }
        assert_eq!(verdict(itin, "912-70-1234"), Verdict::Plausible);
        assert_eq!(verdict(itin, "912-93-1234"), Verdict::Refused);
        assert_eq!(verdict(itin, "812-70-1234"), Verdict::Refused);
    }
}
