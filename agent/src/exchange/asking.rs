//! How a request asks: what of it matters to those who watch how calls behave, besides its text and its model. Enters: the
//! outline of a request, its text, its body. Leaves: [`Asking`]. No text is kept: where two prompts must be told apart there is
//! a hash.

use serde_json::Value;

use super::{
    Api, Leaves,
    facts::{MAX_NAME_BYTES, count, text},
    tape::Lengths,
    tool_results::hash,
};
use crate::assembly::{Content, End, Message};

/// So much of a system prompt tells one call site from another: what follows may name the user or the day.
const SYSTEM_BYTES: usize = 256;
/// Fallbacks that are kept.
const MAX_FALLBACKS: usize = 16;

/// Members that bound the answer, by shape: OpenAI chat (old, new), OpenAI responses, Google, Bedrock converse, Ollama, Hugging
/// Face, Titan, Llama on Bedrock.
const OUTPUT_BOUNDS: [&[&str]; 10] = [
    &["max_tokens"],
    &["max_completion_tokens"],
    &["max_output_tokens"],
    &["generationConfig", "maxOutputTokens"],
    &["generation_config", "max_output_tokens"],
    &["inferenceConfig", "maxTokens"],
    &["options", "num_predict"],
    &["parameters", "max_new_tokens"],
    &["textGenerationConfig", "maxTokenCount"],
    &["max_gen_len"],
];

/// Where a system prompt begins, by shape: OpenAI responses, Anthropic, Google, Bedrock converse, Cohere v1.
const SYSTEM_PATHS: [&str; 9] = [
    "$.instructions",
    "$.system",
    "$.system[0].text",
    "$.systemInstruction.parts[0].text",
    "$.systemInstruction",
    "$.system_instruction.parts[0].text",
    "$.preamble",
    "$.messages[0].content",
    "$.messages[0].content[0].text",
];

/// Lists that a request is about, by the name of the member.
const LISTS: [&str; 11] = [
    "messages",
    "contents",
    "input",
    "inputs",
    "texts",
    "requests",
    "instances",
    "documents",
    "vectors",
    "points",
    "data",
];

/// How a request asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    /// The body was seen whole and is JSON: what is not here was not sent.
    pub is_known: bool,
    /// Most tokens that the answer may have. An Anthropic call always has it, for the vendor demands it.
    pub max_output_tokens: Option<u64>,
    /// Hash of the first 256 bytes of the system prompt. Stable across runs, no secret.
    pub system_digest: Option<u64>,
    /// Hash of the whole body: a request that is sent again has the same, and one that succeeds ends what failed before. Stable across
    /// runs, no secret.
    pub body_digest: Option<u64>,
    /// What the answer must look like: the name of a JSON schema, or `json_object`, `json_schema`.
    pub answer_format: Option<String>,
    /// Models that the vendor may take instead (OpenRouter's `models`), in order.
    pub fallback_models: Vec<String>,
    /// Elements of the list that the call is about: messages of a chat, inputs of embeddings, vectors.
    pub items: Option<u64>,
    /// Dimensions that embeddings are asked for.
    pub dimensions: Option<u64>,
    /// The end user as the program tells the vendor: `user`, `safety_identifier`, `metadata.user_id`.
    pub user: Option<String>,
}

impl Asking {
    pub(super) fn read(asked: &Value, lengths: &Lengths, said: &Leaves, request: &Message, api: Api) -> Self {
        let body = match &request.body.content {
            Content::Bytes(bytes) if !bytes.is_empty() => bytes,
            Content::Bytes(_) | Content::Empty | Content::Events(..) => return Self::default(),
        };
        let body_digest = Some(hash(body));
        if api == Api::Other || !asked.is_object() {
            return Self { body_digest, ..Self::default() };
        }
        let length = |name: &str| lengths.iter().find(|(list, _)| list == name).map(|(_, length)| *length);
        let one = |name: &str| asked.get(name).filter(|value| value.is_string() || value.is_null()).map(|_| 1);
        let dimensions = ["dimensions", "outputDimensionality", "output_dimension", "dimensionality"];
        Self {
            is_known: request.end == End::Complete,
            max_output_tokens: OUTPUT_BOUNDS.iter().find_map(|path| count(asked, path)),
            system_digest: system_digest(asked, said),
            body_digest,
            answer_format: answer_format(asked),
            fallback_models: fallbacks(asked, said),
            items: LISTS.iter().find_map(|list| length(list)).or_else(|| one("input").or_else(|| one("prompt"))),
            dimensions: dimensions.iter().find_map(|name| count(asked, &[name])),
            user: text(asked, "user")
                .or_else(|| text(asked, "safety_identifier"))
                .or_else(|| text(asked.get("metadata")?, "user_id")),
        }
    }
}

fn system_digest(asked: &Value, said: &Leaves) -> Option<u64> {
    let role = asked.get("messages").and_then(|list| list.get(0)?.get("role")?.as_str());
    let leads = matches!(role, Some("system" | "developer"));
    let has = |name: &str| asked.get(name).is_some();
    let elsewhere = ["instructions", "system", "systemInstruction", "system_instruction", "preamble"];
    if !leads && !elsewhere.iter().any(|name| has(name)) {
        return None;
    }
    let is_system = |path: &str| SYSTEM_PATHS.contains(&path) && (leads || !path.starts_with("$.messages"));
    let (_, range) = said.iter().find(|(path, _)| is_system(path))?;
    let text = said.text().as_bytes().get(range)?;
    Some(hash(text.get(..SYSTEM_BYTES).unwrap_or(text)))
}

/// Its name: OpenAI chat, OpenAI responses; of Google's, Mistral's and Ollama's that they have one.
fn answer_format(asked: &Value) -> Option<String> {
    let named = |format: &Value| {
        let kind = text(format, "type").filter(|kind| kind != "text")?;
        text(format, "name").or_else(|| text(format.get("json_schema")?, "name")).or(Some(kind))
    };
    let google = |config: &Value| {
        let is_json = text(config, "responseMimeType").is_some_and(|kind| kind == "application/json");
        let has_schema = config.get("responseSchema").or_else(|| config.get("responseJsonSchema")).is_some();
        (is_json || has_schema).then(|| if has_schema { "json_schema" } else { "json_object" }.to_owned())
    };
    let ollama = |format: &Value| match format {
        Value::Object(_) => Some("json_schema".to_owned()),
        Value::String(word) if word == "json" => Some("json_object".to_owned()),
        _ => None,
    };
    named(asked.get("response_format").unwrap_or(&Value::Null))
        .or_else(|| named(asked.get("text")?.get("format")?))
        .or_else(|| named(asked.get("output_config")?.get("format")?))
        .or_else(|| google(asked.get("generationConfig")?))
        .or_else(|| ollama(asked.get("format")?))
}

/// `models` of OpenRouter: the outline holds but the first, the text all of them.
fn fallbacks(asked: &Value, said: &Leaves) -> Vec<String> {
    if asked.get("models").is_none_or(|models| !models.is_array()) {
        return Vec::new();
    }
    let named = said.iter().filter(|(path, _)| path.starts_with("$.models[") && path.ends_with(']'));
    let texts = named.filter_map(|(_, range)| said.text().get(range));
    texts.filter(|text| (1..=MAX_NAME_BYTES).contains(&text.len())).take(MAX_FALLBACKS).map(str::to_owned).collect()
}
