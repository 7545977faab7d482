//! What a finding says and OCSF has no field for. Enters: a finding. Leaves: the object `unmapped`, flat, with OpenTelemetry's names where
//! there are such, else `outflow.` and the name that `docs/schema/finding-v1.json` has. Nothing is left out but what is null.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::{kind::Class, objects::Endpoint};
use crate::{
    findings::Finding,
    sinks::{gen_ai, names},
};

/// Serialises as the object.
#[derive(Debug)]
pub(super) struct Unmapped<'a> {
    pub(super) finding: &'a Finding,
    pub(super) class: Class,
}

impl Serialize for Unmapped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let finding = self.finding;
        let mut map = serializer.serialize_map(None)?;
        call(finding, &mut map)?;
        if finding.process.pid == 0 {
            entry(&mut map, "process.executable.name", some(&finding.process.name))?;
        }
        entry(&mut map, "outflow.schema_version", Some(finding.schema_version))?;
        entry(&mut map, "outflow.cost_nano_usd", finding.cost_nano_usd)?;
        entry(&mut map, "outflow.cost_source", finding.cost_source)?;
        if let Some(coverage) = &finding.coverage {
            entry(&mut map, "outflow.coverage.scanned_bytes", Some(coverage.scanned_bytes))?;
            entry(&mut map, "outflow.coverage.total_bytes", Some(coverage.total_bytes))?;
        }
        entry(&mut map, "outflow.excerpt", finding.excerpt.as_ref())?;
        if let Some(fingerprint) = &finding.fingerprint {
            entry(&mut map, "outflow.fingerprint.value", Some(&fingerprint.value))?;
            entry(&mut map, "outflow.fingerprint.key_id", Some(&fingerprint.key_id))?;
        }
        entry(&mut map, "outflow.feature", finding.process.feature.as_ref())?;
        entry(&mut map, "outflow.group", finding.group.as_ref())?;
        if let Some(location) = &finding.location {
            entry(&mut map, "outflow.location.side", location.side)?;
            entry(&mut map, "outflow.location.path", location.path.as_ref())?;
            entry(&mut map, "outflow.location.file", location.file.as_ref())?;
            entry(&mut map, "outflow.location.line", location.line)?;
            entry(&mut map, "outflow.location.byte_offset", location.byte_offset)?;
            entry(&mut map, "outflow.location.start", Some(location.start))?;
            entry(&mut map, "outflow.location.end", Some(location.end))?;
        }
        // The class of leaks has no field for a remedy.
        if self.class == Class::DataSecurity {
            entry(&mut map, "outflow.remedy", some(&finding.remedy))?;
            let references = &finding.rule.references;
            entry(&mut map, "outflow.rule.references", (!references.is_empty()).then_some(references))?;
        }
        entry(&mut map, "outflow.process.pod", finding.process.pod.as_ref())?;
        entry(&mut map, "outflow.process.kubernetes", finding.process.kubernetes.as_ref())?;
        entry(&mut map, "outflow.process.unit", finding.process.unit.as_ref())?;
        for (name, value) in finding.attributes.iter().filter(|(_, value)| **value != Value::Null) {
            map.serialize_entry(&Prefixed(name), value)?;
        }
        map.end()
    }
}

/// Whom the call went to and which model it was about.
fn call<M: SerializeMap>(finding: &Finding, map: &mut M) -> Result<(), M::Error> {
    if let Some(model) = &finding.model {
        entry(map, names::REQUEST_MODEL, model.requested.as_ref())?;
        entry(map, names::RESPONSE_MODEL, model.resolved.as_ref())?;
    }
    let Some(destination) = &finding.destination else { return Ok(()) };
    entry(map, names::PROVIDER, destination.vendor.as_deref().map(gen_ai::provider_name))?;
    entry(map, names::OPERATION, gen_ai::operation_name(&destination.api))?;
    if let Some(endpoint) = Endpoint::new(destination) {
        entry(map, names::SERVER_ADDRESS, Some(endpoint.address()))?;
        entry(map, names::SERVER_PORT, endpoint.port)?;
    }
    entry(map, "outflow.destination.api", Some(&destination.api))
}

/// Writes what is known.
pub(super) fn entry<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    value: Option<impl Serialize>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

/// A text that says something.
pub(super) fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The name of an attribute of ours.
struct Prefixed<'a>(&'a str);

impl Serialize for Prefixed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("outflow.{}", self.0))
    }
}
