//! Room 5: hits become facts that may leave the host. Enters: [`Hit`](crate::detectors::Hit). Leaves: [`Finding`]. Pure; the
//! only place that may turn matched text into an excerpt, and it is masked here ([`mask`]); what a peer wrote as a name is shown
//! only when it looks like one ([`shown`]).
//!
//! [`Maker`] makes one occurrence of a hit; [`Finding::absorb`] takes another one in. [`Findings`] counts with them in memory, the
//! store on disk.

mod absorb;
mod baseline;
mod call;
mod counted;
mod finding;
mod fingerprint;
mod fleet_stale;
mod gap;
mod handshake;
mod json_place;
mod lines;
mod maker;
pub mod mask;
mod mentioned;
mod parties;
mod place;
mod policy;
mod record;
mod shown;
mod store_loss;
#[cfg(test)]
mod tests;
mod unseen;

pub use self::{
    baseline::{BASELINE_ENTRIES_MAX, Baseline, BaselineError},
    call::Call,
    counted::{Findings, MAX_OPEN, UPDATE_INTERVAL_NS},
    finding::{
        Activity, Category, Coverage, Destination, FINDING_EVENT, Finding, HalfName, Kubernetes, Location, Model,
        Process, Rule, SCHEMA_VERSION, finding_schema,
    },
    fingerprint::{BadKey, Fingerprint, FingerprintKey},
    fleet_stale::{FLEET_STALE, FleetStale, fleet_stale_id},
    gap::LOG_GAP,
    handshake::HANDSHAKE_FAILED,
    lines::{MaskedLine, Surroundings},
    maker::{JOURNAL_CURSOR, Maker},
    mask::Excerpt,
    mentioned::UNPINNED,
    policy::{Allow, Policy, Silence},
    record::{EXCHANGE_EVENT, ExchangeRecord},
    shown::{host, identifier},
    store_loss::{STORE_DAMAGED, STORE_FULL, store_damaged, store_full, store_refused},
    unseen::UNKNOWN_TLS_STACK,
};

#[cfg(feature = "otlp")]
pub(crate) use self::parties::process;
pub(crate) use self::{absorb::record_id, maker::Identity, parties::UsageNames};

/// Longest text that a peer or a program may put into one field of a finding, in characters.
const MAX_FIELD_CHARS: usize = 256;

/// A text of this host or of the rules. What a peer wrote goes through [`shown`].
fn field(text: &str) -> String {
    mask::bounded(text, MAX_FIELD_CHARS)
}
