//! Scan rules: what one looks like, and reading them from TOML. Enters: rule files. Leaves: [`LoadedRule`]s, checked as far as
//! text can be checked; patterns are compiled, and validators looked up, by `detectors::scan`. It never runs a pattern.

use crate::{
    rules::{RuleError, RuleFile, RuleSource},
    units::Severity,
};

mod parse;

pub use self::parse::parse;

/// Folders below `rules/` that hold scan rules.
pub const FOLDERS: [&str; 2] = ["pii", "secrets"];

/// Examples and counter-examples that every rule must bring along, of each at least this many.
pub const MIN_EXAMPLES: usize = 3;

/// One scan rule as its TOML file states it: what a finding says about it.
#[derive(Clone, Debug)]
pub struct ScanRule {
    /// Stable id, `secret.openai-api-key` or `pii.email`.
    pub id: String,
    /// Which rules it stands with: the name of its file without `.toml`, `llm` or `national`.
    pub group: String,
    /// Entity name; Presidio's where Presidio has one: `EMAIL_ADDRESS`, `CREDIT_CARD`.
    pub entity: String,
    /// What it is, for people: `OpenAI API key`.
    pub title: String,
    /// How grave a match is.
    pub severity: Severity,
    /// 0 to 100, before context words and checksums.
    pub confidence: u8,
    /// Exact pattern (`regex` crate syntax, bytes).
    pub pattern: String,
    /// What to do about a match, one sentence.
    pub remedy: String,
    /// Where the facts of the rule come from.
    pub references: Vec<String>,
}

/// A scan rule with all that matching and proving it needs.
#[derive(Clone, Debug)]
pub struct LoadedRule {
    /// What a finding says about it.
    pub rule: ScanRule,
    /// Literals of which stage 1 must look for one; only needed where the pattern's own literals are shorter than three bytes.
    pub keywords: Vec<String>,
    /// How stage 1 finds candidates.
    pub trigger: Trigger,
    /// Name of a validator of `detectors::scan::validators`.
    pub validator: Option<String>,
    /// Words that, near a match, make it surer.
    pub context: Vec<String>,
    /// Without a context word near it a match does not count.
    pub context_required: bool,
    /// Secrets that are never reported, compared without case: keys of a vendor's documentation.
    pub allow: Vec<String>,
    /// Patterns of secrets that are never reported (`regex` syntax, searched in the secret).
    pub allow_patterns: Vec<String>,
    /// Which of two rules gets overlapping text: the higher. 50 for a shape that only one issuer uses, less for a general one.
    pub priority: u8,
    /// Texts that this rule, and no other, must find something in.
    pub examples: Vec<String>,
    /// Texts that this rule must find nothing in.
    pub counter_examples: Vec<String>,
    /// Where it stands.
    pub place: Place,
}

impl LoadedRule {
    /// An error about this rule, at the line of one of its keys.
    pub fn invalid(&self, key: Key, message: impl std::fmt::Display) -> RuleError {
        RuleError::Invalid {
            file: self.place.file.clone(),
            line: self.place.line(key),
            message: format!("{}: rule {}: {message}", key.as_str(), self.rule.id),
        }
    }
}

/// How stage 1 finds candidates for a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// By a literal of the pattern, through the multi-pattern database.
    #[default]
    Literal,
    /// By runs of digits with separators. What a run must hold is read off the pattern, which may match other bytes besides.
    Digits,
    /// By colons: `::`, or four colons with at most four bytes between neighbours.
    Colons,
    /// By two capital letters followed directly by two digits, anywhere in the match.
    Capitals,
    /// By runs of letters and digits that hold a digit. Their lengths and bytes are read off the pattern.
    Runs,
    /// By six pairs of hexadecimal digits joined by `:` or `-`, or three groups of four joined by `.`.
    Pairs,
}

impl Trigger {
    /// As the rule file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Literal => "literal",
            Self::Digits => "digits",
            Self::Colons => "colons",
            Self::Capitals => "capitals",
            Self::Runs => "runs",
            Self::Pairs => "pairs",
        }
    }
}

/// The keys of a rule that a later check may complain about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `id`
    Id,
    /// `pattern`
    Pattern,
    /// `keywords`
    Keywords,
    /// `trigger`
    Trigger,
    /// `validator`
    Validator,
    /// `allow_patterns`
    AllowPatterns,
    /// `examples`
    Examples,
    /// `counter_examples`
    CounterExamples,
}

impl Key {
    /// As the rule file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Pattern => "pattern",
            Self::Keywords => "keywords",
            Self::Trigger => "trigger",
            Self::Validator => "validator",
            Self::AllowPatterns => "allow_patterns",
            Self::Examples => "examples",
            Self::CounterExamples => "counter_examples",
        }
    }
}

/// File and lines of a rule.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Path below `rules/`.
    pub file: String,
    /// Line of `id`, 1-based; the other keys fall back to it when they are not written.
    id: usize,
    others: Vec<(&'static str, usize)>,
}

impl Place {
    /// Line of a key, 1-based.
    pub fn line(&self, key: Key) -> usize {
        self.others.iter().find(|(name, _)| *name == key.as_str()).map_or(self.id, |(_, line)| *line)
    }
}

/// Reads all scan rules of a source, sorted by id. Two rules of one id are an error.
pub fn load(source: &RuleSource) -> Result<Vec<LoadedRule>, RuleError> {
    parse_all(&files_of(source)?)
}

/// The files of a source that hold scan rules.
pub(super) fn files_of(source: &RuleSource) -> Result<Vec<RuleFile>, RuleError> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        files.extend(source.files(folder)?);
    }
    Ok(files)
}

/// As [`load`], from texts.
pub fn parse_all(files: &[RuleFile]) -> Result<Vec<LoadedRule>, RuleError> {
    let mut rules = Vec::new();
    for file in files {
        rules.extend(parse(file)?);
    }
    // A stable sort: of two rules with one id the later one in reading order is the one that is refused.
    rules.sort_by(|a: &LoadedRule, b| a.rule.id.cmp(&b.rule.id));
    for pair in rules.windows(2) {
        if let [first, second] = pair
            && first.rule.id == second.rule.id
        {
            let at = format!("{}:{}", first.place.file, first.place.line(Key::Id));
            return Err(second.invalid(Key::Id, format_args!("the id is taken by the rule at {at}; choose another")));
        }
    }
    Ok(rules)
}
