//! What detectors of behaviour say: title of each of their rules, and what to do about it. Enters: `rules/behaviours/*.toml`, and what
//! the user wants otherwise. Leaves: [`BehaviourRules`], by id. It detects nothing: which rule fires, and when, is code in `detectors/`.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{Arc, LazyLock},
};

use serde::Deserialize;
use toml::Spanned;

use super::{Change, RuleError, RuleFile, RuleSource, line_of};
use crate::units::Severity;

const FOLDER: &str = "behaviours";

static EMBEDDED: LazyLock<Arc<BehaviourRules>> =
    LazyLock::new(|| Arc::new(BehaviourRules::load(&RuleSource::Embedded).unwrap_or_default()));

/// All rules that are not about text.
#[derive(Clone, Debug, Default)]
pub struct BehaviourRules {
    rules: BTreeMap<String, BehaviourRule>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BehaviourRule {
    /// `model.unpinned`: the category, and what it is.
    pub id: String,
    /// What it is about, the same for all its findings.
    pub title: String,
    /// What to do about it, one sentence.
    pub remedy: String,
    /// What to do instead in cases that detectors tell apart.
    pub cases: BTreeMap<String, String>,
    /// Addresses of documents that say why.
    pub references: Vec<String>,
    /// It cannot be switched off.
    pub always: bool,
    /// Decided by the user, instead of what the detector thinks.
    pub severity: Option<Severity>,
    /// The same, 0 to 100.
    pub confidence: Option<u8>,
    /// File below `rules/` and line, 1-based.
    pub defined_in: (String, usize),
}

impl BehaviourRule {
    /// What its id begins with: `model`.
    pub fn category(&self) -> &str {
        self.id.split('.').next().unwrap_or_default()
    }

    /// What to do about it in a case. The cases of a rule need not all be written down.
    pub fn remedy(&self, case: Option<&str>) -> &str {
        case.and_then(|case| self.cases.get(case)).unwrap_or(&self.remedy)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    behaviour: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    title: Spanned<String>,
    remedy: Spanned<String>,
    #[serde(default)]
    cases: BTreeMap<Spanned<String>, String>,
    #[serde(default)]
    references: Vec<String>,
    #[serde(default)]
    always: bool,
}

impl BehaviourRules {
    /// Those that the program brings.
    pub fn embedded() -> Arc<Self> {
        Arc::clone(&EMBEDDED)
    }

    /// Reads `behaviours/*.toml`. A folder of the user may say of each rule something else; what it does not name stays as the program
    /// brings it, for the code that finds it stays too.
    pub fn load(source: &RuleSource) -> Result<Self, RuleError> {
        let files = match source.files(FOLDER) {
            Err(RuleError::Read { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => Vec::new(),
            files => files?,
        };
        match source {
            RuleSource::Embedded => Self::read(&files, None),
            RuleSource::Folder(_) => Self::read(&files, Some(&EMBEDDED)),
        }
    }

    /// Says of some rules what the user wants.
    #[must_use]
    pub fn changed(mut self, changes: &[Change]) -> Self {
        for change in changes {
            let Some(rule) = self.rules.get_mut(&change.id) else { continue };
            rule.severity = change.severity.or(rule.severity);
            rule.confidence = change.confidence.or(rule.confidence);
            if let Some(remedy) = &change.remedy {
                rule.remedy.clone_from(remedy);
                rule.cases.clear();
            }
        }
        self
    }

    /// The rule of an id.
    pub fn get(&self, id: &str) -> Option<&BehaviourRule> {
        self.rules.get(id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &BehaviourRule> {
        self.rules.values()
    }

    fn read(files: &[RuleFile], known: Option<&Self>) -> Result<Self, RuleError> {
        let mut read = Self::default();
        for file in files {
            let parsed: File = toml::from_str(&file.text).map_err(|error| {
                let what = error.message().to_owned();
                invalid(file, error.span().unwrap_or_default(), what)
            })?;
            for entry in parsed.behaviour {
                let rule = checked(file, entry, known)?;
                if let Some(other) = read.rules.get(&rule.id) {
                    let message =
                        format!("id: `{}` stands in {}:{} already", rule.id, other.defined_in.0, other.defined_in.1);
                    return Err(RuleError::Invalid { file: rule.defined_in.0, line: rule.defined_in.1, message });
                }
                read.rules.insert(rule.id.clone(), rule);
            }
        }
        if let Some(known) = known {
            for (id, rule) in &known.rules {
                read.rules.entry(id.clone()).or_insert_with(|| rule.clone());
            }
        }
        Ok(read)
    }
}

fn checked(file: &RuleFile, entry: Entry, known: Option<&BehaviourRules>) -> Result<BehaviourRule, RuleError> {
    let Entry { id, title, remedy, cases, references, always } = entry;
    let filled = |key: &str, text: &Spanned<String>| {
        let message = || format!("{key}: write a sentence; people read it beside each finding");
        if text.get_ref().trim().is_empty() { Err(invalid(file, text.span(), message())) } else { Ok(()) }
    };
    filled("title", &title)?;
    filled("remedy", &remedy)?;
    let before = known.map(|known| {
        let message = || {
            let ids: Vec<&str> = known.rules.keys().map(String::as_str).collect();
            format!("id: no detector knows `{}`; there are {}", id.get_ref(), ids.join(", "))
        };
        known.get(id.get_ref()).ok_or_else(|| invalid(file, id.span(), message()))
    });
    let before = before.transpose()?;
    for case in cases.keys() {
        if let Some(before) = before.filter(|before| !before.cases.contains_key(case.get_ref())) {
            let names: Vec<&str> = before.cases.keys().map(String::as_str).collect();
            let names = if names.is_empty() { "no cases".to_owned() } else { names.join(", ") };
            let message = format!("cases: `{}` is none of this rule, it has {names}", case.get_ref());
            return Err(invalid(file, case.span(), message));
        }
    }
    Ok(BehaviourRule {
        defined_in: (file.path.clone(), line_of(&file.text, id.span().start)),
        id: id.into_inner(),
        title: title.into_inner(),
        remedy: remedy.into_inner(),
        cases: cases.into_iter().map(|(case, text)| (case.into_inner(), text)).collect(),
        references,
        // What may not be silenced is not the user's to say.
        always: before.map_or(always, |before| before.always),
        severity: None,
        confidence: None,
    })
}

fn invalid(file: &RuleFile, span: Range<usize>, message: String) -> RuleError {
    RuleError::Invalid { file: file.path.clone(), line: line_of(&file.text, span.start), message }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use regex::Regex;

    use super::*;

    fn words(folder: &Path, pattern: &Regex, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                words(&path, pattern, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                found.extend(pattern.captures_iter(code).map(|found| found[1].to_owned()));
            }
        }
    }

    /// Detectors name rules and cases by words; this reads their code, so that none is without its texts and no text is left over.
    #[test]
    fn every_rule_and_case_in_the_code_has_its_texts() {
        let rules = BehaviourRules::load(&RuleSource::Embedded).unwrap();
        let code = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut ids, mut cases) = (BTreeSet::new(), BTreeSet::new());
        let id = r#""((?:agent|cost|coverage|model|output|retrieval|tool|vendor)\.[a-z_-]+)""#;
        let (id_word, word) = (Regex::new(id).unwrap(), Regex::new(r#""([a-z_]+)""#).unwrap());
        for folder in ["detectors", "findings"].map(|folder| code.join(folder)) {
            words(&folder, &id_word, &mut ids);
            words(&folder, &word, &mut cases);
        }
        let missing: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).filter(|id| !ids.contains(*id)).collect();
        assert!(missing.is_empty(), "no detector has {missing:?}");
        // Facts have names of the same form, so that only what follows `rule` in the code would be an id for sure.
        let mut told = BTreeSet::new();
        words(&code.join("detectors"), &Regex::new(&format!("rule: {id}")).unwrap(), &mut told);
        assert!(told.len() > 20, "the code is written otherwise than this test reads it: {told:?}");
        for id in &told {
            assert!(rules.get(id).is_some(), "{id} has no texts");
        }
        for rule in rules.iter() {
            for case in rule.cases.keys() {
                assert!(cases.contains(case), "no detector has the case {case} of {}", rule.id);
            }
        }
    }

    #[test]
    fn a_folder_of_the_user_says_something_else_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let source = RuleSource::Folder(folder.path().to_owned());
        let usual = BehaviourRules::load(&source).unwrap();
        assert_eq!(usual.iter().count(), BehaviourRules::embedded().iter().count());
        fs::create_dir(folder.path().join("behaviours")).unwrap();
        let write = |text: &str| fs::write(folder.path().join("behaviours/own.toml"), text).unwrap();
        write("[[behaviour]]\nid = \"cost.budget\"\ntitle = \"Budget\"\nremedy = \"Call Ann.\"\n");
        let own = BehaviourRules::load(&source).unwrap();
        assert_eq!(own.get("cost.budget").unwrap().remedy(None), "Call Ann.");
        assert_eq!(own.get("cost.creep"), usual.get("cost.creep"));
        let head = "[[behaviour]]\nid = \"tool.slow\"\n";
        for (text, message) in [
            (
                "[[behaviour]]\nid = \"cost.nothing\"\ntitle = \"x\"\nremedy = \"x\"\n",
                "behaviours/own.toml:2: id: no detector knows `cost.nothing`",
            ),
            (&format!("{head}title = \"x\"\nremedy = \" \"\n"), "behaviours/own.toml:4: remedy: write a sentence"),
            (&format!("{head}title = \"x\"\n"), "behaviours/own.toml:1: missing field `remedy`"),
            (
                &format!("{head}title = \"x\"\nremedy = \"x\"\ncolour = 1\n"),
                "behaviours/own.toml:5: unknown field `colour`",
            ),
            (
                &format!("{head}title = \"x\"\nremedy = \"x\"\n[behaviour.cases]\nquewing = \"x\"\n"),
                "behaviours/own.toml:6: cases: `quewing` is none of this rule, it has queueing",
            ),
        ] {
            write(text);
            let error = BehaviourRules::load(&source).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        // That lines were lost cannot be made silent.
        write("[[behaviour]]\nid = \"coverage.log-gap\"\ntitle = \"x\"\nremedy = \"x\"\nalways = false\n");
        assert!(BehaviourRules::load(&source).unwrap().get("coverage.log-gap").unwrap().always);
    }

    #[test]
    fn the_user_has_the_last_word() {
        let change = Change {
            id: "tool.slow".into(),
            severity: Some(Severity::High),
            confidence: Some(7),
            remedy: Some("Ring.".into()),
        };
        let rules = BehaviourRules::load(&RuleSource::Embedded).unwrap().changed(&[change]);
        let rule = rules.get("tool.slow").unwrap();
        assert_eq!(
            (rule.remedy(Some("queueing")), rule.severity, rule.confidence),
            ("Ring.", Some(Severity::High), Some(7))
        );
    }
}
