//! Names of hosts. Enters: patterns of the vendor table, and hosts as requests and TLS name them. Leaves: [`HostPattern`]s, and
//! whether a host is one's own. It asks no name server.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A host name pattern of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostPattern {
    /// `api.openai.com`
    Exact(String),
    /// `openai.azure.com` for `*.openai.azure.com`: at least one label stands before it.
    Suffix(String),
}

impl HostPattern {
    /// The host, when it is one.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(host) => Some(host),
            Self::Suffix(_) => None,
        }
    }

    /// Reads `api.openai.com` or `*.openai.azure.com`. `None`: neither.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (name, is_suffix) = text.strip_prefix("*.").map_or((text.as_str(), false), |name| (name, true));
        let is_label = |label: &str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(is_part)
        };
        // A suffix of one label would be a whole top-level domain.
        let is_name = name.len() <= 253 && name.split('.').all(is_label) && (!is_suffix || name.contains('.'));
        let name = name.to_owned();
        is_name.then_some(if is_suffix { Self::Suffix(name) } else { Self::Exact(name) })
    }
}

/// Whether a host (with or without a port) is this machine's or a private network's: an address that is not routed, or a name
/// that no public name server answers for (RFC 6761, RFC 6762, ICANN's `internal`, names without a dot as container networks
/// give them).
pub fn is_local(host: &str) -> bool {
    let (host, _) = split_port(host);
    if may_be_address(host)
        && let Ok(address) = host.parse::<IpAddr>()
    {
        return match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified(),
            IpAddr::V6(v6) => {
                v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified()
            }
        };
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let top = name.rsplit('.').next().unwrap_or_default();
    !name.is_empty()
        && (!name.contains('.') || ["localhost", "local", "internal"].iter().any(|word| top.eq_ignore_ascii_case(word)))
}

/// All of it could stand in an address: of most names that is false at the first letter, and reading them as one is slow.
pub(crate) fn may_be_address(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'[' | b']'))
}

/// `api.openai.com:443`, `[::1]:8080` and `::1`, parted.
pub(super) fn split_port(host: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => (name, port.parse().ok()),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_hosts() {
        for (host, expected) in [
            ("localhost", true),
            ("localhost:11434", true),
            ("LOCALHOST.", true),
            ("app.localhost", true),
            ("127.0.0.1:8000", true),
            ("127.9.9.9", true),
            ("10.0.0.1", true),
            ("172.16.3.4:80", true),
            ("192.168.1.1", true),
            ("169.254.169.254", true),
            ("0.0.0.0:4000", true),
            ("[::1]:8080", true),
            ("::1", true),
            ("[fd12::1]", true),
            ("vllm:8000", true),
            ("gpu.local", true),
            ("llm.corp.internal:443", true),
            ("172.32.0.1", false),
            ("8.8.8.8", false),
            ("[2001:db8::1]:443", false),
            ("api.openai.com", false),
            ("localhost.example.com", false),
            ("internal.example", false),
            ("", false),
        ] {
            assert_eq!(is_local(host), expected, "{host}");
        }
    }

    #[test]
    fn ports() {
        for (host, parts) in [
            ("a.example:443", ("a.example", Some(443))),
            ("a.example", ("a.example", None)),
            ("[::1]:80", ("::1", Some(80))),
            ("::1", ("::1", None)),
            ("a.example:http", ("a.example", None)),
            ("", ("", None)),
        ] {
            assert_eq!(split_port(host), parts, "{host}");
        }
    }
}
