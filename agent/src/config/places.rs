//! Values that say where findings go: names of sinks and topics, addresses of brokers and collectors. Enters: text. Leaves: names that can be
//! used as they are. Nothing here connects or looks a name up.

use std::{
    fmt,
    net::Ipv6Addr,
    path::{Path, PathBuf},
};

use super::{
    leaf::{Leaf, leaf, leaf_text},
    names::named,
};

/// Longest name of a host, bytes (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;
/// A region, a zone or an account: the longest of them, a project of Google within a domain, has less.
const CLOUD_BYTES_MAX: usize = 128;

leaf_text! {
    /// The name of a sink.
    SinkName,
    "a name of at most 64 letters, digits, `-`, `_` and `.`, such as \"siem\"",
    |text| plain(text, 64, &['-', '_', '.'])
}

leaf_text! {
    /// A Kafka topic, by the rules of org.apache.kafka.common.internals.Topic.
    Topic,
    "the name of a topic: at most 249 letters, digits, `-`, `_` and `.`",
    |text| if matches!(text, "." | "..") { Err(None) } else { plain(text, 249, &['-', '_', '.']) }
}

leaf_text! {
    /// The name of a host in what is sent.
    HostName, "a host's name, such as \"node-17\"", |text| plain(text, HOST_BYTES_MAX, &['-', '_', '.', ':'])
}

leaf_text! {
    /// A name that a cloud gave: a region, an account.
    CloudName, "letters, digits, '-', '_', '.' and ':', such as \"eu-central-1\"", |text| plain(text, CLOUD_BYTES_MAX, &['-', '_', '.', ':'])
}

leaf_text! {
    /// Host and port of a Kafka broker, as librdkafka takes it.
    Broker, "a host with its port: \"kafka-1.example.com:9092\" or \"[::1]:9092\"", broker
}

leaf_text! {
    /// Where a collector is, without a slash at its end.
    Endpoint, "an address with http or https, such as \"http://collector.example.com:4317\"", endpoint
}

/// Where a syslog server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// Over TLS.
    Tls {
        /// Name or address; an IPv6 address in brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// Without.
    Tcp {
        /// Name or address; an IPv6 address in brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A datagram socket of this machine.
    Unix(PathBuf),
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls { host, port } => write!(f, "tls://{host}:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Leaf for SyslogAddress {
    fn form() -> String {
        "\"tls://host:port\", \"tcp://host:port\" or \"unix:/dev/log\"".to_owned()
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = Path::new(path);
            return if path.is_absolute() { Ok(Self::Unix(path.to_owned())) } else { Err(None) };
        }
        let (scheme, rest) = text.split_once("://").ok_or(None)?;
        let rest = broker(rest)?;
        let (host, port) = rest.rsplit_once(':').ok_or(None)?;
        let (host, port) = (host.to_owned(), port.parse().map_err(|_| None)?);
        match scheme {
            "tls" => Ok(Self::Tls { host, port }),
            "tcp" => Ok(Self::Tcp { host, port }),
            "udp" => Err(Some("is UDP, which loses messages without a word".to_owned())),
            _ => Err(None),
        }
    }
}

leaf!(SyslogAddress);

impl SinkName {
    /// A name of our own.
    pub(super) fn fixed(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

impl HostName {
    /// A name that the agent itself found; `None` when it is none.
    pub fn from_found(name: &str) -> Option<Self> {
        Self::parse(name).ok()
    }
}

impl CloudName {
    /// As [`HostName::from_found`].
    pub fn from_found(name: &str) -> Option<Self> {
        Self::parse(name).ok()
    }
}

impl Topic {
    /// A topic of our own choice.
    pub(super) fn fixed(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

/// A name of letters, digits and a few other signs.
fn plain(text: &str, longest: usize, others: &[char]) -> Result<String, Option<String>> {
    named(text)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || others.contains(&c);
    if text.len() <= longest && text.chars().all(is_plain) { Ok(text.to_owned()) } else { Err(None) }
}

fn broker(text: &str) -> Result<String, Option<String>> {
    let (host, port) = text.rsplit_once(':').ok_or(Some("has no port".to_owned()))?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => plain(host, HOST_BYTES_MAX, &['-', '_', '.']).is_ok(),
    };
    if is_port && is_host { Ok(text.to_owned()) } else { Err(None) }
}

fn endpoint(text: &str) -> Result<String, Option<String>> {
    let address = text.parse::<hyper::Uri>().map_err(|_| None)?;
    let authority = address.authority().ok_or(None)?;
    if !matches!(address.scheme_str(), Some("http" | "https")) {
        return Err(None);
    }
    if authority.as_str().contains('@') {
        return Err(Some("holds a user: give `headers` an authorization that is read from a file".to_owned()));
    }
    if address.query().is_some() {
        return Err(Some("holds a query".to_owned()));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_and_collectors_are_addresses() {
        for (text, good) in [
            ("localhost:9092", true),
            ("kafka-1.example.com:9092", true),
            ("[::1]:9092", true),
            ("[fe80:9092", false),
            ("localhost", false),
            ("localhost:0", false),
            ("localhost:99999", false),
            (":9092", false),
            ("kafka://localhost:9092", false),
            ("a,b:9092", false),
        ] {
            assert_eq!(Broker::parse(text).is_ok(), good, "{text}");
        }
        for (text, read) in [
            ("http://127.0.0.1:4317", Some("http://127.0.0.1:4317")),
            ("https://otel.example.com/base/", Some("https://otel.example.com/base")),
            ("http://[::1]:4317/", Some("http://[::1]:4317")),
            ("grpc://a:4317", None),
            ("a:4317", None),
            ("http://user:secret@a:4317", None),
            ("http://a/?key=1", None),
            ("", None),
        ] {
            assert_eq!(Endpoint::parse(text).ok().as_ref().map(Endpoint::as_str), read, "{text}");
        }
    }

    #[test]
    fn syslog_servers_are_addresses_or_sockets() {
        for (text, good) in [
            ("tls://logs.example.com:6514", true),
            ("tcp://[::1]:601", true),
            ("unix:/dev/log", true),
            ("unix:dev/log", false),
            ("udp://a:514", false),
            ("tls://logs.example.com", false),
            ("logs.example.com:6514", false),
            ("tls://user@a:6514", false),
            ("", false),
        ] {
            let read = SyslogAddress::parse(text);
            assert_eq!(read.is_ok(), good, "{text}");
            assert!(read.is_err() || read.unwrap().to_string() == text);
        }
    }

    #[test]
    fn topics_follow_kafka() {
        for (text, good) in [("outflow.findings", true), ("a_b-C9", true), ("..", false), ("a b", false), ("", false)] {
            assert_eq!(Topic::parse(text).is_ok(), good, "{text}");
        }
        assert!(Topic::parse(&"x".repeat(249)).is_ok() && Topic::parse(&"x".repeat(250)).is_err());
    }
}
