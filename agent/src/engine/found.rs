//! What was found in one block of a log, counted. Enters: a [`LogBlock`]. Leaves: its findings, each once with its count, and what the
//! user silenced. A line that repeats ten thousand times in a block is one finding, here as in the store.

use std::collections::{BTreeMap, HashMap};

use crate::{
    detectors::{model_ids, scan::ScanDetector},
    findings::{Finding, Maker, Policy, Silence},
    rules::ModelRules,
    sources::log::LogBlock,
};

/// Hits that were not told, by reason.
pub type Silenced = BTreeMap<Silence, u64>;

/// The findings of one block.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order of their first places.
    pub(super) findings: Vec<Finding>,
    /// What was not told.
    pub(super) silenced: Silenced,
    /// The scanner refused the block.
    pub(super) refused_blocks: u64,
    pub(super) by_id: HashMap<String, usize>,
}

impl Found {
    /// Looks at a block. `repeat` says what becomes of a finding that is seen again.
    pub(super) fn in_block(
        scanner: &mut ScanDetector,
        maker: &Maker,
        policy: &Policy,
        block: &LogBlock,
        repeat: fn(&mut Finding, Finding),
    ) -> Self {
        let mut found = Self::default();
        let refused_before = scanner.failed_blocks();
        scanner.inspect_log(block, &mut |hit| found.take(maker.tell(&hit, block.at, None, policy), repeat));
        found.refused_blocks = scanner.failed_blocks() - refused_before;
        found
    }

    /// Adds the model ids of a block of code or configuration that can change.
    pub(super) fn models_in_block(
        &mut self,
        models: &ModelRules,
        maker: &Maker,
        policy: &Policy,
        block: &LogBlock,
        repeat: fn(&mut Finding, Finding),
    ) {
        let bytes = &block.bytes;
        let (mut at, mut line) = (0, block.first_line);
        let leaks = self.findings.len();
        model_ids::look(models, bytes, block.at, &mut |mention| {
            let span = &mention.span;
            // What two windows of one long line share was told with the first.
            if span.end <= block.overlap {
                return;
            }
            let between = bytes.get(at..span.start).unwrap_or_default();
            line += memchr::memchr_iter(b'\n', between).count() as u64;
            at = span.start;
            let start = bytes.get(..at).and_then(|before| memchr::memrchr(b'\n', before)).map_or(0, |end| end + 1);
            let rest = bytes.get(span.end..).unwrap_or_default();
            let end = memchr::memchr(b'\n', rest).map_or(bytes.len(), |length| span.end + length);
            self.take(maker.mentioned(&mention, block, (line, start..end), policy), repeat);
        });
        if self.findings.len() > leaks {
            // The table of ids is of no more use: all of the block was looked at.
            self.by_id.clear();
            let place = |finding: &Finding| {
                finding.location.as_ref().map(|location| location.byte_offset.unwrap_or_default()).unwrap_or_default()
            };
            self.findings.sort_by_key(place);
        }
    }

    fn take(&mut self, told: Result<Finding, Silence>, repeat: fn(&mut Finding, Finding)) {
        match told {
            Err(silence) => *self.silenced.entry(silence).or_default() += 1,
            Ok(seen) => {
                if let Some(finding) = self.by_id.get(&seen.finding_id).and_then(|index| self.findings.get_mut(*index))
                {
                    repeat(finding, seen);
                } else {
                    self.by_id.insert(seen.finding_id.clone(), self.findings.len());
                    self.findings.push(seen);
                }
            }
        }
    }
}

/// Adds up what was not told.
pub(super) fn add_silenced(sum: &mut Silenced, more: &Silenced) {
    for (silence, count) in more {
        let sum = sum.entry(*silence).or_default();
        *sum = sum.saturating_add(*count);
    }
}
