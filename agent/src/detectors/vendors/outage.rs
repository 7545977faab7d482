//! Finds a vendor that is down. Enters: exchanges, in order. Leaves: `vendor.outage`, one a vendor, told anew every five minutes while it
//! goes on. An outage is what several services see at once: at least three of which half of the calls fail; on a host with fewer services
//! all of them, with twenty failed calls. What one service asks wrongly, and what is throttled, is none.
//!
//! A request that is sent again and again fails again and again: failures of one body count once in a row.
//!
//! State: at most [`VENDORS_MAX`] vendors with at most [`SERVICES_MAX`] services each, a name and ten counters a service; the one that called
//! least recently goes first. What goes on is kept over a restart, the counters of the last five minutes are not.

use std::{collections::VecDeque, sync::Arc};

use serde_json::json;

use super::{
    MINUTE_NS, NAME_BYTES_MAX, SECOND_NS, TELL_EVERY_NS,
    failure::{Outcome, outcome},
    percent, vendor_of,
};
use crate::{
    detectors::{Behaviour, Detector, Hit, StateChange, digest::digest, episode::Episode},
    exchange::Exchange,
    lru::Lru,
    units::{Severity, Timestamp},
};

/// Bound of the table.
pub const VENDORS_MAX: usize = 128;
/// Services of one vendor.
pub const SERVICES_MAX: usize = 64;

/// Calls of so long are looked at together.
const WINDOW_NS: u64 = 5 * MINUTE_NS;
/// In steps of.
const STEP_NS: u64 = 30 * SECOND_NS;
/// So many services make an outage.
const SERVICES_MIN: u64 = 3;
/// Failed calls of one service.
const FAILED_MIN: u64 = 3;
/// Failed calls where there are fewer services.
const FAILED_MIN_FEW: u64 = 20;
/// An outage is over when less than this share of calls fails, of so many.
const OVER_PERCENT: u64 = 20;
const OVER_CALLS_MIN: u64 = 10;

/// The detector.
#[derive(Debug)]
pub struct VendorOutage {
    vendors: Lru<String, Vendor>,
    changed: Lru<String, ()>,
}

#[derive(Debug, Default)]
struct Vendor {
    services: Vec<Service>,
    episode: Option<Episode>,
}

#[derive(Debug)]
struct Service {
    name: String,
    /// Of the name, which is compared only when this is the same.
    hash: u64,
    steps: VecDeque<Step>,
    last_at: Timestamp,
    /// Body of the last failed call.
    failed_body: Option<u64>,
}

/// Calls of one step.
#[derive(Clone, Copy, Debug)]
struct Step {
    number: u64,
    sums: Sums,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    calls: u64,
    failed: u64,
    /// Of the failed ones, those of which the vendor says so itself.
    said: u64,
}

/// What all services see together.
#[derive(Clone, Copy, Debug, Default)]
struct View {
    services: u64,
    failing: u64,
    sums: Sums,
    /// When the failing ones began to.
    since: Option<Timestamp>,
}

impl VendorOutage {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self { vendors: Lru::new(VENDORS_MAX), changed: Lru::new(2 * VENDORS_MAX) }
    }
}

impl Default for VendorOutage {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for VendorOutage {
    fn name(&self) -> &'static str {
        "vendor_outage"
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let (Some(name), Some(outcome)) = (vendor_of(exchange), outcome(exchange)) else { return };
        if self.vendors.peek(name).is_none()
            && let Some((gone, _)) = self.vendors.insert(name.to_owned(), Vendor::default())
        {
            self.changed.insert(gone, ());
        }
        let Some(vendor) = self.vendors.touch(name) else { return };
        vendor.count(exchange, outcome);
        let failed = matches!(outcome, Outcome::Failed | Outcome::Unanswered);
        if !failed && vendor.episode.is_none() {
            return;
        }
        let view = vendor.view(exchange.ended_at);
        if vendor.episode.is_some() && view.is_over() {
            vendor.episode = None;
            self.changed.insert(name.to_owned(), ());
        }
        let Some((severity, confidence)) = view.judge().filter(|_| failed) else { return };
        let since = view.since.unwrap_or(exchange.ended_at);
        let episode = vendor.episode.get_or_insert_with(|| Episode::new(since, exchange));
        if episode.tells(exchange, TELL_EVERY_NS) {
            self.changed.insert(name.to_owned(), ());
            emit(Hit::Behaviour(told(exchange, name, view, Timestamp(episode.since), severity, confidence)));
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        while let Some((key, ())) = self.changed.pop() {
            let episode = self.vendors.peek(&key).and_then(|vendor| vendor.episode);
            emit(StateChange::new("vendor_outage", key, episode.map(Arc::new)));
        }
    }

    fn restore(&mut self, key: &str, value: &str) {
        if let Ok(episode) = serde_json::from_str(value)
            && key.len() <= NAME_BYTES_MAX
        {
            self.vendors.insert(key.to_owned(), Vendor { episode: Some(episode), ..Vendor::default() });
        }
    }
}

impl Vendor {
    fn count(&mut self, exchange: &Exchange, outcome: Outcome) {
        let name = &exchange.origin.service;
        let at = exchange.ended_at;
        let hash = digest(&[name]);
        let known = self.services.iter().position(|service| service.hash == hash && service.name == *name);
        let index = known.unwrap_or_else(|| self.add(name, hash, at));
        let Some(service) = self.services.get_mut(index) else { return };
        service.last_at = service.last_at.max(at);
        let failed = matches!(outcome, Outcome::Failed | Outcome::Unanswered);
        if failed {
            let body = exchange.asking.body_digest;
            if body.is_some() && service.failed_body == body {
                return;
            }
            service.failed_body = body;
        }
        let said = u64::from(outcome == Outcome::Failed);
        service.add(at, Sums { calls: 1, failed: u64::from(failed), said });
    }

    /// Makes room for a service.
    fn add(&mut self, name: &str, hash: u64, at: Timestamp) -> usize {
        if self.services.len() >= SERVICES_MAX {
            let oldest = self.services.iter().enumerate().min_by_key(|(_, service)| service.last_at);
            let oldest = oldest.map_or(0, |(oldest, _)| oldest);
            self.services.swap_remove(oldest);
        }
        self.services.push(Service {
            name: name.to_owned(),
            hash,
            steps: VecDeque::new(),
            last_at: at,
            failed_body: None,
        });
        self.services.len() - 1
    }

    fn view(&self, now: Timestamp) -> View {
        let mut view = View::default();
        for service in &self.services {
            let (sums, since) = service.sums(now);
            if sums.calls == 0 {
                continue;
            }
            view.services += 1;
            view.sums.add(sums);
            if sums.failed >= FAILED_MIN && sums.failed * 2 >= sums.calls {
                view.failing += 1;
                view.since = [view.since, since].into_iter().flatten().min();
            }
        }
        view
    }
}

impl Service {
    fn add(&mut self, at: Timestamp, sums: Sums) {
        let number = at.0 / STEP_NS;
        match self.steps.back_mut() {
            // A call that ended earlier than one that was told before counts with that one.
            Some(last) if last.number >= number => last.sums.add(sums),
            _ => self.steps.push_back(Step { number, sums }),
        }
        while self.steps.len() as u64 > WINDOW_NS / STEP_NS {
            self.steps.pop_front();
        }
    }

    fn sums(&self, now: Timestamp) -> (Sums, Option<Timestamp>) {
        let first = (now.0 / STEP_NS + 1).saturating_sub(WINDOW_NS / STEP_NS);
        let mut sums = Sums::default();
        let mut since = None;
        for step in self.steps.iter().filter(|step| step.number >= first) {
            sums.add(step.sums);
            if step.sums.failed > 0 {
                since = since.or(Some(Timestamp(step.number * STEP_NS)));
            }
        }
        (sums, since)
    }
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.said += other.said;
    }
}

impl View {
    fn judge(&self) -> Option<(Severity, u8)> {
        // Callers that give up look like a vendor that does not answer.
        let sure = |confidence: u8| if self.sums.said * 2 >= self.sums.failed { confidence } else { confidence - 25 };
        if self.failing >= SERVICES_MIN {
            let is_most = self.failing * 2 >= self.services;
            return Some(if is_most { (Severity::High, sure(90)) } else { (Severity::Medium, sure(65)) });
        }
        let is_all = self.services < SERVICES_MIN && self.failing == self.services;
        (is_all && self.sums.failed >= FAILED_MIN_FEW).then(|| (Severity::Medium, sure(60)))
    }

    fn is_over(&self) -> bool {
        self.sums.calls >= OVER_CALLS_MIN && percent(self.sums.failed, self.sums.calls) < OVER_PERCENT
    }
}

fn told<'a>(
    exchange: &'a Exchange,
    vendor: &str,
    view: View,
    since: Timestamp,
    severity: Severity,
    confidence: u8,
) -> Behaviour<'a> {
    let share = percent(view.sums.failed, view.sums.calls);
    let services = if view.services == 1 { "service" } else { "services" };
    Behaviour {
        rule: "vendor.outage",
        references: Vec::new(),
        key: vendor.to_owned(),
        severity,
        confidence,
        title: format!(
            "`{vendor}` fails: {share} % of calls in 5 minutes, in {} of {} {services}",
            view.failing, view.services
        ),
        case: None,
        facts: vec![
            ("vendor.id", json!(vendor)),
            ("vendor.services", json!(view.services)),
            ("vendor.services_affected", json!(view.failing)),
            ("vendor.calls", json!(view.sums.calls)),
            ("vendor.calls_failed", json!(view.sums.failed)),
            ("vendor.calls_unanswered", json!(view.sums.failed.saturating_sub(view.sums.said))),
            ("vendor.error_percent", json!(share)),
            ("vendor.since", json!(since.rfc3339())),
        ],
        exchange,
    }
}
