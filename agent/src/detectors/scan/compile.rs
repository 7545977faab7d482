//! Rules compiled for scanning. Enters: [`LoadedRule`]s. Leaves: a [`RuleSet`] that all workers share, or an error that names
//! file, line and key. Never changed; the exact patterns become programs when somebody searches by them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use regex_automata::{
    meta::{BuildError, Regex},
    nfa::thompson::WhichCaptures,
    util::{captures::Captures, syntax},
};
use regex_syntax::hir::Hir;

use super::{
    factor,
    needs::Needs,
    opening::Opening,
    prefilter::{Backend, ScanError, numbers, pure},
    tail::Tail,
    validators::{self, Validator},
    words::{WordSet, Words},
};
use crate::rules::{
    RuleError, RuleSource, ScanRule,
    scan::{Key, LoadedRule, Trigger, load},
};

/// Bound of one compiled pattern, bytes.
const MAX_NFA_BYTES: usize = 4 * 1024 * 1024;
/// Name of the group that marks the secret itself; without it the whole match is the secret.
const CAPTURE: &str = "capture";

/// One rule, ready to confirm candidates.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) loaded: LoadedRule,
    pub(crate) hir: Hir,
    /// Longest match, bytes.
    pub(crate) longest: usize,
    /// Shortest match, bytes.
    pub(super) shortest: usize,
    /// What matches begin with.
    pub(super) opening: Opening,
    /// What they hold.
    pub(super) needs: Needs,
    exact: Exact,
    /// Has the group `capture`.
    pub(super) captures: bool,
    /// And where that is told without it.
    pub(super) tail: Option<Tail>,
    pub(super) validator: Option<Validator>,
    pub(super) allow: Option<Regex>,
}

/// The pattern of a rule, as a program while somebody searches by it: all programs together have tens of megabytes, and most rules never meet a
/// candidate.
#[derive(Debug, Default)]
struct Exact(Mutex<Weak<Regex>>);

/// All rules. Shared by the workers.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Arc<Compiled>>,
    words: Words,
    pure: OnceLock<Arc<pure::Shared>>,
    /// Backends that have passed the self-test with these rules.
    tested: Mutex<Vec<Backend>>,
}

impl RuleSet {
    /// Loads and compiles the rules of a source.
    pub fn load(source: &RuleSource) -> Result<Arc<Self>, RuleError> {
        Self::load_without(source, &[])
    }

    /// As [`load`](Self::load), without the rules of these ids.
    pub fn load_without(source: &RuleSource, disabled: &[String]) -> Result<Arc<Self>, RuleError> {
        let mut rules = load(source)?;
        rules.retain(|loaded| !disabled.contains(&loaded.rule.id));
        Self::compile(rules)
    }

    /// Compiles rules. The order given is kept.
    pub fn compile(rules: Vec<LoadedRule>) -> Result<Arc<Self>, RuleError> {
        let rules: Result<Vec<Arc<Compiled>>, RuleError> =
            rules.into_iter().map(|loaded| compile(loaded).map(Arc::new)).collect();
        Ok(Self::of(rules?))
    }

    fn of(rules: Vec<Arc<Compiled>>) -> Arc<Self> {
        let words = Words::new(rules.iter().map(|rule| rule.loaded.context.as_slice()));
        Arc::new(Self { rules, words, pure: OnceLock::new(), tested: Mutex::default() })
    }

    /// These rules but those that `is_out` names by index.
    pub fn without(&self, is_out: impl Fn(usize) -> bool) -> Arc<Self> {
        let kept = self.rules.iter().enumerate().filter(|(index, _)| !is_out(*index));
        Self::of(kept.map(|(_, rule)| Arc::clone(rule)).collect())
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// No rule at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule that a [`Match`](super::Match) names by index.
    pub fn rule(&self, index: usize) -> Option<&ScanRule> {
        self.rules.get(index).map(|compiled| &compiled.loaded.rule)
    }

    /// All rules as loaded, in order.
    pub fn loaded(&self) -> impl Iterator<Item = &LoadedRule> {
        self.rules.iter().map(|compiled| &compiled.loaded)
    }

    /// Size of the pure backend's table in bytes, building it when nobody has yet.
    pub fn pure_bytes(&self) -> Result<usize, ScanError> {
        Ok(self.pure()?.bytes())
    }

    pub(crate) fn compiled(&self) -> &[Arc<Compiled>] {
        &self.rules
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// The context words that a rule cannot do without.
    pub(super) fn required(&self, rule: usize) -> Option<&WordSet> {
        self.rules.get(rule).filter(|compiled| compiled.loaded.context_required).and_then(|_| self.words.of(rule))
    }

    /// Runs a backend's self-test, unless it has passed it with these rules: workers share both.
    pub(super) fn tested<E>(&self, backend: Backend, test: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut tested = self.tested.lock().unwrap_or_else(PoisonError::into_inner);
        if !tested.contains(&backend) {
            test()?;
            tested.push(backend);
        }
        Ok(())
    }

    /// The DFA of the pure backend, built on first use: the other backend does not need it.
    pub(super) fn pure(&self) -> Result<Arc<pure::Shared>, ScanError> {
        if let Some(built) = self.pure.get() {
            return Ok(Arc::clone(built));
        }
        // Two workers that get here together both build, and one result is kept: waste, no harm.
        let built = Arc::new(pure::Shared::build(self)?);
        Ok(Arc::clone(self.pure.get_or_init(|| built)))
    }
}

fn compile(loaded: LoadedRule) -> Result<Compiled, RuleError> {
    let (hir, longest) = factor::parse(&loaded.rule.pattern).map_err(|reason| loaded.invalid(Key::Pattern, reason))?;
    match loaded.trigger {
        Trigger::Literal => {
            factor::factor(&hir, &loaded.keywords, pure::SHAPE).and_then(|factor| factor::print(&factor)).map_err(
                |reason| loaded.invalid(if loaded.keywords.is_empty() { Key::Pattern } else { Key::Keywords }, reason),
            )?;
        }
        other => numbers::fits(other, &hir).map_err(|reason| loaded.invalid(Key::Trigger, reason))?,
    }
    let exact = program(&hir).map_err(|error| loaded.invalid(Key::Pattern, error))?;
    let names = exact.group_info().pattern_names(regex_automata::PatternID::ZERO).flatten();
    let captures = names.clone().any(|name| name == CAPTURE);
    if let Some(other) = names.into_iter().find(|name| *name != CAPTURE) {
        return Err(loaded.invalid(Key::Pattern, format_args!("group `{other}`: only `{CAPTURE}` may have a name")));
    }
    let validator = match &loaded.validator {
        None => None,
        Some(name) => Some(validators::by_name(name).ok_or_else(|| {
            let known: Vec<&str> = validators::names().collect();
            loaded.invalid(Key::Validator, format_args!("unknown validator `{name}`; there are {}", known.join(", ")))
        })?),
    };
    let allow = if loaded.allow_patterns.is_empty() {
        None
    } else {
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let built = Regex::builder().syntax(syntax).build_many(&loaded.allow_patterns);
        Some(built.map_err(|error| loaded.invalid(Key::AllowPatterns, error))?)
    };
    Ok(Compiled {
        loaded,
        shortest: hir.properties().minimum_len().unwrap_or(0),
        opening: Opening::of(&hir),
        tail: captures.then(|| Tail::of(&hir)).flatten(),
        needs: Needs::of(&hir),
        hir,
        longest,
        exact: Exact::default(),
        captures,
        validator,
        allow,
    })
}

fn program(hir: &Hir) -> Result<Regex, Box<BuildError>> {
    // What only groups need takes memory in each of hundreds of patterns.
    let has_groups = hir.properties().explicit_captures_len() > 0;
    let which_captures = if has_groups { WhichCaptures::All } else { WhichCaptures::Implicit };
    let config = Regex::config().nfa_size_limit(Some(MAX_NFA_BYTES)).utf8_empty(false);
    let config = config.which_captures(which_captures).onepass(has_groups);
    Regex::builder().configure(config).build_from_hir(hir).map_err(Box::new)
}

impl Compiled {
    /// The exact pattern; whoever keeps it shares it. `None` never is: it was built once, when the rule was compiled.
    pub(super) fn exact(&self) -> Option<Arc<Regex>> {
        let mut known = self.exact.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = known.upgrade() {
            return Some(program);
        }
        let program = Arc::new(program(&self.hir).ok()?);
        *known = Arc::downgrade(&program);
        Some(program)
    }

    /// Extent of the secret in a match.
    pub(super) fn secret(captures: &Captures) -> Option<std::ops::Range<usize>> {
        captures
            .get_group_by_name(CAPTURE)
            .or_else(|| captures.get_match().map(|found| found.span()))
            .map(|span| span.range())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleFile;

    fn error(pattern: &str, more: &str) -> String {
        let text = format!(
            "[[rule]]\nid = \"secret.x\"\nentity = \"X\"\ntitle = \"X\"\nseverity = \"low\"\nconfidence = 1\nremedy = \"x\"\n\
             references = [\"x\"]\nexamples = [\"a\", \"b\", \"c\"]\ncounter_examples = [\"a\", \"b\", \"c\"]\n\
             pattern = '{pattern}'\n{more}\n"
        );
        let rules = crate::rules::scan::parse(&RuleFile { path: "secrets/x.toml".into(), text }).unwrap();
        RuleSet::compile(rules).map(|set| set.len()).unwrap_err().to_string()
    }

    #[test]
    fn bad_rules_are_refused_at_the_line_of_the_key() {
        for (pattern, more, expected) in [
            ("abc[", "", "secrets/x.toml:11: pattern: rule secret.x: "),
            ("abcd[0-9]+", "", "secrets/x.toml:11: pattern: rule secret.x: has no longest match"),
            ("[0-9]{9}", "", "secrets/x.toml:11: pattern: rule secret.x: holds no literal"),
            ("abcd(?P<other>x)", "", "secrets/x.toml:11: pattern: rule secret.x: group `other`"),
            ("abcd", "validator = \"nope\"", "secrets/x.toml:12: validator: rule secret.x: unknown validator `nope`"),
            ("abcd", "allow_patterns = [\"(\"]", "secrets/x.toml:12: allow_patterns: rule secret.x: "),
            ("abcd", "keywords = [\"zz\"]", "secrets/x.toml:12: keywords: rule secret.x: none of the keywords"),
            ("abcd[0-9]{3}", "trigger = \"digits\"", "secrets/x.toml:12: trigger: rule secret.x: a rule with"),
            ("[0-9]{3}-{4}", "trigger = \"digits\"", "secrets/x.toml:12: trigger: rule secret.x: a rule with"),
        ] {
            let error = error(pattern, more);
            assert!(error.starts_with(expected), "{pattern} {more}: {error}");
        }
    }
}
