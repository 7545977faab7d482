//! `[fleet]`: where the totals of budgets are that all hosts have together. Enters: the section. Leaves: brokers, topics and settings. It
//! connects to nobody and holds no secret.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    amounts::{DAY, MINUTE, Period, SECOND},
    places::{Broker, SinkName, Topic},
    sinks::Setting,
};

/// Where the totals of budgets are that all hosts have together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fleet {
    /// Kafka brokers to begin with; they name the others. Without any there is no fleet.
    pub brokers: Vec<Broker>,
    /// Settings of librdkafka for these connections, as in `[[sinks.kafka]]`: TLS, SASL and anything else by its name; secrets are read from
    /// files or variables.
    pub settings: BTreeMap<String, Setting>,
    /// The compacted topic that holds what was spent of each budget. Agents read all of it; `outflow fleet`, or a Flink job of
    /// `deploy/flink`, writes it, and `outflow fleet` makes it when it is missing. One topic for one of them.
    pub state_topic: Topic,
    /// The topic of what calls used, as `usage_topic` of `[[sinks.kafka]]`; `outflow fleet` adds it up.
    pub usage_topic: Topic,
    /// Name of the consumer group of `outflow fleet`. Those with the same name share the partitions of `usage_topic`.
    pub group: SinkName,
    /// How old the totals may be. Older ones are not used: budgets are judged by what this host spent alone, and the finding
    /// `coverage.fleet-stale` says so until they are fresh again.
    pub stale_after: Period<{ 2 * SECOND }, DAY>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            settings: BTreeMap::new(),
            state_topic: Topic::fixed("outflow.budgets"),
            usage_topic: Topic::fixed("outflow.usage"),
            group: SinkName::fixed("outflow-fleet"),
            stale_after: Period::from_millis(2 * MINUTE),
        }
    }
}
