//! Which file reads which kind of call. Enters: the kind, and what there is of both bodies. Leaves: facts, or the reader of a
//! streamed answer. It knows no shape itself.

use serde_json::Value;

use super::{
    Api, anthropic_messages, bedrock_converse, bedrock_invoke, cohere_chat, embeddings,
    facts::{Facts, error_code, replace},
    ollama, openai_chat, openai_responses,
    stream::{Plain, Stream},
};

/// Reads a whole answer.
pub(super) fn answer(api: Api, doc: &Value, facts: &mut Facts) {
    match api {
        Api::ChatCompletions => openai_chat::answer(doc, facts),
        Api::CohereChat => cohere_chat::answer(doc, facts),
        Api::Converse => bedrock_converse::answer(doc, facts),
        Api::InvokeModel => bedrock_invoke::answer(doc, facts),
        Api::Responses => openai_responses::answer(doc, facts),
        Api::Messages => anthropic_messages::answer(doc, facts),
        Api::Embeddings => embeddings::answer(doc, facts),
        Api::OllamaChat | Api::OllamaGenerate => ollama::answer(doc, facts),
        _ => replace(&mut facts.error, error_code(doc)),
    }
}

/// The reader of a streamed answer.
pub(super) fn stream(api: Api) -> Box<dyn Stream> {
    match api {
        Api::ChatCompletions => Box::<openai_chat::Chunks>::default(),
        Api::CohereChat => Box::<cohere_chat::Events>::default(),
        Api::Converse => Box::<bedrock_converse::Events>::default(),
        Api::InvokeModel => Box::<bedrock_invoke::Chunks>::default(),
        Api::Responses => Box::<openai_responses::Events>::default(),
        Api::Messages => Box::<anthropic_messages::Events>::default(),
        Api::OllamaChat | Api::OllamaGenerate => Box::<ollama::Lines>::default(),
        _ => Box::<Plain>::default(),
    }
}

/// What a call to a host that no table lists is, by what its body looks like.
pub(super) fn of(asked: &Value, answered: &Value) -> Option<Api> {
    let is =
        |value: &Value, key: &str, word: &str| value.get(key).and_then(Value::as_str).is_some_and(|text| text == word);
    if is(answered, "object", "chat.completion") || is(answered, "object", "chat.completion.chunk") {
        return Some(Api::ChatCompletions);
    }
    if is(answered, "object", "response") || is(answered, "type", "response.created") {
        return Some(Api::Responses);
    }
    if (is(answered, "type", "message") && answered.get("content").is_some()) || is(answered, "type", "message_start") {
        return Some(Api::Messages);
    }
    asked.get("model")?;
    if asked.get("messages").is_some_and(Value::is_array) {
        return Some(Api::ChatCompletions);
    }
    let vectors = is(answered, "object", "list") || asked.get("encoding_format").is_some();
    asked.get("input").map(|_| if vectors { Api::Embeddings } else { Api::Responses })
}
