//! `[prices]` and `[[price]]`: what tokens cost. Enters: the sections. Leaves: rules of prices, and where a newer catalogue is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    amounts::{DAY, HOUR, MINUTE, Period, UsdPerMillion},
    names::{AbsolutePath, NameGlob, ServiceName},
};
use crate::exchange::{PriceRule, Rate, Rates};

/// The catalogue of prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    /// A newer catalogue than the one the program brings: the file `prices.json` of pydantic/genai-prices (version 2 of its form).
    /// The agent does not fetch it, for it asks nobody but its sinks: let a timer run `outflow models fetch --to FILE`. It is looked at
    /// every `refresh_interval` and on SIGHUP. One that cannot be read, or that has lost more than 20 % of the models of the catalogue in
    /// use, is not taken, and the old one stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalogue_file: Option<AbsolutePath>,
    /// How often it is looked at whether `catalogue_file` has changed.
    pub refresh_interval: Period<MINUTE, { 31 * DAY }>,
}

impl Default for Prices {
    fn default() -> Self {
        Self { catalogue_file: None, refresh_interval: Period::from_millis(HOUR) }
    }
}

/// A price of the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Which model, requested or resolved: its name or a pattern. For a deployment it is the deployment's name.
    pub model: NameGlob,
    /// At which vendor only, by its id in `rules/vendors`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<NameGlob>,
    /// At which host only: a name or a pattern (`"acme.openai.azure.com"`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<NameGlob>,
    /// Price of the input. An entry needs this or `as_model`; what other price is not given is zero, but for those of caches,
    /// which are then this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<UsdPerMillion>,
    /// Price of the output, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<UsdPerMillion>,
    /// Price of input that was read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<UsdPerMillion>,
    /// Price of input that was written to a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<UsdPerMillion>,
    /// The model of the catalogue that stands behind the name: its price is taken, with its tiers and dates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_model: Option<ServiceName>,
    /// The provider of `as_model` in the catalogue, when it is not that of the call: `openai`, `anthropic`, `azure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_vendor: Option<ServiceName>,
}

impl Price {
    /// As room 3 takes it; `None` when it says no price, which a config that was checked does not.
    pub(super) fn rule(&self) -> Option<PriceRule> {
        let price = |price: Option<UsdPerMillion>| price.map(UsdPerMillion::get);
        let rate = match (&self.as_model, price(self.input)) {
            (Some(model), _) => Rate::As {
                model: model.as_str().to_owned(),
                vendor: self.as_vendor.as_ref().map(|vendor| vendor.as_str().to_owned()),
            },
            (None, Some(input)) => Rate::Own(Rates {
                input,
                output: price(self.output).unwrap_or(0),
                cache_read: price(self.cache_read).unwrap_or(input),
                cache_write: price(self.cache_write).unwrap_or(input),
            }),
            (None, None) => return None,
        };
        let glob = |glob: &Option<NameGlob>| glob.as_ref().map(|glob| glob.matcher().clone());
        Some(PriceRule {
            model: self.model.matcher().clone(),
            vendor: glob(&self.vendor),
            host: glob(&self.host),
            rate,
        })
    }
}
