//! Finds programs that try again too often or too soon. Enters: exchanges, in the order in which they ended. Leaves:
//! `vendor.retry_storm` (the same request three times within a minute and failing each time, or one call in five a retry) and
//! `vendor.retry_after_ignored` (sent again before the vendor's `retry-after` was over). A failure is what retries are for: 429,
//! 5xx, no reply, or an error in an answer with status 200. A retry that succeeds is none of these, and libraries try three to
//! five times: after the third failure the outcome is waited for. It is told when the request fails a [`SURE_TRIES`]th time, when
//! another one fails as often within ten minutes, or by the next call to that host when a minute passed without a further try, unless
//! it was given up after three tries with pauses that grew. It never looks at text: a request is the hash of its body.
//!
//! State: [`MAX_REQUESTS`] requests that failed, the retries of [`MAX_LANES`] services and hosts by the minute, as many storms whose
//! outcome is open, and as many waits that vendors asked for. None survives a restart: all of it is about the last minutes.

use std::hash::Hasher as _;

use serde_json::{Value, json};
use twox_hash::XxHash64;

use self::ratio::Ratio;
use super::{Behaviour, Detector, Hit};
use crate::{
    exchange::{Api, Exchange},
    lru::Lru,
    units::{Severity, Timestamp},
};

mod ratio;
#[cfg(test)]
mod tests;

/// Bound of the requests that failed.
pub const MAX_REQUESTS: usize = 8192;
/// Bound of services and hosts, and of waits.
pub const MAX_LANES: usize = 2048;
const SECOND_NS: u64 = 1_000_000_000;
/// Tries within this time are one attempt.
const STORM_NS: u64 = 60 * SECOND_NS;
/// Failed tries of one request from which on it is a storm: client libraries try twice again (OpenAI's and Anthropic's
/// `max_retries` is 2), and what succeeds then is no news.
const STORM_TRIES: u32 = 3;
/// So long a request that failed three times is remembered: when another one does so too, both are told.
const OPEN_NS: u64 = 10 * STORM_NS;
/// A pause that is long enough, even if the one before was as long: two seconds.
const PATIENT_NS: u64 = 2 * SECOND_NS;
/// Failed tries from which on no outcome is waited for: few libraries try more than five times.
const SURE_TRIES: u32 = 6;
/// Tries from which on it is grave.
const MANY_TRIES: u32 = 8;
/// `retry-after` counts in seconds: what is sent so much too soon is on time.
const SLACK_NS: u64 = SECOND_NS / 4;
/// Other requests sent too soon, and rejected for it, from which on they are told.
const EARLY_OTHERS: u32 = 5;

/// The detector.
#[derive(Debug)]
pub struct Retries {
    requests: Lru<u64, Attempt>,
    lanes: Lru<u64, Ratio>,
    waits: Lru<u64, Wait>,
    open: Lru<u64, Open>,
}

/// A storm whose outcome is not known yet.
#[derive(Clone, Debug)]
struct Open {
    request: u64,
    attempt: Attempt,
    failure: String,
}

/// A request that failed.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    first_at: Timestamp,
    last_at: Timestamp,
    failures: u32,
    /// When the two failed tries before the next one began, the older one first.
    starts: [Timestamp; 2],
    /// The newest pause was longer than the one before, or long.
    is_patient: bool,
}

/// A wait that a vendor asked for.
#[derive(Clone, Copy, Debug)]
struct Wait {
    from: Timestamp,
    asked_ns: u64,
    /// The request that was turned away.
    request: Option<u64>,
    /// Others that were sent too soon and turned away.
    others: u32,
}

impl Retries {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self {
            requests: Lru::new(MAX_REQUESTS),
            lanes: Lru::new(MAX_LANES),
            waits: Lru::new(MAX_LANES),
            open: Lru::new(MAX_LANES),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for Retries {
    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        // Calls of tools have their own (`tool.*`): there each try has a number, so no two are the same.
        if exchange.method != "POST" || exchange.api == Api::McpStreamableHttp || exchange.realtime.is_some() {
            return;
        }
        let failed = is_worth_a_retry(exchange);
        let request = exchange.asking.body_digest.map(|body| request(exchange, body));
        let before = request.and_then(|request| self.requests.touch(&request).copied());
        // It began after another try of it had failed.
        let again = before.filter(|before| {
            before.failures > 0
                && exchange.started_at.since_ns(before.last_at) <= STORM_NS
                && exchange.started_at >= before.last_at
        });
        let number = exchange.headers.retry_count.unwrap_or_default();
        let is_retry = again.is_some() || number > 0;

        if let Some(hit) = self.too_soon(exchange, request, is_retry, failed) {
            emit(Hit::Behaviour(hit));
        }
        let storms = request.and_then(|request| Some((request, self.tried(exchange, request, again, failed, number)?)));
        if let Some((attempt, failure)) = self.outcome(exchange, storms) {
            emit(Hit::Behaviour(storm(exchange, attempt, &failure)));
        }
        let lane = lane(exchange, 0);
        if self.lanes.touch(&lane).is_none() {
            self.lanes.insert(lane, Ratio::default());
        }
        if let Some((retries, calls)) = self.lanes.touch(&lane).and_then(|lane| lane.take(exchange.ended_at, is_retry))
        {
            emit(Hit::Behaviour(often(exchange, retries, calls)));
        }
    }
}

impl Retries {
    /// Counts a try of a request; gives it when it is a storm.
    fn tried(
        &mut self,
        exchange: &Exchange,
        request: u64,
        again: Option<Attempt>,
        failed: bool,
        number: u32,
    ) -> Option<Attempt> {
        if !failed {
            // It worked: the next time is another story. Requests that never failed are not remembered.
            if again.is_some() {
                let open = lane(exchange, 3);
                if self.open.peek(&open).is_some_and(|open| open.request == request) {
                    self.open.remove(&open);
                }
                let (first_at, last_at) = (exchange.started_at, exchange.ended_at);
                self.requests.insert(
                    request,
                    Attempt { first_at, last_at, failures: 0, starts: [first_at; 2], is_patient: true },
                );
            }
            return None;
        }
        // The client's library numbers its tries: those that were not seen failed as well.
        let earlier = again.map_or(0, |again| again.failures).max(number);
        let first_at = again.map_or(exchange.started_at, |again| again.first_at);
        let [older, old] = again.map_or([first_at; 2], |again| again.starts);
        let starts = [old, exchange.started_at];
        let (before, pause) = (old.since_ns(older), exchange.started_at.since_ns(old));
        let is_patient = pause >= PATIENT_NS || pause >= before + before / 4;
        let failures = earlier.saturating_add(1);
        let attempt = Attempt { first_at, last_at: exchange.ended_at, failures, starts, is_patient };
        self.requests.insert(request, attempt);
        // This try and the two before it. A program that waits longer each time is none.
        let is_fast = exchange.started_at.since_ns(older) <= STORM_NS;
        (is_fast && attempt.failures >= STORM_TRIES).then_some(attempt)
    }

    /// What is to be told of storms to this host: of a request that just failed often enough, and of one that was waited for.
    fn outcome(&mut self, exchange: &Exchange, storms: Option<(u64, Attempt)>) -> Option<(Attempt, String)> {
        let (lane, now) = (lane(exchange, 3), exchange.started_at);
        let held = self.open.peek(&lane).filter(|open| now.since_ns(open.attempt.last_at) <= OPEN_NS);
        if let Some((request, attempt)) = storms {
            let failure = last_failure(exchange);
            let is_another = held.is_some_and(|open| open.request != request);
            if attempt.failures >= SURE_TRIES || is_another {
                self.open.remove(&lane);
                return Some((attempt, failure));
            }
            self.open.insert(lane, Open { request, attempt, failure });
            return None;
        }
        // No try came: it was given up. Three tries with pauses that grow are what a library does by itself.
        let is_over = |open: &Open| now.since_ns(open.attempt.last_at) > STORM_NS;
        let is_many = |open: &Open| open.attempt.failures > STORM_TRIES || !open.attempt.is_patient;
        if held.is_some_and(|open| is_over(open) && is_many(open)) {
            return self.open.remove(&lane).map(|open| (open.attempt, open.failure));
        }
        None
    }

    /// Looks whether the vendor asked to wait, and notes when it does.
    fn too_soon<'a>(
        &mut self,
        exchange: &'a Exchange,
        request: Option<u64>,
        is_retry: bool,
        failed: bool,
    ) -> Option<Behaviour<'a>> {
        let lane = lane(exchange, 1);
        let hit = self.waits.touch(&lane).and_then(|wait| {
            // What was under way when the vendor said it could not know.
            let waited_ns = exchange.started_at.since_ns(wait.from);
            let is_early = exchange.started_at >= wait.from && waited_ns.saturating_add(SLACK_NS) < wait.asked_ns;
            if !is_early {
                return None;
            }
            let is_same = request.is_some() && request == wait.request;
            wait.others = wait.others.saturating_add(u32::from(!is_same && failed));
            let is_told = is_same || (is_retry && exchange.asking.body_digest.is_none()) || wait.others >= EARLY_OTHERS;
            is_told.then(|| early(exchange, *wait, waited_ns, is_same))
        });
        let asks =
            matches!(exchange.status, Some(429 | 503 | 529)).then_some(exchange.headers.retry_after_ns).flatten();
        if let Some(asked_ns) = asks.filter(|asked_ns| *asked_ns > SLACK_NS) {
            let others = self.waits.peek(&lane).map_or(0, |wait| if hit.is_some() { 0 } else { wait.others });
            self.waits.insert(lane, Wait { from: exchange.ended_at, asked_ns, request, others });
        }
        hit
    }
}

/// What client libraries try again: 408, 429, 5xx and no reply at all; and an error in an answer that began well.
fn is_worth_a_retry(exchange: &Exchange) -> bool {
    match exchange.status {
        None | Some(408 | 409 | 429 | 500..) => true,
        Some(200) => exchange.error.is_some(),
        _ => false,
    }
}

fn request(exchange: &Exchange, body: u64) -> u64 {
    let mut hasher = XxHash64::with_seed(body);
    hasher.write(exchange.path.as_bytes());
    hasher.write_u64(lane(exchange, 2));
    hasher.finish()
}

/// Service and host; for waits also key and model, which have limits of their own; for storms the model, by which they are told.
fn lane(exchange: &Exchange, kind: u8) -> u64 {
    let mut hasher = XxHash64::with_seed(kind.into());
    hasher.write(exchange.origin.service.as_bytes());
    hasher.write(exchange.host.as_bytes());
    if kind == 1 {
        hasher.write(exchange.caller.as_deref().unwrap_or_default().as_bytes());
        hasher.write(exchange.request_model.as_deref().unwrap_or_default().as_bytes());
    }
    if kind == 3 {
        hasher.write(exchange.api.as_str().as_bytes());
        hasher.write(exchange.request_model.as_deref().unwrap_or_default().as_bytes());
    }
    hasher.finish()
}

/// `429`, the code in an answer that began well, or that there was none.
fn last_failure(exchange: &Exchange) -> String {
    match (exchange.status, exchange.error.as_deref()) {
        (Some(200), Some(code)) => code.to_owned(),
        (Some(status), _) => status.to_string(),
        (None, _) => "no_reply".to_owned(),
    }
}

fn model(exchange: &Exchange) -> &str {
    exchange.request_model.as_deref().unwrap_or("unknown")
}

fn storm<'a>(exchange: &'a Exchange, attempt: Attempt, failure: &str) -> Behaviour<'a> {
    let (host, tries) = (&exchange.host, attempt.failures);
    let seconds = attempt.last_at.since_ns(attempt.first_at).div_ceil(SECOND_NS);
    Behaviour {
        rule: "vendor.retry_storm",
        references: Vec::new(),
        key: format!("same {}", model(exchange).to_lowercase()),
        severity: if tries >= MANY_TRIES { Severity::High } else { Severity::Medium },
        confidence: 90,
        title: format!("the same request failed {tries} times at `{host}` within {seconds} s, last with `{failure}`"),
        case: None,
        facts: vec![
            ("retry.tries", json!(tries)),
            ("retry.seconds", json!(seconds)),
            ("retry.last_failure", json!(failure)),
            ("retry.host", json!(host)),
            ("model.requested", json!(model(exchange))),
        ],
        exchange,
    }
}

fn often(exchange: &Exchange, retries: u32, calls: u32) -> Behaviour<'_> {
    let host = &exchange.host;
    Behaviour {
        rule: "vendor.retry_storm",
        references: Vec::new(),
        key: "ratio".to_owned(),
        severity: if retries * 2 >= calls { Severity::High } else { Severity::Medium },
        confidence: 80,
        title: format!("{retries} of {calls} calls to `{host}` within ten minutes were retries"),
        case: Some("ratio"),
        facts: vec![("retry.retries", json!(retries)), ("retry.calls", json!(calls)), ("retry.host", json!(host))],
        exchange,
    }
}

fn early(exchange: &Exchange, wait: Wait, waited_ns: u64, is_same: bool) -> Behaviour<'_> {
    let host = &exchange.host;
    let (asked_ms, after_ms) = (wait.asked_ns / 1_000_000, waited_ns / 1_000_000);
    let title = if is_same {
        format!("a request was sent again after {after_ms} ms, `{host}` had asked to wait {asked_ms} ms")
    } else {
        format!("calls go on within the {asked_ms} ms that `{host}` asked to wait, and are rejected")
    };
    let count = |count: u32| if is_same { Value::Null } else { json!(count) };
    let mut facts = vec![
        ("retry.asked_ms", json!(asked_ms)),
        ("retry.waited_ms", json!(after_ms)),
        ("retry.host", json!(host)),
        ("model.requested", json!(model(exchange))),
        ("retry.rejected", count(wait.others)),
    ];
    facts.retain(|(_, value)| !value.is_null());
    Behaviour {
        rule: "vendor.retry_after_ignored",
        references: Vec::new(),
        key: model(exchange).to_lowercase(),
        severity: Severity::Low,
        confidence: if is_same { 90 } else { 70 },
        title,
        case: None,
        facts,
        exchange,
    }
}
