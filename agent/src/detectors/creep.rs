//! Finds call sites whose calls grow slowly: a prompt that is 30 % longer than a week ago. Enters: exchanges, in order. Leaves:
//! `cost.creep`, one finding for a call site, counted.
//!
//! What a call takes is told in tokens at the price of a token of its prompt ([`Mix::weighted_tokens`]). The mean of its logarithm is
//! taken over blocks of at least an hour and [`CALLS_MIN`] calls, so that no single call and no hour counts much. From the first
//! [`BLOCKS_MIN`] blocks a site's usual block is learned; after that an upper CUSUM with k = 0.5 σ and h = 5 σ (D. C. Montgomery,
//! "Introduction to Statistical Quality Control", chapter 9) adds up what blocks have above it. It is told when this exceeds h,
//! the calls of the last day have taken a fifth more than usual for a day (what is high in the afternoon falls at night), or for three
//! when that began on a weekend, those of the last hours still do, and this costs ten cents a day or more. The last day, not all of
//! the rise: the mean of a slow one is but half of what it came to. The new level is the usual one from then on.
//!
//! State: at most [`SITES_MAX`] sites of 1 KB at most as they are stored. The site that called least recently goes first.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Behaviour, Detector, Hit, StateChange, call_site::CallSite, cost_mix::Mix, table::Table};
use crate::{
    exchange::Exchange,
    units::{NanoUsd, Severity},
};

#[cfg(test)]
mod tests;

/// Sites that are known.
pub const SITES_MAX: usize = 10_000;
/// Calls of a block.
const CALLS_MIN: u32 = 20;
const HOUR_NS: u64 = 3600 * 1_000_000_000;
const DAY_NS: u64 = 24 * HOUR_NS;
/// Blocks from which a site's usual one is learned: a day of one that is always called.
const BLOCKS_MIN: u32 = 24;
/// What a CUSUM lets pass, and what it may sum up to, in standard deviations.
const SLACK: f64 = 0.5;
const DECISION: f64 = 5.0;
const SUM_MAX: f64 = 2.0 * DECISION;
/// What a single block can add: three must agree.
const BLOCK_MAX: f64 = 2.4;
/// ln(1.2): a fifth more.
const GROWTH_MIN: f64 = 0.182;
/// What the last hours must have of it, at least.
const GROWTH_NOW: f64 = 0.5 * GROWTH_MIN;
/// The last hours: how long ago counts a third.
const NEAR_NS: f64 = 4.0 * HOUR_NS as f64;
/// Least standard deviation: 5 %.
const SIGMA_MIN: f64 = 0.05;
/// Ten cents a day.
const FLOOR_NANO_USD: u64 = 100_000_000;
/// Ten dollars a day are graver.
const MEDIUM_NANO_USD: u64 = 10_000_000_000;
const NAME: &str = "creep";

/// The detector.
#[derive(Debug)]
pub struct Creep {
    sites: Table<CallSite, Site>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Site {
    /// The running block: when it began, and the sum of the logarithms of its calls.
    block_start: u64,
    calls: u32,
    logs: f32,
    /// Blocks that were learned; mean of these, and sum of squared differences from it (Welford).
    blocks: u32,
    mean: f32,
    squares: f32,
    /// What the CUSUM summed up, in standard deviations; since when; how many blocks these are, and their mean over the last day.
    sum: f32,
    since: u64,
    rising: u32,
    #[serde(default)]
    level: f32,
    /// Their mean over the last hours.
    #[serde(default)]
    near: f32,
    /// Since when that is a fifth more than usual; 0: it is not.
    #[serde(default)]
    above: u64,
    /// What calls are made of, before the rise and in it.
    usual: Mix,
    recent: Mix,
    /// Nano-USD since the rise began.
    spent: u64,
}

impl Creep {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self { sites: Table::new(SITES_MAX) }
    }
}

impl Default for Creep {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for Creep {
    fn name(&self) -> &'static str {
        NAME
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        if !exchange.succeeded() || exchange.usage.input_tokens.is_none() {
            return;
        }
        let call = Mix::of(exchange);
        let tokens = call.weighted_tokens();
        if tokens < 1.0 {
            return;
        }
        let (key, at) = (CallSite::of(exchange), exchange.ended_at.0);
        let Some(site) = self.sites.enter(&key, || Site::new(at)) else { return };
        if let Some(grown) = site.see(at, exchange, tokens) {
            emit(Hit::Behaviour(tell(exchange, key, &grown)));
        }
        self.sites.mark(key);
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        self.sites.changes(|key, site| emit(StateChange::new(NAME, key.key(), site)));
    }

    fn restore(&mut self, key: &str, value: &str) {
        if let (Some(key), Ok(site)) = (CallSite::from_key(key), serde_json::from_str::<Site>(value))
            && site.is_sound()
        {
            self.sites.restore(key, site);
        }
    }
}

/// A site grew.
struct Grown {
    usual: Mix,
    recent: Mix,
    since: u64,
    /// What the growth costs a day.
    extra_day: u64,
}

impl Site {
    fn new(at: u64) -> Self {
        Self {
            block_start: at,
            calls: 0,
            logs: 0.0,
            blocks: 0,
            mean: 0.0,
            squares: 0.0,
            sum: 0.0,
            since: at,
            rising: 0,
            level: 0.0,
            near: 0.0,
            above: 0,
            usual: Mix::default(),
            recent: Mix::default(),
            spent: 0,
        }
    }

    fn is_sound(&self) -> bool {
        let floats = [self.logs, self.mean, self.squares, self.sum, self.level, self.near];
        floats.into_iter().all(f32::is_finite) && self.usual.is_sound() && self.recent.is_sound()
    }

    fn see(&mut self, at: u64, exchange: &Exchange, tokens: f64) -> Option<Grown> {
        // A clock that was set back begins a block anew.
        let is_block = self.calls >= CALLS_MIN && at.saturating_sub(self.block_start) >= HOUR_NS;
        let grown = if is_block { self.close(at) } else { None };
        self.block_start = self.block_start.min(at);
        self.calls = self.calls.saturating_add(1);
        self.logs += tokens.ln() as f32;
        self.recent.add(exchange);
        let nano_usd = exchange.cost.as_ref().map_or(0, |cost| cost.nano_usd.0);
        self.spent = self.spent.saturating_add(nano_usd);
        grown
    }

    fn close(&mut self, at: u64) -> Option<Grown> {
        let block = f64::from(self.logs) / f64::from(self.calls.max(1));
        let start = self.block_start;
        (self.block_start, self.calls, self.logs) = (at, 0, 0.0);
        if self.blocks < BLOCKS_MIN {
            self.learn(block);
            self.settle(at);
            return None;
        }
        let mean = f64::from(self.mean);
        let variance = f64::from(self.squares) / f64::from(self.blocks.saturating_sub(1).max(1));
        let sigma = variance.max(0.0).sqrt().max(SIGMA_MIN);
        let step = ((block - mean) / sigma - SLACK).min(BLOCK_MAX);
        // Bounded, so that a weekend is forgotten on Monday.
        self.sum = (f64::from(self.sum) + step).clamp(0.0, SUM_MAX) as f32;
        if self.sum <= 0.0 {
            self.settle(at);
            return None;
        }
        if self.rising == 0 {
            (self.since, self.level, self.near) = (start, self.mean, self.mean);
        }
        self.rising = self.rising.saturating_add(1);
        let took_ns = at.saturating_sub(start) as f64;
        let over = |mean: f32, time_ns: f64| {
            let kept = (-took_ns / time_ns).exp();
            kept * f64::from(mean) + (1.0 - kept) * block
        };
        let (level, near) = (over(self.level, DAY_NS as f64), over(self.near, NEAR_NS));
        (self.level, self.near) = (level as f32, near as f32);
        let growth = level - mean;
        self.above = match self.above {
            _ if growth < GROWTH_MIN || near - mean < GROWTH_NOW => 0,
            0 => at,
            above => above,
        };
        let days = if is_weekend(self.above) { 3 } else { 1 };
        let is_long = self.above > 0 && at.saturating_sub(self.above) >= days * DAY_NS;
        if f64::from(self.sum) <= DECISION || !is_long {
            self.recent.fade((-took_ns / DAY_NS as f64).exp());
            return None;
        }
        let more = 1.0 - (mean - level).exp();
        let time_ns = at.saturating_sub(self.since).max(HOUR_NS);
        let extra_day = self.spent as f64 * more * DAY_NS as f64 / time_ns as f64;
        let extra_day = NanoUsd::from_usd(extra_day / 1e9).0;
        let grown = Grown { usual: self.usual.clone(), recent: self.recent.clone(), since: self.since, extra_day };
        // From here on this is the usual; what blocks differ by stays what it was.
        self.mean = level as f32;
        self.usual = Mix::default();
        self.sum = 0.0;
        self.settle(at);
        (extra_day >= FLOOR_NANO_USD).then_some(grown)
    }

    fn learn(&mut self, block: f64) {
        self.blocks = self.blocks.saturating_add(1);
        let before = block - f64::from(self.mean);
        self.mean = (f64::from(self.mean) + before / f64::from(self.blocks)) as f32;
        self.squares = (f64::from(self.squares) + before * (block - f64::from(self.mean))) as f32;
    }

    /// Nothing rises: what was seen of late is usual.
    fn settle(&mut self, at: u64) {
        self.usual.fade(0.9);
        self.usual.merge(&self.recent);
        self.recent = Mix::default();
        (self.since, self.rising, self.above, self.spent) = (at, 0, 0, 0);
    }
}

/// Saturday or Sunday in UTC. The epoch began on a Thursday.
fn is_weekend(at: u64) -> bool {
    matches!((at / DAY_NS) % 7, 2 | 3)
}

fn tell<'a>(exchange: &'a Exchange, site: CallSite, grown: &Grown) -> Behaviour<'a> {
    let model = exchange.request_model.as_deref().unwrap_or("a model");
    let (before, now) = (grown.usual.weighted_tokens(), grown.recent.weighted_tokens());
    let percent = 100.0 * (now / before.max(1.0) - 1.0);
    let reason = grown.recent.against(&grown.usual, false);
    let extra = NanoUsd(grown.extra_day);
    let mut facts = vec![
        ("cost.weighted_tokens", json!(now.round())),
        ("cost.usual_weighted_tokens", json!(before.round())),
        ("cost.extra_day_nano_usd", json!(extra)),
        ("cost.since_unix", json!(grown.since / 1_000_000_000)),
        ("cost.call_site", json!(site.key())),
    ];
    facts.extend(reason.facts());
    Behaviour {
        rule: "cost.creep",
        references: Vec::new(),
        key: site.key(),
        severity: if grown.extra_day >= MEDIUM_NANO_USD { Severity::Medium } else { Severity::Low },
        confidence: 70,
        title: format!("calls of `{model}` take {percent:.0} % more than they did, {extra} a day: {}", reason.words),
        case: None,
        facts,
        exchange,
    }
}
