//! Room 5: hits become facts that may leave the host. Enters: [`Hit`](crate::detectors::Hit). Leaves: [`Finding`]. Pure; the
//! only place that may turn matched text into an excerpt, and it is masked here ([`mask`]); what a peer wrote as a name is shown
//! only when it looks like one ([`shown`]).
//!
//! Repeats of a finding only count. Its first occurrence leaves at once; after that a new revision leaves at most once per
//! update interval, and what is left when the session ends. Bound: [`MAX_OPEN`] findings; the least recently seen goes first.

use std::collections::BTreeMap;

use crate::{
    detectors::{Behaviour, Hit, Leak},
    exchange::{Cost, Subject, View},
    lru::Lru,
    sources::StreamId,
    units::Timestamp,
};

mod finding;
mod fingerprint;
pub mod mask;
mod place;
mod record;
mod shown;

pub use self::{
    finding::{
        Activity, Category, Coverage, Destination, FINDING_EVENT, Finding, HalfName, Location, Model, Process, Rule,
        SCHEMA_VERSION, api_name, finding_schema,
    },
    fingerprint::{BadKey, Fingerprint, FingerprintKey},
    mask::Excerpt,
    record::{EXCHANGE_EVENT, ExchangeRecord},
    shown::{host, identifier},
};

/// Findings that are counted at the same time.
pub const MAX_OPEN: usize = 8192;

/// How often a finding that repeats is told again, by default.
pub const UPDATE_INTERVAL_NS: u64 = 60 * 1_000_000_000;

/// Longest text that a peer or a program may put into one field of a finding, in characters.
const MAX_FIELD_CHARS: usize = 256;

/// Facts that our rules write, in words.
const PROSE_FACTS: [&str; 1] = ["model.note"];

/// The findings of one session: counts repeats and says when there is something to tell.
#[derive(Debug)]
pub struct Findings {
    key: FingerprintKey,
    update_interval_ns: u64,
    open: Lru<String, Open>,
    /// Last revisions of findings that had to make room, until they are taken.
    evicted: Vec<Finding>,
    /// Revisions that were lost because nobody took them.
    lost_revisions: u64,
}

#[derive(Debug)]
struct Open {
    finding: Finding,
    told_at: Timestamp,
    told_count: u64,
    /// The newest call that counted, so that a call with two equal leaks is paid for once.
    last_call: Option<(StreamId, Timestamp)>,
}

impl Findings {
    /// No findings yet. `update_interval_ns` is the least time between two revisions of one finding.
    pub fn new(key: FingerprintKey, update_interval_ns: u64) -> Self {
        Self::with_capacity(key, update_interval_ns, MAX_OPEN)
    }

    fn with_capacity(key: FingerprintKey, update_interval_ns: u64, capacity: usize) -> Self {
        Self { key, update_interval_ns, open: Lru::new(capacity), evicted: Vec::new(), lost_revisions: 0 }
    }

    /// Counts a hit. Returns what there is to tell now: a new finding, or a revision when the last one is old enough. `at` is
    /// when the hit happened, `cost` what its call cost.
    pub fn record(&mut self, hit: &Hit<'_>, at: Timestamp, cost: Option<&Cost>) -> Option<Finding> {
        let seen = self.finding(hit, at, cost);
        let call = call_of(hit);
        if let Some(open) = self.open.touch(&seen.finding_id) {
            open.count(seen, call);
            let due = at.since_ns(open.told_at) >= self.update_interval_ns;
            return due.then(|| open.tell(at));
        }
        let open = Open { finding: seen.clone(), told_at: at, told_count: 1, last_call: call };
        if let Some((_, mut gone)) = self.open.insert(seen.finding_id.clone(), open)
            && gone.has_news()
        {
            // A caller that never takes them loses the oldest, counted.
            if self.evicted.len() >= MAX_OPEN {
                self.evicted.remove(0);
                self.lost_revisions += 1;
            }
            let told_at = gone.told_at;
            self.evicted.push(gone.tell(told_at));
        }
        Some(seen)
    }

    /// Last revisions of findings that had to make room for others. Empty unless more than [`MAX_OPEN`] are open; ask now and
    /// then, or at the end.
    pub fn take_evicted(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.evicted)
    }

    /// Ends the session: a last revision of every finding whose count went up since it was told, oldest first.
    pub fn finish(&mut self) -> Vec<Finding> {
        let mut last = self.take_evicted();
        while let Some((_, mut open)) = self.open.pop() {
            if open.has_news() {
                let told_at = open.told_at;
                last.push(open.tell(told_at));
            }
        }
        last
    }

    /// Revisions that were lost because [`take_evicted`](Self::take_evicted) was never called.
    pub fn lost_revisions(&self) -> u64 {
        self.lost_revisions
    }

    fn finding(&self, hit: &Hit<'_>, at: Timestamp, cost: Option<&Cost>) -> Finding {
        let mut finding = match hit {
            Hit::Leak(leak) => self.leak(leak),
            Hit::Behaviour(behaviour) => behaved(behaviour),
        };
        finding.record_id = record_id(&finding.finding_id, finding.revision);
        finding.first_seen = at.rfc3339();
        finding.last_seen = at.rfc3339();
        finding.cost_nano_usd = cost.map(|cost| cost.nano_usd);
        finding.cost_source = cost.map(|cost| cost.source);
        finding
    }

    fn leak(&self, leak: &Leak<'_>) -> Finding {
        let span = leak.span.start.min(leak.haystack.len())..leak.span.end.min(leak.haystack.len());
        let secret = leak.haystack.get(span.clone()).unwrap_or_default();
        let fingerprint = self.key.fingerprint(&leak.rule.entity, secret);
        let placed = place::placed(leak.place, secret, &span);
        let mut finding = blank(leak.place.subject(), &leak.rule.id, &placed.call_site, Some(&fingerprint));
        finding.rule =
            Rule { id: leak.rule.id.clone(), title: leak.rule.title.clone(), references: leak.rule.references.clone() };
        finding.category = Category::Leak;
        finding.entity = Some(leak.rule.entity.clone());
        finding.severity = leak.rule.severity;
        finding.confidence = leak.confidence.min(100);
        finding.title = format!("{} {}", leak.rule.title, placed.way);
        finding.remedy.clone_from(&leak.rule.remedy);
        finding.excerpt = Some(Excerpt::new(&leak.rule.entity, leak.haystack, &leak.span, leak.others));
        finding.location = Some(placed.location);
        finding.fingerprint = Some(fingerprint);
        finding
    }
}

impl Open {
    /// Takes over what is new in another occurrence of the same finding.
    fn count(&mut self, seen: Finding, call: Option<(StreamId, Timestamp)>) {
        let kept = &mut self.finding;
        kept.count = kept.count.saturating_add(1);
        kept.last_seen = seen.last_seen;
        kept.severity = kept.severity.max(seen.severity);
        kept.confidence = kept.confidence.max(seen.confidence);
        kept.title = seen.title;
        kept.excerpt = seen.excerpt;
        kept.location = seen.location;
        kept.process = seen.process;
        kept.model = seen.model;
        kept.coverage = seen.coverage;
        kept.attributes = seen.attributes;
        if self.last_call != call {
            self.last_call = call;
            if let Some(cost) = seen.cost_nano_usd {
                let before = kept.cost_nano_usd.unwrap_or_default();
                kept.cost_nano_usd = Some(crate::units::NanoUsd(before.0.saturating_add(cost.0)));
                kept.cost_source = kept.cost_source.max(seen.cost_source);
            }
        }
    }

    fn has_news(&self) -> bool {
        self.finding.count > self.told_count
    }

    /// Cuts the next revision.
    fn tell(&mut self, at: Timestamp) -> Finding {
        self.told_at = at;
        self.told_count = self.finding.count;
        self.finding.activity = Activity::Update;
        self.finding.revision = self.finding.revision.saturating_add(1);
        self.finding.record_id = record_id(&self.finding.finding_id, self.finding.revision);
        self.finding.clone()
    }
}

fn behaved(behaviour: &Behaviour<'_>) -> Finding {
    let mut finding = blank(Subject::Exchange(behaviour.exchange), behaviour.rule, &behaviour.key, None);
    finding.rule = Rule {
        id: behaviour.rule.to_owned(),
        title: behaviour.rule_title.to_owned(),
        references: behaviour.references.clone(),
    };
    finding.category = if behaviour.rule.starts_with("cost.") { Category::Cost } else { Category::Model };
    finding.severity = behaviour.severity;
    finding.confidence = behaviour.confidence.min(100);
    finding.title = field(&shown_title(behaviour));
    behaviour.remedy.clone_into(&mut finding.remedy);
    finding.attributes =
        behaviour.facts.iter().map(|(name, value)| ((*name).to_owned(), shown_fact(name, value))).collect();
    finding
}

/// Everything that a finding takes from its subject, and its id. Neither time nor process id goes into the id.
fn blank(subject: Subject<'_>, rule: &str, call_site: &str, fingerprint: Option<&Fingerprint>) -> Finding {
    let origin = subject.origin();
    let (fingerprint_value, key_id) =
        fingerprint.map_or(("", ""), |print| (print.value.as_str(), print.key_id.as_str()));
    let (id, exchange) = match subject {
        Subject::Exchange(exchange) => {
            let (host, api) = (exchange.host.as_str(), api_name(exchange.api));
            let fields = [rule, &origin.service, host, api, call_site, fingerprint_value, key_id];
            (fingerprint::stable_id(&fields), Some(exchange))
        }
        Subject::Log(_) => {
            let fields = [rule, &origin.service, "log", call_site, fingerprint_value, key_id];
            (fingerprint::stable_id(&fields), None)
        }
    };
    Finding {
        schema_version: SCHEMA_VERSION,
        event_name: FINDING_EVENT.to_owned(),
        finding_id: id,
        record_id: String::new(),
        revision: 1,
        activity: Activity::Create,
        rule: Rule { id: String::new(), title: String::new(), references: Vec::new() },
        entity: None,
        category: Category::Leak,
        severity: crate::units::Severity::Info,
        confidence: 0,
        title: String::new(),
        remedy: String::new(),
        fingerprint: None,
        excerpt: None,
        location: None,
        process: Process {
            pid: origin.pid,
            name: field(&origin.process),
            service: field(&origin.service),
            container: origin.container.as_deref().map(field),
        },
        destination: exchange.map(|exchange| Destination {
            host: host(&exchange.host),
            vendor: exchange.vendor.as_deref().map(field),
            api: api_name(exchange.api).to_owned(),
        }),
        model: exchange.map(|exchange| Model {
            requested: exchange.request_model.as_deref().map(identifier),
            resolved: exchange.response_model.as_deref().map(identifier),
        }),
        cost_nano_usd: None,
        cost_source: None,
        coverage: exchange.map(|exchange| coverage(&exchange.view)),
        count: 1,
        first_seen: String::new(),
        last_seen: String::new(),
        attributes: BTreeMap::new(),
    }
}

/// The call that a hit belongs to; none for a line of a log.
fn call_of(hit: &Hit<'_>) -> Option<(StreamId, Timestamp)> {
    let subject = match hit {
        Hit::Leak(leak) => leak.place.subject(),
        Hit::Behaviour(behaviour) => Subject::Exchange(behaviour.exchange),
    };
    match subject {
        Subject::Exchange(exchange) => Some((exchange.stream, exchange.started_at)),
        Subject::Log(_) => None,
    }
}

fn coverage(view: &View) -> Coverage {
    let total_bytes = view.request_bytes.saturating_add(view.response_bytes);
    let missing = view.request_missing_bytes.saturating_add(view.response_missing_bytes);
    let unread = view.request_unread_bytes.saturating_add(view.response_unread_bytes);
    Coverage { scanned_bytes: total_bytes.saturating_sub(missing).saturating_sub(unread), total_bytes }
}

fn record_id(finding_id: &str, revision: u32) -> String {
    format!("{finding_id}-{revision}")
}

/// A text of this host or of the rules. What a peer wrote goes through [`shown`].
fn field(text: &str) -> String {
    mask::bounded(text, MAX_FIELD_CHARS)
}

/// A fact; whatever the rules did not write is an identifier from the wire.
fn shown_fact(name: &str, value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::String(text) if PROSE_FACTS.contains(&name) => field(text).into(),
        serde_json::Value::String(text) => identifier(text).into(),
        other => other.clone(),
    }
}

/// A title repeats facts. Those that are not shown as they are must not be read there either; the longest goes first, for it may
/// hold a shorter one.
fn shown_title(behaviour: &Behaviour<'_>) -> String {
    let texts = behaviour.facts.iter().filter(|(name, _)| !PROSE_FACTS.contains(name));
    let mut texts: Vec<&str> = texts.filter_map(|(_, value)| value.as_str()).filter(|text| !text.is_empty()).collect();
    texts.sort_unstable_by_key(|text| std::cmp::Reverse(text.len()));
    let hide = |title: String, text: &str| match identifier(text) {
        shown if shown == text => title,
        shown => title.replace(text, &shown),
    };
    texts.into_iter().fold(behaviour.title.clone(), hide)
}

#[cfg(test)]
mod tests;
