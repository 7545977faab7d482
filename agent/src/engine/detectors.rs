//! Which detectors watch the calls. Enters: rules. Leaves: the detectors, in the order in which they look: what one learns of a
//! call the next ones know. Holds no logic of theirs.

use std::sync::Arc;

use super::Rules;
use crate::detectors::{
    Detector, loops::Loops, pinning::Pinning, resolved_model::ResolvedModel, retries::Retries, tools::Tools,
    untracked_spend::UntrackedSpend,
};

/// All detectors of behaviour that need no settings.
pub(super) fn all(rules: &Rules) -> Vec<Box<dyn Detector + Send>> {
    vec![
        Box::new(Pinning::new(Arc::clone(&rules.models))),
        Box::new(ResolvedModel::new()),
        Box::new(UntrackedSpend),
        Box::new(Loops::new()),
        Box::new(Tools::new()),
        Box::new(Retries::new()),
    ]
}
