//! Amazon Bedrock's InvokeModel and InvokeModelWithResponseStream: the body is the model maker's own. Enters: an answer, whole
//! or as events. Leaves: facts, read as that maker's shape is; and the maker's text of a stream, out of its base64. Whose shape
//! it is, the body says, never the name of the model: aliases and imported models hide it.
//!
//! Shapes: docs.aws.amazon.com, Bedrock user guide, "Inference request parameters and response fields for foundation models".

use serde_json::Value;

use super::{
    Usage, anthropic_messages, bedrock_converse,
    facts::{Facts, MAX_LISTED, Seen, count, elements, error_code, replace, text},
    json::{self, Ended},
    openai_chat,
    path::Path,
    stream::Stream,
    text::{Joined, Mode, decode_base64},
    usage,
};
use crate::assembly::Headers;

/// What the last chunk of every maker's stream has.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// Whose shape a body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    Anthropic,
    /// Nova: as Converse.
    Nova,
    /// Mistral, DeepSeek, OpenAI's open models, AI21's Jamba: as OpenAI's chat.
    OpenAi,
    /// Llama, Titan, Cohere, AI21's Jurassic, Mistral's older ones, embeddings and images: a few members each.
    Other,
}

impl Maker {
    fn of(doc: &Value) -> Self {
        let kind = doc.get("type").and_then(Value::as_str).unwrap_or_default();
        let has = |key: &str| doc.get(key).is_some();
        if (kind == "message" && has("content")) || kind.starts_with("message_") || kind.starts_with("content_block") {
            Self::Anthropic
        } else if bedrock_converse::is_event(doc)
            || doc.get("output").is_some_and(|output| output.get("message").is_some())
        {
            Self::Nova
        } else if has("choices") {
            Self::OpenAi
        } else {
            Self::Other
        }
    }
}

/// Reads a whole answer.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    match Maker::of(doc) {
        Maker::Anthropic => anthropic_messages::answer(doc, facts),
        Maker::Nova => bedrock_converse::answer(doc, facts),
        Maker::OpenAi => {
            openai_chat::answer(doc, facts);
            facts.finish_reasons.extend(stop_reasons(doc));
        }
        Maker::Other => {
            replace(&mut facts.error, error_code(doc));
            facts.finish_reasons.extend(reasons(doc));
            let calls = elements(doc, "tool_calls").iter().filter_map(|call| text(call, "name"));
            facts.tool_calls.extend(calls.take(MAX_LISTED));
            facts.usage = Count::default().and(doc).usage();
        }
    }
}

/// Bedrock's form of `finish_reason` in the choices of Mistral and DeepSeek.
fn stop_reasons(doc: &Value) -> Vec<String> {
    elements(doc, "choices").iter().filter_map(|choice| text(choice, "stop_reason")).take(MAX_LISTED).collect()
}

/// Why the model stopped, in the words of: Llama, Claude's completions and Titan's stream, Cohere, Titan, Mistral, Jurassic.
fn reasons(doc: &Value) -> Vec<String> {
    let top = ["stop_reason", "completionReason", "finish_reason"].iter().find_map(|key| text(doc, key));
    let lists = [("results", "completionReason"), ("outputs", "stop_reason"), ("generations", "finish_reason")];
    let listed = lists.iter().flat_map(|(list, key)| elements(doc, list).iter().filter_map(|one| text(one, key)));
    let jurassic = elements(doc, "completions").iter().filter_map(|one| text(one.get("finishReason")?, "reason"));
    top.into_iter().chain(listed).chain(jurassic).take(MAX_LISTED).collect()
}

/// Tokens as Llama and Titan count them; in a stream the input comes first and the output grows.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    input: Option<u64>,
    output: Option<u64>,
}

impl Count {
    fn and(mut self, doc: &Value) -> Self {
        let first = |names: [&str; 2]| names.iter().find_map(|name| count(doc, &[name]));
        let results: Vec<_> = elements(doc, "results").iter().map(|result| count(result, &["tokenCount"])).collect();
        let summed = results.iter().try_fold(0_u64, |sum, one| one.map(|one| sum.saturating_add(one)));
        replace(&mut self.input, first(["prompt_token_count", "inputTextTokenCount"]));
        replace(&mut self.output, first(["generation_token_count", "totalOutputTextTokenCount"]));
        replace(&mut self.output, summed.filter(|_| !results.is_empty()));
        self
    }

    fn usage(self) -> Usage {
        Usage { input_tokens: self.input, output_tokens: self.output, ..Usage::default() }
    }
}

/// Counts that come under Bedrock's own names, for an answer whose body has none. The input is without what the cache gave.
fn counted(facts: &mut Facts, [input, output, read, written]: [Option<u64>; 4]) {
    if facts.usage.input_tokens.is_none() && facts.usage.output_tokens.is_none() {
        facts.usage = Usage {
            input_tokens: usage::with_cache(input, read, written),
            output_tokens: output,
            cache_read_tokens: read,
            cache_write_tokens: written,
            ..facts.usage
        };
    }
}

/// The counts in the head of an answer.
pub(super) fn counted_by(headers: &Headers, facts: &mut Facts) {
    let number = |what: &str| headers.find(&format!("x-amzn-bedrock-{what}-token-count"))?.trim().parse().ok();
    counted(facts, ["input", "output", "cache-read-input", "cache-write-input"].map(number));
}

/// A streamed answer: chunks of the maker's stream.
#[derive(Default)]
pub(super) struct Chunks {
    inner: Option<Box<dyn Stream>>,
    /// Reasons in choices, which OpenAI's own stream does not have.
    reasons: Vec<String>,
    metrics: Option<[Option<u64>; 4]>,
}

impl Stream for Chunks {
    fn event(&mut self, _: &str, doc: &Value, joined: &mut Joined) {
        let Some(packed) = doc.get("bytes").and_then(Value::as_str) else {
            return joined.walk(doc, &mut Path::new("$.event"), "", Mode::Append);
        };
        let Some(plain) = decode_base64(packed) else {
            return joined.put("$.event.bytes", "", packed, Mode::Append);
        };
        let outline = json::read(&plain, "$", usize::MAX, &mut |_: &str, _: &str, _: &str| {});
        if outline.end != Ended::Whole {
            return joined.put("$.event.bytes", "", &String::from_utf8_lossy(&plain), Mode::Append);
        }
        self.chunk(outline.doc, joined);
    }

    fn finish(mut self: Box<Self>, seen: Seen, joined: &mut Joined) -> Facts {
        let mut facts = self.inner.take().map(|inner| inner.finish(seen, joined)).unwrap_or_default();
        facts.finish_reasons.append(&mut self.reasons);
        if let Some(metrics) = self.metrics {
            // An input that was counted at the start stays without the end; here the end is.
            if facts.usage.output_tokens.is_none() {
                facts.usage.input_tokens = None;
            }
            counted(&mut facts, metrics);
        }
        facts
    }
}

impl Chunks {
    fn chunk(&mut self, mut doc: Value, joined: &mut Joined) {
        if let Some(metrics) = doc.as_object_mut().and_then(|map| map.remove(METRICS)) {
            let names =
                ["inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"];
            self.metrics = Some(names.map(|name| count(&metrics, &[name])));
            if doc.as_object().is_some_and(serde_json::Map::is_empty) {
                return;
            }
        }
        if self.reasons.len() < MAX_LISTED {
            self.reasons.extend(stop_reasons(&doc));
        }
        let maker = Maker::of(&doc);
        let inner = self.inner.get_or_insert_with(|| match maker {
            Maker::Anthropic => Box::<anthropic_messages::Events>::default(),
            Maker::Nova => Box::<bedrock_converse::Events>::default(),
            Maker::OpenAi => Box::<openai_chat::Chunks>::default(),
            Maker::Other => Box::<Parts>::default(),
        });
        inner.event("", &doc, joined);
    }
}

/// A stream whose events have the members of the whole answer, each a part of it.
#[derive(Debug, Default)]
struct Parts {
    facts: Facts,
    count: Count,
}

impl Stream for Parts {
    fn event(&mut self, _: &str, doc: &Value, joined: &mut Joined) {
        replace(&mut self.facts.error, error_code(doc));
        self.count = self.count.and(doc);
        if self.facts.finish_reasons.len() < MAX_LISTED {
            self.facts.finish_reasons.extend(reasons(doc));
        }
        let Some(map) = doc.as_object() else { return };
        for (key, value) in map {
            let mut path = Path::new("$");
            if key == "outputText" {
                path.key("results");
                path.index(count(doc, &["index"]).and_then(|index| usize::try_from(index).ok()).unwrap_or(0));
            }
            path.key(key);
            let is_reason = key.ends_with("_reason") || key.ends_with("Reason");
            joined.walk(value, &mut path, key, if is_reason { Mode::Set } else { Mode::Append });
        }
    }

    fn finish(mut self: Box<Self>, _: Seen, _: &mut Joined) -> Facts {
        // The output so far is the output once the model stopped.
        let output = self.count.output.filter(|_| !self.facts.finish_reasons.is_empty());
        self.facts.usage = Count { output, ..self.count }.usage();
        self.facts
    }
}
