//! Room 7: findings leave the host. Enters: rows of the outbox behind a cursor. Leaves: records at a receiver, and a cursor that moves only
//! after the receiver said yes. It never holds matched text, for findings hold none, and it sends nowhere but where the config says.
//!
//! ```text
//!            ┌ one thread a sink ───────────────────────────────┐
//!   outbox ──┤ pages ► Record ► Receiver ──► Kafka, OTLP        │   a batch in order, several under way
//!   cursor ◄─┤ ◄─ the newest row before which all are taken ◄── │   Answer: taken, refused (dead letter), not now, broken
//!            └──────────────────────────────────────────────────┘
//! ```
//! At least once: after a failure everything behind the cursor is sent again, each record with the same id and the same bytes. What a
//! receiver will never take becomes a dead letter with its reason, and the cursor goes on.

mod host;
pub mod ocsf;
#[cfg(feature = "otlp")]
pub mod otlp;
mod receiver;

pub use self::{
    host::Host,
    receiver::{Answer, Answering, Appetite, ConnectError, Receiver, Record, Refused},
};
