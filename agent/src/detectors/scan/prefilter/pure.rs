//! Stage 1 in Rust: one automaton over a literal of every factor, and where it is found, the factor itself. Enters: a block. Leaves:
//! candidates. It is the default of builds without C++, and does the work on CPUs that Vectorscan does not know.
//!
//! One table over whole factors would be as fast, but classes of many rules run side by side in it and multiply its states: it did not
//! outlive a hundred rules. Literals add up.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex_automata::{
    Anchored, Input,
    meta::{Cache, Regex},
};

use super::{
    super::{compile::RuleSet, factor},
    Candidate, Near, Prefilter, ScanError, begins,
    numbers::Numbers,
    sought,
};
use crate::rules::scan::Trigger;
use regex_syntax::hir::Hir;

/// Short factors: they are looked at one by one, and only to keep stage 2 from most literals of prose.
pub(crate) const SHAPE: factor::Shape = factor::Shape { long_part_bytes: 4, tail: 1 };
/// Bound of one compiled factor, bytes.
const MAX_NFA_BYTES: usize = 1024 * 1024;
/// Up to so many bytes of literals the automaton is a table with a step a byte.
const DENSE_BYTES: usize = 32 * 1024;

/// One branch of a rule's factor.
#[derive(Debug)]
struct Target {
    rule: usize,
    /// The reach of a match around a byte of the factor.
    reach: (usize, usize),
    factor: Regex,
    /// Shortest and longest text of the factor before the literal, and longest from there on.
    before: (usize, usize),
    after: usize,
    /// Matches begin where the factor does.
    begins: bool,
}

/// One automaton for all rules; shared by the workers of a rule set.
#[derive(Debug)]
pub(crate) struct Shared {
    literals: Option<AhoCorasick>,
    /// By literal: which targets.
    targets_of: Vec<Vec<usize>>,
    targets: Vec<Target>,
}

impl Shared {
    pub(crate) fn build(rules: &RuleSet) -> Result<Self, ScanError> {
        let failed = |message: String| ScanError::Backend { backend: "pure", message };
        let mut literals: Vec<Vec<u8>> = Vec::new();
        let mut targets_of: Vec<Vec<usize>> = Vec::new();
        let mut known = std::collections::HashMap::new();
        let mut targets = Vec::new();
        for (rule, compiled) in rules.compiled().iter().enumerate() {
            if compiled.loaded.trigger != Trigger::Literal {
                continue;
            }
            let begins = begins(compiled, SHAPE).is_some();
            let sought = sought(compiled, SHAPE).map_err(failed)?;
            let anchors = sought.iter().flat_map(|sought| match factor::anchors(&sought.hir) {
                none if none.is_empty() => vec![None],
                found => found.into_iter().map(|anchor| Some((sought, anchor))).collect(),
            });
            for anchor in anchors {
                let Some((sought, anchor)) = anchor.filter(|(_, anchor)| !anchor.spellings.iter().any(Vec::is_empty))
                else {
                    return Err(failed(format!("rule {} has no literal to look for", compiled.loaded.rule.id)));
                };
                // What must follow is looked at in one go.
                let next = sought.next.clone().unwrap_or_else(Hir::empty);
                let after = anchor.after.saturating_add(next.properties().maximum_len().unwrap_or(usize::MAX));
                let regex = Regex::builder()
                    .configure(Regex::config().nfa_size_limit(Some(MAX_NFA_BYTES)).utf8_empty(false))
                    .build_from_hir(&Hir::concat(vec![anchor.hir, next]))
                    .map_err(|error| failed(format!("rule {}: {error}", compiled.loaded.rule.id)))?;
                for spelling in anchor.spellings {
                    let literal = *known.entry(spelling.clone()).or_insert_with(|| {
                        literals.push(spelling);
                        targets_of.push(Vec::new());
                        targets_of.len() - 1
                    });
                    if let Some(list) = targets_of.get_mut(literal) {
                        list.push(targets.len());
                    }
                }
                targets.push(Target { rule, reach: sought.reach, factor: regex, before: anchor.before, after, begins });
            }
        }
        let bytes: usize = literals.iter().map(Vec::len).sum();
        let automaton = if literals.is_empty() {
            None
        } else {
            let built = AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .ascii_case_insensitive(true)
                .kind((bytes <= DENSE_BYTES).then_some(AhoCorasickKind::DFA))
                .build(&literals)
                .map_err(|error| failed(error.to_string()))?;
            Some(built)
        };
        Ok(Self { literals: automaton, targets_of, targets })
    }

    /// Size of the automaton, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.literals.as_ref().map_or(0, AhoCorasick::memory_usage)
    }
}

/// The backend.
#[derive(Debug)]
pub(crate) struct Pure {
    shared: Arc<Shared>,
    /// By target, made when it is first looked at.
    caches: Vec<Option<Cache>>,
    numbers: Numbers,
}

impl Pure {
    pub(super) fn new(rules: &RuleSet, numbers: Numbers) -> Result<Self, ScanError> {
        let shared = rules.pure()?;
        Ok(Self { caches: shared.targets.iter().map(|_| None).collect(), shared, numbers })
    }
}

impl Prefilter for Pure {
    fn candidates(&mut self, block: &[u8], near: Near<'_>, found: &mut dyn FnMut(Candidate)) -> Result<(), ScanError> {
        self.numbers.candidates(block, near, found);
        let Some(literals) = &self.shared.literals else { return Ok(()) };
        for hit in literals.find_overlapping_iter(block) {
            let targets = self.shared.targets_of.get(hit.pattern().as_usize());
            for index in targets.into_iter().flatten() {
                let (Some(target), Some(cache)) = (self.shared.targets.get(*index), self.caches.get_mut(*index)) else {
                    continue;
                };
                let cache = cache.get_or_insert_with(|| target.factor.create_cache());
                let at = hit.start();
                let (shortest, longest) = target.before;
                if at < shortest {
                    continue;
                }
                // As the factor is free of look-arounds, nothing beyond these bytes changes what it matches.
                let end = at.saturating_add(target.after).min(block.len());
                let input = Input::new(block).range(at.saturating_sub(longest)..end).earliest(true);
                let anchored = if shortest == longest { Anchored::Yes } else { Anchored::No };
                if target.factor.search_half_with(cache, &input.anchored(anchored)).is_some() {
                    let window = at.saturating_sub(target.reach.0)..at.saturating_add(target.reach.1);
                    let first = at.saturating_sub(longest);
                    let starts = if target.begins { first..at + 1 - shortest } else { 0..0 };
                    found(Candidate { rule: target.rule, window, at, starts });
                }
            }
        }
        Ok(())
    }
}
