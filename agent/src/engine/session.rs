//! The one place that sees all calls of all connections. Enters: an exchange with the leaks that a worker found in it. Leaves:
//! what the sinks are told. Never sees raw input.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use super::{KnownCalls, Rules, Silenced, detectors, found::add_silenced};
use crate::{
    assembly::AnomalyKind,
    detectors::{Detector, Hit, StateChange},
    exchange::{Attribution, Cost, Exchange, PriceBook, Subject},
    findings::{Finding, Fingerprint, FingerprintKey, Maker, Policy, Silence},
    rules::VendorTable,
    sources::{coverage::Unseen, handshake::FailedHandshake},
    units::Severity,
};

/// Where calls and findings go as they happen.
pub trait Sink: Send {
    /// One subject with everything that was found in it, so that it can be kept together.
    fn told(&mut self, told: Told<'_>) -> io::Result<()>;

    /// The session is over: what is held back goes out. Called once, also after a [`told`](Self::told) that failed.
    fn finish(&mut self) -> io::Result<()>;
}

/// What a session has to say about one subject.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// The call, or what else it is.
    pub subject: Subject<'a>,
    /// What it cost, when somebody knows.
    pub cost: Option<&'a Cost>,
    /// Nobody told of this call before; one that a log told of counts no second time.
    pub is_new: bool,
    /// Keyed hash of the key that the caller paid with.
    pub caller: Option<&'a Fingerprint>,
    /// What was found in it, an occurrence each: nothing is counted yet.
    pub findings: Vec<Finding>,
    /// What detectors learned from it.
    pub states: Vec<StateChange>,
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
    /// What was found and is not told, by reason.
    pub silenced: Silenced,
}

impl Outcome {
    /// Something was not looked at.
    pub fn is_incomplete(&self) -> bool {
        !self.anomalies.is_empty() || self.unscanned > 0
    }
}

/// Shared by the workers.
pub struct Session {
    maker: Maker,
    known: RwLock<Known>,
    /// Calls that logs may tell of, too.
    calls: Option<Arc<KnownCalls>>,
    inner: Mutex<Inner>,
}

/// What the operator may change while the agent runs, as far as it needs no lock.
#[derive(Clone)]
struct Known {
    prices: Arc<PriceBook>,
    attribution: Arc<Attribution>,
    policy: Arc<Policy>,
}

impl Known {
    fn of(rules: &Rules) -> Self {
        Self {
            prices: Arc::clone(&rules.prices),
            attribution: Arc::clone(&rules.attribution),
            policy: Arc::clone(&rules.policy),
        }
    }
}

struct Inner {
    /// Rules of behaviour that do not count.
    disabled: Arc<[String]>,
    detectors: Vec<Box<dyn Detector + Send>>,
    sink: Box<dyn Sink>,
    outcome: Outcome,
    /// The first write that failed; after it nothing more is told.
    failed: Option<io::Error>,
}

impl Session {
    /// Nothing seen yet.
    pub fn new(rules: &Rules, key: FingerprintKey, sink: Box<dyn Sink>) -> Self {
        Self::with_detectors(rules, key, sink, detectors::all(rules))
    }

    pub(super) fn with_detectors(
        rules: &Rules,
        key: FingerprintKey,
        sink: Box<dyn Sink>,
        detectors: Vec<Box<dyn Detector + Send>>,
    ) -> Self {
        let disabled = Arc::clone(&rules.disabled);
        let inner = Inner { disabled, detectors, sink, outcome: Outcome::default(), failed: None };
        Self { maker: Maker::new(key), known: RwLock::new(Known::of(rules)), calls: None, inner: Mutex::new(inner) }
    }

    /// As this one; calls that are in `calls` already count no second time.
    #[must_use]
    pub fn beside_logs(self, calls: Arc<KnownCalls>) -> Self {
        Self { calls: Some(calls), ..self }
    }

    /// Watches one thing more.
    pub fn watch(&self, detector: Box<dyn Detector + Send>) {
        self.lock().detectors.push(detector);
    }

    /// Goes on with other prices; calls that are under way keep theirs.
    pub fn set_prices(&self, prices: Arc<PriceBook>) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).prices = prices;
    }

    /// Goes on with other rules. What detectors know stays.
    pub fn reload(&self, rules: &Rules) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known::of(rules);
        let mut inner = self.lock();
        inner.disabled = Arc::clone(&rules.disabled);
        for detector in &mut inner.detectors {
            detector.reload(&rules.models);
        }
    }

    /// Gives the detectors back what they knew: `known` has the keys and values of the detector of a name, in the order in which
    /// they were told.
    pub fn restore<E>(&self, mut known: impl FnMut(&'static str) -> Result<Vec<(String, String)>, E>) -> Result<(), E> {
        let mut inner = self.lock();
        for detector in inner.detectors.iter_mut().filter(|detector| !detector.name().is_empty()) {
            for (key, value) in known(detector.name())? {
                detector.restore(&key, &value);
            }
        }
        Ok(())
    }

    /// Adds to an exchange what its bytes do not say: its cost, its feature, and what stands for the caller's key. It needs no
    /// lock, and comes before [`record`](Self::record).
    pub fn complete(&self, exchange: &mut Exchange) {
        let Known { prices, attribution, .. } = self.known();
        prices.complete(exchange);
        exchange.feature = attribution.feature(exchange).or_else(|| exchange.feature.take());
        let caller = exchange.headers.caller_key.as_ref().map(|key| self.maker.caller(key));
        exchange.caller = caller.map(|print| print.value.into());
    }

    /// Takes in one exchange that is [`complete`](Self::complete) and the leaks found in it. False when the output cannot be
    /// written any more.
    pub fn record(&self, exchange: &Exchange, leaks: &[Hit<'_>]) -> bool {
        let cost = exchange.cost.as_ref();
        let caller = match (&exchange.caller, &exchange.headers.caller_key) {
            (Some(value), _) => Some(self.maker.known_caller(value)),
            (None, Some(key)) => Some(self.maker.caller(key)),
            (None, None) => None,
        };
        let policy = self.known().policy;
        let told = |hit: &Hit<'_>| self.maker.tell(hit, exchange.ended_at, cost, &policy);
        let (mut findings, mut silenced) = (Vec::<Finding>::new(), Silenced::new());
        let mut take = |told: Result<Finding, Silence>| match told {
            Ok(finding) => findings.push(finding),
            Err(silence) => *silenced.entry(silence).or_default() += 1,
        };
        // Masking is the work here, and needs no lock.
        leaks.iter().map(told).for_each(&mut take);
        let mut states = Vec::new();
        let mut inner = self.lock();
        let Inner { disabled, detectors, sink, outcome, failed } = &mut *inner;
        if failed.is_some() {
            return false;
        }
        let is_new = self.calls.as_ref().is_none_or(|calls| calls.tapped(exchange));
        for detector in detectors.iter_mut().filter(|_| is_new) {
            detector.inspect(exchange, &mut |hit| {
                if !matches!(&hit, Hit::Behaviour(behaviour) if disabled.iter().any(|id| id == behaviour.rule)) {
                    take(told(&hit));
                }
            });
            detector.changes(&mut |change| states.push(change));
        }
        add_silenced(&mut outcome.silenced, &silenced);
        outcome.worst = findings.iter().map(|finding| Some(finding.severity)).fold(outcome.worst, Option::max);
        let subject = Subject::Exchange(exchange);
        *failed = sink.told(Told { subject, cost, is_new, caller: caller.as_ref(), findings, states }).err();
        failed.is_none()
    }

    /// Takes in a process that talks to a vendor past the tap. False when the output cannot be written any more.
    pub fn unseen(&self, unseen: &Unseen, vendors: &VendorTable) -> bool {
        let vendor = unseen.hosts.first().and_then(|host| vendors.vendor_of(host)).map(|vendor| &*vendor.id);
        self.observed(Subject::Unseen(unseen), self.maker.unseen(unseen, vendor, &self.known().policy))
    }

    /// Takes in that connections of a process to a vendor do not come about. False when the output cannot be written any more.
    pub fn handshake(&self, failed: &FailedHandshake, vendors: &VendorTable) -> bool {
        let vendor = vendors.vendor_of(&failed.host).map(|vendor| &*vendor.id);
        self.observed(Subject::Handshake(failed), self.maker.handshake(failed, vendor, &self.known().policy))
    }

    /// Takes in a finding that no detector made.
    fn observed(&self, subject: Subject<'_>, finding: Finding) -> bool {
        let mut inner = self.lock();
        let Inner { disabled, sink, outcome, failed, .. } = &mut *inner;
        if failed.is_some() || disabled.contains(&finding.rule.id) {
            return failed.is_none();
        }
        outcome.worst = outcome.worst.max(Some(finding.severity));
        let told =
            Told { subject, cost: None, is_new: true, caller: None, findings: vec![finding], states: Vec::new() };
        *failed = sink.told(told).err();
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

    /// How it went so far.
    pub fn outcome(&self) -> Outcome {
        self.lock().outcome.clone()
    }

    /// Lets the sink finish, whatever happened before, and says how it went; an error is the first write that failed.
    pub fn finish(&self) -> io::Result<Outcome> {
        let mut inner = self.lock();
        let finished = inner.sink.finish();
        match inner.failed.take() {
            Some(error) => Err(error),
            None => finished.map(|()| inner.outcome.clone()),
        }
    }

    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Counts of a worker that panicked are still counts.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
