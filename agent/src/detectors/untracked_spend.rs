//! Finds money that nobody counts. Enters: an exchange. Leaves: `cost.untracked`, with what it costs as far as that can be estimated:
//! a stream that carried no usage because nobody asked for it, a model that nobody prices, tokens that only the total shows, a
//! gateway that says that a call was free, batch jobs, and calls that are billed by the second or the picture. It holds no state and
//! never fires on errors or on calls that were not seen whole.

use serde_json::{Value, json};

use super::{Behaviour, Detector, Hit};
use crate::{
    exchange::{Api, CostSource, Exchange, Usage, is_gateway_zero},
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
        if let Some(why) = Why::of(exchange) {
            emit(Hit::Behaviour(why.tell(exchange)));
        }
    }
}

/// Why nobody knows what a call costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    StreamWithoutUsage,
    PriceUnknown,
    HiddenTokens,
    GatewayZero,
    BatchJob,
    OtherUnit,
}

impl Why {
    fn of(exchange: &Exchange) -> Option<Self> {
        if stream_without_usage(exchange) {
            return Some(Self::StreamWithoutUsage);
        }
        // Without a vendor there is nobody whose price could be known: a model served at home costs electricity.
        exchange.paid_vendor()?;
        if exchange.api == Api::Batches {
            return is_new_batch(exchange).then_some(Self::BatchJob);
        }
        exchange.response_model.as_deref().or(exchange.request_model.as_deref())?;
        if is_gateway_zero(exchange) {
            return Some(Self::GatewayZero);
        }
        let usage = &exchange.usage;
        let is_counted = usage.input_tokens.is_some() || usage.output_tokens.is_some();
        if exchange.cost.is_none() && exchange.api.is_billed() {
            let has_other_unit = matches!(exchange.api, Api::Speech | Api::Transcription | Api::Images);
            let uncounted = has_other_unit.then_some(Self::OtherUnit);
            return if is_counted { Some(Self::PriceUnknown) } else { uncounted };
        }
        // Where the vendor says what it costs, the tokens do not matter. A tenth of the whole is worth a look.
        let is_estimated = exchange.cost.as_ref().is_some_and(|cost| cost.source == CostSource::Estimated);
        let known = usage.input_tokens.unwrap_or(0).saturating_add(usage.output_tokens.unwrap_or(0));
        let is_much = usage.hidden_tokens.is_some_and(|hidden| hidden.saturating_mul(9) >= known);
        (is_estimated && is_much).then_some(Self::HiddenTokens)
    }

    fn tell(self, exchange: &Exchange) -> Behaviour<'_> {
        let requested = exchange.request_model.as_deref();
        let model = match self {
            Self::StreamWithoutUsage => requested.unwrap_or("unknown"),
            _ => exchange.response_model.as_deref().or(requested).unwrap_or("unknown"),
        };
        let vendor = exchange.paid_vendor().unwrap_or(&exchange.host);
        let openai = "https://platform.openai.com/docs/api-reference/chat/create";
        let (word, reason, confidence, reference, title) = match self {
            Self::StreamWithoutUsage => (
                "no_usage",
                "stream_without_usage",
                95,
                Some(openai),
                format!("streamed answers of `{model}` carry no token counts"),
            ),
            Self::PriceUnknown => ("no_price", "price_unknown", 80, None, format!("no price is known for `{model}`")),
            Self::HiddenTokens => (
                "hidden",
                "hidden_tokens",
                70,
                None,
                format!("answers of `{model}` take more tokens in total than input and output have"),
            ),
            Self::GatewayZero => (
                "gateway_zero",
                "gateway_zero",
                80,
                Some("https://openrouter.ai/docs/guides/overview/auth/byok"),
                format!("the gateway reports no cost for `{model}`, which its maker bills to your own key"),
            ),
            Self::BatchJob => (
                "batch",
                "batch_job",
                80,
                None,
                format!("what a batch job at {vendor} costs is known only when it is done"),
            ),
            Self::OtherUnit => (
                "other_unit",
                "other_unit",
                80,
                None,
                format!(
                    "calls of `{model}` are billed by the second, the character or the picture, and not counted here"
                ),
            ),
        };
        let of = if self == Self::BatchJob { vendor } else { model };
        Behaviour {
            rule: "cost.untracked",
            references: reference.into_iter().map(str::to_owned).collect(),
            key: format!("{word} {}", of.to_lowercase()),
            severity: Severity::Low,
            confidence,
            title,
            case: Some(reason),
            facts: facts(exchange, reason),
            exchange,
        }
    }
}

fn facts(exchange: &Exchange, reason: &'static str) -> Vec<(&'static str, Value)> {
    let usage = &exchange.usage;
    let mut facts = vec![
        ("cost.reason", json!(reason)),
        ("model.requested", json!(exchange.request_model)),
        ("model.resolved", json!(exchange.response_model)),
        ("usage.input_tokens", json!(usage.input_tokens)),
        ("usage.output_tokens", json!(usage.output_tokens)),
    ];
    if let Some(hidden) = usage.hidden_tokens {
        facts.push(("usage.hidden_tokens", json!(hidden)));
    }
    if let Some(estimate) = &exchange.estimate {
        facts.push(("usage.estimated_input_tokens", json!(estimate.input_tokens)));
        facts.push(("usage.estimated_output_tokens", json!(estimate.output_tokens)));
        facts.push(("usage.estimate_error_percent", json!(estimate.error_percent)));
    }
    if let Some(cost) = exchange.cost.as_ref().filter(|cost| cost.source == CostSource::Estimated) {
        facts.push(("cost.estimated_nano_usd", json!(cost.nano_usd)));
    }
    facts
}

/// Chat completion streams carry usage if and only if it was asked for: 225 of 225 recorded streams (anchors-llm §1.3). Every
/// other shape always carries it. An answer that asked and got none is the vendor's slip, and no advice would help.
fn stream_without_usage(exchange: &Exchange) -> bool {
    exchange.api == Api::ChatCompletions
        && exchange.streaming
        && exchange.usage == Usage::default()
        && exchange.usage_requested != Some(true)
}

/// A job was given; looking after one, or at the list of them, costs nothing. OpenAI and Mistral `/v1/batches`, `/v1/batch/jobs`,
/// Anthropic `/v1/messages/batches`, Google `…:batchGenerateContent`, Bedrock `/model-invocation-job`.
fn is_new_batch(exchange: &Exchange) -> bool {
    let ends = ["/batches", "/batch/jobs", ":batchGenerateContent", "/model-invocation-job"];
    exchange.method == "POST" && ends.iter().any(|end| exchange.path.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exchange::{PriceBook, sample},
        units::NanoUsd,
    };

    fn seen(exchange: &Exchange) -> Vec<String> {
        let mut priced = exchange.clone();
        PriceBook::bundled().complete(&mut priced);
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

    fn hidden(tokens: u64) -> Exchange {
        let usage =
            Usage { input_tokens: Some(35), output_tokens: Some(12), hidden_tokens: Some(tokens), ..Usage::default() };
        Exchange { usage, ..sample::exchange("openai", "gpt-4o-mini") }
    }

    fn byok(model: &str) -> Exchange {
        Exchange { reported_cost: Some(NanoUsd(0)), ..sample::exchange("openrouter", model) }
    }

    fn batch(method: &str, path: &str) -> Exchange {
        let call = sample::exchange("anthropic", "x");
        Exchange { api: Api::Batches, method: method.into(), path: path.into(), usage: Usage::default(), ..call }
    }

    fn spoken() -> Exchange {
        Exchange { api: Api::Speech, usage: Usage::default(), ..sample::exchange("openai", "tts-1") }
    }

    #[test]
    fn what_a_stream_without_usage_costs_is_estimated() {
        let mut call = stream();
        call.request_text.push("$.messages[0].content", &"word ".repeat(1000));
        call.response_text.push("$.choices[0].message.content", &"word ".repeat(200));
        PriceBook::bundled().complete(&mut call);
        let cost = call.cost.clone().unwrap();
        assert_eq!(cost.source, CostSource::Estimated);
        // 1000 words at $0.15 and 200 at $0.60 a million: $0.00027; four bytes a token make a quarter more.
        assert!((250_000..360_000).contains(&cost.nano_usd.0), "{}", cost.nano_usd);
        let mut facts = Vec::new();
        UntrackedSpend.inspect(&call, &mut |hit| match hit {
            Hit::Behaviour(hit) => facts.extend(hit.facts.iter().map(|(name, _)| *name)),
            Hit::Leak(_) => panic!("this detector knows no leaks"),
        });
        assert!(
            facts.contains(&"cost.estimated_nano_usd") && facts.contains(&"usage.estimate_error_percent"),
            "{facts:?}"
        );
    }

    #[test]
    fn streams_without_usage_and_models_without_price_are_told() {
        let cases = [
            (stream(), "no_usage gpt-4o-mini"),
            (Exchange { usage_requested: Some(false), ..stream() }, "no_usage gpt-4o-mini"),
            (sample::exchange("openai", "acme-private-1"), "no_price acme-private-1"),
            (hidden(62), "hidden gpt-4o-mini"),
            (byok("anthropic/claude-opus-4-7"), "gateway_zero anthropic/claude-opus-4-7"),
            (batch("POST", "/v1/messages/batches"), "batch anthropic"),
            (spoken(), "other_unit tts-1"),
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
            ("a few tokens more", hidden(5)),
            ("free by name", byok("meta/llama-4:free")),
            ("the vendor says so", Exchange { reported_cost: Some(NanoUsd(0)), ..sample::exchange("xai", "grok-4") }),
            ("looks at a job", batch("GET", "/v1/messages/batches")),
            ("ends a job", batch("POST", "/v1/batches/b-1/cancel")),
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
