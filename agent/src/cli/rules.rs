//! `outflow rules`: lists the rules, proves those of the scanner on their own examples, explains one, and says why a text is found or not. Enters:
//! the rules that count. Leaves: text or JSON lines on standard output; exit code 2 when a rule is wrong.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use serde_json::json;

use super::{Format, RuleArgs};
use crate::{
    rules::{
        BehaviourRule, BehaviourRules, RuleError, Selection,
        scan::{Key, LoadedRule},
    },
    units::Severity,
};

mod check;
mod explain;
mod test;

/// Lists, checks, tests and explains rules
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints every rule with its severity and its group; those of behaviour weigh each case, and have none of their own
    List(Options),
    /// Proves every scan rule on its own examples and counter-examples, with every scan engine of this binary
    Check {
        #[command(flatten)]
        options: Options,
        /// Also measure what each rule costs, by leaving it out; minutes. Without it only rules that were added are measured
        #[arg(long)]
        costs: bool,
    },
    /// Shows what is found in a text and why, and what is nearly found and why not
    Test {
        #[command(flatten)]
        options: Options,
        /// Only this rule: an id, or the beginning of one with `*` behind it
        #[arg(long, value_name = "ID")]
        rule: Option<String>,
        /// A file of at most 4 MiB; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Says what a rule looks for, how sure it is and what it leaves out
    Explain {
        #[command(flatten)]
        options: Options,
        /// The rule
        #[arg(value_name = "ID")]
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct Options {
    #[command(flatten)]
    rules: RuleArgs,
    /// How to write standard output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (text, code) = match &args.command {
        Command::List(options) => {
            let selection = options.rules.selection()?;
            (list(&selection.load()?, &behaviours(&selection)?, options.format), ExitCode::SUCCESS)
        }
        Command::Check { options, costs } => check::prove(options, *costs)?,
        Command::Test { options, rule, file } => (test::look(options, rule.as_deref(), file)?, ExitCode::SUCCESS),
        Command::Explain { options, id } => (explain::told(options, id)?, ExitCode::SUCCESS),
    };
    match anstream::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is no error of ours.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(code),
        written => Ok(written.map(|()| code)?),
    }
}

/// The rules of behaviour that count, as the user wants them.
fn behaviours(selection: &Selection) -> Result<Vec<BehaviourRule>, RuleError> {
    let rules = BehaviourRules::load(&selection.source)?.changed(&selection.changes);
    Ok(rules.iter().filter(|rule| !selection.disabled.contains(&rule.id)).cloned().collect())
}

fn list(rules: &[LoadedRule], behaviours: &[BehaviourRule], format: Format) -> String {
    if format == Format::Jsonl {
        let lines = rules.iter().map(described).chain(behaviours.iter().map(described_behaviour));
        let lines: Vec<String> = lines.map(|line| line.to_string()).collect();
        return lines.join("\n") + "\n";
    }
    let scan = rules.iter().map(|loaded| {
        let rule = &loaded.rule;
        let (severity, confidence) = (rule.severity.as_str(), rule.confidence.to_string());
        [rule.id.as_str(), rule.group.as_str(), severity, &confidence, rule.title.as_str()].map(str::to_owned)
    });
    let behaviours = behaviours.iter().map(|rule| {
        let severity = rule.severity.map_or("-", Severity::as_str);
        let confidence = rule.confidence.map_or_else(|| "-".to_owned(), |confidence| confidence.to_string());
        [rule.id.as_str(), rule.category(), severity, &confidence, rule.title.as_str()].map(str::to_owned)
    });
    let rows: Vec<[String; 5]> = scan.chain(behaviours).collect();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or_default();
    let (ids, groups) = (width(0), width(1));
    let mut out = String::new();
    for [id, group, severity, confidence, title] in &rows {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{id:ids$}  {group:groups$}  {severity:8}  {confidence:>3}  {title}");
    }
    let _ = writeln!(out, "{} rules", rows.len());
    out
}

fn described_behaviour(rule: &BehaviourRule) -> serde_json::Value {
    json!({
        "id": rule.id,
        "group": rule.category(),
        "title": rule.title,
        "severity": rule.severity,
        "confidence": rule.confidence,
        "remedy": rule.remedy,
        "cases": rule.cases,
        "references": rule.references,
        "file": rule.defined_in.0,
        "line": rule.defined_in.1,
    })
}

fn described(loaded: &LoadedRule) -> serde_json::Value {
    let rule = &loaded.rule;
    json!({
        "id": rule.id,
        "group": rule.group,
        "entity": rule.entity,
        "title": rule.title,
        "severity": rule.severity,
        "confidence": rule.confidence,
        "pattern": rule.pattern,
        "keywords": loaded.keywords,
        "trigger": loaded.trigger.as_str(),
        "validator": loaded.validator,
        "context": loaded.context,
        "context_required": loaded.context_required,
        "allow": loaded.allow,
        "allow_patterns": loaded.allow_patterns,
        "priority": loaded.priority,
        "remedy": rule.remedy,
        "references": rule.references,
        "file": loaded.place.file,
        "line": loaded.place.line(Key::Id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_rule() {
        let selection = Selection::default();
        let (rules, behaviours) = (selection.load().unwrap(), behaviours(&selection).unwrap());
        let text = list(&rules, &behaviours, Format::Text);
        assert_eq!(text.lines().count(), rules.len() + behaviours.len() + 1);
        let lines = list(&rules, &behaviours, Format::Jsonl);
        assert_eq!(lines.lines().count(), rules.len() + behaviours.len());
        for line in lines.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(text.contains(value["id"].as_str().unwrap()));
        }
    }
}
