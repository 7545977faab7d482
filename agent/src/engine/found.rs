//! What was found in one block of a log, counted. Enters: a [`LogBlock`]. Leaves: its findings, each once with its count, and what the
//! user silenced. A line that repeats ten thousand times in a block is one finding, here as in the store.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::{
    detectors::{Hit, model_ids, scan::ScanDetector},
    findings::{Finding, Identity, Maker, Policy, Silence},
    rules::ModelRules,
    sources::log::LogBlock,
    units::Timestamp,
};

/// Hits that were not told, by reason.
pub type Silenced = BTreeMap<Silence, u64>;

/// Which of equal leaks of a block is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Who follows a log wants to know where it was last.
    Newest,
    /// Who reads files is shown them in order.
    First,
}

/// A leak of which there may be more in the block.
struct Seen<'a> {
    hit: Hit<'a>,
    identity: Identity,
    count: u64,
    confidence: u8,
}

impl<'a> Seen<'a> {
    fn again(&mut self, hit: Hit<'a>, shown: Shown) {
        self.count = self.count.saturating_add(1);
        self.confidence = self.confidence.max(hit.confidence());
        if shown == Shown::Newest {
            self.hit = hit;
        }
    }

    fn told(self, at: Timestamp, policy: &Policy) -> Finding {
        let mut finding = Maker::told_as(&self.hit, self.identity, at, None, policy);
        (finding.count, finding.confidence) = (self.count, self.confidence.min(100));
        finding
    }
}

/// The findings of one block.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order of their first places.
    pub(super) findings: Vec<Finding>,
    /// What was not told.
    pub(super) silenced: Silenced,
    /// The scanner refused the block.
    pub(super) refused_blocks: u64,
}

impl Found {
    /// Looks at a block.
    pub(super) fn in_block(
        scanner: &mut ScanDetector,
        maker: &Maker,
        policy: &Policy,
        block: &LogBlock,
        shown: Shown,
    ) -> Self {
        let mut found = Self::default();
        let refused_before = scanner.failed_blocks();
        // Most of what it costs to tell a leak is its masked excerpt, and of equal ones one is shown.
        let mut seen: Vec<Seen<'_>> = Vec::new();
        let mut by_id: HashMap<String, usize> = HashMap::new();
        scanner.inspect_log(block, &mut |hit| match maker.identify(&hit, policy) {
            Err(silence) => *found.silenced.entry(silence).or_default() += 1,
            Ok(identity) => {
                let confidence = hit.confidence();
                if let Some(before) = by_id.get(&identity.finding_id).and_then(|index| seen.get_mut(*index)) {
                    before.again(hit, shown);
                } else {
                    by_id.insert(identity.finding_id.clone(), seen.len());
                    seen.push(Seen { hit, identity, count: 1, confidence });
                }
            }
        });
        found.findings = seen.into_iter().map(|seen| seen.told(block.at, policy)).collect();
        found.refused_blocks = scanner.failed_blocks() - refused_before;
        found
    }

    /// Adds the model ids of a block of code or configuration that can change.
    pub(super) fn models_in_block(&mut self, models: &ModelRules, maker: &Maker, policy: &Policy, block: &LogBlock) {
        let bytes = &block.bytes;
        let mut by_id = HashMap::new();
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
            self.take(maker.mentioned(&mention, block, (line, start..end), policy), &mut by_id);
        });
        if self.findings.len() > leaks {
            let place = |finding: &Finding| {
                finding.location.as_ref().map(|location| location.byte_offset.unwrap_or_default()).unwrap_or_default()
            };
            self.findings.sort_by_key(place);
        }
    }

    /// What is seen again only counts.
    fn take(&mut self, told: Result<Finding, Silence>, by_id: &mut HashMap<String, usize>) {
        match told {
            Err(silence) => *self.silenced.entry(silence).or_default() += 1,
            Ok(seen) => {
                if let Some(finding) = by_id.get(&seen.finding_id).and_then(|index| self.findings.get_mut(*index)) {
                    finding.count = finding.count.saturating_add(seen.count);
                    finding.confidence = finding.confidence.max(seen.confidence);
                    finding.severity = finding.severity.max(seen.severity);
                } else {
                    by_id.insert(seen.finding_id.clone(), self.findings.len());
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{
        detectors::scan::RuleSet,
        findings::{Excerpt, FingerprintKey},
        rules::RuleSource,
        sources::log::LogFile,
    };

    #[test]
    fn of_equal_leaks_one_is_made_and_shown_where_it_was_asked_for() {
        let rules = RuleSet::load(&RuleSource::Embedded).unwrap();
        let mut scanner = ScanDetector::new(rules).unwrap();
        let (maker, policy) = (Maker::new(FingerprintKey::new([7; 32])), Policy::default());
        let text = "to jane.roe@example-shop.com\nto bob.roe@example-shop.com\nto Jane.Roe@example-shop.com again\n";
        let file = LogFile { path: "/var/log/shop.log".into(), ..LogFile::default() };
        let block = LogBlock::whole(Arc::new(file), Bytes::from_static(text.as_bytes()), Timestamp(7));
        for (shown, line, excerpt) in
            [(Shown::First, 1, "to j•••@•••.com"), (Shown::Newest, 3, "to J•••@•••.com again")]
        {
            let found = Found::in_block(&mut scanner, &maker, &policy, &block, shown);
            let [jane, bob] = found.findings.as_slice() else { panic!("{:?}", found.findings) };
            assert_eq!((jane.count, bob.count), (2, 1));
            assert_eq!(jane.location.as_ref().and_then(|location| location.line), Some(line));
            assert_eq!(jane.excerpt.as_ref().map(Excerpt::as_str), Some(excerpt));
        }
    }
}
