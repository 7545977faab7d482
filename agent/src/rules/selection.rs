//! Which scan rules count for a user. Enters: a source, files of rules to add, ids to leave out, changes. Leaves: the rules, sorted
//! by id. A rule that is added has the same keys, and the same proofs, as one that the program brings.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    RuleError, RuleFile, RuleSource,
    scan::{FOLDERS, LoadedRule, files_of, parse_all},
};
use crate::units::Severity;

/// No rule file is larger; a wrong path must not read a disk into memory.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Rule files that are added at most.
const FILES_MAX: usize = 1000;

/// What a user wants of the scan rules.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Where the rules come from.
    pub source: RuleSource,
    /// Files of rules, and folders of such files, that come on top.
    pub added: Vec<PathBuf>,
    /// Ids of rules that do not count.
    pub disabled: Vec<String>,
    /// What is different for a rule; of several for one rule each key counts.
    pub changes: Vec<Change>,
}

/// Another severity, confidence or remedy for a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The rule.
    pub id: String,
    /// Its severity from now on.
    pub severity: Option<Severity>,
    /// Its confidence from now on, before context and checksums.
    pub confidence: Option<u8>,
    /// What to do about it, from now on.
    pub remedy: Option<String>,
}

impl Selection {
    /// The rules of a source as they are.
    pub fn of(source: RuleSource) -> Self {
        Self { source, ..Self::default() }
    }

    /// All rules, also those that do not count, unchanged.
    pub fn all(&self) -> Result<Vec<LoadedRule>, RuleError> {
        let mut files = files_of(&self.source)?;
        for path in &self.added {
            files.extend(added(path)?);
            if files.len() > FILES_MAX {
                let reason = io::Error::other(format!("more than {FILES_MAX} files of rules"));
                return Err(RuleError::Read { path: path.clone(), reason });
            }
        }
        parse_all(&files)
    }

    /// The rule came on top.
    pub fn is_added(&self, loaded: &LoadedRule) -> bool {
        self.added.iter().any(|path| Path::new(&loaded.place.file).starts_with(path))
    }

    /// The rules that count.
    pub fn load(&self) -> Result<Vec<LoadedRule>, RuleError> {
        let mut rules = self.all()?;
        rules.retain(|loaded| !self.disabled.contains(&loaded.rule.id));
        for change in &self.changes {
            for loaded in rules.iter_mut().filter(|loaded| loaded.rule.id == change.id) {
                loaded.rule.severity = change.severity.unwrap_or(loaded.rule.severity);
                loaded.rule.confidence = change.confidence.unwrap_or(loaded.rule.confidence);
                if let Some(remedy) = &change.remedy {
                    loaded.rule.remedy.clone_from(remedy);
                }
            }
        }
        Ok(rules)
    }
}

/// One file; or the `*.toml` files of a folder and of `pii` and `secrets` in it. Named as the user names them.
fn added(path: &Path) -> Result<Vec<RuleFile>, RuleError> {
    let failed = |path: &Path, reason| RuleError::Read { path: path.to_owned(), reason };
    if !fs::metadata(path).map_err(|reason| failed(path, reason))?.is_dir() {
        return Ok(vec![read(path)?]);
    }
    let mut paths = Vec::new();
    for folder in [path.to_owned()].into_iter().chain(FOLDERS.map(|name| path.join(name))) {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder != path => continue,
            entries => entries.map_err(|reason| failed(&folder, reason))?,
        };
        for entry in entries {
            let path = entry.map_err(|reason| failed(&folder, reason))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") && path.is_file() {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<RuleFile, RuleError> {
    let failed = |reason| RuleError::Read { path: path.to_owned(), reason };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if read as u64 > FILE_BYTES_MAX {
        let message = format!("it is larger than {FILE_BYTES_MAX} bytes, so it is no file of rules");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, message)));
    }
    Ok(RuleFile { path: path.display().to_string(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str) -> String {
        format!(
            "[[rule]]\nid = \"{id}\"\nentity = \"OWN\"\ntitle = \"Own\"\nseverity = \"low\"\nconfidence = 50\n\
             pattern = 'own_[0-9]'\nremedy = \"x\"\nreferences = [\"x\"]\nexamples = [\"own_1\", \"own_2\", \"own_3\"]\n\
             counter_examples = [\"a\", \"b\", \"c\"]\n"
        )
    }

    #[test]
    fn rules_are_added_left_out_and_changed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("secrets")).unwrap();
        fs::write(folder.path().join("house.toml"), rule("custom.own")).unwrap();
        fs::write(folder.path().join("secrets/more.toml"), rule("secret.own")).unwrap();
        fs::write(folder.path().join("notes.txt"), "no rules").unwrap();
        let built_in = Selection::default().load().unwrap().len();
        let change = |severity, confidence| Change { id: "custom.own".into(), severity, confidence, remedy: None };
        let selection = Selection {
            added: vec![folder.path().to_owned()],
            disabled: vec!["pii.email".into()],
            changes: vec![change(Some(Severity::High), None), change(None, Some(7))],
            ..Selection::default()
        };
        let rules = selection.load().unwrap();
        assert_eq!((rules.len(), selection.all().unwrap().len()), (built_in + 1, built_in + 2));
        let own = rules.iter().find(|loaded| loaded.rule.id == "custom.own").unwrap();
        assert_eq!((own.rule.group.as_str(), own.rule.severity, own.rule.confidence), ("house", Severity::High, 7));
        assert!(rules.iter().all(|loaded| loaded.rule.id != "pii.email"));
    }

    #[test]
    fn mistakes_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.toml");
        let error = |text: &str| {
            fs::write(&file, text).unwrap();
            let selection = Selection { added: vec![file.clone()], ..Selection::default() };
            selection.load().unwrap_err().to_string()
        };
        let name = file.display().to_string();
        assert!(error(&rule("model.own")).starts_with(&format!("{name}:2: id: ")));
        let taken = error(&rule("pii.email"));
        assert!(taken.contains("the id is taken by the rule at "), "{taken}");
        assert!(error("[[rule]]\nid = 7\n").starts_with(&format!("{name}:2: ")));
        let missing = Selection { added: vec![folder.path().join("none.toml")], ..Selection::default() };
        assert!(missing.load().unwrap_err().to_string().starts_with("cannot read "));
    }
}
