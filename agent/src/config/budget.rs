//! `[[budget]]`: what a service may spend in which time. Enters: the section. Leaves: amounts in nano-USD and thresholds.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    amounts::{DAY, MINUTE, Period, Usd},
    names::{AbsolutePath, NameGlob},
};

/// What a service may spend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Which service: its name, or a pattern (`"batch-*"`, `"*"`). Each service that a pattern fits has this budget for itself.
    pub service: NameGlob,
    /// What it may spend in a window. Integers of a thousand-millionth dollar inside, so nothing is rounded.
    pub limit_usd: Usd,
    /// How long a window is. Windows begin at multiples of it since 1970-01-01T00:00:00Z: `"1h"` at the full hour, `"1d"` at
    /// midnight UTC.
    #[serde(default = "day")]
    pub window: Period<MINUTE, { 31 * DAY }>,
    /// Percentages of the limit at which a finding is told, each once a window. Below 100 it is medium, from 100 high, from
    /// 200 critical.
    #[serde(default)]
    pub warn_at_percent: WarnAt,
    /// Whether calls to LLM vendors are stopped while nothing is left of the budget, in the control groups of `cgroups`; without any,
    /// the signals of `[breaker]` are sent and nothing is stopped. Off by default. To switch it on takes a restart.
    #[serde(default)]
    pub enforce: bool,
    /// Control groups of the v2 hierarchy in which calls are stopped, with all below them: the slice or scope in which the service
    /// runs. They must be there when the agent starts. All services that the budget fits stop them, so give each its own budget.
    #[serde(default)]
    pub cgroups: Vec<AbsolutePath>,
}

fn day() -> Period<MINUTE, { 31 * DAY }> {
    Period::from_millis(DAY)
}

/// Most thresholds of one budget.
const THRESHOLDS_MAX: usize = 8;
/// The highest threshold.
const PERCENT_MAX: u16 = 1000;

/// Percentages of a budget, in rising order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarnAt(Vec<u16>);

impl WarnAt {
    /// The percentages, rising.
    pub fn percents(&self) -> &[u16] {
        &self.0
    }

    fn form() -> String {
        format!("1 to {THRESHOLDS_MAX} different whole numbers from 1 to {PERCENT_MAX}, rising, such as [50, 80, 100]")
    }
}

impl Default for WarnAt {
    fn default() -> Self {
        Self(vec![50, 80, 100])
    }
}

impl Serialize for WarnAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for WarnAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = WarnAt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&WarnAt::form())
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<WarnAt, A::Error> {
                let mut percents = Vec::new();
                while let Some(percent) = items.next_element::<i64>()? {
                    percents.push(percent);
                }
                let rising = percents.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
                let inside = percents.iter().all(|percent| (1..=i64::from(PERCENT_MAX)).contains(percent));
                if !rising || !inside || !(1..=THRESHOLDS_MAX).contains(&percents.len()) {
                    return Err(de::Error::custom(format_args!("{percents:?} must be {}", WarnAt::form())));
                }
                Ok(WarnAt(percents.into_iter().filter_map(|percent| u16::try_from(percent).ok()).collect()))
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

impl JsonSchema for WarnAt {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WarnAt".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "x-form": Self::form() })
    }
}
