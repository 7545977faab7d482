//! OpenAI embeddings. The vectors are noise that depends on the text alone; the Python client asks for them as base64 of
//! little-endian f32. The header `openai-model` names the model too.

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::Draft;
use crate::{models, reply::Reply};

/// The longest vector: that of text-embedding-3-large.
const MAX_DIMENSIONS: usize = 3_072;

/// `POST /v1/embeddings`.
pub(super) fn reply(draft: &Draft) -> Reply {
    let body = &draft.ask.body;
    let inputs: Vec<&str> = match body.get("input") {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => vec![text],
        _ => Vec::new(),
    };
    let default = if draft.model.ends_with("-large") { MAX_DIMENSIONS } else { 1_536 };
    let dimensions = body.get("dimensions").and_then(Value::as_u64).map_or(default, |wanted| wanted as usize);
    let as_base64 = body.get("encoding_format").and_then(Value::as_str) == Some("base64");
    let embedding = |text: &str| {
        let vector = vector(text, dimensions.min(MAX_DIMENSIONS));
        if as_base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            json!(STANDARD.encode(bytes))
        } else {
            json!(vector)
        }
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": embedding(text)}))
        .collect();
    let tokens: u64 = inputs.iter().map(|text| models::tokens(text)).sum();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Reply::json(StatusCode::OK, json!({"object": "list", "data": data, "model": draft.model, "usage": usage}))
        .header("openai-model", draft.model.clone())
}

/// A vector of numbers between -0.5 and 0.5: xorshift64 seeded with an FNV-1a hash of the text.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let seed = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f32::from((state >> 48) as u16) / f32::from(u16::MAX) - 0.5
    };
    std::iter::repeat_with(next).take(dimensions).collect()
}
