//! Google's `generateContent`, of the Gemini API and of Vertex. Enters: an answer, whole or as events; the elements of a
//! growing JSON array are such events too. Leaves: facts, and the text of a streamed answer at the paths that the whole answer
//! would have (`$.candidates[0].content.parts[1].text`). It knows no prices, and no tool by name.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Usage,
    facts::{Facts, MAX_LISTED, Seen, count, elements, error_code, replace, text},
    path::Path,
    stream::Stream,
    text::{Joined, Mode},
    written,
};

/// The model that a path names: `/v1beta/models/M:verb`, `/v1beta/tunedModels/M:verb`,
/// `/v1/projects/P/locations/L/publishers/google/models/M:verb`, `…/endpoints/E:verb` (a model of one's own).
pub(super) fn model(path: &str) -> Option<&str> {
    let (place, _) = path.rsplit_once(':')?;
    let mut segments = place.rsplit('/');
    let name = segments.next().filter(|name| !name.is_empty())?;
    matches!(segments.next()?, "models" | "tunedModels" | "endpoints").then_some(name)
}

/// Google counts cached tokens into the prompt, and neither thoughts into the candidates nor what tools fed back into the
/// prompt; all of them are billed (ai.google.dev/api/generate-content#UsageMetadata: the total is the sum of the four).
pub(super) fn usage(usage: &Value) -> Usage {
    let of = |key: &str| count(usage, &[key]);
    let sum = |first: Option<u64>, second: Option<u64>| match (first, second) {
        (None, None) => None,
        (first, second) => Some(first.unwrap_or(0).saturating_add(second.unwrap_or(0))),
    };
    let reasoning_tokens = of("thoughtsTokenCount");
    Usage {
        input_tokens: of("promptTokenCount").and_then(|prompt| sum(Some(prompt), of("toolUsePromptTokenCount"))),
        // Live sessions call them so.
        output_tokens: sum(of("candidatesTokenCount").or_else(|| of("responseTokenCount")), reasoning_tokens),
        cache_read_tokens: of("cachedContentTokenCount"),
        cache_write_tokens: None,
        cache_write_1h_tokens: None,
        reasoning_tokens,
        input_audio_tokens: audio(usage, ["promptTokensDetails"]),
        cache_read_audio_tokens: audio(usage, ["cacheTokensDetails"]),
        output_audio_tokens: audio(usage, ["candidatesTokensDetails", "responseTokensDetails"]),
        hidden_tokens: None,
    }
}

/// Tokens of audio among those that one of these members counts by modality.
pub(super) fn audio<const N: usize>(usage: &Value, names: [&str; N]) -> Option<u64> {
    let parts = names.iter().map(|name| elements(usage, name)).find(|parts| !parts.is_empty())?;
    let is_audio = |part: &&Value| part.get("modality").and_then(Value::as_str) == Some("AUDIO");
    let tokens = |part: &Value| count(part, &["tokenCount"]).or_else(|| count(part, &["token_count"])).unwrap_or(0);
    Some(parts.iter().filter(is_audio).map(tokens).fold(0, u64::saturating_add)).filter(|tokens| *tokens > 0)
}

fn take_usage(facts: &mut Facts, counted: &Value) {
    facts.usage = usage(counted);
    let tier = text(counted, "serviceTier").or_else(|| text(counted, "trafficType"));
    replace(&mut facts.usage_tier, tier);
}

/// Reads a whole answer.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    let mut events = Events::default();
    match doc.as_array() {
        // A growing array that was not read as events: nothing says whether its last element is there.
        Some(parts) => parts.iter().for_each(|part| events.take(part)),
        None => events.take(doc),
    }
    *facts = events.into_facts(doc.is_object());
}

/// A streamed answer. State: the usage so far and one entry a candidate, at most [`MAX_LISTED`].
#[derive(Debug, Default)]
pub(super) struct Events {
    facts: Facts,
    usage: Map<String, Value>,
    candidates: BTreeMap<u64, Candidate>,
    /// Candidate and path of each text that is of the reply, no thought; at most [`MAX_LISTED`].
    said: Vec<(u64, String)>,
}

#[derive(Debug, Default)]
struct Candidate {
    reason: Option<String>,
    /// Index of the part that is being written in the answer as a whole, and what kind it is of.
    part: usize,
    kind: PartKind,
}

/// Parts that follow each other and are of one kind are pieces of one, if their kind comes in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum PartKind {
    /// No part yet.
    #[default]
    None,
    Text,
    Thought,
    /// A call whose arguments are still to come.
    OpenCall,
    Other,
}

impl Stream for Events {
    fn event(&mut self, _: &str, doc: &Value, joined: &mut Joined) {
        self.take(doc);
        for (position, candidate) in elements(doc, "candidates").iter().enumerate() {
            self.write(position, candidate, joined);
        }
        let Some(map) = doc.as_object() else { return };
        for (key, value) in map.iter().filter(|(key, _)| *key != "candidates") {
            let mut path = Path::new("$");
            path.key(key);
            joined.walk(value, &mut path, key, Mode::Set);
        }
    }

    fn has_arguments(&self, data: &str) -> bool {
        memchr::memmem::find(data.as_bytes(), b"\"functionCall\"").is_some()
    }

    fn finish(mut self: Box<Self>, seen: Seen, joined: &mut Joined) -> Facts {
        for texts in self.said.chunk_by(|(left, _), (right, _)| left == right) {
            let said: String = texts.iter().filter_map(|(_, path)| joined.at(path)).collect();
            self.facts.written.reply(&said);
        }
        // Each chunk reports the usage so far: only that of a whole stream is the usage.
        self.into_facts(seen == Seen::Whole)
    }
}

fn index(position: usize, candidate: &Value) -> u64 {
    candidate.get("index").and_then(Value::as_u64).unwrap_or(position as u64)
}

impl Events {
    fn take(&mut self, doc: &Value) {
        replace(&mut self.facts.response_model, text(doc, "modelVersion"));
        replace(&mut self.facts.response_id, text(doc, "responseId"));
        replace(&mut self.facts.error, error_code(doc));
        replace(&mut self.facts.written.stopped_by, written::stopped_by(doc));
        // Later chunks may leave out what earlier ones said.
        for (key, value) in doc.get("usageMetadata").and_then(Value::as_object).into_iter().flatten().take(64) {
            self.usage.insert(key.clone(), value.clone());
        }
        for (position, candidate) in elements(doc, "candidates").iter().enumerate() {
            let index = index(position, candidate);
            if self.candidates.len() >= MAX_LISTED && !self.candidates.contains_key(&index) {
                continue;
            }
            replace(&mut self.candidates.entry(index).or_default().reason, reason(candidate));
            for part in candidate.get("content").map_or(&[][..], |content| elements(content, "parts")) {
                self.call(part);
            }
        }
    }

    /// Calls with a name begin; those without one bring more arguments (`partialArgs`, `willContinue`).
    fn call(&mut self, part: &Value) {
        if let Some(call) = part.get("functionCall").filter(|_| self.facts.tool_calls.len() < MAX_LISTED) {
            self.facts.tool_calls.extend(text(call, "name"));
            // Those that come in pieces are not put together.
            if call.get("partialArgs").is_none() && call.get("willContinue").is_none() {
                let name = text(call, "name").unwrap_or_default();
                self.facts.written.called(&name, call.get("args").unwrap_or(&Value::Null));
            }
        }
        if part.get("executableCode").is_some_and(Value::is_object) && self.facts.server_tool_calls.len() < MAX_LISTED {
            self.facts.server_tool_calls.push("code_execution".to_owned());
        }
    }

    fn write(&mut self, position: usize, candidate: &Value, joined: &mut Joined) {
        let index = index(position, candidate);
        let Some(state) = self.candidates.get_mut(&index) else { return };
        let mut path = Path::new("$.candidates");
        path.index(usize::try_from(index).unwrap_or(usize::MAX));
        let Some(map) = candidate.as_object() else { return };
        let length = path.len();
        for (key, value) in map.iter().filter(|(key, _)| *key != "content") {
            path.key(key);
            joined.walk(value, &mut path, key, Mode::Set);
            path.truncate(length);
        }
        path.key("content");
        let Some(content) = candidate.get("content").and_then(Value::as_object) else { return };
        let length = path.len();
        for (key, value) in content.iter().filter(|(key, _)| *key != "parts") {
            path.key(key);
            joined.walk(value, &mut path, key, Mode::Set);
            path.truncate(length);
        }
        path.key("parts");
        let length = path.len();
        for part in candidate.get("content").map_or(&[][..], |content| elements(content, "parts")) {
            let mode = state.next(part);
            path.index(state.part);
            match part.get("functionCall").filter(|call| call.get("partialArgs").is_some()) {
                Some(call) => arguments(call, &mut path, joined),
                None => joined.walk(part, &mut path, "", mode),
            }
            if state.kind == PartKind::Text && self.said.len() < MAX_LISTED {
                let said = (index, format!("{}.text", path.as_str()));
                if !self.said.contains(&said) {
                    self.said.push(said);
                }
            }
            path.truncate(length);
        }
    }

    fn into_facts(self, whole: bool) -> Facts {
        let mut facts = self.facts;
        if whole && !self.usage.is_empty() {
            take_usage(&mut facts, &Value::Object(self.usage));
        }
        facts.finish_reasons = self.candidates.into_values().filter_map(|candidate| candidate.reason).collect();
        facts
    }
}

impl Candidate {
    /// Moves to where a part belongs.
    fn next(&mut self, part: &Value) -> Mode {
        let call = part.get("functionCall");
        let kind = if call.is_some() {
            let continues = call.and_then(|call| call.get("willContinue")).and_then(Value::as_bool) == Some(true);
            if continues { PartKind::OpenCall } else { PartKind::Other }
        } else if part.get("text").is_none() {
            PartKind::Other
        } else if part.get("thought").and_then(Value::as_bool) == Some(true) {
            PartKind::Thought
        } else {
            PartKind::Text
        };
        let more_of_call = self.kind == PartKind::OpenCall && call.is_some_and(|call| text(call, "name").is_none());
        let more_of_text = kind == self.kind && matches!(kind, PartKind::Text | PartKind::Thought);
        let is_more = more_of_call || more_of_text;
        if self.kind != PartKind::None && !is_more {
            self.part = self.part.saturating_add(1);
        }
        self.kind = kind;
        if is_more { Mode::Append } else { Mode::Set }
    }
}

/// Pieces of arguments (`{"jsonPath":"$.city","stringValue":"Bos","willContinue":true}`) go where the whole call has them.
fn arguments(call: &Value, path: &mut Path, joined: &mut Joined) {
    path.key("functionCall");
    if let Some(name) = text(call, "name") {
        joined.put(&format!("{}.name", path.as_str()), "name", &name, Mode::Set);
    }
    path.key("args");
    let length = path.len();
    for piece in elements(call, "partialArgs").iter().take(MAX_LISTED) {
        let Some(value) = piece.get("stringValue").and_then(Value::as_str) else { continue };
        let place = piece.get("jsonPath").and_then(Value::as_str).and_then(|place| place.strip_prefix('$'));
        let is_plain = |place: &&str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'[' | b']' | b'_' | b'-');
            place.len() <= 256 && place.bytes().all(is_part)
        };
        if let Some(place) = place.filter(is_plain) {
            joined.put(&format!("{}{place}", path.as_str()), "", value, Mode::Append);
            continue;
        }
        path.key(piece.get("jsonPath").and_then(Value::as_str).unwrap_or_default());
        joined.put(path.as_str(), "", value, Mode::Append);
        path.truncate(length);
    }
}

/// A word, or a number where the client asked for the enum's numbers (`$alt=json;enum-encoding=int`, as Google's generated
/// REST clients do).
fn reason(candidate: &Value) -> Option<String> {
    match candidate.get("finishReason")? {
        Value::Number(number) => Some(number.to_string()),
        _ => text(candidate, "finishReason"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn models_in_paths() {
        for (path, name) in [
            ("/v1beta/models/gemini-2.5-pro:generateContent", Some("gemini-2.5-pro")),
            ("/v1beta/tunedModels/mine-123:streamGenerateContent", Some("mine-123")),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@20250929:rawPredict",
                Some("claude-x@20250929"),
            ),
            ("/v1/projects/p/locations/l/endpoints/4242:generateContent", Some("4242")),
            ("/proxy/v1beta/models/a:b:countTokens", Some("a:b")),
            ("/v1beta/models/:generateContent", None),
            ("/v1beta/cachedContents/x:generateContent", None),
            ("/v1beta/models", None),
        ] {
            assert_eq!(model(path), name, "{path}");
        }
    }

    #[test]
    fn what_is_billed_is_counted() {
        let counted = json!({"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":7,"toolUsePromptTokenCount":3,
            "cachedContentTokenCount":4,"totalTokenCount":25,"serviceTier":"standard"});
        let mut facts = Facts::default();
        take_usage(&mut facts, &counted);
        let expected = Usage {
            input_tokens: Some(13),
            output_tokens: Some(12),
            cache_read_tokens: Some(4),
            reasoning_tokens: Some(7),
            ..Usage::default()
        };
        assert_eq!((facts.usage, facts.usage_tier.as_deref()), (expected, Some("standard")));
        assert_eq!(usage(&json!({"promptTokenCount":10,"totalTokenCount":10})).output_tokens, None);
        assert_eq!(usage(&json!({"toolUsePromptTokenCount":10})).input_tokens, None);
    }

    #[test]
    fn a_growing_array_read_at_once_is_its_events() {
        let chunks = json!([
            {"candidates":[{"content":{"parts":[{"text":"a"}]},"index":0}],"usageMetadata":{"promptTokenCount":3}},
            {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":1,"index":0}],
             "usageMetadata":{"candidatesTokenCount":2},"modelVersion":"m-1","responseId":"r"}
        ]);
        let mut facts = Facts::default();
        answer(&chunks, &mut facts);
        assert_eq!(facts.usage, Usage::default(), "the last one may be missing");
        assert_eq!((facts.finish_reasons, facts.tool_calls), (vec!["1".to_owned()], vec!["f".to_owned()]));
        assert_eq!((facts.response_model.as_deref(), facts.response_id.as_deref()), (Some("m-1"), Some("r")));
    }
}
