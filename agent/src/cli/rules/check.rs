//! `outflow rules check`: proves rules. Enters: the rules that count. Leaves: each flaw with file, line and key, and whether all hold.

use std::{fmt::Write as _, io, process::ExitCode};

use anyhow::Context as _;
use serde_json::json;

use super::Options;
use crate::{
    cli::{Format, exit},
    detectors::scan::{
        Backend, RuleSet,
        check::{Flaw, check},
    },
    rules::{ModelRules, RuleError, TlsRules, VendorTable},
};

pub(super) fn prove(options: &Options) -> anyhow::Result<(String, ExitCode)> {
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
    let source = selection.source;
    let others =
        [VendorTable::load(&source).map(drop), ModelRules::load(&source).map(drop), TlsRules::load(&source).map(drop)];
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
    let examples: usize = set.loaded().map(|loaded| loaded.examples.len() + loaded.counter_examples.len()).sum();
    let engines: Vec<&str> = Backend::all().iter().map(|backend| backend.name()).collect();
    let code = if flaws.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::USAGE) };
    Ok((report(&flaws, set.len(), examples, &engines, options.format), code))
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
        let (text, code) = prove(&options(good.path(), Format::Text)).unwrap();
        assert!(text.starts_with("1 rules hold on 6 examples"), "{text}");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));

        let lost = folder("demo_[0-9]", "demo");
        let (text, code) = prove(&options(lost.path(), Format::Text)).unwrap();
        assert!(
            text.starts_with("secrets/demo.toml:10: examples: rule secret.demo: pure: number 3 is not found\n"),
            "{text}"
        );
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(exit::USAGE)));

        let noisy = folder("demo_[0-9x]", "demo_3");
        let (text, _) = prove(&options(noisy.path(), Format::Jsonl)).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((line["line"].as_u64(), line["key"].as_str()), (Some(11), Some("counter_examples")));

        let broken = folder("demo_[0-9]+", "demo_3");
        let error = prove(&options(broken.path(), Format::Text)).unwrap_err().to_string();
        assert!(error.starts_with("secrets/demo.toml:7: pattern: rule secret.demo: has no longest match"), "{error}");
    }
}
