//! Finds single calls that cost far more than a call of their call site usually does. Enters: exchanges, in order. Leaves:
//! `cost.request_outlier`, one finding for a call site, counted.
//!
//! A call is one when its robust z, 0.6745 × (x − median) / MAD on the logarithm of the cost, is above [`Z_MIN`], it costs more than
//! [`TIMES_MIN`] times the median and more than [`FLOOR_NANO_USD`], and fewer than one in 200 calls cost half as much: a
//! site that has two kinds of calls has no outliers of the dear kind. Nothing is told of a site before [`CALLS_MIN`] calls.
//!
//! State: at most [`SITES_MAX`] sites, each a histogram of at most [`CLASSES_MAX`] classes of cost over about [`CALLS_MAX`] calls,
//! and what its calls are made of: 0.8 KB at most as it is stored. The site that called least recently goes first.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Behaviour, Detector, Hit, StateChange,
    call_site::CallSite,
    cost_mix::{Mix, times},
    table::Table,
};
use crate::{
    exchange::Exchange,
    units::{NanoUsd, Severity},
};

/// Sites that are known.
pub const SITES_MAX: usize = 10_000;
/// Calls before anything is told of a site.
const CALLS_MIN: u32 = 50;
/// Calls after which all counts are halved, so that a site can change.
const CALLS_MAX: u32 = 500;
/// Classes of cost that a site can have.
const CLASSES_MAX: usize = 48;
/// Classes of an octave: one is 9 to 12 % wide.
const CLASSES_PER_OCTAVE: u32 = 8;
const Z_MIN: f64 = 6.0;
const TIMES_MIN: u64 = 5;
/// One cent: below it nobody looks.
const FLOOR_NANO_USD: u64 = 10_000_000;
/// A dollar, and ten: from there on it is graver.
const MEDIUM_NANO_USD: u64 = 1_000_000_000;
const HIGH_NANO_USD: u64 = 10_000_000_000;
const NAME: &str = "request_outlier";

/// The detector.
#[derive(Debug)]
pub struct RequestOutlier {
    sites: Table<CallSite, Site>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Site {
    /// Class of cost and calls, by class.
    classes: Vec<(u16, u16)>,
    mix: Mix,
}

impl RequestOutlier {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self { sites: Table::new(SITES_MAX) }
    }
}

impl Default for RequestOutlier {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for RequestOutlier {
    fn name(&self) -> &'static str {
        NAME
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let Some(nano_usd) = exchange.cost.as_ref().map(|cost| cost.nano_usd.0).filter(|nano| *nano > 0) else {
            return;
        };
        let key = CallSite::of(exchange);
        let Some(site) = self.sites.enter(&key, Site::default) else { return };
        if let Some(median) = site.judge(nano_usd) {
            emit(Hit::Behaviour(tell(exchange, key, nano_usd, median, &site.mix)));
        }
        site.learn(exchange, nano_usd);
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

impl Site {
    fn is_sound(&self) -> bool {
        self.classes.len() <= CLASSES_MAX && self.classes.is_sorted_by(|a, b| a.0 < b.0) && self.mix.is_sound()
    }

    fn calls(&self) -> u32 {
        self.classes.iter().map(|(_, calls)| u32::from(*calls)).sum()
    }

    /// The median cost, when a call of this cost is an outlier.
    fn judge(&self, nano_usd: u64) -> Option<u64> {
        let calls = self.calls();
        if calls < CALLS_MIN || nano_usd < FLOOR_NANO_USD {
            return None;
        }
        let median = middle(self.classes.iter().map(|(class, calls)| (*class, *calls)), calls)?;
        let usual = lower_bound(median);
        if nano_usd <= usual.saturating_mul(TIMES_MIN) {
            return None;
        }
        let class = class_of(nano_usd);
        let half = class.saturating_sub(CLASSES_PER_OCTAVE as u16);
        let dear: u32 =
            self.classes.iter().filter(|(class, _)| *class >= half).map(|(_, calls)| u32::from(*calls)).sum();
        if dear.saturating_mul(200) >= calls {
            return None;
        }
        let mut away: Vec<(u16, u16)> =
            self.classes.iter().map(|(class, calls)| (class.abs_diff(median), *calls)).collect();
        away.sort_unstable();
        // Where more than half of the calls cost the same: 5 % of the median, which is half a class.
        let spread = middle(away.into_iter(), calls).map_or(0.5, |mad| f64::from(mad).max(0.5));
        let z = 0.6745 * f64::from(class.saturating_sub(median)) / spread;
        (z > Z_MIN).then_some(usual)
    }

    fn learn(&mut self, exchange: &Exchange, nano_usd: u64) {
        let class = class_of(nano_usd);
        match self.classes.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(index) => {
                if let Some((_, calls)) = self.classes.get_mut(index) {
                    *calls = calls.saturating_add(1);
                }
            }
            Err(index) => self.classes.insert(index, (class, 1)),
        }
        self.mix.add(exchange);
        if self.calls() >= CALLS_MAX {
            // A class of one call goes: what happened once in 500 calls would still be news.
            self.classes.retain_mut(|(_, calls)| {
                *calls /= 2;
                *calls > 0
            });
            self.mix.fade(0.5);
        }
        while self.classes.len() > CLASSES_MAX {
            // The rarest goes to its neighbour, the cheaper one.
            let rarest =
                (1..self.classes.len()).min_by_key(|index| self.classes.get(*index).map_or(0, |(_, calls)| *calls));
            let Some(index) = rarest else { return };
            let (_, calls) = self.classes.remove(index);
            if let Some((_, kept)) = self.classes.get_mut(index - 1) {
                *kept = kept.saturating_add(calls);
            }
        }
    }
}

/// The class in the middle of so many calls.
fn middle(classes: impl Iterator<Item = (u16, u16)>, calls: u32) -> Option<u16> {
    let mut seen = 0;
    for (class, count) in classes {
        seen += u32::from(count);
        if seen * 2 >= calls {
            return Some(class);
        }
    }
    None
}

/// Octave and eighth of it: exact in integers, and so the same in every run.
fn class_of(nano_usd: u64) -> u16 {
    let nano_usd = nano_usd.max(1);
    let octave = nano_usd.ilog2();
    let eighth = (nano_usd << (63 - octave)) >> 60 & 7;
    (octave * CLASSES_PER_OCTAVE) as u16 + eighth as u16
}

/// The least cost of a class.
fn lower_bound(class: u16) -> u64 {
    let (octave, eighth) = (u32::from(class) / CLASSES_PER_OCTAVE, u64::from(class % 8));
    let octave = octave.min(63);
    ((8 + eighth) << 60) >> (63 - octave)
}

fn tell<'a>(exchange: &'a Exchange, site: CallSite, nano_usd: u64, median: u64, usual: &Mix) -> Behaviour<'a> {
    let model = exchange.request_model.as_deref().unwrap_or("a model");
    let (cost, median_cost) = (NanoUsd(nano_usd), NanoUsd(median));
    let factor = nano_usd as f64 / median.max(1) as f64;
    let reason = Mix::of(exchange).against(usual, false);
    let mut facts = vec![
        ("cost.request_nano_usd", json!(cost)),
        ("cost.median_nano_usd", json!(median_cost)),
        ("cost.call_site", json!(site.key())),
    ];
    facts.extend(reason.facts());
    Behaviour {
        rule: "cost.request_outlier",
        references: Vec::new(),
        key: site.key(),
        severity: match nano_usd {
            0..MEDIUM_NANO_USD => Severity::Low,
            MEDIUM_NANO_USD..HIGH_NANO_USD => Severity::Medium,
            HIGH_NANO_USD.. => Severity::High,
        },
        confidence: 80,
        title: format!(
            "a call of `{model}` cost {cost}, {} times the usual {median_cost}: {}",
            times(factor),
            reason.words
        ),
        case: None,
        facts,
        exchange,
    }
}

#[cfg(test)]
mod tests;
