//! The slower looks at spend: the last hour, four hours, a day, and two days against the week before. Enters: calls, and hours that
//! are over. Leaves: a [`Rise`]. For who spends little: what is a cent in two minutes may be a hundred times the usual, and only
//! hours can tell.
//!
//! Hours are compared with the same hours of the seven days before, an hour earlier and later too, and the most of these counts: so a
//! nightly job, a Sunday's job and Mondays are known. Before a week was seen, all stretches of that length count, whatever the
//! hour, and half as much again. Two things are news: several times that spend ([`LOOKS`]), or calls that each cost more than in any
//! of those stretches while spend is not below theirs. The least that is news is half of the highest of any stretch, twenty cents,
//! and more than chance: [`SIGMAS`] standard deviations, where the variance of a sum of calls that come at random is the sum of the
//! squares of what half a minute costs (compound Poisson). A rise over days is told against the highest day between one and four
//! weeks ago. What was told is usual a day later, by itself.
//!
//! State: 436 bytes of logarithms and two [`Mix`]es; written once an hour. Bars are made once an hour and not kept.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::detectors::cost_mix::{Mix, Reason};

/// Hours that are remembered: a week, and the longest look before it.
const RING: usize = 192;
const WEEK: u64 = 168;
const DAY: u64 = 24;
/// Days that are remembered.
const DAYS: usize = 28;
/// Looks: hours, how many times the most of the days before is news, and how many times the cost of a call.
const LOOKS: [Look; 3] = [
    Look { hours: 1, times: 3.0, unit_times: 2.0 },
    Look { hours: 4, times: 2.0, unit_times: 1.5 },
    Look { hours: 24, times: 1.6, unit_times: 1.4 },
];
/// Two days against the highest one a week and more before.
const DAYS_TIMES: f64 = 2.0;
/// How much more it takes while no week was seen.
const COLD: f64 = 1.5;
/// Part of the highest stretch of any hour that is no news, and of one that is always quiet.
const ANY: f64 = 0.5;
const ANY_IF_QUIET: f64 = 1.5;
/// Least excess, nano-USD: twenty cents.
const FLOOR: f64 = 200_000_000.0;
/// Standard deviations of chance.
const SIGMAS: f64 = 4.0;
/// Calls of a stretch without which it says nothing; of a stretch whose cost of a call is compared.
const CALLS_MIN: f64 = 10.0;
const UNIT_CALLS_MIN: f64 = 20.0;
/// An hour with so many times the usual is not learned as usual.
const ODD: f64 = 1.3;
/// What an hour keeps of the mixes: half-lives of two days, and of two hours.
const KEEP_USUAL: f64 = 0.985_663_198_7;
const KEEP_LATELY: f64 = std::f64::consts::FRAC_1_SQRT_2;

struct Look {
    hours: u64,
    times: f64,
    unit_times: f64,
}

/// What one hour has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Hour {
    pub(super) nano_usd: f64,
    /// Sum of the squares of its buckets.
    pub(super) squares: f64,
    pub(super) calls: f64,
}

impl Hour {
    /// With one bucket more: its spend and calls.
    pub(super) fn with(self, (nano_usd, calls): (u64, u32)) -> Self {
        let bucket = nano_usd as f64;
        Self {
            nano_usd: self.nano_usd + bucket,
            squares: self.squares + bucket * bucket,
            calls: self.calls + f64::from(calls),
        }
    }

    /// What was written by another version, or by hand, must not do harm.
    pub(super) fn is_sound(&self) -> bool {
        [self.nano_usd, self.squares, self.calls].into_iter().all(|sum| sum.is_finite() && sum >= 0.0)
    }
}

/// Spend rose.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rise {
    /// Length of the stretch that was looked at.
    pub(super) hours: u64,
    /// What was spent in it, and the most that was spent in such a stretch before.
    pub(super) now: u64,
    pub(super) usual: u64,
    pub(super) reason: Reason,
    pub(super) is_cold: bool,
}

/// Hours, days and what calls are made of.
#[derive(Clone, Debug)]
pub(super) struct Hours {
    /// The first hour since the epoch that was seen, and the running one; 0: none yet.
    first: u64,
    hour: u64,
    sums: [u8; RING],
    calls: [u8; RING],
    /// Roots of the sums of squares, of the last day.
    noise: [u8; DAY as usize],
    days: [u8; DAYS],
    usual: Mix,
    lately: Mix,
    /// When it was told, and how many times the usual it was.
    told: (u64, f32),
    told_days: u64,
    bars: Option<Box<Bars>>,
}

/// What one running hour is compared with.
#[derive(Clone, Debug, PartialEq)]
struct Bars {
    of: [Bar; LOOKS.len()],
    days: Option<(f64, f64)>,
    /// The most of a day.
    day_max: f64,
    is_cold: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bar {
    /// What the closed hours of the stretch have.
    base: Hour,
    /// The most of such stretches; the least that is news; the dearest mean call.
    usual: f64,
    least: f64,
    unit: f64,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    at: [u64; 2],
    hours: String,
    usual: Mix,
    lately: Mix,
    told: (u64, f32, u64),
}

impl Default for Hours {
    fn default() -> Self {
        Self {
            first: 0,
            hour: 0,
            sums: [0; RING],
            calls: [0; RING],
            noise: [0; DAY as usize],
            days: [0; DAYS],
            usual: Mix::default(),
            lately: Mix::default(),
            told: (0, 0.0),
            told_days: 0,
            bars: None,
        }
    }
}

impl PartialEq for Hours {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Hours {
    /// The running hour is over, and those up to `hour` had no call.
    pub(super) fn close(&mut self, over: u64, hour: u64, held: Hour, mix: &Mix) {
        if self.first == 0 || over < self.hour || hour <= over {
            // The first hour, or a clock that was set back.
            *self = Self { first: over.max(1), hour: over, ..Self::default() };
        }
        let is_odd = self.bars.as_ref().is_some_and(|bars| {
            let usual = bars.of.first().map_or(0.0, |bar| bar.usual);
            usual > 0.0 && held.nano_usd > ODD * usual
        });
        self.bars = None;
        for gone in self.hour.max(over.saturating_sub(RING as u64))..hour.min(over.saturating_add(RING as u64)) {
            let held = if gone == over { held } else { Hour::default() };
            put(&mut self.sums, gone, held.nano_usd);
            put(&mut self.calls, gone, held.calls * 1024.0);
            put(&mut self.noise, gone, held.squares.sqrt());
        }
        let (day, next) = (over / DAY, hour / DAY);
        for gone in day..next.min(day.saturating_add(DAYS as u64)) {
            let sum = (gone * DAY..(gone + 1) * DAY).map(|hour| if hour <= over { self.sum(hour) } else { 0.0 }).sum();
            put(&mut self.days, gone, sum);
        }
        self.lately.fade(KEEP_LATELY);
        self.lately.merge(mix);
        let passed = i32::try_from(hour - over).unwrap_or(i32::MAX);
        self.lately.fade(KEEP_LATELY.powi(passed - 1));
        // What was told is compared with what was before it, on the day after too.
        let is_told = self.told.0 > 0 && over < self.told.0.saturating_add(2 * DAY);
        if !is_odd && !is_told {
            self.usual.fade(KEEP_USUAL);
            self.usual.merge(mix);
        }
        self.hour = hour;
    }

    /// The most that a day took of late; `None` before a day was seen.
    pub(super) fn day_max(&mut self) -> Option<f64> {
        let is_known = self.first > 0 && self.hour.saturating_sub(self.first) >= DAY;
        is_known.then(|| self.bars().day_max)
    }

    /// Looks at the running hour.
    pub(super) fn look(&mut self, hour: u64, held: Hour, mix: &Mix) -> Option<Rise> {
        if self.first == 0 || hour != self.hour || self.hour.saturating_sub(self.first) < DAY {
            return None;
        }
        let bars = self.bars();
        let (is_cold, days) = (bars.is_cold, bars.days);
        let found = LOOKS.iter().zip(&bars.of).find_map(|(look, bar)| bar.judge(look, held, is_cold));
        if let Some((hours, now, usual)) = found {
            let times = now / usual.max(1.0);
            let (before, told_times) = self.told;
            let is_known = self.hour < before.saturating_add(DAY) && times < 2.0 * f64::from(told_times);
            if is_known {
                return None;
            }
            self.told = (self.hour, times as f32);
            return Some(self.rise(hours, now, usual, mix));
        }
        let (recent, before) = days?;
        let noise: f64 = root_of_squares(&self.noise);
        let is_news = recent > DAYS_TIMES * before && recent - before > FLOOR && recent - before > SIGMAS * noise;
        let last = self.told_days.max(self.told.0);
        if !is_news || self.hour < last.saturating_add(WEEK) {
            return None;
        }
        self.told_days = self.hour;
        Some(self.rise(2 * DAY, 2.0 * recent, 2.0 * before, mix))
    }

    fn rise(&self, hours: u64, now: f64, usual: f64, mix: &Mix) -> Rise {
        let mut lately = if hours == 1 { Mix::default() } else { self.lately.clone() };
        lately.merge(mix);
        let reason = lately.of_whole(&self.usual, now / usual.max(1.0));
        Rise {
            hours,
            now: nano(now),
            usual: nano(usual),
            reason,
            is_cold: self.bars.as_ref().is_some_and(|it| it.is_cold),
        }
    }

    fn sum(&self, hour: u64) -> f64 {
        get(&self.sums, hour)
    }

    fn bars(&mut self) -> &Bars {
        if self.bars.is_none() {
            self.bars = Some(Box::new(self.make()));
        }
        self.bars.get_or_insert_default()
    }

    fn make(&self) -> Bars {
        let age = self.hour.saturating_sub(self.first);
        let oldest = self.first.max(self.hour.saturating_sub(RING as u64 - 1));
        let mut prefix = vec![(0.0, 0.0)];
        for hour in oldest..self.hour {
            let (sum, calls) = prefix.last().copied().unwrap_or_default();
            prefix.push((sum + get(&self.sums, hour), calls + get(&self.calls, hour) / 1024.0));
        }
        let before = |hour: u64| {
            let at = usize::try_from(hour.saturating_sub(oldest)).unwrap_or(usize::MAX);
            prefix.get(at).copied().unwrap_or_default()
        };
        // Spend and calls up to and with the hour `end`.
        let stretch = |end: u64, hours: u64| {
            let (to, from) = (before(end + 1), before((end + 1).saturating_sub(hours)));
            (to.0 - from.0, to.1 - from.1)
        };
        let mut of = [Bar::default(); LOOKS.len()];
        let is_young = age < WEEK + DAY;
        for (look, bar) in LOOKS.iter().zip(&mut of) {
            let (base, calls) = stretch(self.hour - 1, look.hours - 1);
            let squares = (1..look.hours).map(|back| get(&self.noise, self.hour - back).powi(2)).sum();
            bar.base = Hour { nano_usd: base, squares, calls };
            let mut any = 0.0_f64;
            let mut unit_any = 0.0_f64;
            // A stretch that touches the one that is looked at is no comparison.
            let last = self.hour.saturating_sub(look.hours);
            for end in oldest.saturating_add(look.hours - 1)..=last {
                let (sum, calls) = stretch(end, look.hours);
                any = any.max(sum);
                if calls >= CALLS_MIN {
                    unit_any = unit_any.max(sum / calls);
                }
            }
            let (mut same, mut unit) = (0.0_f64, 0.0_f64);
            for day in 1..=7 {
                for shift in [-1_i64, 0, 1] {
                    let Some(end) = (self.hour - DAY * day).checked_add_signed(shift) else { continue };
                    if end > last || end + 1 < oldest + look.hours {
                        continue;
                    }
                    let (sum, calls) = stretch(end, look.hours);
                    same = same.max(sum);
                    if calls >= CALLS_MIN {
                        unit = unit.max(sum / calls);
                    }
                }
            }
            let any = if look.hours == DAY { any.max(self.days_most(0)) } else { any };
            if is_young {
                (bar.usual, bar.unit) = (any, unit_any);
                bar.least = COLD * look.times * any;
            } else {
                let quiet = if same > 0.0 { ANY } else { ANY_IF_QUIET };
                (bar.usual, bar.unit) = (same, if unit > 0.0 { unit } else { unit_any });
                bar.least = (look.times * same).max(quiet * any);
            }
            if any <= 0.0 || (is_young && self.is_after_a_weekend()) {
                bar.least = f64::INFINITY;
                bar.unit = 0.0;
            }
        }
        let today = self.hour / DAY;
        let is_old = age >= 15 * DAY;
        let days = is_old.then(|| {
            let recent = get(&self.days, today - 1).midpoint(get(&self.days, today - 2));
            (recent, self.days_most(7))
        });
        let day_max = self.days_most(0).max(stretch(self.hour - 1, DAY).0);
        Bars { of, days: days.filter(|(_, before)| *before > 0.0), day_max, is_cold: is_young }
    }

    /// The highest of the days that are at least so many days ago.
    fn days_most(&self, ago: u64) -> f64 {
        let today = self.hour / DAY;
        let oldest = (self.first / DAY).max(today.saturating_sub(DAYS as u64 - 1));
        (oldest..today.saturating_sub(ago)).map(|day| get(&self.days, day)).fold(0.0, f64::max)
    }

    /// A weekday, and of other weekdays less than one was seen. The epoch began on a Thursday.
    fn is_after_a_weekend(&self) -> bool {
        let is_weekend = |hour: u64| matches!((hour / DAY) % 7, 2 | 3);
        let halves = (self.first..self.hour - self.hour % DAY).step_by(DAY as usize / 2);
        !is_weekend(self.hour) && halves.filter(|hour| !is_weekend(*hour)).take(2).count() < 2
    }

    /// As it is kept.
    pub(super) fn text(&self) -> String {
        let mut hours = String::with_capacity(2 * (2 * RING + DAY as usize + DAYS));
        for step in self.sums.iter().chain(&self.calls).chain(&self.noise).chain(&self.days) {
            // Writing to a string cannot fail.
            let _ = write!(hours, "{step:02x}");
        }
        let kept = Kept {
            at: [self.first, self.hour],
            hours,
            usual: self.usual.clone(),
            lately: self.lately.clone(),
            told: (self.told.0, self.told.1, self.told_days),
        };
        serde_json::to_string(&kept).unwrap_or_default()
    }

    /// Reads a [`text`](Self::text).
    pub(super) fn read(text: &str) -> Option<Self> {
        let kept: Kept = serde_json::from_str(text).ok()?;
        let [first, hour] = kept.at;
        let all = 2 * (2 * RING + DAY as usize + DAYS);
        let is_sound = kept.hours.len() == all
            && kept.hours.is_ascii()
            && first <= hour
            && hour < u64::MAX / 1024
            && kept.usual.is_sound()
            && kept.lately.is_sound()
            && kept.told.1.is_finite();
        if !is_sound {
            return None;
        }
        let (usual, lately, told, told_days) = (kept.usual, kept.lately, (kept.told.0, kept.told.1), kept.told.2);
        let mut read = Self { first, hour, usual, lately, told, told_days, ..Self::default() };
        let slots = read.sums.iter_mut().chain(&mut read.calls).chain(&mut read.noise).chain(&mut read.days);
        for (slot, at) in slots.zip((0..).step_by(2)) {
            *slot = u8::from_str_radix(kept.hours.get(at..at + 2)?, 16).ok()?;
        }
        Some(read)
    }
}

impl Default for Bars {
    fn default() -> Self {
        Self { of: [Bar::default(); LOOKS.len()], days: None, day_max: 0.0, is_cold: true }
    }
}

impl Bar {
    /// Hours, spend, and what is usual, when it is news.
    fn judge(&self, look: &Look, held: Hour, is_cold: bool) -> Option<(u64, f64, f64)> {
        let now = self.base.nano_usd + held.nano_usd;
        let calls = self.base.calls + held.calls;
        if now < self.least.min(self.usual) || calls < CALLS_MIN {
            return None;
        }
        let chance = SIGMAS * (self.base.squares + held.squares).sqrt();
        let is_more = |excess: f64| excess >= FLOOR && excess > chance;
        let by_sum = now > self.least && is_more(now - self.usual);
        let unit_times = look.unit_times * if is_cold { COLD } else { 1.0 };
        let by_unit = self.unit > 0.0
            && calls >= UNIT_CALLS_MIN
            && now > self.usual
            && now > unit_times * self.unit * calls
            && is_more(now - self.unit * calls);
        (by_sum || by_unit).then_some((look.hours, now, self.usual))
    }
}

fn root_of_squares(noise: &[u8]) -> f64 {
    noise.iter().map(|step| value(*step).powi(2)).sum::<f64>().sqrt()
}

fn slot(length: usize, at: u64) -> usize {
    (at % length.max(1) as u64) as usize
}

fn put(ring: &mut [u8], at: u64, amount: f64) {
    let place = slot(ring.len(), at);
    if let Some(slot) = ring.get_mut(place) {
        *slot = step(amount);
    }
}

fn get(ring: &[u8], at: u64) -> f64 {
    ring.get(slot(ring.len(), at)).map_or(0.0, |step| value(*step))
}

/// Sixths of an octave above a micro-dollar, to the nearest: 6 % at most beside the amount.
#[expect(clippy::cast_sign_loss, reason = "it is clamped")]
fn step(amount: f64) -> u8 {
    if amount < 1.0 { 0 } else { (6.0 * (amount.log2() - 10.0) + 1.0).round().clamp(1.0, 255.0) as u8 }
}

fn value(step: u8) -> f64 {
    if step == 0 { 0.0 } else { ((f64::from(step) - 1.0) / 6.0 + 10.0).exp2() }
}

#[expect(clippy::cast_sign_loss, reason = "sums of amounts are not negative")]
fn nano(amount: f64) -> u64 {
    amount.max(0.0) as u64
}
