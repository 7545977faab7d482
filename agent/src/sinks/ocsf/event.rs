//! One event: the fields that classes share, and which objects each class has. Enters: a finding and its host. Leaves: a struct that borrows
//! from both. Class and kind are decided in [`super::kind`], so there is one struct and a field that a class lacks stays empty.

use serde::{Serialize, ser::Error as _};

use super::{
    OCSF_VERSION,
    anomaly::Analysis,
    data_security::{DataClassification, DataSecurity},
    kind::{self, Caption, Class, Kind},
    objects::{
        Actor, Analytic, Cloud, Compliance, Container, Description, Device, Endpoint, Evidence, File, Observable,
        PRODUCT, Product, Remediation, Reporter, Resource, integer,
    },
    unmapped::Unmapped,
};
use crate::{
    findings::{Activity, Finding},
    sinks::Host,
    units::Timestamp,
};

const NS_IN_MS: u64 = 1_000_000;

/// A finding as OCSF has it, with the names of its schema.
#[derive(Debug, Serialize)]
pub(super) struct Event<'a> {
    activity_id: u8,
    activity_name: &'static str,
    category_uid: u8,
    category_name: &'static str,
    class_uid: u32,
    class_name: &'static str,
    type_uid: u32,
    type_name: &'static str,
    time: u64,
    start_time: u64,
    end_time: u64,
    severity_id: u8,
    severity: &'static str,
    confidence_id: u8,
    confidence: &'static str,
    confidence_score: u8,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_alert: Option<bool>,
    message: &'a str,
    metadata: Metadata<'a>,
    finding_info: FindingInfo<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compliance: Option<Compliance<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_security: Option<DataSecurity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remediation: Option<Remediation<'a>>,
    device: Device<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud: Option<Cloud<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Actor<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_endpoint: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_endpoint: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidences: Option<[Evidence<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<[Resource<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anomaly_analyses: Option<[Analysis<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observables: Option<[Observable<'a>; 1]>,
    unmapped: Unmapped<'a>,
}

#[derive(Debug, Serialize)]
struct Metadata<'a> {
    version: &'static str,
    uid: &'a str,
    event_code: &'a str,
    sequence: u32,
    product: Product,
    profiles: Vec<&'static str>,
    reporter: Reporter<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_classifications: Option<[DataClassification<'a>; 1]>,
}

#[derive(Debug, Serialize)]
struct FindingInfo<'a> {
    uid: &'a str,
    title: &'a str,
    desc: Description<'a>,
    types: Types<'a>,
    analytic: Analytic<'a>,
    data_sources: [&'static str; 1],
    created_time: u64,
    modified_time: u64,
    first_seen_time: u64,
    last_seen_time: u64,
}

/// Which kind of trouble, and what leaked.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Types<'a> {
    One([&'a str; 1]),
    Two([&'a str; 2]),
}

impl<'a> Event<'a> {
    /// An error: the finding's times are not RFC 3339.
    pub(super) fn new(finding: &'a Finding, host: &'a Host) -> Result<Self, serde_json::Error> {
        let kind = Kind::of(finding);
        let class = kind.class();
        let Caption(activity_id, activity_name) = kind::activity(finding.activity);
        let Caption(severity_id, severity) = kind::severity(finding.severity);
        let Caption(confidence_id, confidence) = kind::confidence(finding.confidence);
        let first_seen = ms(&finding.first_seen)?;
        let last_seen = if finding.last_seen == finding.first_seen { first_seen } else { ms(&finding.last_seen)? };
        let is_leak = class == Class::DataSecurity;
        let is_in_container = Container::of(&finding.process).is_some();
        let endpoint = finding.destination.as_ref().and_then(Endpoint::new);
        let file = File::new(finding.location.as_ref());
        let classification = is_leak.then(|| DataClassification::new(finding, kind));
        Ok(Self {
            activity_id,
            activity_name,
            category_uid: 2,
            category_name: "Findings",
            class_uid: class.uid(),
            class_name: class.name(),
            type_uid: class.uid() * 100 + u32::from(activity_id),
            type_name: class.type_name(finding.activity),
            time: last_seen,
            start_time: first_seen,
            end_time: last_seen,
            severity_id,
            severity,
            confidence_id,
            confidence,
            confidence_score: finding.confidence,
            count: integer(finding.count),
            // In 2003 the schema allows it only with the profile `incident` or `security_control`.
            is_alert: (class != Class::Compliance).then_some(finding.activity == Activity::Create),
            message: &finding.title,
            metadata: Metadata {
                version: OCSF_VERSION,
                uid: &finding.record_id,
                event_code: &finding.rule.id,
                sequence: finding.revision,
                product: PRODUCT,
                profiles: class.profiles(is_in_container, host.cloud.is_some()),
                reporter: Reporter::new(host),
                data_classifications: classification.map(|classification| [classification]),
            },
            finding_info: FindingInfo::new(finding, kind, first_seen, last_seen),
            compliance: Compliance::new(finding, kind),
            data_security: classification.map(|classification| DataSecurity::new(finding, classification)),
            remediation: (!is_leak).then(|| Remediation::new(finding)),
            device: Device::new(host, &finding.process),
            cloud: Cloud::new(host),
            actor: Actor::new(finding),
            src_endpoint: (is_leak && endpoint.is_some()).then(|| Endpoint::of_host(host)),
            dst_endpoint: endpoint.filter(|_| is_leak),
            file: file.filter(|_| is_leak),
            evidences: if is_leak { None } else { Evidence::new(finding, endpoint, file).map(|evidence| [evidence]) },
            resources: if is_leak { None } else { Resource::new(finding, kind).map(|resource| [resource]) },
            anomaly_analyses: Analysis::of(finding),
            observables: Observable::new(endpoint, file, !is_leak).map(|observable| [observable]),
            unmapped: Unmapped { finding, class },
        })
    }
}

impl<'a> FindingInfo<'a> {
    fn new(finding: &'a Finding, kind: Kind, first_seen: u64, last_seen: u64) -> Self {
        let category = finding.category.as_str();
        Self {
            uid: &finding.finding_id,
            title: &finding.title,
            desc: Description::new(finding),
            types: match finding.entity.as_deref() {
                Some(entity) => Types::Two([category, entity]),
                None => Types::One([category]),
            },
            analytic: Analytic::new(finding, kind),
            data_sources: [kind.data_source(finding)],
            // A finding is made when it is seen first, and changed when it is seen again.
            created_time: first_seen,
            modified_time: last_seen,
            first_seen_time: first_seen,
            last_seen_time: last_seen,
        }
    }
}

/// Milliseconds since the Unix epoch, as OCSF writes times.
fn ms(rfc3339: &str) -> Result<u64, serde_json::Error> {
    let time = Timestamp::parse(rfc3339);
    time.map(|time| time.0 / NS_IN_MS)
        .ok_or_else(|| serde_json::Error::custom(format!("{rfc3339:?} is no time: this is no finding of Outflow's")))
}
