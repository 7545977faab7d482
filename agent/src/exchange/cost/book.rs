//! All that is known of prices, in its order: what the vendor reports, what the operator says, the catalogue. Enters: an exchange.
//! Leaves: its cost, and its tokens estimated where nobody counted them. A book never changes; another one is put in its place.

use globset::GlobMatcher;

use super::{Catalogue, Cost, CostSource, Prices, TokenEstimate, has_token_price, is_gateway_zero, is_whole};
use crate::{
    exchange::{Exchange, Usage},
    units::NanoUsd,
};

/// Prices of the operator, and the catalogue for all else.
#[derive(Clone, Debug)]
pub struct PriceBook {
    rules: Vec<PriceRule>,
    catalogue: Catalogue,
}

/// What the operator says of some calls.
#[derive(Clone, Debug)]
pub struct PriceRule {
    /// Which models, resolved or requested.
    pub model: GlobMatcher,
    /// At which vendors; all if there is none.
    pub vendor: Option<GlobMatcher>,
    /// At which hosts.
    pub host: Option<GlobMatcher>,
    /// What these cost.
    pub rate: Rate,
}

/// A price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rate {
    /// The operator's own.
    Own(Rates),
    /// That of another model in the catalogue: what stands behind a deployment or an alias.
    As {
        /// The model.
        model: String,
        /// Provider id of the catalogue; that of the call if there is none.
        vendor: Option<String>,
    },
}

/// Nano-USD of a million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that has nothing to do with a cache.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input that was read from a cache.
    pub cache_read: u64,
    /// Input that was written to a cache.
    pub cache_write: u64,
}

impl Rates {
    /// What so many tokens cost.
    fn nano_usd(&self, usage: &Usage) -> Option<NanoUsd> {
        if usage.input_tokens.is_none() && usage.output_tokens.is_none() {
            return None;
        }
        let (read, written) = (usage.cache_read_tokens.unwrap_or(0), usage.cache_write_tokens.unwrap_or(0));
        let plain = usage.input_tokens.unwrap_or(0).saturating_sub(read).saturating_sub(written);
        let output = usage.output_tokens.unwrap_or(0).saturating_add(usage.hidden_tokens.unwrap_or(0));
        let parts = [(plain, self.input), (output, self.output), (read, self.cache_read), (written, self.cache_write)];
        let sum =
            parts.into_iter().map(|(tokens, rate)| u128::from(tokens) * u128::from(rate)).fold(0, u128::saturating_add);
        Some(NanoUsd(u64::try_from(sum.saturating_add(500_000) / 1_000_000).unwrap_or(u64::MAX)))
    }
}

impl PriceRule {
    fn is_meant(&self, exchange: &Exchange) -> bool {
        let models = [&exchange.response_model, &exchange.request_model];
        let is_model = models.into_iter().flatten().any(|model| self.model.is_match(model.as_str()));
        let is_vendor = |glob: &GlobMatcher| exchange.vendor.as_deref().is_some_and(|vendor| glob.is_match(vendor));
        is_model
            && self.vendor.as_ref().is_none_or(is_vendor)
            && self.host.as_ref().is_none_or(|host| host.is_match(exchange.host.as_str()))
    }
}

impl PriceBook {
    /// The first rule that is meant counts.
    pub fn new(rules: Vec<PriceRule>, catalogue: Catalogue) -> Self {
        Self { rules, catalogue }
    }

    /// The catalogue that the binary was built with, and nothing else.
    pub fn bundled() -> Self {
        Self::new(Vec::new(), Catalogue::bundled())
    }

    /// Its catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Sets cost and estimate of a call. Counting the text of a call takes up to 20 ms, and happens only where the vendor
    /// counted nothing.
    pub fn complete(&self, exchange: &mut Exchange) {
        exchange.cost = self.price(exchange);
        if exchange.cost.is_none() && has_token_price(exchange) {
            exchange.estimate = TokenEstimate::of(exchange);
            let usage = exchange.estimate.as_ref().map(TokenEstimate::usage);
            exchange.cost = usage.and_then(|usage| {
                let (nano_usd, _, catalogue) = self.of_tokens(exchange, &usage)?;
                Some(Cost { nano_usd, source: CostSource::Estimated, catalogue })
            });
        }
    }

    /// What so many tokens cost, who says so, and the catalogue that was asked.
    fn of_tokens(&self, exchange: &Exchange, usage: &Usage) -> Option<(NanoUsd, CostSource, String)> {
        let version = || self.catalogue.version().to_owned();
        match self.rules.iter().find(|rule| rule.is_meant(exchange)).map(|rule| &rule.rate) {
            Some(Rate::Own(rates)) => Some((rates.nano_usd(usage)?, CostSource::Override, String::new())),
            Some(Rate::As { model, vendor }) => {
                let nano_usd = self.catalogue.nano_usd_as(exchange, usage, model, vendor.as_deref())?;
                Some((nano_usd, CostSource::Catalogue, version()))
            }
            None => Some((self.catalogue.nano_usd(exchange, usage)?, CostSource::Catalogue, version())),
        }
    }
}

impl Prices for PriceBook {
    fn price(&self, exchange: &Exchange) -> Option<Cost> {
        if let Some(nano_usd) = exchange.reported_cost.filter(|_| !is_gateway_zero(exchange)) {
            return Some(Cost { nano_usd, source: CostSource::Provider, catalogue: String::new() });
        }
        if !has_token_price(exchange) {
            return None;
        }
        let (nano_usd, source, catalogue) = self.of_tokens(exchange, &exchange.usage)?;
        let source = if is_whole(exchange) { source } else { CostSource::Estimated };
        Some(Cost { nano_usd, source, catalogue })
    }
}
