//! The one place that sees all calls of all connections. Enters: an exchange with the leaks that a worker found in it. Leaves:
//! what the output writes. Never sees raw input.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Rules;
use crate::{
    assembly::AnomalyKind,
    detectors::{Detector, Hit, pinning::Pinning, resolved_model::ResolvedModel, untracked_spend::UntrackedSpend},
    exchange::{Catalogue, Cost, Exchange, Prices as _},
    findings::{Finding, Findings, FingerprintKey, UPDATE_INTERVAL_NS},
    units::Severity,
};

/// Where calls and findings go as they happen.
pub trait Sink: Send {
    /// A call; its findings follow.
    fn exchange(&mut self, exchange: &Exchange, cost: Option<&Cost>) -> io::Result<()>;
    /// A finding, or a new revision of one.
    fn finding(&mut self, finding: &Finding) -> io::Result<()>;
}

/// What a session knows at its end, besides what it told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The gravest finding.
    pub worst: Option<Severity>,
    /// What streams did that is no message.
    pub anomalies: BTreeMap<AnomalyKind, u64>,
    /// Requests and answers that the scanner refused to look at.
    pub unscanned: u64,
}

impl Outcome {
    /// Something was not looked at.
    pub fn is_incomplete(&self) -> bool {
        !self.anomalies.is_empty() || self.unscanned > 0
    }
}

/// Shared by the workers.
pub struct Session {
    prices: Arc<Catalogue>,
    inner: Mutex<Inner>,
}

struct Inner {
    detectors: Vec<Box<dyn Detector + Send>>,
    findings: Findings,
    sink: Box<dyn Sink>,
    outcome: Outcome,
    /// The first write that failed; after it nothing more is written.
    failed: Option<io::Error>,
}

impl Session {
    /// Nothing seen yet.
    pub fn new(rules: &Rules, key: FingerprintKey, sink: Box<dyn Sink>) -> Self {
        let detectors: Vec<Box<dyn Detector + Send>> = vec![
            Box::new(Pinning::new(Arc::clone(&rules.models))),
            Box::new(ResolvedModel::new()),
            Box::new(UntrackedSpend::new(Arc::clone(&rules.prices) as _)),
        ];
        let findings = Findings::new(key, UPDATE_INTERVAL_NS);
        let inner = Inner { detectors, findings, sink, outcome: Outcome::default(), failed: None };
        Self { prices: Arc::clone(&rules.prices), inner: Mutex::new(inner) }
    }

    /// Takes in one exchange and the leaks found in it. False when the output cannot be written any more.
    pub fn record(&self, exchange: &Exchange, leaks: &[Hit<'_>]) -> bool {
        let cost = self.prices.price(exchange);
        let mut inner = self.lock();
        let Inner { detectors, findings, sink, outcome, failed } = &mut *inner;
        if failed.is_some() {
            return false;
        }
        let mut news = Vec::new();
        let mut hit = |hit: &Hit<'_>| {
            outcome.worst = outcome.worst.max(Some(severity(hit)));
            news.extend(findings.record(hit, exchange.ended_at, cost.as_ref()));
        };
        leaks.iter().for_each(&mut hit);
        for detector in detectors {
            detector.inspect(exchange, &mut |found| hit(&found));
        }
        news.extend(findings.take_evicted());
        let written = sink
            .exchange(exchange, cost.as_ref())
            .and_then(|()| news.iter().try_for_each(|finding| sink.finding(finding)));
        *failed = written.err();
        failed.is_none()
    }

    /// Counts something a stream did that is no message.
    pub fn anomaly(&self, kind: AnomalyKind) {
        *self.lock().outcome.anomalies.entry(kind).or_default() += 1;
    }

    /// Counts requests and answers that could not be scanned.
    pub fn unscanned(&self, blocks: u64) {
        self.lock().outcome.unscanned += blocks;
    }

    /// Writes the last revisions and says how it went; an error is the first write that failed.
    pub fn finish(&self) -> io::Result<Outcome> {
        let mut inner = self.lock();
        if let Some(error) = inner.failed.take() {
            return Err(error);
        }
        for finding in inner.findings.finish() {
            inner.sink.finding(&finding)?;
        }
        Ok(inner.outcome.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Counts of a worker that panicked are still counts.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn severity(hit: &Hit<'_>) -> Severity {
    match hit {
        Hit::Leak(leak) => leak.rule.severity,
        Hit::Behaviour(behaviour) => behaviour.severity,
    }
}
