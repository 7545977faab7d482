//! Text to [`Config`], with all errors at once. Enters: TOML. Leaves: the config, or every problem with its place.
//!
//! serde stops at the first error. So what it refused is taken out of the parsed document and the rest is read again, until
//! nothing is refused: a document of n keys is read at most n times. The place of an error is the span that the TOML reader
//! gives it; the key is the node of the document that has this span.

use std::{fmt::Write as _, ops::Range};

use serde::Deserialize as _;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, Deserializer},
};

use super::{Config, Problem, check::check};

/// Problems that are told at most; whoever has more gives us the wrong kind of file.
const PROBLEMS_MAX: usize = 100;

/// One step down in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Into a table.
    Key(String),
    /// Into an array.
    Index(usize),
}

/// Reads a file's text.
pub(super) fn read(text: &str) -> Result<Config, Vec<Problem>> {
    let mut found = Found { text, problems: Vec::new() };
    let (root, broken) = DeTable::parse_recoverable(text);
    if !broken.is_empty() {
        // What a broken document was meant to say is a guess; so nothing is said of its keys.
        for error in broken {
            found.add(error.span().unwrap_or_default(), &[], error.message().to_owned());
        }
        return Err(found.sorted());
    }
    let root = root.into_inner();
    let mut rest = root.clone();
    let config = loop {
        let document = Spanned::new(0..text.len(), rest.clone());
        let error = match Config::deserialize(Deserializer::from(document)) {
            Ok(config) => break config,
            Err(error) => error,
        };
        let span = error.span().unwrap_or_default();
        let mut steps = Vec::new();
        let is_known = find(&root, &span, &mut steps);
        found.refused(span.clone(), &steps, error.message());
        if !is_known || !remove(&mut rest, &span) || found.problems.len() >= PROBLEMS_MAX {
            return Err(found.sorted());
        }
    };
    for (steps, message) in check(&config) {
        let (span, steps) = place(&rest, &root, &steps);
        // What follows from an error that was told already is no news.
        let key = path(&steps);
        if !found.problems.iter().any(|problem| problem.key.starts_with(&key)) {
            found.add(span, &steps, message);
        }
    }
    if found.problems.is_empty() { Ok(config) } else { Err(found.sorted()) }
}

struct Found<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, span: Range<usize>, steps: &[Step], message: String) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |feed| feed + 1);
        self.problems.push(Problem {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            key: path(steps),
            message,
        });
    }

    /// An error of serde's. A key that is missing because it was refused before is not told again.
    fn refused(&mut self, span: Range<usize>, steps: &[Step], message: &str) {
        let Some(missing) = message.strip_prefix("missing field ") else {
            return self.add(span, steps, reworded(message));
        };
        let mut steps = steps.to_vec();
        steps.push(Step::Key(missing.trim_matches('`').to_owned()));
        let key = path(&steps);
        if !self.problems.iter().any(|problem| problem.key.starts_with(&key)) {
            self.add(span, &steps, "this key is missing".to_owned());
        }
    }

    fn sorted(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems.dedup();
        self.problems
    }
}

/// serde's words in ours, with a suggestion for what looks like a slip of the pen.
fn reworded(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if let ([wrong, known @ ..], Some(what)) =
        (names.as_slice(), ["unknown field", "unknown variant"].iter().find(|start| message.starts_with(*start)))
    {
        let listed = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let meant = meant(wrong, known).map(|name| format!("; did you mean `{name}`?"));
        return match (*what, meant) {
            ("unknown field", Some(meant)) => format!("unknown key{meant}"),
            ("unknown field", None) => format!("unknown key; known here: {listed}"),
            (_, meant) => format!("{wrong:?} must be one of {listed}{}", meant.unwrap_or_default()),
        };
    }
    let (found, expected) = match message.split_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => (found, expected),
        _ => return message.to_owned(),
    };
    let expected = match expected {
        "a sequence" => "an array",
        "u32" => "a whole number from 0 to 4294967295",
        "i64" => "a whole number",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    let found = found.trim_start_matches("invalid type: ").trim_start_matches("invalid value: ");
    let found = if found == "map" { "a table" } else { found };
    format!("found {found}, expected {expected}")
}

/// The known name that was most likely meant.
pub(crate) fn meant<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(&wrong.to_lowercase(), name);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= 0.8).then_some(best)
}

/// `budget[1].limit_usd`; a key that is no bare one is quoted and cannot break a line.
fn path(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        let dot = if out.is_empty() { "" } else { "." };
        let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        // Writing to a string cannot fail.
        let _ = match step {
            Step::Index(index) => write!(out, "[{index}]"),
            Step::Key(key) if !key.is_empty() && key.chars().all(is_bare) => write!(out, "{dot}{key}"),
            Step::Key(key) => write!(out, "{dot}{key:?}"),
        };
    }
    out
}

/// The deepest node with this span, as steps from the root. A key's own span counts as its value's.
fn find(table: &DeTable<'_>, span: &Range<usize>, steps: &mut Vec<Step>) -> bool {
    for (key, value) in table {
        steps.push(Step::Key(key.get_ref().to_string()));
        if find_in(value, span, steps) || key.span() == *span {
            return true;
        }
        steps.pop();
    }
    false
}

fn find_in(value: &Spanned<DeValue<'_>>, span: &Range<usize>, steps: &mut Vec<Step>) -> bool {
    let below = match value.get_ref() {
        DeValue::Table(table) => find(table, span, steps),
        DeValue::Array(items) => items.iter().enumerate().any(|(index, item)| {
            steps.push(Step::Index(index));
            let is_here = find_in(item, span, steps);
            if !is_here {
                steps.pop();
            }
            is_here
        }),
        _ => false,
    };
    below || value.span() == *span
}

/// Takes the deepest node with this span out.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    if table.iter_mut().any(|(_, value)| remove_in(value.get_mut(), span)) {
        return true;
    }
    let refused = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span);
    let name = refused.map(|(key, _)| key.get_ref().to_string());
    name.is_some_and(|name| table.remove(name.as_str()).is_some())
}

fn remove_in(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => remove(table, span),
        DeValue::Array(items) => {
            if items.iter_mut().any(|item| remove_in(item.get_mut(), span)) {
                return true;
            }
            let before = items.len();
            let kept = std::mem::replace(items, DeArray::new()).into_iter().filter(|item| item.span() != *span);
            *items = kept.collect();
            items.len() < before
        }
        _ => false,
    }
}

/// Where `steps` in what was read lead in the whole document: the span of the deepest node there is, and the steps in the
/// numbering of the file.
fn place(read: &DeTable<'_>, whole: &DeTable<'_>, steps: &[Step]) -> (Range<usize>, Vec<Step>) {
    let (mut span, mut depth) = (0..0, 0);
    let mut node: Option<&Spanned<DeValue<'_>>> = None;
    for step in steps {
        let next = match (step, node.map(Spanned::get_ref)) {
            (Step::Key(key), None) => read.get(key.as_str()),
            (Step::Key(key), Some(DeValue::Table(table))) => table.get(key.as_str()),
            (Step::Index(index), Some(DeValue::Array(items))) => items.get(*index),
            _ => None,
        };
        let Some(next) = next else { break };
        (span, depth, node) = (next.span(), depth + 1, Some(next));
    }
    let mut shown = Vec::new();
    if depth == 0 || !find(whole, &span, &mut shown) {
        shown.clear();
        depth = 0;
    }
    // The same span can belong to an array of tables and its first table: as deep as was asked, not deeper.
    shown.truncate(depth.max(1));
    shown.extend(steps.iter().skip(shown.len()).cloned());
    (span, shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let told = |p: Problem| format!("{}:{} {}: {}", p.line, p.column, p.key, p.message);
        read(text).err().unwrap_or_default().into_iter().map(told).collect()
    }

    #[test]
    fn all_errors_are_told_at_once_with_their_places() {
        let text = "[logs]\nscan_intervall = \"1s\"\nline_bytes = 5\n\n[[logs.files]]\nglobs = [\"/a\", \"b\", \"/c[\"]\nservice = true\n\
                    [tap]\npids = [-1, 7]\n";
        let told = problems(text);
        let expected = [
            "2:1 logs.scan_intervall: unknown key; did you mean `scan_interval`?",
            "3:14 logs.line_bytes: found integer `5`, expected a size",
            "6:16 logs.files[0].globs[1]: \"b\" is relative",
            "6:21 logs.files[0].globs[2]: \"/c[\" is no pattern",
            "7:11 logs.files[0].service: found boolean `true`, expected a name",
            "9:9 tap.pids[0]: found integer `-1`, expected a whole number from 0",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told}\n{expected}");
        }
    }

    #[test]
    fn what_follows_from_an_error_is_not_told() {
        assert_eq!(problems("[[budget]]\nservice = \"a\"\nlimit_usd = true\n").len(), 1);
        assert_eq!(problems("[[logs.files]]\nglobs = [\"a\"]\n").len(), 1);
        assert_eq!(problems("[tap]\nenabled = true\nscope = \"hst\"\n").len(), 1);
    }

    #[test]
    fn a_missing_key_is_told_where_it_belongs() {
        let told = problems("[[budget]]\nservice = \"a\"\nlimit_usd = 1\n\n[[budget]]\nservice = \"b\"\n");
        let others = "`limit_tokens`, `request_usd` and `request_tokens`";
        assert_eq!(told, [format!("5:1 budget[1].limit_usd: is missing, and so are {others}: what is the limit?")]);
        let told = problems("[[rules.override]]\nid = \"pii.email\"\n\n[[rules.override]]\nseverity = \"low\"\n");
        assert_eq!(told, ["4:1 rules.override[1].id: this key is missing"]);
    }

    #[test]
    fn columns_count_characters() {
        let told = problems("logs = { files = [{ globs = [\"/ä\"], servize = \"x\" }] }");
        assert_eq!(told, ["1:37 logs.files[0].servize: unknown key; did you mean `service`?"]);
    }
}
