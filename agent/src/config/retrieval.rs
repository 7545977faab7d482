//! `[[retrieval]]`: how old an index may be. Enters: the section. Leaves: patterns and a duration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    amounts::{DAY, MINUTE, Period},
    names::NameGlob,
};

/// How old an index of a vector store may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrievalAge {
    /// Which index, collection or class: its name, or a pattern; without it all. An index of Pinecone is its host and has no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<NameGlob>,
    /// On which host of a vector store: its name, or a pattern; without it on all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<NameGlob>,
    /// Longest time between two writes: an index that was written while the agent looked, is searched, and was not written for longer is a
    /// finding (`retrieval.stale`). Without it the agent learns how long pauses are.
    pub max_age: Period<MINUTE, { 366 * DAY }>,
}
