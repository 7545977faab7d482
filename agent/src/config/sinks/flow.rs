//! What all sinks have in common: `only`, `except` and `max_per_minute`. Enters: the keys. Leaves: a [`Flow`], that says of each finding
//! whether it goes to the sink. It knows no receiver.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::{amounts::Count, names::NameGlob},
    findings::{Category, Finding},
    units::Severity,
};

/// Which findings are meant. All keys of an entry must fit, of each list one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FindingMatch {
    /// Of this severity or a graver one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Of one of these kinds of trouble.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<Category>,
    /// Of a rule of one of these groups, by the name of their file: `llm`, `national`. What calls do has no group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<NameGlob>,
    /// Of one of these rules, such as `secret.*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<NameGlob>,
    /// Of one of these services, such as `checkout-*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<NameGlob>,
}

impl FindingMatch {
    /// Some key is given.
    pub fn names_something(&self) -> bool {
        *self != Self::default()
    }

    /// This finding is meant.
    pub fn fits(&self, finding: &Finding) -> bool {
        let is_one = |globs: &[NameGlob], name: &str| globs.is_empty() || globs.iter().any(|glob| glob.matches(name));
        let group = finding.group.as_deref();
        self.severity.is_none_or(|least| finding.severity >= least)
            && (self.categories.is_empty() || self.categories.contains(&finding.category))
            && (self.groups.is_empty() || group.is_some_and(|group| is_one(&self.groups, group)))
            && is_one(&self.rules, &finding.rule.id)
            && is_one(&self.services, &finding.process.service)
    }
}

/// Which findings go to a sink, and how many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    only: Vec<FindingMatch>,
    except: Vec<FindingMatch>,
    /// Most records a minute.
    pub max_per_minute: Option<usize>,
}

impl Flow {
    pub(super) fn new(
        only: &[FindingMatch],
        except: &[FindingMatch],
        max_per_minute: Option<Count<1, 1_000_000>>,
    ) -> Self {
        Self { only: only.to_vec(), except: except.to_vec(), max_per_minute: max_per_minute.map(Count::get) }
    }

    /// Entries that name nothing: their list, and their place in it.
    pub(in crate::config) fn nameless(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let lists = [("only", &self.only), ("except", &self.except)];
        lists.into_iter().flat_map(|(list, entries)| {
            let empty = entries.iter().enumerate().filter(|(_, entry)| !entry.names_something());
            empty.map(move |(number, _)| (list, number))
        })
    }

    /// This finding goes there.
    pub fn takes(&self, finding: &Finding) -> bool {
        (self.only.is_empty() || self.only.iter().any(|entry| entry.fits(finding)))
            && !self.except.iter().any(|entry| entry.fits(finding))
    }
}
