//! Finds calls whose answer has no bound: one answer can then run to all that the model can say. Enters: an exchange. Leaves:
//! `cost.no_limit`, one finding for a service, host, kind of call and model, counted. It holds no state, and says nothing where
//! the request was not seen whole, where there is no such bound, and where nobody is paid.

use serde_json::json;

use super::{Behaviour, Detector, Hit};
use crate::{
    exchange::{Api, Exchange},
    units::Severity,
};

/// The detector.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLimit;

impl Detector for NoLimit {
    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let Some(member) = bound_of(exchange) else { return };
        let is_unbounded = exchange.asking.is_known && exchange.asking.max_output_tokens.is_none();
        if !is_unbounded || !exchange.succeeded() || exchange.paid_vendor().is_none() {
            return;
        }
        let Some(model) = exchange.request_model.as_deref() else { return };
        emit(Hit::Behaviour(Behaviour {
            rule: "cost.no_limit",
            references: Vec::new(),
            key: model.to_lowercase(),
            severity: Severity::Info,
            confidence: 90,
            title: format!("calls of `{model}` do not bound their answers"),
            case: None,
            facts: vec![
                ("cost.bound", json!(member)),
                ("model.requested", json!(model)),
                ("usage.output_tokens", json!(exchange.usage.output_tokens)),
            ],
            exchange,
        }));
    }
}

/// What bounds an answer, where the request names it. Anthropic's messages cannot be without; InvokeModel's body is the model
/// maker's own, and some makers have a default that is small. A default of the older completions is 16 tokens.
fn bound_of(exchange: &Exchange) -> Option<&'static str> {
    match exchange.api {
        Api::ChatCompletions => Some("max_completion_tokens"),
        Api::Responses => Some("max_output_tokens"),
        Api::GenerateContent => Some("generationConfig.maxOutputTokens"),
        Api::Converse => Some("inferenceConfig.maxTokens"),
        Api::CohereChat => Some("max_tokens"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Asking, sample};

    fn is_told(exchange: &Exchange) -> bool {
        let mut told = false;
        NoLimit.inspect(exchange, &mut |hit| {
            told = matches!(hit, Hit::Behaviour(hit) if hit.rule == "cost.no_limit" && hit.key == "gpt-4o");
        });
        told
    }

    #[test]
    fn only_answers_that_could_have_a_bound_are_told() {
        let known = Asking { is_known: true, ..Asking::default() };
        let call = Exchange { asking: known.clone(), ..sample::exchange("openai", "GPT-4o") };
        let bounded = Asking { max_output_tokens: Some(500), ..known.clone() };
        let cases = [
            ("no bound", call.clone(), true),
            ("responses", Exchange { api: Api::Responses, ..call.clone() }, true),
            ("a bound", Exchange { asking: bounded, ..call.clone() }, false),
            ("not seen whole", Exchange { asking: Asking::default(), ..call.clone() }, false),
            ("nothing to bound", Exchange { api: Api::Embeddings, ..call.clone() }, false),
            ("always bounded", Exchange { api: Api::Messages, ..call.clone() }, false),
            ("refused", Exchange { status: Some(429), ..call.clone() }, false),
            ("at home", Exchange { host: "127.0.0.1".into(), ..call.clone() }, false),
            ("no vendor", Exchange { vendor: None, ..call }, false),
        ];
        for (why, exchange, expected) in cases {
            assert_eq!(is_told(&exchange), expected, "{why}");
        }
    }
}
