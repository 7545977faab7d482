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

/// What stage 1 looks for on behalf of a rule: a factor, or a branch of one.
struct Sought {
    hir: regex_syntax::hir::Hir,
    /// The longest text of a match up to its end, and from its start on.
    reach: (usize, usize),
    /// What must stand behind it, where that is worth a look: stage 2 would have to look at much text.
    next: Option<regex_syntax::hir::Hir>,
}

/// Windows of fewer bytes are as soon looked at by the pattern.
const WIDE_BYTES: usize = 96;

/// The factor of a rule, branch by branch where these differ in what is around them.
fn sought(compiled: &Compiled, shape: factor::Shape) -> Result<Vec<Sought>, String> {
    let branches = factor::branches(&compiled.hir, &compiled.loaded.keywords, shape)?;
    let begins = begins(compiled, shape).is_some();
    let one = |branches: &[factor::Branch]| {
        let (before, after) = factor::reach(branches);
        let (before, after) = (before.min(compiled.longest), after.min(compiled.longest));
        let mut nexts = branches.iter().map(factor::Branch::next);
        let next = nexts.next().filter(|first| nexts.all(|next| next == *first));
        let is_worth = !begins && before.saturating_add(after) > WIDE_BYTES;
        Sought {
            hir: regex_syntax::hir::Hir::alternation(branches.iter().map(|branch| branch.hir.clone()).collect()),
            reach: (before, after),
            next: next.filter(|next| is_worth && next.properties().minimum_len().is_some_and(|length| length > 0)),
        }
    };
    let whole = one(&branches);
    let width = |sought: &Sought| sought.reach.0.saturating_add(sought.reach.1);
    let apart: Vec<Sought> = branches.iter().map(|branch| one(std::slice::from_ref(branch))).collect();
    let is_split =
        matches!(whole.hir.kind(), regex_syntax::hir::HirKind::Alternation(_)) && !factor::spelled(&whole.hir);
    let differ = apart.iter().any(|branch| width(branch).saturating_add(WIDE_BYTES) < width(&whole));
    Ok(if is_split || (differ && !begins) { apart } else { vec![whole] })
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

/// What stands around a place. Whoever asks does so from left to right.
pub(crate) trait Context {
    /// Adds the words of a set that stand within reach of a window; `at` is a byte that tells the segment.
    fn words(&mut self, at: usize, window: &Range<usize>, set: &WordSet, found: &mut Vec<usize>);
    /// The segment that holds a byte.
    fn segment(&mut self, at: usize) -> Option<Range<usize>>;
}

/// See [`Context`].
pub(crate) type Near<'n> = &'n mut dyn Context;

/// Finds candidates. One per worker: scratch memory is inside.
pub(crate) trait Prefilter: Send {
    /// Reports every candidate of a block, in any order. A rule that needs a context word may be left out where none is near, and one whose
    /// validator refuses the only match that there can be.
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
