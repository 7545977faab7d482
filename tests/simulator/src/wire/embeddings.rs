//! OpenAI's embeddings (developers.openai.com/api/reference, "Embeddings"). Vectors are cut to [`NUMBERS`] so that bodies stay
//! small.

use serde_json::{Value, json};

use super::{Wired, headers};
use crate::{call::Response, random::Random, talk::Wrapping};

/// Numbers of a vector.
pub(crate) const NUMBERS: u64 = 24;

/// A vector of so many numbers.
pub(crate) fn vector(random: &mut Random, numbers: u64) -> Vec<f64> {
    (0..numbers).map(|_| (random.unit() * 2000.0 - 1000.0).round() / 1e4).collect()
}

/// How many numbers the vectors of a call have: what was asked, else the model's own size.
pub(crate) fn length(model: &str, dimensions: u64) -> u64 {
    match dimensions {
        0 if model.contains("large") => 2 * NUMBERS,
        0 => NUMBERS,
        // As a real service's vectors: another dimension has another length.
        asked => (asked / 64).clamp(8, 64),
    }
}

pub(crate) fn wired(
    model: &str,
    dimensions: u64,
    inputs: &[String],
    random: &mut Random,
    wrapping: &Wrapping,
) -> Wired {
    let input: Value = match inputs {
        [one] => one.as_str().into(),
        many => many.iter().map(String::as_str).collect(),
    };
    let mut body = json!({"model": model, "input": input, "encoding_format": "float"});
    if dimensions > 0 {
        body["dimensions"] = dimensions.into();
    }
    let length = length(model, dimensions);
    let data: Vec<Value> = (0..inputs.len())
        .map(|index| json!({"object": "embedding", "index": index, "embedding": vector(random, length)}))
        .collect();
    let tokens: usize = inputs.iter().map(|text| text.len() / 5 + 1).sum();
    let answer = json!({
        "object": "list",
        "data": data,
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    Wired {
        method: "POST",
        url: "https://api.openai.com/v1/embeddings".to_owned(),
        headers: headers(&[
            ("content-type", "application/json"),
            ("authorization", &format!("Bearer sk-simulated-{}", wrapping.key)),
            ("x-stainless-lang", "python"),
            ("x-stainless-retry-count", "0"),
        ]),
        body: body.to_string(),
        response: Some(Response {
            status: 200,
            headers: headers(&[
                ("content-type", "application/json"),
                ("x-request-id", &wrapping.request_id),
                ("openai-model", model),
            ]),
            body: answer.to_string(),
        }),
    }
}
