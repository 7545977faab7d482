//! Who asked whom for which model, and how much of it was seen: what every record about a call says. Enters: an [`Exchange`].
//! Leaves: the four parts of a record that say it, each name shown only when it looks like one ([`super::shown`]).

use super::{
    Coverage, Destination, Model, Process, api_name, field,
    shown::{host, identifier},
};
use crate::exchange::{Exchange, View};

/// The parts of a record that say who, whom, which model and how much was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parties {
    pub(super) process: Process,
    pub(super) destination: Destination,
    pub(super) model: Model,
    pub(super) coverage: Coverage,
}

impl Parties {
    /// Those of a call.
    pub(super) fn of(exchange: &Exchange) -> Self {
        Self {
            process: Process {
                pid: exchange.origin.pid,
                name: field(&exchange.origin.process),
                service: field(&exchange.origin.service),
                container: exchange.origin.container.as_deref().map(field),
            },
            destination: Destination {
                host: host(&exchange.host),
                vendor: exchange.vendor.as_deref().map(field),
                api: api_name(exchange.api).to_owned(),
            },
            model: Model {
                requested: exchange.request_model.as_deref().map(identifier),
                resolved: exchange.response_model.as_deref().map(identifier),
            },
            coverage: coverage(&exchange.view),
        }
    }
}

fn coverage(view: &View) -> Coverage {
    let total_bytes = view.request_bytes.saturating_add(view.response_bytes);
    let missing = view.request_missing_bytes.saturating_add(view.response_missing_bytes);
    let unread = view.request_unread_bytes.saturating_add(view.response_unread_bytes);
    Coverage { scanned_bytes: total_bytes.saturating_sub(missing).saturating_sub(unread), total_bytes }
}
