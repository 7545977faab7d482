//! A call as sinks stream it. Enters: an [`Exchange`], its cost, who paid. Leaves: a [`Call`], what is told of the call on standard output and
//! what a stream needs besides. It never holds text of prompts or answers; every name in it passed [`super::shown`].

use serde::{Deserialize, Serialize};

use super::{ExchangeRecord, Fingerprint, shown::identifier};
use crate::{
    exchange::{Cost, Exchange, is_unpriced},
    units::Timestamp,
};

/// Methods of HTTP that are told (RFC 9110 and 5789); another one is whatever a peer wrote.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// What a tool's answer that says that it failed is called (OpenTelemetry's conventions for MCP, `error.type`).
const TOOL_ERROR: &str = "tool_error";

/// One call, without its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Who asked whom for what, tokens, cost, times.
    pub record: ExchangeRecord,
    /// First byte of the request, nanoseconds since the Unix epoch.
    pub started_at_ns: u64,
    /// Last byte that was seen, nanoseconds since the Unix epoch.
    pub ended_at_ns: u64,
    /// HTTP method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Code of the error that the answer carries; `tool_error` when a tool says that it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// It costs something, and nobody knows how much.
    pub unpriced: bool,
    /// Trace that the request belongs to, by its `traceparent`: 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl Call {
    /// A call that is over.
    pub fn of(exchange: &Exchange, cost: Option<&Cost>, caller: Option<&Fingerprint>) -> Self {
        let method = METHODS.into_iter().find(|method| *method == exchange.method);
        let failed_tool = exchange.mcp.as_ref().is_some_and(|mcp| mcp.tool_failed).then(|| TOOL_ERROR.to_owned());
        Self {
            record: ExchangeRecord::new(exchange, cost).by(caller),
            started_at_ns: exchange.started_at.0,
            ended_at_ns: exchange.ended_at.max(exchange.started_at).0,
            method: method.map(str::to_owned),
            error_code: exchange.error.as_deref().map(identifier).or(failed_tool),
            unpriced: is_unpriced(exchange, cost),
            trace_id: exchange.headers.traceparent.as_deref().and_then(trace_id).map(str::to_owned),
        }
    }

    /// Whether it went well; `None` when no answer was seen.
    pub fn succeeded(&self) -> Option<bool> {
        match (&self.error_code, self.record.status) {
            (Some(_), _) => Some(false),
            (None, status) => status.map(|status| status < 400),
        }
    }

    /// When it was over.
    pub fn ended_at(&self) -> Timestamp {
        Timestamp(self.ended_at_ns)
    }

    /// What the money is spent on: the feature, else the service; `None` when nobody says either.
    pub fn spent_on(&self) -> Option<&str> {
        let process = &self.record.process;
        process.feature.as_deref().or(Some(process.service.as_str())).filter(|name| !name.is_empty())
    }
}

/// The trace id of a `traceparent` (w3.org/TR/trace-context, section 3.2.2).
fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = id.len() == 32 && is_hex(id) && id.bytes().any(|byte| byte != b'0');
    (version.len() == 2 && is_hex(version) && version != "ff" && is_id).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{McpCall, sample};

    #[test]
    fn a_call_holds_no_text_and_only_names() {
        let mut exchange = sample::exchange("openai", "gpt-4o");
        exchange.request_text.push("$.messages[0].content", "my card is 4111 1111 1111 1111");
        exchange.response_text.push("$.choices[0].message.content", "so it is");
        exchange.error = Some("card 4111 1111 1111 1111 is no good".into());
        exchange.method = "P0ST 4111".into();
        exchange.headers.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
        let call = Call::of(&exchange, None, None);
        let text = serde_json::to_string(&call).unwrap();
        assert!(!text.contains("4111") && !text.contains("so it is"), "{text}");
        assert_eq!((call.method.as_deref(), call.succeeded()), (None, Some(false)));
        assert_eq!(call.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(serde_json::from_str::<Call>(&text).unwrap(), call, "what was stored can be read");
    }

    #[test]
    fn a_call_goes_well_when_its_answer_says_so() {
        let of = |status, error: Option<&str>, tool_failed| {
            let mut exchange = sample::exchange("openai", "gpt-4o");
            exchange.status = status;
            exchange.error = error.map(str::to_owned);
            exchange.mcp = Some(McpCall { tool_failed, ..McpCall::default() });
            let call = Call::of(&exchange, None, None);
            (call.succeeded(), call.error_code)
        };
        assert_eq!(of(Some(200), None, false), (Some(true), None));
        assert_eq!(of(Some(101), None, false), (Some(true), None));
        assert_eq!(of(None, None, false), (None, None));
        assert_eq!(of(Some(429), Some("rate_limit"), false), (Some(false), Some("rate_limit".into())));
        assert_eq!(of(Some(200), Some("overloaded"), true), (Some(false), Some("overloaded".into())));
        assert_eq!(of(Some(200), None, true), (Some(false), Some("tool_error".into())));
    }

    #[test]
    fn only_traces_are_traces() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id));
        for wrong in [
            String::new(),
            "00".into(),
            format!("ff-{id}-1-01"),
            format!("00-{}-1-01", "0".repeat(32)),
            "00-x-1-01".into(),
        ] {
            assert_eq!(trace_id(&wrong), None, "{wrong}");
        }
    }
}
