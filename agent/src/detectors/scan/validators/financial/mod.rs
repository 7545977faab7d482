//! Money: accounts and cards. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its source.

use super::Validator;

mod aba;
mod card;
mod iban;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] =
    &[("aba", aba::validate), ("card", card::validate), ("iban", iban::validate), ("luhn", card::luhn_only)];
