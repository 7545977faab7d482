//! Room 3, money: what one call cost and who says so. Enters: an [`Exchange`]. Leaves: a [`Cost`] or nothing. A model without a
//! price has no cost, which is not the same as a cost of zero. Where the vendor counted no tokens they may be counted from the text
//! ([`TokenEstimate`]); such a cost is marked as estimated, and it never stands where there is a reported number.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    book::{PriceBook, PriceRule, Rate, Rates},
    catalogue::{Catalogue, CatalogueError},
    estimate::TokenEstimate,
};
use super::{Api, Exchange};
use crate::units::NanoUsd;

mod book;
mod catalogue;
mod estimate;
#[cfg(test)]
mod tests;

/// What a call cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The amount.
    pub nano_usd: NanoUsd,
    /// Who says so.
    pub source: CostSource,
    /// Version of the price catalogue that was asked; empty when the vendor itself named the cost, or the operator the price.
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
    /// A price times tokens that were counted from the text, or that are known to be incomplete.
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

/// A gateway that says that a call with tokens cost nothing speaks of its own fee: the maker of the model bills the rest to a key of
/// the user's own (openrouter.ai/docs, "Bring your own API keys"). A model that is free by name is none of these.
pub fn is_gateway_zero(exchange: &Exchange) -> bool {
    const GATEWAYS: [&str; 8] = [
        "cloudflare_gateway",
        "helicone",
        "huggingface",
        "openrouter",
        "portkey",
        "pydantic_gateway",
        "requesty",
        "vercel",
    ];
    let is_gateway = exchange.vendor.as_deref().is_some_and(|vendor| GATEWAYS.contains(&vendor));
    let models = [&exchange.request_model, &exchange.response_model];
    let is_free = models.into_iter().flatten().any(|model| model.ends_with(":free"));
    let has_tokens = exchange.usage.output_tokens.is_some_and(|tokens| tokens > 0);
    exchange.reported_cost == Some(NanoUsd(0)) && is_gateway && has_tokens && !is_free
}

/// The vendor does not count these calls by tokens, or they are free: no token has a price there. Counting tokens costs nothing and
/// reports a count that would be priced as input (platform.claude.com/docs/en/build-with-claude/token-counting, "Pricing and rate
/// limits").
fn has_token_price(exchange: &Exchange) -> bool {
    exchange.api == Api::Other || exchange.api.is_billed()
}

/// The counts are all that is billed.
fn is_whole(exchange: &Exchange) -> bool {
    let usage = &exchange.usage;
    let has_output = matches!(exchange.api, Api::Embeddings | Api::Rerank) || usage.output_tokens.is_some();
    has_output && usage.hidden_tokens.is_none() && !is_gateway_zero(exchange)
}
