//! One call, ready for replay. Enters: both messages of an exchange, when it was and whose. Leaves: an exchange record as
//! `outflow replay` reads it (`agent/src/sources/replay/record.rs`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Headers, names in lower case.
pub(crate) type Headers = BTreeMap<String, String>;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: String,
}

/// A call with its times and its origin.
#[derive(Clone, Debug)]
pub struct Call {
    /// First byte of the request, nanoseconds since 1970.
    pub started_at_ns: u64,
    /// First byte of the answer.
    pub first_byte_ns: u64,
    /// Last byte of the answer, or when the client gave up.
    pub ended_at_ns: u64,
    /// Whose call it is.
    pub service: String,
    pub(crate) feature: Option<String>,
    pub(crate) connection: String,
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) headers: Headers,
    pub(crate) body: String,
    /// `None`: the client gave up.
    pub(crate) response: Option<Response>,
}

impl Call {
    /// As an exchange record, one JSON object.
    pub fn record(&self, id: &str) -> Value {
        let response = self
            .response
            .as_ref()
            .map(|response| json!({"status": response.status, "headers": response.headers, "body": response.body}));
        json!({
            "id": id,
            "request": {"method": self.method, "url": self.url, "headers": self.headers, "body": self.body},
            "response": response,
            "outflow": {
                "started_at_ns": self.started_at_ns,
                "first_byte_ns": self.first_byte_ns,
                "ended_at_ns": self.ended_at_ns,
                "service": self.service,
                "feature": self.feature,
                "process": "python3.12",
                "connection": self.connection,
            },
        })
    }
}
