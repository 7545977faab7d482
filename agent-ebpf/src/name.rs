//! Where a client names its server. Enters: entry of the functions that do, of any TLS library, with the server's name in memory. Leaves:
//! OPEN records, and the verdict on the connection: it falls here, before a byte goes through.

use aya_ebpf::{
    EbpfContext as _,
    cty::c_void,
    helpers::{
        bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user,
        generated::{bpf_get_attach_cookie, bpf_probe_read_user as read_user, bpf_probe_read_user_str},
    },
    macros::uprobe,
    programs::ProbeContext,
};
use outflow_ebpf::wire::{self, kind, name, verdict};

use crate::{
    maps::{self, DISCOVER, RING, setting},
    registers::register,
    scope,
    tls::{Record, connection, pinned},
};

/// `SSL_CTRL_SET_TLSEXT_HOSTNAME`, openssl/ssl.h: `SSL_set_tlsext_host_name` is a macro over `SSL_ctrl`.
const SET_HOST_NAME: i32 = 55;
/// Length of a name that ends with a zero byte.
const UNTIL_ZERO: u64 = u64::MAX;

/// The client names its server, before the handshake. The verdict falls here, in the kernel, so that a listed host is copied
/// from its first byte and any other host not at all. The cookie says how the name is handed over: [`name`].
#[uprobe]
pub fn tls_name(ctx: ProbeContext) -> u32 {
    // SAFETY: a probe context is what the helper wants.
    let meaning = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let tls = pinned(ctx.arg(0));
    let (second, third, fourth) = (pinned(ctx.arg(1)), pinned(ctx.arg(2)), pinned(ctx.arg(3)));
    let (at, length) = match meaning & 0xff {
        name::CTRL if second as i32 != SET_HOST_NAME => return 0,
        name::CTRL => (fourth, UNTIL_ZERO),
        name::SECOND => (second, UNTIL_ZERO),
        _ => (third, fourth),
    };
    // SAFETY: the helpers check the addresses.
    unsafe { open(tls, at, length) }
}

/// A Go program is about to shake hands on a `*tls.Conn`, whose configuration names the server. The cookie has the offsets.
#[uprobe]
pub fn tls_name_go(ctx: ProbeContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if !scope::contains(tgid) {
        return 0;
    }
    // SAFETY: the helpers check the addresses.
    unsafe {
        let meaning = bpf_get_attach_cookie(ctx.as_ptr());
        let tls = register(ctx.as_ptr(), u64::from(wire::register::RAX));
        let word = |at: u64| bpf_probe_read_user(at as *const u64).unwrap_or(0);
        let string = word(tls + (meaning >> 16 & 0xffff)) + (meaning >> 32 & 0xffff);
        open(tls, word(string), word(string + 8))
    }
}

/// Notes a new connection under its server's name, of `length` bytes or [`UNTIL_ZERO`].
#[inline(always)]
pub unsafe fn open(tls: u64, at: u64, length: u64) -> u32 {
    if tls == 0 || at == 0 || length == 0 {
        return 0;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if !scope::contains(tgid) {
        return 0;
    }
    let conn = connection(tls, tgid);
    if conn.is_null() {
        maps::add(wire::OPENS_LOST, 1);
        return 0;
    }
    let Some(mut record) = RING.reserve::<Record<{ wire::SMALL }>>(0) else {
        // There is no memory to read the name into, so it may be any host: nothing is copied, and the loss is counted.
        maps::add(wire::OPENS_LOST, 1);
        // SAFETY: a live map value.
        unsafe { (*conn).verdict = verdict::DROP };
        return 0;
    };
    let slot = record.as_mut_ptr();
    // SAFETY: as in `emit`. The object is new when it is given a name, whatever was known under its address.
    unsafe {
        let payload = (&raw mut (*slot).payload).cast::<u8>();
        let read = if length == UNTIL_ZERO {
            bpf_probe_read_user_str(payload.cast(), wire::NAME as u32 + 1, at as *const c_void) - 1
        } else if length <= wire::NAME as u64
            && read_user(payload.cast(), length as u32 & 0xff, at as *const c_void) == 0
        {
            length as i64
        } else {
            0
        };
        if read <= 0 || read > wire::NAME as i64 {
            record.discard(0);
            maps::add(wire::OPENS_LOST, 1);
            return 0;
        }
        // Everything is stored before the loop over the name, which then has few values to keep: each one more is stack.
        let header = &raw mut (*slot).header;
        (*header).kind = kind::OPEN;
        (*header).flags = 0;
        (*header).conn = maps::next_conn();
        (*header).at_ns = bpf_ktime_get_ns();
        (*header).tgid = tgid;
        (*header).len = read as u32;
        (*header).offset = 0;
        (*header).tls = tls;
        (*header).direction = 0;
        (*header).reserved = 0;
        (*conn).id = (*header).conn;
        (*conn).sent = 0;
        (*conn).received = 0;
        (*conn).peeked = 0;
        let found = if listed(payload, read as u32) {
            verdict::COPY
        } else if setting(&DISCOVER) != 0 {
            verdict::UNKNOWN
        } else {
            verdict::DROP
        };
        (*conn).verdict = found;
        (*header).total = u64::from(found);
    }
    record.submit(maps::wake());
    0
}

/// Whether a name in a record is listed. A function of its own in the object too, so that its values are not on the caller's stack.
#[inline(never)]
unsafe fn listed(name: *const u8, len: u32) -> bool {
    // SAFETY: the mask keeps the read inside the record's payload, which is longer than any name.
    maps::is_listed(len, |at| Some(unsafe { *name.add((at & 0xff) as usize) }))
}
