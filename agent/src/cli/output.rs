//! Standard output of `tap`, `replay` and `scan`. Enters: calls with their cost, findings, losses. Leaves: text for people or one JSON
//! object a line. It never prints a matched text (findings have none) nor a control character that a peer sent, and a closed
//! pipe ends it quietly.

use std::io::{self, Write};

use serde::Serialize;

use super::Format;
use crate::{
    exchange::{Cost, Exchange},
    findings::{Activity, ExchangeRecord, Finding, Fingerprint},
};

mod summary;
mod text;

pub use self::summary::{
    Account, FindingCount, Loss, ModelSpend, NotCopied, ScanSummary, SkippedFiles, Summary, SuppressedFindings,
    TlsCalls,
};
pub(super) use self::text::wrapped;
use self::{summary::Tally, text::Text};

/// Prints calls and findings as they happen, and keeps count for the summary.
#[derive(Debug)]
pub struct Printer<W> {
    out: W,
    format: Format,
    text: Text,
    tally: Tally,
    closed: bool,
}

impl<W: Write> Printer<W> {
    /// Prints to `out`; `colour` only matters for text.
    pub fn new(out: W, format: Format, colour: bool) -> Self {
        Self { out, format, text: Text::new(colour), tally: Tally::default(), closed: false }
    }

    /// Prints one call. Its findings follow.
    pub fn exchange(
        &mut self,
        exchange: &Exchange,
        cost: Option<&Cost>,
        caller: Option<&Fingerprint>,
    ) -> io::Result<()> {
        self.tally.exchange(exchange, cost);
        match self.format {
            Format::Text => {
                let lines = self.text.exchange(exchange, cost);
                self.write(&lines)
            }
            Format::Jsonl => self.json(&ExchangeRecord::new(exchange, cost).by(caller)),
        }
    }

    /// Prints one finding. A revision of a finding that was printed before only counts in text: the summary has the figures.
    pub fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.tally.finding(finding);
        match self.format {
            Format::Text if finding.activity != Activity::Create => Ok(()),
            Format::Text => {
                let lines = self.text.finding(finding);
                self.write(&lines)
            }
            Format::Jsonl => self.json(finding),
        }
    }

    /// Prints the summary: what was counted here, and what the source has to say.
    pub fn summary(&mut self, account: Account) -> io::Result<()> {
        let summary = self.tally.summary(account);
        match self.format {
            Format::Text => {
                let lines = self.text.summary(&summary);
                self.write(&lines)?;
            }
            Format::Jsonl => self.json(&summary)?,
        }
        self.quietly(Write::flush)
    }

    /// Prints the summary of a scan of files; what was found is filled in here.
    pub fn scan_summary(&mut self, summary: ScanSummary) -> io::Result<()> {
        let summary = ScanSummary { event_name: "outflow.summary", findings: self.tally.findings(), ..summary };
        match self.format {
            Format::Text => {
                let lines = self.text.scan_summary(&summary);
                self.write(&lines)?;
            }
            Format::Jsonl => self.json(&summary)?,
        }
        self.quietly(Write::flush)
    }

    /// The reader went away; what is printed from now on goes nowhere.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The writer, back.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn json(&mut self, record: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_string(record)?;
        line.push('\n');
        self.write(&line)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.quietly(|out| out.write_all(text.as_bytes()))
    }

    fn quietly(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match write(&mut self.out) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests;
