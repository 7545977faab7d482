//! Findings leave the host: `outflow run` with a sink, and a receiver that we did not write. The receiver is stopped and killed, and so is the
//! agent; what must have arrived in the end is known to the store: [`scene`].
//!
//! OUTFLOW_TEST_KAFKA names other brokers; then tests that would stop them are skipped. OUTFLOW_LONG=1 keeps a receiver down for a minute.

mod broker;
mod kills;
mod otelite;
mod scene;
mod tansu;
mod topic;
