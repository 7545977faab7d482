//! Beside the river: the circuit breaker. Enters: which budgets are exhausted now, by name, and until when. Leaves: control groups in
//! which nothing goes to LLM vendors any more, and word of it. It knows nothing of money, acts on no group that the config does not
//! name, and is off unless a budget says `enforce = true`.
//!
//! [`Board`] decides and is pure; [`Gate`] is one control group in the kernel; [`Breakers`] moves the gates as the board
//! says; [`Signals`] tells others.

mod board;
mod breakers;
#[cfg(feature = "tap")]
mod gate;
#[cfg(not(feature = "tap"))]
#[path = "no_gate.rs"]
mod gate;
mod network;
mod signals;
#[cfg(feature = "otlp")]
mod webhook;
#[cfg(not(feature = "otlp"))]
#[path = "no_webhook.rs"]
mod webhook;

use std::{io, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    board::{Board, Change, Exhausted, Moved, Standing},
    breakers::{Breakers, Group},
    gate::{Gate, try_load},
    network::Network,
    signals::{Signal, Signals, Targets},
};
use crate::sources::refusal::Barrier;

/// What is done with what cannot be read while a budget is exhausted: a handshake without a readable name of a server, and QUIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unreadable {
    /// It is stopped: fail closed.
    #[default]
    Drop,
    /// It goes through.
    Pass,
}

/// A socket's cookie, and what its handshake said (`outflow_ebpf::wire::breaker`).
pub type Connection = (u64, u32);

/// How often a gate of a group saw or stopped something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Handshakes with vendors, stopped or not.
    pub vendor_handshakes: u64,
    /// Handshakes that do not say readably with whom, stopped or not.
    pub unreadable_handshakes: u64,
    /// Packets with handshakes that were stopped; one that is sent again counts again.
    pub stopped_handshakes: u64,
    /// Packets with data of connections that were there before, stopped.
    pub stopped_packets: u64,
    /// Packets of QUIC, stopped.
    pub stopped_quic: u64,
    /// Packets and connection attempts to listed networks, stopped.
    pub stopped_networks: u64,
}

/// Why a circuit breaker does not work.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// This process may not, or the kernel is set to let nobody.
    #[error("{barrier} (the kernel refused the circuit breaker: {kernel})")]
    NotPermitted {
        /// What stands in the way.
        barrier: Barrier,
        /// In the words of the kernel.
        kernel: io::Error,
    },
    /// The control group cannot be opened.
    #[error("cannot open the control group {}: {source}; it must be there when the agent starts", folder.display())]
    Group {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("the kernel refused the circuit breaker for {}: {why}", folder.display())]
    Kernel {
        /// For which group.
        folder: PathBuf,
        /// In its words.
        why: String,
    },
    /// No kernel programs in this binary.
    #[error("this binary was built without kernel programs, so it can stop nothing: build with the feature `tap`")]
    NotBuilt,
    /// A file or thread of signals.
    #[error("{what}: {source}")]
    Signal {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
}

impl EnforceError {
    /// This process may not, and another one might.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::NotPermitted { .. })
    }
}
