//! Model rules: which model identifiers are pinned, per vendor, and when they stop working. Enters: `rules/models/*.toml`.
//! Leaves: a [`Class`] for an id. It never decides by the look of an id alone: every class comes from a pattern of the file.

use std::{collections::HashMap, ops::Range};

use regex::Regex;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{RuleError, RuleFile, RuleSource, line_of};
use crate::units::{Severity, Timestamp};

const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// All model rules, one set a vendor.
#[derive(Clone, Debug, Default)]
pub struct ModelRules {
    vendors: HashMap<String, Vendor>,
}

/// How firmly an id names a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pin {
    /// The vendor promises that the id never changes.
    Pinned,
    /// A documented pointer that moves.
    Alias,
    /// The id itself says that it follows the newest.
    Latest,
    /// May change or vanish at short notice.
    Preview,
    /// The name hides the model: a deployment, a profile, a gateway's alias.
    Opaque,
    /// The vendor serves no stable id for this.
    Unpinnable,
    /// No rule.
    Unknown,
}

impl Pin {
    /// The word that every output uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Alias => "alias",
            Self::Latest => "latest",
            Self::Preview => "preview",
            Self::Opaque => "opaque",
            Self::Unpinnable => "unpinnable",
            Self::Unknown => "unknown",
        }
    }
}

/// What the rules say about one id at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class<'a> {
    /// How firmly it names a model.
    pub pin: Pin,
    /// How grave that is.
    pub severity: Severity,
    /// Why, one sentence; empty when no rule knows the id.
    pub note: &'a str,
    /// Addresses of the documents that say so.
    pub references: &'a [String],
    /// Whether its end is past or near.
    pub end: Option<End<'a>>,
}

/// The end of a model id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End<'a> {
    /// Days from the call to the shut-down, rounded up; zero or less when it is past.
    pub days_left: i64,
    /// How grave that is.
    pub severity: Severity,
    /// The shut-down.
    pub shutdown: &'a Shutdown,
}

impl End<'_> {
    /// The date is past.
    pub fn is_past(&self) -> bool {
        self.days_left <= 0
    }
}

/// A shut-down that a vendor announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// The day, `2026-10-23`.
    pub date: String,
    /// Midnight UTC at the start of that day.
    pub at: Timestamp,
    /// What the vendor recommends instead.
    pub replacement: Option<String>,
    /// Addresses of the documents that say so.
    pub references: Vec<String>,
}

#[derive(Clone, Debug)]
struct Vendor {
    inherit: Option<Regex>,
    severity: Severities,
    /// Ascending by days.
    retiring: Vec<RetiringFile>,
    patterns: Vec<Pattern>,
    shutdowns: Vec<Shutdown>,
    /// Index into `shutdowns` by id.
    ends: HashMap<String, usize>,
}

#[derive(Clone, Debug)]
struct Pattern {
    regex: Regex,
    pin: Pin,
    note: String,
    references: Vec<String>,
}

// What a file may say; anything else in it is refused.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VendorFile {
    vendor: Spanned<String>,
    references: Vec<String>,
    inherit: Option<Spanned<String>>,
    severity: Severities,
    #[serde(default)]
    retiring: Vec<RetiringFile>,
    pattern: Vec<PatternFile>,
    #[serde(default)]
    shutdown: Vec<ShutdownFile>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Severities {
    pinned: Severity,
    alias: Severity,
    latest: Severity,
    preview: Severity,
    opaque: Severity,
    unpinnable: Severity,
    unknown: Severity,
    retired: Severity,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetiringFile {
    within_days: u32,
    severity: Severity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternFile {
    id: String,
    pattern: Spanned<String>,
    class: Pin,
    note: String,
    #[serde(default)]
    references: Vec<String>,
    examples: Spanned<Vec<String>>,
    #[serde(default)]
    counter_examples: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShutdownFile {
    date: Spanned<toml::value::Datetime>,
    models: Vec<Spanned<String>>,
    replacement: Option<String>,
    references: Vec<String>,
}

impl ModelRules {
    /// Reads and checks `models/*.toml`: every pattern compiles, decides its own examples and leaves its counter-examples.
    pub fn load(source: &RuleSource) -> Result<Self, RuleError> {
        let mut vendors = HashMap::new();
        for file in source.files("models")? {
            let parsed: VendorFile = toml::from_str(&file.text).map_err(|error| {
                let span = error.span().unwrap_or_default();
                invalid(&file, &span, error.message())
            })?;
            let span = parsed.vendor.span();
            let name = parsed.vendor.as_ref().to_lowercase();
            let vendor = Vendor::new(&file, parsed)?;
            if vendors.insert(name, vendor).is_some() {
                return Err(invalid(&file, &span, "another file has this vendor: one file a vendor"));
            }
        }
        Ok(Self { vendors })
    }

    /// What the rules say about an id that was asked for at that time. A vendor without rules gives [`Pin::Unknown`].
    pub fn classify(&self, vendor: &str, model: &str, at: Timestamp) -> Class<'_> {
        self.vendors.get(vendor).map_or(
            Class { pin: Pin::Unknown, severity: Severity::Info, note: "", references: &[], end: None },
            |rules| rules.classify(model, at),
        )
    }

    /// Ids of the vendors that have rules, sorted.
    pub fn vendors(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.vendors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl Vendor {
    fn new(file: &RuleFile, parsed: VendorFile) -> Result<Self, RuleError> {
        let inherit = match &parsed.inherit {
            None => None,
            Some(pattern) => {
                let regex = compile(file, pattern)?;
                if regex.captures_len() != 2 {
                    return Err(invalid(file, &pattern.span(), "needs exactly one group: the id to look at instead"));
                }
                Some(regex)
            }
        };
        let patterns = parsed
            .pattern
            .iter()
            .map(|pattern| {
                Ok(Pattern {
                    regex: compile(file, &pattern.pattern)?,
                    pin: pattern.class,
                    note: pattern.note.clone(),
                    references: [pattern.references.as_slice(), &parsed.references].concat(),
                })
            })
            .collect::<Result<_, RuleError>>()?;
        let mut retiring = parsed.retiring;
        retiring.sort_by_key(|window| window.within_days);
        let mut vendor = Self {
            inherit,
            severity: parsed.severity,
            retiring,
            patterns,
            shutdowns: Vec::new(),
            ends: HashMap::new(),
        };
        vendor.check_examples(file, &parsed.pattern)?;
        for shutdown in parsed.shutdown {
            vendor.add_shutdown(file, shutdown)?;
        }
        Ok(vendor)
    }

    fn check_examples(&self, file: &RuleFile, patterns: &[PatternFile]) -> Result<(), RuleError> {
        for (index, pattern) in patterns.iter().enumerate() {
            if pattern.examples.as_ref().is_empty() {
                return Err(invalid(file, &pattern.examples.span(), "a pattern needs at least one example"));
            }
            for example in pattern.examples.as_ref() {
                if self.deciding(&example.to_lowercase()) != Some(index) {
                    let message = format!("`{example}` is not decided by pattern `{}`", pattern.id);
                    return Err(invalid(file, &pattern.examples.span(), &message));
                }
            }
            for example in &pattern.counter_examples {
                if self.patterns.get(index).is_some_and(|rule| rule.regex.is_match(example.as_ref())) {
                    let message = format!("`{}` matches pattern `{}`", example.as_ref(), pattern.id);
                    return Err(invalid(file, &example.span(), &message));
                }
            }
        }
        Ok(())
    }

    fn add_shutdown(&mut self, file: &RuleFile, parsed: ShutdownFile) -> Result<(), RuleError> {
        let span = parsed.date.span();
        let wrong_date = || invalid(file, &span, "write a plain day: 2026-10-23");
        let date = parsed.date.as_ref().date.filter(|_| parsed.date.as_ref().time.is_none()).ok_or_else(wrong_date)?;
        let day = jiff::civil::Date::new(
            i16::try_from(date.year).map_err(|_| wrong_date())?,
            i8::try_from(date.month).map_err(|_| wrong_date())?,
            i8::try_from(date.day).map_err(|_| wrong_date())?,
        )
        .map_err(|_| wrong_date())?;
        let start = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong_date())?;
        let at = u64::try_from(start.timestamp().as_nanosecond()).map_err(|_| wrong_date())?;
        let index = self.shutdowns.len();
        for model in parsed.models {
            if self.ends.insert(model.as_ref().to_lowercase(), index).is_some() {
                return Err(invalid(file, &model.span(), "this id already has a shut-down date"));
            }
        }
        self.shutdowns.push(Shutdown {
            date: day.to_string(),
            at: Timestamp(at),
            replacement: parsed.replacement,
            references: parsed.references,
        });
        Ok(())
    }

    fn classify(&self, model: &str, at: Timestamp) -> Class<'_> {
        let model = model.to_lowercase();
        let id = self
            .inherit
            .as_ref()
            .and_then(|regex| regex.captures(&model)?.get(1))
            .map_or(&*model, |base| base.as_str());
        let end = self.end(id, at);
        match self.deciding(id).and_then(|index| self.patterns.get(index)) {
            Some(pattern) => Class {
                pin: pattern.pin,
                severity: self.severity.of(pattern.pin),
                note: &pattern.note,
                references: &pattern.references,
                end,
            },
            None => Class { pin: Pin::Unknown, severity: self.severity.unknown, note: "", references: &[], end },
        }
    }

    fn deciding(&self, id: &str) -> Option<usize> {
        self.patterns.iter().position(|pattern| pattern.regex.is_match(id))
    }

    fn end(&self, id: &str, at: Timestamp) -> Option<End<'_>> {
        let shutdown = self.shutdowns.get(*self.ends.get(id)?)?;
        if at >= shutdown.at {
            let days = i64::try_from(at.since_ns(shutdown.at) / DAY_NS).unwrap_or(i64::MAX);
            return Some(End { days_left: -days, severity: self.severity.retired, shutdown });
        }
        let days = shutdown.at.since_ns(at).div_ceil(DAY_NS);
        let window = self.retiring.iter().find(|window| days <= u64::from(window.within_days))?;
        Some(End { days_left: i64::try_from(days).unwrap_or(i64::MAX), severity: window.severity, shutdown })
    }
}

impl Severities {
    fn of(self, pin: Pin) -> Severity {
        match pin {
            Pin::Pinned => self.pinned,
            Pin::Alias => self.alias,
            Pin::Latest => self.latest,
            Pin::Preview => self.preview,
            Pin::Opaque => self.opaque,
            Pin::Unpinnable => self.unpinnable,
            Pin::Unknown => self.unknown,
        }
    }
}

fn compile(file: &RuleFile, pattern: &Spanned<String>) -> Result<Regex, RuleError> {
    Regex::new(pattern.as_ref()).map_err(|error| invalid(file, &pattern.span(), &error.to_string()))
}

/// The key is what stands before `=` on the line, or above it when the value runs over several lines.
fn invalid(file: &RuleFile, span: &Range<usize>, message: &str) -> RuleError {
    let line = line_of(&file.text, span.start);
    let key = file.text.lines().take(line).collect::<Vec<_>>().into_iter().rev().find_map(|text| {
        let (key, _) = text.split_once('=')?;
        let key = key.trim();
        (!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then_some(key)
    });
    let message = match key {
        Some(key) => format!("`{key}`: {message}"),
        None => message.to_owned(),
    };
    RuleError::Invalid { file: file.path.clone(), line, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_392_000_000_000_000); // 23 November 2026

    fn rules() -> ModelRules {
        ModelRules::load(&RuleSource::Embedded).expect("the rules that we ship load")
    }

    #[test]
    fn ids_have_their_class() {
        let cases = [
            ("openai", "gpt-4o-2024-08-06", Pin::Pinned, Severity::Info),
            ("openai", "GPT-4o", Pin::Alias, Severity::Medium),
            ("openai", "gpt-5.6-sol", Pin::Alias, Severity::Medium),
            ("openai", "chatgpt-4o-latest", Pin::Latest, Severity::High),
            ("openai", "gpt-4-1106-preview", Pin::Pinned, Severity::Info),
            ("openai", "gpt-4-turbo-preview", Pin::Preview, Severity::High),
            ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc123", Pin::Pinned, Severity::Info),
            ("openai", "ft:gpt-3.5-turbo:acme::abc123", Pin::Alias, Severity::Medium),
            ("openai", "text-embedding-3-small", Pin::Unpinnable, Severity::Info),
            ("openai", "acme-private-model", Pin::Unknown, Severity::Info),
            ("openai", "", Pin::Unknown, Severity::Info),
            ("anthropic", "claude-sonnet-4-5-20250929", Pin::Pinned, Severity::Info),
            ("anthropic", "claude-sonnet-4-5", Pin::Alias, Severity::Medium),
            ("anthropic", "claude-sonnet-4-6", Pin::Pinned, Severity::Info),
            ("anthropic", "claude-fable-5", Pin::Pinned, Severity::Info),
            ("anthropic", "claude-3-5-haiku-latest", Pin::Latest, Severity::High),
            ("nobody", "gpt-4o", Pin::Unknown, Severity::Info),
        ];
        let rules = rules();
        for (vendor, model, pin, severity) in cases {
            let class = rules.classify(vendor, model, NOW);
            assert_eq!((class.pin, class.severity), (pin, severity), "{vendor} {model}");
            assert_eq!(class.note.is_empty(), pin == Pin::Unknown, "{vendor} {model}");
            assert_eq!(class.references.is_empty(), pin == Pin::Unknown, "{vendor} {model}");
        }
    }

    #[test]
    fn the_end_depends_on_the_day_of_the_call() {
        let day = |days: i64| Timestamp(NOW.0.saturating_add_signed(days * 86_400_000_000_000));
        let cases = [
            ("openai", "gpt-4", NOW, Some((-31, Severity::Critical))),
            ("openai", "gpt-4", day(-32), Some((1, Severity::High))),
            ("openai", "gpt-4", day(-31), Some((0, Severity::Critical))),
            ("openai", "gpt-4", day(-600), None),
            ("openai", "gpt-5", NOW, Some((18, Severity::High))),
            ("openai", "gpt-4o", NOW, Some((52, Severity::Medium))),
            ("openai", "ft:gpt-4o-2024-08-06:acme::x", NOW, Some((52, Severity::Medium))),
            ("openai", "gpt-5.6-sol", NOW, None),
            ("anthropic", "claude-sonnet-4-5", NOW, Some((7, Severity::High))),
            ("anthropic", "claude-3-opus-20240229", NOW, Some((-322, Severity::Critical))),
            ("anthropic", "claude-3-5-haiku-20241022", NOW, Some((-277, Severity::Critical))),
            ("anthropic", "claude-3-5-haiku-latest", NOW, Some((-277, Severity::Critical))),
        ];
        let rules = rules();
        for (vendor, model, at, expected) in cases {
            let end = rules.classify(vendor, model, at).end;
            assert_eq!(end.map(|end| (end.days_left, end.severity)), expected, "{vendor} {model} {}", at.rfc3339());
            assert!(end.is_none_or(|end| !end.shutdown.references.is_empty()));
        }
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let whole = "vendor = 'x'\nreferences = []\n[severity]\npinned = 'info'\nalias = 'low'\nlatest = 'low'\npreview = 'low'\n\
            opaque = 'low'\nunpinnable = 'low'\nunknown = 'info'\nretired = 'high'\n[[pattern]]\nid = 'p'\npattern = '^a$'\n\
            class = 'alias'\nnote = 'n'\nexamples = ['a']\ncounter_examples = ['b']\n[[shutdown]]\ndate = 2026-01-01\n\
            models = ['a']\nreferences = []\n";
        let load = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("models")).unwrap();
            std::fs::write(folder.path().join("models/x.toml"), text).unwrap();
            ModelRules::load(&RuleSource::Folder(folder.path().to_owned()))
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        assert_eq!(load(whole), Ok(()));
        let cases = [
            ("class = 'alias'", "class = 'alais'", "models/x.toml:15: `class`: unknown variant `alais`"),
            ("note = 'n'", "notes = 'n'", "models/x.toml:16: `notes`: unknown field `notes`"),
            ("pattern = '^a$'", "pattern = '^a($'", "models/x.toml:14: `pattern`: regex parse error"),
            ("examples = ['a']", "examples = ['c']", "models/x.toml:17: `examples`: `c` is not decided by pattern `p`"),
            ("examples = ['a']", "examples = []", "models/x.toml:17: `examples`: a pattern needs"),
            ("['b']", "['a']", "models/x.toml:18: `counter_examples`: `a` matches pattern `p`"),
            ("date = 2026-01-01", "date = 12:00:00", "models/x.toml:20: `date`: write a plain day"),
            ("models = ['a']", "models = ['a', 'A']", "models/x.toml:21: `models`: this id already has"),
            (
                "references = []\n[severity]",
                "references = []\ninherit = 'a'\n[severity]",
                "models/x.toml:3: `inherit`: needs exactly one group",
            ),
            ("alias = 'low'", "alias = 'lo'", "models/x.toml:5: `alias`: unknown variant `lo`"),
        ];
        for (from, to, expected) in cases {
            let error = load(&whole.replacen(from, to, 1)).expect_err(to);
            assert!(error.starts_with(expected), "{to}: {error}");
        }
        let error = load(&whole.replace("retired = 'high'\n", "")).expect_err("a missing severity");
        assert!(error.contains("missing field `retired`"), "{error}");
    }
}
