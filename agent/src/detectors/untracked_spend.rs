//! Finds money that nobody counts. Enters: an exchange. Leaves: `cost.untracked`, for a stream that carried no usage because
//! nobody asked for it, and for a model that no catalogue prices. It holds no state and never fires on errors or on calls
//! that were not seen whole.

use serde_json::json;

use super::{Behaviour, Detector, Hit};
use crate::{
    exchange::{Api, Exchange, Usage},
    units::Severity,
};

/// The detector.
#[derive(Clone, Copy, Debug, Default)]
pub struct UntrackedSpend;

impl Detector for UntrackedSpend {
    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        if !exchange.succeeded() || !exchange.view.complete {
            return;
        }
        if stream_without_usage(exchange) {
            emit(Hit::Behaviour(no_usage(exchange)));
        } else if let Some(hit) = no_price(exchange) {
            emit(Hit::Behaviour(hit));
        }
    }
}

/// Chat completion streams carry usage if and only if it was asked for: 225 of 225 recorded streams (anchors-llm §1.3). Every
/// other shape always carries it. An answer that asked and got none is the vendor's slip, and no advice would help.
fn stream_without_usage(exchange: &Exchange) -> bool {
    exchange.api == Api::ChatCompletions
        && exchange.streaming
        && exchange.usage == Usage::default()
        && exchange.usage_requested != Some(true)
}

fn no_usage(exchange: &Exchange) -> Behaviour<'_> {
    let model = exchange.request_model.as_deref().unwrap_or("unknown");
    Behaviour {
        rule: "cost.untracked",
        rule_title: "Spend that nobody counts",
        references: vec!["https://platform.openai.com/docs/api-reference/chat/create".to_owned()],
        key: format!("no_usage {}", model.to_lowercase()),
        severity: Severity::Low,
        confidence: 95,
        title: format!("streamed answers of `{model}` carry no token counts"),
        remedy: "Set `stream_options: {\"include_usage\": true}` in streamed chat completions.",
        facts: vec![("cost.reason", json!("stream_without_usage")), ("model.requested", json!(model))],
        exchange,
    }
}

fn no_price(exchange: &Exchange) -> Option<Behaviour<'_>> {
    let counted = exchange.usage.input_tokens.is_some() || exchange.usage.output_tokens.is_some();
    let billed = exchange.api.is_billed();
    let model = exchange.response_model.as_deref().or(exchange.request_model.as_deref())?;
    // Without a vendor there is nobody whose price could be known: a model served at home costs electricity.
    exchange.paid_vendor()?;
    if !counted || !billed || exchange.cost.is_some() {
        return None;
    }
    Some(Behaviour {
        rule: "cost.untracked",
        rule_title: "Spend that nobody counts",
        references: Vec::new(),
        key: format!("no_price {}", model.to_lowercase()),
        severity: Severity::Low,
        confidence: 80,
        title: format!("no price is known for `{model}`"),
        remedy: "Update Outflow's price catalogue, or check the vendor's bill for this model.",
        facts: vec![
            ("cost.reason", json!("price_unknown")),
            ("model.requested", json!(exchange.request_model)),
            ("model.resolved", json!(exchange.response_model)),
            ("usage.input_tokens", json!(exchange.usage.input_tokens)),
            ("usage.output_tokens", json!(exchange.usage.output_tokens)),
        ],
        exchange,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Catalogue, Prices as _, sample};

    fn seen(exchange: &Exchange) -> Vec<String> {
        let cost = Catalogue::bundled().price(exchange);
        let priced = Exchange { cost, ..exchange.clone() };
        let mut seen = Vec::new();
        UntrackedSpend.inspect(&priced, &mut |hit| match hit {
            Hit::Behaviour(hit) => {
                assert_eq!((hit.rule, hit.severity), ("cost.untracked", Severity::Low));
                seen.push(hit.key);
            }
            Hit::Leak(_) => panic!("this detector knows no leaks"),
        });
        seen
    }

    fn stream() -> Exchange {
        Exchange { streaming: true, usage: Usage::default(), ..sample::exchange("openai", "gpt-4o-mini") }
    }

    #[test]
    fn streams_without_usage_and_models_without_price_are_told() {
        let cases = [
            (stream(), "no_usage gpt-4o-mini"),
            (Exchange { usage_requested: Some(false), ..stream() }, "no_usage gpt-4o-mini"),
            (sample::exchange("openai", "acme-private-1"), "no_price acme-private-1"),
        ];
        for (exchange, key) in cases {
            assert_eq!(seen(&exchange), [key]);
        }
    }

    #[test]
    fn what_is_counted_unseen_or_free_is_not_told() {
        let mut hole = stream();
        hole.view.complete = false;
        let mut unknown_hole = sample::exchange("openai", "acme-private-1");
        unknown_hole.view.complete = false;
        let cases = vec![
            ("counted", sample::exchange("openai", "gpt-4o-mini")),
            ("asked, so the vendor's slip", Exchange { usage_requested: Some(true), ..stream() }),
            ("other shapes always count", Exchange { api: Api::Responses, ..stream() }),
            ("not seen whole", hole),
            ("not seen whole", unknown_hole),
            ("no answer seen", Exchange { status: None, ..stream() }),
            ("refused", Exchange { status: Some(429), ..stream() }),
            ("an error inside 200", Exchange { error: Some("overloaded".into()), ..stream() }),
            ("free", Exchange { api: Api::CountTokens, ..sample::exchange("anthropic", "claude-none-1") }),
            ("not understood", Exchange { api: Api::Other, ..sample::exchange("openai", "acme-private-1") }),
            (
                "at home",
                Exchange { vendor: None, host: "llm.internal".into(), ..sample::exchange("openai", "acme-private-1") },
            ),
            (
                "no model named",
                Exchange { request_model: None, response_model: None, ..sample::exchange("openai", "x") },
            ),
        ];
        for (why, exchange) in cases {
            assert_eq!(seen(&exchange), [""; 0], "{why}");
        }
    }
}
