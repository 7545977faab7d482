//! IP addresses: public ones say something about a person, those of the own network about the network, all others nothing.
//! Sources: the IANA special-purpose address registries (RFC 6890 and successors: RFC 1918, 6598, 3927, 5737, 2544, 4193, 4291, 3849,
//! 9637).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::{Text, Verdict};

fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Whose an address is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Public,
    /// Of the own network: private, shared by a carrier, of the link.
    Private,
    /// This host, groups, documentation, benchmarks, nobody.
    Special,
}

fn class_of_v4(address: Ipv4Addr) -> Class {
    let [a, b, c, d] = address.octets();
    if address.is_private() || address.is_link_local() || (a == 100 && (64..128).contains(&b)) {
        return Class::Private;
    }
    let special = address.is_loopback()
        || address.is_documentation()
        || a == 0
        || a >= 224 // multicast, reserved, broadcast
        || (a == 198 && (18..20).contains(&b)) // benchmarks
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99); // 6to4 relay
    // A last octet of zero is a network, or the `.0` of a version; four single digits are a version or a section, or one of
    // the resolvers that everybody knows.
    let digits_only = [a, b, c, d].iter().all(|octet| *octet < 10);
    if special || d == 0 || digits_only { Class::Special } else { Class::Public }
}

fn v4_of(text: &Text<'_>, class: Class) -> Verdict {
    // Most are of the other class, which is the cheapest to tell.
    if parse::<Ipv4Addr>(text.secret()).is_none_or(|address| class_of_v4(address) != class) {
        return Verdict::Refused;
    }
    let dotted = matches!(text.before(), [.., digit, b'.' | b'-' | b'_'] if digit.is_ascii_alphanumeric())
        || matches!(text.after(), [b'.' | b'-' | b'_', next, ..] if next.is_ascii_alphanumeric());
    Verdict::plausible_if(!dotted && !is_version(text.before()))
}

/// A public IPv4 address that is no version number and no part of a longer dotted number.
pub(super) fn v4(text: &Text<'_>) -> Verdict {
    v4_of(text, Class::Public)
}

/// The same of the own network; the network itself (`10.0.0.0/8`, `192.168.1.0`) is nobody.
pub(super) fn v4_private(text: &Text<'_>) -> Verdict {
    let network = text.secret().ends_with(b".0") || text.after().starts_with(b"/");
    if network { Verdict::Refused } else { v4_of(text, Class::Private) }
}

/// `v1.2.3.4`, `Chrome/120.0.6099.71`, `version: 1.2.3.4`, `pkg@1.2.3.4`.
fn is_version(before: &[u8]) -> bool {
    let tail = before.get(before.len().saturating_sub(12)..).unwrap_or_default().to_ascii_lowercase();
    let name_slash = matches!(tail.as_slice(), [rest @ .., name, b'/' | b'@'] if name.is_ascii_alphabetic() && !names_a_peer(rest, *name));
    let section = tail.last().is_some_and(|byte| !byte.is_ascii()); // `§`
    name_slash
        || section
        || tail.ends_with(b"v")
        || ["version", "ver.", "release", "build", "firmware", "driver"]
            .iter()
            .any(|word| memchr::memmem::find(&tail, word.as_bytes()).is_some())
}

/// `user@81.2.69.142` is a login and `ip/81.2.69.142` a path, not a version.
fn names_a_peer(rest: &[u8], last: u8) -> bool {
    let mut name = rest.to_vec();
    name.push(last);
    let start = name.iter().rposition(|byte| !byte.is_ascii_alphabetic()).map_or(0, |at| at + 1);
    let name = name.get(start..).unwrap_or_default();
    [
        "root", "admin", "ubuntu", "user", "ec2", "deploy", "ip", "host", "hosts", "client", "addr", "peer", "whois",
        "lookup",
    ]
    .iter()
    .any(|known| name == known.as_bytes())
}

/// The first groups decide: 2000::/3 is all that is assigned, and the documentation, Teredo, benchmark and 6to4 blocks lie in it.
fn class_of_v6(address: Ipv6Addr) -> Class {
    let [first, second, ..] = address.segments();
    match first {
        0xfc00..=0xfdff | 0xfe80..=0xfeff => Class::Private,
        0x2002 | 0x3fff | 0..=0xff | 0xff00.. => Class::Special,
        0x2001 if second == 0x0db8 || second < 0x0200 => Class::Special,
        _ => Class::Public,
    }
}

fn v6_of(text: &Text<'_>, class: Class) -> Verdict {
    let secret = text.secret();
    let Some(address) = parse::<Ipv6Addr>(secret) else { return Verdict::Refused };
    let joined = matches!(text.before().last(), Some(byte) if byte.is_ascii_alphanumeric() || *byte == b':')
        || matches!(text.after().first(), Some(byte) if byte.is_ascii_alphanumeric() || *byte == b':');
    // `std::a`, `dead::beef`: what is shortened and outside of what is assigned is more often code.
    let shortened = memchr::memmem::find(secret, b"::").is_some();
    let assigned = address.segments()[0] & 0xe000 == 0x2000 || class == Class::Private;
    Verdict::plausible_if(!joined && class_of_v6(address) == class && (assigned || !shortened))
}

/// A public IPv6 address.
pub(super) fn v6(text: &Text<'_>) -> Verdict {
    v6_of(text, Class::Public)
}

/// One of the own network or the link.
pub(super) fn v6_private(text: &Text<'_>) -> Verdict {
    let network = text.secret().ends_with(b"::");
    if network { Verdict::Refused } else { v6_of(text, Class::Private) }
}

#[cfg(test)]
mod tests {
    use super::{super::super::check_as, *};

    const NOBODY: [&str; 10] = [
        "127.0.0.1",
        "192.0.2.7",
        "198.51.100.3",
        "203.0.113.9",
        "1.2.3.0",
        "224.0.0.1",
        "8.8.4.4",
        "256.1.1.1",
        "0.0.0.0",
        "198.18.0.1",
    ];
    const PUBLIC: [&str; 3] = ["81.2.69.142", "93.184.216.34", "172.32.0.1"];
    const PRIVATE: [&str; 5] = ["10.1.2.3", "192.168.1.1", "172.16.0.9", "100.64.1.1", "169.254.169.254"];

    #[test]
    fn every_address_has_one_class() {
        check_as(v4, Verdict::Plausible, &PUBLIC, &[&NOBODY[..], &PRIVATE].concat());
        check_as(v4_private, Verdict::Plausible, &PRIVATE, &[&NOBODY[..], &PUBLIC, &["10.0.0.0"]].concat());
        let public = ["2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "6e40:4041:c617:e898:c11:40d2:c669:2eb4"];
        let private = ["fe80::1", "fd00::1", "fc00:1:2:3:4:5:6:7"];
        let nobody = ["::1", "2001:db8::1", "ff02::1", "::", "2001:0::1", "std::a", "dead::beef", "1:2", "fd00::"];
        check_as(v6, Verdict::Plausible, &public, &[&private[..], &nobody].concat());
        check_as(v6_private, Verdict::Plausible, &private, &[&public[..], &nobody].concat());
    }

    #[test]
    fn versions_are_no_addresses() {
        for (before, expected) in [
            ("Chrome/", Verdict::Refused),
            ("v", Verdict::Refused),
            ("version ", Verdict::Refused),
            ("Version: \"", Verdict::Refused),
            ("pkg@", Verdict::Refused),
            ("1.", Verdict::Refused),
            ("RFC 5280 \u{a7}", Verdict::Refused),
            ("firmware ", Verdict::Refused),
            ("ssh root@", Verdict::Plausible),
            ("GET /ip/", Verdict::Plausible),
            ("client=", Verdict::Plausible),
        ] {
            let haystack = format!("{before}81.2.69.142");
            let text = Text { haystack: haystack.as_bytes(), span: before.len()..haystack.len() };
            assert_eq!(v4(&text), expected, "{haystack}");
        }
    }
}
