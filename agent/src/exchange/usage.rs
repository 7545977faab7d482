//! Token counts in one convention. Enters: a vendor's `usage` object. Leaves: [`Usage`] with cache reads and writes inside
//! the input and reasoning inside the output. Never adds what the vendor did not say.

use serde_json::Value;

use super::{
    Usage,
    facts::{Facts, count, elements, replace},
};
use crate::units::NanoUsd;

/// OpenAI chat completions and all that are compatible with it. Cached tokens are part of `prompt_tokens`; reasoning is part
/// of `completion_tokens`, except at xAI, where the total shows that it is not (18 of 18 recorded replies:
/// `notes/anchors-llm.md`, section 1.3).
pub(super) fn chat(usage: &Value) -> Usage {
    let reasoning = count(usage, &["completion_tokens_details", "reasoning_tokens"]);
    let input = count(usage, &["prompt_tokens"]);
    let mut output = count(usage, &["completion_tokens"]);
    if let (Some(input), Some(visible), Some(hidden), Some(total)) =
        (input, output, reasoning, count(usage, &["total_tokens"]))
        && hidden > 0
        && input.saturating_add(visible).saturating_add(hidden) == total
    {
        output = Some(visible.saturating_add(hidden));
    }
    Usage {
        input_tokens: input,
        output_tokens: output,
        // Moonshot and Hugging Face's router put it beside, Mistral under a third name, DeepSeek under a fourth.
        cache_read_tokens: count(usage, &["prompt_tokens_details", "cached_tokens"])
            .or_else(|| count(usage, &["cached_tokens"]))
            .or_else(|| count(usage, &["num_cached_tokens"]))
            .or_else(|| count(usage, &["prompt_cache_hit_tokens"])),
        cache_write_tokens: count(usage, &["prompt_tokens_details", "cache_write_tokens"]),
        cache_write_1h_tokens: None,
        reasoning_tokens: reasoning,
        input_audio_tokens: audio(usage, &["prompt_tokens_details", "audio_tokens"]),
        cache_read_audio_tokens: None,
        output_audio_tokens: audio(usage, &["completion_tokens_details", "audio_tokens"]),
        hidden_tokens: hidden(count(usage, &["total_tokens"]), input, output),
    }
}

/// What a total has that its parts do not: Gemini's thinking in Google's OpenAI-compatible answers (109 = 35 + 12 + 62:
/// `notes/anchors-llm.md`, section 1.3).
fn hidden(total: Option<u64>, input: Option<u64>, output: Option<u64>) -> Option<u64> {
    total?.checked_sub(input?.saturating_add(output?)).filter(|tokens| *tokens > 0)
}

/// Tokens of audio; none are said to be so in every answer that is text.
pub(super) fn audio(usage: &Value, path: &[&str]) -> Option<u64> {
    count(usage, path).filter(|tokens| *tokens > 0)
}

/// OpenAI responses: everything is included, at xAI too.
pub(super) fn responses(usage: &Value) -> Usage {
    Usage {
        input_tokens: count(usage, &["input_tokens"]),
        output_tokens: count(usage, &["output_tokens"]),
        cache_read_tokens: count(usage, &["input_tokens_details", "cached_tokens"]),
        cache_write_tokens: count(usage, &["input_tokens_details", "cache_write_tokens"]),
        cache_write_1h_tokens: None,
        reasoning_tokens: count(usage, &["output_tokens_details", "reasoning_tokens"]),
        ..Usage::default()
    }
}

/// Anthropic messages: `input_tokens` is what was neither read from a cache nor written to one, so both are added
/// (docs.claude.com, prompt caching, "Tracking cache performance").
pub(super) fn messages(usage: &Value) -> Usage {
    let cache_read_tokens = count(usage, &["cache_read_input_tokens"]);
    let cache_write_tokens = count(usage, &["cache_creation_input_tokens"]);
    let cached = cache_read_tokens.unwrap_or(0).saturating_add(cache_write_tokens.unwrap_or(0));
    Usage {
        input_tokens: count(usage, &["input_tokens"]).map(|plain| plain.saturating_add(cached)),
        output_tokens: count(usage, &["output_tokens"]),
        cache_read_tokens,
        cache_write_tokens,
        cache_write_1h_tokens: count(usage, &["cache_creation", "ephemeral_1h_input_tokens"]),
        reasoning_tokens: count(usage, &["output_tokens_details", "thinking_tokens"]),
        ..Usage::default()
    }
}

/// Bedrock's Converse. `inputTokens` is what was neither read from a cache nor written to one (docs.aws.amazon.com, Bedrock API
/// reference, TokenUsage); Nova's own body has other names for the cache.
pub(super) fn converse(usage: &Value) -> Usage {
    let either = |name: &str, other: &str| count(usage, &[name]).or_else(|| count(usage, &[other]));
    let cache_read_tokens = either("cacheReadInputTokens", "cacheReadInputTokenCount");
    let cache_write_tokens = either("cacheWriteInputTokens", "cacheWriteInputTokenCount");
    let hour =
        elements(usage, "cacheDetails").iter().filter(|written| written.get("ttl").is_some_and(|ttl| ttl == "1h"));
    let hours: Vec<u64> = hour.filter_map(|written| count(written, &["inputTokens"])).collect();
    Usage {
        input_tokens: with_cache(count(usage, &["inputTokens"]), cache_read_tokens, cache_write_tokens),
        output_tokens: count(usage, &["outputTokens"]),
        cache_read_tokens,
        cache_write_tokens,
        cache_write_1h_tokens: (!hours.is_empty()).then(|| hours.iter().fold(0, |sum: u64, n| sum.saturating_add(*n))),
        reasoning_tokens: None,
        ..Usage::default()
    }
}

/// All input, where the vendor counts only what has nothing to do with a cache.
pub(super) fn with_cache(plain: Option<u64>, read: Option<u64>, written: Option<u64>) -> Option<u64> {
    plain.map(|plain| plain.saturating_add(read.unwrap_or(0)).saturating_add(written.unwrap_or(0)))
}

/// Cohere's `usage` (v2) or `meta` (v1). `tokens` is what the model read and wrote, `billed_units` what is paid for: without the
/// preamble that Cohere adds. Numbers may be written as `12.0`.
pub(super) fn cohere(usage: &Value) -> Usage {
    let whole = |value: &Value| {
        let is_count = |number: &f64| (0.0..=9e15).contains(number) && number.fract() == 0.0;
        #[expect(clippy::cast_sign_loss, reason = "not negative, see above")]
        value.as_u64().or_else(|| value.as_f64().filter(is_count).map(|number| number as u64))
    };
    let of = |name: &str| ["tokens", "billed_units"].iter().find_map(|kind| whole(usage.get(kind)?.get(name)?));
    Usage {
        input_tokens: of("input_tokens"),
        output_tokens: of("output_tokens"),
        cache_read_tokens: usage.get("cached_tokens").and_then(whole),
        ..Usage::default()
    }
}

/// Ollama counts beside the answer. A prompt that it had in its cache has no count.
pub(super) fn ollama(doc: &Value) -> Usage {
    Usage {
        input_tokens: count(doc, &["prompt_eval_count"]),
        output_tokens: count(doc, &["eval_count"]),
        ..Usage::default()
    }
}

/// Embeddings have input only. OpenAI `usage.prompt_tokens`, Voyage `usage.total_tokens`, Cohere
/// `meta.billed_units.input_tokens`, Ollama `prompt_eval_count`, Google `usageMetadata.promptTokenCount`.
pub(super) fn embeddings(doc: &Value) -> Usage {
    let places: [&[&str]; 5] = [
        &["usage", "prompt_tokens"],
        &["usage", "total_tokens"],
        &["meta", "billed_units", "input_tokens"],
        &["prompt_eval_count"],
        &["usageMetadata", "promptTokenCount"],
    ];
    Usage { input_tokens: places.iter().find_map(|path| count(doc, path)), ..Usage::default() }
}

/// What the vendor says the call cost: OpenRouter and others `usage.cost` (when the user brought a key of their own that
/// is OpenRouter's fee alone, and the upstream bills its share apart: openrouter.ai/docs, "Bring your own API keys"), Perplexity `usage.cost.total_cost`, xAI `usage.cost_in_usd_ticks` (1 USD = 1e10 ticks).
pub(super) fn reported_cost(usage: &Value) -> Option<NanoUsd> {
    if let Some(ticks) = count(usage, &["cost_in_usd_ticks"]) {
        return Some(NanoUsd(ticks.saturating_add(5) / 10));
    }
    let cost = usage.get("cost")?;
    let usd = cost.as_f64().or_else(|| cost.get("total_cost")?.as_f64())?;
    let brought_key = usage.get("is_byok").and_then(Value::as_bool) == Some(true);
    let upstream = usage.get("cost_details").and_then(|details| details.get("upstream_inference_cost")?.as_f64());
    Some(NanoUsd::from_usd(usd + upstream.filter(|_| brought_key).unwrap_or(0.0)))
}

/// Reads a `usage` member into the facts, when there is one.
pub(super) fn take(facts: &mut Facts, usage: Option<&Value>, convention: fn(&Value) -> Usage) {
    if let Some(usage) = usage.filter(|usage| usage.is_object()) {
        facts.usage = convention(usage);
        replace(&mut facts.reported_cost, reported_cost(usage));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage(counts: [Option<u64>; 5]) -> Usage {
        let [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens] = counts;
        Usage {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            reasoning_tokens,
            ..Usage::default()
        }
    }

    #[test]
    fn conventions() {
        for (name, read, doc, expected) in [
            (
                "OpenAI chat",
                chat as fn(&Value) -> Usage,
                json!({"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
                       "prompt_tokens_details":{"cached_tokens":64},"completion_tokens_details":{"reasoning_tokens":30}}),
                usage([Some(100), Some(50), Some(64), None, Some(30)]),
            ),
            (
                "xAI chat leaves reasoning out of the completion",
                chat,
                json!({"prompt_tokens":12,"completion_tokens":1,"total_tokens":303,"completion_tokens_details":{"reasoning_tokens":290}}),
                usage([Some(12), Some(291), None, None, Some(290)]),
            ),
            (
                "reasoning above the completion, yet inside the total",
                chat,
                json!({"prompt_tokens":43,"completion_tokens":10,"total_tokens":53,"completion_tokens_details":{"reasoning_tokens":11}}),
                usage([Some(43), Some(10), None, None, Some(11)]),
            ),
            (
                "tokens that only the total shows",
                chat,
                json!({"prompt_tokens":35,"completion_tokens":12,"total_tokens":109}),
                Usage { hidden_tokens: Some(62), ..usage([Some(35), Some(12), None, None, None]) },
            ),
            (
                "numbers that cannot be",
                chat,
                json!({"prompt_tokens":-1,"completion_tokens":"12","total_tokens":u64::MAX}),
                usage([None; 5]),
            ),
            (
                "Anthropic leaves cache reads and writes out of the input",
                messages,
                json!({"input_tokens":4,"cache_creation_input_tokens":6,"cache_read_input_tokens":8845,"output_tokens":193}),
                usage([Some(8855), Some(193), Some(8845), Some(6), None]),
            ),
            (
                "responses",
                responses,
                json!({"input_tokens":10,"input_tokens_details":{"cached_tokens":2,"cache_write_tokens":1},
                       "output_tokens":5,"output_tokens_details":{"reasoning_tokens":4}}),
                usage([Some(10), Some(5), Some(2), Some(1), Some(4)]),
            ),
            ("Voyage", embeddings, json!({"usage":{"total_tokens":7}}), usage([Some(7), None, None, None, None])),
            (
                "Cohere",
                embeddings,
                json!({"meta":{"billed_units":{"input_tokens":8}}}),
                usage([Some(8), None, None, None, None]),
            ),
        ] {
            assert_eq!(read(&doc), expected, "{name}");
        }
    }

    #[test]
    fn costs() {
        for (doc, nano) in [
            (json!({"cost":0.001_875}), Some(1_875_000)),
            (json!({"cost":{"total_cost":0.005}}), Some(5_000_000)),
            (json!({"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":0.25}}), Some(250_000_000)),
            (json!({"cost":0.0125,"is_byok":true,"cost_details":{"upstream_inference_cost":0.25}}), Some(262_500_000)),
            (json!({"cost":0,"is_byok":false,"cost_details":{"upstream_inference_cost":0.25}}), Some(0)),
            (json!({"cost_in_usd_ticks":1_466_250}), Some(146_625)),
            (json!({"cost":"much"}), None),
            (json!({}), None),
        ] {
            assert_eq!(reported_cost(&doc), nano.map(NanoUsd), "{doc}");
        }
    }
}
