//! docs/SUPPORT_MATRIX.md. Enters: what a run showed. Leaves: a file in `target/support-matrix`, and proof that the page has that line;
//! `OUTFLOW_BLESS=1` writes the line instead. Versions and sizes are of the run that wrote the page, and are not compared.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::{Row, TABLE};
use crate::support;

const BEGIN: &str = "<!-- rows: written by tests/e2e/runtimes with OUTFLOW_BLESS=1 -->\n";
const END: &str = "<!-- end of rows -->\n";
const HEAD: &str = "| Client | Version | Its TLS | Version | In the file | Sent | Received | Recovered |\n\
                    | --- | --- | --- | --- | --- | --- | --- | --- |\n";
/// Columns that another machine may have otherwise.
const MAY_DIFFER: [usize; 4] = [1, 3, 5, 6];

/// Tests write side by side.
static PAGE: Mutex<()> = Mutex::new(());

fn path() -> PathBuf {
    testbed::workspace().join("docs/SUPPORT_MATRIX.md")
}

/// Keeps what a run showed, and compares it with the page.
pub(super) fn record(id: &str, row: &Row) {
    let folder = support::target().join("support-matrix");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(id).with_extension("json"), serde_json::to_string_pretty(row).unwrap() + "\n").unwrap();

    let _one_at_a_time = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let page = fs::read_to_string(path()).unwrap();
    let (before, lines, after) = parts(&page);
    let written = line(row);
    if std::env::var_os("OUTFLOW_BLESS").is_some() {
        let order = |name: &str| TABLE.iter().position(|client| client.name == name);
        let mut lines: Vec<&str> = lines.into_iter().filter(|line| name(line) != row.client).collect();
        lines.push(&written);
        lines.retain(|line| order(name(line)).is_some());
        lines.sort_by_key(|line| order(name(line)));
        fs::write(path(), [before, BEGIN, HEAD, &lines.concat(), END, after].concat()).unwrap();
        return;
    }
    let committed = lines.iter().copied().find(|line| name(line) == row.client).unwrap_or_default();
    assert_eq!(fixed(committed), fixed(&written), "docs/SUPPORT_MATRIX.md is out of date: run this test with OUTFLOW_BLESS=1");
}

/// What stands before the rows, the rows, and what stands after them.
fn parts(page: &str) -> (&str, Vec<&str>, &str) {
    let (before, rest) = page.split_once(BEGIN).expect("the page has the mark where rows begin");
    let (table, after) = rest.split_once(END).expect("the page has the mark where rows end");
    (before, table.strip_prefix(HEAD).unwrap_or(table).split_inclusive('\n').collect(), after)
}

fn line(row: &Row) -> String {
    let Row { client, version, stack, stack_version, file, sent_bytes, received_bytes, refused } = row;
    let recovered = refused.as_ref().map_or_else(|| "all of it".to_owned(), |reason| format!("refused: {reason}"));
    let (sent, received) = match refused {
        None => (kilobytes(*sent_bytes), kilobytes(*received_bytes)),
        Some(_) => Default::default(),
    };
    format!("| {client} | {version} | {stack} | {stack_version} | `{file}` | {sent} | {received} | {recovered} |\n")
}

fn kilobytes(bytes: usize) -> String {
    format!("{} kB", bytes / 1000)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

fn name(line: &str) -> &str {
    cells(line).first().copied().unwrap_or_default()
}

/// The cells that are the same on each machine.
fn fixed(line: &str) -> Vec<&str> {
    let cells = cells(line).into_iter().enumerate();
    cells.filter(|(column, _)| !MAY_DIFFER.contains(column)).map(|(_, cell)| cell).collect()
}

/// Needs no rights: the page has a line for each client and for nothing else, in the table's order.
#[test]
fn the_page_has_a_line_for_each_client() {
    let page = fs::read_to_string(path()).unwrap();
    let (_, lines, _) = parts(&page);
    let names: Vec<&str> = lines.into_iter().map(name).collect();
    let wanted: Vec<&str> = TABLE.iter().map(|client| client.name).collect();
    assert!(std::env::var_os("OUTFLOW_BLESS").is_some() || names == wanted, "{names:?} must be {wanted:?}");
}
