//! Findings as CSV (RFC 4180). Enters: findings. Leaves: a head and one row each. A spreadsheet must not take a cell for a formula:
//! what a file holds, or is called, ends up in some of them (OWASP, "CSV Injection").

use std::io::{self, Write};

use crate::findings::{Excerpt, Finding};

const HEAD: [&str; 15] = [
    "rule",
    "entity",
    "group",
    "severity",
    "confidence",
    "path",
    "line",
    "start",
    "end",
    "byte_offset",
    "count",
    "masked",
    "fingerprint",
    "key_id",
    "title",
];

pub(super) struct Table<W: Write> {
    rows: csv::Writer<W>,
    begun: bool,
}

impl<W: Write> Table<W> {
    pub(super) fn new(out: W) -> Self {
        Self { rows: csv::Writer::from_writer(out), begun: false }
    }

    pub(super) fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.begin()?;
        let location = finding.location.as_ref();
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let path = location.and_then(|location| location.file.as_deref()).unwrap_or_default();
        let masked = finding.excerpt.as_ref().map(Excerpt::as_str).unwrap_or_default();
        let print = finding.fingerprint.as_ref();
        self.rows
            .write_record([
                inert(&finding.rule.id),
                inert(finding.entity.as_deref().unwrap_or_default()),
                inert(finding.group.as_deref().unwrap_or_default()),
                finding.severity.as_str().to_owned(),
                finding.confidence.to_string(),
                inert(path),
                number(location.and_then(|location| location.line)),
                number(location.map(|location| location.start)),
                number(location.map(|location| location.end)),
                number(location.and_then(|location| location.byte_offset)),
                finding.count.to_string(),
                inert(masked),
                print.map(|print| print.value.clone()).unwrap_or_default(),
                print.map(|print| print.key_id.clone()).unwrap_or_default(),
                inert(&finding.title),
            ])
            .map_err(io_error)
    }

    /// A table without rows still has its head.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.begin()?;
        self.rows.flush()
    }

    fn begin(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        self.rows.write_record(HEAD).map_err(io_error)
    }
}

/// A broken pipe has to be known as one.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Text that no spreadsheet takes for a formula: an apostrophe before what could begin one, also in full width, also behind blanks.
fn inert(text: &str) -> String {
    let first = text.trim_start().chars().next();
    let begins = matches!(first, Some('=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '|' | '%'));
    if begins || text.starts_with(['\t', '\r', '\n']) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for (text, cell) in [
            ("plain", "plain"),
            ("=1+1", "'=1+1"),
            ("+1 202", "'+1 202"),
            ("-x", "'-x"),
            ("@sum", "'@sum"),
            ("  =x", "'  =x"),
            ("\tx", "'\tx"),
            ("＝x", "'＝x"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(inert(text), cell, "{text:?}");
        }
    }

    #[test]
    fn an_empty_table_has_a_head() {
        let mut out = Vec::new();
        Table::new(&mut out).finish().unwrap();
        assert_eq!(String::from_utf8(out).unwrap().trim_end(), HEAD.join(","));
    }
}
