//! `outflow rules`: lists the scan rules, proves them on their own examples, explains one, and says why a text is found or not. Enters:
//! the rules that count. Leaves: text or JSON lines on standard output; exit code 2 when a rule is wrong.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use serde_json::json;

use super::{Format, RuleArgs};
use crate::rules::scan::{Key, LoadedRule};

mod check;
mod explain;
mod test;

/// Lists, checks, tests and explains the scan rules
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints every scan rule with its severity, its group and where it is defined
    List(Options),
    /// Proves every rule on its own examples and counter-examples, with every scan engine of this binary
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
        Command::List(options) => (list(&options.rules.selection()?.load()?, options.format), ExitCode::SUCCESS),
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

fn list(rules: &[LoadedRule], format: Format) -> String {
    let mut out = String::new();
    let width = |name: fn(&LoadedRule) -> &str| rules.iter().map(|loaded| name(loaded).len()).max().unwrap_or_default();
    let (ids, groups) = (width(|loaded| &loaded.rule.id), width(|loaded| &loaded.rule.group));
    for loaded in rules {
        let rule = &loaded.rule;
        // Writing to a string cannot fail.
        let _ = match format {
            Format::Text => writeln!(
                out,
                "{:ids$}  {:groups$}  {:8}  {:3}  {}",
                rule.id, rule.group, rule.severity, rule.confidence, rule.title
            ),
            Format::Jsonl => writeln!(out, "{}", described(loaded)),
        };
    }
    if format == Format::Text {
        let _ = writeln!(out, "{} rules", rules.len());
    }
    out
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
        let rules = crate::rules::scan::load(&crate::rules::RuleSource::Embedded).unwrap();
        let text = list(&rules, Format::Text);
        assert_eq!(text.lines().count(), rules.len() + 1);
        for line in list(&rules, Format::Jsonl).lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(text.contains(value["id"].as_str().unwrap()));
        }
    }
}
