//! `outflow rules explain`: one rule for people. Enters: its id. Leaves: what it looks for, how sure a match is, what it leaves out, and
//! where it is defined.

use std::fmt::Write as _;

use anyhow::bail;

use super::{Options, described};
use crate::{
    cli::{Format, output::wrapped},
    config::closest,
    rules::scan::{Key, LoadedRule},
};

/// Columns of the text.
const WIDTH: usize = 100;
/// Columns before it.
const INDENT: usize = 14;

pub(super) fn told(options: &Options, id: &str) -> anyhow::Result<String> {
    let rules = options.rules.selection()?.load()?;
    let Some(loaded) = rules.iter().find(|loaded| loaded.rule.id == id) else {
        let known: Vec<&str> = rules.iter().map(|loaded| loaded.rule.id.as_str()).collect();
        let meant = closest(id, &known).map(|id| format!("; did you mean {id}?")).unwrap_or_default();
        bail!("there is no rule {id:?} among the scan rules{meant} `outflow rules list` shows all");
    };
    Ok(match options.format {
        Format::Text => text(loaded),
        Format::Jsonl => format!("{}\n", described(loaded)),
    })
}

fn text(loaded: &LoadedRule) -> String {
    let rule = &loaded.rule;
    let mut out = format!("{}: {}\n\n", rule.id, rule.title);
    let mut line = |word: &str, text: &str| {
        for (index, part) in wrapped(text, WIDTH - INDENT).iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{:INDENT$}{part}", if index == 0 { word } else { "" });
        }
    };
    line("entity", &rule.entity);
    line("group", &rule.group);
    line("severity", rule.severity.as_str());
    line("confidence", &confidence(loaded));
    line("pattern", &rule.pattern);
    if !loaded.keywords.is_empty() {
        line("keywords", &loaded.keywords.join(", "));
    }
    line("first stage", loaded.trigger.as_str());
    if !loaded.context.is_empty() {
        let need = if loaded.context_required { "needs one of these near it: " } else { "surer near one of: " };
        line("context", &format!("{need}{}", loaded.context.join(", ")));
    }
    if !loaded.allow.is_empty() {
        line("never", &loaded.allow.join(", "));
    }
    for pattern in &loaded.allow_patterns {
        line("never with", pattern);
    }
    line("priority", &format!("{}: of overlapping matches the higher one gets the text", loaded.priority));
    line("remedy", &rule.remedy);
    for reference in &rule.references {
        line("reference", reference);
    }
    for example in &loaded.examples {
        line("found", &format!("{example:?}"));
    }
    for example in &loaded.counter_examples {
        line("not found", &format!("{example:?}"));
    }
    line("defined in", &format!("{}:{}", loaded.place.file, loaded.place.line(Key::Id)));
    out
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
