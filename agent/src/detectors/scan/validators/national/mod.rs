//! National and tax identifiers. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its source.

use super::Validator;

mod aadhaar;
mod cpf;
mod nino;
mod nir;
mod ssn;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[
    ("aadhaar", aadhaar::validate),
    ("cpf", cpf::validate),
    ("itin", ssn::itin),
    ("nino", nino::validate),
    ("nir", nir::validate),
    ("ssn", ssn::ssn),
];
