//! A network that the operator lists. Enters: `192.0.2.0/24`, `2001:db8::/32` or one address. Leaves: its address and prefix as the kernel's
//! table has them, IPv4 as IPv6 has it.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// Bits before an IPv4 address in `::ffff:0:0/96` (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Address in the order of the network, and how many of its bits count.
    pub fn key(self) -> ([u8; 16], u32) {
        match self.address {
            IpAddr::V4(address) => (address.to_ipv6_mapped().octets(), u32::from(self.bits) + u32::from(MAPPED_BITS)),
            IpAddr::V6(address) => (address.octets(), u32::from(self.bits)),
        }
    }
}

/// What is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNetwork;

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(longest), |bits| bits.parse().map_err(|_| NoNetwork))?;
        if bits > longest {
            return Err(NoNetwork);
        }
        let network = Self { address, bits };
        // Bits behind the prefix are a typing error more often than not.
        let (key, prefix) = network.key();
        let behind = u128::from(Ipv6Addr::from(key)).checked_shl(prefix).unwrap_or(0);
        if behind == 0 { Ok(network) } else { Err(NoNetwork) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_people_write_them() {
        for (text, key) in [
            ("192.0.2.0/24", Some(("::ffff:192.0.2.0", 120))),
            ("192.0.2.7", Some(("::ffff:192.0.2.7", 128))),
            ("0.0.0.0/0", Some(("::ffff:0.0.0.0", 96))),
            ("2001:db8::/32", Some(("2001:db8::", 32))),
            ("::/0", Some(("::", 0))),
            ("::1", Some(("::1", 128))),
            ("192.0.2.1/24", None),
            ("192.0.2.0/33", None),
            ("2001:db8::/129", None),
            ("192.0.2/24", None),
            ("10.0.0.0/-1", None),
            ("api.openai.com", None),
            ("", None),
        ] {
            let read = text.parse::<Network>().ok().map(Network::key);
            let expected = key.map(|(address, bits)| (address.parse::<Ipv6Addr>().unwrap().octets(), bits));
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
    }
}
