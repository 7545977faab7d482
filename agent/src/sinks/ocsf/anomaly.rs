//! What was expected and what came instead, for the findings that compare. Enters: a finding and its kind. Leaves: the object
//! `anomaly_analyses`, made from the finding's attributes; nothing for findings that compare nothing, or whose attributes are missing.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::kind::Kind;
use crate::findings::Finding;

#[derive(Debug, Serialize)]
pub(super) struct Analysis<'a> {
    #[serde(rename = "analysis_targets")]
    targets: [Target<'a>; 1],
    anomalies: [Observed<'a>; 1],
    baselines: [Observed<'a>; 1],
}

#[derive(Debug, Serialize)]
struct Target<'a> {
    name: &'a str,
    r#type: &'static str,
}

#[derive(Debug, Serialize)]
struct Observed<'a> {
    observation_parameter: &'static str,
    observations: [Observation<'a>; 1],
}

#[derive(Debug, Serialize)]
struct Observation<'a> {
    value: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// A number or a text, always written as a text.
#[derive(Debug)]
struct Text<'a>(&'a Value);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) => serializer.serialize_str(text),
            other => serializer.collect_str(other),
        }
    }
}

impl<'a> Analysis<'a> {
    pub(super) fn of(finding: &'a Finding, kind: Kind) -> Option<[Self; 1]> {
        let fact = |name: &str| finding.attributes.get(name).filter(|value| !value.is_null());
        let (target, parameter, baseline, count, seen) = match kind {
            Kind::ResolvedChanged | Kind::Flapping => (
                Target { name: fact("model.requested")?.as_str()?, r#type: "model" },
                "gen_ai.response.model",
                fact("model.resolved_before")?,
                fact("model.calls_before").and_then(Value::as_u64),
                fact("model.resolved")?,
            ),
            Kind::BurnRate => (
                Target { name: &finding.process.service, r#type: "service" },
                "spend in a window of the budget, nano-USD",
                fact("budget.limit_nano_usd")?,
                None,
                fact("budget.projected_nano_usd")?,
            ),
            _ => return None,
        };
        let observed = |value, count| Observed {
            observation_parameter: parameter,
            observations: [Observation { value: Text(value), count }],
        };
        Some([Self { targets: [target], anomalies: [observed(seen, None)], baselines: [observed(baseline, count)] }])
    }
}
