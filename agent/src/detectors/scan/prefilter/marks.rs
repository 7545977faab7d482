//! Stage 1 for addresses: IPv6 by its colons, hardware addresses by pairs of hexadecimal digits. Enters: a block with the kinds of its
//! bytes. Leaves: candidates.

use super::{
    Candidate,
    kinds::{Around, Holding, Kind, Kinds},
};

/// Four colons this close together, or two side by side, may be an IPv6 address: full ones have up to four digits between.
const COLON_GAP: usize = 5;
const COLONS_IN_A_ROW: usize = 4;
/// Bytes of a pair with its mark, and of a group of four.
const PAIR_BYTES: usize = 3;
const QUAD_BYTES: usize = 5;

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
    pub(super) fn candidates(&self, block: &[u8], kinds: &Kinds, found: &mut dyn FnMut(Candidate)) {
        if !self.colons.is_empty() {
            close_colons(kinds, |at| report(&self.colons, at, found));
        }
        if !self.pairs.is_empty() {
            pairs(block, kinds, |at| report(&self.pairs, at, found));
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

fn close_colons(kinds: &Kinds, mut found: impl FnMut(usize)) {
    let mut last: Option<usize> = None;
    let mut in_a_row = 1;
    kinds.each(
        Holding::Marks,
        |around| around.here.colons,
        |at| {
            let gap = last.map_or(usize::MAX, |last| at - last);
            in_a_row = if gap <= COLON_GAP { in_a_row + 1 } else { 1 };
            last = Some(at);
            if gap == 1 || in_a_row >= COLONS_IN_A_ROW {
                found(at);
            }
        },
    );
}

/// Six pairs joined by `:` or `-`, or three groups of four joined by `.`: the place of one of their marks.
fn pairs(block: &[u8], kinds: &Kinds, mut found: impl FnMut(usize)) {
    // Equal marks one and two pairs further, or one group further: seldom there.
    let joined = |around: &Around<'_>| {
        let three = |kind: Kind| {
            if kind(around.here) == 0 {
                return 0;
            }
            kind(around.here) & around.ahead(kind, PAIR_BYTES as u32) & around.ahead(kind, 2 * PAIR_BYTES as u32)
        };
        let dots = around.here.dots;
        let quads = if dots == 0 { 0 } else { dots & around.ahead(|word| word.dots, QUAD_BYTES as u32) };
        three(|word| word.colons) | three(|word| word.dashes) | quads
    };
    kinds.each(Holding::Marks, joined, |at| {
        if is_joined(block, at) {
            found(at);
        }
    });
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
            // Wherever words are cut.
            for offset in 0..70 {
                let block = format!("{}{text}{}", ".".repeat(offset), ".".repeat(50));
                let (mut kinds, mut found) = (Kinds::default(), Vec::new());
                kinds.fill(block.as_bytes());
                close_colons(&kinds, |at| found.push(at - offset));
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
                    let (mut kinds, mut found) = (Kinds::default(), 0);
                    kinds.fill(block.as_bytes());
                    pairs(block.as_bytes(), &kinds, |at| {
                        assert!(at >= offset && at < offset + text.len());
                        found += 1;
                    });
                    assert_eq!(found, count, "{text} {offset} {tail}");
                }
            }
        }
    }
}
