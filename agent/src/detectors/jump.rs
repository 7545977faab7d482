//! Whether a rate jumped. Enters: yes or no, one at a time. Leaves: [`Jump`], once the last ones say yes so often that it is no chance
//! any more. The last ones are a block of some dozen that is compared with all before it; a block without a jump joins them. It knows
//! no time, and what it counts is for its owner to say.
//!
//! The test: how likely are so many in a block, when the rate is what the baseline makes one believe it is (beta-binomial, exact)? A
//! baseline of fifty says little about a rate of one percent, and the test knows that.

use serde::{Deserialize, Serialize};

/// A jump is told when chance would make it less often than once in so many blocks.
const CHANCE: f64 = 1e-5;

/// So many yes of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// How often it was so.
    pub(super) events: u16,
    /// Of how many.
    pub(super) of: u16,
}

impl Count {
    fn add(&mut self, event: bool) {
        self.events = self.events.saturating_add(u16::from(event));
        self.of = self.of.saturating_add(1);
    }

    /// At least so many percent of all.
    pub(super) fn is_at_least(self, percent: u32) -> bool {
        u32::from(self.events) * 100 >= u32::from(self.of) * percent
    }
}

/// What counts as a jump.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// So many are learned before anything is compared.
    pub(super) baseline: u16,
    /// So many are compared with those before them.
    pub(super) block: u16,
    /// Fewest events in a block.
    pub(super) events: u16,
    /// Fewest events in a block, percent.
    pub(super) percent: u32,
    /// How often a yes is believed to be before anything was seen: once in twice so many.
    pub(super) prior: u16,
}

/// The rate must be so many times what it was.
const FACTOR: u32 = 3;
/// Baselines longer than this are halved: what is long ago counts less.
const MAX_BASELINE: u16 = 2000;

/// A rate over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u16; 5]", into = "[u16; 5]")]
pub(super) struct Rate {
    base: Count,
    recent: Count,
    jumped: bool,
}

/// What one more says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Usual,
    /// It is one of a jump, which may have been told before.
    Jumped(Jump),
    /// After the jump a whole block was as high: it is how things are now. The block is the new baseline.
    Settled(Jump),
}

/// A jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    /// Before.
    pub(super) before: Count,
    /// Lately.
    pub(super) now: Count,
}

impl Rate {
    /// A rate that was learned elsewhere.
    pub(super) fn learned(base: Count) -> Self {
        Self { base, ..Self::default() }
    }

    /// Takes one more.
    pub(super) fn see(&mut self, event: bool, limits: &Limits) -> Verdict {
        if self.base.of < limits.baseline {
            self.base.add(event);
            return Verdict::Usual;
        }
        self.recent.add(event);
        let jump = Jump { before: self.base, now: self.recent };
        let is_over = self.recent.of >= limits.block;
        if self.jumped {
            if is_over {
                let is_high = is_jump(jump, limits);
                *self = Self::learned(if is_high { self.recent } else { self.base });
                return if is_high { Verdict::Settled(jump) } else { Verdict::Usual };
            }
            return if event { Verdict::Jumped(jump) } else { Verdict::Usual };
        }
        if event && is_jump(jump, limits) {
            self.jumped = true;
            self.recent = Count::default();
            return Verdict::Jumped(jump);
        }
        if is_over {
            self.base.events = self.base.events.saturating_add(self.recent.events);
            self.base.of = self.base.of.saturating_add(self.recent.of);
            if self.base.of > MAX_BASELINE {
                self.base = Count { events: self.base.events / 2, of: self.base.of / 2 };
            }
            self.recent = Count::default();
        }
        Verdict::Usual
    }

    /// Nothing is compared yet.
    pub(super) fn is_learning(&self, limits: &Limits) -> bool {
        self.base.of < limits.baseline
    }

    /// What it is compared with.
    pub(super) fn base(&self) -> Count {
        self.base
    }

    /// No event since the last block.
    pub(super) fn is_calm(&self) -> bool {
        !self.jumped && self.recent.events == 0
    }

    /// It was read from outside: whether it can be one.
    pub(super) fn is_sane(&self) -> bool {
        let fits = |count: Count| count.events <= count.of && count.of <= 2 * MAX_BASELINE;
        fits(self.base) && fits(self.recent)
    }
}

/// As it is kept: baseline, block, whether it jumped.
impl From<Rate> for [u16; 5] {
    fn from(rate: Rate) -> Self {
        [rate.base.events, rate.base.of, rate.recent.events, rate.recent.of, u16::from(rate.jumped)]
    }
}

impl From<[u16; 5]> for Rate {
    fn from([before, all_before, events, of, jumped]: [u16; 5]) -> Self {
        let base = Count { events: before, of: all_before };
        Self { base, recent: Count { events, of }, jumped: jumped != 0 }
    }
}

fn is_jump(jump: Jump, limits: &Limits) -> bool {
    let Jump { before, now } = jump;
    let outgrown = u64::from(now.events) * u64::from(before.of)
        >= u64::from(FACTOR) * u64::from(before.events) * u64::from(now.of);
    now.events >= limits.events
        && now.is_at_least(limits.percent)
        && outgrown
        && chance(before, now, limits.prior) < CHANCE
}

/// How likely as many events as now, or more, are by what was before.
fn chance(before: Count, now: Count, prior: u16) -> f64 {
    let yes = f64::from(before.events) + 0.5;
    let no = f64::from(before.of.saturating_sub(before.events)) + f64::from(prior);
    let all = now.of;
    let mut exactly: f64 = (0..all).map(f64::from).map(|at| (no + at) / (yes + no + at)).product();
    let mut at_least = 0.0;
    for count in 0..=all {
        if count >= now.events {
            at_least += exactly;
        }
        if count < all {
            let (count, left) = (f64::from(count), f64::from(all - count));
            exactly *= left / (count + 1.0) * (yes + count) / (no + left - 1.0);
        }
    }
    at_least
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { baseline: 50, block: 32, events: 5, percent: 10, prior: 50 };

    /// How many of the pattern, repeated, it takes until a jump is told, after a baseline.
    fn told(base: (u16, u16), pattern: &[bool], most: usize) -> Option<usize> {
        let mut rate = Rate::learned(Count { events: base.0, of: base.1 });
        (0..most).find(|at| matches!(rate.see(pattern[at % pattern.len()], &LIMITS), Verdict::Jumped(_)))
    }

    #[test]
    fn jumps_are_told_and_chance_is_not() {
        let third = [true, false, false];
        let twentieth: Vec<bool> = (0..20).map(|at| at == 19).collect();
        // baseline, pattern, told at which
        let cases: [((u16, u16), &[bool], Option<usize>); 6] = [
            ((0, 50), &[true], Some(4)),
            ((0, 1000), &[true], Some(4)),
            // The fifth, of thirteen: 1287 ways of some 2·10⁻⁹ each.
            ((0, 50), &third, Some(12)),
            ((0, 50), &twentieth, None),
            ((25, 50), &[true], None),
            ((0, 50), &[false], None),
        ];
        for (base, pattern, at) in cases {
            assert_eq!(told(base, pattern, 2000), at, "{base:?} {pattern:?}");
        }
    }

    #[test]
    fn chances_are_those_of_the_beta_binomial() {
        // Beta(0.5, 100) and three of three: 0.5·1.5·2.5 / (100.5·101.5·102.5).
        let three = chance(Count { events: 0, of: 50 }, Count { events: 3, of: 3 }, 50);
        assert!((three - 1.875 / (100.5 * 101.5 * 102.5)).abs() < 1e-12, "{three}");
        let any = chance(Count { events: 3, of: 50 }, Count { events: 0, of: 32 }, 50);
        assert!((any - 1.0).abs() < 1e-9, "{any}");
    }

    #[test]
    fn what_lasts_is_the_new_baseline_and_what_passes_is_not() {
        let mut rate = Rate::learned(Count { events: 0, of: 100 });
        let verdicts: Vec<Verdict> = (0..60).map(|_| rate.see(true, &LIMITS)).collect();
        assert_eq!(verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Settled(_))).count(), 1);
        assert!(matches!(verdicts[36], Verdict::Settled(jump) if jump.now == Count { events: 32, of: 32 }));
        assert_eq!(rate.base().of, 50, "learned anew");

        let mut rate = Rate::learned(Count { events: 0, of: 100 });
        assert!((0..5).any(|_| rate.see(true, &LIMITS) != Verdict::Usual));
        assert!((0..32).all(|_| rate.see(false, &LIMITS) == Verdict::Usual));
        assert_eq!((rate.base(), rate.is_calm()), (Count { events: 0, of: 100 }, true));
    }
}
