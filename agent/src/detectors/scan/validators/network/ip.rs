//! IP addresses: only public ones say something about a person. Sources: the IANA special-purpose address registries (RFC 6890
//! and successors: RFC 1918, 6598, 3927, 5737, 2544, 4193, 4291, 3849, 9637).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::{Text, Verdict};

fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || a >= 224 // multicast, reserved, broadcast
        || (a == 100 && (64..128).contains(&b)) // carrier NAT
        || (a == 198 && (18..20).contains(&b)) // benchmarks
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99); // 6to4 relay
    // A last octet of zero is a network, or the `.0` of a version; four single digits are a version or a section, or one of
    // the resolvers that everybody knows.
    let digits_only = [a, b, c, d].iter().all(|octet| *octet < 10);
    !special && d != 0 && !digits_only
}

/// A public IPv4 address that is no version number and no part of a longer dotted number.
pub(super) fn v4(text: &Text<'_>) -> Verdict {
    let Some(address) = parse::<Ipv4Addr>(text.secret()) else { return Verdict::Refused };
    let dotted = matches!(text.before(), [.., digit, b'.' | b'-' | b'_'] if digit.is_ascii_alphanumeric())
        || matches!(text.after(), [b'.' | b'-' | b'_', next, ..] if next.is_ascii_alphanumeric());
    Verdict::plausible_if(!dotted && !is_version(text.before()) && is_public_v4(address))
}

/// `v1.2.3.4`, `Chrome/120.0.6099.71`, `version: 1.2.3.4`, `pkg@1.2.3.4`.
fn is_version(before: &[u8]) -> bool {
    let tail = before.get(before.len().saturating_sub(12)..).unwrap_or_default().to_ascii_lowercase();
    let name_slash = matches!(tail.as_slice(), [.., name, b'/' | b'@'] if name.is_ascii_alphabetic());
    let section = tail.last().is_some_and(|byte| !byte.is_ascii()); // `§`
    name_slash
        || section
        || tail.ends_with(b"v")
        || memchr::memmem::find(&tail, b"version").is_some()
        || memchr::memmem::find(&tail, b"ver.").is_some()
}

/// A public IPv6 address.
pub(super) fn v6(text: &Text<'_>) -> Verdict {
    let Some(address) = parse::<Ipv6Addr>(text.secret()) else { return Verdict::Refused };
    let joined = matches!(text.before().last(), Some(byte) if byte.is_ascii_alphanumeric() || *byte == b':')
        || matches!(text.after().first(), Some(byte) if byte.is_ascii_alphanumeric() || *byte == b':');
    let first = address.segments()[0];
    let second = address.segments()[1];
    // 2000::/3 is all that is assigned; the documentation, Teredo, benchmark and 6to4 blocks lie inside it.
    let special = first & 0xe000 != 0x2000
        || first == 0x2002
        || first == 0x3fff
        || (first == 0x2001 && (second == 0x0db8 || second < 0x0200));
    Verdict::plausible_if(!joined && !special)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn only_public_addresses() {
        for good in ["81.2.69.142", "93.184.216.34", "172.32.0.1"] {
            assert_eq!(verdict(v4, good), Verdict::Plausible, "{good}");
        }
        for bad in [
            "10.1.2.3",
            "127.0.0.1",
            "192.168.1.1",
            "172.16.0.9",
            "192.0.2.7",
            "198.51.100.3",
            "203.0.113.9",
            "1.2.3.0",
            "100.64.1.1",
            "224.0.0.1",
            "8.8.4.4",
            "256.1.1.1",
            "169.254.169.254",
        ] {
            assert_eq!(verdict(v4, bad), Verdict::Refused, "{bad}");
        }
        for good in ["2606:4700:4700::1111", "2a00:1450:4001:81b::200e"] {
            assert_eq!(verdict(v6, good), Verdict::Plausible, "{good}");
        }
        for bad in ["::1", "fe80::1", "fd00::1", "2001:db8::1", "ff02::1", "::", "2001:0::1", "std::a"] {
            assert_eq!(verdict(v6, bad), Verdict::Refused, "{bad}");
        }
    }

    #[test]
    fn versions_are_no_addresses() {
        for before in ["Chrome/", "v", "version ", "Version: \"", "pkg@", "1.", "RFC 5280 \u{a7}"] {
            let haystack = format!("{before}81.2.69.142");
            let text = Text { haystack: haystack.as_bytes(), span: before.len()..haystack.len() };
            assert_eq!(v4(&text), Verdict::Refused, "{haystack}");
        }
    }
}
