//! `[rules]`: what is looked for, and what of it is told. Enters: the section. Leaves: where the rules come from, which do not count,
//! what is different for some, and what the user allows.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    allowed::{FileGlob, FingerprintValue, Reason, TextPattern},
    names::{AbsolutePath, NameGlob, RuleId},
};
use crate::{
    findings::{Allow, Policy},
    rules::{BehaviourRules, Change, RuleError, RuleSource, Selection},
    units::Severity,
};

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Folder laid out like the project's `rules/`, used instead of the rules that the program brings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<AbsolutePath>,
    /// Files of scan rules, and folders of such files, that come on top of the others. They have the keys of the project's own
    /// rules (`rules/README.md`), with ids that begin with `custom.`, `pii.` or `secret.`; `outflow rules check` proves them. A
    /// rule that would make the scanner look twice at more than half of ordinary text is refused.
    pub add: Vec<AbsolutePath>,
    /// Ids of rules that do not count, such as `pii.email` or `model.unpinned`. `outflow rules list` shows the ids; one that
    /// does not exist is an error, so that a slip of the pen leaves no rule on or off unseen.
    pub disable: Vec<RuleId>,
    /// Whether `outflow:allow` on a line of a log or file takes the secrets of this line out of the findings, and
    /// `outflow:allow=RULE` those of one rule. Prompts and answers are never silenced so: whoever writes them could hide in them.
    pub inline_allow: bool,
    /// What is different for a rule; `[[rules.override]]` may be given once for each.
    #[serde(rename = "override")]
    pub overrides: Vec<RuleOverride>,
    /// What is found and not told; `[[rules.allow]]` may be given many times. An entry needs a reason and at least one of
    /// `fingerprints`, `paths`, `services` and `patterns`; a finding must fit all keys of an entry, of each list one. What is not told is
    /// counted: in summaries, and in the metric `outflow_suppressed_findings_total`.
    pub allow: Vec<RuleAllow>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            directory: None,
            add: Vec::new(),
            disable: Vec::new(),
            inline_allow: true,
            overrides: Vec::new(),
            allow: Vec::new(),
        }
    }
}

/// What is different for a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleOverride {
    /// The id of the rule. One that does not exist is an error.
    pub id: RuleId,
    /// Whether the rule counts; `false` is the same as the id in `disable`.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How grave a match is, instead of what the rule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// 0 to 100, for a match with nothing to confirm it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<u32>,
    /// What its findings say is to be done, instead of what the rule says: whom to call, which page to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

fn yes() -> bool {
    true
}

/// What is found and not told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleAllow {
    /// Why this is no trouble, for whoever reads the file next year.
    pub reason: Reason,
    /// Only findings of these rules: ids, or patterns of ids (`"pii.*"`). Without it, of all.
    #[serde(default)]
    pub rules: Vec<NameGlob>,
    /// Values, by their fingerprints, as findings tell them. They count under the fingerprint key that they were made with.
    #[serde(default)]
    pub fingerprints: Vec<FingerprintValue>,
    /// Log files and scanned files. A pattern that begins with `/` means the whole path, any other one its end.
    #[serde(default)]
    pub paths: Vec<FileGlob>,
    /// Services whose calls or logs these are.
    #[serde(default)]
    pub services: Vec<NameGlob>,
    /// Patterns that are searched in the matched text itself; `^` and `$` are its ends.
    #[serde(default)]
    pub patterns: Vec<TextPattern>,
}

impl Rules {
    /// Where the rules come from.
    pub fn source(&self) -> RuleSource {
        self.directory.as_ref().map_or(RuleSource::Embedded, |folder| RuleSource::Folder(folder.get().to_owned()))
    }

    /// Which rules count, and how.
    pub fn selection(&self) -> Selection {
        let switched_off = self.overrides.iter().filter(|one| !one.enabled).map(|one| &one.id);
        Selection {
            source: self.source(),
            added: self.add.iter().map(|path| PathBuf::from(path.get())).collect(),
            disabled: self.disable.iter().chain(switched_off).map(|id| id.as_str().to_owned()).collect(),
            changes: self.overrides.iter().map(RuleOverride::change).collect(),
        }
    }

    /// What is not told of what is found.
    pub fn policy(&self) -> Policy {
        Policy {
            allow: self.allow.iter().map(RuleAllow::taken).collect(),
            ignore_marks: !self.inline_allow,
            ..Policy::default()
        }
    }

    /// Is this rule switched off?
    pub fn is_disabled(&self, id: &str) -> bool {
        self.selection().disabled.iter().any(|disabled| disabled == id)
    }

    /// The ids that there are.
    pub(super) fn ids(&self) -> Result<Vec<String>, RuleError> {
        let scan = self.selection().all()?.into_iter().map(|loaded| loaded.rule.id);
        let behaviours = BehaviourRules::load(&self.source())?;
        let behaviours = behaviours.iter().filter(|rule| !rule.always).map(|rule| rule.id.clone());
        Ok(scan.chain(behaviours).collect())
    }
}

impl RuleOverride {
    fn change(&self) -> Change {
        Change {
            id: self.id.as_str().to_owned(),
            severity: self.severity,
            confidence: self.confidence.and_then(|confidence| u8::try_from(confidence).ok()),
            remedy: self.remedy.clone(),
        }
    }
}

impl RuleAllow {
    /// It names something besides rules: a rule as a whole is disabled, not allowed.
    pub(super) fn names_something(&self) -> bool {
        let Self { fingerprints, paths, services, patterns, .. } = self;
        !(fingerprints.is_empty() && paths.is_empty() && services.is_empty() && patterns.is_empty())
    }

    fn taken(&self) -> Allow {
        Allow {
            rules: self.rules.iter().map(|glob| glob.matcher().clone()).collect(),
            fingerprints: self.fingerprints.iter().map(|print| print.as_str().to_owned()).collect(),
            paths: self.paths.iter().map(|glob| glob.matcher().clone()).collect(),
            services: self.services.iter().map(|glob| glob.matcher().clone()).collect(),
            patterns: self.patterns.iter().map(|pattern| pattern.regex().clone()).collect(),
        }
    }
}
