//! Stage 1 in Rust: one dense DFA over the factors of all rules that have a literal. Enters: a block. Leaves: candidates.
//! It is the default of builds without C++, and does the work on CPUs that Vectorscan does not know.

use std::sync::Arc;

use regex_automata::{
    Input, MatchKind,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::primitives::StateID,
};

use super::{
    super::{compile::RuleSet, factor},
    Candidate, Near, Prefilter, ScanError,
    numbers::Numbers,
};
use crate::rules::scan::Trigger;

/// Literals alone. After one, a class holds in as many states as there are bytes in it, for every rule anew: with hundreds of rules
/// that makes the table ten times as large, and the exact pattern is quick to say no.
pub(crate) const SHAPE: factor::Shape = factor::Shape { long_part_bytes: 0, tail: 0 };
/// Bounds of the DFA and of the work to build it; a rule set that needs more is refused.
const MAX_DFA_BYTES: usize = 64 * 1024 * 1024;
const MAX_BUILD_BYTES: usize = 512 * 1024 * 1024;

/// One DFA for all rules; shared by the workers of a rule set.
#[derive(Debug)]
pub(crate) struct Shared {
    dfa: dense::DFA<Vec<u32>>,
    /// By pattern of the DFA: rule and longest match.
    rules: Vec<(usize, usize)>,
}

impl Shared {
    pub(crate) fn build(rules: &RuleSet) -> Result<Self, ScanError> {
        let failed = |message: String| ScanError::Backend { backend: "pure", message };
        let mut factors = Vec::new();
        let mut targets = Vec::new();
        for (rule, compiled) in rules.compiled().iter().enumerate() {
            if compiled.loaded.trigger == Trigger::Literal {
                factors.push(factor::factor(&compiled.hir, &compiled.loaded.keywords, SHAPE).map_err(failed)?);
                targets.push((rule, compiled.longest));
            }
        }
        let nfa = thompson::Compiler::new()
            .configure(thompson::Config::new().utf8(false).which_captures(thompson::WhichCaptures::None))
            .build_many_from_hir(&factors)
            .map_err(|error| failed(error.to_string()))?;
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Unanchored)
            .accelerate(false)
            .dfa_size_limit(Some(MAX_DFA_BYTES))
            .determinize_size_limit(Some(MAX_BUILD_BYTES));
        let dfa = dense::Builder::new()
            .configure(config)
            .build_from_nfa(&nfa)
            .map_err(|error| failed(format!("the rules together are too complex: {error}")))?;
        Ok(Self { dfa, rules: targets })
    }

    /// Size of the transition table, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.dfa.memory_usage()
    }
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
        let dfa = &self.shared.dfa;
        let mut state = dfa
            .start_state_forward(&Input::new(block))
            .map_err(|error| ScanError::Backend { backend: "pure", message: error.to_string() })?;
        let mut report = |state: StateID, end: usize| {
            if !dfa.is_match_state(state) {
                return;
            }
            for index in 0..dfa.match_len(state) {
                if let Some((rule, longest)) = self.shared.rules.get(dfa.match_pattern(state, index).as_usize()) {
                    let window = end.saturating_sub(*longest)..end.saturating_add(*longest);
                    found(Candidate { rule: *rule, window, at: end.saturating_sub(1) });
                }
            }
        };
        // Matches are reported one byte late by construction of the DFA, so a match state after byte i ends before it.
        for (at, byte) in block.iter().enumerate() {
            state = dfa.next_state(state, *byte);
            if dfa.is_special_state(state) {
                report(state, at);
            }
        }
        report(dfa.next_eoi_state(state), block.len());
        Ok(())
    }
}
