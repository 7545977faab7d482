//! What headers say besides the body. Enters: the headers of both messages. Leaves: facts.

use super::{
    Api,
    facts::{Facts, replace},
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
