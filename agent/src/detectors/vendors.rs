//! Watches vendors: one that fails, throttles or slows down. Enters: exchanges, in order. Leaves: `vendor.outage`, `vendor.rate_limited`,
//! `vendor.slow`, each from a detector of its own. Calls to servers on this machine or in a private network are not looked at.
//!
//! A finding is about a vendor, but its id names service, host and api. So of all services that see the same thing one is chosen to
//! tell of it ([`Episode`](super::episode::Episode)), and the others are named in its facts.
//!
//! State: listed in each file. Here none.

use crate::{
    exchange::{Api, Exchange},
    rules::vendors::CUSTOM,
};

mod failure;
pub mod outage;
pub mod rate_limited;
pub mod slow;
#[cfg(test)]
mod tests;

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;
const HOUR_NS: u64 = 60 * MINUTE_NS;

/// Names that are longer are no names of services, vendors or models; their calls are not watched.
const NAME_BYTES_MAX: usize = 256;
/// So often a finding that goes on is told anew.
const TELL_EVERY_NS: u64 = 5 * MINUTE_NS;
/// What learned a little is saved so often; what began or ended, at once.
const SAVE_EVERY_NS: u64 = MINUTE_NS;

/// The vendor that is called (of a host that the user added, the host), when it is one and its name and the service's can be kept.
fn vendor_of(exchange: &Exchange) -> Option<&str> {
    // Servers of tools have rules of their own, and no vendor in common.
    let vendor = exchange.paid_vendor().filter(|_| exchange.api != Api::McpStreamableHttp)?;
    // Hosts that the user added have nothing in common but that.
    let vendor = if vendor == CUSTOM { exchange.host.as_str() } else { vendor };
    (vendor.len() <= NAME_BYTES_MAX && exchange.origin.service.len() <= NAME_BYTES_MAX).then_some(vendor)
}

/// `37 %`
fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or_default()
}
