//! Who asked whom for which model, and how much of it was seen: what every record about a call says. Enters: a [`Subject`].
//! Leaves: the four parts of a record that say it, each name shown only when it looks like one ([`super::shown`]).

use super::{
    Coverage, Destination, Kubernetes, Model, Process, field,
    shown::{host, identifier},
};
use crate::{
    exchange::{Exchange, Subject, View},
    sources::{self, Origin},
};

/// The parts of a record that say who, whom, which model and how much was seen; of a log only who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parties {
    pub(super) process: Process,
    pub(super) destination: Option<Destination>,
    pub(super) model: Option<Model>,
    pub(super) coverage: Option<Coverage>,
}

impl Parties {
    /// Those of a subject.
    pub(super) fn of(subject: Subject<'_>) -> Self {
        let exchange = match subject {
            Subject::Exchange(exchange) => Some(exchange),
            Subject::Log { .. } | Subject::Unseen(_) | Subject::Handshake(_) => None,
        };
        Self {
            process: Process { feature: exchange.and_then(feature), ..process(subject.origin()) },
            destination: exchange.map(destination),
            model: exchange.map(model),
            coverage: exchange.map(|exchange| coverage(&exchange.view)),
        }
    }
}

/// Who did it.
pub(crate) fn process(origin: &Origin) -> Process {
    Process {
        pid: origin.pid,
        name: field(&origin.process),
        service: field(&origin.service),
        container: origin.container.as_deref().map(field),
        pod: origin.pod.as_deref().map(field),
        unit: origin.unit.as_deref().map(field),
        kubernetes: origin.kubernetes.as_ref().map(kubernetes),
        feature: None,
    }
}

fn kubernetes(of: &sources::Kubernetes) -> Kubernetes {
    Kubernetes { namespace: field(&of.namespace), pod: field(&of.pod), container: field(&of.container) }
}

/// What it did it for.
pub(super) fn feature(exchange: &Exchange) -> Option<String> {
    exchange.feature.as_deref().map(identifier)
}

/// Whom a call went to.
pub(super) fn destination(exchange: &Exchange) -> Destination {
    Destination {
        host: host(&exchange.host),
        vendor: exchange.vendor.as_deref().map(field),
        api: exchange.api.as_str().to_owned(),
    }
}

/// Which model it asked for, and which one answered.
pub(super) fn model(exchange: &Exchange) -> Model {
    Model {
        requested: exchange.request_model.as_deref().map(identifier),
        resolved: exchange.response_model.as_deref().map(identifier),
    }
}

/// Names by which use is summed; those that records show.
pub(crate) struct UsageNames {
    pub(crate) service: String,
    pub(crate) feature: Option<String>,
    pub(crate) host: String,
    /// The model that answered, else the one that was asked for.
    pub(crate) model: Option<String>,
}

impl UsageNames {
    /// Those of a call.
    pub(crate) fn of(exchange: &Exchange) -> Self {
        let model = exchange.response_model.as_deref().or(exchange.request_model.as_deref());
        Self {
            service: field(&exchange.origin.service),
            feature: feature(exchange),
            host: host(&exchange.host),
            model: model.map(identifier),
        }
    }
}

/// How much of it was seen.
pub(super) fn coverage(view: &View) -> Coverage {
    let total_bytes = view.request_bytes.saturating_add(view.response_bytes);
    let missing = view.request_missing_bytes.saturating_add(view.response_missing_bytes);
    let unread = view.request_unread_bytes.saturating_add(view.response_unread_bytes);
    Coverage { scanned_bytes: total_bytes.saturating_sub(missing).saturating_sub(unread), total_bytes }
}
