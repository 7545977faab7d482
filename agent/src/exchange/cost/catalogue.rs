//! Prices from the catalogue of the crate `genai-prices`: as bundled, or read anew from a file. Enters: an exchange; the text of a
//! catalogue. Leaves: a cost; a catalogue that is known to be no step back. It opens no file and asks no network.

use std::{
    collections::HashSet,
    fmt,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use genai_prices::{Calculator, ErrorKind, PriceRequest, UsageKey};

use super::{Cost, CostSource, Prices, has_token_price, is_gateway_zero, is_whole};
use crate::{
    exchange::{Api, Exchange, Usage},
    units::NanoUsd,
};

/// Version of the bundled catalogue, as findings carry it. A test keeps it equal to `Cargo.lock`.
pub(super) const BUNDLED_CATALOGUE: &str = "genai-prices 0.2.1";

/// Part of the models that a new catalogue may lose, in percent.
const LOST_MAX_PERCENT: usize = 20;

/// Why a catalogue is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// It cannot be read.
    #[error("it is no price catalogue of genai-prices: {0}")]
    Invalid(String),
    /// It lost too much.
    #[error("it has lost {lost} of {known} models, and more than {LOST_MAX_PERCENT} % are no update")]
    Shrunk {
        /// Models that it does not have any more.
        lost: usize,
        /// Models of the one before.
        known: usize,
    },
}

/// Prices from a catalogue, which never changes.
#[derive(Clone)]
pub struct Catalogue {
    calculator: Source,
    version: Arc<str>,
}

#[derive(Clone)]
enum Source {
    Bundled(&'static Calculator),
    Read(Arc<Calculator>),
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Catalogue {
    /// The catalogue that the binary was built with. The first call decodes it (57 ms measured): make it at start.
    pub fn bundled() -> Self {
        Self { calculator: Source::Bundled(Calculator::bundled()), version: BUNDLED_CATALOGUE.into() }
    }

    /// A newer one, as `prices.json` of pydantic/genai-prices has it. Its version is the hash of its text.
    pub fn from_json(text: &[u8]) -> Result<Self, CatalogueError> {
        let read = Calculator::from_json(text).map_err(|error| CatalogueError::Invalid(error.to_string()))?;
        let version = format!("prices.json {:016x}", twox_hash::XxHash64::oneshot(0, text));
        Ok(Self { calculator: Source::Read(Arc::new(read)), version: version.into() })
    }

    /// Whether it can stand in the place of another: a file that was cut, or of another make, would leave calls without a price.
    pub fn replaces(&self, old: &Self) -> Result<(), CatalogueError> {
        let (known, new) = (old.models(), self.models());
        let lost = known.difference(&new).count();
        if lost * 100 > known.len() * LOST_MAX_PERCENT {
            return Err(CatalogueError::Shrunk { lost, known: known.len() });
        }
        Ok(())
    }

    /// What findings call it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How many models it prices.
    pub fn len(&self) -> usize {
        self.models().len()
    }

    /// It prices nothing.
    pub fn is_empty(&self) -> bool {
        self.models().is_empty()
    }

    fn models(&self) -> HashSet<(&str, &str)> {
        let of = self.calculator().providers();
        of.flat_map(|provider| provider.models().map(move |model| (provider.id(), model.id()))).collect()
    }

    fn calculator(&self) -> &Calculator {
        match &self.calculator {
            Source::Bundled(calculator) => calculator,
            Source::Read(calculator) => calculator,
        }
    }

    /// What so many tokens cost. Resolved model first: an alias is priced as what answered.
    pub(super) fn nano_usd(&self, exchange: &Exchange, usage: &Usage) -> Option<NanoUsd> {
        let usage = catalogue_usage(usage)?;
        let models = [&exchange.response_model, &exchange.request_model];
        let usd = models.into_iter().flatten().find_map(|model| self.usd(exchange, model, &usage))?;
        // A voice that is billed by the minute has no price by the token, which is not a price of zero.
        (usd > 0.0 || exchange.api != Api::Realtime).then(|| NanoUsd::from_usd(usd))
    }

    /// What so many tokens of this model would cost, at the provider of this id if one is given.
    pub(super) fn nano_usd_as(
        &self,
        exchange: &Exchange,
        usage: &Usage,
        model: &str,
        provider: Option<&str>,
    ) -> Option<NanoUsd> {
        let usage = catalogue_usage(usage)?;
        let usd = match provider {
            Some(provider) => {
                let request = request(exchange, model, &usage).with_provider_id(provider);
                self.calculator().calculate(&request).ok()?.total_price
            }
            None => self.usd(exchange, model, &usage)?,
        };
        Some(NanoUsd::from_usd(usd))
    }

    /// The vendor's file names the provider; where it names none, the host does. Never the model name alone: a model that
    /// somebody serves at home has no price.
    fn usd(&self, exchange: &Exchange, model: &str, usage: &genai_prices::Usage) -> Option<f64> {
        let request = request(exchange, model, usage);
        if let Some(vendor) = exchange.priced_as.as_deref() {
            match self.calculator().calculate(&request.clone().with_provider_id(vendor)) {
                Ok(price) => return Some(price.total_price),
                Err(error) if error.kind() == ErrorKind::ProviderNotFound => {}
                Err(_) => return None,
            }
        }
        let url = format!("https://{}", exchange.host);
        self.calculator().calculate(&request.with_provider_api_url(&url)).ok().map(|price| price.total_price)
    }
}

fn request<'a>(exchange: &'a Exchange, model: &'a str, usage: &'a genai_prices::Usage) -> PriceRequest<'a> {
    let at = UNIX_EPOCH + Duration::from_nanos(exchange.started_at.0);
    let request = PriceRequest::new(model, usage).with_timestamp(at);
    // A priority request can be downgraded, so only the tier that the answer reports counts.
    match exchange.usage_tier.as_deref().or(exchange.service_tier.as_deref()) {
        // Anthropic's results of a batch call it a tier, the catalogue a way of processing.
        Some("batch") => request.with_price_context("processing", "batch"),
        Some(tier) => request.with_price_context("service_tier", tier),
        None => request,
    }
}

impl Prices for Catalogue {
    fn price(&self, exchange: &Exchange) -> Option<Cost> {
        if let Some(nano_usd) = exchange.reported_cost.filter(|_| !is_gateway_zero(exchange)) {
            return Some(Cost { nano_usd, source: CostSource::Provider, catalogue: String::new() });
        }
        if !has_token_price(exchange) {
            return None;
        }
        let nano_usd = self.nano_usd(exchange, &exchange.usage)?;
        let source = if is_whole(exchange) { CostSource::Catalogue } else { CostSource::Estimated };
        Some(Cost { nano_usd, source, catalogue: self.version.to_string() })
    }
}

/// The catalogue's convention is ours: a count includes its parts, and what a part has its own price for is taken out of the
/// whole (`genai-prices` 0.2.1 `src/units.rs`, "leaf values"). Tokens that only the total shows are taken as output. `None` when
/// there is no count to price.
fn catalogue_usage(usage: &Usage) -> Option<genai_prices::Usage> {
    if usage.input_tokens.is_none() && usage.output_tokens.is_none() {
        return None;
    }
    let output = match (usage.output_tokens, usage.hidden_tokens) {
        (output, None) => output,
        (output, Some(hidden)) => Some(output.unwrap_or(0).saturating_add(hidden)),
    };
    // Reasoning above the whole output contradicts itself (xAI's chat counts so); the whole is what is billed.
    let reasoning = usage.reasoning_tokens.filter(|tokens| Some(*tokens) <= usage.output_tokens);
    let parts = [
        (UsageKey::INPUT_TOKENS, usage.input_tokens),
        (UsageKey::OUTPUT_TOKENS, output),
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
