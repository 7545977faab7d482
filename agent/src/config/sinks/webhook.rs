//! `[[sinks.webhook]]`: findings as requests to a web address. Enters: the section. Leaves: where and how. It holds no secret: those stay in
//! files and variables.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FindingMatch, Flow, RecordFormat, Setting};
use crate::config::{
    amounts::{Count, MINUTE, Period, SECOND},
    names::AbsolutePath,
    places::SinkName,
};

/// A web address that is sent findings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSink {
    /// Name of the sink: its place in the store, in metrics and in messages. A new or changed name is a new sink: it begins with the first
    /// finding of the store.
    #[serde(default = "name")]
    pub name: SinkName,
    /// Where findings are sent with POST. An address that is itself a secret, or that has a query, stands in a file or a variable.
    pub url: Setting,
    /// The secret that requests are signed with, by the specification Standard Webhooks: `whsec_` and base64. It is read from a file or a
    /// variable whenever a connection is made. While it is being replaced, the new and the old one stand there together with a space
    /// between, and requests carry both signatures. Without it they are not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Setting>,
    /// How each record of a request is written.
    #[serde(default = "native")]
    pub format: RecordFormat,
    /// What a request holds: one record, or several as an array or as lines.
    #[serde(default)]
    pub body: WebhookBody,
    /// Most records of one request, when `body` is `"array"` or `"lines"`.
    #[serde(default = "batch_records")]
    pub batch_records: Count<1, 1000>,
    /// Further headers of each request, by their names in lower case. `authorization`, keys, tokens and cookies must be read from a file or a
    /// variable, whenever a connection is made.
    #[serde(default)]
    pub headers: BTreeMap<String, Setting>,
    /// How long one request may take; what is not answered then is sent again.
    #[serde(default = "timeout")]
    pub timeout: Period<100, { 5 * MINUTE }>,
    /// Certificates (PEM) that are trusted instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<AbsolutePath>,
    /// Our own certificate (PEM), for a server that asks for one; needs `key_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<AbsolutePath>,
    /// The key (PEM) of the certificate in `cert_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<AbsolutePath>,
    /// Which findings go here, as `[[sinks.kafka.only]]` says; without any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<FindingMatch>,
    /// Which of them do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<FindingMatch>,
    /// Most records that go here a minute; the others are told by one digest, as `sinks.kafka.max_per_minute` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_minute: Option<Count<1, 1_000_000>>,
}

impl WebhookSink {
    /// Which findings go here, and how many.
    pub fn flow(&self) -> Flow {
        Flow::new(&self.only, &self.except, self.max_per_minute)
    }
}

fn name() -> SinkName {
    SinkName::fixed("webhook")
}

fn native() -> RecordFormat {
    RecordFormat::Native
}

fn batch_records() -> Count<1, 1000> {
    Count::from_number(100)
}

fn timeout() -> Period<100, { 5 * MINUTE }> {
    Period::from_millis(10 * SECOND)
}

/// What a request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebhookBody {
    /// One record, a JSON object.
    #[default]
    One,
    /// A JSON array of records.
    Array,
    /// A line for each record (NDJSON).
    Lines,
}
