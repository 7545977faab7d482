//! What a sum of money is made of: calls, prompts, answers, cache, model, tier. Enters: calls, one after the other. Leaves: why a
//! later sum is larger than an earlier one, as factors that multiply to the whole. It decides nothing. One [`Mix`] holds six
//! numbers and at most [`KINDS_MAX`] names of models, so it is small enough to be kept for each call site.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::exchange::Exchange;

/// Models, with their tiers, that are told apart.
const KINDS_MAX: usize = 3;
/// Longer names of models are cut here.
const NAME_BYTES_MAX: usize = 64;

/// A factor beside the largest one is said from ln(1.3) on, and when it is a quarter of that.
const ALSO_MIN: f64 = 0.262;
const ALSO_PART: f64 = 0.25;
/// What a token of an answer costs, in tokens of a prompt. Between 3 and 8 at the vendors of our catalogue, 4 or 5 at most.
const OUTPUT_WEIGHT: f64 = 4.0;
/// What a token that was read from a cache saves of its price: 0.9 at Anthropic and OpenAI's newer models, 0.5 at the older ones.
const CACHE_SAVES: f64 = 0.9;

/// Sums over calls. Small floats, because they are stored with every call; money itself is never taken from here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Mix {
    /// Spans of time that were summed, when the spans are of one length.
    spans: f32,
    calls: f32,
    nano_usd: f32,
    input: f32,
    cached: f32,
    output: f32,
    kinds: Vec<Kind>,
}

/// A model with its tier, and what was spent on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kind(String, String, f32);

/// What can make calls dearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Factor {
    Traffic,
    PromptSize,
    OutputSize,
    CacheLoss,
    ModelSwitch,
    Tier,
    Price,
}

impl Factor {
    fn as_str(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::PromptSize => "prompt_size",
            Self::OutputSize => "output_size",
            Self::CacheLoss => "cache_loss",
            Self::ModelSwitch => "model_switch",
            Self::Tier => "tier",
            Self::Price => "price",
        }
    }
}

/// Why a sum is larger than another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reason {
    /// The largest factor.
    pub(super) main: Factor,
    /// In words: `12 times as many calls`.
    pub(super) words: String,
    /// All of them: how many times the sum is larger by each.
    factors: Vec<(Factor, f64)>,
}

impl Reason {
    /// As facts of a finding.
    pub(super) fn facts(&self) -> [(&'static str, Value); 3] {
        let factors = self.factors.iter().map(|(factor, times)| (factor.as_str().to_owned(), json!(rounded(*times))));
        [
            ("cost.factor", json!(self.main.as_str())),
            ("cost.reason", json!(self.words)),
            ("cost.factors", Value::Object(factors.collect())),
        ]
    }
}

impl Mix {
    /// What one call is made of.
    pub(super) fn of(exchange: &Exchange) -> Self {
        let mut mix = Self::default();
        mix.add(exchange);
        mix
    }

    /// Takes in a call.
    pub(super) fn add(&mut self, exchange: &Exchange) {
        let usage = &exchange.usage;
        let nano_usd = exchange.cost.as_ref().map_or(0, |cost| cost.nano_usd.0) as f32;
        let input = usage.input_tokens.unwrap_or(0);
        self.calls += 1.0;
        self.nano_usd += nano_usd;
        self.input += input as f32;
        self.cached += usage.cache_read_tokens.unwrap_or(0).min(input) as f32;
        self.output += usage.output_tokens.unwrap_or(0) as f32;
        let model = exchange.response_model.as_deref().or(exchange.request_model.as_deref()).unwrap_or_default();
        let tier = exchange.usage_tier.as_deref().or(exchange.service_tier.as_deref()).unwrap_or_default();
        self.weigh(cut(model), cut(tier), nano_usd.max(1.0));
    }

    /// Forgets: all sums become so many times what they were; then one span more.
    pub(super) fn fade(&mut self, keep: f64) {
        let keep = keep as f32;
        for sum in
            [&mut self.spans, &mut self.calls, &mut self.nano_usd, &mut self.input, &mut self.cached, &mut self.output]
        {
            *sum *= keep;
        }
        for kind in &mut self.kinds {
            kind.2 *= keep;
        }
    }

    /// So many spans more were summed.
    pub(super) fn spans(&mut self, spans: f32) {
        self.spans += spans;
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: &Self) {
        self.spans += other.spans;
        self.calls += other.calls;
        self.nano_usd += other.nano_usd;
        self.input += other.input;
        self.cached += other.cached;
        self.output += other.output;
        for kind in &other.kinds {
            self.weigh(&kind.0, &kind.1, kind.2);
        }
    }

    /// What was written by another version, or by hand, must not do harm.
    pub(super) fn is_sound(&self) -> bool {
        let sums = [self.spans, self.calls, self.nano_usd, self.input, self.cached, self.output];
        let is_sum = |sum: f32| sum.is_finite() && sum >= 0.0;
        let is_kind = |kind: &Kind| kind.0.len() <= NAME_BYTES_MAX && kind.1.len() <= NAME_BYTES_MAX && is_sum(kind.2);
        sums.into_iter().all(is_sum) && self.kinds.len() <= KINDS_MAX && self.kinds.iter().all(is_kind)
    }

    /// Tokens of a call at the price of a token of a prompt.
    pub(super) fn weighted_tokens(&self) -> f64 {
        let calls = f64::from(self.calls.max(f32::MIN_POSITIVE));
        let plain = f64::from(self.input) - CACHE_SAVES * f64::from(self.cached);
        (plain + OUTPUT_WEIGHT * f64::from(self.output)) / calls
    }

    /// Why `self` is dearer than `before`; by the calls in a span, or else call by call.
    pub(super) fn against(&self, before: &Self, by_span: bool) -> Reason {
        let (now, before) = (Means::of(self), Means::of(before));
        let calls = by_span.then(|| ln(now.calls, before.calls));
        reason(&now, &before, calls)
    }

    /// Why a sum is so many times another one, when calls were such before and are such now. What calls do not explain, their
    /// number does.
    pub(super) fn of_whole(&self, before: &Self, whole: f64) -> Reason {
        let (now, before) = (Means::of(self), Means::of(before));
        let calls = ln(whole, 1.0) - ln(now.nano_usd, before.nano_usd);
        reason(&now, &before, Some(calls))
    }

    fn weigh(&mut self, model: &str, tier: &str, weight: f32) {
        if let Some(known) = self.kinds.iter_mut().find(|known| known.0 == model && known.1 == tier) {
            known.2 += weight;
            return;
        }
        if self.kinds.len() < KINDS_MAX {
            self.kinds.push(Kind(model.to_owned(), tier.to_owned(), weight));
        } else if let Some(least) = self.kinds.iter_mut().min_by(|a, b| a.2.total_cmp(&b.2)) {
            // What comes back often enough outweighs what it pushed out (the algorithm "Space-Saving").
            *least = Kind(model.to_owned(), tier.to_owned(), least.2 + weight);
        }
    }
}

/// `calls`: the logarithm of how many times as many there are, when that counts.
fn reason(now: &Means, before: &Means, calls: Option<f64>) -> Reason {
    let mut logs = Vec::new();
    logs.extend(calls.map(|calls| (Factor::Traffic, calls)));
    let (weight_before, weight_now) = (before.weight(), now.weight());
    let has_tokens = weight_before > 0.0 && weight_now > 0.0;
    if has_tokens {
        let whole = ln(weight_now, weight_before);
        let by_prompt = (now.input - before.input) * (1.0 - CACHE_SAVES * before.hits);
        let by_cache = now.input * CACHE_SAVES * (before.hits - now.hits);
        let by_output = OUTPUT_WEIGHT * (now.output - before.output);
        // Their sum is the whole difference, so each has its part of the whole factor.
        let difference = weight_now - weight_before;
        let part = |by: f64| if difference.abs() < 1e-9 { 0.0 } else { whole * by / difference };
        logs.push((Factor::PromptSize, part(by_prompt)));
        logs.push((Factor::OutputSize, part(by_output)));
        logs.push((Factor::CacheLoss, part(by_cache)));
    }
    let price = ln(now.nano_usd, before.nano_usd) - if has_tokens { ln(weight_now, weight_before) } else { 0.0 };
    let kind = |kinds: &[Kind]| {
        let dearest = kinds.iter().max_by(|a, b| a.2.total_cmp(&b.2));
        dearest.map(|kind| (kind.0.clone(), kind.1.clone())).unwrap_or_default()
    };
    let (is, was) = (kind(&now.kinds), kind(&before.kinds));
    let by_price = match () {
        () if is.0 != was.0 => Factor::ModelSwitch,
        () if is.1 != was.1 => Factor::Tier,
        () => Factor::Price,
    };
    logs.push((by_price, price));
    let percent = |hits: f64| format!("{:.0} %", 100.0 * hits);
    let say = |factor: Factor, log: f64| match factor {
        Factor::Traffic => format!("{} times as many calls", times(log.exp())),
        Factor::PromptSize => format!("prompts of {:.0} tokens instead of {:.0}", now.input, before.input),
        Factor::OutputSize => format!("answers of {:.0} tokens instead of {:.0}", now.output, before.output),
        Factor::CacheLoss => {
            format!("{} of the prompt from the cache instead of {}", percent(now.hits), percent(before.hits))
        }
        Factor::ModelSwitch => format!("{} instead of {}", quoted(&is.0), quoted(&was.0)),
        Factor::Tier => format!("service tier {} instead of {}", quoted(named(&is.1)), quoted(named(&was.1))),
        Factor::Price => {
            format!("{} times the price of {}", times(log.exp()), if has_tokens { "a token" } else { "a call" })
        }
    };
    // Others are said when they count: the largest first.
    logs.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (main, most) = logs.first().copied().unwrap_or((Factor::Price, 0.0));
    let counts = |log: f64| log >= ALSO_MIN && log >= most * ALSO_PART;
    let said = logs.iter().enumerate().filter(|(at, (_, log))| *at == 0 || counts(*log));
    let words = said.map(|(_, (factor, log))| say(*factor, *log)).collect::<Vec<_>>().join(", ");
    let factors = logs.into_iter().map(|(factor, log)| (factor, log.exp())).collect();
    Reason { main, words, factors }
}

/// What a span has, and what a call of it has.
struct Means {
    calls: f64,
    nano_usd: f64,
    input: f64,
    output: f64,
    /// Part of the input that was read from a cache.
    hits: f64,
    kinds: Vec<Kind>,
}

impl Means {
    fn of(mix: &Mix) -> Self {
        let per = |sum: f32, of: f32| f64::from(sum) / f64::from(of.max(f32::MIN_POSITIVE));
        Self {
            calls: per(mix.calls, mix.spans),
            nano_usd: per(mix.nano_usd, mix.calls),
            input: per(mix.input, mix.calls),
            output: per(mix.output, mix.calls),
            hits: if mix.input > 0.0 { per(mix.cached, mix.input).min(1.0) } else { 0.0 },
            kinds: mix.kinds.clone(),
        }
    }

    fn weight(&self) -> f64 {
        self.input * (1.0 - CACHE_SAVES * self.hits) + OUTPUT_WEIGHT * self.output
    }
}

fn ln(now: f64, before: f64) -> f64 {
    // What was nothing before is a million times as much now.
    let bound = 1e6_f64.ln();
    if now <= 0.0 { 0.0 } else { (now / before.max(f64::MIN_POSITIVE)).ln().clamp(-bound, bound) }
}

/// A factor for people: 1.4, 12.
pub(super) fn times(factor: f64) -> String {
    if factor < 9.95 { format!("{factor:.1}") } else { format!("{:.0}", factor.min(1e6)) }
}

fn rounded(factor: f64) -> f64 {
    (factor * 100.0).round() / 100.0
}

fn named(tier: &str) -> &str {
    if tier.is_empty() { "default" } else { tier }
}

/// A name from the wire, so that whoever shows the sentence sees where it ends.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "'"))
}

fn cut(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exchange::{Cost, CostSource, Usage, sample},
        units::NanoUsd,
    };

    fn call(model: &str, input: u64, cached: u64, output: u64, nano_usd: u64) -> Exchange {
        let mut call = sample::exchange("openai", model);
        call.usage = Usage {
            input_tokens: Some(input),
            cache_read_tokens: Some(cached),
            output_tokens: Some(output),
            ..Usage::default()
        };
        call.cost = Some(Cost { nano_usd: NanoUsd(nano_usd), source: CostSource::Catalogue, catalogue: String::new() });
        call
    }

    fn mix(calls: &[Exchange]) -> Mix {
        let mut mix = Mix::default();
        for call in calls {
            mix.add(call);
        }
        mix.spans(1.0);
        mix
    }

    #[test]
    fn the_main_factor_is_named() {
        let usual = call("gpt-4o-mini", 1000, 500, 100, 1000);
        let dear_tier = Exchange { service_tier: Some("priority".into()), ..call("gpt-4o-mini", 1000, 500, 100, 1700) };
        let cases = [
            (vec![usual.clone(); 12], Factor::Traffic, "12 times as many calls"),
            (
                vec![call("gpt-4o-mini", 3000, 1500, 100, 2200)],
                Factor::PromptSize,
                "prompts of 3000 tokens instead of 1000",
            ),
            (
                vec![call("gpt-4o-mini", 1000, 500, 900, 4400)],
                Factor::OutputSize,
                "answers of 900 tokens instead of 100",
            ),
            (
                vec![call("gpt-4o-mini", 1000, 0, 100, 1470)],
                Factor::CacheLoss,
                "0 % of the prompt from the cache instead of 50 %",
            ),
            (vec![call("gpt-4o", 1000, 500, 100, 16_000)], Factor::ModelSwitch, "`gpt-4o` instead of `gpt-4o-mini`"),
            (vec![dear_tier], Factor::Tier, "service tier `priority` instead of `default`"),
            (vec![call("gpt-4o-mini", 1000, 500, 100, 3000)], Factor::Price, "3.0 times the price of a token"),
            (
                vec![Exchange { usage: Usage::default(), ..call("gpt-4o-mini", 0, 0, 0, 3000) }],
                Factor::Price,
                "3.0 times the price of a call",
            ),
        ];
        for (calls, factor, words) in cases {
            let reason = mix(&calls).against(&mix(std::slice::from_ref(&usual)), true);
            assert_eq!((reason.main, reason.words.as_str()), (factor, words));
        }
    }

    #[test]
    fn the_factors_multiply_to_the_whole() {
        let before = mix(&[call("a", 1000, 500, 100, 1000), call("a", 800, 100, 50, 700)]);
        let now = mix(&[call("b", 5000, 0, 700, 90_000), call("b", 10, 5, 900, 4000), call("a", 1, 0, 0, 10)]);
        let reason = now.against(&before, true);
        let product: f64 = reason.factors.iter().map(|(_, times)| times).product();
        let whole = 94_010.0 / 1700.0;
        assert!((product / whole - 1.0).abs() < 1e-4, "{product} of {whole}");
    }

    #[test]
    fn it_stays_small_and_reads_back() {
        let mut sum = Mix::default();
        for number in 0..100 {
            sum.add(&call(&format!("{}{number}", "ä".repeat(200)), 10, 0, 1, 1000 + number));
            sum.fade(0.9);
        }
        assert!(sum.is_sound());
        let text = serde_json::to_string(&sum).unwrap();
        assert!(text.len() < 400, "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<Mix>(&text).unwrap(), sum);
        // Nothing against nothing says something, and does not panic.
        assert_eq!(Mix::default().against(&Mix::default(), true).factors.len(), 2);
    }
}
