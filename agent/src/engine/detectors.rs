//! Which detectors watch the calls. Enters: rules. Leaves: the detectors, in the order in which they look: what one learns of a
//! call the next ones know. Holds no logic of theirs.

use std::sync::Arc;

use super::Rules;
use crate::detectors::{
    Detector, output::Output, pinning::Pinning, resolved_model::ResolvedModel, schema::SchemaViolations,
    structure::Structure, untracked_spend::UntrackedSpend,
};

/// All detectors of behaviour that need no settings.
pub(super) fn all(rules: &Rules) -> Vec<Box<dyn Detector + Send>> {
    let resolved = ResolvedModel::new();
    let changes = resolved.model_changes();
    vec![
        Box::new(Pinning::new(Arc::clone(&rules.models))),
        Box::new(resolved),
        Box::new(UntrackedSpend),
        Box::new(Structure::new(changes.clone())),
        Box::new(SchemaViolations::new(changes)),
        Box::new(Output::new()),
    ]
}
