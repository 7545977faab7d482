//! Spend of one service and feature over time. Enters: calls and the buckets they fall in. Leaves: a [`Verdict`] when it runs away.
//! Pure. Statistics are small floats, so that what is stored is what is known; sums that are told are integers.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    HOUR_BUCKETS,
    hours::{Hour, Rise},
    season::Season,
};
use crate::{
    detectors::cost_mix::{Mix, Reason},
    exchange::Exchange,
};

/// Buckets that are looked at together, the running one included.
const LOOK: usize = 5;
/// Of these, above the bound.
const OVER_MIN: usize = 3;
/// Calls in these.
const CALLS_MIN: u32 = 10;
/// Spend in these on top of the usual, nano-USD: a fifth of what a day takes, but no less than two cents in two and a half
/// minutes, and ten are always enough.
const EXCESS_MIN: (u64, u64) = (20_000_000, 100_000_000);
const EXCESS_OF_DAY: f64 = 0.2;
/// Standard deviations.
const SIGMAS: f64 = 4.0;
/// Of the mean; below it a standard deviation is luck.
const SIGMA_MIN: f64 = 0.1;
/// How many times the peak of the season is news, and the highest peak of a track that no day has been seen of.
const SEASON_TIMES: u64 = 2;
const COLD_TIMES: u64 = 5;
/// Calls before a track is judged at all.
const COLD_CALLS: u32 = 100;
/// Quiet buckets that end an alert.
const QUIET: u32 = 10;
/// Buckets between two times that it is told.
const TELL_EVERY: u64 = 20;
/// What a half-life of an hour keeps in a bucket: 0.5^(1/120).
const KEEP: f64 = 0.994_240_423_6;
/// The same for what goes on now: half in two buckets.
const KEEP_RECENT: f64 = std::f64::consts::FRAC_1_SQRT_2;
/// A clock that was set back by more buckets than this had been wrong before.
const BACK_MAX: u64 = HOUR_BUCKETS;

/// The state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Track {
    /// The first bucket that was seen, and the running one.
    first: u64,
    bucket: u64,
    /// Spend and calls of the running bucket, and of the closed ones before it with whether they were above the bound.
    running: (u64, u32),
    /// Calls that were seen at all.
    calls: u32,
    closed: VecDeque<(u64, u32, bool)>,
    /// Mean and mean square of the spend in a bucket.
    mean: f32,
    square: f32,
    /// Sum over the most recent buckets: the highest of the running hour, and of all before it in which nothing ran away.
    hour_peak: u64,
    highest: u64,
    /// The last hour in which it ran away.
    alert_hour: u64,
    usual: Mix,
    recent: Mix,
    alert: Option<Alert>,
    /// What the closed buckets of the running hour have, and what all its calls are made of.
    #[serde(default)]
    held: Hour,
    #[serde(default)]
    held_mix: Mix,
}

/// It runs away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Alert {
    /// First bucket of it.
    pub(super) since: u64,
    /// Nano-USD that were spent on top of the usual.
    pub(super) excess: u64,
    told: u64,
    quiet: u32,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    /// It runs away.
    Runs(Verdict),
    /// It is slower than that.
    Rose(Rise),
}

/// Spend that runs away.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) alert: Alert,
    /// Nano-USD an hour.
    pub(super) usual_hour: u64,
    pub(super) now_hour: u64,
    pub(super) reason: Reason,
    /// For so many hours it was looked at.
    pub(super) learned_hours: u64,
}

impl Track {
    pub(super) fn new(bucket: u64) -> Self {
        Self {
            first: bucket,
            bucket,
            running: (0, 0),
            calls: 0,
            closed: VecDeque::new(),
            mean: 0.0,
            square: 0.0,
            hour_peak: 0,
            highest: 0,
            alert_hour: 0,
            usual: Mix::default(),
            recent: Mix::default(),
            alert: None,
            held: Hour::default(),
            held_mix: Mix::default(),
        }
    }

    /// What was written by another version, or by hand, must not do harm.
    pub(super) fn is_sound(&self) -> bool {
        let is_mean = |mean: f32| mean.is_finite() && mean >= 0.0;
        self.closed.len() < LOOK
            && self.first <= self.bucket
            && is_mean(self.mean)
            && is_mean(self.square)
            && self.usual.is_sound()
            && self.recent.is_sound()
            && self.held.is_sound()
            && self.held_mix.is_sound()
    }

    /// Goes on to a bucket; true when an hour was closed.
    pub(super) fn advance(&mut self, bucket: u64, season: &mut Season) -> bool {
        if self.bucket.saturating_sub(bucket) > BACK_MAX {
            *self = Self::new(bucket);
        }
        if bucket <= self.bucket {
            // A call that ended a little earlier than the one before counts with it.
            return false;
        }
        let hour = self.bucket / HOUR_BUCKETS;
        self.close();
        let empty = bucket - self.bucket - 1;
        self.rest(empty);
        self.bucket = bucket;
        if bucket / HOUR_BUCKETS == hour {
            return false;
        }
        // Also of an hour in which it ran away: what was told and ended is known, so that a nightly job is told once.
        season.close(hour, self.hour_peak);
        let (held, mix) = (std::mem::take(&mut self.held), std::mem::take(&mut self.held_mix));
        season.hours.close(hour, bucket / HOUR_BUCKETS, held, &mix);
        if self.alert.is_none() && self.alert_hour != hour {
            // It fades in three weeks.
            self.highest = self.hour_peak.max(self.highest - self.highest / 512);
        }
        self.hour_peak = 0;
        if let Some(alert) = &self.alert
            && bucket.saturating_sub(alert.since) > 24 * HOUR_BUCKETS
        {
            // It is the usual one now.
            let now = self.sum().0;
            season.raise(now);
            self.highest = self.highest.max(now);
            (self.mean, self.usual, self.alert) = ((now / LOOK as u64) as f32, self.recent.clone(), None);
            self.square = self.mean * self.mean;
        }
        true
    }

    /// Takes in a call of the running bucket.
    pub(super) fn add(&mut self, exchange: &Exchange, season: &mut Season) -> Option<News> {
        let nano_usd = exchange.cost.as_ref().map_or(0, |cost| cost.nano_usd.0);
        self.running = (self.running.0.saturating_add(nano_usd), self.running.1.saturating_add(1));
        self.recent.add(exchange);
        self.held_mix.add(exchange);
        let (sum, calls) = self.sum();
        // The bound is taken before: what is judged is no part of it.
        let bound = self.bound(season);
        self.hour_peak = self.hour_peak.max(sum);
        if self.alert.is_some() {
            self.alert_hour = self.bucket / HOUR_BUCKETS;
            return self.go_on().map(News::Runs);
        }
        self.usual.add(exchange);
        self.calls = self.calls.saturating_add(1);
        let over = self.closed.iter().filter(|(.., over)| *over).count() + usize::from(self.is_over(self.running.0));
        let excess = sum.saturating_sub(to_nano(LOOK as f64 * f64::from(self.mean)));
        let is_news = bound.is_some_and(|bound| sum > bound) && calls >= CALLS_MIN && excess >= floor(season);
        if is_news && over >= OVER_MIN {
            let usual = to_nano(f64::from(self.mean));
            let excess = self.closed.iter().map(|(nano, ..)| nano.saturating_sub(usual)).fold(0, u64::saturating_add);
            let since = self.bucket.saturating_sub(self.closed.len() as u64);
            self.alert = Some(Alert { since, excess, told: self.bucket, quiet: 0 });
            self.alert_hour = self.bucket / HOUR_BUCKETS;
            return self.verdict().map(News::Runs);
        }
        let hour = self.bucket / HOUR_BUCKETS;
        // What ran away in the last day was told.
        if self.alert_hour > 0 && hour < self.alert_hour.saturating_add(24) {
            return None;
        }
        season.hours.look(hour, self.held.with(self.running), &self.held_mix).map(News::Rose)
    }

    /// The peak that is no news; `None` before anything is known.
    fn bound(&self, season: &Season) -> Option<u64> {
        let (hour, day, age) = (self.bucket / HOUR_BUCKETS, 24 * HOUR_BUCKETS, self.bucket - self.first);
        if age < HOUR_BUCKETS || self.calls < COLD_CALLS {
            return None;
        }
        if age < day {
            return Some(self.highest.saturating_mul(COLD_TIMES)).filter(|bound| *bound > 0);
        }
        let (peak, highest) = (season.peak(hour), self.highest);
        let twice = peak.saturating_mul(SEASON_TIMES);
        // An hour is known after a week, and one that was always quiet never is: then it is all hours that count. Somebody who
        // works late is no news: a quarter of the highest.
        let floor = if age < 7 * day || peak == 0 { highest.saturating_add(highest / 2) } else { highest / 4 };
        Some(twice.max(floor))
    }

    fn go_on(&mut self) -> Option<Verdict> {
        let (bucket, is_over) = (self.bucket, self.is_over(self.running.0));
        let alert = self.alert.as_mut()?;
        if !is_over || bucket < alert.told.saturating_add(TELL_EVERY) {
            return None;
        }
        alert.told = bucket;
        self.verdict()
    }

    fn verdict(&self) -> Option<Verdict> {
        let mut recent = self.recent.clone();
        // The running bucket is a span of which not all is over.
        recent.spans(1.0);
        let mut alert = self.alert.clone()?;
        let running = self.running.0.saturating_sub(to_nano(f64::from(self.mean)));
        alert.excess = alert.excess.saturating_add(running);
        Some(Verdict {
            alert,
            usual_hour: to_nano(f64::from(self.mean) * HOUR_BUCKETS as f64),
            now_hour: self.sum().0.saturating_mul(HOUR_BUCKETS) / LOOK as u64,
            reason: recent.against(&self.usual, true),
            learned_hours: (self.bucket - self.first) / HOUR_BUCKETS,
        })
    }

    /// Spend and calls of the buckets that are looked at together.
    fn sum(&self) -> (u64, u32) {
        self.closed
            .iter()
            .fold(self.running, |(nano, calls), closed| (nano.saturating_add(closed.0), calls.saturating_add(closed.1)))
    }

    fn is_over(&self, nano_usd: u64) -> bool {
        let mean = f64::from(self.mean);
        let variance = (f64::from(self.square) - mean * mean).max(0.0);
        let sigma = variance.sqrt().max(SIGMA_MIN * mean);
        nano_usd as f64 > mean + SIGMAS * sigma
    }

    /// The running bucket is over.
    fn close(&mut self) {
        let (nano_usd, calls) = std::mem::take(&mut self.running);
        let over = self.is_over(nano_usd);
        self.held = self.held.with((nano_usd, calls));
        self.closed.push_back((nano_usd, calls, over));
        while self.closed.len() >= LOOK {
            self.closed.pop_front();
        }
        self.recent.spans(1.0);
        self.recent.fade(KEEP_RECENT);
        let usual = to_nano(f64::from(self.mean));
        if let Some(alert) = &mut self.alert {
            alert.excess = alert.excess.saturating_add(nano_usd.saturating_sub(usual));
            alert.quiet = if over { 0 } else { alert.quiet.saturating_add(1) };
            if alert.quiet >= QUIET {
                self.alert = None;
            }
            return;
        }
        self.learn(nano_usd as f64);
        self.usual.spans(1.0);
        self.usual.fade(KEEP);
    }

    fn learn(&mut self, nano_usd: f64) {
        let part = 1.0 - KEEP;
        self.mean = (KEEP * f64::from(self.mean) + part * nano_usd) as f32;
        self.square = (KEEP * f64::from(self.square) + part * nano_usd * nano_usd) as f32;
    }

    /// So many buckets had no call.
    fn rest(&mut self, buckets: u64) {
        if buckets == 0 {
            return;
        }
        for _ in 0..buckets.min(LOOK as u64) {
            self.closed.push_back((0, 0, false));
            while self.closed.len() >= LOOK {
                self.closed.pop_front();
            }
        }
        let count = i32::try_from(buckets).unwrap_or(i32::MAX);
        let faded = KEEP_RECENT.powi(count);
        self.recent.fade(faded);
        self.recent.spans((1.0 / (1.0 - KEEP_RECENT) * (1.0 - faded)) as f32);
        if let Some(alert) = &mut self.alert {
            alert.quiet = alert.quiet.saturating_add(u32::try_from(buckets).unwrap_or(u32::MAX));
            if alert.quiet >= QUIET {
                self.alert = None;
            }
            return;
        }
        let faded = KEEP.powi(count);
        self.mean = (f64::from(self.mean) * faded) as f32;
        self.square = (f64::from(self.square) * faded) as f32;
        self.usual.fade(faded);
        self.usual.spans((1.0 / (1.0 - KEEP) * (1.0 - faded)) as f32);
    }
}

/// Less than this is no news.
fn floor(season: &mut Season) -> u64 {
    let (least, enough) = EXCESS_MIN;
    season.hours.day_max().map_or(enough, |day| to_nano(EXCESS_OF_DAY * day).clamp(least, enough))
}

#[expect(clippy::cast_sign_loss, reason = "sums of amounts are not negative")]
fn to_nano(amount: f64) -> u64 {
    amount.max(0.0) as u64
}
