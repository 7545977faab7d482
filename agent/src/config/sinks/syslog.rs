//! `[[sinks.syslog]]`: findings as messages of syslog. Enters: the section. Leaves: where and how. It connects to nobody.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FindingMatch, Flow, RecordFormat};
use crate::config::{
    amounts::{Count, KIB, MIB, MINUTE, Period, SECOND, Size},
    names::AbsolutePath,
    places::{SinkName, SyslogAddress},
};

/// A syslog server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyslogSink {
    /// Name of the sink: its place in the store, in metrics and in messages. A new or changed name is a new sink: it begins with the first
    /// finding of the store.
    #[serde(default = "name")]
    pub name: SinkName,
    /// Where the server is. `tls` encrypts (RFC 5425, mostly port 6514), `tcp` does not (RFC 6587 with octet counting, mostly port 601),
    /// `unix` is a datagram socket of this machine.
    pub address: SyslogAddress,
    /// How the message is written behind its header.
    #[serde(default = "native")]
    pub format: RecordFormat,
    /// The facility of all messages (RFC 5424, section 6.2.1).
    #[serde(default)]
    pub facility: SyslogFacility,
    /// What messages say they come from (APP-NAME).
    #[serde(default = "app_name")]
    pub app_name: SinkName,
    /// Largest message with its header. A larger one holds a summary instead of the whole record, and says so. Receivers take 8 KiB at
    /// least (RFC 5425); rsyslog cuts off what is longer than its `maxMessageSize`, which is 8 KiB.
    #[serde(default = "max_bytes")]
    pub max_bytes: Size<{ 2 * KIB }, MIB>,
    /// Syslog has no acknowledgement: what the system had taken for a connection that broke may be lost. So many of the newest messages
    /// are kept and sent once more when it is made again. 0 sends none. Has no effect with `unix`.
    #[serde(default = "resend")]
    pub resend: Count<0, 10_000>,
    /// How long connecting and one batch may take; what is not written then is sent again.
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

impl SyslogSink {
    /// Which findings go here, and how many.
    pub fn flow(&self) -> Flow {
        Flow::new(&self.only, &self.except, self.max_per_minute)
    }
}

fn name() -> SinkName {
    SinkName::fixed("syslog")
}

fn app_name() -> SinkName {
    SinkName::fixed("outflow")
}

fn native() -> RecordFormat {
    RecordFormat::Native
}

fn max_bytes() -> Size<{ 2 * KIB }, MIB> {
    Size::from_bytes(8 * KIB)
}

fn resend() -> Count<0, 10_000> {
    Count::from_number(100)
}

fn timeout() -> Period<100, { 5 * MINUTE }> {
    Period::from_millis(10 * SECOND)
}

/// Facilities of syslog that programs use (RFC 5424, section 6.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SyslogFacility {
    /// Programs of users.
    User,
    /// Services.
    Daemon,
    /// Security, for all to read.
    Auth,
    /// Security, for few to read.
    AuthPriv,
    /// For local use.
    #[default]
    Local0,
    /// For local use.
    Local1,
    /// For local use.
    Local2,
    /// For local use.
    Local3,
    /// For local use.
    Local4,
    /// For local use.
    Local5,
    /// For local use.
    Local6,
    /// For local use.
    Local7,
}
