//! Identifiers of health systems. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its source.

use super::Validator;

mod nhs;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[("nhs", nhs::validate)];
