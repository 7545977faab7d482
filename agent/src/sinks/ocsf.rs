//! Findings as OCSF 1.8.0 events.
