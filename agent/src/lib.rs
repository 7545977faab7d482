//! Outflow, the host agent: what leaves a host for LLM vendors, and what applications write to their logs.
//!
//! The rooms stand in the order in which data flows. A room may use the types of earlier rooms, and of the rooms beside the
//! river, never those of later rooms (`cargo xtask tidy` checks it). Rooms 2 to 5 do no I/O, know no async runtime and read
//! no clock: time arrives inside [`sources::Input`].
#![cfg_attr(not(feature = "tap"), deny(unsafe_code))]

pub mod sources; // 1  where bytes enter: Input

pub mod assembly; // 2  bytes become messages: Message

pub mod exchange; // 3  messages become one LLM call: Exchange

pub mod detectors; // 4  calls become hits: Hit

pub mod findings; // 5  hits become facts that may leave the host: Finding

pub mod store; // 6  what was found becomes durable: rows, and an outbox for the sinks

pub mod sinks; // 7  findings leave the host

// Beside the river.
mod child;
pub mod cli;
pub mod clock;
pub mod config;
pub mod enforce;
pub mod engine;
pub mod fleet;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod lru;
pub mod rules;
mod spare;
pub mod telemetry;
pub mod units;
