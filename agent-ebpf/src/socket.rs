//! To whom processes in scope connect: the address, and nothing of what is said. Enters: a TCP socket's change of state. Leaves:
//! CONNECT records. Enrichment only: nothing else waits for them, and one that finds no room is counted.

use aya_ebpf::{
    cty::c_void,
    helpers::{
        bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_kernel,
        generated::bpf_probe_read_kernel as read_kernel,
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use outflow_ebpf::wire::{self, Connect, Peer, family, kind};

use crate::{
    maps::{self, RING, SOCKET_ADDRESS, SOCKET_ADDRESS6, SOCKET_FAMILY, SOCKET_PORT, setting},
    scope,
};

/// TCP_SYN_SENT of include/net/tcp_states.h.
const SYN_SENT: u32 = 2;

/// `inet_sock_set_state(sock, old, new)`. A socket comes to SYN_SENT in connect(2) itself, with its peer's address in place
/// (`tcp_v4_connect`, `tcp_v6_connect`), so the current task is the one that connects.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn connect(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<u64>(2) as u32 != SYN_SENT {
        return 0;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if !scope::contains(tgid) {
        return 0;
    }
    let socket: u64 = ctx.arg(0);
    let Some(mut record) = RING.reserve::<Connect>(0) else {
        maps::add(wire::CONNECTS_LOST, 1);
        return 0;
    };
    let slot = record.as_mut_ptr();
    // SAFETY: the reservation is as large as the record, and every field is written before it is submitted. The helpers check
    // the addresses that they read from; what cannot be read is no family that the reader knows.
    unsafe {
        let header = &raw mut (*slot).header;
        (*header).kind = kind::CONNECT;
        (*header).flags = 0;
        (*header).conn = 0;
        (*header).at_ns = bpf_ktime_get_ns();
        (*header).tgid = tgid;
        (*header).len = size_of::<Peer>() as u32;
        (*header).offset = 0;
        (*header).total = 0;
        (*header).tls = 0;
        (*header).direction = 0;
        (*header).reserved = 0;
        let peer = &raw mut (*slot).peer;
        let at = |offset: &'static u32| socket + u64::from(setting(offset));
        let kind = bpf_probe_read_kernel(at(&SOCKET_FAMILY) as *const u16).unwrap_or(0);
        (*peer).family = kind;
        (*peer).port = u16::from_be(bpf_probe_read_kernel(at(&SOCKET_PORT) as *const u16).unwrap_or(0));
        (*peer).reserved = 0;
        let address = if kind == family::INET6 { at(&SOCKET_ADDRESS6) } else { at(&SOCKET_ADDRESS) };
        (*peer).address = [0; 2];
        let bytes = if kind == family::INET6 { 16 } else { 4 };
        if read_kernel((&raw mut (*peer).address).cast(), bytes, address as *const c_void) != 0 {
            (*peer).family = 0;
        }
    }
    record.submit(maps::wake());
    0
}
