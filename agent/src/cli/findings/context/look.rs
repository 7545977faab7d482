//! Whether a leak stands at a place, and what stands around it. Enters: a [`Window`] of a file. Leaves: [`Seen`], when the rule of the finding
//! finds there, through whatever wraps the lines, what gives its fingerprint again. All that any pattern fits in the window is hidden,
//! whatever the rules make of it: what is nearly a key may be one.

use std::{io, ops::Range, path::Path, sync::Arc};

use memchr::{memchr, memchr_iter, memmem, memrchr};

use super::Line;
use crate::{
    detectors::scan::{Backend, Fate, LogLines, Look, RuleSet, ScanError, Scanner, explain},
    engine::Rules,
    findings::{Finding, Fingerprint, FingerprintKey, Surroundings},
    sources::{
        files::{Caps, Window, window},
        log::LogBlock,
    },
};

/// Opens and closes a secret of several lines (RFC 7468, section 2).
const OPENS: &[u8] = b"-----BEGIN ";
const CLOSES: &[u8] = b"-----END ";

/// Looks at places of files for one finding.
pub(super) struct Looker<'f> {
    scanner: Scanner,
    key: &'f FingerprintKey,
    rule: usize,
    entity: &'f str,
    fingerprint: &'f Fingerprint,
    /// Lines before and behind.
    count: usize,
}

/// A leak that is there.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) line: u64,
    pub(super) offset: u64,
    pub(super) lines: Vec<Line>,
}

impl<'f> Looker<'f> {
    /// None when the rule of the finding is none of these.
    pub(super) fn new(
        rules: &Rules,
        key: &'f FingerprintKey,
        finding: &'f Finding,
        count: usize,
    ) -> Result<Option<Self>, ScanError> {
        let rule = rules.scan.loaded().position(|loaded| loaded.rule.id == finding.rule.id);
        let (Some(rule), Some(entity), Some(fingerprint)) = (rule, &finding.entity, &finding.fingerprint) else {
            return Ok(None);
        };
        let scanner = Scanner::new(Arc::clone(&rules.scan), Backend::best())?;
        Ok(Some(Self { scanner, key, rule, entity, fingerprint, count }))
    }

    /// The rules.
    pub(super) fn rules(&self) -> &Arc<RuleSet> {
        self.scanner.rules()
    }

    /// Index of the finding's rule.
    pub(super) fn rule(&self) -> usize {
        self.rule
    }

    /// Is this the text that was found?
    pub(super) fn is_it(&self, text: &[u8]) -> bool {
        self.key.fingerprint(self.entity, text) == *self.fingerprint
    }

    /// What is at a position of a file, whose line it is said to be in; none when it is not the leak.
    pub(super) fn look(&mut self, file: &Path, offset: u64, line: u64) -> anyhow::Result<Option<Seen>> {
        let unpacked: io::Result<Option<Window>> = window(file, offset, Caps::default());
        let Some(window) = unpacked? else { return Ok(None) };
        let block = &window.block;
        let text = block.text();
        let looks = explain(&mut self.scanner, text, &LogLines::new(text))?;
        let here = |look: &&Look| {
            look.rule == self.rule
                && block.offset + block.raw_at(look.span.start) as u64 == offset
                && text.get(look.span.clone()).is_some_and(|text| self.is_it(text))
        };
        let Some(leak) = looks.iter().find(here).map(|look| look.span.clone()) else { return Ok(None) };
        Ok(Some(Seen { line, offset, lines: self.lines(&window, &looks, leak, line) }))
    }

    fn lines(&self, window: &Window, looks: &[Look], leak: Range<usize>, line: u64) -> Vec<Line> {
        let text = window.block.text();
        let mut hidden: Vec<Range<usize>> = looks.iter().map(|look| look.span.clone()).collect();
        hidden.extend(halves(text));
        let is_secret = |look: &&Look| !matches!(look.fate, Fate::Refused(_));
        let secrets: Vec<_> = looks.iter().filter(is_secret).map(|look| look.span.clone()).collect();
        let numbers = Numbers { block: &window.block, at: window.block.raw_at(leak.start), line };
        let around = Surroundings::new(text, (self.entity, leak.clone()), hidden, &secrets, window.cut);
        let shown = |range: Range<usize>, is_leak| Line {
            number: if is_leak { line } else { numbers.of(range.start) },
            leak: is_leak,
            text: around.masked(&range),
        };
        let own = line_start(text, leak.start)..line_end(text, leak.end.saturating_sub(1).max(leak.start));
        let mut lines = Vec::new();
        let mut start = own.start;
        while start > 0 && lines.len() < self.count {
            let end = start - 1;
            start = line_start(text, end);
            lines.push(shown(start..end, false));
        }
        lines.reverse();
        let mut end = own.end;
        lines.push(shown(own, true));
        for _ in 0..self.count {
            if end + 1 >= text.len() {
                break;
            }
            let start = end + 1;
            end = line_end(text, start);
            lines.push(shown(start..end, false));
        }
        lines
    }
}

/// Counts lines of a file from one that is known.
struct Numbers<'b> {
    block: &'b LogBlock,
    at: usize,
    line: u64,
}

impl Numbers<'_> {
    fn of(&self, position: usize) -> u64 {
        let raw = self.block.raw_at(position);
        let between = self.block.bytes.get(raw.min(self.at)..raw.max(self.at)).unwrap_or_default();
        let count = memchr_iter(b'\n', between).count() as u64;
        if raw < self.at { self.line.saturating_sub(count).max(1) } else { self.line + count }
    }
}

fn line_start(text: &[u8], position: usize) -> usize {
    memrchr(b'\n', text.get(..position).unwrap_or_default()).map_or(0, |at| at + 1)
}

fn line_end(text: &[u8], position: usize) -> usize {
    let rest = text.get(position..).unwrap_or_default();
    memchr(b'\n', rest).map_or(text.len(), |length| position + length)
}

/// Parts of secrets of several lines whose beginning or end the text does not have; no pattern fits them.
fn halves(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let (first_open, first_close) = (memmem::find(text, OPENS), memmem::find(text, CLOSES));
    let head = first_close.filter(|close| first_open.is_none_or(|open| *close < open));
    let (last_open, last_close) = (memmem::rfind(text, OPENS), memmem::rfind(text, CLOSES));
    let tail = last_open.filter(|open| last_close.is_none_or(|close| close < *open));
    let head = head.map(|close| 0..line_end(text, close));
    head.into_iter().chain(tail.map(|open| open..text.len()))
}
