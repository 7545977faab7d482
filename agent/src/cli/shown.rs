//! The printer as a session writes to it: shared, because the workers print while the command still has to add the summary.
//! Enters: calls with the occurrences found in them. Leaves: calls and findings, printed; a finding that repeats is told at most once
//! an interval.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Format,
    output::{Account, Loss, Printer, SuppressedFindings},
};
use crate::{
    assembly::AnomalyKind,
    engine::{Outcome, Sink, Told},
    exchange::Subject,
    findings::{Findings, UPDATE_INTERVAL_NS},
};

/// A printer that the session and the command share.
#[derive(Clone)]
pub(super) struct Shown(Arc<Mutex<Screen>>);

struct Screen {
    printer: Printer<Box<dyn Write + Send>>,
    findings: Findings,
    /// A write failed: what follows would stand behind a hole.
    failed: bool,
}

impl Shown {
    /// Prints to `out`.
    pub(super) fn new(out: Box<dyn Write + Send>, format: Format, colour: bool) -> Self {
        let printer = Printer::new(out, format, colour);
        Self(Arc::new(Mutex::new(Screen { printer, findings: Findings::new(UPDATE_INTERVAL_NS), failed: false })))
    }

    /// Tells of repeats when all is over and not before: a year of calls that is read in a second has no minutes.
    pub(super) fn repeats_last(self) -> Self {
        self.lock().findings = Findings::new(u64::MAX);
        self
    }

    /// Prints to standard output: without a format, text on a terminal and JSON lines into a pipe.
    pub(super) fn standard(format: Option<Format>) -> Self {
        let out = io::stdout();
        let colour = anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never;
        Self::new(Box::new(out), format.unwrap_or_else(default_format), colour)
    }

    /// The end that a session writes to.
    pub(super) fn sink(&self) -> Box<dyn Sink> {
        Box::new(self.clone())
    }

    /// Prints the summary: the source's account, then what the rooms could not read.
    pub(super) fn summary(&self, mut account: Account, outcome: &Outcome) -> io::Result<()> {
        account.suppressed = SuppressedFindings::list(&outcome.silenced);
        let read = outcome.anomalies.iter().map(|(kind, count)| (anomaly(*kind), *count));
        let unscanned = (outcome.unscanned > 0).then_some(("text that the scanner refused", outcome.unscanned));
        account.losses.extend(read.chain(unscanned).map(|(reason, calls)| Loss {
            reason: reason.to_owned(),
            calls,
            bytes: 0,
        }));
        self.lock().printer.summary(account)
    }

    fn lock(&self) -> MutexGuard<'_, Screen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Shown {
    fn told(&mut self, told: Told<'_>) -> io::Result<()> {
        let mut screen = self.lock();
        let result = screen.told(told).and_then(|()| screen.still_read());
        screen.failed = result.is_err();
        result
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut screen = self.lock();
        if screen.failed { Ok(()) } else { screen.finish() }
    }
}

impl Screen {
    fn told(&mut self, told: Told<'_>) -> io::Result<()> {
        // Of a log there is nothing to say but what was found in it.
        if let Subject::Exchange(exchange) = told.subject {
            self.printer.exchange(exchange, told.cost, told.caller)?;
        }
        let news = self.findings.count(told.findings, told.subject.at());
        news.iter().try_for_each(|finding| self.printer.finding(finding))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.findings.finish().iter().try_for_each(|finding| self.printer.finding(finding))?;
        self.still_read()
    }

    /// A printer goes quiet when its reader is gone; the session has to know, so that nobody works for nobody.
    fn still_read(&self) -> io::Result<()> {
        if self.printer.is_closed() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

/// What was asked for, else the default.
pub(super) fn format(asked: Option<Format>) -> Format {
    asked.unwrap_or_else(default_format)
}

/// Text on a terminal, else JSON lines.
pub(super) fn default_format() -> Format {
    if io::stdout().is_terminal() { Format::Text } else { Format::Jsonl }
}

pub(super) fn anomaly(kind: AnomalyKind) -> &'static str {
    match kind {
        AnomalyKind::NotHttp => "bytes that are no HTTP/1.1",
        AnomalyKind::BadChunk => "chunked body that cannot be read",
        AnomalyKind::BadEncoding => "compressed body that does not decode",
        AnomalyKind::BadFrame => "frame of a stream that is damaged",
        AnomalyKind::Bomb => "compressed body past its cap",
        AnomalyKind::Gap => "hole in a message",
        AnomalyKind::Evicted => "connection let go at the bound",
        AnomalyKind::UnknownProtocol => "protocol that is not read",
        AnomalyKind::UnknownFields => "header fields that were named before the tap came",
    }
}
