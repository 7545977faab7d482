//! Something that goes on and is seen by several services. Enters: calls. Leaves: which of them to tell it by. The id of a finding names service,
//! host and api; so that one thing is one finding, one caller tells of it for as long as it goes on calling.

use serde::{Deserialize, Serialize};

use super::digest::digest;
use crate::{exchange::Exchange, units::Timestamp};

/// When the caller that tells makes no call for so long, another one takes over: half an hour.
const QUIET_NS: u64 = 1_800_000_000_000;

/// Something that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Episode {
    /// Since when, nanoseconds.
    pub(super) since: u64,
    /// Hash of service, host and api that tell of it.
    lead: u64,
    /// When those were asked last.
    lead_at: u64,
    /// When it was told last; 0: never.
    told_at: u64,
}

impl Episode {
    /// It began at `since`, and this call saw it.
    pub(super) fn new(since: Timestamp, exchange: &Exchange) -> Self {
        let at = exchange.ended_at.0;
        Self { since: since.0.min(at), lead: lead(exchange), lead_at: at, told_at: 0 }
    }

    /// Whether this call is the one to tell it by, now: at first, and then every `every_ns`.
    pub(super) fn tells(&mut self, exchange: &Exchange, every_ns: u64) -> bool {
        let (at, caller) = (exchange.ended_at, lead(exchange));
        if caller != self.lead && at.since_ns(Timestamp(self.lead_at)) <= QUIET_NS {
            return false;
        }
        (self.lead, self.lead_at) = (caller, self.lead_at.max(at.0));
        let is_due = self.told_at == 0 || at.since_ns(Timestamp(self.told_at)) >= every_ns;
        if is_due {
            self.told_at = at.0;
        }
        is_due
    }
}

fn lead(exchange: &Exchange) -> u64 {
    digest(&[&exchange.origin.service, &exchange.host, exchange.api.as_str()])
}
