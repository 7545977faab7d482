//! The change of a model as the cause of what changed with it. Enters: an exchange. Leaves: the change of the model behind the name that it
//! asked for, if there was one within a day, in words and as facts. It holds no state: that is [`ModelChanges`].

use serde_json::{Value, json};

use super::model_changes::{Change, ModelChanges};
use crate::exchange::Exchange;

/// A change counts as a cause for so long.
const CAUSE_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// The change, if there was one.
pub(super) fn of(exchange: &Exchange, changes: &ModelChanges) -> Option<Change> {
    let requested = exchange.request_model.as_deref()?;
    let Exchange { origin, host, api, started_at, .. } = exchange;
    changes.within(&origin.service, host, *api, requested, *started_at, CAUSE_NS)
}

/// `, since the model behind the name changed from a to b`
pub(super) fn words(cause: Option<&Change>) -> String {
    cause.map_or_else(String::new, |Change { from, to, .. }| {
        format!(", since the model behind the name changed from `{from}` to `{to}`")
    })
}

/// The models as facts: of the change, else the one that answered.
pub(super) fn facts(cause: Option<&Change>, exchange: &Exchange) -> Vec<(&'static str, Value)> {
    let requested = ("model.requested", json!(exchange.request_model));
    match cause {
        Some(Change { from, to, at }) => vec![
            requested,
            ("model.resolved_before", json!(from)),
            ("model.resolved", json!(to)),
            ("model.changed_at", json!(at.rfc3339())),
        ],
        None => vec![requested, ("model.resolved", json!(exchange.response_model))],
    }
}
