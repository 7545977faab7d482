//! Beside the river: wires the rooms together; holds no logic of theirs.
//!
//! ```text
//!   source ──Input──► worker 0   assembly ► exchange ► scan ─┐
//!          ──Input──► worker 1   assembly ► exchange ► scan ─┼──► session: behaviour detectors ► findings ► sink
//!              by connection     (one thread each)           ─┘    (one lock, taken once an exchange)
//!   tail ──LogInput──► log worker 0..n   scan ► findings ─┬───► store, with the checkpoint of the block
//!                        calls that lines tell of ► session of the logs ─┘
//! ```
//! What is heavy and needs only one connection runs in the workers without locks. What compares calls with one another (a
//! model that changed, a finding that repeats) sees all calls of all connections in one place. A sink prints ([`crate::cli`]), keeps ([`Durable`]) or both.

mod detectors;
mod durable;
mod found;
mod known_calls;
mod live;
mod logged;
mod logs;
mod rules;
mod scan_files;
mod session;
mod workers;

pub use self::{
    detectors::all as behaviour_detectors,
    durable::{Both, Durable},
    found::Silenced,
    known_calls::KnownCalls,
    live::{LiveRules, LiveScanner},
    logged::LoggedSession,
    logs::{LogDeliver, LogWorkers, Unseen as LogUnseen, Watch as LogWatch},
    rules::{LoadError, Rules},
    scan_files::{ScanOptions, Scanned, scan_files},
    session::{Outcome, Session, Sink, Told},
    workers::{Deliver, Shard, Workers},
};
