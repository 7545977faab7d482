//! Finds spend that runs away from what is usual. Enters: exchanges, in order. Leaves: `cost.rate_shift`, one finding for a service
//! and feature, told when it begins and every ten minutes while it goes on, with what is spent on top of the usual so far and what
//! makes the difference.
//!
//! Spend is summed in buckets of 30 s ([`BUCKET_NS`]). It runs away when three of the last five buckets are more than four standard
//! deviations above the mean (exponentially weighted, half-life one hour), and these five together hold ten calls, a fifth of a
//! day's spend on top of the usual (two cents at least, and ten are enough), and more than twice the most that five buckets had around this hour on days before ([`season`]). Twice: what a
//! rollout or a good day adds is no news. In the first week, and in an hour that was always quiet, the most of any hour counts
//! instead, and a half more; in the first day the most so far, five times; in the first hour nothing is judged. While it goes on
//! the mean learns nothing; it is over after five quiet minutes, and its peak is known for its hour, so that a nightly job is told
//! in its first night alone. After a day it is the new usual.
//!
//! What this does not see, because somebody spends little or because it comes slowly, the looks at hours and days do ([`hours`]).
//!
//! There is no track for each model: a service that turns to a dearer model would have nothing learned for it. The models are
//! named in the reason.
//!
//! State: at most [`TRACKS_MAX`] tracks of 3 KB at most as they are stored, 2 KB of these written once an hour. The one that was used
//! least recently goes first.

use hashbrown::Equivalent;
use serde_json::json;

use self::{
    hours::Rise,
    season::Season,
    track::{Alert, News, Track, Verdict},
};
use super::{
    Behaviour, Detector, Hit, StateChange,
    cost_mix::times,
    table::{Owned, Table},
};
use crate::{
    exchange::Exchange,
    units::{NanoUsd, Severity},
};

mod hours;
mod season;
#[cfg(test)]
mod tests;
mod track;

/// Services, with their features, that are known.
pub const TRACKS_MAX: usize = 10_000;
/// Length of a bucket.
const BUCKET_NS: u64 = 30 * 1_000_000_000;
/// Buckets of an hour.
const HOUR_BUCKETS: u64 = 120;
/// Longer names are not tracked.
const NAME_BYTES_MAX: usize = 256;
/// Spend an hour, on top of the usual, that is grave.
const HIGH_NANO_USD: u64 = 20_000_000_000;
/// So many times the usual is grave.
const HIGH_TIMES: f64 = 10.0;
const NAME: &str = "rate_shift";
/// The same detector, what it keeps of hours.
const SEASON_MARK: &str = "season ";

type Key = (String, Option<String>);

/// The same, borrowed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct KeyRef<'a>(&'a str, Option<&'a str>);

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, (service, feature): &Key) -> bool {
        self.0 == service && self.1 == feature.as_deref()
    }
}

impl Owned<Key> for KeyRef<'_> {
    fn own(&self) -> Key {
        (self.0.to_owned(), self.1.map(str::to_owned))
    }
}

/// The detector.
#[derive(Debug)]
pub struct RateShift {
    tracks: Table<Key, Track>,
    /// Of the same keys, used together with the tracks, so that the same ones go.
    seasons: Table<Key, Season>,
}

impl RateShift {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self { tracks: Table::new(TRACKS_MAX), seasons: Table::new(TRACKS_MAX) }
    }
}

impl Default for RateShift {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for RateShift {
    fn name(&self) -> &'static str {
        NAME
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let feature = exchange.feature.as_deref();
        let is_long = |name: &str| name.len() > NAME_BYTES_MAX;
        let has_cost = exchange.cost.as_ref().is_some_and(|cost| cost.nano_usd.0 > 0);
        if !has_cost || is_long(&exchange.origin.service) || feature.is_some_and(is_long) {
            return;
        }
        let key = KeyRef(&exchange.origin.service, feature);
        let bucket = exchange.ended_at.0 / BUCKET_NS;
        let Some(track) = self.tracks.enter(&key, || Track::new(bucket)) else { return };
        let Some(season) = self.seasons.enter(&key, Season::default) else { return };
        let has_closed_an_hour = track.advance(bucket, season);
        let news = track.add(exchange, season);
        self.tracks.mark(key.own());
        if has_closed_an_hour || matches!(news, Some(News::Rose(_))) {
            self.seasons.mark(key.own());
        }
        match news {
            Some(News::Runs(verdict)) => emit(Hit::Behaviour(tell(exchange, &verdict))),
            Some(News::Rose(rise)) => emit(Hit::Behaviour(tell_rise(exchange, &rise))),
            None => {}
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        self.tracks.changes(|key, track| emit(StateChange::new(NAME, text(key), track)));
        self.seasons.changes(|key, season| emit(StateChange::new(NAME, format!("{SEASON_MARK}{}", text(key)), season)));
    }

    fn restore(&mut self, key: &str, value: &str) {
        let is_season = key.starts_with(SEASON_MARK);
        let name = key.strip_prefix(SEASON_MARK).unwrap_or(key);
        let Ok(key) = serde_json::from_str::<Key>(name) else { return };
        if is_season {
            self.seasons.restore(key, Season::read(value).unwrap_or_default());
        } else if let Some(track) = serde_json::from_str::<Track>(value).ok().filter(Track::is_sound) {
            self.tracks.restore(key, track);
        }
    }
}

fn text(key: &Key) -> String {
    // Two texts in a list are always JSON.
    serde_json::to_string(key).unwrap_or_default()
}

fn tell_rise<'a>(exchange: &'a Exchange, rise: &Rise) -> Behaviour<'a> {
    let Rise { hours, now, usual, reason, is_cold } = rise;
    let feature = exchange.feature.as_deref();
    let factor = *now as f64 / (*usual).max(1) as f64;
    let is_grave = factor >= HIGH_TIMES || now.saturating_sub(*usual) / (*hours).max(1) >= HIGH_NANO_USD;
    let (spent, most) = (NanoUsd(*now), NanoUsd(*usual));
    let stretch = match hours {
        1 => "an hour".to_owned(),
        24 => "a day".to_owned(),
        48 => "two days".to_owned(),
        hours => format!("{hours} hours"),
    };
    let mut facts = vec![
        ("cost.look_hours", json!(hours)),
        ("cost.spent_nano_usd", json!(spent)),
        ("cost.usual_nano_usd", json!(most)),
        ("cost.excess_nano_usd", json!(now.saturating_sub(*usual))),
        ("cost.feature", json!(feature)),
    ];
    if *is_cold {
        facts.push(("cost.learning", json!("learning (less than a week)")));
    }
    facts.extend(reason.facts());
    Behaviour {
        key: feature.unwrap_or_default().to_owned(),
        severity: if is_grave { Severity::High } else { Severity::Medium },
        confidence: if *is_cold { 60 } else { 75 },
        title: format!(
            "{} spent {spent} in {stretch}, {} times the most of the days before, {most}: {}",
            whose(exchange),
            times(factor),
            reason.words
        ),
        facts,
        ..frame(exchange)
    }
}

fn whose(exchange: &Exchange) -> String {
    let service = &exchange.origin.service;
    exchange.feature.as_deref().map_or_else(|| service.clone(), |feature| format!("{service}, feature `{feature}`,"))
}

fn tell<'a>(exchange: &'a Exchange, verdict: &Verdict) -> Behaviour<'a> {
    let Verdict { alert, usual_hour, now_hour, reason, learned_hours } = verdict;
    let Alert { since, excess, .. } = alert;
    let feature = exchange.feature.as_deref();
    let factor = *now_hour as f64 / (*usual_hour).max(1) as f64;
    let is_grave = factor >= HIGH_TIMES || now_hour.saturating_sub(*usual_hour) >= HIGH_NANO_USD;
    let whose = whose(exchange);
    let (usual, now) = (NanoUsd(*usual_hour), NanoUsd(*now_hour));
    let mut facts = vec![
        ("cost.hour_nano_usd", json!(now)),
        ("cost.usual_hour_nano_usd", json!(usual)),
        ("cost.excess_nano_usd", json!(excess)),
        ("cost.since_unix", json!(since * (BUCKET_NS / 1_000_000_000))),
        ("cost.feature", json!(feature)),
    ];
    let is_learning = *learned_hours < 24;
    if is_learning {
        facts.push(("cost.learning", json!(format!("learning ({learned_hours} h/24 h)"))));
    }
    facts.extend(reason.facts());
    Behaviour {
        key: feature.unwrap_or_default().to_owned(),
        severity: if is_grave { Severity::High } else { Severity::Medium },
        confidence: if is_learning { 60 } else { 80 },
        title: format!("{whose} spends {now} an hour, {} times the usual {usual}: {}", times(factor), reason.words),
        facts,
        ..frame(exchange)
    }
}

/// What is the same for both.
fn frame(exchange: &Exchange) -> Behaviour<'_> {
    Behaviour {
        rule: "cost.rate_shift",
        references: Vec::new(),
        key: String::new(),
        severity: Severity::Medium,
        confidence: 80,
        title: String::new(),
        case: None,
        facts: Vec::new(),
        exchange,
    }
}
