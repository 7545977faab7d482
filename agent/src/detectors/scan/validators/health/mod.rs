//! Identifiers of health systems. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its source.

use super::Validator;

mod canada;
mod kvnr;
mod nhs;
mod us;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[
    ("ca_health", canada::validate),
    ("dea", us::dea),
    ("icd10", us::icd10),
    ("kvnr", kvnr::validate),
    ("mbi", us::mbi),
    ("medical_record", us::record),
    ("nhs", nhs::validate),
    ("npi", us::npi),
];
