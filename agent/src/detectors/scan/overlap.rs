//! Settles which of several matches on the same text counts. Enters: confirmed matches of a block. Leaves: those that count, by
//! position, and the parts of the others that stick out, because a mask must cover them too.

use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

use super::engine::Match;

/// The outcome for a block.
#[derive(Debug, Default)]
pub struct Settled {
    /// Matches that count: by position, and no two overlap.
    pub matches: Vec<Match>,
    /// What matched besides, outside of `matches`: hide it, do not report it. By position.
    pub also: Vec<Range<usize>>,
    taken: BTreeMap<usize, usize>,
}

/// The rule with the higher priority gets the text; of equals the surer, then the longer match, then the earlier, then the
/// rule that comes first. Matches of one rule never overlap.
pub(super) fn settle(found: &mut Vec<Match>, priority: impl Fn(usize) -> u8, settled: &mut Settled) {
    let Settled { matches, also, taken } = settled;
    matches.clear();
    also.clear();
    taken.clear();
    found.sort_unstable_by_key(|one| {
        (Reverse(priority(one.rule)), Reverse(one.confidence), Reverse(one.span.len()), one.span.start, one.rule)
    });
    let mut losers = Vec::new();
    for one in found.drain(..) {
        let before = taken.range(..one.span.end).next_back();
        if before.is_some_and(|(_, end)| *end > one.span.start) {
            losers.push(one.span);
        } else {
            taken.insert(one.span.start, one.span.end);
            matches.push(one);
        }
    }
    matches.sort_unstable_by_key(|one| one.span.start);
    for loser in losers {
        stick_out(&loser, taken, also);
    }
    also.sort_unstable_by_key(|range| (range.start, range.end));
    also.dedup();
}

/// The parts of `loser` that no taken extent covers.
fn stick_out(loser: &Range<usize>, taken: &BTreeMap<usize, usize>, also: &mut Vec<Range<usize>>) {
    let mut from = loser.start;
    if let Some((_, end)) = taken.range(..=from).next_back() {
        from = from.max(*end);
    }
    if from >= loser.end {
        return;
    }
    for (start, end) in taken.range(from..loser.end) {
        if *start > from {
            also.push(from..*start);
        }
        from = *end;
    }
    if from < loser.end {
        also.push(from..loser.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specific_rule_gets_the_text_and_leftovers_are_hidden() {
        let one = |rule: usize, span: Range<usize>| Match { rule, span, segment: 0..100, confidence: 50 };
        let mut found = vec![
            one(1, 0..30),
            one(0, 5..10),
            one(0, 12..20),
            one(1, 40..50),
            one(2, 45..60),
            one(2, 70..71),
            one(1, 6..9),
        ];
        let mut settled = Settled::default();
        settle(&mut found, |rule| [50, 10, 20][rule], &mut settled);
        let spans: Vec<_> = settled.matches.iter().map(|one| (one.rule, one.span.clone())).collect();
        assert_eq!(spans, [(0, 5..10), (0, 12..20), (2, 45..60), (2, 70..71)]);
        assert_eq!(settled.also, [0..5, 10..12, 20..30, 40..45]);
    }
}
