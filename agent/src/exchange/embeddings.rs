//! Embeddings of every vendor. Enters: an answer. Leaves: facts. The vectors are no text and are not read.

use serde_json::Value;

use super::{
    facts::{Facts, replace},
    usage,
};

/// Reads an answer.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    facts.envelope(doc);
    facts.usage = usage::embeddings(doc);
    replace(&mut facts.reported_cost, doc.get("usage").and_then(usage::reported_cost));
}
