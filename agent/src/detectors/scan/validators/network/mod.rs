//! Addresses of machines and devices. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its source.

use super::Validator;

mod ip;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[("ipv4", ip::v4), ("ipv6", ip::v6)];
