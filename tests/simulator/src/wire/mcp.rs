//! The Model Context Protocol over streamable HTTP, protocol 2025-11-25
//! (modelcontextprotocol.io/specification/2025-11-25/basic/transports): `tools/call`, answered in one document.

use serde_json::{Value, json};

use super::{Wired, headers};
use crate::call::Response;

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Result { text: String, is_error: bool },
    RpcError,
    Silence,
}

pub(crate) fn wired(server: &str, session: &str, id: u64, tool: &str, arguments: &Value, answer: &Answer) -> Wired {
    let body = json!({
        "jsonrpc": "2.0",
        "id": id,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    });
    let answered = match answer {
        Answer::Result { text, is_error } => Some(json!({
            "jsonrpc": "2.0",
            "id": id,
            "result": {"content": [{"type": "text", "text": text}], "isError": is_error},
        })),
        Answer::RpcError => {
            Some(json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": "Internal error"}}))
        }
        Answer::Silence => None,
    };
    Wired {
        method: "POST",
        url: format!("https://{server}/mcp"),
        headers: headers(&[
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-session-id", session),
        ]),
        body: body.to_string(),
        response: answered.map(|body| Response {
            status: 200,
            headers: headers(&[("content-type", "application/json")]),
            body: body.to_string(),
        }),
    }
}
