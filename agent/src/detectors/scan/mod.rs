//! The leak scanner. Enters: an [`Exchange`]'s text, sent and received, or a block of log lines ([`log`]). Leaves: [`Hit::Leak`]s, each borrowed from it. Headers are
//! not scanned: the vendor's own credential belongs there; in a body it is reported like any other.
//!
//! Two stages. [`prefilter`] names candidates over a whole block; [`engine`] confirms them with the exact pattern, the
//! validator, the allow-list and the context words. Rules are data (`rules/pii`, `rules/secrets`). State: buffers for the
//! exchange in work, in proportion to its text; nothing is kept from one exchange to the next.

use std::{ops::Range, sync::Arc};

use super::{Detector, Hit, Leak, NEAR_BYTES, Place, Side};
use crate::{
    exchange::{Exchange, Leaves},
    sources::Origin,
};

pub mod check;
mod compile;
pub mod cost;
pub mod engine;
mod explain;
mod factor;
mod forms;
mod judge;
mod log;
mod needs;
mod opening;
mod overlap;
mod piece;
pub mod prefilter;
pub mod segment;
mod tail;
pub mod validators;
mod words;

pub use self::{
    compile::RuleSet,
    engine::{Match, Scanner},
    explain::{Fate, Look, Score, explain},
    judge::Refusal,
    overlap::Settled,
    prefilter::{Backend, ScanError},
    segment::{Lines, LogLines, Segment, Segments, Whole},
};

/// Scans the text of every exchange.
pub struct ScanDetector {
    scanner: Scanner,
    sides: [Found; 2],
    /// Who wrote the line of each match of a log.
    authors: Vec<Arc<Origin>>,
    failed_blocks: u64,
}

/// What one side of an exchange holds.
#[derive(Default)]
struct Found {
    matches: Vec<Match>,
    /// By leaf: the extents to hide, relative to the leaf; see [`Found::fill`].
    extents: Vec<Range<usize>>,
    /// By match: which of `extents` are near it.
    others: Vec<Range<usize>>,
}

impl ScanDetector {
    /// A detector with the fastest backend of this binary. Fails when that backend does not pass its self-test.
    pub fn new(rules: Arc<RuleSet>) -> Result<Self, ScanError> {
        Self::with_backend(rules, Backend::best())
    }

    /// As [`ScanDetector::new`], with a backend of choice.
    pub fn with_backend(rules: Arc<RuleSet>, backend: Backend) -> Result<Self, ScanError> {
        let scanner = Scanner::new(rules, backend)?;
        Ok(Self { scanner, sides: [Found::default(), Found::default()], authors: Vec::new(), failed_blocks: 0 })
    }

    /// Blocks that stage 1 refused to scan, since the start; each is a request or an answer that was not looked at.
    pub fn failed_blocks(&self) -> u64 {
        self.failed_blocks
    }
}

impl Detector for ScanDetector {
    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let blocks = [(Side::Request, &exchange.request_text), (Side::Response, &exchange.response_text)];
        for (found, (_, leaves)) in self.sides.iter_mut().zip(blocks) {
            if let Ok(settled) = self.scanner.scan(leaves.text().as_bytes(), leaves) {
                found.fill(settled);
            } else {
                found.clear();
                self.failed_blocks += 1;
            }
        }
        let this: &'a Self = self;
        for (found, (side, leaves)) in this.sides.iter().zip(blocks) {
            found.emit(&this.scanner, exchange, side, leaves, emit);
        }
    }
}

impl Found {
    fn clear(&mut self) {
        self.matches.clear();
        self.extents.clear();
        self.others.clear();
    }

    /// A hit borrows the extents around it. So for each leaf what is to be hidden is laid out once, by position, and a hit
    /// gets a window of it: what all hits together look at grows with the text, not with the square of the matches.
    fn fill(&mut self, settled: &Settled) {
        self.clear();
        self.matches.extend_from_slice(&settled.matches);
        let mut also = settled.also.as_slice();
        for leaf in self.matches.chunk_by(|a, b| a.segment == b.segment) {
            let Some(segment) = leaf.first().map(|one| one.segment.clone()) else { continue };
            // Both lists are by position, and what sticks out lies in the leaf of a match.
            let here = also.partition_point(|range| range.start < segment.end);
            let (inside, beyond) = also.split_at(here);
            also = beyond;
            let base = self.extents.len();
            let mut all: Vec<&Range<usize>> = leaf.iter().map(|one| &one.span).chain(inside).collect();
            all.sort_unstable_by_key(|range| range.start);
            for range in all {
                let range = range.start - segment.start..range.end - segment.start;
                // Several that stick out of matches may overlap; they stay in this leaf's part of the list.
                match self.extents.get_mut(base..).and_then(<[_]>::last_mut) {
                    Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                    _ => self.extents.push(range),
                }
            }
            let extents = self.extents.get(base..).unwrap_or_default();
            self.others.extend(leaf.iter().map(|one| {
                let span = one.span.start - segment.start..one.span.end - segment.start;
                let first = extents.partition_point(|range| range.end.saturating_add(NEAR_BYTES) <= span.start);
                let end = extents.partition_point(|range| range.start < span.end.saturating_add(NEAR_BYTES));
                base + first..base + end.max(first)
            }));
        }
    }

    fn emit<'a>(
        &'a self,
        scanner: &'a Scanner,
        exchange: &'a Exchange,
        side: Side,
        leaves: &'a Leaves,
        emit: &mut dyn FnMut(Hit<'a>),
    ) {
        for (found, others) in self.matches.iter().zip(&self.others) {
            let (Some(rule), Some((path, leaf))) = (scanner.rules().rule(found.rule), leaves.at(found.span.start))
            else {
                continue;
            };
            let Some(haystack) = leaves.text().as_bytes().get(leaf.clone()) else { continue };
            emit(Hit::Leak(Leak {
                rule,
                haystack,
                span: found.span.start - leaf.start..found.span.end - leaf.start,
                others: self.extents.get(others.clone()).unwrap_or_default(),
                confidence: found.confidence,
                place: Place::Exchange { exchange, side, path },
            }));
        }
    }
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;
