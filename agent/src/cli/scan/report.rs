//! Findings of files in the format that was asked for. Enters: findings, failures, a summary. Leaves: text, JSON lines, SARIF or CSV on
//! one writer. A reader that has seen enough ends it quietly.

use std::io::{self, Write};

use super::{ScanFormat, sarif::Sarif, table::Table};
use crate::{
    cli::{
        Format,
        output::{Printer, ScanSummary},
    },
    findings::Finding,
    sources::files::ReadError,
};

pub(super) enum Report<W: Write> {
    Lines(Box<Printer<W>>),
    Sarif(Box<Ending<Sarif<W>>>),
    Table(Box<Ending<Table<W>>>),
}

/// A format that stops when nobody reads it.
pub(super) struct Ending<T> {
    inner: T,
    closed: bool,
}

impl<T> Ending<T> {
    fn new(inner: T) -> Self {
        Self { inner, closed: false }
    }

    fn quietly(&mut self, write: impl FnOnce(&mut T) -> io::Result<()>) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match write(&mut self.inner) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            result => result,
        }
    }
}

impl<W: Write> Report<W> {
    pub(super) fn new(out: W, format: ScanFormat, colour: bool) -> Self {
        match format {
            ScanFormat::Text => Self::Lines(Box::new(Printer::new(out, Format::Text, colour))),
            ScanFormat::Jsonl => Self::Lines(Box::new(Printer::new(out, Format::Jsonl, false))),
            ScanFormat::Sarif => Self::Sarif(Box::new(Ending::new(Sarif::new(out)))),
            ScanFormat::Csv => Self::Table(Box::new(Ending::new(Table::new(out)))),
        }
    }

    pub(super) fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        match self {
            Self::Lines(printer) => printer.finding(finding),
            Self::Sarif(sarif) => sarif.quietly(|sarif| sarif.finding(finding)),
            Self::Table(table) => table.quietly(|table| table.finding(finding)),
        }
    }

    /// Something could not be read. Only SARIF has a place for it; everybody else finds it on standard error.
    pub(super) fn failure(&mut self, error: &ReadError) {
        if let Self::Sarif(sarif) = self {
            sarif.inner.failure(error.to_string());
        }
    }

    /// Ends the report; of a table there is none, so what it cannot hold is said on standard error.
    pub(super) fn finish(self, summary: ScanSummary) -> io::Result<()> {
        match self {
            Self::Lines(mut printer) => printer.scan_summary(summary),
            Self::Sarif(mut sarif) => sarif.quietly(|sarif| sarif.finish(&summary)),
            Self::Table(mut table) => {
                for left in &summary.suppressed {
                    anstream::eprintln!("outflow: {} not told, by {}", left.occurrences, left.by);
                }
                table.quietly(Table::finish)
            }
        }
    }

    /// The reader went away.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Lines(printer) => printer.is_closed(),
            Self::Sarif(sarif) => sarif.closed,
            Self::Table(table) => table.closed,
        }
    }
}
