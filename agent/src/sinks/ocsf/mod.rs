//! Findings as OCSF events (Open Cybersecurity Schema Framework 1.8.0), for a SIEM or a data lake. Enters: a [`Finding`] and the [`Host`]
//! it was made on. Leaves: one event as JSON text, the same bytes for the same two, always. It says nothing that the finding does not
//! say, reads no clock and draws no random number.
//!
//! `kind` decides the class: 2006 for leaks, 2003 for models that can change or end, 2004 for the rest. `event` is the event, `objects` and
//! `data_security` are its parts, `unmapped` holds what OCSF has no place for. `docs/OCSF.md` has the mapping field by field.
//!
//! The profile `ai_operation` is not used on findings: 1.8.0 allows it on calls alone, and its validator refuses it there. A call is an event of
//! class 6003 with that profile (`call`).

mod anomaly;
mod call;
mod data_security;
mod event;
mod kind;
mod objects;
#[cfg(test)]
mod tests;
mod unmapped;

use serde::{Serialize, ser::Error as _};

pub(super) use self::objects::Endpoint;
use super::Host;
use crate::findings::{Call, Finding};

/// The version of OCSF that events follow.
pub const OCSF_VERSION: &str = "1.8.0";

/// Room for most events (some 2,900 bytes): text that grows is copied each time.
const EVENT_BYTES: usize = 4096;

/// A finding of this host as one OCSF event, one line of JSON. An error: the finding's times are no times, so it was not made here.
pub fn encode(finding: &Finding, host: &Host) -> Result<String, serde_json::Error> {
    json(&event::Event::new(finding, host)?)
}

/// A call that this host saw as one OCSF event, one line of JSON. `record_id` names it among all.
pub fn encode_call(call: &Call, record_id: &str, host: &Host) -> Result<String, serde_json::Error> {
    json(&call::CallEvent::new(call, record_id, host))
}

fn json(event: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut json = Vec::with_capacity(EVENT_BYTES);
    serde_json::to_writer(&mut json, event)?;
    String::from_utf8(json).map_err(serde_json::Error::custom)
}

/// The number of a finding's class: 2003, 2004 or 2006.
pub fn class_uid(finding: &Finding) -> u32 {
    kind::Kind::of(finding).class().uid()
}

/// The numbers of all classes that findings have.
pub const FINDING_CLASSES: [u32; 3] = [2003, 2004, 2006];
