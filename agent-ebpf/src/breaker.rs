//! The circuit breaker of one control group. Enters: every packet that its sockets send, and every connect(2). Leaves: pass or stop.
//! While it is closed it stops nothing and only remembers whose ClientHello named a vendor, by socket cookie. While it is open it
//! stops handshakes with vendors, data of the remembered sockets, and whatever goes to listed networks. It reads names alone, keeps
//! none, and never stops a packet without data: answers that are under way still arrive, and connections can end.
//!
//! State: [`SOCKETS`], the least recently used goes first. A socket that is not in it passes.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock_addr},
    helpers::generated::{bpf_get_socket_cookie, bpf_tcp_sock},
    macros::{cgroup_skb, cgroup_sock_addr, map},
    maps::{Array, LpmTrie, LruHashMap, PerCpuArray, lpm_trie::Key},
    programs::{SkBuffContext, SockAddrContext},
};
use outflow_ebpf::wire::breaker;

use crate::{
    hello::{self, load},
    maps::fetch_add,
};

/// [`breaker::OPEN`] and the other settings.
#[map]
pub static BREAKER: Array<u32> = Array::with_max_entries(breaker::SETTINGS, 0);
#[map]
pub static BREAKER_COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(breaker::COUNTERS, 0);
/// [`breaker::VENDOR`] or [`breaker::UNREADABLE`] by socket cookie, which is never used twice (`sock_gen_cookie`).
#[map]
pub static BREAKER_SOCKETS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(32_768, 0);
/// Networks that the operator listed; IPv4 as IPv6 has it, `::ffff:0:0/96` (RFC 4291, section 2.5.5.2).
#[map]
pub static BREAKER_NETWORKS: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(1024, 0);

// Return values, Documentation/bpf/prog_cgroup_sockopt.rst and bpf-helpers(7): a packet that is stopped is -EPERM to its sender's TCP,
// which keeps it and tries again; a stopped connect(2) is EPERM to the caller.
const PASS: i32 = 1;
const STOP: i32 = 0;

const TCP: u8 = 6;
const UDP: u8 = 17;
const HTTPS: [u8; 2] = 443_u16.to_be_bytes();
const IPV6_HEADER_BYTES: u32 = 40;

/// Content type of a TLS record with handshake messages, RFC 8446, section 5.1.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// The shortest start of a record that tells a ClientHello.
const START_BYTES: u32 = 6;

#[inline(always)]
fn setting(slot: u32) -> u32 {
    // SAFETY: a live map value; volatile, since the agent writes it at any time.
    BREAKER.get_ptr(slot).map_or(0, |value| unsafe { core::ptr::read_volatile(value) })
}

#[inline(always)]
fn count(slot: u32) {
    if let Some(counter) = BREAKER_COUNTS.get_ptr_mut(slot) {
        // SAFETY: the map hands out aligned pointers to live values. Atomic: a softirq may send in the midst of it.
        unsafe { fetch_add(counter, 1) };
    }
}

#[inline(always)]
fn stop(slot: u32) -> i32 {
    count(slot);
    STOP
}

/// Each packet of the group, with its IP header at the start.
#[cgroup_skb(egress)]
pub fn breaker_egress(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    let Some(version) = load::<u8>(skb, 0) else { return PASS };
    let is_v4 = version >> 4 == 4;
    // A program that sends extension headers of its own needs a right (ipv6(7)): those are not followed.
    let (header_bytes, protocol_at) = if is_v4 { (u32::from(version & 15) * 4, 9) } else { (IPV6_HEADER_BYTES, 6) };
    match load::<u8>(skb, protocol_at) {
        Some(TCP) => tcp(skb, header_bytes, is_v4),
        Some(UDP) if setting(breaker::OPEN) != 0 => udp(skb, header_bytes, is_v4),
        _ => PASS,
    }
}

#[inline(always)]
fn tcp(skb: *mut __sk_buff, header: u32, is_v4: bool) -> i32 {
    let Some(offset) = load::<u8>(skb, header + 12) else { return PASS };
    let data = header + u32::from(offset >> 4) * 4;
    let end = ctx_len(skb);
    if data >= end {
        return PASS;
    }
    let is_open = setting(breaker::OPEN) != 0;
    if is_open && goes_to_network(skb, is_v4) {
        return stop(breaker::NETWORK_STOPPED);
    }
    let (is_hello, is_cut) = if end - data < START_BYTES {
        let is_start = load::<u8>(skb, data) == Some(HANDSHAKE) && is_first(skb);
        (is_start, is_start)
    } else {
        match load::<[u8; 6]>(skb, data) {
            Some([HANDSHAKE, 3, _, _, _, CLIENT_HELLO]) => (true, false),
            _ => (false, false),
        }
    };
    if !is_hello && !is_open {
        return PASS;
    }
    // SAFETY: the context is what the helper wants.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    // SAFETY: a live map value that is only written whole.
    let known = BREAKER_SOCKETS.get_ptr(cookie).map_or(hello::OTHER, |state| unsafe { *state });
    if !is_hello {
        return if is_stopped(known) { stop(breaker::PACKETS_STOPPED) } else { PASS };
    }
    let mut wants = known;
    // A hello that was sent in one packet may be sent again in parts, of which the first alone does not say so much.
    if known != breaker::VENDOR {
        wants = if is_cut { breaker::UNREADABLE } else { hello::judge(skb, data, end) };
        if wants == hello::OTHER {
            // The whole of a hello of which a part came alone: TCP keeps what was stopped, and sends it with what follows.
            if known == breaker::UNREADABLE {
                let _ = BREAKER_SOCKETS.remove(cookie);
            }
            return PASS;
        }
        // Without room another socket is forgotten.
        let _ = BREAKER_SOCKETS.insert(cookie, wants, 0);
        count(if wants == breaker::VENDOR { breaker::VENDOR_HELLOS } else { breaker::UNREADABLE_HELLOS });
    }
    if is_open && is_stopped(wants) { stop(breaker::HELLOS_STOPPED) } else { PASS }
}

/// While the breaker is open.
#[inline(always)]
fn is_stopped(socket: u32) -> bool {
    socket == breaker::VENDOR || socket == breaker::UNREADABLE && setting(breaker::PASS_UNREADABLE) == 0
}

/// Nothing that was sent before is confirmed yet, but for the SYN, which counts as one byte.
#[inline(always)]
fn is_first(skb: *mut __sk_buff) -> bool {
    // SAFETY: the verifier follows both pointers, and wants them compared with null.
    unsafe {
        let socket = (*skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return false;
        }
        let tcp = bpf_tcp_sock(socket);
        !tcp.is_null() && (*tcp).bytes_acked <= 1
    }
}

/// While the breaker is open.
#[inline(always)]
fn udp(skb: *mut __sk_buff, header: u32, is_v4: bool) -> i32 {
    if goes_to_network(skb, is_v4) {
        return stop(breaker::NETWORK_STOPPED);
    }
    // QUIC's hello is encrypted with a key that only a full parser can derive (RFC 9001, section 5.2).
    if load::<[u8; 2]>(skb, header + 2) == Some(HTTPS) && setting(breaker::PASS_UNREADABLE) == 0 {
        return stop(breaker::QUIC_STOPPED);
    }
    PASS
}

#[inline(always)]
fn ctx_len(skb: *mut __sk_buff) -> u32 {
    // SAFETY: a field of the context.
    unsafe { (*skb).len }
}

/// A function of its own in the object, so that the key is not on the caller's stack.
#[inline(never)]
fn goes_to_network(skb: *mut __sk_buff, is_v4: bool) -> bool {
    if setting(breaker::NETWORKS) == 0 {
        return false;
    }
    if is_v4 {
        load::<[u8; 4]>(skb, 16).is_some_and(|to| is_network(mapped(to)))
    } else {
        load::<[u8; 16]>(skb, 24).is_some_and(is_network)
    }
}

#[inline(always)]
fn mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

#[inline(always)]
fn is_network(address: [u8; 16]) -> bool {
    BREAKER_NETWORKS.get(Key::new(128, address)).is_some()
}

/// connect(2) over IPv4.
#[cgroup_sock_addr(connect4)]
pub fn breaker_connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: a field of the context, in the order of the network.
    connect(ctx.sock_addr, |at| mapped(unsafe { (*at).user_ip4 }.to_ne_bytes()))
}

/// connect(2) over IPv6.
#[cgroup_sock_addr(connect6)]
pub fn breaker_connect6(ctx: SockAddrContext) -> i32 {
    connect(ctx.sock_addr, |at| {
        // SAFETY: as above.
        let [a, b, c, d] = unsafe { (*at).user_ip6 }.map(u32::to_ne_bytes);
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    })
}

#[inline(always)]
fn connect(at: *mut bpf_sock_addr, to: impl Fn(*mut bpf_sock_addr) -> [u8; 16]) -> i32 {
    if setting(breaker::OPEN) != 0 && is_network(to(at)) { stop(breaker::NETWORK_STOPPED) } else { PASS }
}
