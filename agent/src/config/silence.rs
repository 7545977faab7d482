//! `[[silence]]`: findings that nobody is to be told of for a while. Enters: the section. Leaves: what is meant, and until when. It reads no
//! clock: a finding carries its own time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    allowed::{FingerprintValue, Reason},
    leaf::leaf_text,
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

impl Silence {
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
