//! Finds services that a vendor throttles. Enters: exchanges, in order. Leaves: `vendor.rate_limited`, one a service, host, kind of call and
//! model, when more than one call in twenty is refused with 429 in two windows one after the other, and more than before or than chance; told anew with every
//! window in which it goes on. A single burst is none: clients retry, and that is what limits are for.
//!
//! A window is five minutes, and longer until it has twenty calls; one that has not after an hour says nothing.
//!
//! State: at most [`SITES_MAX`] places with a few numbers each; the one that called least recently goes first. All of it is kept over a restart.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    HOUR_NS, MINUTE_NS,
    failure::{Outcome, outcome},
    percent, vendor_of,
};
use crate::{
    detectors::{Behaviour, Detector, Hit, StateChange, call_site::CallSite, table::Table},
    exchange::Exchange,
    units::{Severity, Timestamp},
};

/// Bound of the table.
pub const SITES_MAX: usize = 10_000;

const WINDOW_NS: u64 = 5 * MINUTE_NS;
const WINDOW_NS_MAX: u64 = HOUR_NS;
/// Calls of a window.
const CALLS_MIN: u64 = 20;
/// Share of refused calls, in millionths, from which on a window is a bad one; and below which it is over.
const BAD_PPM: u64 = 50_000;
const OVER_PPM: u64 = 20_000;
/// Smallest usual share that is believed.
const USUAL_PPM_MIN: u64 = 20_000;
/// From here on it is grave.
const HIGH_PPM: u64 = 300_000;
/// What is usual is learned of good windows with this weight: one in eight.
const LEARN: u64 = 8;
/// So little is left of a limit that is as good as used up: one in twenty.
const NEAR_ZERO: u64 = 20;

/// The detector.
#[derive(Debug)]
pub struct VendorRateLimited {
    sites: Table<CallSite, Site>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Site {
    /// Beginning of the window, nanoseconds.
    start: u64,
    calls: u64,
    limited: u64,
    /// Bad windows in a row.
    bad: u32,
    /// Beginning of the first of them.
    since: u64,
    /// Usual share, millionths.
    usual: u64,
    /// It was told and is not over.
    is_told: bool,
}

/// What a window says.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    calls: u64,
    limited: u64,
    usual_ppm: u64,
    since: Timestamp,
}

impl VendorRateLimited {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self { sites: Table::new(SITES_MAX) }
    }
}

impl Default for VendorRateLimited {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for VendorRateLimited {
    fn name(&self) -> &'static str {
        "vendor_rate_limited"
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let (Some(vendor), Some(outcome)) = (vendor_of(exchange), outcome(exchange)) else { return };
        let key = CallSite::without_prompt(exchange);
        let Some(site) = self.sites.enter(&key, Site::default) else { return };
        let at = exchange.ended_at;
        let is_closed = site.is_closed(at);
        let verdict = if is_closed { site.close() } else { None };
        site.count(at, outcome == Outcome::Limited);
        if is_closed {
            self.sites.mark(key);
        }
        if let Some(verdict) = verdict {
            emit(Hit::Behaviour(told(exchange, vendor, verdict)));
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        self.sites.changes(|key, site| emit(StateChange::new("vendor_rate_limited", key.key(), site)));
    }

    fn restore(&mut self, key: &str, value: &str) {
        if let (Some(key), Ok(site)) = (CallSite::from_key(key), serde_json::from_str(value)) {
            self.sites.restore(key, site);
        }
    }
}

impl Site {
    fn is_closed(&self, at: Timestamp) -> bool {
        let age = at.since_ns(Timestamp(self.start));
        self.calls > 0 && age >= WINDOW_NS && (self.calls >= CALLS_MIN || age >= WINDOW_NS_MAX)
    }

    fn count(&mut self, at: Timestamp, is_limited: bool) {
        if self.calls == 0 {
            self.start = at.0;
        }
        self.calls = self.calls.saturating_add(1);
        self.limited = self.limited.saturating_add(u64::from(is_limited));
    }

    /// Two of twenty may be chance where two of a hundred are usual: three standard deviations are not, twice in a row.
    #[expect(clippy::cast_precision_loss, reason = "shares are small numbers")]
    fn is_no_chance(&self, share: u64, calls: u64) -> bool {
        let usual = self.usual.max(USUAL_PPM_MIN) as f64 / 1e6;
        let deviation = (usual * (1.0 - usual) / calls.max(1) as f64).max(0.0).sqrt();
        share as f64 / 1e6 > usual + 3.0 * deviation
    }

    fn close(&mut self) -> Option<Verdict> {
        let (start, calls, limited) = (self.start, self.calls, self.limited);
        (self.calls, self.limited) = (0, 0);
        if calls < CALLS_MIN {
            (self.bad, self.is_told) = (0, false);
            return None;
        }
        let share = ppm(limited, calls);
        let is_bad = share > BAD_PPM && share > self.usual.saturating_mul(2) && self.is_no_chance(share, calls);
        let goes_on = is_bad || (self.is_told && share >= OVER_PPM);
        if !goes_on {
            self.usual = (self.usual.min(1_000_000) * (LEARN - 1) + share) / LEARN;
            (self.bad, self.is_told) = (0, false);
            return None;
        }
        if self.bad == 0 {
            self.since = start;
        }
        self.bad = self.bad.saturating_add(1);
        self.is_told = self.bad >= 2;
        (self.is_told && is_bad).then_some(Verdict {
            calls,
            limited,
            usual_ppm: self.usual,
            since: Timestamp(self.since),
        })
    }
}

fn ppm(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1_000_000).checked_div(whole).unwrap_or_default().min(1_000_000)
}

/// Limits of which next to nothing is left, by the name of the header that says what is: `x-ratelimit-remaining-tokens` (OpenAI),
/// `anthropic-ratelimit-tokens-remaining`.
fn used_up(limits: &[(String, String)]) -> Vec<&str> {
    let value = |name: &str| limits.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.parse().ok());
    limits
        .iter()
        .filter(|(name, text)| {
            let left: Option<u64> = text.parse().ok();
            let most: Option<u64> = value(&name.replace("remaining", "limit"));
            name.contains("remaining") && left.is_some_and(|left| left.saturating_mul(NEAR_ZERO) <= most.unwrap_or(0))
        })
        .map(|(name, _)| name.as_str())
        .collect()
}

fn told<'a>(exchange: &'a Exchange, vendor: &str, verdict: Verdict) -> Behaviour<'a> {
    let Verdict { calls, limited, usual_ppm, since } = verdict;
    let share = percent(limited, calls);
    let model = exchange.request_model.as_deref().unwrap_or_default();
    let of = if model.is_empty() { String::new() } else { format!(" for `{model}`") };
    let mut facts = vec![
        ("vendor.id", json!(vendor)),
        ("vendor.calls", json!(calls)),
        ("vendor.calls_limited", json!(limited)),
        ("vendor.limited_percent", json!(share)),
        ("vendor.limited_percent_before", json!(usual_ppm / 10_000)),
        ("vendor.since", json!(since.rfc3339())),
    ];
    let used_up = used_up(&exchange.headers.rate_limits);
    if !used_up.is_empty() {
        facts.push(("vendor.limits_used_up", json!(used_up)));
    }
    Behaviour {
        rule: "vendor.rate_limited",
        references: Vec::new(),
        key: model.to_lowercase(),
        severity: if ppm(limited, calls) >= HIGH_PPM { Severity::High } else { Severity::Medium },
        confidence: 95,
        title: format!("`{vendor}` throttles {share} % of calls{of}: {limited} of {calls}"),
        case: None,
        facts,
        exchange,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_used_up() {
        let headers: Vec<(String, String)> = [
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "400"),
            ("x-ratelimit-limit-tokens", "30000"),
            ("x-ratelimit-remaining-tokens", "1500"),
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "3"),
            ("ratelimit-remaining", "0"),
            ("x-ratelimit-reset-tokens", "1s"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        assert_eq!(used_up(&headers), ["x-ratelimit-remaining-tokens", "ratelimit-remaining"]);
    }
}
