//! What application logs say about calls to LLMs. Enters: the text of a block of log lines. Leaves: [`Exchange`]s that hold what a line says:
//! models, tokens, ids, an error; never text of a prompt. So pinning, cost and drift work where TLS cannot be tapped (Java). Only a
//! line with a model and tokens, or a vendor's error, is a call; a number that stands in no line is never made up.
//!
//! A line is read with the message that it belongs to, so that a document written over many lines is one. Read are: bodies of vendors' answers; attributes of OpenTelemetry (`gen_ai.*`, flat or as OTLP writes them); the payloads of LiteLLM's
//! and LangChain's loggers and of Vercel's AI SDK, which have names of their own for the same things; logfmt; and the errors of the Python
//! SDKs (`Error code: 429 - {…}`). Nothing is kept from one block to the next.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use memchr::{memchr, memmem, memrchr};
use regex::bytes::Regex;
use serde_json::{Map, Value};

use self::hints::{Hints, MODEL};
use super::{
    Api, Exchange, Usage,
    attribution::feature_name,
    facts::{Facts, MAX_NAME_BYTES, error_code},
    gemini, shapes, usage,
};
use crate::{
    rules::{
        ModelRules, VendorTable,
        models::Pin,
        vendors::{HostPattern, Vendor},
    },
    sources::{Origin, StreamId, log::Messages},
    units::Timestamp,
};

mod hints;
#[cfg(test)]
mod tests;

/// Longest line that is read as a document, bytes.
const LINE_BYTES_MAX: usize = 1 << 20;
/// How deep a call may stand in a document, through JSON in strings too.
const DEPTH_MAX: usize = 8;
/// Calls of one line that are kept.
const CALLS_MAX: usize = 64;

/// Whether the line around the word `oken` at a place may count tokens: `"token": "…"` is in many that do not.
fn may_count(text: &[u8], at: usize) -> bool {
    if !text.get(at..).is_some_and(|rest| rest.starts_with(b"oken")) {
        return true;
    }
    let (before, behind) = (text.get(..at).unwrap_or_default(), text.get(at + 4..).unwrap_or_default());
    (before.ends_with(b"_t") && behind.starts_with(b"s"))
        || (before.ends_with(b"T") && behind.starts_with(b"s"))
        || behind.starts_with(b"Count")
        || (before.ends_with(b"t") && behind.starts_with(b"_count"))
}

/// `openai.RateLimitError: Error code: 429 - {'error': {…, 'type': 'tokens', 'code': 'rate_limit_exceeded'}}`: openai-python
/// `_base_client.py`, anthropic-sdk-python `_base_client.py` (`_make_status_error_from_response`).
#[expect(clippy::expect_used, reason = "a constant; a test uses it")]
static SDK_ERROR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(openai|anthropic|groq|mistralai|cohere|together)\.[\w.]*Error: Error code: ([45]\d\d) - \{")
        .expect("a pattern")
});
#[expect(clippy::expect_used, reason = "a constant; a test uses it")]
static SDK_CODE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"['"](?:code|type)['"]: ['"]([A-Za-z0-9_.-]{1,64})['"]"#).expect("a pattern"));

/// Reads calls out of logs.
#[derive(Clone, Debug)]
pub struct LoggedCalls {
    /// Which vendors there are.
    pub vendors: Arc<VendorTable>,
    /// Whose a model is.
    pub models: Arc<ModelRules>,
}

impl LoggedCalls {
    /// Gives each call that stands in `text`, whose messages begin as `messages` says, with the position of its line. `at` is its time
    /// where the message has none.
    pub fn read(&self, text: &[u8], messages: &Messages, at: Timestamp, emit: &mut dyn FnMut(usize, Exchange)) {
        let mut hints = Hints::of(text);
        let (mut read_to, mut message_to) = (0, 0);
        while let Some(hint) = hints.next_from(read_to) {
            if !may_count(text, hint) {
                read_to = hint + 1;
                continue;
            }
            let start = memrchr(b'\n', text.get(..hint).unwrap_or_default()).map_or(0, |end| end + 1);
            let rest = text.get(start..).unwrap_or_default();
            let line = rest.get(..memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
            read_to = start + line.len();
            // Once for each message, whatever is made of it.
            if start >= message_to {
                let message = messages.around(text, start);
                message_to = message.end;
                let message = text.get(message).unwrap_or_default();
                if message.len() > line.len() && self.message(message, at, &mut |exchange| emit(start, exchange)) {
                    read_to = message_to;
                    continue;
                }
            }
            if line.len() <= LINE_BYTES_MAX {
                self.line(line, at, &mut |exchange| emit(start, exchange));
            }
        }
    }

    fn line(&self, line: &[u8], at: Timestamp, emit: &mut dyn FnMut(Exchange)) {
        if let Some(exchange) = self.sdk_error(line, at) {
            return emit(exchange);
        }
        if MODEL.find(line).is_none() {
            return;
        }
        let document = memchr(b'{', line).and_then(|start| document(line.get(start..)?));
        if let Some(document) = document.or_else(|| logfmt(line)) {
            self.calls_in(&document, at, emit);
        }
    }

    /// A message of several lines that is, or ends with, one document; false when no call is in it.
    fn message(&self, message: &[u8], at: Timestamp, emit: &mut dyn FnMut(Exchange)) -> bool {
        if MODEL.find(message).is_none() {
            return false;
        }
        let from = |start: usize| document(message.get(start..)?);
        let own_line = || memmem::find(message, b"\n{").and_then(|end| from(end + 1));
        let document = memchr(b'{', message).and_then(from).or_else(own_line);
        document.is_some_and(|document| self.calls_in(&document, at, emit))
    }

    fn calls_in(&self, document: &Value, at: Timestamp, emit: &mut dyn FnMut(Exchange)) -> bool {
        let mut found = Vec::new();
        let around = Around { at: time_of(document).unwrap_or(at), ..Around::default() };
        self.search(document, &around, 0, &mut found);
        let is_some = !found.is_empty();
        found.into_iter().for_each(emit);
        is_some
    }

    fn sdk_error(&self, line: &[u8], at: Timestamp) -> Option<Exchange> {
        let found = SDK_ERROR.captures(line)?;
        let word = |index: usize| found.get(index).and_then(|word| std::str::from_utf8(word.as_bytes()).ok());
        let vendor = self.named(word(1)?)?;
        let rest = line.get(found.get(0)?.end()..)?;
        // The code of a vendor says more than its type, and stands behind it.
        let code = SDK_CODE.captures_iter(rest).last().and_then(|code| Some(code.get(1)?.as_bytes().to_vec()));
        let status = word(2)?.parse().ok()?;
        let error = code.and_then(|code| String::from_utf8(code).ok()).unwrap_or_else(|| format!("http_{status}"));
        Some(Exchange { status: Some(status), error: Some(error), ..Self::call(Some(vendor), None, at) })
    }

    fn search(&self, value: &Value, around: &Around, depth: usize, found: &mut Vec<Exchange>) {
        if depth > DEPTH_MAX || found.len() >= CALLS_MAX {
            return;
        }
        match value {
            Value::Object(members) => {
                let members = &*attributes(members);
                let around = around.within(members);
                if let Some(exchange) = self.vendors_answer(value, &around).or_else(|| self.record(members, &around)) {
                    found.push(exchange);
                    return;
                }
                members.values().for_each(|value| self.search(value, &around, depth + 1, found));
            }
            Value::Array(items) => items.iter().for_each(|item| self.search(item, around, depth + 1, found)),
            Value::String(text) if text.starts_with('{') => {
                if let Ok(inner) = serde_json::from_str::<Value>(text) {
                    self.search(&inner, around, depth + 1, found);
                }
            }
            _ => {}
        }
    }

    /// The body of an answer, as a client got it.
    fn vendors_answer(&self, body: &Value, around: &Around) -> Option<Exchange> {
        let api = shapes::of(&Value::Null, body)?;
        let mut facts = Facts::default();
        shapes::answer(api, body, &mut facts);
        let model = facts.response_model.as_deref().or(around.model.as_deref());
        let vendor = self.vendor_of(around, model);
        let is_call =
            (has_tokens(&facts.usage) || facts.error.is_some()) && (vendor.is_some() || facts.response_id.is_some());
        is_call.then(|| {
            let mut exchange = Self::call(vendor, around.host.as_deref(), around.at);
            exchange.api = api;
            exchange.status = Some(if facts.error.is_some() { 400 } else { 200 });
            exchange.request_model.clone_from(&around.model);
            exchange.response_model = facts.response_model;
            exchange.response_id = facts.response_id;
            exchange.usage = facts.usage;
            exchange.finish_reasons = facts.finish_reasons;
            exchange.service_tier = facts.service_tier;
            exchange.error = facts.error;
            exchange.reported_cost = facts.reported_cost;
            exchange.headers.request_id.clone_from(&around.request_id);
            exchange.feature.clone_from(&around.feature);
            exchange
        })
    }

    /// What a library or a gateway logs of a call, by the names that they have for it.
    fn record(&self, members: &Map<String, Value>, around: &Around) -> Option<Exchange> {
        let asked = name(members, &REQUEST_MODELS).or_else(|| around.model.clone());
        let answered = name(members, &RESPONSE_MODELS);
        let model = asked.as_deref().or(answered.as_deref())?;
        let usage = usage_of(members)?;
        let vendor = self.vendor_of(around, Some(model))?;
        let error = error_code(&Value::Object(members.clone()));
        let mut exchange = Self::call(Some(vendor), around.host.as_deref(), around.at);
        exchange.api = match name(members, &["gen_ai.operation.name", "call_type"]).as_deref() {
            Some("embeddings" | "embedding" | "aembedding") => Api::Embeddings,
            Some("text_completion" | "atext_completion") => Api::Completions,
            _ => usual_api(vendor),
        };
        exchange.status = Some(if error.is_some() { 400 } else { 200 });
        // Clients of LiteLLM and others write the vendor before the id.
        exchange.request_model = asked.map(|model| self.without_prefix(&model).to_owned());
        exchange.response_model = answered;
        exchange.response_id =
            name(members, &RESPONSE_IDS).or_else(|| name(members, &["id"]).filter(|id| is_response_id(id)));
        exchange.headers.request_id.clone_from(&around.request_id);
        exchange.feature.clone_from(&around.feature);
        exchange.finish_reasons = finish_reasons(members);
        exchange.usage = usage;
        exchange.error = error;
        Some(exchange)
    }

    fn call(vendor: Option<&Vendor>, host: Option<&str>, at: Timestamp) -> Exchange {
        // Who wrote the line is not for this room to say.
        let mut exchange = Exchange::unknown(StreamId(0), Arc::new(Origin::default()), String::new(), at);
        exchange.vendor = vendor.map(|vendor| Arc::clone(&vendor.id));
        exchange.priced_as = vendor.and_then(|vendor| vendor.prices.as_deref()).map(Into::into);
        exchange.api = vendor.map_or(Api::Other, usual_api);
        // Where the line names none: the same call seen by the tap is the same finding then.
        let usual = vendor.and_then(|vendor| vendor.hosts().iter().find_map(HostPattern::exact)).map(str::to_owned);
        exchange.host = host.map(str::to_owned).or(usual).unwrap_or_default();
        // Of a line there are no holes: it is read whole or not at all.
        exchange.view.complete = true;
        exchange
    }

    /// By the name that the line gives it, the host that it names, the word before the model's id, or the id alone.
    fn vendor_of(&self, around: &Around, model: Option<&str>) -> Option<&Vendor> {
        let by_host = || around.host.as_deref().and_then(|host| self.vendors.vendor_of(host));
        let by_prefix = || {
            let prefix = model?.split_once('/')?.0;
            self.models.vendor_of_prefix(prefix).and_then(|id| self.of_id(id))
        };
        let by_model = || {
            let model = model?;
            let knows = |id: &&String| self.models.classify(id, model, around.at).pin != Pin::Unknown;
            self.models.bare_vendors().iter().find(knows).and_then(|id| self.of_id(id))
        };
        around
            .provider
            .as_deref()
            .and_then(|name| self.named(name))
            .or_else(by_host)
            .or_else(by_prefix)
            .or_else(by_model)
    }

    fn without_prefix<'m>(&self, model: &'m str) -> &'m str {
        match model.split_once('/') {
            Some((prefix, rest)) if self.models.vendor_of_prefix(prefix).is_some() => rest,
            _ => model,
        }
    }

    /// By one of the names that vendors have in logs: those of OpenTelemetry, LiteLLM, LangChain.
    fn named(&self, name: &str) -> Option<&Vendor> {
        let name = name.to_lowercase().replace(['.', '-', ' '], "_");
        let id = match name.as_str() {
            "azure_ai_openai" | "az_ai_openai" | "azure_openai" | "azureopenai" => "azure",
            "bedrock" | "amazon_bedrock" | "bedrock_converse" | "aws_bedrock" => "aws_bedrock",
            "gcp_gemini" | "google_genai" | "google" | "google_ai_studio" => "gemini",
            "gcp_vertex_ai" | "vertexai" | "google_vertexai" => "vertex_ai",
            "mistral_ai" | "mistralai" => "mistral",
            "x_ai" => "xai",
            "together_ai" | "togetherai" => "together",
            other => other,
        };
        // Vercel's SDK adds the kind of call: `openai.chat`.
        let without_kind = || id.split('_').next().and_then(|first| self.of_id(first));
        self.of_id(id).or_else(without_kind)
    }

    fn of_id(&self, id: &str) -> Option<&Vendor> {
        self.vendors.vendors().iter().find(|vendor| &*vendor.id == id)
    }
}

fn usual_api(vendor: &Vendor) -> Api {
    [Api::ChatCompletions, Api::Messages, Api::GenerateContent, Api::Converse, Api::CohereChat, Api::OllamaChat]
        .into_iter()
        .find(|api| vendor.serves(*api))
        .unwrap_or(Api::ChatCompletions)
}

/// What stands around a call in its document.
#[derive(Clone, Debug, Default)]
struct Around {
    at: Timestamp,
    provider: Option<String>,
    host: Option<String>,
    /// What was asked for, where the answer stands beside the request.
    model: Option<String>,
    request_id: Option<String>,
    /// What the call is for, by our own name for it: no convention has one.
    feature: Option<Arc<str>>,
}

impl Around {
    fn within(&self, members: &Map<String, Value>) -> Self {
        let host = name(members, &["server.address", "api_base", "base_url", "baseURL", "url", "host"])
            .and_then(|url| host_of(&url));
        let asked = ["request", "kwargs", "request_body", "json_data", "input"]
            .iter()
            .find_map(|key| name(members.get(*key)?.as_object()?, &["model"]));
        Self {
            at: self.at,
            provider: name(members, &PROVIDERS).or_else(|| self.provider.clone()),
            host: host.or_else(|| self.host.clone()),
            model: asked.or_else(|| name(members, &REQUEST_MODELS[..2])).or_else(|| self.model.clone()),
            request_id: name(members, &REQUEST_IDS).or_else(|| self.request_id.clone()),
            feature: feature(members).or_else(|| self.feature.clone()),
        }
    }
}

/// `gen_ai.*`: OpenTelemetry's conventions for generative AI; `llm.*`: OpenInference; `ai.*`: Vercel's AI SDK; the plain ones: LiteLLM's
/// `StandardLoggingPayload`, LangChain's `llm_output` and metadata. A model that is only named counts as the one that was asked for.
const REQUEST_MODELS: [&str; 10] = [
    "gen_ai.request.model",
    "request_model",
    "llm.model_name",
    "ai.model.id",
    "ls_model_name",
    "model",
    "model_name",
    "modelName",
    "modelId",
    "model_id",
];
const RESPONSE_MODELS: [&str; 4] = ["gen_ai.response.model", "response_model", "ai.response.model", "responseModel"];
const RESPONSE_IDS: [&str; 4] = ["gen_ai.response.id", "response_id", "ai.response.id", "responseId"];
const REQUEST_IDS: [&str; 6] = ["request_id", "requestId", "x-request-id", "x_request_id", "_request_id", "request-id"];
const PROVIDERS: [&str; 8] = [
    "gen_ai.provider.name",
    "gen_ai.system",
    "custom_llm_provider",
    "llm.provider",
    "ai.model.provider",
    "ls_provider",
    "model_provider",
    "provider",
];
/// Where tokens stand when they do not stand beside the model.
const USAGES: [&[&str]; 10] = [
    &["usage"],
    &["token_usage"],
    &["tokenUsage"],
    &["usage_metadata"],
    &["usageMetadata"],
    &["llm_output", "token_usage"],
    &["response_metadata", "token_usage"],
    &["response_metadata", "usage"],
    &["usage_object"],
    &[],
];

fn name(members: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    let text = |key: &&str| members.get(*key)?.as_str().filter(|text| (1..=MAX_NAME_BYTES).contains(&text.len()));
    keys.iter().find_map(text).map(str::to_owned)
}

/// As a tap would have it of a header; of OTLP's attributes, a name of digits is a number by now.
fn feature(members: &Map<String, Value>) -> Option<Arc<str>> {
    match members.get("outflow.feature")? {
        Value::String(text) => feature_name(text),
        Value::Number(number) => feature_name(&number.to_string()),
        _ => None,
    }
}

/// The members of an object together with its attributes: OpenTelemetry's are an object, or a list of `{"key", "value"}` as OTLP has it.
fn attributes(members: &Map<String, Value>) -> Cow<'_, Map<String, Value>> {
    let Some(attributes) = members.get("attributes") else { return Cow::Borrowed(members) };
    let mut all = members.clone();
    match attributes {
        Value::Object(inner) => all.extend(inner.iter().map(|(key, value)| (key.clone(), value.clone()))),
        Value::Array(list) => all.extend(list.iter().filter_map(|entry| {
            let typed = entry.get("value")?.as_object()?.values().next()?;
            // OTLP writes 64-bit integers as strings.
            let number = typed.as_str().filter(|text| text.len() < 20).and_then(|text| text.parse::<u64>().ok());
            Some((entry.get("key")?.as_str()?.to_owned(), number.map_or_else(|| typed.clone(), Value::from)))
        })),
        _ => return Cow::Borrowed(members),
    }
    Cow::Owned(all)
}

fn usage_of(members: &Map<String, Value>) -> Option<Usage> {
    let number = |keys: &[&str]| keys.iter().find_map(|key| members.get(*key)?.as_u64());
    let flat = Usage {
        input_tokens: number(&[
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.prompt_tokens",
            "llm.token_count.prompt",
            "ai.usage.promptTokens",
            "ai.usage.inputTokens",
        ]),
        output_tokens: number(&[
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.completion_tokens",
            "llm.token_count.completion",
            "ai.usage.completionTokens",
            "ai.usage.outputTokens",
        ]),
        cache_read_tokens: number(&[
            "gen_ai.usage.cache_read.input_tokens",
            "llm.token_count.prompt_details.cache_read",
        ]),
        cache_write_tokens: number(&[
            "gen_ai.usage.cache_creation.input_tokens",
            "llm.token_count.prompt_details.cache_write",
        ]),
        ..Usage::default()
    };
    if has_tokens(&flat) {
        return Some(flat);
    }
    USAGES.iter().find_map(|path| {
        let at = path.split_first().map_or(Some(None), |(first, rest)| {
            rest.iter().try_fold(members.get(*first)?, |value, key| value.get(key)).map(Some)
        })?;
        let own;
        let usage = if let Some(usage) = at {
            usage
        } else {
            own = Value::Object(members.clone());
            &own
        };
        counted(usage)
    })
}

/// A usage object, whoever's it is; each has members that no other has.
fn counted(usage: &Value) -> Option<Usage> {
    let has = |key: &str| usage.get(key).is_some();
    let read = if has("prompt_tokens") || has("completion_tokens") {
        usage::chat(usage)
    } else if has("promptTokenCount") {
        gemini::usage(usage)
    } else if has("promptTokens") || has("completionTokens") {
        let count = |key: &str| usage.get(key).and_then(Value::as_u64);
        Usage { input_tokens: count("promptTokens"), output_tokens: count("completionTokens"), ..Usage::default() }
    } else if has("inputTokens") {
        usage::converse(usage)
    } else if has("cache_read_input_tokens") || has("cache_creation_input_tokens") {
        usage::messages(usage)
    } else if has("input_token_details") {
        // LangChain: the cache is part of the input.
        let detail = |key: &str| usage.get("input_token_details")?.get(key)?.as_u64();
        let (cache_read_tokens, cache_write_tokens) = (detail("cache_read"), detail("cache_creation"));
        Usage { cache_read_tokens, cache_write_tokens, ..usage::responses(usage) }
    } else if has("prompt_eval_count") {
        usage::ollama(usage)
    } else {
        usage::responses(usage)
    };
    has_tokens(&read).then_some(read)
}

fn has_tokens(usage: &Usage) -> bool {
    usage.input_tokens.is_some() || usage.output_tokens.is_some()
}

fn finish_reasons(members: &Map<String, Value>) -> Vec<String> {
    let one = name(members, &["finish_reason", "ai.response.finishReason", "finishReason"]);
    let list = members.get("gen_ai.response.finish_reasons").and_then(Value::as_array);
    // OTLP keeps lists in `values`, which [`attributes`] leaves as they are.
    let list = list.into_iter().flatten().filter_map(Value::as_str).filter(|reason| reason.len() <= MAX_NAME_BYTES);
    list.map(str::to_owned).chain(one).take(8).collect()
}

/// Ids that vendors give to answers; an `id` of an application's own says nothing.
fn is_response_id(id: &str) -> bool {
    ["chatcmpl-", "cmpl-", "resp_", "msg_", "gen-", "embd-"].iter().any(|prefix| id.starts_with(prefix))
}

fn host_of(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', ':', '?']).next()?;
    host.contains('.').then(|| host.to_lowercase())
}

/// When it happened: what a logger writes, else nothing. Seconds and milliseconds are told apart by their size.
fn time_of(document: &Value) -> Option<Timestamp> {
    const KEYS: [&str; 9] = [
        "timestamp",
        "@timestamp",
        "time",
        "ts",
        "asctime",
        "datetime",
        "startTime",
        "timeUnixNano",
        "__REALTIME_TIMESTAMP",
    ];
    let members = document.as_object()?;
    KEYS.iter().find_map(|key| match members.get(*key)? {
        Value::String(text) => match text.parse::<u64>() {
            Ok(number) => unix(number as f64),
            // Python's logging writes `2026-11-26 15:04:05,123`, whose zone nobody knows.
            Err(_) => Timestamp::parse(text),
        },
        Value::Number(number) => unix(number.as_f64()?),
        _ => None,
    })
}

fn unix(number: f64) -> Option<Timestamp> {
    let seconds = match number {
        // 1990 to 2100 in seconds, milliseconds, microseconds, nanoseconds.
        6.3e8..4.2e9 => number,
        6.3e11..4.2e12 => number / 1e3,
        6.3e14..4.2e15 => number / 1e6,
        6.3e17..4.2e18 => number / 1e9,
        _ => return None,
    };
    #[expect(clippy::cast_sign_loss, reason = "not negative, see above")]
    Some(Timestamp((seconds * 1e9) as u64))
}

/// The first document in a text.
fn document(text: &[u8]) -> Option<Value> {
    serde_json::Deserializer::from_slice(text).into_iter::<Value>().next()?.ok().filter(Value::is_object)
}

/// `level=info msg="answered" model=gpt-4o prompt_tokens=12`. The crate `logfmt` (0.0.2, of 2016) is not kept.
fn logfmt(line: &[u8]) -> Option<Value> {
    let mut rest = std::str::from_utf8(line).ok()?;
    let mut members = Map::new();
    while let Some((before, after)) = rest.split_once('=') {
        let key = before.rsplit(char::is_whitespace).next().unwrap_or_default();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted
                    .char_indices()
                    .find(|(at, letter)| *letter == '"' && !quoted.get(..*at).is_some_and(|text| text.ends_with('\\')))?
                    .0;
                (quoted.get(..end)?, quoted.get(end + 1..)?)
            }
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        if !key.is_empty() {
            let value = value.parse::<u64>().map_or_else(|_| Value::from(value), Value::from);
            members.insert(key.to_owned(), value);
        }
        rest = left;
    }
    (members.len() > 1).then_some(Value::Object(members))
}
