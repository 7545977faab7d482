//! OpenAI's batches (developers.openai.com/api/reference, "Batch").

use serde_json::json;

use super::{Wired, answered, asking};
use crate::{call::Response, talk::Wrapping, traffic::Vendor};

pub(crate) fn wired(file: &str, wrapping: &Wrapping) -> Wired {
    let body = json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let answer = json!({
        "id": format!("batch_{file}"),
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": file,
        "completion_window": "24h",
        "status": "validating",
        "created_at": wrapping.created_s,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
    });
    let mut headers = answered(Vendor::Openai, wrapping);
    headers.insert("content-type".to_owned(), "application/json".to_owned());
    Wired {
        method: "POST",
        url: "https://api.openai.com/v1/batches".to_owned(),
        headers: asking(Vendor::Openai, wrapping),
        body: body.to_string(),
        response: Some(Response { status: 200, headers, body: answer.to_string() }),
    }
}
