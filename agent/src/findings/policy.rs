//! What the user decided about findings: allow-lists, known leaks, what is said of behaviours, `outflow:allow` beside a secret. Enters: a
//! [`Hit`] with its fingerprint. Leaves: whether it is told, and if not, why. It never hides that something was hidden: whoever asks
//! counts, and a prompt cannot silence the scanner that reads it.

use std::{collections::HashSet, ops::Range, sync::Arc};

use globset::GlobMatcher;
use memchr::memmem;
use regex::bytes::Regex;

use super::{Baseline, Finding, Fingerprint};
use crate::{
    detectors::{Hit, Place},
    exchange::Subject,
    rules::BehaviourRules,
};

/// Written beside a secret, on its line, it takes the secret out of the findings.
const MARK: &[u8] = b"outflow:allow";

/// How far from the secret the mark may stand on the line, bytes: a line can be a megabyte long, and hold a secret every twenty.
const MARK_REACH_BYTES: usize = 4096;

/// Why a hit is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Silence {
    /// An entry of the allow-list.
    AllowList,
    /// `outflow:allow` on its line.
    Inline,
    /// The baseline knows it.
    Baseline,
}

impl Silence {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AllowList, Self::Inline, Self::Baseline];

    /// The words of every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowList => "allow-list",
            Self::Inline => "outflow:allow",
            Self::Baseline => "baseline",
        }
    }
}

/// One entry of the allow-list: a hit that fits all lists that are not empty is not told.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    /// Ids of rules, exact or patterns.
    pub rules: Vec<GlobMatcher>,
    /// Values of fingerprints.
    pub fingerprints: Vec<String>,
    /// Paths of files.
    pub paths: Vec<GlobMatcher>,
    /// Names of services.
    pub services: Vec<GlobMatcher>,
    /// Searched in the secret.
    pub patterns: Vec<Regex>,
}

/// All that was decided.
#[derive(Clone, Debug)]
pub struct Policy {
    /// In the order of the file.
    pub allow: Vec<Allow>,
    /// `outflow:allow` has no effect.
    pub ignore_marks: bool,
    /// Titles and remedies of what is no text.
    pub behaviours: Arc<BehaviourRules>,
    /// Leaks that are known: rule and fingerprint.
    pub known: HashSet<(String, String)>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { allow: Vec::new(), ignore_marks: false, behaviours: BehaviourRules::embedded(), known: HashSet::new() }
    }
}

impl Policy {
    /// As this one, and what the baseline knows is not told.
    #[must_use]
    pub fn with_baseline(mut self, baseline: &Baseline) -> Self {
        self.known.extend(baseline.entries().map(|(rule, print, _)| (rule.to_owned(), print.to_owned())));
        self
    }

    /// Why a hit is not told; `None`: it is.
    pub(super) fn silences(&self, hit: &Hit<'_>, fingerprint: Option<&Fingerprint>) -> Option<Silence> {
        let print = fingerprint.map(|print| print.value.as_str());
        let about = match hit {
            Hit::Leak(leak) => About {
                rule: &leak.rule.id,
                print,
                path: path_of(leak.place),
                service: service_of(leak.place.subject()),
                secret: leak.haystack.get(leak.span.clone()),
            },
            Hit::Behaviour(behaviour) => About {
                rule: behaviour.rule,
                print,
                path: None,
                service: service_of(Subject::Exchange(behaviour.exchange)),
                secret: None,
            },
        };
        let marked = || match hit {
            // What is sent to a model, or comes from one, is written by whoever may want to hide something.
            Hit::Leak(leak) if matches!(leak.place, Place::Log { .. }) => {
                is_marked(leak.haystack, &leak.span, &leak.rule.id)
            }
            _ => false,
        };
        self.judge(&about, marked)
    }

    /// As [`silences`](Self::silences), for what stands in a file and is no leak: a model's id.
    pub(super) fn judge(&self, about: &About<'_>, marked: impl FnOnce() -> bool) -> Option<Silence> {
        if self.allow.iter().any(|allow| allow.fits(about)) {
            return Some(Silence::AllowList);
        }
        if !self.ignore_marks && marked() {
            return Some(Silence::Inline);
        }
        let is_known = !self.known.is_empty()
            && about.print.is_some_and(|print| self.known.contains(&(about.rule.to_owned(), print.to_owned())));
        is_known.then_some(Silence::Baseline)
    }

    /// Says of a finding about a behaviour what the rule files and the user say of it; `references` come before those of the rule.
    pub(super) fn describe(&self, finding: &mut Finding, id: &str, case: Option<&str>, references: &[String]) {
        id.clone_into(&mut finding.rule.id);
        finding.rule.references = references.to_vec();
        let Some(rule) = self.behaviours.get(id) else { return };
        finding.rule.title.clone_from(&rule.title);
        finding.rule.references.extend_from_slice(&rule.references);
        rule.remedy(case).clone_into(&mut finding.remedy);
        finding.severity = rule.severity.unwrap_or(finding.severity);
        finding.confidence = rule.confidence.unwrap_or(finding.confidence);
    }
}

/// What an entry is compared with.
pub(super) struct About<'a> {
    pub(super) rule: &'a str,
    pub(super) print: Option<&'a str>,
    pub(super) path: Option<&'a str>,
    pub(super) service: &'a str,
    pub(super) secret: Option<&'a [u8]>,
}

impl Allow {
    fn fits(&self, about: &About<'_>) -> bool {
        let Self { rules, fingerprints, paths, services, patterns } = self;
        let one = |globs: &[GlobMatcher], name: Option<&str>| {
            globs.is_empty() || name.is_some_and(|name| globs.iter().any(|glob| glob.is_match(name)))
        };
        one(rules, Some(about.rule))
            && one(services, Some(about.service))
            && one(paths, about.path)
            && (fingerprints.is_empty() || about.print.is_some_and(|print| fingerprints.iter().any(|one| one == print)))
            && (patterns.is_empty()
                || about.secret.is_some_and(|secret| patterns.iter().any(|pattern| pattern.is_match(secret))))
    }
}

fn path_of(place: Place<'_>) -> Option<&str> {
    match place {
        Place::Exchange { .. } => None,
        Place::Log { block, .. } => Some(&block.file.path),
    }
}

fn service_of(subject: Subject<'_>) -> &str {
    &subject.origin().service
}

/// `outflow:allow` stands on a line of the secret; or `outflow:allow=` with the id of this rule, alone or in a list with commas.
pub(super) fn is_marked(haystack: &[u8], span: &Range<usize>, rule: &str) -> bool {
    let before = haystack.get(..span.start).unwrap_or_default();
    let before = before.get(before.len().saturating_sub(MARK_REACH_BYTES)..).unwrap_or_default();
    let before = memchr::memrchr(b'\n', before).and_then(|at| before.get(at..)).unwrap_or(before);
    let after = haystack.get(span.end..).unwrap_or_default();
    let after = after.get(..after.len().min(MARK_REACH_BYTES)).unwrap_or_default();
    let after = memchr::memchr(b'\n', after).and_then(|at| after.get(..at)).unwrap_or(after);
    [before, after].into_iter().any(|text| {
        memmem::find_iter(text, MARK).any(|at| {
            let rest = text.get(at + MARK.len()..).unwrap_or_default();
            match rest.first() {
                Some(b'=') => {
                    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b',');
                    let ids = rest.get(1..).unwrap_or_default();
                    let ids = ids.get(..ids.iter().take_while(|byte| is_part(byte)).count()).unwrap_or_default();
                    // A sentence may end behind an id.
                    ids.split(|byte| *byte == b',').any(|id| id.strip_suffix(b".").unwrap_or(id) == rule.as_bytes())
                }
                Some(byte) => !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_'),
                None => true,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_on_the_line_of_the_secret_alone() {
        for (text, expected) in [
            ("key = SECRET # outflow:allow", true),
            ("/* outflow:allow */ key = SECRET", true),
            ("key = SECRET # outflow:allow=secret.x", true),
            ("key = SECRET # outflow:allow=pii.y,secret.x.", true),
            ("key = SECRET # outflow:allow=pii.y", false),
            ("key = SECRET # outflow:allow=secret.xy", false),
            ("key = SECRET # outflow:allowed", false),
            ("key = SECRET # outflow:allow-not", false),
            ("outflow:allow\nkey = SECRET", false),
            ("key = SECRET\n# outflow:allow", false),
            ("key = SECRET", false),
        ] {
            let at = text.find("SECRET").unwrap();
            assert_eq!(is_marked(text.as_bytes(), &(at..at + 6), "secret.x"), expected, "{text}");
        }
        let far = format!("SECRET{}outflow:allow", " ".repeat(MARK_REACH_BYTES));
        assert!(!is_marked(far.as_bytes(), &(0..6), "secret.x"));
        assert!(!is_marked(b"outflow:allow", &(20..90), "secret.x"), "a span beyond the text");
    }

    #[test]
    fn an_entry_needs_all_that_it_names() {
        let glob = |text: &str| vec![globset::Glob::new(text).unwrap().compile_matcher()];
        let about = About {
            rule: "pii.email",
            print: Some("ab"),
            path: Some("/srv/tests/a.log"),
            service: "shop",
            secret: Some(b"ann@example.org"),
        };
        let pattern = |text: &str| vec![Regex::new(text).unwrap()];
        for (allow, expected) in [
            (Allow { paths: glob("**/tests/**"), ..Allow::default() }, true),
            (Allow { paths: glob("**/tests/**"), rules: glob("secret.*"), ..Allow::default() }, false),
            (Allow { services: glob("sh*"), rules: glob("pii.*"), ..Allow::default() }, true),
            (Allow { fingerprints: vec!["ab".into()], ..Allow::default() }, true),
            (Allow { fingerprints: vec!["a".into()], ..Allow::default() }, false),
            (Allow { patterns: pattern("@example[.]org$"), ..Allow::default() }, true),
            (Allow { patterns: pattern("^bob"), paths: glob("**"), ..Allow::default() }, false),
        ] {
            let policy = Policy { allow: vec![allow.clone()], ..Policy::default() };
            let expected = expected.then_some(Silence::AllowList);
            assert_eq!(policy.judge(&about, || false), expected, "{allow:?}");
        }
        let call = About { path: None, secret: None, print: None, ..about };
        for allow in [
            Allow { paths: glob("**"), ..Allow::default() },
            Allow { patterns: pattern(""), ..Allow::default() },
            Allow { fingerprints: vec![String::new()], ..Allow::default() },
        ] {
            let policy = Policy { allow: vec![allow], ..Policy::default() };
            assert_eq!(policy.judge(&call, || false), None, "what has no such thing does not fit");
        }
    }

    #[test]
    fn marks_can_be_switched_off() {
        let about = About { rule: "pii.email", print: None, path: None, service: "", secret: None };
        let policy = Policy::default();
        assert_eq!(policy.judge(&about, || true), Some(Silence::Inline));
        assert_eq!(Policy { ignore_marks: true, ..policy }.judge(&about, || true), None);
    }
}
