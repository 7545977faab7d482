//! The rules of one file of `rules/models/`, compiled. Enters: what the file says. Leaves: the class of an id, and when it ends.

use std::collections::HashMap;

use regex::Regex;
use toml::Spanned;

use super::{
    Class, DAY_NS, End, Extent, Pin, Shutdown,
    file::{self, PatternFile, RETIRING, RetiringFile, Severities, ShutdownFile, VendorFile, invalid},
};
use crate::{
    rules::{RuleError, RuleFile},
    units::{Severity, Timestamp},
};

#[derive(Clone, Debug)]
pub(super) struct Vendor {
    /// Vendors whose rules read the id that answers.
    pub(super) resolved_by: Vec<String>,
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
    id: String,
    regex: Regex,
    pin: Pin,
    note: String,
    references: Vec<String>,
}

impl Vendor {
    pub(super) fn new(file: &RuleFile, parsed: VendorFile) -> Result<Self, RuleError> {
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
                    id: pattern.id.clone(),
                    regex: compile(file, &pattern.pattern)?,
                    pin: pattern.class,
                    note: pattern.note.clone(),
                    references: [pattern.references.as_slice(), &parsed.references].concat(),
                })
            })
            .collect::<Result<_, RuleError>>()?;
        let mut retiring = if parsed.retiring.is_empty() { RETIRING.to_vec() } else { parsed.retiring };
        retiring.sort_by_key(|window| window.within_days);
        let mut vendor = Self {
            resolved_by: parsed.resolved_by,
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
                if self.deciding(self.base(&example.to_lowercase())) != Some(index) {
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
        let shutdown = file::shutdown(file, &parsed.date)?;
        let index = self.shutdowns.len();
        for model in parsed.models {
            if self.ends.insert(model.as_ref().to_lowercase(), index).is_some() {
                return Err(invalid(file, &model.span(), "this id already has a shut-down date"));
            }
        }
        self.shutdowns.push(Shutdown { replacement: parsed.replacement, references: parsed.references, ..shutdown });
        Ok(())
    }

    /// The class of an id in lower case, whatever its end.
    pub(super) fn classify(&self, model: &str) -> Class<'_> {
        match self.deciding(self.base(model)).and_then(|index| self.patterns.get(index)) {
            Some(pattern) => Class {
                pin: pattern.pin,
                severity: self.severity.of(pattern.pin),
                pattern: &pattern.id,
                note: &pattern.note,
                references: &pattern.references,
                end: None,
            },
            None => Class {
                pin: Pin::Unknown,
                severity: self.severity.of(Pin::Unknown),
                pattern: "",
                note: "",
                references: &[],
                end: None,
            },
        }
    }

    /// What an id in lower case inherits from, or the id itself.
    pub(super) fn base<'a>(&self, model: &'a str) -> &'a str {
        self.inherit.as_ref().and_then(|regex| regex.captures(model)?.get(1)).map_or(model, |base| base.as_str())
    }

    /// The end of exactly this id.
    pub(super) fn shutdown(&self, id: &str) -> Option<&Shutdown> {
        self.shutdowns.get(*self.ends.get(id)?)
    }

    /// Whether an end is past or near.
    pub(super) fn end<'a>(&self, shutdown: &'a Shutdown, at: Timestamp) -> Option<End<'a>> {
        end(shutdown, at, self.severity.retired, &self.retiring)
    }

    pub(super) fn extent(&self) -> Extent {
        Extent { patterns: self.patterns.len(), dates: self.ends.len(), listed_dates: 0 }
    }

    fn deciding(&self, id: &str) -> Option<usize> {
        self.patterns.iter().position(|pattern| pattern.regex.is_match(id))
    }
}

/// Whether an end is past or near. A date from a list that others keep is one step less grave, and far ones are not worth a finding.
pub(super) fn end<'a>(
    shutdown: &'a Shutdown,
    at: Timestamp,
    retired: Severity,
    retiring: &[RetiringFile],
) -> Option<End<'a>> {
    let graded = |severity| if shutdown.is_listed { lower(severity) } else { Some(severity) };
    if at >= shutdown.at {
        let days = i64::try_from(at.since_ns(shutdown.at) / DAY_NS).unwrap_or(i64::MAX);
        return Some(End { days_left: -days, severity: graded(retired)?, shutdown });
    }
    let days = shutdown.at.since_ns(at).div_ceil(DAY_NS);
    let window = retiring.iter().find(|window| days <= u64::from(window.within_days))?;
    Some(End { days_left: i64::try_from(days).unwrap_or(i64::MAX), severity: graded(window.severity)?, shutdown })
}

/// One step less grave; `None` when that is not worth telling.
fn lower(severity: Severity) -> Option<Severity> {
    match severity {
        Severity::Critical => Some(Severity::High),
        Severity::High => Some(Severity::Medium),
        Severity::Medium => Some(Severity::Low),
        Severity::Low | Severity::Info => None,
    }
}

fn compile(file: &RuleFile, pattern: &Spanned<String>) -> Result<Regex, RuleError> {
    Regex::new(pattern.as_ref()).map_err(|error| invalid(file, &pattern.span(), &error.to_string()))
}
