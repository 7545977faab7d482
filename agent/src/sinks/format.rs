//! A record in the words of a sink's format. Enters: a [`Record`]. Leaves: one line of JSON, the same each time.

use super::{
    Host, ecs, ocsf,
    receiver::{Record, Refused},
};
use crate::config::RecordFormat;

/// The record as one line, without its line feed. An error: the finding's times are no times, so it was not made here.
pub(super) fn line(record: &Record, host: &Host, format: RecordFormat) -> Result<String, Refused> {
    let line = match format {
        RecordFormat::Native => Ok(record.payload.clone()),
        RecordFormat::Ocsf => ocsf::encode(&record.finding, host),
        RecordFormat::Ecs => ecs::encode(&record.finding, host),
    };
    line.map_err(|error| Refused {
        seq: record.seq,
        record_id: record.record_id.clone(),
        reason: "invalid",
        detail: format!("cannot be written as {format:?}: {error}"),
    })
}
