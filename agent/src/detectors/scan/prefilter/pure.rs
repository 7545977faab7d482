//! Stage 1 in Rust: one automaton over the literals of all rules that have some. Enters: a block. Leaves: candidates.
//! It is the default of builds without C++, and does the work on CPUs that Vectorscan does not know.
//!
//! Literals alone, whatever their case: in a DFA over whole factors the class behind a literal holds in as many states as it has
//! bytes, for every rule anew, and 300 rules outgrew 400 MB. The exact pattern is quick to say no to the few places more.

use std::{collections::BTreeSet, sync::Arc};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex_syntax::hir::{Hir, HirKind};

use super::{
    super::{compile::RuleSet, factor},
    Candidate, Near, Prefilter, ScanError,
    numbers::Numbers,
};
use crate::rules::scan::Trigger;

/// Factors without classes at their ends.
pub(crate) const SHAPE: factor::Shape = factor::Shape { long_part_bytes: 0, tail: 0 };
/// Bound of the automaton; a rule set that needs more is refused.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bound of the literals that the factor of one rule spells.
const MAX_LITERALS: usize = 8192;

/// One automaton for all rules; shared by the workers of a rule set.
#[derive(Debug)]
pub(crate) struct Shared {
    literals: AhoCorasick,
    /// By literal: rule and longest match.
    rules: Vec<(usize, usize)>,
}

impl Shared {
    pub(crate) fn build(rules: &RuleSet) -> Result<Self, ScanError> {
        let failed = |message: String| ScanError::Backend { backend: "pure", message };
        let mut literals = Vec::new();
        let mut targets = Vec::new();
        for (rule, compiled) in rules.compiled().iter().enumerate() {
            if compiled.loaded.trigger == Trigger::Literal {
                let factor = factor::factor(&compiled.hir, &compiled.loaded.keywords, SHAPE).map_err(failed)?;
                let spelled = spell(&factor).ok_or_else(|| {
                    let id = &compiled.loaded.rule.id;
                    failed(format!("rule {id} spells more than {MAX_LITERALS} literals; split it"))
                })?;
                for literal in without_longer(spelled) {
                    literals.push(literal);
                    targets.push((rule, compiled.longest));
                }
            }
        }
        let literals = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .ascii_case_insensitive(true)
            .build(&literals)
            .map_err(|error| failed(error.to_string()))?;
        if literals.memory_usage() > MAX_BYTES {
            return Err(failed(format!(
                "the rules together need {} bytes, at most {MAX_BYTES}",
                literals.memory_usage()
            )));
        }
        Ok(Self { literals, rules: targets })
    }

    /// Size of the automaton, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.literals.memory_usage()
    }
}

/// All that an expression without long parts spells, in lower case; `None` when that is too much.
fn spell(hir: &Hir) -> Option<BTreeSet<Vec<u8>>> {
    let one = |text: Vec<u8>| Some(BTreeSet::from([text]));
    let spelled = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => return one(Vec::new()),
        HirKind::Literal(literal) => return one(literal.0.to_ascii_lowercase()),
        HirKind::Class(class) => {
            let bytes = factor::bytes_of(class)?;
            let all = bytes.iter().flat_map(|range| range.start()..=range.end());
            all.map(|byte| vec![byte.to_ascii_lowercase()]).collect()
        }
        HirKind::Capture(capture) => spell(&capture.sub)?,
        HirKind::Alternation(parts) => {
            let mut all = BTreeSet::new();
            for part in parts {
                all.append(&mut spell(part)?);
            }
            all
        }
        HirKind::Concat(parts) => {
            let mut all = BTreeSet::from([Vec::new()]);
            for part in parts {
                all = join(&all, &spell(part)?)?;
            }
            all
        }
        HirKind::Repetition(repetition) => {
            let sub = spell(&repetition.sub)?;
            let mut longest = BTreeSet::from([Vec::new()]);
            let mut all = BTreeSet::new();
            for count in 0..=repetition.max? {
                if count >= repetition.min {
                    all.extend(longest.iter().cloned());
                }
                longest = join(&longest, &sub)?;
            }
            all
        }
    };
    (spelled.len() <= MAX_LITERALS).then_some(spelled)
}

/// Every text of the first set with every one of the second behind it.
fn join(first: &BTreeSet<Vec<u8>>, second: &BTreeSet<Vec<u8>>) -> Option<BTreeSet<Vec<u8>>> {
    if first.len().saturating_mul(second.len()) > MAX_LITERALS {
        return None;
    }
    Some(first.iter().flat_map(|start| second.iter().map(|end| [start.as_slice(), end].concat())).collect())
}

/// Without those that begin with another of them: the shorter one finds the place.
fn without_longer(spelled: BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for literal in spelled {
        // In order: what begins with a literal follows it.
        if !literal.is_empty() && kept.last().is_none_or(|last| !literal.starts_with(last)) {
            kept.push(literal);
        }
    }
    kept
}

/// The backend.
#[derive(Debug)]
pub struct Pure {
    shared: Arc<Shared>,
    numbers: Numbers,
}

impl Pure {
    pub(super) fn new(rules: &RuleSet, numbers: Numbers) -> Result<Self, ScanError> {
        Ok(Self { shared: rules.pure()?, numbers })
    }
}

impl Prefilter for Pure {
    fn candidates(&mut self, block: &[u8], near: Near<'_>, found: &mut dyn FnMut(Candidate)) -> Result<(), ScanError> {
        self.numbers.candidates(block, near, found);
        for literal in self.shared.literals.find_overlapping_iter(block) {
            if let Some((rule, longest)) = self.shared.rules.get(literal.pattern().as_usize()) {
                let end = literal.end();
                let window = end.saturating_sub(*longest)..end.saturating_add(*longest);
                found(Candidate { rule: *rule, window, at: end.saturating_sub(1) });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_spelled_out_in_lower_case() {
        for (pattern, expected) in [
            (r"\bgh[po]_[0-9A-Za-z]{36}\b", &["gho_", "ghp_"] as &[&str]),
            (r"(?i:api[_-]?key)[0-9]{4}", &["api-key", "api_key", "apikey"]),
            (r"(?i:heroku|heroku_api)[0-9]{4}", &["heroku"]),
            (r"[0-9a-f]{32}-us[0-9]{1,2}\b", &["-us"]),
            (r"\bxox(?:[ab]|e(?:\.xoxp)?)-[0-9]{4}", &["xoxa-", "xoxb-", "xoxe-", "xoxe.xoxp-"]),
        ] {
            let factor = factor::factor(&factor::parse(pattern).unwrap().0, &[], SHAPE).unwrap();
            let spelled = without_longer(spell(&factor).unwrap());
            let expected: Vec<Vec<u8>> = expected.iter().map(|text| text.as_bytes().to_vec()).collect();
            assert_eq!(spelled, expected, "{pattern}");
        }
        assert!(spell(&factor::parse("(?:[a-h]{5}){4}").unwrap().0).is_none());
    }
}
