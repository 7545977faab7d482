//! `[[budget]]`: what may be spent in which time, and by one call. Enters: the section. Leaves: amounts in nano-USD and tokens, whose
//! calls count, and thresholds.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    amounts::{DAY, MINUTE, Period, Tokens, Usd},
    names::{AbsolutePath, NameGlob, ServiceName},
};
use crate::detectors::{
    budget::{Budget as Watched, Limit},
    call_scope::{By, CallScope},
    request_limit::RequestLimit,
};

/// What may be spent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// What findings and `outflow budget` call it. A budget with a name counts beside all others; without names one counts, see
    /// above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<ServiceName>,
    /// Which service: its name, or a pattern (`"batch-*"`, `"*"`). Each service that a pattern fits has this budget for itself.
    /// A budget needs at least one of `service`, `feature`, `model`, `key` and `host`; with several of them a call must fit all,
    /// and each combination has the budget for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<NameGlob>,
    /// Which feature, as calls name it: a name or a pattern. A call that names none does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature: Option<NameGlob>,
    /// Which model, as calls ask for it: a name or a pattern (`"gpt-*"`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<NameGlob>,
    /// Which API key: its fingerprint as findings and usage rows show it (`caller`), or `"*"` for each key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<NameGlob>,
    /// Which host is called: a name or a pattern (`"*.openai.com"`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<NameGlob>,
    /// All that the patterns fit have the budget together: `service = "*"` is then the budget of the whole machine.
    #[serde(default)]
    pub shared: bool,
    /// All hosts have the budget together: `limit_usd` and `limit_tokens` are what the fleet may spend. It is judged by the totals of
    /// [fleet]; while these are not known or stale, by what this host spent alone. Needs a `name`, the same on all hosts.
    /// [FLEET.md](FLEET.md) says what is needed besides.
    #[serde(default)]
    pub fleet: bool,
    /// What may be spent in a window. Integers of a thousand-millionth dollar inside, so nothing is rounded. A budget needs at
    /// least one of `limit_usd`, `limit_tokens`, `request_usd` and `request_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_usd: Option<Usd>,
    /// How many tokens may be used in a window, input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_tokens: Option<Tokens>,
    /// What one call may cost. One that costs more is a finding (`cost.request_limit`); it cannot be stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_usd: Option<Usd>,
    /// How many tokens one call may use, input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_tokens: Option<Tokens>,
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

impl Budget {
    /// The patterns of the file, by what they are for.
    pub(super) fn patterns(&self) -> Vec<(By, &NameGlob)> {
        let all = [
            (By::Service, &self.service),
            (By::Feature, &self.feature),
            (By::Model, &self.model),
            (By::Key, &self.key),
            (By::Host, &self.host),
        ];
        all.into_iter().filter_map(|(by, glob)| Some((by, glob.as_ref()?))).collect()
    }

    fn scope(&self) -> CallScope {
        CallScope::new(self.patterns().into_iter().map(|(by, glob)| (by, glob.matcher().clone())).collect())
    }

    /// Its name, or else what it is for: as findings and the circuit breaker call it.
    pub fn label(&self) -> String {
        self.name().unwrap_or_else(|| self.scope().label())
    }

    fn name(&self) -> Option<String> {
        self.name.as_ref().map(|name| name.as_str().to_owned())
    }

    /// As the detector of budgets takes it: one for each kind of limit.
    pub(super) fn watched(&self) -> Vec<Watched> {
        let limits = [
            self.limit_usd.map(|limit| Limit::Usd(limit.get())),
            self.limit_tokens.map(|limit| Limit::Tokens(limit.get())),
        ];
        let watched = |limit| Watched {
            name: self.name(),
            scope: self.scope(),
            shared: self.shared,
            fleet: self.fleet,
            limit,
            window_ns: self.window.nanos(),
            warn_at_percent: self.warn_at_percent.percents().to_vec(),
        };
        limits.into_iter().flatten().map(watched).collect()
    }

    /// As the detector of single calls takes it: one for each kind of limit.
    pub(super) fn request_limits(&self) -> Vec<RequestLimit> {
        let limits = [
            self.request_usd.map(|limit| Limit::Usd(limit.get())),
            self.request_tokens.map(|limit| Limit::Tokens(limit.get())),
        ];
        let watched = |limit| RequestLimit { name: self.name(), scope: self.scope(), limit };
        limits.into_iter().flatten().map(watched).collect()
    }
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
