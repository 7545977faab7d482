//! Leaks in log files. Enters: a [`LogBlock`], megabytes at a time. Leaves: [`Hit::Leak`]s with line and column. The whole block is
//! scanned once; lines are looked for around candidates only, and counted up to the last hit. Lines are bytes: they need not be
//! UTF-8. Nothing is kept from one block to the next: what two windows of one over-long line share says which of them tells.

use std::ops::Range;

use super::{LogLines, ScanDetector};
use crate::{
    detectors::{Hit, Leak, Place},
    sources::log::LogBlock,
};

impl ScanDetector {
    /// Emits what leaks in a block, by position in what programs wrote, each leak of a file once.
    pub fn inspect_log<'a>(&'a mut self, block: &'a LogBlock, emit: &mut dyn FnMut(Hit<'a>)) {
        let Self { scanner, sides: [found, _], authors, failed_blocks } = self;
        let text = block.text();
        if let Ok(settled) = scanner.scan(text, &LogLines::new(text)) {
            found.fill(settled);
        } else {
            found.clear();
            *failed_blocks += 1;
        }
        let raw = |span: &Range<usize>| block.raw_at(span.start)..block.raw_at(span.end);
        authors.clear();
        authors.extend(found.matches.iter().map(|one| block.author(block.raw_at(one.span.start))));
        let this: &'a Self = self;
        let [found, _] = &this.sides;
        let mut at = Counted { block, position: 0, lines: 0 };
        for ((one, others), origin) in found.matches.iter().zip(&found.others).zip(&this.authors) {
            let (Some(rule), Some(haystack)) = (this.scanner.rules().rule(one.rule), text.get(one.segment.clone()))
            else {
                continue;
            };
            let raw = raw(&one.span);
            if !is_told_here(block, &raw) {
                continue;
            }
            let (line, column) = at.count(raw.start);
            emit(Hit::Leak(Leak {
                rule,
                haystack,
                span: one.span.start - one.segment.start..one.span.end - one.segment.start,
                others: found.extents.get(others.clone()).unwrap_or_default(),
                confidence: one.confidence,
                place: Place::Log { block, origin, line, column, offset: block.offset + raw.start as u64 },
            }));
        }
    }
}

/// Two windows of an over-long line see what they share twice, and each sees what crosses its edge only in part. So the first
/// half of the shared bytes belongs to the earlier window, the second half to the later one, by where a match starts; a match
/// that reaches the earlier window's edge may go on, so the later one tells it, unless it cannot see its start.
fn is_told_here(block: &LogBlock, span: &Range<usize>) -> bool {
    let length = block.bytes.len();
    let earlier_told = span.start < block.overlap / 2 && span.end < block.overlap;
    let shared_from = length.saturating_sub(block.carry);
    let ours = span.start < shared_from || (span.start < shared_from + block.carry / 2 && span.end < length);
    ours && !earlier_told
}

/// Counts line ends from one hit to the next; where lines of two streams were cut into pieces, a later hit may stand before an
/// earlier one.
struct Counted<'a> {
    block: &'a LogBlock,
    position: usize,
    lines: u64,
}

impl Counted<'_> {
    /// Line and column of a position in the bytes.
    fn count(&mut self, position: usize) -> (u64, u64) {
        let bytes = &self.block.bytes;
        if position < self.position {
            (self.position, self.lines) = (0, 0);
        }
        let between = bytes.get(self.position..position).unwrap_or_default();
        self.lines += memchr::memchr_iter(b'\n', between).count() as u64;
        self.position = self.position.max(position);
        let column = match memchr::memrchr(b'\n', bytes.get(..position).unwrap_or_default()) {
            Some(line_end) => (position - line_end - 1) as u64,
            None => self.block.first_column + position as u64,
        };
        (self.block.first_line + self.lines, column)
    }
}

#[cfg(test)]
mod tests;
