//! Stage 1: says which rules may match near which place of a block. Enters: a block. Leaves: [`Candidate`]s, always a superset
//! of what the exact patterns will confirm. It confirms nothing.
//!
//! Backends may differ in what they report, not in the result. Say a rule's longest match is L bytes and a candidate's window
//! reaches L to both sides of a byte inside the match. Every match then lies wholly in a window; windows that touch are
//! merged, so no match crosses a window's edge; so searching the windows from left to right finds exactly what searching the
//! whole segment finds, for any superset of candidates. The differential tests check the backends against [`Exhaustive`].

use std::ops::Range;

use super::{
    compile::{Compiled, RuleSet},
    factor,
    words::WordSet,
};

mod kinds;
#[cfg(feature = "vectorscan")]
mod literals;
mod marks;
pub mod numbers;
pub mod pure;
mod shapes;
#[cfg(feature = "vectorscan")]
pub mod vectorscan;

/// A place where a rule may match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Index of the rule in its set.
    pub rule: usize,
    /// The match, if there is one, lies in this extent; it may reach past the segment, and past the ends of the block.
    pub window: Range<usize>,
    /// A byte that tells the segment.
    pub at: usize,
    /// Where it begins, when that is known; else it is empty.
    pub starts: Range<usize>,
}

/// Where a match begins, of which the factor ends at `end`, by the shortest and longest text of that.
#[cfg(feature = "vectorscan")]
fn starts(begins: Option<(usize, usize)>, end: usize) -> Range<usize> {
    match begins {
        Some((shortest, longest)) => end.saturating_sub(longest)..end.saturating_add(1).saturating_sub(shortest),
        None => 0..0,
    }
}

/// [`factor::reach`]; as far as the longest match when it is not known.
fn reach(compiled: &Compiled, shape: factor::Shape) -> (usize, usize) {
    let longest = compiled.longest;
    let found = factor::reach(&compiled.hir, &compiled.loaded.keywords, shape);
    found.map_or((longest, longest), |(before, after)| (before.min(longest), after.min(longest)))
}

/// Longer matches are not tried at single places: text that begins one at every byte would be read too often.
const MAX_TRIED_BYTES: usize = 1024;
/// Nor where there are more places than so many.
const MAX_TRIED_PLACES: usize = 40;

/// [`factor::begins`], when it is worth it.
fn begins(compiled: &Compiled, shape: factor::Shape) -> Option<(usize, usize)> {
    if compiled.longest > MAX_TRIED_BYTES {
        return None;
    }
    factor::begins(&compiled.hir, &compiled.loaded.keywords, shape)
        .filter(|(shortest, longest)| longest - shortest < MAX_TRIED_PLACES)
}

/// Adds the words of a set that stand within reach of a window; the first value is a byte that tells the segment.
pub(crate) type Near<'n> = &'n mut dyn FnMut(usize, &Range<usize>, &WordSet, &mut Vec<usize>);

/// Finds candidates. One per worker: scratch memory is inside.
pub(crate) trait Prefilter: Send {
    /// Reports every candidate of a block, in any order. A rule that needs a context word may be left out where none is near.
    fn candidates(&mut self, block: &[u8], near: Near<'_>, found: &mut dyn FnMut(Candidate)) -> Result<(), ScanError>;
}

/// Stage 1 failed; only the C++ backend can.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The library said no, or a database cannot be built.
    #[error("scan backend {backend}: {message}")]
    Backend {
        /// Which.
        backend: &'static str,
        /// What it said.
        message: String,
    },
    /// The start-up self-test lost a rule's known positive: this build of the scan engine must not be trusted.
    #[error("scan backend {backend} does not find the first example of rule {rule}; refusing to scan with it")]
    SelfTest {
        /// Which.
        backend: &'static str,
        /// The rule's id.
        rule: String,
    },
}

/// Which stage 1 to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// One automaton over the literals of all factors, in Rust.
    Pure,
    /// Vectorscan.
    #[cfg(feature = "vectorscan")]
    Vectorscan,
    /// Every rule over everything: slow, and the truth that tests compare with.
    Exhaustive,
}

impl Backend {
    /// The fastest one that this binary has.
    pub fn best() -> Self {
        #[cfg(feature = "vectorscan")]
        {
            Self::Vectorscan
        }
        #[cfg(not(feature = "vectorscan"))]
        {
            Self::Pure
        }
    }

    /// All that scan for real.
    pub fn all() -> &'static [Self] {
        &[
            Self::Pure,
            #[cfg(feature = "vectorscan")]
            Self::Vectorscan,
        ]
    }

    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            #[cfg(feature = "vectorscan")]
            Self::Vectorscan => "vectorscan",
            Self::Exhaustive => "exhaustive",
        }
    }

    pub(super) fn build(self, rules: &RuleSet) -> Result<Box<dyn Prefilter>, ScanError> {
        let numbers = numbers::Numbers::new(rules)?;
        Ok(match self {
            Self::Pure => Box::new(pure::Pure::new(rules, numbers)?),
            #[cfg(feature = "vectorscan")]
            Self::Vectorscan => Box::new(vectorscan::Vectorscan::new(rules, numbers)?),
            Self::Exhaustive => Box::new(Exhaustive { rules: rules.len() }),
        })
    }
}

/// Every rule may match in every line: the reference.
#[derive(Debug)]
pub(crate) struct Exhaustive {
    rules: usize,
}

impl Prefilter for Exhaustive {
    fn candidates(&mut self, block: &[u8], _: Near<'_>, found: &mut dyn FnMut(Candidate)) -> Result<(), ScanError> {
        let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', block).map(|at| at + 1));
        for at in starts {
            for rule in 0..self.rules {
                found(Candidate { rule, window: 0..block.len(), at, starts: 0..0 });
            }
        }
        Ok(())
    }
}
