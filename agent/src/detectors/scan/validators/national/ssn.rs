//! US social security and taxpayer numbers. Sources: SSA, "Social Security Number Randomization" (area never 000, 666 or 900 to
//! 999; group never 00; serial never 0000) and "Misused SSNs" (the numbers printed in wallets and advertisements); IRS
//! Publication 1915 (ITIN: 9xx, fourth and fifth digit 50-65, 70-88, 90-92, 94-99).

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// Published over and over, nobody's: the Woolworth wallet, the SSA pamphlet, the one every form shows, LifeLock's.
const SAMPLES: [u64; 4] = [78_051_120, 219_099_999, 123_456_789, 457_555_462];

struct Parts {
    area: u64,
    group: u64,
    serial: u64,
}

fn parts(text: &Text<'_>) -> Option<Parts> {
    let number = Number::of(text, &[9]).filter(|number| !SAMPLES.contains(&number.part(0..9)))?;
    // `536-90 4399` is two numbers.
    let secret = text.secret();
    if secret.len() == 11 && secret.get(3) != secret.get(6) {
        return None;
    }
    Some(Parts { area: number.part(0..3), group: number.part(3..5), serial: number.part(5..9) })
}

/// A social security number.
pub(super) fn ssn(text: &Text<'_>) -> Verdict {
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
        for bad in [
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "536-00-4399",
            "536-90-0000",
            "078-05-1120",
            "123-45-6789",
            "536-90 4399",
        ] {
            assert_eq!(verdict(ssn, bad), Verdict::Refused, "{bad}");
        }
        assert_eq!(verdict(itin, "912-70-1234"), Verdict::Plausible);
        assert_eq!(verdict(itin, "912-93-1234"), Verdict::Refused);
        assert_eq!(verdict(itin, "812-70-1234"), Verdict::Refused);
    }
}
