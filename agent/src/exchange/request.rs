//! What a request says about itself. Enters: its outline and its path. Leaves: facts. Never guesses: what is not there is `None`.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{Api, facts::text};

/// What Bedrock does with a model.
const BEDROCK_OPERATIONS: [&str; 5] =
    ["converse", "converse-stream", "invoke", "invoke-with-response-stream", "count-tokens"];

/// Bedrock's path, else the body first and then the path: Azure's deployment, Google's model.
pub(super) fn model(asked: &Value, path: &str, api: Api) -> Option<String> {
    let after = |marker: &str| {
        let (_, rest) = path.split_once(marker)?;
        let name = rest.split(['/', ':']).next().filter(|name| !name.is_empty())?;
        Some(name.to_owned())
    };
    if let Some(name) = bedrock_model(path) {
        return Some(name);
    }
    // Google names it with a prefix in the body, whether the path is known or not.
    let named = text(asked, "model").map(|name| name.strip_prefix("models/").map(str::to_owned).unwrap_or(name));
    let named = named.or_else(|| after("/deployments/"));
    // Google's embeddings name it in the path, too.
    if api == Api::Embeddings { after("/models/").or(named) } else { named }
}

/// Bedrock's `/model/{id}/converse` and the like. The id is percent-encoded, and may be an ARN whose own slash is not.
fn bedrock_model(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/model/")?;
    let (name, operation) = rest.rsplit_once('/')?;
    let is_known = BEDROCK_OPERATIONS.contains(&operation) && !name.is_empty();
    is_known.then(|| percent_decode_str(name).decode_utf8_lossy().into_owned())
}

/// Only chat completions have the switch, and only a request that was read can answer.
pub(super) fn usage_requested(asked: &Value, api: Api) -> Option<bool> {
    let request = asked.as_object().filter(|_| api == Api::ChatCompletions)?;
    let asked = request.get("stream_options").and_then(|options| options.get("include_usage")?.as_bool());
    Some(asked.unwrap_or(false))
}
