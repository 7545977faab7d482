//! What a request says about itself. Enters: its outline, its path and its headers. Leaves: facts. Never guesses: what is not
//! there is `None`.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{Api, facts::text, gemini};
use crate::assembly::Headers;

/// Headers that name a conversation: those of coding agents and of gateways.
const CONVERSATION_HEADERS: [&str; 6] = [
    "x-claude-code-session-id",
    "conversation_id",
    "session_id",
    "x-session-id",
    "x-conversation-id",
    "helicone-session-id",
];
/// Members of a body, or of its `metadata`, that do.
const CONVERSATION_KEYS: [&str; 4] = ["conversation_id", "session_id", "litellm_session_id", "thread_id"];

/// What Bedrock does with a model.
const BEDROCK_OPERATIONS: [&str; 5] =
    ["converse", "converse-stream", "invoke", "invoke-with-response-stream", "count-tokens"];

/// Bedrock's path, else the body first and then the path: Azure's deployment, Google's model.
pub(super) fn model(asked: &Value, path: &str, api: Api) -> Option<String> {
    // Google's calls name it in the path; where the body does too, it has a prefix.
    if let Some(name) = gemini::model(path).filter(|_| api != Api::Other) {
        return Some(name.to_owned());
    }
    let after = |marker: &str| {
        let (_, rest) = path.split_once(marker)?;
        let name = rest.split(['/', ':']).next().filter(|name| !name.is_empty())?;
        Some(name.to_owned())
    };
    if let Some(name) = bedrock_model(path) {
        return Some(name);
    }
    // Google's bodies have a prefix; a lost path must not change the name.
    let bare = |name: String| name.strip_prefix("models/").map(str::to_owned).unwrap_or(name);
    let named = text(asked, "model").or_else(|| text(asked, "model_id")).map(bare);
    named.or_else(|| after("/deployments/"))
}

/// Bedrock's `/model/{id}/converse` and the like. The id is percent-encoded, and may be an ARN whose own slash is not.
fn bedrock_model(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/model/")?;
    let (name, operation) = rest.rsplit_once('/')?;
    let is_known = BEDROCK_OPERATIONS.contains(&operation) && !name.is_empty();
    is_known.then(|| percent_decode_str(name).decode_utf8_lossy().into_owned())
}

/// Only chat completions have the switch. `is_whole`: the request was seen to its end, so what is not there was not sent.
pub(super) fn usage_requested(asked: &Value, api: Api, is_whole: bool) -> Option<bool> {
    let request = asked.as_object().filter(|_| api == Api::ChatCompletions)?;
    let asked = request.get("stream_options").and_then(|options| options.get("include_usage")?.as_bool());
    asked.or_else(|| is_whole.then_some(false))
}

/// What the calls of one conversation have in common. `prompt_cache_key` and `user` are not taken: many conversations share them.
pub(super) fn conversation(asked: &Value, headers: &Headers) -> Option<String> {
    let keyed = |value: &Value| CONVERSATION_KEYS.iter().find_map(|key| text(value, key));
    let metadata = asked.get("metadata");
    text(asked, "conversation")
        .or_else(|| asked.get("conversation").and_then(|conversation| text(conversation, "id")))
        .or_else(|| keyed(asked))
        .or_else(|| metadata.and_then(keyed))
        .or_else(|| metadata.and_then(|metadata| session_of(&text(metadata, "user_id")?)))
        .or_else(|| {
            let value = CONVERSATION_HEADERS.iter().find_map(|name| headers.find(name))?;
            (1..=256).contains(&value.len()).then(|| value.to_owned())
        })
        .or_else(|| text(asked, "previous_response_id"))
}

/// Claude Code tells Anthropic user and session in one word (`user_…_account_…_session_…`), newer versions in a JSON object.
fn session_of(user: &str) -> Option<String> {
    if let Ok(object) = serde_json::from_str::<Value>(user) {
        return text(&object, "session_id");
    }
    user.rsplit_once("_session_").map(|(_, session)| session.to_owned()).filter(|session| !session.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn models() {
        for (asked, path, api, name) in [
            (json!({"model":"m"}), "/v1/chat/completions", Api::ChatCompletions, Some("m")),
            (json!({"model":"m"}), "/openai/deployments/d/chat/completions", Api::ChatCompletions, Some("m")),
            (json!({}), "/openai/deployments/d/chat/completions", Api::ChatCompletions, Some("d")),
            (json!({"model":"models/m"}), "/v1beta/models/m:embedContent", Api::Embeddings, Some("m")),
            (json!({"model":"models/m"}), "/v1beta/other", Api::Embeddings, Some("m")),
            (json!({}), "/v1/p/publishers/anthropic/models/c@1:rawPredict", Api::Messages, Some("c@1")),
            (json!({"model_id":"ibm/granite"}), "/ml/v1/text/chat", Api::ChatCompletions, Some("ibm/granite")),
            (json!({"model":""}), "/v1/generate", Api::Completions, None),
        ] {
            assert_eq!(model(&asked, path, api).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn conversations() {
        let header = |name: &str| Headers(vec![(name.to_owned(), "h1".to_owned())]);
        for (asked, headers, expected) in [
            (json!({"previous_response_id":"r1"}), Headers::default(), Some("r1")),
            (json!({"previous_response_id":"r1","conversation":"c1"}), Headers::default(), Some("c1")),
            (json!({"conversation":{"id":"c2"}}), Headers::default(), Some("c2")),
            (json!({"metadata":{"session_id":"s1"}}), header("x-session-id"), Some("s1")),
            (json!({"metadata":{"user_id":"user_ab_account_cd_session_ef-1"}}), Headers::default(), Some("ef-1")),
            (json!({"metadata":{"user_id":"{\"session_id\":\"s2\"}"}}), Headers::default(), Some("s2")),
            (json!({"metadata":{"user_id":"ann"}}), header("x-claude-code-session-id"), Some("h1")),
            (json!({"metadata":{"user_id":"ann"},"prompt_cache_key":"k","user":"u"}), Headers::default(), None),
            (Value::Null, header("x-request-id"), None),
        ] {
            assert_eq!(conversation(&asked, &headers).as_deref(), expected, "{asked}");
        }
    }
}
