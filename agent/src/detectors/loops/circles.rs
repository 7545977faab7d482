//! Finds circles in what an agent did. Enters: calls of tools with their results, the oldest first. Leaves: what repeats, how
//! often, and since which turn. Pure; no state.
//!
//! It compares turns, not calls: what a model asks for side by side is one turn (11 of 15 repeats on recorded traffic were such,
//! notes/anchors-llm.md §7.3). Two turns are the same when they made the same calls and got the same results, so polling whose
//! answer changes and a retry that succeeds are none.

use std::hash::Hasher as _;

use smallvec::SmallVec;
use twox_hash::XxHash64;

use crate::exchange::Said;

/// Longest period of a cycle, turns.
const MAX_PERIOD: usize = 5;
/// Different arguments that make the same result a lack of progress.
const MIN_VARIETY: usize = 3;

/// One call of a tool with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The model's turn that asked for it.
    pub(super) turn: u32,
    /// Hash of the tool's name.
    pub(super) tool: u64,
    /// Hash of what it was called with.
    pub(super) arguments: u64,
    /// Hash of what it said.
    pub(super) result: u64,
    /// What that looks like.
    pub(super) said: Said,
}

/// How often something must repeat to count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    pub(super) same: u32,
    pub(super) cycles: u32,
    pub(super) fruitless: u32,
}

/// While nobody but tools spoke to the model.
pub(super) const ALONE: Thresholds = Thresholds { same: 3, cycles: 3, fruitless: 5 };
/// Across words of a person, who may have asked for the same thing again.
pub(super) const ASKED: Thresholds = Thresholds { same: 6, cycles: 5, fruitless: 9 };

/// What repeats up to the newest turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Circle {
    /// The same calls with the same results.
    Same { times: u32, since: u32 },
    /// Several turns, over and over.
    Cycle { period: u32, times: u32, since: u32 },
    /// One tool with different arguments, that fails or says the same each time.
    Fruitless { times: u32, since: u32, fails: bool },
}

impl Circle {
    /// The turn in which it began.
    pub(super) fn since(self) -> u32 {
        match self {
            Self::Same { since, .. } | Self::Cycle { since, .. } | Self::Fruitless { since, .. } => since,
        }
    }

    /// How often it went round.
    pub(super) fn times(self) -> u32 {
        match self {
            Self::Same { times, .. } | Self::Cycle { times, .. } | Self::Fruitless { times, .. } => times,
        }
    }
}

/// A turn and the hash of all that was called in it.
type Signature = (u32, u64);

/// The circle that the newest of these steps is in. A cycle of one turn is the same call, one of several is told as that.
pub(super) fn circle(steps: &[Step], least: Thresholds) -> Option<Circle> {
    let turns = signatures(steps);
    same(&turns, least.same).or_else(|| cycle(&turns, least.cycles)).or_else(|| fruitless(steps, least.fruitless))
}

fn signatures(steps: &[Step]) -> SmallVec<[Signature; 64]> {
    let mut turns = SmallVec::new();
    for turn in steps.chunk_by(|one, other| one.turn == other.turn) {
        // Results come in any order, and one call made twice side by side is one call.
        let mut calls: SmallVec<[u64; 8]> = turn.iter().map(Step::print).collect();
        calls.sort_unstable();
        calls.dedup();
        let mut hasher = XxHash64::with_seed(0);
        calls.iter().for_each(|call| hasher.write_u64(*call));
        turns.extend(turn.first().map(|step| (step.turn, hasher.finish())));
    }
    turns
}

impl Step {
    fn print(&self) -> u64 {
        let mut hasher = XxHash64::with_seed(0);
        hasher.write_u64(self.tool);
        hasher.write_u64(self.arguments);
        hasher.write_u64(self.result);
        hasher.finish()
    }
}

/// The newest turn, again and again, with little else between: an agent that runs its tests after each edit is no loop.
fn same(turns: &[Signature], least: u32) -> Option<Circle> {
    let (newest, print) = *turns.last()?;
    let (mut times, mut found) = (0, None);
    for (turn, _) in turns.iter().rev().filter(|(_, other)| *other == print) {
        times += 1;
        if times >= least && is_dense(times, newest, *turn) {
            found = Some(Circle::Same { times, since: *turn });
        }
    }
    found
}

/// More than two of three turns since then are of the kind that was counted.
fn is_dense(times: u32, newest: u32, since: u32) -> bool {
    let others = newest.saturating_sub(since).saturating_add(1).saturating_sub(times);
    others.saturating_mul(2) < times
}

fn cycle(turns: &[Signature], least: u32) -> Option<Circle> {
    let prints: SmallVec<[u64; 64]> = turns.iter().rev().map(|(_, print)| *print).collect();
    (2..=MAX_PERIOD).find_map(|period| {
        let again = prints.iter().zip(prints.iter().skip(period)).take_while(|(one, other)| one == other).count();
        let length = again + period;
        let times = u32::try_from(length / period).unwrap_or(u32::MAX);
        let is_one = prints.iter().take(period).all(|print| Some(print) == prints.first());
        let (since, _) = turns.get(turns.len().checked_sub(length)?)?;
        (times >= least && !is_one).then_some(Circle::Cycle { period: period as u32, times, since: *since })
    })
}

/// The newest call's tool, asked in other words and none the wiser.
fn fruitless(steps: &[Step], least: u32) -> Option<Circle> {
    let newest = steps.last()?;
    // A short answer that is always the same may just say that it was done.
    if newest.said == Said::Little {
        return None;
    }
    let fails = newest.said == Said::Failure;
    let is_as_before = |step: &Step| if fails { step.said == Said::Failure } else { step.result == newest.result };
    let (mut times, mut found, mut counted) = (0, None, None);
    let mut varied: SmallVec<[u64; MIN_VARIETY]> = SmallVec::new();
    for step in steps.iter().rev().filter(|step| step.tool == newest.tool) {
        if !is_as_before(step) {
            break;
        }
        if varied.len() < MIN_VARIETY && !varied.contains(&step.arguments) {
            varied.push(step.arguments);
        }
        if counted != Some(step.turn) {
            times += 1;
            counted = Some(step.turn);
        }
        if times >= least && varied.len() >= MIN_VARIETY && is_dense(times, newest.turn, step.turn) {
            found = Some(Circle::Fruitless { times, since: step.turn, fails });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A turn a word: `a1=x` is the tool `a` with argument `1` and result `x`; `+` joins calls of one turn, `-` is a turn without.
    fn steps(script: &str) -> Vec<Step> {
        let letter = |text: &str, at: usize| text.as_bytes().get(at).copied().map_or(0, u64::from);
        let mut steps = Vec::new();
        for (turn, word) in (1..).zip(script.split(' ')) {
            for call in word.split('+').filter(|call| *call != "-") {
                let said = match call.get(3..4) {
                    Some("!") => Said::Failure,
                    Some("0") => Said::Nothing,
                    Some("L") => Said::Much,
                    _ => Said::Little,
                };
                let (tool, arguments, result) =
                    (letter(call, 0), letter(call, 1), letter(call, 3) << 8 | letter(call, 4));
                steps.push(Step { turn, tool, arguments, result, said });
            }
        }
        steps
    }

    #[test]
    fn circles() {
        use Circle::{Cycle, Fruitless, Same};
        for (script, expected) in [
            ("a1=x a1=x a1=x", Some(Same { times: 3, since: 1 })),
            ("b1=y a1=x a1=x a1=x a1=x", Some(Same { times: 4, since: 2 })),
            ("a1=x b1=y a1=x a1=x", Some(Same { times: 3, since: 1 })),
            ("a1=x+b1=y b1=y+a1=x a1=x+b1=y", Some(Same { times: 3, since: 1 })),
            ("a1=x - a1=x a1=x", Some(Same { times: 3, since: 1 })),
            ("a1=x b1=y a1=x b1=y a1=x b1=y", Some(Cycle { period: 2, times: 3, since: 1 })),
            ("c1=z a1=x b1=y a1=x b1=y a1=x b1=y a1=x", Some(Cycle { period: 2, times: 3, since: 2 })),
            ("a1=x b1=y c1=z a1=x b1=y c1=z a1=x b1=y c1=z", Some(Cycle { period: 3, times: 3, since: 1 })),
            ("a1=! a2=! a3=! a4=! a5=!", Some(Fruitless { times: 5, since: 1, fails: true })),
            ("a1=!p a2=!q a3=!r a4=!s a5=!t", Some(Fruitless { times: 5, since: 1, fails: true })),
            ("a1=0 a2=0 a3=0 a4=0 a1=0", Some(Fruitless { times: 5, since: 1, fails: false })),
            ("a1=L a2=L a3=L a4=L a5=L", Some(Fruitless { times: 5, since: 1, fails: false })),
            // Tempting, and none.
            ("a1=x a1=x", None),
            ("a1=x+a1=x+a1=x", None),
            ("a1=x+a1=y+a1=z b1=x", None),
            ("a1=x a2=x a3=x", None),
            // Polling.
            ("a1=x a1=y a1=z a1=w", None),
            ("a1=x s1=o a1=y s1=o a1=z s1=o", None),
            // A retry that succeeds.
            ("a1=! a1=! a1=x", None),
            // Tests after each edit.
            ("t1=! e1=o t1=! e2=o t1=! e3=o t1=!", None),
            ("t1=o e1=o t1=o e2=o t1=o e3=o t1=o", None),
            // Work through a list.
            ("w1=o w2=o w3=o w4=o w5=o w6=o w7=o", None),
            ("a1=! a2=! a3=L a4=! a5=!", None),
            ("a1=! a1=!p b1=o a2=! b2=o a3=! b3=o a4=! b4=o a5=!", None),
            // It went on to something else.
            ("a1=x a1=x a1=x b1=y", None),
            ("", None),
        ] {
            assert_eq!(circle(&steps(script), ALONE), expected, "{script}");
        }
        // Across words of a person it takes more.
        assert_eq!(circle(&steps("a1=x a1=x a1=x a1=x a1=x"), ASKED), None);
        assert_eq!(circle(&steps("a1=x a1=x a1=x a1=x a1=x a1=x"), ASKED), Some(Same { times: 6, since: 1 }));
    }
}
