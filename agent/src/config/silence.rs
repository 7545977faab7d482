//! `[[silence]]`: findings that nobody is to be told of for a while. Enters: the section. Leaves: what is meant, and until when. It reads no
//! clock: a finding carries its own time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    allowed::{FingerprintValue, Reason},
    leaf::{Leaf as _, leaf_text},
    names::NameGlob,
};
use crate::{
    findings::{Activity, Finding},
    units::Timestamp,
};

leaf_text! {
    /// A point in time.
    Moment,
    "a time by RFC 3339 in quotes, such as \"2026-12-24T18:00:00Z\"",
    |text| Timestamp::parse(text).map(|_| text.to_owned()).ok_or(None)
}

impl Moment {
    /// The time.
    pub fn at(&self) -> Timestamp {
        // It was read when the config was.
        Timestamp::parse(self.as_str()).unwrap_or_default()
    }
}

leaf_text! {
    /// The id of a finding.
    FindingId, "the id of a finding, 32 hexadecimal digits, as `outflow findings list` shows it", |text| {
        let is_one = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_one { Ok(text.to_ascii_lowercase()) } else { Err(None) }
    }
}

/// Findings that no sink is told of for a while. All keys of an entry must fit, of each list one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Why. It is for the next who reads the file.
    pub reason: Reason,
    /// When it ends. Findings that are seen then or later are told again.
    pub until: Moment,
    /// These findings, by their ids as `outflow findings list` shows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingId>,
    /// What has one of these fingerprints: the same key or address, wherever it is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<FingerprintValue>,
    /// Findings of these rules, such as `model.*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<NameGlob>,
    /// Findings of these services, such as `load-test-*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<NameGlob>,
}

/// A file with silences alone, as the agent keeps those that it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SilenceFile {
    /// The silences.
    pub silence: Vec<Silence>,
}

impl SilenceFile {
    /// Reads the text of one.
    pub fn read(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// As a text that gives the same again.
    pub fn to_toml(&self) -> String {
        // Every value is text or a list of texts: there is nothing to fail.
        toml::to_string(self).unwrap_or_default()
    }
}

impl Silence {
    /// For one finding. `None`: one of these is not what it must be.
    pub fn of_finding(finding: &str, until: &str, reason: &str) -> Option<Self> {
        // Control characters have no place in a reason.
        let reason = reason.replace(char::is_control, " ");
        Some(Self {
            reason: Reason::parse(reason.trim()).ok()?,
            until: Moment::parse(until).ok()?,
            findings: vec![FindingId::parse(finding).ok()?],
            fingerprints: Vec::new(),
            rules: Vec::new(),
            services: Vec::new(),
        })
    }

    /// It is for this finding and no other.
    pub fn is_of(&self, finding: &str) -> bool {
        let [id] = self.findings.as_slice() else { return false };
        let is_narrower = !(self.fingerprints.is_empty() && self.rules.is_empty() && self.services.is_empty());
        id.as_str() == finding && !is_narrower
    }

    /// Some key says what is meant.
    pub(super) fn names_something(&self) -> bool {
        let lists =
            [self.findings.is_empty(), self.fingerprints.is_empty(), self.rules.is_empty(), self.services.is_empty()];
        lists.contains(&false)
    }

    /// This revision is not told. That a finding is over is told all the same: who was told of it waits for that.
    pub fn holds(&self, finding: &Finding, activity: Activity) -> bool {
        let is_one = |globs: &[NameGlob], name: &str| globs.is_empty() || globs.iter().any(|glob| glob.matches(name));
        let fingerprint = finding.fingerprint.as_ref().map(|fingerprint| fingerprint.value.as_str());
        activity != Activity::Close
            && Timestamp::parse(&finding.last_seen).is_some_and(|seen| seen < self.until.at())
            && (self.findings.is_empty() || self.findings.iter().any(|id| id.as_str() == finding.finding_id))
            && (self.fingerprints.is_empty()
                || self.fingerprints.iter().any(|value| Some(value.as_str()) == fingerprint))
            && is_one(&self.rules, &finding.rule.id)
            && is_one(&self.services, &finding.process.service)
    }
}
