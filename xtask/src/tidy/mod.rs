//! `cargo xtask tidy`: the house rules that no lint knows. Enters: the project's own files. Leaves: each breach with file and
//! line. It reads text, not meaning: what the compiler or clippy can check is theirs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::sh;

mod rooms;
mod source;

/// Folders with our own Rust.
const RUST: [&str; 6] = ["agent", "agent-ebpf", "xtask", "tests", "benches", "fuzz"];

/// Further files and folders whose text is ours.
const TEXT: [&str; 10] = [
    "rules",
    "docs",
    ".ci",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "Cargo.toml",
    "clippy.toml",
    "deny.toml",
    "typos.toml",
];

/// Lines of a file without its tests. A longer one holds two ideas.
const FILE_LINES_MAX: usize = 700;

/// Lines of a function, from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 100;

/// Where `unsafe` may stand: the kernel programs, the one file that calls the kernel directly, the one for what only some
/// processors can do.
const UNSAFE: [&str; 3] = ["agent-ebpf/", "agent/src/sources/tap/ffi.rs", "agent/src/exchange/lanes/x86.rs"];

/// Where anyhow may stand; everywhere else an error is a type that says what to do.
const ANYHOW: [&str; 5] = ["agent/src/main.rs", "agent/src/cli/", "xtask/", "tests/", "benches/"];

/// Words that promise work instead of doing it. Written apart, so that this line may stand here.
const PROMISES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// One breach.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    file: String,
    line: usize,
    message: String,
}

/// Checks every file of the workspace; fails when one breaks a rule.
pub(crate) fn run() -> Result<()> {
    let mut breaches = Vec::new();
    let mut files = 0;
    for (folder, wanted) in RUST.iter().map(|folder| (folder, None)).chain(TEXT.iter().map(|folder| (folder, Some(()))))
    {
        for path in files_below(&sh::workspace().join(folder))? {
            let name = path.strip_prefix(sh::workspace()).unwrap_or(&path).to_string_lossy().into_owned();
            // What is no text (a fixture's bytes) has no words.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            files += 1;
            breaches.extend(promises(&name, &text));
            if wanted.is_none() && has_extension(&name, "rs") {
                breaches.extend(rust(&name, &text));
            }
        }
    }
    if files == 0 {
        bail!("no file below {}", sh::workspace().display());
    }
    breaches.sort();
    for breach in &breaches {
        println!("{}:{}: {}", breach.file, breach.line, breach.message);
    }
    if !breaches.is_empty() {
        bail!("{} breaches of the house rules in {files} files", breaches.len());
    }
    eprintln!("tidy: {files} files, no breach");
    Ok(())
}

/// The files below a folder, or the file itself; nothing when there is none.
fn files_below(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    if !path.is_dir() || path.ends_with("target") || path.ends_with("__pycache__") {
        return Ok(files);
    }
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        files.extend(files_below(&entry?.path())?);
    }
    Ok(files)
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == extension)
}

fn promises(file: &str, text: &str) -> Vec<Breach> {
    let promises = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.find_map(|word| PROMISES.iter().find(|promise| word == **promise))
    };
    let lines = text.lines().zip(1..).filter_map(|(line, number)| Some((promises(line)?, number)));
    lines
        .map(|(word, line)| Breach { file: file.to_owned(), line, message: format!("{word}: do it, or open an issue") })
        .collect()
}

/// Checks one Rust file; `file` is its path below the workspace.
fn rust(file: &str, text: &str) -> Vec<Breach> {
    let code = source::code(text);
    let all = source::tokens(&code);
    let is_test = file.starts_with("tests/") || file.ends_with("/tests.rs") || file.contains("/tests/");
    let tokens = if is_test { all.clone() } else { source::without_tests(&all) };
    let mut breaches = Vec::new();
    let mut add = |line: usize, message: String| breaches.push(Breach { file: file.to_owned(), line, message });

    if !text.trim_start().starts_with("//!") {
        add(1, "a module opens with `//!`: what enters, what leaves, what it never does".to_owned());
    }
    let lines = lines_without_tests(text, &all, &tokens);
    if lines > FILE_LINES_MAX {
        add(
            1,
            format!("{lines} lines without tests, the cap is {FILE_LINES_MAX}: split it where it changes its subject"),
        );
    }
    for at in 0..all.len() {
        if source::starts_with(&all[at..], &["#", "[", "ignore"]) {
            add(all[at].line, "an ignored test proves nothing: skip at run time with `skipped: reason`".to_owned());
        }
    }
    for token in tokens.iter().filter(|token| token.text == "unsafe" && !stands_in(file, &UNSAFE)) {
        add(
            token.line,
            "`unsafe` stands only in the kernel programs, sources/tap/ffi.rs and exchange/lanes/x86.rs".to_owned(),
        );
    }
    let paths = source::paths(&tokens);
    let anyhow = paths.iter().find(|path| path.segments.first().is_some_and(|first| first == "anyhow"));
    if let Some(path) = anyhow.filter(|_| !stands_in(file, &ANYHOW)) {
        add(path.line, "anyhow stands only in main, cli, xtask and tests: give the room an error type".to_owned());
    }
    if !is_test {
        for (name, line, length) in functions(&tokens).into_iter().filter(|(_, _, length)| *length > FUNCTION_LINES_MAX)
        {
            add(line, format!("`{name}` has {length} lines, the cap is {FUNCTION_LINES_MAX}"));
        }
    }
    if let Some(file) = file.strip_prefix("agent/src/").filter(|_| !is_test) {
        for path in &paths {
            if let Some(message) = rooms::broken(file, path) {
                add(path.line, message);
            }
        }
        for pair in
            tokens.windows(2).filter(|pair| rooms::is_dry(file) && pair[1].text == "!" && rooms::prints(pair[0].text))
        {
            add(pair[0].line, format!("`{}!`: a dry room prints nothing", pair[0].text));
        }
    }
    breaches
}

fn stands_in(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| file == *place || (place.ends_with('/') && file.starts_with(place)))
}

/// Lines of the file less those that only tests see.
fn lines_without_tests(text: &str, all: &[source::Token<'_>], kept: &[source::Token<'_>]) -> usize {
    let total = text.lines().count();
    // Both lists are in order, so a stretch of `all` that `kept` lacks is one test item.
    let (mut tests, mut open, mut at) = (0, None, 0);
    for token in all {
        if kept.get(at) == Some(token) {
            at += 1;
            if let Some((first, last)) = open.take() {
                tests += last - first + 1;
            }
        } else {
            open = Some((open.map_or(token.line, |(first, _): (usize, usize)| first), token.line));
        }
    }
    tests += open.map_or(0, |(first, last)| last - first + 1);
    total.saturating_sub(tests)
}

/// Name, first line and number of lines of each function with a body.
fn functions<'a>(tokens: &[source::Token<'a>]) -> Vec<(&'a str, usize, usize)> {
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        // `fn(` is a type.
        if pair[0].text != "fn" || pair[1].text == "(" {
            continue;
        }
        let end = source::item_end(tokens, at);
        let last = tokens.get(end.saturating_sub(1)).map_or(pair[0].line, |token| token.line);
        found.push((pair[1].text, pair[0].line, last - pair[0].line + 1));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(file: &str, text: &str) -> Vec<String> {
        let mut breaches = rust(file, text);
        breaches.extend(promises(file, text));
        breaches.into_iter().map(|breach| format!("{}: {}", breach.line, breach.message)).collect()
    }

    /// One breach, on that line, with that word in its message; or none.
    #[track_caller]
    fn check(file: &str, text: &str, expected: Option<(usize, &str)>) {
        let text = format!("//! Module.\n{text}");
        let found = messages(file, &text);
        match expected {
            None => assert!(found.is_empty(), "{file}: {found:?}"),
            Some((line, word)) => {
                assert_eq!(found.len(), 1, "{file}: {found:?}");
                assert!(found[0].starts_with(&format!("{line}: ")) && found[0].contains(word), "{file}: {found:?}");
            }
        }
    }

    #[test]
    fn each_rule_finds_its_breach_and_nothing_else() {
        let exchange = "agent/src/exchange/usage.rs";
        check(exchange, "use crate::{units::NanoUsd, assembly::{Message, Anomaly}};", None);
        check(
            exchange,
            "use crate::{\n    units::NanoUsd,\n    detectors::Hit,\n};",
            Some((4, "must not use `detectors`")),
        );
        check(exchange, "fn f() { println!(\"x\") }", Some((2, "prints nothing")));
        check(exchange, "// println!(\"x\") and std::fs in a comment", None);
        check(exchange, "use std::{io::Read, time::Instant};", Some((2, "std::time::Instant")));
        check(exchange, "use anyhow::Result;", Some((2, "anyhow")));
        check("agent/src/cli/tap.rs", "use anyhow::Result;", None);
        check(exchange, "fn f() { unsafe { g() } }", Some((2, "unsafe")));
        check("agent/src/sources/tap/ffi.rs", "fn f() { unsafe { g() } }", None);
        check("agent-ebpf/src/main.rs", "fn f() { unsafe { g() } }", None);
        check("agent/src/lib.rs", "#![forbid(unsafe_code)]", None);
        check(exchange, "#[cfg(test)]\nmod tests {\n    use std::fs;\n    use crate::cli::main;\n}", None);
        check("tests/it/main.rs", "#[test]\n#[ignore]\nfn f() {}", Some((3, "ignored test")));
        check(
            exchange,
            "#[cfg(test)]\nmod tests {\n    #[ignore = \"slow\"]\n    fn f() {}\n}",
            Some((4, "ignored test")),
        );
        check(exchange, &format!("// {}: later", PROMISES[0]), Some((2, PROMISES[0])));
        check(exchange, "fn todo() {}", None);
    }

    #[test]
    fn a_module_opens_with_its_page() {
        assert_eq!(messages("xtask/src/x.rs", "fn main() {}").len(), 1);
        assert!(messages("xtask/src/x.rs", "\n//! Page.\nfn main() {}").is_empty());
    }

    #[test]
    fn caps_count_lines_without_tests() {
        let long = "fn f() {}\n".repeat(FILE_LINES_MAX);
        check("xtask/src/x.rs", &long, Some((1, "lines without tests")));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
        check("xtask/src/x.rs", &tests, None);
        let function = format!("fn f() {{\n{}}}", "g();\n".repeat(FUNCTION_LINES_MAX));
        check("xtask/src/x.rs", &function, Some((2, "`f` has")));
        check("xtask/src/x.rs", "trait T { fn f(&self); }\ntype F = fn(u8);", None);
    }
}
