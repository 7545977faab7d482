//! Stage 1 by Vectorscan. Enters: a block. Leaves: candidates. No start-of-match flag (27 % slower, and long repeats are
//! refused with it), no UTF-8 mode, no caseless flag: factors spell both cases.
//!
//! The library is fastest with literals alone (`literals.rs`), so the class behind one is looked at here.
//!
//! The binding's scanner borrows its database. A database is built once per set of expressions and kept for the life of the
//! process (half a megabyte for a hundred rules), so that workers can hold `&'static`; asking for the same expressions again
//! gives the same database, so reloading unchanged rules costs nothing.

use std::sync::{Arc, Mutex, PoisonError};

use hyperscan::{BlockDatabase, BlockScanner, Flag, Pattern, Scan};
use regex_automata::{
    Anchored, Input,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
};
use regex_syntax::hir::Hir;

use super::{
    super::{compile::RuleSet, factor, piece::ByteSet},
    Candidate, Near, Prefilter, ScanError, Sought, begins,
    literals::{Literal, literals},
    numbers::Numbers,
    sought, starts,
};
use crate::rules::scan::Trigger;

/// Long enough to keep most words of prose out; the library counts cheaply.
const SHAPE: factor::Shape = factor::Shape { long_part_bytes: 16, tail: 8 };
/// The C interface takes a 32-bit length and the binding truncates without a word.
const MAX_SCAN_BYTES: usize = 1 << 30;

static BUILT: Mutex<Vec<(Vec<String>, &'static BlockDatabase)>> = Mutex::new(Vec::new());

fn failed(message: &dyn ToString) -> ScanError {
    ScanError::Backend { backend: "vectorscan", message: message.to_string() }
}

/// `names` are the rules' ids, for the message.
fn database(expressions: Vec<String>, names: &[&str]) -> Result<&'static BlockDatabase, ScanError> {
    // A worker that panicked here left the list as it was: entries are pushed whole.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, database)) = built.iter().find(|(known, _)| *known == expressions) {
        return Ok(database);
    }
    let patterns = expressions
        .iter()
        .enumerate()
        .map(|(id, text)| Pattern::new(text.clone().into_bytes(), Flag::DOTALL, u32::try_from(id).ok()))
        .collect();
    let built_database = BlockDatabase::new(patterns).map_err(|error| match &error {
        hyperscan::Error::HyperscanCompile(message, index) => {
            let name =
                usize::try_from(*index).ok().and_then(|index| names.get(index)).copied().unwrap_or("all together");
            failed(&format!("rule {name}: {message}"))
        }
        _ => failed(&error),
    })?;
    let database: &'static BlockDatabase = Box::leak(Box::new(built_database));
    built.push((expressions, database));
    Ok(database)
}

/// What an expression stands for.
struct Target {
    rule: usize,
    /// The reach of a match around the end of the expression.
    before: usize,
    after: usize,
    /// Shortest and longest text of the expression, when matches begin where it does.
    begins: Option<(usize, usize)>,
    /// Of these bytes so many follow; they belong to the expression.
    follow: (ByteSet, usize),
    /// And then this.
    next: Option<Arc<dense::DFA<Vec<u32>>>>,
}

impl Target {
    /// What must follow the expression does.
    #[inline]
    fn goes_on(&self, block: &[u8], end: usize) -> bool {
        let Some(next) = &self.next else { return true };
        let input = Input::new(block).range(end..).anchored(Anchored::Yes).earliest(true);
        // It has no byte to quit at, so it does not fail.
        next.try_search_fwd(&input).map_or(true, |found| found.is_some())
    }
}

/// Bound of an automaton for what follows, bytes; a larger one is not made.
const MAX_NEXT_BYTES: usize = 512 * 1024;

fn next_dfa(hir: &Hir) -> Option<dense::DFA<Vec<u32>>> {
    let nfa = thompson::Compiler::new()
        .configure(thompson::Config::new().utf8(false).which_captures(thompson::WhichCaptures::None))
        .build_from_hir(hir)
        .ok()?;
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(MAX_NEXT_BYTES))
        .determinize_size_limit(Some(2 * MAX_NEXT_BYTES));
    dense::Builder::new().configure(config).build_from_nfa(&nfa).ok()
}

/// The backend.
pub struct Vectorscan {
    /// Absent when no rule has a literal: an empty database cannot be built.
    scanner: Option<BlockScanner<'static>>,
    /// By expression.
    rules: Vec<Target>,
    numbers: Numbers,
}

impl Vectorscan {
    pub(super) fn new(rules: &RuleSet, numbers: Numbers) -> Result<Self, ScanError> {
        let (mut expressions, mut targets, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (rule, compiled) in rules.compiled().iter().enumerate() {
            if compiled.loaded.trigger == Trigger::Literal {
                let begins = begins(compiled, SHAPE);
                for Sought { hir, reach: (before, after), next } in
                    sought(compiled, SHAPE).map_err(|error| failed(&error))?
                {
                    let next = next.as_ref().and_then(next_dfa).map(Arc::new);
                    for Literal { hir, follow } in literals(&hir) {
                        expressions.push(factor::print(&hir).map_err(|error| failed(&error))?);
                        targets.push(Target { rule, before, after, begins, follow, next: next.clone() });
                        names.push(compiled.loaded.rule.id.as_str());
                    }
                }
            }
        }
        let scanner = if expressions.is_empty() {
            None
        } else {
            Some(database(expressions, &names)?.create_scanner().map_err(|error| failed(&error))?)
        };
        Ok(Self { scanner, rules: targets, numbers })
    }
}

impl Prefilter for Vectorscan {
    fn candidates(&mut self, block: &[u8], near: Near<'_>, found: &mut dyn FnMut(Candidate)) -> Result<(), ScanError> {
        self.numbers.candidates(block, near, found);
        let Some(scanner) = &mut self.scanner else { return Ok(()) };
        if block.len() > MAX_SCAN_BYTES {
            return Err(failed(&format!("a block of {} bytes is over {MAX_SCAN_BYTES}", block.len())));
        }
        // No panic may cross the C frames; nothing in here can: positions are added with saturation, indices looked up.
        scanner
            .scan(block, |id, _, end, _| {
                let end = usize::try_from(end).unwrap_or(usize::MAX);
                if let Some(target) = usize::try_from(id).ok().and_then(|id| self.rules.get(id))
                    && let (bytes, count) = &target.follow
                    && let Some(rest) = block.get(end..end.saturating_add(*count))
                    && rest.iter().all(|byte| bytes.holds(*byte))
                {
                    let end = end.saturating_add(*count);
                    if !target.goes_on(block, end) {
                        return Scan::Continue;
                    }
                    let window = end.saturating_sub(target.before)..end.saturating_add(target.after);
                    let starts = starts(target.begins, end);
                    found(Candidate { rule: target.rule, window, at: end.saturating_sub(1), starts });
                }
                Scan::Continue
            })
            .map_err(|error| failed(&error))?;
        Ok(())
    }
}

/// The library alone, for the benchmark: the whole patterns with the strongest literals, without their boundaries, and nothing done
/// with what is found. It is the floor that the scanner is measured against.
pub struct Bare {
    scanner: BlockScanner<'static>,
    patterns: usize,
}

impl Bare {
    /// With so many patterns at most.
    pub fn new(rules: &RuleSet, count: usize) -> Result<Self, ScanError> {
        let mut strongest: Vec<(usize, String, &str)> = rules
            .compiled()
            .iter()
            .filter(|compiled| compiled.loaded.trigger == Trigger::Literal && compiled.loaded.keywords.is_empty())
            .filter_map(|compiled| {
                let strength = factor::strength(&compiled.hir, SHAPE).ok()?;
                let whole = factor::print(&factor::strip(&compiled.hir)).ok()?;
                Some((strength, whole, compiled.loaded.rule.id.as_str()))
            })
            .collect();
        strongest.sort_by_key(|(strength, _, _)| std::cmp::Reverse(*strength));
        strongest.truncate(count);
        let names: Vec<&str> = strongest.iter().map(|(_, _, name)| *name).collect();
        let expressions: Vec<String> = strongest.iter().map(|(_, whole, _)| whole.clone()).collect();
        let patterns = expressions.len();
        let scanner = database(expressions, &names)?.create_scanner().map_err(|error| failed(&error))?;
        Ok(Self { scanner, patterns })
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.patterns
    }

    /// No pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns == 0
    }

    /// Counts the ends of matches in a block.
    pub fn count(&mut self, block: &[u8]) -> Result<usize, ScanError> {
        let mut ends = 0;
        self.scanner
            .scan(block, |_, _, _, _| {
                ends += 1;
                Scan::Continue
            })
            .map_err(|error| failed(&error))?;
        Ok(ends)
    }
}
