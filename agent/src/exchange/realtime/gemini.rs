//! Gemini Live's messages (`BidiGenerateContent`, at the Gemini API and Vertex AI). Enters: a message. Leaves: facts and text
//! in a [`Turn`]. Keys come in camel case from the vendor and in either case from clients.
//!
//! Usage is that of one turn, with all of the session so far as its prompt: of two turns of a recorded session the second
//! has the first one's 1185 + 51 tokens in its prompt of 1251, and 63 of its own. Several reports within one turn count
//! the same work again, so the last one stands.

use serde_json::Value;

use super::{
    session::Known,
    turn::{Bounds, Turn},
};
use crate::{
    assembly::Frame,
    exchange::{
        Usage,
        facts::{count, elements, error_code, replace, text},
        gemini::audio,
        path::Path,
        text::Mode,
    },
    sources::Direction,
};

/// A member under either of its spellings.
fn member<'a>(doc: &'a Value, camel: &str, snake: &str) -> Option<&'a Value> {
    doc.get(camel).or_else(|| doc.get(snake))
}

fn server_content(doc: &Value) -> Option<&Value> {
    member(doc, "serverContent", "server_content")
}

fn usage_metadata(doc: &Value) -> Option<&Value> {
    member(doc, "usageMetadata", "usage_metadata").filter(|usage| usage.is_object())
}

fn flag(content: &Value, camel: &str, snake: &str) -> bool {
    member(content, camel, snake).and_then(Value::as_bool) == Some(true)
}

/// Whether a message can be no other's.
pub(super) fn is_shape(doc: &Value) -> bool {
    let is_object = |camel, snake| member(doc, camel, snake).is_some_and(Value::is_object);
    doc.get("setup").is_some_and(|setup| setup.get("model").is_some_and(Value::is_string))
        || is_object("setupComplete", "setup_complete")
        || is_object("serverContent", "server_content")
        || member(doc, "clientContent", "client_content").is_some_and(|content| content.get("turns").is_some())
}

/// Whether a message begins a new turn. The vendor's turn is over with `turnComplete`; its usage comes with that message, or
/// in one of its own. What the client says after either begins the next one; audio that it streams all the time does not.
pub(super) fn bounds(turn: &Turn, direction: Direction, doc: &Value) -> Bounds {
    let is_ripe = turn.is_turn_complete || turn.realtime.usage_reports > 0;
    let begins = match direction {
        Direction::Sent => {
            let input = member(doc, "realtimeInput", "realtime_input");
            is_ripe
                && (member(doc, "clientContent", "client_content").is_some()
                    || member(doc, "toolResponse", "tool_response").is_some()
                    || input.is_some_and(|input| input.get("text").is_some()))
        }
        Direction::Received => turn.is_turn_complete && (usage_metadata(doc).is_none() || answers(doc)),
    };
    if begins { Bounds::Before } else { Bounds::Inside }
}

/// Whether nothing is to follow in a turn.
pub(super) fn is_over(turn: &Turn) -> bool {
    turn.is_turn_complete && turn.realtime.usage_reports > 0
}

/// Whether a message is part of an answer.
fn answers(doc: &Value) -> bool {
    let content = server_content(doc);
    let has = |camel, snake| content.is_some_and(|content| member(content, camel, snake).is_some());
    has("modelTurn", "model_turn")
        || has("outputTranscription", "output_transcription")
        || member(doc, "toolCall", "tool_call").is_some()
}

/// Takes a message of the client; gives the bytes of media in it.
pub(super) fn sent(turn: &mut Turn, doc: &Value, data: &str, known: &mut Known) -> usize {
    if let Some(model) = doc.get("setup").and_then(|setup| text(setup, "model")) {
        // `models/name`, at Vertex AI `projects/…/models/name`.
        known.request_model = model.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned);
    }
    if let Some(response) = member(doc, "toolResponse", "tool_response") {
        let key = if response.get("functionResponses").is_some() { "functionResponses" } else { "function_responses" };
        for result in elements(response, key) {
            let output = result.get("response").unwrap_or(&Value::Null);
            let is_error = output.get("error").is_some_and(|error| !error.is_null());
            turn.result(text(result, "id"), text(result, "name"), is_error, &output.to_string());
        }
    }
    turn.send(data, &|_, key| matches!(key, "data" | "mimeType" | "mime_type"))
}

/// Takes a message of the vendor; gives the bytes of media in it.
pub(super) fn received(turn: &mut Turn, doc: &Value, frame: &Frame, known: &mut Known) -> usize {
    if answers(doc) {
        turn.answers_at(frame.started_at);
    }
    let Some(map) = doc.as_object() else { return 0 };
    let mut media_bytes = 0;
    let mut others = Vec::new();
    for (key, value) in map {
        match key.as_str() {
            "serverContent" | "server_content" => media_bytes += content(turn, value),
            "toolCall" | "tool_call" => tool_calls(turn, value),
            "usageMetadata" | "usage_metadata" => usage(turn, value),
            "modelVersion" | "model_version" => replace(&mut known.response_model, text(doc, key)),
            "error" => {
                turn.realtime.errors += u64::from(!value.is_null());
                replace(&mut turn.facts.error, error_code(doc));
                others.push((key, value));
            }
            // A handle opens the session again: it is a secret of the vendor's, and no text.
            "setupComplete" | "setup_complete" | "sessionResumptionUpdate" | "session_resumption_update" => {}
            _ => others.push((key, value)),
        }
    }
    if !others.is_empty() {
        let root = turn.received_root();
        for (key, value) in others {
            let mut path = Path::new(&root);
            path.key(key);
            turn.joined.walk(value, &mut path, key, Mode::Set);
        }
    }
    media_bytes
}

fn content(turn: &mut Turn, content: &Value) -> usize {
    turn.is_turn_complete |= flag(content, "turnComplete", "turn_complete");
    if let Some(reason) = text(content, "turnCompleteReason").or_else(|| text(content, "turn_complete_reason")) {
        turn.facts.finish_reasons = vec![reason];
    } else if flag(content, "interrupted", "interrupted") {
        turn.facts.finish_reasons = vec!["interrupted".to_owned()];
    }
    for (camel, snake) in
        [("outputTranscription", "output_transcription"), ("inputTranscription", "input_transcription")]
    {
        if let Some(text) = member(content, camel, snake).and_then(|transcription| transcription.get("text")?.as_str())
        {
            turn.joined.put(&format!("$.serverContent.{camel}.text"), "text", text, Mode::Append);
        }
    }
    for (camel, snake) in [("groundingMetadata", "grounding_metadata"), ("urlContextMetadata", "url_context_metadata")]
    {
        if let Some(value) = member(content, camel, snake) {
            turn.joined.walk(value, &mut Path::new(&format!("$.serverContent.{camel}")), "", Mode::Set);
        }
    }
    let parts = member(content, "modelTurn", "model_turn").map_or(&[][..], |said| elements(said, "parts"));
    parts.iter().map(|said| part(turn, said)).sum()
}

/// Parts of one turn follow each other, and each message counts its own from zero: text is one, and so are thoughts.
fn part(turn: &mut Turn, part: &Value) -> usize {
    let Some(map) = part.as_object() else { return 0 };
    let is_thought = part.get("thought").and_then(Value::as_bool) == Some(true);
    let root = if is_thought { "$.serverContent.modelTurn.thought" } else { "$.serverContent.modelTurn" };
    let mut media_bytes = 0;
    for (key, value) in map {
        match (key.as_str(), value) {
            ("inlineData" | "inline_data", value) => {
                media_bytes += value.get("data").and_then(Value::as_str).map_or(0, str::len);
            }
            ("thoughtSignature" | "thought_signature", Value::String(signature)) => media_bytes += signature.len(),
            (key, value) => {
                let mode = if key == "text" { Mode::Append } else { Mode::Set };
                let mut path = Path::new(root);
                path.key(key);
                turn.joined.walk(value, &mut path, key, mode);
            }
        }
    }
    media_bytes
}

fn tool_calls(turn: &mut Turn, value: &Value) {
    let key = if value.get("functionCalls").is_some() { "functionCalls" } else { "function_calls" };
    for call in elements(value, key) {
        let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
        let name = text(call, "name").unwrap_or_else(|| "function_call".to_owned());
        let mut path = Path::new("$.toolCall.functionCalls");
        path.index(turn.calls_count());
        turn.call(None, id, &name, false);
        turn.joined.walk(call, &mut path, "", Mode::Set);
    }
}

/// Output is what was answered and what was thought: a recorded turn has 37 tokens of answer, all of them audio, and 28 of
/// thoughts beside them.
fn usage(turn: &mut Turn, usage: &Value) {
    if !usage.is_object() {
        return;
    }
    turn.realtime.usage_reports += 1;
    turn.report(usage);
    let number = |camel: &str, snake: &str| count(usage, &[camel]).or_else(|| count(usage, &[snake]));
    let answer = number("responseTokenCount", "response_token_count")
        .or_else(|| number("candidatesTokenCount", "candidates_token_count"));
    let thoughts = number("thoughtsTokenCount", "thoughts_token_count");
    let prompt = number("promptTokenCount", "prompt_token_count");
    let tools = number("toolUsePromptTokenCount", "tool_use_prompt_token_count").unwrap_or(0);
    turn.facts.usage = Usage {
        input_tokens: prompt.map(|prompt| prompt.saturating_add(tools)),
        output_tokens: answer.map(|answer| answer.saturating_add(thoughts.unwrap_or(0))),
        cache_read_tokens: number("cachedContentTokenCount", "cached_content_token_count"),
        cache_write_tokens: None,
        cache_write_1h_tokens: None,
        reasoning_tokens: thoughts,
        input_audio_tokens: audio(usage, ["promptTokensDetails", "prompt_tokens_details"]),
        cache_read_audio_tokens: audio(usage, ["cacheTokensDetails", "cache_tokens_details"]),
        output_audio_tokens: audio(usage, ["responseTokensDetails", "response_tokens_details"]),
        hidden_tokens: None,
    };
    replace(&mut turn.facts.usage_tier, text(usage, "serviceTier").or_else(|| text(usage, "trafficType")));
}
