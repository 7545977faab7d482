//! The findings of one file: each with the place where it was first seen, and how often it was. Enters: findings of its blocks, in
//! their order. Leaves: findings in the order of their first places. Bound: [`MAX_OPEN`] findings, then they have to be taken out.

use std::collections::HashMap;

use crate::{
    findings::{Finding, Findings, MAX_OPEN},
    units::Timestamp,
};

pub(super) struct Repeats {
    counts: Findings,
    first_seen: Vec<Finding>,
}

impl Repeats {
    pub(super) fn new() -> Self {
        Self { counts: Findings::new(u64::MAX), first_seen: Vec::new() }
    }

    pub(super) fn count(&mut self, finding: Finding, at: Timestamp) {
        self.first_seen.extend(self.counts.count(vec![finding], at));
    }

    pub(super) fn is_full(&self) -> bool {
        self.first_seen.len() >= MAX_OPEN
    }

    /// All findings, by their first place; counts start anew.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Box<Finding>> + use<> {
        let mut last: HashMap<String, Finding> =
            self.counts.finish().into_iter().map(|finding| (finding.finding_id.clone(), finding)).collect();
        self.counts = Findings::new(u64::MAX);
        std::mem::take(&mut self.first_seen).into_iter().map(move |mut finding| {
            if let Some(last) = last.remove(&finding.finding_id) {
                finding.count = last.count;
                finding.confidence = last.confidence;
                finding.last_seen = last.last_seen;
            }
            Box::new(finding)
        })
    }
}
