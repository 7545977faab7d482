//! Stage 1 for addresses: IPv6 by its colons, hardware addresses by pairs of hexadecimal digits. Enters: a block. Leaves:
//! candidates. Most text holds neither, so a chunk is first asked as a whole whether it can.

use super::Candidate;

/// Four colons this close together, or two side by side, may be an IPv6 address: full ones have up to four digits between.
const COLON_GAP: usize = 5;
const COLONS_IN_A_ROW: usize = 4;
/// Bytes of a pair with its mark, and of a group of four.
const PAIR_BYTES: usize = 3;
const QUAD_BYTES: usize = 5;
const CHUNK: usize = 64;

/// The rules with their longest matches.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    colons: Vec<(usize, usize)>,
    pairs: Vec<(usize, usize)>,
}

impl Marks {
    pub(super) fn add_colons(&mut self, rule: usize, longest: usize) {
        self.colons.push((rule, longest));
    }

    pub(super) fn add_pairs(&mut self, rule: usize, longest: usize) {
        self.pairs.push((rule, longest));
    }

    /// Reports every candidate of a block.
    pub(super) fn candidates(&self, block: &[u8], found: &mut dyn FnMut(Candidate)) {
        if !self.colons.is_empty() {
            colons(block, &mut |at| report(&self.colons, at, found));
        }
        if !self.pairs.is_empty() {
            pairs(block, &mut |at| report(&self.pairs, at, found));
        }
    }
}

fn report(rules: &[(usize, usize)], at: usize, found: &mut dyn FnMut(Candidate)) {
    for (rule, longest) in rules {
        found(Candidate {
            rule: *rule,
            window: at.saturating_sub(*longest)..at.saturating_add(*longest),
            at,
            starts: 0..0,
        });
    }
}

/// A chunk with what decides about its first byte: four colons lie this close together at most.
const LOOK_BACK_BYTES: usize = COLON_GAP * (COLONS_IN_A_ROW - 1);
const COLON_CHUNK: usize = 32;

fn colons(block: &[u8], found: &mut dyn FnMut(usize)) {
    let mut from = 0;
    while from < block.len() {
        let until = from.saturating_add(COLON_CHUNK).min(block.len());
        let back = from.saturating_sub(LOOK_BACK_BYTES);
        let seen = block.get(back..until).unwrap_or_default();
        // PERF: both without an early exit, so that they become vector instructions.
        let count = seen.iter().fold(0_u8, |count, byte| count + u8::from(*byte == b':'));
        let beside = seen
            .iter()
            .zip(seen.get(1..).unwrap_or_default())
            .fold(false, |any, (first, second)| any || (*first == b':' && *second == b':'));
        if beside || usize::from(count) >= COLONS_IN_A_ROW {
            close_colons(seen, &mut |at| {
                if back + at >= from {
                    found(back + at);
                }
            });
        }
        from = until;
    }
}

fn close_colons(text: &[u8], found: &mut dyn FnMut(usize)) {
    let mut last: Option<usize> = None;
    let mut in_a_row = 1;
    for at in memchr::memchr_iter(b':', text) {
        let gap = last.map_or(usize::MAX, |last| at - last);
        in_a_row = if gap <= COLON_GAP { in_a_row + 1 } else { 1 };
        last = Some(at);
        if gap == 1 || in_a_row >= COLONS_IN_A_ROW {
            found(at);
        }
    }
}

/// Six pairs joined by `:` or `-`, or three groups of four joined by `.`: the place of one of their marks.
fn pairs(block: &[u8], found: &mut dyn FnMut(usize)) {
    let mut from = 0;
    while from < block.len() {
        // Equal marks one and two pairs further, or one group further; slices of one length, so that LLVM makes vectors of it.
        let part = |offset: usize| block.get(from + offset..from + offset + CHUNK);
        let any = match (part(0), part(PAIR_BYTES), part(2 * PAIR_BYTES), part(QUAD_BYTES)) {
            (Some(first), Some(second), Some(third), Some(quad)) => {
                let mut any = 0_u8;
                for (((a, b), c), d) in first.iter().zip(second).zip(third).zip(quad) {
                    let pair = (u8::from(*a == b':') | u8::from(*a == b'-')) & u8::from(a == b) & u8::from(a == c);
                    any |= pair | (u8::from(*a == b'.') & u8::from(*d == b'.'));
                }
                any != 0
            }
            _ => true,
        };
        let until = from.saturating_add(CHUNK).min(block.len());
        if any {
            for at in from..until {
                if is_joined(block, at) {
                    found(at);
                }
            }
        }
        from = until;
    }
}

/// `at` is the second mark of pairs, or the first of groups.
fn is_joined(block: &[u8], at: usize) -> bool {
    let hex =
        |range: std::ops::Range<usize>| block.get(range).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    match block.get(at) {
        Some(mark @ (b':' | b'-')) => {
            let Some(start) = at.checked_sub(PAIR_BYTES + 2) else { return false };
            (0..5).all(|index| block.get(start + 2 + index * PAIR_BYTES) == Some(mark))
                && (0..6).all(|index| hex(start + index * PAIR_BYTES..start + index * PAIR_BYTES + 2))
        }
        Some(b'.') => {
            let Some(start) = at.checked_sub(QUAD_BYTES - 1) else { return false };
            block.get(at + QUAD_BYTES) == Some(&b'.')
                && (0..3).all(|index| hex(start + index * QUAD_BYTES..start + index * QUAD_BYTES + 4))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_close_together() {
        for (text, expected) in [
            ("at 01:13:09 a::b", &[14][..]),
            ("a:b:c:d:e", &[7]),
            ("1:2:3:4:5:6", &[7, 9]),
            ("{\"a\":1,\"bcde\":2}", &[]),
            (":", &[]),
        ] {
            let mut found = Vec::new();
            colons(text.as_bytes(), &mut |at| found.push(at));
            assert_eq!(found, expected, "{text}");
            // Wherever chunks are cut.
            for offset in 0..70 {
                let block = format!("{}{text}{}", ".".repeat(offset), ".".repeat(50));
                let mut found = Vec::new();
                colons(block.as_bytes(), &mut |at| found.push(at - offset));
                assert_eq!(found, expected, "{text} {offset}");
            }
        }
    }

    #[test]
    fn pairs_are_found_at_every_alignment() {
        for (text, count) in [
            ("00:1a:2B:3c:4d:5e", 1),
            ("00-1a-2b-3c-4d-5e", 1),
            ("001a.2b3c.4d5e", 1),
            ("00:1a:2b:3c:4d:5e:6f", 2),
            ("00:1a:2b:3c:4d", 0),
            ("00:1a:2b-3c:4d:5e", 0),
            ("00:1g:2b:3c:4d:5e", 0),
            ("001a.2b3c", 0),
        ] {
            for offset in 0..140 {
                for tail in [0, 1, 70, 150] {
                    let block = format!("{}{text}{}", " ".repeat(offset), ".".repeat(tail));
                    let mut found = 0;
                    pairs(block.as_bytes(), &mut |at| {
                        assert!(at >= offset && at < offset + text.len());
                        found += 1;
                    });
                    assert_eq!(found, count, "{text} {offset} {tail}");
                }
            }
        }
    }
}
