//! Room 3, money: what one call cost and who says so. Enters: an [`Exchange`]. Leaves: a [`Cost`] or nothing. It never
//! guesses: a model without a price has no cost, which is not the same as a cost of zero.

use std::time::{Duration, UNIX_EPOCH};

use genai_prices::{Calculator, ErrorKind, PriceRequest, UsageKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Api, Exchange, Usage};
use crate::units::NanoUsd;

/// Version of the bundled catalogue, as findings carry it. A test keeps it equal to `Cargo.lock`.
const BUNDLED_CATALOGUE: &str = "genai-prices 0.2.1";

/// What a call cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The amount.
    pub nano_usd: NanoUsd,
    /// Who says so.
    pub source: CostSource,
    /// Version of the price catalogue that was asked; empty when the vendor itself named the cost.
    pub catalogue: String,
}

/// Where a cost figure comes from, the most certain first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CostSource {
    /// The vendor put the cost on the wire.
    Provider,
    /// The operator's own price.
    Override,
    /// Tokens as reported, times the catalogue's price.
    Catalogue,
    /// As `catalogue`, from usage that is known to be incomplete: a lower bound.
    Estimated,
}

impl CostSource {
    /// The word that every output uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Override => "override",
            Self::Catalogue => "catalogue",
            Self::Estimated => "estimated",
        }
    }
}

/// The vendor bills the call, and nobody knows how much.
pub fn is_unpriced(exchange: &Exchange, cost: Option<&Cost>) -> bool {
    let answered = exchange.status.is_some_and(|status| status < 400);
    let counted = exchange.usage.input_tokens.is_some() || exchange.usage.output_tokens.is_some();
    // A call without a model (a list of files) has no token price.
    let billed =
        (exchange.api == Api::Other || exchange.api.is_billed()) && (counted || exchange.request_model.is_some());
    cost.is_none() && answered && billed
}

/// Knows what calls cost.
pub trait Prices {
    /// What the call cost; `None` when nobody knows.
    fn price(&self, exchange: &Exchange) -> Option<Cost>;
}

/// Prices from the catalogue that the crate `genai-prices` carries.
#[derive(Clone, Copy, Debug)]
pub struct Catalogue {
    calculator: &'static Calculator,
}

impl Catalogue {
    /// The catalogue that the binary was built with. The first call decodes it (57 ms measured): make it at start.
    pub fn bundled() -> Self {
        Self { calculator: Calculator::bundled() }
    }

    /// Resolved model first: an alias is priced as what answered.
    fn usd(self, exchange: &Exchange, usage: &genai_prices::Usage) -> Option<f64> {
        [&exchange.response_model, &exchange.request_model]
            .into_iter()
            .flatten()
            .find_map(|model| self.usd_of(exchange, model, usage))
    }

    /// The vendor's file names the provider; where it names none, the host does. Never the model name alone: a model that
    /// somebody serves at home has no price.
    fn usd_of(self, exchange: &Exchange, model: &str, usage: &genai_prices::Usage) -> Option<f64> {
        let at = UNIX_EPOCH + Duration::from_nanos(exchange.started_at.0);
        let mut request = PriceRequest::new(model, usage).with_timestamp(at);
        // A priority request can be downgraded, so only the tier that the answer reports counts.
        if let Some(tier) = exchange.usage_tier.as_deref().or(exchange.service_tier.as_deref()) {
            request = request.with_price_context("service_tier", tier);
        }
        if let Some(vendor) = exchange.priced_as.as_deref() {
            match self.calculator.calculate(&request.clone().with_provider_id(vendor)) {
                Ok(price) => return Some(price.total_price),
                Err(error) if error.kind() == ErrorKind::ProviderNotFound => {}
                Err(_) => return None,
            }
        }
        let url = format!("https://{}", exchange.host);
        self.calculator.calculate(&request.with_provider_api_url(&url)).ok().map(|price| price.total_price)
    }
}

impl Prices for Catalogue {
    fn price(&self, exchange: &Exchange) -> Option<Cost> {
        if let Some(nano_usd) = exchange.reported_cost {
            return Some(Cost { nano_usd, source: CostSource::Provider, catalogue: String::new() });
        }
        // Counting tokens costs nothing and reports a count that would be priced as input.
        // Source: platform.claude.com/docs/en/build-with-claude/token-counting, "Pricing and rate limits".
        if exchange.api != Api::Other && !exchange.api.is_billed() {
            return None;
        }
        let usage = catalogue_usage(&exchange.usage)?;
        let whole = matches!(exchange.api, Api::Embeddings | Api::Rerank) || exchange.usage.output_tokens.is_some();
        // A voice that is billed by the minute has no price by the token, which is not a price of zero.
        let usd = self.usd(exchange, &usage).filter(|usd| *usd > 0.0 || exchange.api != Api::Realtime)?;
        Some(Cost {
            nano_usd: NanoUsd::from_usd(usd),
            source: if whole { CostSource::Catalogue } else { CostSource::Estimated },
            catalogue: BUNDLED_CATALOGUE.to_owned(),
        })
    }
}

/// The catalogue's convention is ours: a count includes its parts, and what a part has its own price for is taken out of the
/// whole (`genai-prices` 0.2.1 `src/units.rs`, "leaf values"). `None` when there is no count to price.
fn catalogue_usage(usage: &Usage) -> Option<genai_prices::Usage> {
    if usage.input_tokens.is_none() && usage.output_tokens.is_none() {
        return None;
    }
    // Reasoning above the whole output contradicts itself (xAI's chat counts so); the whole is what is billed.
    let reasoning = usage.reasoning_tokens.filter(|tokens| Some(*tokens) <= usage.output_tokens);
    let parts = [
        (UsageKey::INPUT_TOKENS, usage.input_tokens),
        (UsageKey::OUTPUT_TOKENS, usage.output_tokens),
        (UsageKey::CACHE_READ_TOKENS, usage.cache_read_tokens),
        (UsageKey::CACHE_WRITE_TOKENS, usage.cache_write_tokens),
        (UsageKey::CACHE_WRITE_1H_TOKENS, usage.cache_write_1h_tokens),
        (UsageKey::OUTPUT_REASONING_TOKENS, reasoning),
        (UsageKey::INPUT_AUDIO_TOKENS, usage.input_audio_tokens),
        (UsageKey::CACHE_AUDIO_READ_TOKENS, usage.cache_read_audio_tokens),
        (UsageKey::OUTPUT_AUDIO_TOKENS, usage.output_audio_tokens),
    ];
    Some(parts.into_iter().filter_map(|(key, tokens)| tokens.map(|tokens| (key, tokens as f64))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exchange::sample, units::Timestamp};

    fn usage(input: u64, output: u64, read: Option<u64>, write: Option<u64>, write_1h: Option<u64>) -> Usage {
        Usage {
            input_tokens: Some(input),
            output_tokens: Some(output),
            cache_read_tokens: read,
            cache_write_tokens: write,
            cache_write_1h_tokens: write_1h,
            reasoning_tokens: None,
            ..Usage::default()
        }
    }

    /// Prices by hand from the vendors' pages, USD per million tokens:
    /// gpt-4o-mini 0.15 in, 0.075 cached, 0.60 out (developers.openai.com/api/docs/pricing);
    /// Claude Sonnet 4.5 3 in, 0.30 read, 3.75 write 5 min, 6 write 1 h, 15 out (www.anthropic.com/pricing#api).
    #[test]
    fn prices_agree_with_prices_by_hand() {
        let cases = [
            ("openai", "gpt-4o-mini", usage(1000, 500, None, None, None), 150_000 + 300_000),
            // 1000 in, of which 400 cached: 600 × 0.15 + 400 × 0.075 + 500 × 0.60
            ("openai", "gpt-4o-mini-2024-07-18", usage(1000, 500, Some(400), None, None), 90_000 + 30_000 + 300_000),
            // 10,000 in: 1,000 plain, 6,000 read, 3,000 written; 200 out
            (
                "anthropic",
                "claude-sonnet-4-5-20250929",
                usage(10_000, 200, Some(6000), Some(3000), None),
                3_000_000 + 1_800_000 + 11_250_000 + 3_000_000,
            ),
            // The same with 1,000 of the writes kept for one hour.
            (
                "anthropic",
                "claude-sonnet-4-5-20250929",
                usage(10_000, 200, Some(6000), Some(3000), Some(1000)),
                3_000_000 + 1_800_000 + 7_500_000 + 6_000_000 + 3_000_000,
            ),
        ];
        for (vendor, model, usage, nano_usd) in cases {
            let mut exchange = sample::exchange(vendor, model);
            exchange.usage = usage;
            let cost = Catalogue::bundled().price(&exchange).expect(model);
            assert_eq!(cost.nano_usd, NanoUsd(nano_usd), "{model} {usage:?}");
            assert_eq!((cost.source, cost.catalogue.as_str()), (CostSource::Catalogue, BUNDLED_CATALOGUE));
        }
    }

    #[test]
    fn the_resolved_model_is_priced_before_the_requested_one() {
        let mut exchange = sample::exchange("openai", "gpt-4o-mini");
        exchange.usage = usage(1_000_000, 0, None, None, None);
        exchange.response_model = Some("gpt-4o-2024-08-06".into());
        assert_eq!(Catalogue::bundled().price(&exchange).unwrap().nano_usd, NanoUsd(2_500_000_000));
        exchange.response_model = Some("nobody-knows-this".into());
        assert_eq!(Catalogue::bundled().price(&exchange).unwrap().nano_usd, NanoUsd(150_000_000));
    }

    #[test]
    fn what_nobody_knows_has_no_cost() {
        let catalogue = Catalogue::bundled();
        let priced = sample::exchange("openai", "gpt-4o-mini");
        assert!(catalogue.price(&priced).is_some());

        let unknown_model = sample::exchange("openai", "my-own-model");
        let no_usage = Exchange { usage: Usage::default(), ..priced.clone() };
        let counting = Exchange { api: Api::CountTokens, ..sample::exchange("anthropic", "claude-sonnet-4-5") };
        let at_home = Exchange { vendor: None, priced_as: None, host: "llm.example.internal".into(), ..priced.clone() };
        // More read from the cache than came in: a contradiction is not priced.
        let contradiction = Exchange { usage: usage(10, 1, Some(11), None, None), ..priced };
        for exchange in [unknown_model, no_usage, counting, at_home, contradiction] {
            assert_eq!(catalogue.price(&exchange), None, "{} {:?}", exchange.host, exchange.usage);
        }
    }

    #[test]
    fn the_vendor_knows_best_and_half_a_usage_is_an_estimate() {
        let prices = Catalogue::bundled();
        let mut exchange = sample::exchange("openai", "gpt-4o-mini");
        exchange.usage = Usage { input_tokens: Some(1000), ..Usage::default() };
        let cost = prices.price(&exchange).unwrap();
        assert_eq!((cost.nano_usd, cost.source), (NanoUsd(150_000), CostSource::Estimated));
        exchange.api = Api::Embeddings;
        exchange.request_model = Some("text-embedding-3-small".into());
        exchange.response_model = None;
        let cost = prices.price(&exchange).unwrap();
        assert_eq!((cost.nano_usd, cost.source), (NanoUsd(20_000), CostSource::Catalogue));
        exchange.reported_cost = Some(NanoUsd(7));
        let cost = prices.price(&exchange).unwrap();
        assert_eq!((cost.nano_usd, cost.source, cost.catalogue.as_str()), (NanoUsd(7), CostSource::Provider, ""));
    }

    #[test]
    fn the_tier_of_the_answer_and_the_day_of_the_call_count() {
        let mut exchange = sample::exchange("openai", "gpt-4o-mini");
        exchange.usage = usage(1_000_000, 0, None, None, None);
        exchange.service_tier = Some("priority".into());
        // Priority rates are in the catalogue from 12 October 2026 on: 0.25 USD.
        exchange.started_at = Timestamp(1_795_392_000_000_000_000);
        assert_eq!(Catalogue::bundled().price(&exchange).unwrap().nano_usd, NanoUsd(250_000_000));
        exchange.started_at = Timestamp(1_767_225_600_000_000_000);
        assert_eq!(Catalogue::bundled().price(&exchange).unwrap().nano_usd, NanoUsd(150_000_000));
    }

    #[test]
    fn the_vendor_files_name_providers_of_the_catalogue() {
        let vendors = crate::rules::VendorTable::load(&crate::rules::RuleSource::Embedded).unwrap();
        let usage = genai_prices::Usage::default();
        for provider in vendors.vendors().iter().filter_map(|vendor| vendor.prices.as_deref()) {
            let request = PriceRequest::new("no-such-model", &usage).with_provider_id(provider);
            let error = Calculator::bundled().calculate(&request).map(|price| price.total_price);
            assert!(!error.is_err_and(|error| error.kind() == ErrorKind::ProviderNotFound), "{provider}");
        }
        let mut exchange = sample::exchange("xai", "grok-3");
        exchange.host = "a-host-the-catalogue-does-not-know.example".into();
        exchange.priced_as = Some("an-id-of-our-own".into());
        assert_eq!(Catalogue::bundled().price(&exchange), None);
        exchange.priced_as = Some("x-ai".into());
        assert!(Catalogue::bundled().price(&exchange).is_some());
    }

    #[test]
    fn the_host_names_the_provider_when_our_vendor_id_does_not() {
        let mut exchange = sample::exchange("openai", "gpt-4o-mini");
        exchange.usage = usage(1_000_000, 0, None, None, None);
        for vendor in [None, Some("an-id-of-our-own")] {
            exchange.priced_as = vendor.map(Into::into);
            assert_eq!(Catalogue::bundled().price(&exchange).unwrap().nano_usd, NanoUsd(150_000_000));
        }
    }

    #[test]
    fn the_version_is_the_locked_one() {
        let (name, version) = BUNDLED_CATALOGUE.split_once(' ').unwrap();
        let lock = include_str!("../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")));
    }
}
