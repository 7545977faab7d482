//! Proves rules on their own examples. Enters: a rule set and a backend. Leaves: [`Flaw`]s, each at a line of a rule file. It is
//! what `outflow rules check` prints and what the tests demand to be empty.

use std::sync::Arc;

use super::{Backend, RuleSet, ScanError, Scanner, Whole};
use crate::rules::scan::{Key, LoadedRule};

/// One thing that is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Path below `rules/`.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// The key.
    pub key: &'static str,
    /// The rule's id.
    pub rule: String,
    /// What is wrong.
    pub message: String,
}

/// Every example must be found, by its own rule and no other; no counter-example may be found by its rule.
pub fn check(rules: &Arc<RuleSet>, backend: Backend) -> Result<Vec<Flaw>, ScanError> {
    let mut flaws = Vec::new();
    let mut scanner = match Scanner::new(Arc::clone(rules), backend) {
        Ok(scanner) => scanner,
        // The self-test lost a rule: the checks below say it better, with the line.
        Err(ScanError::SelfTest { .. }) => Scanner::untested(Arc::clone(rules), backend)?,
        Err(error) => return Err(error),
    };
    for (index, loaded) in rules.loaded().enumerate() {
        for (number, example) in loaded.examples.iter().enumerate() {
            let ids = found(&mut scanner, rules, example)?;
            let own = rules.rule(index).map(|rule| rule.id.as_str());
            let message = if ids.is_empty() {
                "is not found".to_owned()
            } else if ids.iter().any(|id| Some(id.as_str()) != own) {
                format!("is found by {}", ids.join(", "))
            } else {
                continue;
            };
            flaws.push(flaw(loaded, Key::Examples, format!("{}: number {} {message}", backend.name(), number + 1)));
        }
        for (number, example) in loaded.counter_examples.iter().enumerate() {
            if found(&mut scanner, rules, example)?.contains(&loaded.rule.id) {
                let message = format!("{}: number {} is found", backend.name(), number + 1);
                flaws.push(flaw(loaded, Key::CounterExamples, message));
            }
        }
    }
    Ok(flaws)
}

fn found(scanner: &mut Scanner, rules: &RuleSet, text: &str) -> Result<Vec<String>, ScanError> {
    let settled = scanner.scan(text.as_bytes(), &Whole { length: text.len() })?;
    Ok(settled.matches.iter().filter_map(|found| Some(rules.rule(found.rule)?.id.clone())).collect())
}

fn flaw(loaded: &LoadedRule, key: Key, message: String) -> Flaw {
    Flaw {
        file: loaded.place.file.clone(),
        line: loaded.place.line(key),
        key: key.as_str(),
        rule: loaded.rule.id.clone(),
        message,
    }
}
