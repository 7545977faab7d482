//! `[rules]`: what is looked for. Enters: the section. Leaves: where the rules come from and which do not count.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{AbsolutePath, RuleId};
use crate::rules::{RuleError, RuleSource, scan};

/// Rules that detectors hold in code, because they are about what calls do and not about text.
pub(super) const BEHAVIOURS: [&str; 10] = [
    "cost.budget",
    "cost.burn_rate",
    "cost.untracked",
    // `coverage.log-gap` is not among them: that lines were lost is not to be silenced.
    "coverage.unknown_tls_stack",
    "model.flapping",
    "model.resolved_changed",
    "model.retired",
    "model.retiring",
    "model.substituted",
    "model.unpinned",
];

/// What is looked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Folder laid out like the project's `rules/`, used instead of the rules that the program brings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<AbsolutePath>,
    /// Ids of rules that do not count, such as `pii.email` or `model.unpinned`. `outflow rules list` shows the ids; one that
    /// does not exist is an error, so that a slip of the pen leaves no rule on or off unseen.
    pub disable: Vec<RuleId>,
}

impl Rules {
    /// Where the rules come from.
    pub fn source(&self) -> RuleSource {
        self.directory.as_ref().map_or(RuleSource::Embedded, |folder| RuleSource::Folder(folder.get().to_owned()))
    }

    /// Is this rule switched off?
    pub fn is_disabled(&self, id: &str) -> bool {
        self.disable.iter().any(|disabled| disabled.as_str() == id)
    }

    /// The ids that may be disabled.
    pub(super) fn ids(&self) -> Result<Vec<String>, RuleError> {
        let scan = scan::load(&self.source())?.into_iter().map(|loaded| loaded.rule.id);
        Ok(scan.chain(BEHAVIOURS.map(str::to_owned)).collect())
    }
}
