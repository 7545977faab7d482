//! The Model Context Protocol over streamable HTTP. Enters: the JSON-RPC request with its headers, and the answer, whole or as
//! events. Leaves: [`McpCall`] and facts. Reads both the protocol with sessions (up to 2025-11-25: `Mcp-Session-Id`, a GET
//! stream, 202 for notifications) and the one without (2026-07-28: version in `_meta`, `Mcp-Method` and `Mcp-Name` repeat the
//! body). Arguments and results are text like any other; nothing here interprets them.

use serde_json::Value;

use super::{
    McpCall,
    facts::{Facts, MAX_LISTED, Seen, error_code, replace, text},
    path::Path,
    stream::Stream,
    text::{Joined, Mode},
};
use crate::assembly::Headers;

/// Methods of the protocol, whole ones and families (modelcontextprotocol.io/specification, schema). JSON-RPC 2.0 alone says
/// nothing: language servers, wallets and many more speak it.
const METHODS: [&str; 5] = ["initialize", "ping", "completion/complete", "logging/setLevel", "server/discover"];
const FAMILIES: [&str; 9] = [
    "tools/",
    "resources/",
    "prompts/",
    "notifications/",
    "sampling/",
    "elicitation/",
    "roots/",
    "tasks/",
    "subscriptions/",
];
/// `initialize` and `ping` are everybody's words: with them the parameters must agree.
const VERSION: &str = "protocolVersion";
/// Where the protocol without sessions carries its version.
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// Whether a document is JSON-RPC: a request, a notification, a result; or a batch of these (protocol 2025-03-26).
pub(super) fn is_json_rpc(doc: &Value) -> bool {
    first(doc).get("jsonrpc").and_then(Value::as_str) == Some("2.0")
}

/// Whether a request is one of this protocol, whatever its path.
pub(super) fn is_request(asked: &Value) -> bool {
    let asked = first(asked);
    let Some(method) = asked.get("method").and_then(Value::as_str).filter(|_| is_json_rpc(asked)) else { return false };
    match method {
        "initialize" => asked.get("params").is_some_and(|params| params.get(VERSION).is_some_and(Value::is_string)),
        "ping" => meta_version(asked).is_some(),
        _ => METHODS.contains(&method) || FAMILIES.iter().any(|family| method.starts_with(family)),
    }
}

/// Whether a GET listens to a server, as clients do up to 2025-11-25.
pub(super) fn is_listening(method: &str, headers: &Headers) -> bool {
    let wants_events = || headers.find("accept").is_some_and(|accept| accept.contains("text/event-stream"));
    let speaks = || headers.find("mcp-session-id").or_else(|| headers.find("mcp-protocol-version")).is_some();
    method == "GET" && speaks() && wants_events()
}

/// The first message of a batch, or the only one.
fn first(doc: &Value) -> &Value {
    match doc {
        Value::Array(batch) => batch.first().unwrap_or(&Value::Null),
        doc => doc,
    }
}

fn meta_version(asked: &Value) -> Option<String> {
    text(asked.get("params")?.get("_meta")?, META_VERSION)
}

/// What the request says, and the session that either side names. The body is asked first: headers only repeat it.
pub(super) fn call(asked: &Value, sent: &Headers, received: Option<&Headers>) -> McpCall {
    let asked = first(asked);
    let header = |name| sent.find(name).filter(|value| (1..=256).contains(&value.len())).map(str::to_owned);
    let method = text(asked, "method").or_else(|| header("mcp-method"));
    let is_tool = method.as_deref() == Some("tools/call");
    let named = || asked.get("params").and_then(|params| text(params, "name")).or_else(|| header("mcp-name"));
    let id = asked.get("id").filter(|id| matches!(id, Value::Number(_) | Value::String(_)));
    let begun = || received.and_then(|headers| headers.find("mcp-session-id")).map(str::to_owned);
    McpCall {
        tool: is_tool.then(named).flatten(),
        method,
        id: id.map(ToString::to_string),
        session: header("mcp-session-id").or_else(begun),
        version: header("mcp-protocol-version")
            .or_else(|| meta_version(asked))
            .or_else(|| asked.get("params").and_then(|params| text(params, VERSION))),
        tool_failed: false,
    }
}

/// Reads a whole answer, or one message of a streamed one. Only a result or an error answers; notifications tell.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    let messages = match doc {
        Value::Array(batch) => batch.as_slice(),
        doc => std::slice::from_ref(doc),
    };
    for message in messages.iter().take(MAX_LISTED) {
        replace(&mut facts.error, error_code(message));
        let failed = message.get("result").and_then(|result| result.get("isError")?.as_bool());
        facts.tool_failed |= failed == Some(true);
    }
}

/// A streamed answer: the server's notifications, then the result. State: how many messages came.
#[derive(Debug, Default)]
pub(super) struct Messages {
    facts: Facts,
    next: usize,
}

impl Stream for Messages {
    fn event(&mut self, _: &str, doc: &Value, joined: &mut Joined) {
        answer(doc, &mut self.facts);
        // The result stands where that of an answer in one piece does; what came before it stands apart.
        let mut path = Path::new("$");
        if doc.get("result").is_none() && doc.get("error").is_none() {
            path = Path::new("$.events");
            path.index(self.next);
        }
        self.next = self.next.saturating_add(1);
        joined.walk(doc, &mut path, "", Mode::Set);
    }

    fn finish(self: Box<Self>, _: Seen, _: &mut Joined) -> Facts {
        self.facts
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_its_own_json_rpc_is_claimed() {
        for (asked, expected) in [
            (json!({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}), true),
            (json!({"jsonrpc":"2.0","method":"notifications/initialized"}), true),
            (json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}), true),
            (json!([{"jsonrpc":"2.0","id":1,"method":"tools/list"}]), true),
            (json!({"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{META_VERSION:"2026-07-28"}}}), true),
            (
                json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"processId":1,"rootUri":"file:///x"}}),
                false,
            ),
            (json!({"jsonrpc":"2.0","id":1,"method":"ping"}), false),
            (json!({"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]}), false),
            (json!({"id":1,"method":"tools/call"}), false),
            (json!({"jsonrpc":"2.0","id":1,"result":{}}), false),
            (json!([]), false),
            (Value::Null, false),
        ] {
            assert_eq!(is_request(&asked), expected, "{asked}");
        }
    }

    fn headers(fields: &[(&str, &str)]) -> Headers {
        Headers(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn calls_with_and_without_sessions() {
        let old = call(
            &json!({"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"look_up","arguments":{}}}),
            &headers(&[("mcp-protocol-version", "2025-11-25"), ("mcp-session-id", "s-1")]),
            None,
        );
        assert_eq!(
            old,
            McpCall {
                method: Some("tools/call".into()),
                id: Some("\"a\"".into()),
                tool: Some("look_up".into()),
                session: Some("s-1".into()),
                version: Some("2025-11-25".into()),
                tool_failed: false,
            }
        );
        let new = call(
            &json!({"jsonrpc":"2.0","id":7,"method":"prompts/get","params":{"name":"p","_meta":{META_VERSION:"2026-07-28"}}}),
            &headers(&[("mcp-method", "prompts/get"), ("mcp-name", "p")]),
            None,
        );
        assert_eq!((new.tool, new.id.as_deref(), new.version.as_deref()), (None, Some("7"), Some("2026-07-28")));
        let lost = call(&Value::Null, &headers(&[("mcp-method", "tools/call"), ("mcp-name", "t")]), None);
        assert_eq!((lost.method.as_deref(), lost.tool.as_deref(), lost.id), (Some("tools/call"), Some("t"), None));
        let begun = call(
            &json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}),
            &Headers::default(),
            Some(&headers(&[("mcp-session-id", "s-2")])),
        );
        assert_eq!((begun.session.as_deref(), begun.version.as_deref()), (Some("s-2"), Some("2025-06-18")));
    }

    #[test]
    fn a_tool_that_failed_is_no_error_of_the_protocol() {
        for (doc, error, failed) in [
            (json!({"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}), None, true),
            (json!({"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no such tool"}}), Some("-32602"), false),
            (
                json!([{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":2,"error":{"code":-32601}}]),
                Some("-32601"),
                false,
            ),
            (json!({"jsonrpc":"2.0","id":1,"result":{"isError":false}}), None, false),
        ] {
            let mut facts = Facts::default();
            answer(&doc, &mut facts);
            assert_eq!((facts.error.as_deref(), facts.tool_failed), (error, failed), "{doc}");
        }
    }
}
