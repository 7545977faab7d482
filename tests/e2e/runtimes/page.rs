//! docs/SUPPORT_MATRIX.md. Enters: what a run showed, and what no run can show. Leaves: a file in `target/support-matrix`, and proof
//! that the page has that line; `OUTFLOW_BLESS=1` writes the line instead. Versions and sizes are of the run that wrote the page, and
//! are not compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use outflow::rules::RuleSource;

use super::{Row, TABLE};
use crate::support;

const BEGIN: &str = "<!-- rows: written by tests/e2e/runtimes with OUTFLOW_BLESS=1 -->\n";
const END: &str = "<!-- end of rows -->\n";
const HEAD: &str = "| Client | Version | Its TLS | Version | In the file | Sent | Received | Recovered |\n\
                    | --- | --- | --- | --- | --- | --- | --- | --- |\n";
/// Columns that another machine may have otherwise.
const MAY_DIFFER: [usize; 4] = [1, 3, 5, 6];

const UNTAPPED_BEGIN: &str = "<!-- not tapped: written by tests/e2e/runtimes with OUTFLOW_BLESS=1 -->\n";
const UNTAPPED_END: &str = "<!-- end of not tapped -->\n";
const UNTAPPED_HEAD: &str = "| Client | Its TLS | Seen | Why |\n| --- | --- | --- | --- |\n";

/// Clients whose test is in another file, which records its row.
pub(crate) const GRPCIO: &str = "grpcio, a gRPC channel";
const ELSEWHERE: [&str; 1] = [GRPCIO];

/// What no row can be made of: client, its TLS, whether it is seen, why.
const UNTAPPED: [[&str; 4]; 9] = [
    [
        "Java, Kotlin, Scala on the JVM",
        "JSSE",
        "no",
        "TLS is Java code, which the JVM compiles while it runs: no file has a function to put a probe on",
    ],
    ["Erlang, Elixir", "Erlang's own", "no", "the same: TLS is Erlang code"],
    ["Any program over HTTP/3", "QUIC", "no", "its plaintext does not pass the functions that are probed"],
    [
        "Programs with OpenSSL linked in and stripped",
        "OpenSSL",
        "no",
        "no name is left to find its functions by, and no signature is kept for it",
    ],
    ["Programs with mbedTLS, wolfSSL, s2n, BearSSL, Botan", "its own", "no", "nothing looks for them"],
    [
        "Ruby, PHP, Perl, .NET",
        "OpenSSL of the system",
        "not tried",
        "they load the libssl that the first row of the table above is about",
    ],
    [
        "Java with netty-tcnative or Conscrypt",
        "BoringSSL",
        "not tried",
        "it is in a library that is looked into like any other: tapped where its symbols are there, else refused",
    ],
    [
        "Programs with AWS-LC's own TLS",
        "AWS-LC",
        "by hand",
        "no package at hand carries it; tests/e2e/clients/aws_lc_client.c is tapped when OUTFLOW_AWS_LC_CLIENT names it",
    ],
    ["Anything on arm64", "any", "not tried", "the tests have run on x86-64 alone"],
];

/// In place of what is not known.
const UNKNOWN: &str = "–";

const SIGNED_BEGIN: &str = "<!-- signatures: written by tests/e2e/runtimes with OUTFLOW_BLESS=1 -->\n";
const SIGNED_END: &str = "<!-- end of signatures -->\n";
const SIGNED_HEAD: &str = "| Program | Versions |\n| --- | --- |\n";

/// Tests write side by side.
static PAGE: Mutex<()> = Mutex::new(());

fn path() -> PathBuf {
    testbed::workspace().join("docs/SUPPORT_MATRIX.md")
}

/// Keeps what a run showed, and compares it with the page.
pub(crate) fn record(id: &str, row: &Row) {
    let folder = support::target().join("support-matrix");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(id).with_extension("json"), serde_json::to_string_pretty(row).unwrap() + "\n").unwrap();

    let _one_at_a_time = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let page = fs::read_to_string(path()).unwrap();
    let (before, lines, after) = parts(&page);
    let written = line(row);
    let names = names();
    let order = |name: &str| names.iter().position(|wanted| *wanted == name);
    assert!(order(&row.client).is_some(), "{} is no client of the table", row.client);
    if is_blessing() {
        let mut lines: Vec<&str> = lines.into_iter().filter(|line| name(line) != row.client).collect();
        lines.push(&written);
        lines.retain(|line| order(name(line)).is_some());
        lines.sort_by_key(|line| order(name(line)));
        fs::write(path(), [before, BEGIN, HEAD, &lines.concat(), END, after].concat()).unwrap();
        return;
    }
    let committed = lines.iter().copied().find(|line| name(line) == row.client).unwrap_or_default();
    assert_eq!(
        fixed(committed),
        fixed(&written),
        "docs/SUPPORT_MATRIX.md is out of date: run this test with OUTFLOW_BLESS=1"
    );
}

fn is_blessing() -> bool {
    std::env::var_os("OUTFLOW_BLESS").is_some()
}

/// All clients, in the page's order.
fn names() -> Vec<&'static str> {
    TABLE.iter().map(|client| client.name).chain(ELSEWHERE).collect()
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
        Some(_) => (UNKNOWN.to_owned(), UNKNOWN.to_owned()),
    };
    let stack_version = if stack_version.is_empty() { UNKNOWN } else { stack_version };
    format!("| {client} | {version} | {stack} | {stack_version} | `{file}` | {sent} | {received} | {recovered} |\n")
}

fn kilobytes(bytes: usize) -> String {
    if bytes < 10_000 { format!("{bytes} B") } else { format!("{} kB", bytes / 1000) }
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

fn untapped() -> String {
    let line = |cells: &[&str; 4]| format!("| {} |\n", cells.join(" | "));
    [UNTAPPED_HEAD.to_owned(), UNTAPPED.iter().map(line).collect()].concat()
}

/// The programs that `rules/tls` names, with the versions that some signature was seen in: `Bun 1.4.5` is Bun's 1.4.5.
fn signed() -> String {
    let mut versions: BTreeMap<String, BTreeSet<Vec<u32>>> = BTreeMap::new();
    for file in RuleSource::Embedded.files("tls").unwrap() {
        let rules: toml::Table = file.text.parse().unwrap();
        let signatures = rules["signature"].as_array().unwrap().iter();
        for seen in signatures.flat_map(|signature| signature["seen_in"].as_array().unwrap()) {
            let (program, version) = seen.as_str().unwrap().rsplit_once(' ').unwrap();
            let numbers = version.split('.').map(|part| part.parse().unwrap()).collect();
            versions.entry(program.to_owned()).or_default().insert(numbers);
        }
    }
    let text = |numbers: &Vec<u32>| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    let line = |(program, versions): (&String, &BTreeSet<Vec<u32>>)| {
        format!("| {program} | {} |\n", versions.iter().map(text).collect::<Vec<_>>().join(", "))
    };
    [SIGNED_HEAD.to_owned(), versions.iter().map(line).collect()].concat()
}

/// Needs no rights: the page has a line for each client and for nothing else, in the table's order; and the tables that no run makes.
#[test]
fn the_page_has_a_line_for_each_client() {
    let _one_at_a_time = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let page = fs::read_to_string(path()).unwrap();
    let tables = [(SIGNED_BEGIN, signed(), SIGNED_END), (UNTAPPED_BEGIN, untapped(), UNTAPPED_END)];
    let made = tables.into_iter().fold(page.clone(), |page, (begin, table, end)| {
        let (before, rest) = page.split_once(begin).expect("the page has the mark where a table begins");
        let (_, after) = rest.split_once(end).expect("and where it ends");
        [before, begin, &table, end, after].concat()
    });
    if is_blessing() {
        fs::write(path(), made).unwrap();
        return;
    }
    let (_, lines, _) = parts(&page);
    assert_eq!(lines.into_iter().map(name).collect::<Vec<_>>(), names());
    assert!(page == made, "docs/SUPPORT_MATRIX.md is out of date: run this test with OUTFLOW_BLESS=1");
}
