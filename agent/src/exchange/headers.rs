//! What headers say besides the body. Enters: the headers of both messages. Leaves: facts.

use super::{
    Api, bedrock_invoke,
    facts::{Facts, named_code, replace},
};
use crate::assembly::Headers;

/// Headers that know more than the body. Azure names the model behind an alias; OpenAI's embeddings have it there too.
pub(super) fn models(headers: &Headers, api: Api, facts: &mut Facts) {
    let find = |name| headers.find(name).filter(|value| !value.is_empty()).map(str::to_owned);
    replace(&mut facts.response_model, find("x-ms-served-model"));
    if facts.response_model.is_none() && api == Api::Embeddings {
        facts.response_model = find("openai-model");
    }
}

/// What AWS puts into headers: the kind of an error (`ThrottlingException`, behind a colon more of it), and the tokens of an
/// answer whose body does not count them.
pub(super) fn aws(headers: &Headers, api: Api, facts: &mut Facts) {
    if facts.error.is_none() {
        let kind = headers.find("x-amzn-errortype").and_then(|kind| kind.split(':').next());
        facts.error = kind.map(str::trim).filter(|kind| !kind.is_empty()).map(named_code);
    }
    if api == Api::InvokeModel {
        bedrock_invoke::counted_by(headers, facts);
    }
}
