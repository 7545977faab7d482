//! `outflow rules check`: proves rules, and says what they cost. Enters: the rules that count. Leaves: each flaw with file, line and key,
//! warnings about rules that slow the scan down, and whether all hold.

use std::{fmt::Write as _, io, process::ExitCode};

use anyhow::Context as _;
use serde_json::json;

use super::Options;
use crate::{
    cli::{Format, exit},
    clock,
    detectors::scan::{
        Backend, RuleSet,
        check::{Flaw, check},
        cost::{busy, complaint, leave_one_out, ordinary_text},
    },
    rules::{
        ModelRules, RuleError, Selection, TlsRules, VendorTable,
        scan::{Key, LoadedRule},
    },
};

/// Text on which it is counted how often a rule makes the scan look twice, bytes.
const BUSY_BYTES: usize = 256 << 10;
/// Text on which time is measured, bytes.
const TIMED_BYTES: usize = 4 << 20;
/// A rule that takes more of the scan's time than this is warned about.
const COSTLY: f64 = 0.05;

pub(super) fn prove(options: &Options, costs: bool) -> anyhow::Result<(String, ExitCode)> {
    let selection = options.rules.selection()?;
    let set = match selection.load().and_then(RuleSet::compile) {
        Ok(set) => set,
        Err(RuleError::Invalid { file, line, message }) if options.format == Format::Jsonl => {
            let text = json!({"file": file, "line": line, "message": message}).to_string();
            return Ok((text + "\n", ExitCode::from(exit::USAGE)));
        }
        Err(error) => return Err(error.into()),
    };
    // These prove their own examples while they are read. A folder of one's own may hold scan rules alone.
    let source = &selection.source;
    let others =
        [VendorTable::load(source).map(drop), ModelRules::load(source).map(drop), TlsRules::load(source).map(drop)];
    for loaded in others {
        match loaded {
            Err(RuleError::Read { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => {}
            loaded => loaded?,
        }
    }
    let mut flaws = Vec::new();
    for backend in Backend::all() {
        let found = check(&set, *backend).with_context(|| format!("engine {}", backend.name()))?;
        flaws.extend(found);
    }
    let busy = busy(&set, ordinary_text(BUSY_BYTES).as_bytes())?;
    for (loaded, busy) in set.loaded().zip(&busy) {
        flaws.extend(complaint(*busy).map(|message| Flaw {
            file: loaded.place.file.clone(),
            line: loaded.place.line(Key::Pattern),
            key: Key::Pattern.as_str(),
            rule: loaded.rule.id.clone(),
            message,
        }));
    }
    let measured = measure(&set, &selection, costs, &busy)?;
    let examples: usize = set.loaded().map(|loaded| loaded.examples.len() + loaded.counter_examples.len()).sum();
    let engines: Vec<&str> = Backend::all().iter().map(|backend| backend.name()).collect();
    let code = if flaws.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::USAGE) };
    let report = report(&flaws, set.len(), examples, &engines, options.format);
    Ok((told(&measured, options.format) + &report, code))
}

/// What one rule costs.
struct Measured<'a> {
    loaded: &'a LoadedRule,
    /// Of the scan's time, 0 to 1.
    share: f64,
    /// Of the text, how much it makes the second stage look at.
    busy: f64,
}

/// Leaves rules out one at a time: all of them when asked, else those that were added. The dearest first.
fn measure<'a>(
    set: &'a std::sync::Arc<RuleSet>,
    selection: &Selection,
    all: bool,
    busy: &[f64],
) -> anyhow::Result<Vec<Measured<'a>>> {
    let rules: Vec<&LoadedRule> = set.loaded().collect();
    let asked = |(_, loaded): &(usize, &&LoadedRule)| all || selection.is_added(loaded);
    let which: Vec<usize> = rules.iter().enumerate().filter(asked).map(|(index, _)| index).collect();
    if which.is_empty() {
        return Ok(Vec::new());
    }
    let mut time = |work: &mut dyn FnMut()| {
        let before = clock::thread_cpu_ns();
        work();
        clock::thread_cpu_ns().saturating_sub(before)
    };
    let costs = leave_one_out(set, &which, Backend::best(), ordinary_text(TIMED_BYTES).as_bytes(), &mut time)?;
    let mut measured: Vec<Measured<'_>> = costs
        .iter()
        .filter_map(|cost| {
            let (loaded, busy) = (*rules.get(cost.rule)?, *busy.get(cost.rule)?);
            Some(Measured { loaded, share: cost.share().max(0.0), busy })
        })
        .collect();
    measured.sort_by(|a, b| b.share.total_cmp(&a.share));
    Ok(measured)
}

fn told(measured: &[Measured<'_>], format: Format) -> String {
    let mut out = String::new();
    for Measured { loaded, share, busy } in measured {
        let (file, line, rule) = (&loaded.place.file, loaded.place.line(Key::Pattern), &loaded.rule.id);
        let (share, busy) = (share * 100.0, busy * 100.0);
        // Writing to a string cannot fail.
        let _ = match format {
            Format::Text if share > COSTLY * 100.0 => writeln!(
                out,
                "{file}:{line}: warning: rule {rule}: takes {share:.1} % of the scan's time and looks twice at {busy:.1} % of \
                 ordinary text: begin the pattern with a literal that is rarer"
            ),
            Format::Text => {
                writeln!(out, "{rule}  takes {share:.1} % of the scan's time, looks twice at {busy:.1} % of the text")
            }
            Format::Jsonl => writeln!(
                out,
                "{}",
                json!({"rule": rule, "file": file, "line": line, "time_percent": share, "busy_percent": busy,
                       "warning": share > COSTLY * 100.0})
            ),
        };
    }
    out
}

fn report(flaws: &[Flaw], rules: usize, examples: usize, engines: &[&str], format: Format) -> String {
    let mut out = String::new();
    for Flaw { file, line, key, rule, message } in flaws {
        let _ = match format {
            Format::Text => writeln!(out, "{file}:{line}: {key}: rule {rule}: {message}"),
            Format::Jsonl => {
                writeln!(out, "{}", json!({"file": file, "line": line, "key": key, "rule": rule, "message": message}))
            }
        };
    }
    let _ = match format {
        Format::Text if flaws.is_empty() => {
            writeln!(out, "{rules} rules hold on {examples} examples and counter-examples ({})", engines.join(", "))
        }
        Format::Text => writeln!(out, "{} do not hold, of {examples} examples and counter-examples", flaws.len()),
        Format::Jsonl => Ok(()),
    };
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn options(folder: &std::path::Path, format: Format) -> Options {
        use clap::Parser;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        let format = if format == Format::Text { "text" } else { "jsonl" };
        Line::parse_from(["x", "--rules", &folder.display().to_string(), "--format", format]).options
    }

    fn folder(pattern: &str, example: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in ["pii", "secrets"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let text = format!(
            "[[rule]]\nid = \"secret.demo\"\nentity = \"DEMO\"\ntitle = \"Demo\"\nseverity = \"low\"\nconfidence = 50\n\
             pattern = '{pattern}'\nremedy = \"x\"\nreferences = [\"x\"]\nexamples = [\"demo_1\", \"demo_2\", \"{example}\"]\n\
             counter_examples = [\"a\", \"b\", \"demo_x\"]\n"
        );
        fs::write(root.path().join("secrets/demo.toml"), text).unwrap();
        root
    }

    #[test]
    fn a_folder_of_rules_is_proven() {
        let good = folder("demo_[0-9]", "demo_3");
        let (text, code) = prove(&options(good.path(), Format::Text), false).unwrap();
        assert!(text.starts_with("1 rules hold on 6 examples"), "{text}");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));

        let lost = folder("demo_[0-9]", "demo");
        let (text, code) = prove(&options(lost.path(), Format::Text), false).unwrap();
        assert!(
            text.starts_with("secrets/demo.toml:10: examples: rule secret.demo: pure: number 3 is not found\n"),
            "{text}"
        );
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(exit::USAGE)));

        let noisy = folder("demo_[0-9x]", "demo_3");
        let (text, _) = prove(&options(noisy.path(), Format::Jsonl), false).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((line["line"].as_u64(), line["key"].as_str()), (Some(11), Some("counter_examples")));

        let broken = folder("demo_[0-9]+", "demo_3");
        let error = prove(&options(broken.path(), Format::Text), false).unwrap_err().to_string();
        assert!(error.starts_with("secrets/demo.toml:7: pattern: rule secret.demo: has no longest match"), "{error}");
    }
    #[test]
    fn costs_are_told_for_each_rule_and_a_busy_one_is_a_flaw() {
        let good = folder("demo_[0-9]", "demo_3");
        let (text, _) = prove(&options(good.path(), Format::Text), true).unwrap();
        let line = text.lines().find(|line| line.contains("secret.demo")).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains("% of the scan's time"), "{line}");
        let (json, _) = prove(&options(good.path(), Format::Jsonl), true).unwrap();
        let told: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert!(told["time_percent"].is_f64() && told["busy_percent"].as_f64() < Some(1.0), "{told}");

        let busy = folder("(?:demo_[0-9]|(?:the|and)[^\\n]{1,200})", "demo_3");
        let (text, code) = prove(&options(busy.path(), Format::Text), false).unwrap();
        assert!(
            text.contains("secrets/demo.toml:7: pattern: rule secret.demo: makes the scanner look twice"),
            "{text}"
        );
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(exit::USAGE)));
    }
}
