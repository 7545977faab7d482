//! Which detectors watch the calls. Enters: rules. Leaves: the detectors, in the order in which they look: what one learns of a
//! call the next ones know. Holds no logic of theirs.

use std::sync::Arc;

use super::Rules;
use crate::detectors::{
    Detector,
    creep::Creep,
    loops::Loops,
    no_limit::NoLimit,
    output::Output,
    pinning::Pinning,
    rate_shift::RateShift,
    request_outlier::RequestOutlier,
    resolved_model::ResolvedModel,
    retries::Retries,
    retrieval::Retrieval,
    schema::SchemaViolations,
    structure::Structure,
    tools::Tools,
    untracked_spend::UntrackedSpend,
    vendors::{outage::VendorOutage, rate_limited::VendorRateLimited, slow::VendorSlow},
};

/// Those that need no more of a call than a line of a log says: no times, no texts, and no count of the calls that nobody logs.
pub(super) fn of_logs(rules: &Rules) -> Vec<Box<dyn Detector + Send>> {
    vec![
        Box::new(Pinning::new(Arc::clone(&rules.models))),
        Box::new(ResolvedModel::new()),
        Box::new(UntrackedSpend),
        Box::new(RequestOutlier::new()),
        Box::new(RateShift::new()),
        Box::new(Creep::new()),
    ]
}

/// All detectors of behaviour that every session has.
pub fn all(rules: &Rules) -> Vec<Box<dyn Detector + Send>> {
    let resolved = ResolvedModel::new();
    let changes = resolved.model_changes();
    vec![
        Box::new(Pinning::new(Arc::clone(&rules.models))),
        Box::new(resolved),
        Box::new(UntrackedSpend),
        Box::new(NoLimit),
        Box::new(RequestOutlier::new()),
        Box::new(RateShift::new()),
        Box::new(Creep::new()),
        Box::new(Loops::new()),
        Box::new(Tools::new()),
        Box::new(Retries::new()),
        Box::new(Structure::new(changes.clone())),
        Box::new(SchemaViolations::new(changes)),
        Box::new(Output::new()),
        Box::new(Retrieval::new(Arc::clone(&rules.max_ages))),
        Box::new(VendorOutage::new()),
        Box::new(VendorRateLimited::new()),
        Box::new(VendorSlow::new()),
    ]
}
