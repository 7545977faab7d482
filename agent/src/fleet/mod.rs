//! Beside the river: budgets that all hosts of a fleet have together. Enters: records of what calls used, and of what was spent, both from Kafka.
//! Leaves: totals that agents judge their budgets by, and records of them for the compacted topic of budget state. It never blocks a call, and
//! never judges: that is `detectors/budget`.
//!
//! ```text
//!   usage topic ──► Tally, one a partition ──► state topic, compacted ──► View of each agent ──► BudgetWatch
//!   (all hosts)     `outflow fleet`            a total a budget, owner,    stale: nothing,        max(fleet, here)
//!                   exact after kill -9        window and partition        and a finding
//! ```
//! A total carries the place in the usage topic up to which it counts, so what is read again is known to be counted: [`tally`] says how.

mod record;
mod seen;
pub mod tally;
mod view;

#[cfg(feature = "kafka")]
mod client;
#[cfg(feature = "kafka")]
mod follow;
#[cfg(not(feature = "kafka"))]
#[path = "no_follow.rs"]
mod follow;
#[cfg(feature = "kafka")]
mod group;
#[cfg(feature = "kafka")]
mod writer;

#[cfg(feature = "kafka")]
pub use self::group::{Group, GroupNotice};
pub use self::{
    follow::Follower,
    record::{
        Identity, PROGRESS_EVENT, Progress, Refusal, STATE_SCHEMA_VERSION, StateKey, StateRecord, TOTAL_EVENT, Total,
        WHOLE, state_schema,
    },
    view::{Counts, Standing, View},
};

/// Why there is no fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A file, a variable or a setting.
    #[error("[fleet]: {0}")]
    Settings(String),
    /// Something that Kafka says.
    #[error("{what}: {why}")]
    Kafka {
        /// What was tried.
        what: String,
        /// In librdkafka's words.
        why: String,
    },
    /// No thread.
    #[error("the thread that reads the budgets of the fleet: {0}")]
    Thread(std::io::Error),
    /// This program cannot.
    #[error("[fleet]: this outflow was built without Kafka (cargo feature `kafka`)")]
    NotBuilt,
}
