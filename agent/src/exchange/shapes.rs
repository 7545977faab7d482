//! Which file reads which kind of call. Enters: the kind, and what there is of both bodies. Leaves: facts, or the reader of a
//! streamed answer; and for hosts that no table lists the kind itself. It reads no facts.

use serde_json::Value;

use super::{
    Api, anthropic_messages, bedrock_converse, bedrock_invoke, cohere_chat, completions, embeddings,
    facts::{Facts, elements, error_code, replace},
    gemini, mcp, media, ollama, openai_chat, openai_responses,
    stream::{Plain, Stream},
};

/// Reads a whole answer.
pub(super) fn answer(api: Api, doc: &Value, facts: &mut Facts) {
    match api {
        Api::Batches | Api::Moderations => facts.envelope(doc),
        Api::ChatCompletions => openai_chat::answer(doc, facts),
        Api::CohereChat => cohere_chat::answer(doc, facts),
        Api::Completions => completions::answer(doc, facts),
        Api::Converse => bedrock_converse::answer(doc, facts),
        Api::Embeddings | Api::Rerank => embeddings::answer(doc, facts),
        Api::GenerateContent => gemini::answer(doc, facts),
        Api::Images | Api::Speech | Api::Transcription => media::answer(doc, facts),
        Api::InvokeModel => bedrock_invoke::answer(doc, facts),
        Api::McpStreamableHttp => mcp::answer(doc, facts),
        Api::Messages => anthropic_messages::answer(doc, facts),
        Api::OllamaChat | Api::OllamaGenerate => ollama::answer(doc, facts),
        Api::Responses => openai_responses::answer(doc, facts),
        Api::ResponsesCompact => openai_responses::compaction(doc, facts),
        _ => replace(&mut facts.error, error_code(doc)),
    }
}

/// The reader of a streamed answer.
pub(super) fn stream(api: Api) -> Box<dyn Stream> {
    match api {
        Api::ChatCompletions => Box::<openai_chat::Chunks>::default(),
        Api::CohereChat => Box::<cohere_chat::Events>::default(),
        Api::Completions => Box::<completions::Chunks>::default(),
        Api::Converse => Box::<bedrock_converse::Events>::default(),
        Api::GenerateContent => Box::<gemini::Events>::default(),
        Api::Images | Api::Speech | Api::Transcription => Box::<media::Events>::default(),
        Api::InvokeModel => Box::<bedrock_invoke::Chunks>::default(),
        Api::McpStreamableHttp => Box::<mcp::Messages>::default(),
        Api::Messages => Box::<anthropic_messages::Events>::default(),
        Api::OllamaChat | Api::OllamaGenerate => Box::<ollama::Lines>::default(),
        Api::Responses => Box::<openai_responses::Events>::default(),
        _ => Box::<Plain>::default(),
    }
}

fn is(value: &Value, key: &str, word: &str) -> bool {
    value.get(key).and_then(Value::as_str) == Some(word)
}

fn has_text(value: &Value, key: &str) -> bool {
    value.get(key).is_some_and(Value::is_string)
}

fn has_object(value: &Value, key: &str) -> bool {
    value.get(key).is_some_and(Value::is_object)
}

/// Whether the bodies can be what a path on a host that no file lists says. Only paths that others use as well are doubted.
pub(super) fn agrees(api: Api, asked: &Value, answered: &Value) -> bool {
    match api {
        Api::McpStreamableHttp => mcp::is_json_rpc(asked) || mcp::is_json_rpc(answered),
        Api::OllamaChat | Api::OllamaGenerate => {
            has_text(asked, "model") || answered.get("done").is_some_and(Value::is_boolean)
        }
        _ => true,
    }
}

/// What a call to a host that no table lists is, by what its bodies look like. The answer knows best; a request alone must say
/// more than that it names a model. `answered` is the first event of an answer that is a stream.
pub(super) fn of(asked: &Value, answered: &Value) -> Option<Api> {
    by_answer(answered).or_else(|| by_request(asked, answered))
}

fn by_answer(answered: &Value) -> Option<Api> {
    let kind = answered.get("object").and_then(Value::as_str).unwrap_or_default();
    let by_object = match kind {
        "chat.completion" | "chat.completion.chunk" => Some(Api::ChatCompletions),
        "text_completion" => Some(Api::Completions),
        "response" => Some(Api::Responses),
        "response.compaction" => Some(Api::ResponsesCompact),
        "response.input_tokens" => Some(Api::CountTokens),
        "list" if elements(answered, "data").first().is_some_and(|first| is(first, "object", "embedding")) => {
            Some(Api::Embeddings)
        }
        _ => None,
    };
    if by_object.is_some() {
        return by_object;
    }
    let is_message = is(answered, "type", "message") && is(answered, "role", "assistant");
    if (is_message && answered.get("content").is_some()) || is(answered, "type", "message_start") {
        return Some(Api::Messages);
    }
    if is(answered, "type", "response.created") && has_object(answered, "response") {
        return Some(Api::Responses);
    }
    let google = has_object(answered, "usageMetadata") || has_text(answered, "modelVersion");
    let first = answered.as_array().and_then(|chunks| chunks.first());
    if (google && answered.get("candidates").is_some_and(Value::is_array))
        || first.is_some_and(|first| has_object(first, "usageMetadata") && first.get("candidates").is_some())
    {
        return Some(Api::GenerateContent);
    }
    let converses = answered.get("output").and_then(|output| output.get("message")).is_some_and(Value::is_object);
    if converses && has_text(answered, "stopReason") {
        return Some(Api::Converse);
    }
    if answered.get("done").is_some_and(Value::is_boolean) && has_text(answered, "model") {
        return if has_object(answered, "message") {
            Some(Api::OllamaChat)
        } else {
            has_text(answered, "response").then_some(Api::OllamaGenerate)
        };
    }
    let bills = |key: &str| answered.get(key).is_some_and(|usage| has_object(usage, "billed_units"));
    let is_cohere =
        (has_object(answered, "message") && bills("usage")) || (has_text(answered, "text") && bills("meta"));
    if is_cohere || (is(answered, "type", "message-start") && has_object(answered, "delta")) {
        return Some(Api::CohereChat);
    }
    // Gateways that leave the kind of object out.
    let choice = elements(answered, "choices").first()?;
    if has_object(choice, "message") || has_object(choice, "delta") {
        return Some(Api::ChatCompletions);
    }
    // Its text may be too long for the outline, where it is null then.
    (choice.get("text").is_some() && choice.get("finish_reason").is_some()).then_some(Api::Completions)
}

fn by_request(asked: &Value, answered: &Value) -> Option<Api> {
    if mcp::is_request(asked) {
        return Some(Api::McpStreamableHttp);
    }
    let messages = elements(asked, "messages");
    let content = elements(asked, "contents").first();
    if content.is_some_and(|content| content.get("parts").is_some_and(Value::is_array)) {
        return Some(Api::GenerateContent);
    }
    if has_text(asked, "anthropic_version") && !messages.is_empty() {
        return Some(Api::Messages);
    }
    if !messages.is_empty() && (has_object(asked, "inferenceConfig") || has_object(asked, "toolConfig")) {
        return Some(Api::Converse);
    }
    if !has_text(asked, "model") {
        return None;
    }
    if messages.first().is_some_and(|message| has_text(message, "role")) {
        // Anthropic takes the system prompt beside the messages, and its tools have a schema of their own.
        let tools = elements(asked, "tools").first().is_some_and(|tool| has_object(tool, "input_schema"));
        let is_anthropic = asked.get("system").is_some() && asked.get("max_tokens").is_some();
        return Some(if tools || is_anthropic { Api::Messages } else { Api::ChatCompletions });
    }
    let input = asked.get("input").filter(|input| input.is_string() || input.is_array() || input.is_null())?;
    let vectors = is(answered, "object", "list") || asked.get("encoding_format").is_some();
    if vectors {
        return Some(Api::Embeddings);
    }
    let items = input.as_array().and_then(|items| items.first());
    let is_item = items.is_some_and(|item| has_text(item, "role") || has_text(item, "type"));
    let words = ["instructions", "previous_response_id", "max_output_tokens", "store", "reasoning", "tools"];
    (is_item || words.iter().any(|word| asked.get(word).is_some())).then_some(Api::Responses)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shapes_by_their_answer() {
        for (answered, api) in [
            (json!({"object":"chat.completion","choices":[]}), Some(Api::ChatCompletions)),
            (json!({"choices":[{"message":{"role":"assistant"}}]}), Some(Api::ChatCompletions)),
            (json!({"object":"text_completion"}), Some(Api::Completions)),
            (json!({"choices":[{"text":"a","finish_reason":null}]}), Some(Api::Completions)),
            (json!({"object":"response"}), Some(Api::Responses)),
            (json!({"type":"response.created","response":{}}), Some(Api::Responses)),
            (json!({"object":"response.compaction"}), Some(Api::ResponsesCompact)),
            (json!({"object":"list","data":[{"object":"embedding"}]}), Some(Api::Embeddings)),
            (json!({"type":"message","role":"assistant","content":[]}), Some(Api::Messages)),
            (json!({"type":"message_start","message":{}}), Some(Api::Messages)),
            (json!({"candidates":[],"usageMetadata":{}}), Some(Api::GenerateContent)),
            (json!([{"candidates":[],"usageMetadata":{}}]), Some(Api::GenerateContent)),
            (json!({"output":{"message":{}},"stopReason":"end_turn"}), Some(Api::Converse)),
            (json!({"model":"m","message":{},"done":false}), Some(Api::OllamaChat)),
            (json!({"model":"m","response":"","done":true}), Some(Api::OllamaGenerate)),
            (json!({"message":{"content":[]},"usage":{"billed_units":{}}}), Some(Api::CohereChat)),
            (json!({"type":"message-start","delta":{}}), Some(Api::CohereChat)),
            (json!({"object":"list","data":[{"object":"model"}]}), None),
            (json!({"type":"message","content":"hello"}), None),
            (json!({"candidates":["Ann","Bob"]}), None),
            (json!({"choices":["a","b"]}), None),
            (json!({"choices":[{"text":"yes"}]}), None),
            (json!({"message":"done","done":true}), None),
            (json!({"output":"x","stopReason":"y"}), None),
            (json!(["a"]), None),
            (Value::Null, None),
        ] {
            assert_eq!(of(&Value::Null, &answered), api, "{answered}");
        }
    }

    #[test]
    fn shapes_by_their_request() {
        for (asked, api) in [
            (json!({"model":"m","messages":[{"role":"user","content":"a"}]}), Some(Api::ChatCompletions)),
            (json!({"model":"m","max_tokens":1,"system":"s","messages":[{"role":"user"}]}), Some(Api::Messages)),
            (json!({"model":"m","messages":[{"role":"user"}],"tools":[{"input_schema":{}}]}), Some(Api::Messages)),
            (json!({"anthropic_version":"bedrock-2023-05-31","messages":[{"role":"user"}]}), Some(Api::Messages)),
            (json!({"messages":[{"role":"user"}],"inferenceConfig":{}}), Some(Api::Converse)),
            (json!({"contents":[{"parts":[{"text":"a"}]}]}), Some(Api::GenerateContent)),
            (json!({"model":"m","input":"a","encoding_format":"float"}), Some(Api::Embeddings)),
            (json!({"model":"m","input":"a","instructions":"b"}), Some(Api::Responses)),
            (json!({"model":"m","input":[{"role":"user","content":"a"}]}), Some(Api::Responses)),
            (json!({"jsonrpc":"2.0","id":1,"method":"tools/list"}), Some(Api::McpStreamableHttp)),
            (json!({"jsonrpc":"2.0","id":1,"method":"eth_call"}), None),
            (json!({"model":"T","input":5}), None),
            (json!({"model":"T","input":"a"}), None),
            (json!({"model":"T","messages":["a"]}), None),
            (json!({"messages":[{"role":"user"}]}), None),
            (json!({"contents":[{"name":"a"}]}), None),
            (json!({"model":{"a":1},"messages":[{"role":"user"}]}), None),
        ] {
            assert_eq!(of(&asked, &Value::Null), api, "{asked}");
        }
    }

    #[test]
    fn a_shared_path_needs_a_body_that_agrees() {
        let ui = json!({"id":"x","messages":[]});
        for (api, asked, answered, agree) in [
            (Api::OllamaChat, json!({"model":"m"}), Value::Null, true),
            (Api::OllamaChat, Value::Null, json!({"done":true}), true),
            (Api::OllamaChat, ui, json!({"text":"a"}), false),
            (Api::McpStreamableHttp, json!({"jsonrpc":"2.0"}), Value::Null, true),
            (Api::McpStreamableHttp, json!({"a":1}), json!({"b":1}), false),
            (Api::ChatCompletions, Value::Null, Value::Null, true),
        ] {
            assert_eq!(agrees(api, &asked, &answered), agree, "{asked}");
        }
    }
}
