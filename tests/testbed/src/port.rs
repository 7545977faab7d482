//! TCP ports of our own on 127.0.0.1. Leaves: a number that stays ours while its server is down and up again.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    process,
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context, Result};

/// Below the range from which the kernel takes the ports of clients (32768 on, ip_sysctl's ip_local_port_range), so that no connection
/// gets one of ours while its server is down.
const FIRST: u16 = 20_000;
/// How many there are from there on.
const COUNT: u16 = 10_000;

/// A port. Its UDP twin is bound as long as this lives, which tells other processes with benches that it is taken; nobody else cares.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: UdpSocket,
}

impl Port {
    /// Takes one that nobody uses.
    pub fn take() -> Result<Self> {
        static TRIED: AtomicU16 = AtomicU16::new(0);
        let of_process = (process::id() % u32::from(COUNT)) as u16;
        (0..COUNT)
            .find_map(|_| {
                // Another process begins elsewhere, so that two seldom try the same.
                let offset = of_process.wrapping_mul(37).wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % COUNT;
                let number = FIRST + offset;
                let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                Some(Self { number, _held: held })
            })
            .context("no free port on 127.0.0.1")
    }

    /// `127.0.0.1:20123`.
    pub fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_differ_and_can_be_listened_on() {
        let ports: Vec<_> = (0..50).map(|_| Port::take().unwrap()).collect();
        let addresses: BTreeSet<_> = ports.iter().map(Port::address).collect();
        assert_eq!(addresses.len(), 50);
        for address in &addresses {
            TcpListener::bind(address).unwrap();
        }
    }
}
