//! What the index of the recordings says of each fact, with the few places where we know more or mean something else. Each
//! is a rule with its reason, none names a record.

use serde_json::{Value, json};

use super::Case;

/// Every fact that both the index and `--facts` have.
pub(super) const FACTS: [&str; 23] = [
    "vendor",
    "api",
    "request_model",
    "azure_deployment",
    "response_model",
    "status",
    "streaming",
    "framing",
    "response_id",
    "input_tokens_total",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "tool_calls",
    "server_tool_calls",
    "finish_reasons",
    "system_fingerprint",
    "service_tier",
    "error",
    "mcp_method",
    "mcp_id",
    "mcp_tool",
];

/// Facts that only the request tells: unknown where the recorder kept the answer alone.
const OF_THE_REQUEST: [&str; 5] = ["request_model", "azure_deployment", "mcp_method", "mcp_id", "mcp_tool"];

/// What a fact must be; `None` when this recording cannot tell.
pub(super) fn expected(case: &Case, name: &str) -> Option<Value> {
    let index = &case.index;
    if is_response_only(case) && OF_THE_REQUEST.contains(&name) {
        return None;
    }
    // The index does not know where each shape has its id: an id that it does not give is not compared.
    if name == "response_id" && index[name].is_null() {
        return None;
    }
    let usage = &index["usage_raw"];
    let headers = &case.raw["response"]["headers"];
    Some(match name {
        // Azure says in a header which model stands behind the alias that the body repeats.
        "response_model" if headers["x-ms-served-model"].is_string() => headers["x-ms-served-model"].clone(),
        // The index does not read Mistral's name for cached tokens.
        "cached_tokens" if usage["num_cached_tokens"].is_u64() => usage["num_cached_tokens"].clone(),
        // Voyage counts only a total, which for embeddings is the input; Google's count stands where the index does not look.
        "input_tokens_total" if index["api"] == "embeddings" && index[name].is_null() => {
            let body = answer(case);
            let total = [&usage["total_tokens"], &body["usageMetadata"]["promptTokenCount"]];
            total.into_iter().find(|count| count.is_u64()).cloned().unwrap_or_default()
        }
        // Google streams the arguments of a call in pieces without a name (`partialArgs`); the index counts each piece, we the
        // calls, which begin with a name.
        "tool_calls" if index["api"] == "generate_content" && body(case).contains("\"partialArgs\"") => {
            json!(body(case).matches("\"functionCall\":{\"name\":").count())
        }
        _ => index[name].clone(),
    })
}

/// The recorder kept the answer alone: the request is sent with an empty body.
pub(super) fn is_response_only(case: &Case) -> bool {
    case.index["fidelity"].as_str().unwrap().starts_with("response-only")
}

fn body(case: &Case) -> &str {
    case.raw["response"]["body"].as_str().unwrap_or("null")
}

fn answer(case: &Case) -> Value {
    serde_json::from_str(body(case)).unwrap_or_default()
}

/// Dollars of the index against our nano-dollars: equal to the last of ours.
pub(super) fn same_cost(facts: &Value, index: &Value) -> bool {
    let cost = |value: &Value| value["vendor_reported_cost_usd"].as_f64();
    match (cost(facts), cost(index)) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() <= 0.6e-9,
        (ours, theirs) => ours == theirs,
    }
}
