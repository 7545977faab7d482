//! `docs/OCSF.md` against the events themselves. Enters: the page and samples. Leaves: nothing, or what the page says wrongly. Its table of
//! kinds and its example are made here, between marks; the mapping is written by hand, and names each field that events have, and no other.

use std::{collections::BTreeSet, fs, path::PathBuf};

use outflow::findings::Finding;
use serde_json::Value;

use super::{event, samples};
use crate::scenarios;

#[test]
fn the_page_shows_what_events_are() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/OCSF.md");
    let committed = fs::read_to_string(&path).unwrap();
    let samples = samples::all();
    let page = replace(&replace(&committed, "kinds", &kinds()), "example", &example(&samples));
    if std::env::var_os("OUTFLOW_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    } else {
        assert!(committed == page, "docs/OCSF.md is out of date: run this test with OUTFLOW_BLESS=1");
    }

    let mut used = BTreeSet::new();
    for (_, finding) in &samples {
        fields(&event(finding), "", finding, &mut used);
    }
    let named = named(&page);
    let missing: Vec<_> = used.difference(&named).collect();
    assert!(missing.is_empty(), "docs/OCSF.md does not say what these are: {missing:#?}");
    let stale: Vec<_> = named.difference(&used).collect();
    assert!(stale.is_empty(), "docs/OCSF.md names what no event has: {stale:#?}");
}

/// The page with other text between the marks `name`.
pub(crate) fn replace(page: &str, name: &str, text: &str) -> String {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = page.split_once(&start).expect(name);
    let (_, after) = rest.split_once(&end).expect(name);
    format!("{before}{start}{text}{end}{after}")
}

/// A row for each rule of behaviour, and one for each way in which leaks are found.
fn kinds() -> String {
    let mut rows = BTreeSet::new();
    let all = samples::kinds().into_iter().chain(samples::not_simulated()).chain(scenarios::findings());
    for (_, finding) in all {
        let event = event(&finding);
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let rule = match finding.rule.id.split_once('.') {
            Some((family @ ("pii" | "secret"), _)) => {
                format!("`{family}.*`, {}", text("/data_security/data_lifecycle_state"))
            }
            _ => format!("`{}`", finding.rule.id),
        };
        rows.insert(format!(
            "| {rule} | {} {} | {} | {} |\n",
            event["class_uid"],
            text("/class_name"),
            text("/finding_info/analytic/type"),
            event.pointer("/compliance/status").and_then(Value::as_str).unwrap_or("–"),
        ));
    }
    let mut out = "| finding | class | found by | check |\n| --- | --- | --- | --- |\n".to_owned();
    out.extend(rows);
    out
}

fn example(samples: &[samples::Sample]) -> String {
    let (_, leak) = samples.iter().find(|(name, _)| name == "pii.email in a call").unwrap();
    let mut event = event(leak);
    // A release does not change the page.
    event["metadata"]["product"]["version"] = "…".into();
    format!("```json\n{event:#}\n```\n")
}

/// Paths of the fields below a value; a field that holds a list of objects has `[]` behind it.
fn fields(value: &Value, path: &str, finding: &Finding, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let is_attribute =
                    name.strip_prefix("outflow.").is_some_and(|name| finding.attributes.contains_key(name));
                if path == "unmapped" && is_attribute {
                    continue;
                }
                let dot = if path.is_empty() { "" } else { "." };
                fields(inner, &format!("{path}{dot}{name}"), finding, out);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                fields(item, &format!("{path}[]"), finding, out);
            }
        }
        _ => {
            out.insert(path.to_owned());
        }
    }
}

/// What stands in backquotes in the first column of the mapping.
pub(crate) fn named(page: &str) -> BTreeSet<String> {
    let mapping = page.split("\n## Fields").nth(1).expect("a mapping").split("\n## ").next().unwrap();
    let rows = mapping.lines().filter(|line| line.starts_with("| `"));
    let columns = rows.filter_map(|row| row.split(" | ").next());
    columns.flat_map(|column| column.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}
