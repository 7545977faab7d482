//! The objects that only leaks have. Enters: a finding. Leaves: structs that borrow from it: what sort of data it was, where it stood, how much
//! was looked at. What matched is not in a finding, so it is not here: there is the masked excerpt.

use serde::Serialize;

use super::{
    kind::{self, Caption, Kind},
    objects::integer,
};
use crate::findings::{Excerpt, Finding, Location};

/// What sort of data leaked, and which rule says so.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct DataClassification<'a> {
    category_id: u8,
    category: &'static str,
    classifier_details: Classifier<'a>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Classifier<'a> {
    r#type: &'static str,
    uid: &'a str,
    name: &'a str,
}

impl<'a> DataClassification<'a> {
    pub(super) fn new(finding: &'a Finding, kind: Kind) -> Self {
        let Caption(category_id, category) = kind::data_category(finding);
        let Caption(_, r#type) = kind.analytic();
        let classifier_details = Classifier { r#type, uid: &finding.rule.id, name: &finding.rule.title };
        Self { category_id, category, classifier_details }
    }
}

/// What leaked, where, and how much of the call was looked at.
#[derive(Debug, Serialize)]
pub(super) struct DataSecurity<'a> {
    category_id: u8,
    category: &'static str,
    classifier_details: Classifier<'a>,
    data_lifecycle_state_id: u8,
    data_lifecycle_state: &'static str,
    detection_pattern: &'a str,
    detection_system_id: u8,
    detection_system: &'static str,
    discovery_details: [Discovery<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern_match: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_id: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

impl<'a> DataSecurity<'a> {
    pub(super) fn new(finding: &'a Finding, class: DataClassification<'a>) -> Self {
        let in_transit = finding.destination.is_some();
        let state = if in_transit { Caption(2, "Data in-Transit") } else { Caption(1, "Data at-Rest") };
        let Caption(detection_system_id, detection_system) = Caption(1, "Endpoint");
        let status = finding.coverage.map(|seen| {
            if seen.scanned_bytes >= seen.total_bytes { Caption(1, "Complete") } else { Caption(2, "Partial") }
        });
        Self {
            category_id: class.category_id,
            category: class.category,
            classifier_details: class.classifier_details,
            data_lifecycle_state_id: state.0,
            data_lifecycle_state: state.1,
            detection_pattern: &finding.rule.id,
            detection_system_id,
            detection_system,
            discovery_details: [Discovery {
                r#type: finding.entity.as_deref().unwrap_or(&finding.rule.id),
                count: integer(finding.count),
                occurrences: finding.location.as_ref().and_then(Occurrence::new).map(|occurrence| [occurrence]),
            }],
            pattern_match: finding.excerpt.as_ref().map(Excerpt::as_str),
            size: finding.coverage.map(|seen| seen.scanned_bytes),
            status_id: status.map(|status| status.0),
            status: status.map(|status| status.1),
        }
    }
}

#[derive(Debug, Serialize)]
struct Discovery<'a> {
    r#type: &'a str,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurrences: Option<[Occurrence<'a>; 1]>,
}

#[derive(Debug, Serialize)]
struct Occurrence<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    json_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_line: Option<u64>,
}

impl<'a> Occurrence<'a> {
    fn new(location: &'a Location) -> Option<Self> {
        let (json_path, start_line) = (location.path.as_deref(), location.line.map(integer));
        (json_path.is_some() || start_line.is_some()).then_some(Self { json_path, start_line })
    }
}
