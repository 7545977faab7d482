//! Finds single calls that take more than one call may. Enters: exchanges, and the operator's limits. Leaves: `cost.request_limit`.
//! It stops no call: what a call costs is known when it is over. The limits can be changed while it works; it holds no other state.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::{Behaviour, Detector, Hit, budget::Limit, call_scope::CallScope};
use crate::{exchange::Exchange, units::Severity};

/// What one call may take.
#[derive(Clone, Debug)]
pub struct RequestLimit {
    /// What the operator calls it.
    pub name: Option<String>,
    /// Which calls.
    pub scope: CallScope,
    /// How much.
    pub limit: Limit,
}

/// The detector. A clone shares the limits with it.
#[derive(Clone, Debug, Default)]
pub struct RequestLimits {
    limits: Arc<Mutex<Arc<[RequestLimit]>>>,
}

impl RequestLimits {
    /// With these limits.
    pub fn new(limits: Vec<RequestLimit>) -> Self {
        Self { limits: Arc::new(Mutex::new(limits.into())) }
    }

    /// These count from the next call on.
    pub fn set(&self, limits: Vec<RequestLimit>) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits.into();
    }
}

impl Detector for RequestLimits {
    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let limits = Arc::clone(&*self.limits.lock().unwrap_or_else(PoisonError::into_inner));
        for limit in limits.iter() {
            let unit = limit.limit.unit();
            let (taken, allowed) = (unit.of(exchange), limit.limit.amount());
            if taken > allowed && limit.scope.owner(exchange).is_some() {
                emit(Hit::Behaviour(tell(exchange, limit, taken)));
            }
        }
    }
}

fn tell<'a>(exchange: &'a Exchange, limit: &RequestLimit, taken: u64) -> Behaviour<'a> {
    let (unit, allowed) = (limit.limit.unit(), limit.limit.amount());
    let label = limit.name.clone().unwrap_or_else(|| limit.scope.label());
    let model = exchange.request_model.as_deref().unwrap_or("a model");
    let (taken_name, allowed_name) = match limit.limit {
        Limit::Usd(_) => ("cost.request_nano_usd", "cost.request_limit_nano_usd"),
        Limit::Tokens(_) => ("cost.request_tokens", "cost.request_limit_tokens"),
    };
    Behaviour {
        rule: "cost.request_limit",
        references: Vec::new(),
        key: format!("{label} {unit:?} {}", model.to_lowercase()),
        severity: if taken / 10 >= allowed { Severity::High } else { Severity::Medium },
        confidence: 95,
        title: format!("a call of `{model}` took {}, and one may take {}", unit.shown(taken), unit.shown(allowed)),
        case: None,
        facts: vec![
            ("budget.name", json!(label)),
            (taken_name, json!(taken)),
            (allowed_name, json!(allowed)),
            ("usage.input_tokens", json!(exchange.usage.input_tokens)),
            ("usage.output_tokens", json!(exchange.usage.output_tokens)),
        ],
        exchange,
    }
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;
    use crate::{
        detectors::call_scope::By,
        exchange::{Cost, CostSource, Usage, sample},
        units::NanoUsd,
    };

    fn seen(exchange: &Exchange) -> Vec<String> {
        let scope = |by, text: &str| CallScope::new(vec![(by, Glob::new(text).unwrap().compile_matcher())]);
        let mut limits = RequestLimits::new(vec![
            RequestLimit { name: None, scope: scope(By::Service, "*"), limit: Limit::Tokens(2000) },
            RequestLimit {
                name: Some("dear".into()),
                scope: scope(By::Model, "gpt-*"),
                limit: Limit::Usd(NanoUsd(50_000_000)),
            },
        ]);
        let mut seen = Vec::new();
        limits.inspect(exchange, &mut |hit| match hit {
            Hit::Behaviour(hit) => seen.push(format!("{} {}", hit.severity, hit.title)),
            Hit::Leak(_) => panic!("this detector knows no leaks"),
        });
        seen
    }

    #[test]
    fn only_what_is_above_a_limit_is_told() {
        let call = |model: &str, input, output, nano| {
            let mut call = sample::exchange("openai", model);
            call.usage = Usage { input_tokens: input, output_tokens: output, ..Usage::default() };
            call.cost = Some(Cost { nano_usd: NanoUsd(nano), source: CostSource::Provider, catalogue: String::new() });
            call
        };
        let cases = [
            (call("gpt-4o", Some(1900), Some(100), 50_000_000), vec![]),
            (
                call("gpt-4o", Some(1900), Some(101), 0),
                vec!["medium a call of `gpt-4o` took 2001 tokens, and one may take 2000 tokens"],
            ),
            (
                call("gpt-4o", None, Some(20_000), 60_000_000),
                vec![
                    "high a call of `gpt-4o` took 20000 tokens, and one may take 2000 tokens",
                    "medium a call of `gpt-4o` took $0.06, and one may take $0.05",
                ],
            ),
            (call("o3", Some(10), Some(10), 60_000_000), vec![]),
        ];
        for (exchange, expected) in cases {
            assert_eq!(seen(&exchange), expected);
        }
        assert!(seen(&Exchange { cost: None, ..sample::exchange("openai", "gpt-4o") }).is_empty());
    }
}
