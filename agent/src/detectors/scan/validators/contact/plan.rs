//! The world's numbering plan: country codes, and how many digits come behind. Sources: ITU-T E.164 and its list of assigned
//! country codes (2026); lengths of national numbers: ITU Operational Bulletin, national numbering plans, and Wikipedia,
//! "Telephone numbers in …", read 2026-11. Where plans are open, the bounds are wide.

/// Digits of all, at the most.
const MAX_DIGITS: usize = 15;
/// For countries without an entry of their own.
const USUAL: (usize, usize) = (6, 12);
/// Code, fewest and most digits behind it.
const LENGTHS: &[(u16, usize, usize)] = &[
    (1, 10, 10),
    (7, 10, 10),
    (20, 8, 10),
    (27, 9, 9),
    (30, 10, 10),
    (31, 9, 9),
    (32, 8, 9),
    (33, 9, 9),
    (34, 9, 9),
    (36, 8, 9),
    (39, 6, 11),
    (40, 9, 9),
    (41, 9, 9),
    (43, 7, 13),
    (44, 9, 10),
    (45, 8, 8),
    (46, 7, 10),
    (47, 8, 8),
    (48, 9, 9),
    (49, 6, 12),
    (51, 8, 9),
    (52, 10, 11),
    (54, 10, 11),
    (55, 10, 11),
    (56, 8, 9),
    (57, 8, 10),
    (58, 10, 10),
    (60, 8, 10),
    (61, 9, 9),
    (62, 8, 12),
    (63, 8, 10),
    (64, 8, 10),
    (65, 8, 8),
    (66, 8, 9),
    (81, 9, 10),
    (82, 8, 10),
    (84, 9, 10),
    (86, 9, 11),
    (90, 10, 10),
    (91, 10, 10),
    (92, 9, 10),
    (93, 9, 9),
    (94, 9, 9),
    (98, 10, 10),
    (212, 9, 9),
    (234, 8, 10),
    (254, 9, 9),
    (351, 9, 9),
    (353, 7, 9),
    (354, 7, 9),
    (356, 8, 8),
    (357, 8, 8),
    (359, 7, 9),
    (370, 8, 8),
    (371, 8, 8),
    (372, 7, 8),
    (375, 9, 9),
    (380, 9, 9),
    (381, 8, 9),
    (385, 8, 9),
    (386, 8, 8),
    (420, 9, 9),
    (421, 9, 9),
    (852, 8, 8),
    (853, 8, 8),
    (880, 8, 10),
    (886, 8, 9),
    (961, 7, 8),
    (965, 8, 8),
    (966, 8, 9),
    (971, 8, 9),
    (972, 8, 9),
    (973, 8, 8),
    (974, 8, 8),
    (977, 8, 10),
    (998, 9, 9),
];

/// A country code of one, two or three digits that begins a number; a code that is not assigned is none.
fn code(digits: &[u8]) -> Option<(u16, usize)> {
    let number = |count: usize| digits.iter().take(count).fold(0_u16, |sum, digit| sum * 10 + u16::from(*digit));
    let (one, two, three) = (number(1), number(2), number(3));
    if matches!(one, 1 | 7) {
        return Some((one, 1));
    }
    if matches!(two, 20 | 27 | 30..=34 | 36 | 39..=41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98)
    {
        return Some((two, 2));
    }
    let assigned = matches!(
        three,
        211..=213
            | 216
            | 218
            | 220..=258
            | 260..=269
            | 290
            | 291
            | 297..=299
            | 350..=359
            | 370..=383
            | 385..=387
            | 389
            | 420
            | 421
            | 423
            | 500..=509
            | 590..=599
            | 670
            | 672..=683
            | 685..=692
            | 800
            | 808
            | 850
            | 852
            | 853
            | 855
            | 856
            | 870
            | 878
            | 880..=883
            | 886
            | 888
            | 960..=968
            | 970..=977
            | 979
            | 992..=996
            | 998
    );
    assigned.then_some((three, 3))
}

/// The digits are a country code and a number of that country's length.
pub(super) fn is_international(digits: &[u8]) -> bool {
    let Some((code, length)) = code(digits) else { return false };
    let (fewest, most) =
        LENGTHS.iter().find(|(known, ..)| *known == code).map_or(USUAL, |(_, fewest, most)| (*fewest, *most));
    // No area of North America begins with 0 or 1.
    let area = code != 1 || digits.get(1).is_some_and(|first| *first > 1);
    area && digits.len() <= MAX_DIGITS && (fewest..=most).contains(&digits.len().saturating_sub(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_lengths() {
        assert!(LENGTHS.is_sorted_by_key(|(code, ..)| *code));
        for (number, expected) in [
            ("14155552671", true),
            ("442079460958", true),
            ("4930901820", true),
            ("380442790000", true),
            ("9613123456", true),
            ("11115552671", false),
            ("999123456789", false),
            ("441", false),
            ("4420794609581", false),
            ("", false),
        ] {
            let digits: Vec<u8> = number.bytes().map(|byte| byte - b'0').collect();
            assert_eq!(is_international(&digits), expected, "{number}");
        }
    }
}
