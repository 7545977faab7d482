//! Addresses of machines and devices. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its source.

use super::Validator;

mod device;
mod host;
mod ip;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[
    ("advertising_id", device::advertising),
    ("iccid", device::iccid),
    ("imei", device::imei),
    ("imsi", device::imsi),
    ("internal_host", host::validate),
    ("ipv4", ip::v4),
    ("ipv4_private", ip::v4_private),
    ("ipv6", ip::v6),
    ("ipv6_private", ip::v6_private),
    ("mac", device::mac),
    ("vin", device::vin),
];
