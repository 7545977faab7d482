//! What was expected and what came instead, for the findings that compare. Enters: a finding. Leaves: the object `anomaly_analyses`, made
//! from the finding's attributes; nothing for findings that compare nothing, or whose attributes are missing.

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{findings::Finding, sinks::names};

/// A pair of facts that a rule compares.
struct Comparison {
    /// `output.*` stands for all rules that begin so.
    rule: &'static str,
    target: Of,
    /// Which number or name it is about.
    parameter: &'static str,
    seen: Shown,
    usual: Shown,
    /// The fact that says in how many calls the usual was seen.
    calls: Option<&'static str>,
}

/// Whose number it is.
#[derive(Clone, Copy)]
enum Of {
    Service,
    /// What a fact names, and what it is.
    Named(&'static str, &'static str),
}

/// How facts are shown.
#[derive(Clone, Copy)]
enum Shown {
    /// As it is.
    Plain(&'static str),
    /// Of a hundred.
    Percent(&'static str),
    /// `3 of 20`, from two facts.
    Share(&'static str, &'static str),
    /// Likewise from one with two numbers.
    Pair(&'static str),
}

use Of::{Named, Service};
use Shown::{Pair, Percent, Plain, Share};

const MODEL: Of = Named("model.requested", "model");
const TOOL: Of = Named("tool.name", "tool");
const INDEX: Of = Named("retrieval.index", "index");

const fn comparison(
    rule: &'static str,
    target: Of,
    parameter: &'static str,
    seen: Shown,
    usual: Shown,
    calls: Option<&'static str>,
) -> Comparison {
    Comparison { rule, target, parameter, seen, usual, calls }
}

/// The rules that compare. Of several rows of one rule, the first is used whose facts the finding has.
#[rustfmt::skip]
const COMPARISONS: [Comparison; 17] = [
    comparison("model.resolved_changed", MODEL, names::RESPONSE_MODEL, Plain("model.resolved"), Plain("model.resolved_before"), Some("model.calls_before")),
    comparison("model.flapping", MODEL, names::RESPONSE_MODEL, Plain("model.resolved"), Plain("model.resolved_before"), Some("model.calls_before")),
    comparison("cost.burn_rate", Service, "spend in a window of the budget, nano-USD", Plain("budget.projected_nano_usd"), Plain("budget.limit_nano_usd"), None),
    comparison("cost.burn_rate", Service, "tokens in a window of the budget", Plain("budget.projected_tokens"), Plain("budget.limit_tokens"), None),
    comparison("cost.rate_shift", Service, "spend in an hour, nano-USD", Plain("cost.hour_nano_usd"), Plain("cost.usual_hour_nano_usd"), None),
    comparison("cost.rate_shift", Service, "spend, nano-USD", Plain("cost.spent_nano_usd"), Plain("cost.usual_nano_usd"), None),
    comparison("cost.creep", Service, "weighted tokens of a call", Plain("cost.weighted_tokens"), Plain("cost.usual_weighted_tokens"), None),
    comparison("cost.request_outlier", Service, "cost of a call, nano-USD", Plain("cost.request_nano_usd"), Plain("cost.median_nano_usd"), None),
    comparison("output.*", Service, "answers of that kind", Pair("output.recent"), Pair("output.baseline"), None),
    comparison("agent.runaway", Service, "turns of a conversation", Plain("agent.turns"), Plain("agent.usual_turns"), None),
    comparison("agent.runaway", Service, names::INPUT_TOKENS, Plain("agent.input_tokens"), Plain("agent.input_tokens_before"), None),
    comparison("tool.slow", TOOL, "time of a call (p95), ms", Plain("tool.p95_ms"), Plain("tool.usual_p95_ms"), None),
    comparison("tool.errors", TOOL, "calls that failed", Share("tool.failures", "tool.calls"), Percent("tool.usual_failures_percent"), None),
    comparison("vendor.slow", Named("vendor.id", "vendor"), "latency, ms", Plain("vendor.latency_ms"), Plain("vendor.latency_usual_ms"), Some("vendor.baseline_calls")),
    comparison("retrieval.empty", INDEX, "searches that found nothing", Share("retrieval.searches_empty", "retrieval.searches"), Percent("retrieval.usual_empty_percent"), None),
    comparison("retrieval.old_documents", INDEX, "age of the newest document, days", Plain("retrieval.document_age_days"), Plain("retrieval.usual_document_age_days"), None),
    comparison("retrieval.chunks_changed", MODEL, "size of a chunk, bytes", Plain("retrieval.chunk_bytes"), Plain("retrieval.usual_chunk_bytes"), None),
];

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

/// Numbers or a text, always written as a text.
#[derive(Debug)]
enum Text<'a> {
    Plain(&'a Value),
    Percent(&'a Value),
    Share(&'a Value, &'a Value),
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(Value::String(text)) => serializer.serialize_str(text),
            Self::Plain(other) => serializer.collect_str(other),
            Self::Percent(number) => serializer.collect_str(&format_args!("{number} %")),
            Self::Share(some, all) => serializer.collect_str(&format_args!("{some} of {all}")),
        }
    }
}

/// A fact that is known.
fn fact<'a>(finding: &'a Finding, name: &str) -> Option<&'a Value> {
    finding.attributes.get(name).filter(|value| !value.is_null())
}

impl Shown {
    fn of(self, finding: &Finding) -> Option<Text<'_>> {
        Some(match self {
            Self::Plain(name) => Text::Plain(fact(finding, name)?),
            Self::Percent(name) => Text::Percent(fact(finding, name)?),
            Self::Share(some, all) => Text::Share(fact(finding, some)?, fact(finding, all)?),
            Self::Pair(name) => {
                let [some, all] = fact(finding, name)?.as_array()?.as_slice() else { return None };
                Text::Share(some, all)
            }
        })
    }
}

impl Comparison {
    fn is_of(&self, rule: &str) -> bool {
        self.rule.strip_suffix('*').map_or(self.rule == rule, |family| rule.starts_with(family))
    }

    fn analysis<'a>(&self, finding: &'a Finding) -> Option<Analysis<'a>> {
        let target = match self.target {
            Service => Target { name: &finding.process.service, r#type: "service" },
            Named(name, r#type) => Target { name: fact(finding, name)?.as_str()?, r#type },
        };
        let calls = self.calls.and_then(|name| fact(finding, name)).and_then(Value::as_u64);
        let observed = |value, count| Observed {
            observation_parameter: self.parameter,
            observations: [Observation { value, count }],
        };
        Some(Analysis {
            targets: [target],
            anomalies: [observed(self.seen.of(finding)?, None)],
            baselines: [observed(self.usual.of(finding)?, calls)],
        })
    }
}

impl<'a> Analysis<'a> {
    pub(super) fn of(finding: &'a Finding) -> Option<[Self; 1]> {
        let mut of_rule = COMPARISONS.iter().filter(|comparison| comparison.is_of(&finding.rule.id));
        of_rule.find_map(|comparison| comparison.analysis(finding)).map(|analysis| [analysis])
    }
}
