//! `outflow rules explain`: one rule for people. Enters: its id. Leaves: what it looks for, how sure a match is, what it leaves out, and
//! where it is defined.

use std::fmt::Write as _;

use anyhow::bail;

use super::{Options, behaviours, described, described_behaviour};
use crate::{
    cli::{Format, output::wrapped},
    config::closest,
    rules::{
        BehaviourRule,
        scan::{Key, LoadedRule},
    },
    units::Severity,
};

/// Columns of the text.
const WIDTH: usize = 100;
/// Columns before it.
const INDENT: usize = 14;

pub(super) fn told(options: &Options, id: &str) -> anyhow::Result<String> {
    let selection = options.rules.selection()?;
    let (rules, behaviours) = (selection.load()?, behaviours(&selection)?);
    if let Some(loaded) = rules.iter().find(|loaded| loaded.rule.id == id) {
        return Ok(match options.format {
            Format::Text => text(loaded),
            Format::Jsonl => format!("{}\n", described(loaded)),
        });
    }
    if let Some(rule) = behaviours.iter().find(|rule| rule.id == id) {
        return Ok(match options.format {
            Format::Text => behaviour_text(rule),
            Format::Jsonl => format!("{}\n", described_behaviour(rule)),
        });
    }
    let ids = rules.iter().map(|loaded| &loaded.rule.id).chain(behaviours.iter().map(|rule| &rule.id));
    let known: Vec<&str> = ids.map(String::as_str).collect();
    let meant = closest(id, &known).map(|id| format!("; did you mean {id}?")).unwrap_or_default();
    bail!("there is no rule {id:?}{meant} `outflow rules list` shows all");
}

/// Lines of text with words before them, all as wide.
struct Lines(String);

impl Lines {
    fn add(&mut self, word: &str, text: &str) {
        for (index, part) in wrapped(text, WIDTH - INDENT).iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(self.0, "{:INDENT$}{part}", if index == 0 { word } else { "" });
        }
    }
}

fn behaviour_text(rule: &BehaviourRule) -> String {
    let mut lines = Lines(format!("{}: {}\n\n", rule.id, rule.title));
    lines.add("group", rule.category());
    lines.add("severity", rule.severity.map_or("by the case", Severity::as_str));
    let confidence = rule.confidence.map_or_else(|| "by the case".to_owned(), |confidence| confidence.to_string());
    lines.add("confidence", &confidence);
    lines.add("remedy", &rule.remedy);
    for (case, remedy) in &rule.cases {
        lines.add("", &format!("{case}: {remedy}"));
    }
    for reference in &rule.references {
        lines.add("reference", reference);
    }
    lines.add("defined in", &format!("{}:{}", rule.defined_in.0, rule.defined_in.1));
    lines.0
}

fn text(loaded: &LoadedRule) -> String {
    let rule = &loaded.rule;
    let mut lines = Lines(format!("{}: {}\n\n", rule.id, rule.title));
    lines.add("entity", &rule.entity);
    lines.add("group", &rule.group);
    lines.add("severity", rule.severity.as_str());
    lines.add("confidence", &confidence(loaded));
    lines.add("pattern", &rule.pattern);
    if !loaded.keywords.is_empty() {
        lines.add("keywords", &loaded.keywords.join(", "));
    }
    lines.add("first stage", loaded.trigger.as_str());
    if !loaded.context.is_empty() {
        let need = if loaded.context_required { "needs one of these near it: " } else { "surer near one of: " };
        lines.add("context", &format!("{need}{}", loaded.context.join(", ")));
    }
    if !loaded.allow.is_empty() {
        lines.add("never", &loaded.allow.join(", "));
    }
    for pattern in &loaded.allow_patterns {
        lines.add("never with", pattern);
    }
    lines.add("priority", &format!("{}: of overlapping matches the higher one gets the text", loaded.priority));
    lines.add("remedy", &rule.remedy);
    for reference in &rule.references {
        lines.add("reference", reference);
    }
    for example in &loaded.examples {
        lines.add("found", &format!("{example:?}"));
    }
    for example in &loaded.counter_examples {
        lines.add("not found", &format!("{example:?}"));
    }
    lines.add("defined in", &format!("{}:{}", loaded.place.file, loaded.place.line(Key::Id)));
    lines.0
}

fn confidence(loaded: &LoadedRule) -> String {
    let mut text = loaded.rule.confidence.to_string();
    if let Some(validator) = &loaded.validator {
        let _ = write!(
            text,
            "; the validator `{validator}` refuses what it is not, and may prove a match: then at least 95"
        );
    }
    if !loaded.context.is_empty() && !loaded.context_required {
        text.push_str("; 20 more with a context word near it");
    }
    text
}
