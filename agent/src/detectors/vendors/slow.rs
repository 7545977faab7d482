//! Finds a model that became slow. Enters: exchanges, in order. Leaves: `vendor.slow`, one a vendor, model and kind of latency, told anew every
//! five minutes while it goes on: the time to the first token of a stream, the time for each token after it, and the time for each token of
//! an answer that comes whole. Long answers take longer, so times are divided by tokens; long inputs do, so four sizes of input are kept apart, and
//! so are tiers of service. What the vendor searches or runs itself meanwhile is not its latency.
//!
//! The logarithm of a latency is compared with its mean over a day, of at least a hundred calls, outliers clipped. What is more than
//! 1.6 times the usual adds up (CUSUM: Page, Continuous Inspection Schemes, 1954). It is told when it added up to much, over twenty calls that
//! and two minutes that on the mean took twice the usual time and a second more; before a day was seen, three times; and more than this vendor
//! differs from itself in the course of a day. While it adds up nothing is learned. What stays slow for a day is the usual from then on.
//!
//! State: at most [`TRACKS_MAX`] kinds of call with a dozen numbers each; the one that was seen least recently goes first. All of it is kept over
//! a restart, saved once a minute.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{NAME_BYTES_MAX, SAVE_EVERY_NS, TELL_EVERY_NS, vendor_of};
use crate::{
    detectors::{Behaviour, Detector, Hit, StateChange, digest::digest, episode::Episode, table::Table},
    exchange::{Api, Exchange},
    units::{Severity, Timestamp},
};

/// Bound of the table.
pub const TRACKS_MAX: usize = 10_000;

/// Calls before anything is said.
const LEARN_CALLS: u32 = 100;
/// What is older than a day fades: nights are faster than days. One call never weighs more than one in two hundred.
const MEMORY_SECONDS: f64 = 86_400.0;
const WEIGHT_MAX: f64 = 1.0 / 200.0;
/// Before a whole day was seen, three times the usual may be the morning.
const DAY_NS: u64 = 86_400_000_000_000;
const THRICE: f64 = 1.098_612_288_668_11;
/// Deviations from the mean beyond which a call counts as if it were there.
const CLIP_DEVIATIONS: f64 = 3.0;
/// Smallest deviation that is believed, and the first guess: logarithms.
const DEVIATION_MIN: f64 = 0.2;
const DEVIATION_FIRST: f64 = 0.5;
/// What may come without being added up: 1.6 times the usual, or half a deviation.
const SLACK: f64 = 0.5;
const SLACK_DEVIATIONS: f64 = 0.5;
/// To what it must add up: 37 calls of twice the usual, or ten deviations.
const ENOUGH: f64 = 7.0;
const ENOUGH_DEVIATIONS: f64 = 10.0;
/// The most that one call adds: a single hang is none. Of what a slow time must differ by, the most: four times.
const STEP_MAX: f64 = 1.5;
const LEAST_MAX: f64 = 1.38;
const CALLS_MIN: u32 = 20;
/// Shortest time of these calls: a busy host makes hundreds in a second.
const RUN_NS_MIN: u64 = 120_000_000_000;
/// How much half an hour differs from the day: mean of so many calls, its mean deviation with a first guess and a weight, and how many of
/// those a slow time must differ by.
const BLOCK_CALLS: u32 = 20;
const BLOCK_DEVIATION_FIRST: f64 = 0.1;
const BLOCK_WEIGHT: f64 = 1.0 / 50.0;
const BLOCK_DEVIATIONS: f64 = 5.0;
/// From so many calls in a row that add up on, nothing is learned of them.
const FREEZE_CALLS: u32 = 10;
/// A run that led to nothing after so many calls is the usual.
const GIVE_UP_CALLS: u32 = 200;
/// What stays slow for so many, and for a day, is.
const REBASE_CALLS: u32 = 1000;
/// Twice the usual, as a logarithm; and what is back to normal.
const TWICE: f64 = std::f64::consts::LN_2;
const OVER: f64 = 0.26;
/// Time that a call takes more.
const EXTRA_SECONDS_MIN: f64 = 1.0;
/// Weight of the newest call in what is looked at for the end.
const RECENT: f64 = 0.1;
/// And the most that it counts there.
const RECENT_MAX: f64 = 4.0;
/// Tokens of an answer from which on its speed is looked at.
const TOKENS_MIN: u64 = 32;
/// What an answer that comes whole takes besides its tokens, in tokens.
const WHOLE_EXTRA_TOKENS: u64 = 50;

/// What of a call is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    FirstToken,
    PerToken,
    Whole,
}

impl Metric {
    fn as_str(self) -> &'static str {
        match self {
            Self::FirstToken => "first_token",
            Self::PerToken => "per_token",
            Self::Whole => "whole_answer",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::FirstToken => "to its first token",
            Self::PerToken => "a token",
            Self::Whole => "a token, streaming not",
        }
    }
}

/// A measure: seconds a unit, and how many units the call had.
#[derive(Clone, Copy, Debug)]
struct Measure {
    metric: Metric,
    seconds: f64,
    units: f64,
}

/// The detector.
#[derive(Debug)]
pub struct VendorSlow {
    tracks: Table<u64, Track>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Track {
    /// Calls that were learned of; when the first and the last of them began.
    calls: u32,
    first_at: u64,
    learned_at: u64,
    /// Mean of the logarithm of the seconds, and mean absolute deviation from it.
    mean: f64,
    deviation: f64,
    /// The running block of calls, and how much blocks deviate.
    block: u32,
    block_sum: f64,
    block_deviation: f64,
    /// What added up; over how many calls, how much they deviate and how many seconds longer they took in all, and since when.
    sum: f64,
    run: u32,
    run_deviation: f64,
    /// The same, clipped less.
    run_difference: f64,
    run_extra_seconds: f64,
    run_since: u64,
    /// Deviation of the newest calls.
    recent: f64,
    episode: Option<Episode>,
    saved_at: u64,
}

impl VendorSlow {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self { tracks: Table::new(TRACKS_MAX) }
    }
}

impl Default for VendorSlow {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for VendorSlow {
    fn name(&self) -> &'static str {
        "vendor_slow"
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let Some(vendor) = vendor_of(exchange) else { return };
        let model = exchange.response_model.as_deref().or(exchange.request_model.as_deref()).unwrap_or_default();
        if model.len() > NAME_BYTES_MAX {
            return;
        }
        for measure in measures(exchange) {
            let tier = exchange.usage_tier.as_deref().or(exchange.service_tier.as_deref()).unwrap_or_default();
            let key = digest(&[vendor, model, tier, measure.metric.as_str(), input_size(exchange)]);
            let Some(track) = self.tracks.enter(&key, Track::new) else { continue };
            let was = track.episode;
            let is_slow = track.see(measure, exchange.started_at);
            if is_slow {
                let since = Timestamp(track.run_since);
                let episode = track.episode.get_or_insert_with(|| Episode::new(since, exchange));
                if episode.tells(exchange, TELL_EVERY_NS) {
                    let episode = *episode;
                    emit(Hit::Behaviour(told(exchange, (vendor, model), measure, track, Timestamp(episode.since))));
                }
            }
            let at = exchange.ended_at;
            if track.episode != was || at.since_ns(Timestamp(track.saved_at)) >= SAVE_EVERY_NS {
                track.saved_at = at.0;
                self.tracks.mark(key);
            }
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        self.tracks.changes(|key, track| emit(StateChange::new("vendor_slow", format!("{key:016x}"), track)));
    }

    fn restore(&mut self, key: &str, value: &str) {
        if let (Ok(key), Ok(track)) = (u64::from_str_radix(key, 16), serde_json::from_str::<Track>(value))
            && track.is_sane()
        {
            self.tracks.restore(key, track);
        }
    }
}

impl Track {
    fn new() -> Self {
        Self {
            calls: 0,
            first_at: 0,
            learned_at: 0,
            mean: 0.0,
            deviation: DEVIATION_FIRST,
            block: 0,
            block_sum: 0.0,
            block_deviation: BLOCK_DEVIATION_FIRST,
            sum: 0.0,
            run: 0,
            run_deviation: 0.0,
            run_difference: 0.0,
            run_extra_seconds: 0.0,
            run_since: 0,
            recent: 0.0,
            episode: None,
            saved_at: 0,
        }
    }

    /// Numbers from elsewhere: JSON has no infinity, but it has 1e308.
    fn is_sane(&self) -> bool {
        let all = [
            self.mean,
            self.deviation,
            self.block_sum,
            self.block_deviation,
            self.sum,
            self.run_deviation,
            self.run_difference,
            self.run_extra_seconds,
            self.recent,
        ];
        all.iter().all(|number| number.abs() < 1e9) && self.deviation >= 0.0
    }

    /// Takes a call; whether it is one of a slow time.
    fn see(&mut self, measure: Measure, at: Timestamp) -> bool {
        let value = measure.seconds.ln();
        if self.calls == 0 {
            (self.mean, self.first_at, self.learned_at) = (value, at.0, at.0);
        }
        let deviation = self.deviation.max(DEVIATION_MIN);
        let difference = value - self.mean;
        self.recent += RECENT * (difference.clamp(-RECENT_MAX, RECENT_MAX) - self.recent);
        if self.calls < LEARN_CALLS {
            self.learn(difference, at);
            return false;
        }
        if let Some(episode) = self.episode {
            self.run = self.run.saturating_add(1);
            if self.recent < OVER {
                self.episode = None;
                self.forget_run();
            } else if self.run >= REBASE_CALLS && at.since_ns(Timestamp(episode.since)) >= DAY_NS {
                *self = Self { saved_at: self.saved_at, ..Self::new() };
            }
            return self.episode.is_some() && self.recent >= TWICE;
        }
        self.count_block(difference);
        if self.run == 0 {
            self.run_since = at.0;
        }
        let slack = SLACK.max(SLACK_DEVIATIONS * deviation);
        self.sum = (self.sum + difference.clamp(-STEP_MAX, STEP_MAX) - slack).max(0.0);
        if self.sum <= 0.0 || self.run >= GIVE_UP_CALLS {
            self.forget_run();
            self.learn(difference, at);
            return false;
        }
        self.run += 1;
        self.run_deviation += difference.clamp(-STEP_MAX, STEP_MAX);
        self.run_difference += difference.clamp(-RECENT_MAX, RECENT_MAX);
        self.run_extra_seconds += (measure.seconds - self.mean.exp()) * measure.units;
        if self.run < FREEZE_CALLS {
            self.learn(difference, at);
        }
        let knows_a_day = at.since_ns(Timestamp(self.first_at)) >= DAY_NS;
        let least = if knows_a_day { TWICE } else { THRICE }.max(BLOCK_DEVIATIONS * self.block_deviation);
        let run = f64::from(self.run);
        let is_slow = self.run >= CALLS_MIN
            && self.sum > ENOUGH.max(ENOUGH_DEVIATIONS * deviation)
            && at.since_ns(Timestamp(self.run_since)) >= RUN_NS_MIN
            && self.run_deviation / run > least.min(LEAST_MAX)
            && self.run_extra_seconds / run > EXTRA_SECONDS_MIN;
        if is_slow {
            self.recent = self.run_difference / run;
        }
        is_slow
    }

    /// Some vendors are twice as slow now and then: that is how they are.
    fn count_block(&mut self, difference: f64) {
        self.block = self.block.saturating_add(1);
        self.block_sum += difference.clamp(-STEP_MAX, STEP_MAX);
        if self.block >= BLOCK_CALLS {
            let mean = self.block_sum / f64::from(self.block);
            self.block_deviation += BLOCK_WEIGHT * (mean.abs() - self.block_deviation);
            (self.block, self.block_sum) = (0, 0.0);
        }
    }

    fn forget_run(&mut self) {
        (self.sum, self.run) = (0.0, 0);
        (self.run_deviation, self.run_difference, self.run_extra_seconds) = (0.0, 0.0, 0.0);
    }

    #[expect(clippy::cast_precision_loss, reason = "a pause needs no more than three digits")]
    fn learn(&mut self, difference: f64, at: Timestamp) {
        self.calls = self.calls.saturating_add(1);
        let pause = at.since_ns(Timestamp(self.learned_at)) as f64 / 1e9;
        self.learned_at = self.learned_at.max(at.0);
        let weight = (1.0 / f64::from(self.calls)).max((pause / MEMORY_SECONDS).min(WEIGHT_MAX));
        let bound = CLIP_DEVIATIONS * self.deviation.max(DEVIATION_MIN);
        let clipped = difference.clamp(-bound, bound);
        self.mean += weight * clipped;
        self.deviation += weight * (clipped.abs() - self.deviation);
    }
}

/// What can be measured of a call that went well and was seen whole.
fn measures(exchange: &Exchange) -> impl Iterator<Item = Measure> {
    let answers = matches!(
        exchange.api,
        Api::ChatCompletions
            | Api::Completions
            | Api::Responses
            | Api::Messages
            | Api::GenerateContent
            | Api::Converse
            | Api::InvokeModel
            | Api::CohereChat
    );
    let is_good = answers
        && exchange.succeeded()
        && exchange.realtime.is_none()
        && exchange.view.complete
        && exchange.server_tool_calls.is_empty();
    let tokens = exchange.usage.output_tokens.unwrap_or_default();
    let first = if exchange.streaming && is_good {
        exchange.first_token_at.map(|first| measure(Metric::FirstToken, first.since_ns(exchange.started_at), 1))
    } else {
        None
    };
    let rest = if is_good && tokens >= TOKENS_MIN {
        let from = if exchange.streaming { exchange.first_token_at } else { Some(exchange.started_at) };
        from.map(|from| exchange.ended_at.since_ns(from)).map(|took_ns| {
            if exchange.streaming {
                measure(Metric::PerToken, took_ns, tokens)
            } else {
                measure(Metric::Whole, took_ns, tokens + WHOLE_EXTRA_TOKENS)
            }
        })
    } else {
        None
    };
    first.into_iter().chain(rest).flatten()
}

/// `None` when the times say nothing: a replay without times.
fn measure(metric: Metric, took_ns: u64, units: u64) -> Option<Measure> {
    #[expect(clippy::cast_precision_loss, reason = "a latency needs no more than three digits")]
    let (seconds, units) = (took_ns as f64 / 1e9, units as f64);
    (took_ns > 0).then(|| Measure { metric, seconds: seconds / units, units })
}

/// Four sizes of what the vendor has to read first.
fn input_size(exchange: &Exchange) -> &'static str {
    let cached = exchange.usage.cache_read_tokens.unwrap_or_default();
    match exchange.usage.input_tokens.unwrap_or_default().saturating_sub(cached) {
        0..1_000 => "small",
        1_000..8_000 => "medium",
        8_000..64_000 => "large",
        _ => "huge",
    }
}

fn told<'a>(
    exchange: &'a Exchange,
    (vendor, model): (&str, &str),
    measure: Measure,
    track: &Track,
    since: Timestamp,
) -> Behaviour<'a> {
    let (usual, now) = (track.mean.exp(), (track.mean + track.recent).exp());
    let times = now / usual;
    let metric = measure.metric;
    let shown = |seconds: f64| {
        if metric == Metric::FirstToken { format!("{seconds:.1} s") } else { format!("{:.0} ms", seconds * 1e3) }
    };
    Behaviour {
        rule: "vendor.slow",
        references: Vec::new(),
        key: format!("{vendor} {model} {}", metric.as_str()).to_lowercase(),
        severity: Severity::Medium,
        confidence: 75,
        title: format!(
            "`{model}` at `{vendor}` takes {times:.1} times as long as usual {}: {}, was {}",
            metric.words(),
            shown(now),
            shown(usual)
        ),
        case: None,
        facts: vec![
            ("vendor.id", json!(vendor)),
            ("model.resolved", json!(model)),
            ("vendor.latency_kind", json!(metric.as_str())),
            ("vendor.latency_ms", json!(rounded(now * 1e3))),
            ("vendor.latency_usual_ms", json!(rounded(usual * 1e3))),
            ("vendor.latency_times", json!(rounded(times))),
            ("vendor.baseline_calls", json!(track.calls)),
            ("vendor.since", json!(since.rfc3339())),
        ],
        exchange,
    }
}

/// Two digits behind the point.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
