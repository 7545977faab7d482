//! Ways to reach a person. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its source.

use super::Validator;

mod email;
mod phone;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] =
    &[("email", email::validate), ("phone", phone::e164), ("phone_nanp", phone::nanp)];
