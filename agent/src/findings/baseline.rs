//! Leaks that are known: what a scan found when somebody said "from here on". Enters: findings, or a file's text. Leaves: the file's
//! text, and whether a leak is in it. Neither paths nor lines are kept, so that a leak that moves stays known; nor any text of one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Finding;

/// Version of the file's shape.
const VERSION: u32 = 1;

/// Different leaks that one baseline holds at most.
pub const BASELINE_ENTRIES_MAX: usize = 1_000_000;

/// Known leaks, under one fingerprint key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    key_id: String,
    /// Occurrences by rule and fingerprint.
    entries: BTreeMap<(String, String), u64>,
}

/// Why there is no baseline.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// The file is none.
    #[error("is no baseline: {0}; write one with `outflow scan --write-baseline FILE`")]
    Invalid(String),
    /// It was made with another key.
    #[error(
        "was written with the fingerprint key {theirs}, and this run has {ours}: the two do not compare. Give this run the other \
         key (--fingerprint-key FILE), or write the baseline anew"
    )]
    OtherKey {
        /// Id of the baseline's key.
        theirs: String,
        /// Id of ours.
        ours: String,
    },
    /// It grows beyond its bound.
    #[error("more than {BASELINE_ENTRIES_MAX} different leaks: mend the rules or leave files out first")]
    Full,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    outflow_baseline: u32,
    /// Fingerprints compare only under the same key.
    key_id: String,
    known: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    rule: String,
    fingerprint: String,
    /// How often it was seen when the file was written; for people.
    count: u64,
}

impl Baseline {
    /// Nothing known yet, under a key of this id.
    pub fn new(key_id: &str) -> Self {
        Self { key_id: key_id.to_owned(), entries: BTreeMap::new() }
    }

    /// Reads a file's text. `key_id` is the key of this run.
    pub fn parse(text: &str, key_id: &str) -> Result<Self, BaselineError> {
        let invalid = |why: String| BaselineError::Invalid(why);
        let file: File = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        if file.outflow_baseline != VERSION {
            return Err(invalid(format!("it has version {}, this program reads {VERSION}", file.outflow_baseline)));
        }
        if file.key_id != key_id {
            let shown = |id: &str| super::mask::bounded(id, 32);
            return Err(BaselineError::OtherKey { theirs: shown(&file.key_id), ours: shown(key_id) });
        }
        if file.known.len() > BASELINE_ENTRIES_MAX {
            return Err(BaselineError::Full);
        }
        let entries = file.known.into_iter().map(|entry| ((entry.rule, entry.fingerprint), entry.count)).collect();
        Ok(Self { key_id: file.key_id, entries })
    }

    /// The file's text: sorted, so that two versions of it compare line by line.
    pub fn to_text(&self) -> String {
        let known = self.entries().map(|(rule, fingerprint, count)| Entry {
            rule: rule.to_owned(),
            fingerprint: fingerprint.to_owned(),
            count,
        });
        let file = File { outflow_baseline: VERSION, key_id: self.key_id.clone(), known: known.collect() };
        // Texts and numbers: there is nothing to fail.
        serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
    }

    /// Takes a finding in. One without a fingerprint cannot be known again.
    pub fn add(&mut self, finding: &Finding) -> Result<(), BaselineError> {
        let Some(print) = &finding.fingerprint else { return Ok(()) };
        let key = (finding.rule.id.clone(), print.value.clone());
        if self.entries.len() >= BASELINE_ENTRIES_MAX && !self.entries.contains_key(&key) {
            return Err(BaselineError::Full);
        }
        let count = self.entries.entry(key).or_default();
        *count = count.saturating_add(finding.count);
        Ok(())
    }

    /// Rule, fingerprint and count of each known leak.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.entries.iter().map(|((rule, print), count)| (rule.as_str(), print.as_str(), *count))
    }

    /// Different leaks in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let mut baseline = Baseline::new("k1");
        baseline.entries.insert(("pii.email".into(), "ab".into()), 3);
        baseline.entries.insert(("pii.email".into(), "aa".into()), 1);
        let text = baseline.to_text();
        assert!(text.find("\"aa\"") < text.find("\"ab\""), "{text}");
        assert_eq!(Baseline::parse(&text, "k1").unwrap(), baseline);
    }

    #[test]
    fn what_is_none_says_so() {
        let other = Baseline::new("k1").to_text();
        let error = Baseline::parse(&other, "k2").unwrap_err().to_string();
        assert!(error.contains("key k1") && error.contains("has k2"), "{error}");
        for (text, part) in [
            ("", "is no baseline"),
            ("[]", "is no baseline"),
            ("{\"outflow_baseline\":2,\"key_id\":\"k1\",\"known\":[]}", "version 2"),
            ("{\"outflow_baseline\":1,\"key_id\":\"k1\",\"known\":[{\"rule\":\"x\"}]}", "missing field"),
        ] {
            let error = Baseline::parse(text, "k1").unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
