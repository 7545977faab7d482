//! The TLS probes. Enters: entry and return of `SSL_write`, `SSL_read` and their `_ex` flavours, `SSL_ctrl`, `SSL_free`.
//! Leaves: OPEN, DATA and CLOSE records. Data is read at the return, with the length the library reports, so that retries
//! are not taken twice and partial writes not too long.

use aya_ebpf::{
    EbpfContext as _,
    cty::{c_long, c_void},
    helpers::{
        bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user,
        generated::{bpf_get_attach_cookie, bpf_loop, bpf_probe_read_user as read_user, bpf_probe_read_user_str},
    },
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use outflow_ebpf::{
    hash,
    wire::{self, Conn, ConnKey, Header, Outcome, cookie, direction, flag, host, kind, verdict},
};

use crate::{
    maps::{self, ACTIVE, Active, CALL_CAP, CONNS, HOSTS, NEW_ACTIVE, NEW_CONN, PEEK_BYTES, RING, VERDICTS, setting},
    scope,
};

/// Sets the bit that tells reads from writes in a key of `ACTIVE`; thread group ids stay far below it.
pub const READ_KEY: u64 = 1 << 63;
/// `SSL_CTRL_SET_TLSEXT_HOSTNAME`, openssl/ssl.h: `SSL_set_tlsext_host_name` is a macro over `SSL_ctrl`.
const SET_HOST_NAME: i32 = 55;
/// Copy loop steps: enough for the largest cap in pieces of [`wire::LARGE`].
const STEPS: u32 = 1 << 20;

/// A ring record with its payload.
#[repr(C)]
struct Record<const N: usize> {
    header: Header,
    payload: [u8; N],
}

/// Entry of a read or write. The cookie says which.
#[uprobe]
pub fn tls_enter(ctx: ProbeContext) -> u32 {
    let id = bpf_get_current_pid_tgid();
    if !scope::contains((id >> 32) as u32) {
        return 0;
    }
    // SAFETY: a probe context is what the helper wants.
    let meaning = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    // Without room the return counts it as a call without an entry.
    let Some(active) = call_of(call_key(id, meaning)) else { return 0 };
    // SAFETY: the entry is this thread's own.
    unsafe {
        // A call within a call: TLS to a proxy carries TLS to the host behind it. The outer one goes on at the inner's return.
        (*active).outer_tls = (*active).tls;
        (*active).outer_buffer = (*active).buffer;
        (*active).outer_length_at = (*active).length_at;
        (*active).tls = ctx.arg(0).unwrap_or(0);
        (*active).buffer = ctx.arg(1).unwrap_or(0);
        (*active).length_at = if meaning & cookie::EX != 0 { ctx.arg(3).unwrap_or(0) } else { 0 };
        (*active).direction = if meaning & cookie::READ != 0 { direction::RECEIVED } else { direction::SENT };
        (*active).tgid = (id >> 32) as u32;
    }
    0
}

/// The thread's entry, made at its first call and kept until it exits: an insertion and a removal a call would cost more
/// than all the rest.
#[inline(always)]
fn call_of(key: u64) -> Option<*mut Active> {
    if let Some(active) = ACTIVE.get_ptr_mut(key) {
        return Some(active);
    }
    ACTIVE.insert(key, &NEW_ACTIVE, 0).ok()?;
    ACTIVE.get_ptr_mut(key)
}

/// Return, probed at an instruction inside the function where the return register is final.
#[uprobe]
pub fn tls_leave(ctx: ProbeContext) -> u32 {
    leave(ctx.as_ptr())
}

/// Return, probed through the return address.
#[uretprobe]
pub fn tls_leave_ret(ctx: RetProbeContext) -> u32 {
    leave(ctx.as_ptr())
}

#[inline(always)]
fn leave(ctx: *mut c_void) -> u32 {
    let id = bpf_get_current_pid_tgid();
    // SAFETY: a probe context is what the helper wants.
    let meaning = unsafe { bpf_get_attach_cookie(ctx) };
    // Only a thread in scope has an entry.
    let Some(active) = ACTIVE.get_ptr_mut(call_key(id, meaning)) else {
        if scope::contains((id >> 32) as u32) {
            maps::add(wire::UNPAIRED, 1);
        }
        return 0;
    };
    // The return of an `_ex` flavour may be seen at the internal function that the plain flavour calls too.
    // SAFETY: the entry is this thread's own.
    if unsafe { (*active).tls == 0 || (meaning & cookie::EX != 0) != ((*active).length_at != 0) } {
        return 0;
    }
    // An `int`: read as 64 bits, -1 would be a huge length.
    let returned: i32 = RetProbeContext::new(ctx).ret();
    // SAFETY: the entry is this thread's own.
    unsafe {
        let total = returned_length(&*active, returned);
        if total > 0 {
            take(active, total);
        }
        (*active).tls = (*active).outer_tls;
        (*active).buffer = (*active).outer_buffer;
        (*active).length_at = (*active).outer_length_at;
        (*active).outer_tls = 0;
    }
    0
}

#[inline(always)]
fn call_key(id: u64, meaning: u64) -> u64 {
    if meaning & cookie::READ != 0 { id | READ_KEY } else { id }
}

#[inline(always)]
unsafe fn returned_length(active: &Active, returned: i32) -> u64 {
    if returned <= 0 {
        0
    } else if active.length_at == 0 {
        returned as u64
    } else {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_user(active.length_at as *const u64) }.unwrap_or(0)
    }
}

/// Accounts for a finished call and copies what the verdict allows.
#[inline(always)]
unsafe fn take(active: *mut Active, total: u64) {
    // SAFETY: `active` is this thread's own entry; the library allows one call a direction and connection at a time, so
    // the fields of `conn` that a direction changes have one writer.
    unsafe {
        let Some(conn) = connection((*active).tls, (*active).tgid) else {
            maps::add(Outcome::TableFull.index(), 1);
            maps::add_bytes(Outcome::TableFull, total);
            return;
        };
        (*active).conn = (*conn).id;
        (*active).total = total;
        (*active).limit = 0;
        (*active).done = 0;
        (*active).outcome = Outcome::Copied as u32;
        (*active).flags = 0;
        if (*active).direction == direction::SENT {
            (*active).base = (*conn).sent;
            (*conn).sent += total;
        } else {
            (*active).base = (*conn).received;
            (*conn).received += total;
        }
        let rest = match current_verdict(conn) {
            verdict::COPY => copy_all(active, total),
            verdict::DROP => all(active, Outcome::Unlisted),
            _ => peek(active, conn, total),
        };
        if (*active).limit > 0 {
            let mut here = active;
            bpf_loop(STEPS, copy_step as *mut c_void, (&raw mut here).cast(), 0);
            // The ring was full, or the loop ended early: the rest of what was to be copied is lost.
            let left = (*active).limit - (*active).done;
            if left > 0 {
                maps::add_bytes(Outcome::RingFull, left);
            }
        }
        maps::add((*active).outcome * 2, 1);
        let uncopied = total - (*active).limit;
        if uncopied > 0 {
            maps::add(rest + 1, uncopied);
        }
    }
}

/// Copy up to the cap. Gives the slot under which the rest is counted.
#[inline(always)]
unsafe fn copy_all(active: *mut Active, total: u64) -> u32 {
    let cap = setting(&CALL_CAP);
    // SAFETY: as in `take`.
    unsafe {
        if total > cap {
            (*active).limit = cap;
            (*active).outcome = Outcome::OverCap as u32;
        } else {
            (*active).limit = total;
        }
    }
    Outcome::OverCap.index()
}

#[inline(always)]
unsafe fn all(active: *mut Active, outcome: Outcome) -> u32 {
    // SAFETY: as in `take`.
    unsafe { (*active).outcome = outcome as u32 };
    outcome.index()
}

/// No verdict yet: the start of a request, up to the budget of the connection.
#[inline(always)]
unsafe fn peek(active: *mut Active, conn: *mut Conn, total: u64) -> u32 {
    // SAFETY: as in `take`.
    unsafe {
        let peeked = (*conn).peeked;
        let budget = u64::from(setting(&PEEK_BYTES).saturating_sub(peeked));
        let sent = (*active).direction == direction::SENT;
        if sent && budget > 0 && (peeked > 0 || starts_like_a_request((*active).buffer)) {
            let limit = if total < budget { total } else { budget };
            (*conn).peeked = peeked + limit as u32;
            (*active).limit = limit;
            (*active).flags = flag::PEEK;
            (*active).outcome = Outcome::Peeked as u32;
        } else {
            (*active).outcome = Outcome::Undecided as u32;
        }
    }
    Outcome::Undecided.index()
}

/// The first four bytes are those of an HTTP/1.1 method or of the HTTP/2 preface (RFC 9113, section 3.4).
#[inline(always)]
unsafe fn starts_like_a_request(buffer: u64) -> bool {
    // SAFETY: the helper checks the address.
    let word = unsafe { bpf_probe_read_user(buffer as *const u32) }.unwrap_or(0).to_le_bytes();
    matches!(&word, b"POST" | b"GET " | b"PUT " | b"PATC" | b"DELE" | b"HEAD" | b"OPTI" | b"PRI ")
}

/// The connection of a TLS object, made on first sight.
#[inline(always)]
fn connection(tls: u64, tgid: u32) -> Option<*mut Conn> {
    let key = ConnKey { tls, tgid: u64::from(tgid) };
    if let Some(conn) = CONNS.get_ptr_mut(&key) {
        return Some(conn);
    }
    CONNS.insert(&key, &NEW_CONN, 0).ok()?;
    let conn = CONNS.get_ptr_mut(&key)?;
    // SAFETY: a live map value; two threads that race here only burn an id.
    unsafe { (*conn).id = maps::next_conn() };
    Some(conn)
}

/// The verdict, with what the agent found out since.
#[inline(always)]
unsafe fn current_verdict(conn: *mut Conn) -> u32 {
    // SAFETY: a live map value.
    unsafe {
        if (*conn).verdict == verdict::UNKNOWN
            && let Some(found) = VERDICTS.get_ptr(&(*conn).id)
        {
            (*conn).verdict = *found;
            let _ = VERDICTS.remove(&(*conn).id);
        }
        (*conn).verdict
    }
}

/// One step of the copy loop: reserves the smallest record that fits, fills and submits it. 1 ends the loop.
unsafe extern "C" fn copy_step(_index: u64, context: *mut c_void) -> c_long {
    // SAFETY: `take` passes a pointer to its pointer to the entry of this call.
    unsafe {
        let active = *context.cast::<*mut Active>();
        let left = (*active).limit - (*active).done;
        if left == 0 {
            1
        } else if left <= wire::SMALL as u64 {
            emit::<{ wire::SMALL }>(active, left)
        } else if left <= wire::MEDIUM as u64 {
            emit::<{ wire::MEDIUM }>(active, left)
        } else {
            emit::<{ wire::LARGE }>(active, left)
        }
    }
}

#[inline(always)]
unsafe fn emit<const N: usize>(active: *mut Active, left: u64) -> c_long {
    let Some(mut record) = RING.reserve::<Record<N>>(0) else {
        // SAFETY: as in `take`.
        unsafe { (*active).outcome = Outcome::RingFull as u32 };
        return 1;
    };
    let len = if left < N as u64 { left as u32 } else { N as u32 };
    let slot = record.as_mut_ptr();
    // SAFETY: the reservation is as large as the record; the reader sees only the header and `len` bytes, all written here.
    unsafe {
        let source = (*active).buffer + (*active).done;
        if read_user((&raw mut (*slot).payload).cast(), len, source as *const c_void) != 0 {
            record.discard(0);
            (*active).outcome = Outcome::NotResident as u32;
            (*active).done += u64::from(len);
            maps::add_bytes(Outcome::NotResident, u64::from(len));
            return 0;
        }
        let header = &raw mut (*slot).header;
        (*header).kind = kind::DATA;
        (*header).flags = (*active).flags;
        (*header).conn = (*active).conn;
        (*header).at_ns = bpf_ktime_get_ns();
        (*header).tgid = (*active).tgid;
        (*header).len = len;
        (*header).offset = (*active).base + (*active).done;
        (*header).total = (*active).total;
        (*header).tls = (*active).tls;
        (*header).direction = (*active).direction;
        (*header).reserved = 0;
        (*active).done += u64::from(len);
        let outcome = if (*active).flags & flag::PEEK != 0 { Outcome::Peeked } else { Outcome::Copied };
        maps::add_bytes(outcome, u64::from(len));
    }
    record.submit(maps::wake());
    0
}

/// `SSL_ctrl(ssl, cmd, larg, parg)`: the client names its server, before the handshake. The verdict falls here, in the
/// kernel, so that a listed host is copied from its first byte and any other host not at all.
#[uprobe]
pub fn tls_ctrl(ctx: ProbeContext) -> u32 {
    let command: i32 = ctx.arg(1).unwrap_or(0);
    let name: u64 = ctx.arg(3).unwrap_or(0);
    if command != SET_HOST_NAME || name == 0 {
        return 0;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if !scope::contains(tgid) {
        return 0;
    }
    let tls: u64 = ctx.arg(0).unwrap_or(0);
    let Some(conn) = connection(tls, tgid) else {
        maps::add(wire::OPENS_LOST, 1);
        return 0;
    };
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
        let read = bpf_probe_read_user_str(payload.cast(), wire::NAME as u32 + 1, name as *const c_void);
        if read <= 1 || read > wire::NAME as i64 + 1 {
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
        (*header).len = read as u32 - 1;
        (*header).offset = 0;
        (*header).tls = tls;
        (*header).direction = 0;
        (*header).reserved = 0;
        (*conn).id = (*header).conn;
        (*conn).sent = 0;
        (*conn).received = 0;
        (*conn).peeked = 0;
        let found = if listed(payload, read as u32 - 1) { verdict::COPY } else { verdict::DROP };
        (*conn).verdict = found;
        (*header).total = u64::from(found);
    }
    record.submit(maps::wake());
    0
}

/// The name, or a suffix of it that starts after a dot, is in the table of hosts. Reads from last to first byte. A function
/// of its own in the object too, so that its values are not on the caller's stack.
#[inline(never)]
unsafe fn listed(name: *const u8, len: u32) -> bool {
    let mut hash = hash::START;
    let mut at = len;
    for _ in 0..wire::NAME {
        if at == 0 {
            break;
        }
        at -= 1;
        // SAFETY: the mask keeps the read inside the record's payload, which is longer than any name.
        let byte = unsafe { *name.add((at & 0xff) as usize) };
        if byte == b'.' && entry(hash) & host::SUFFIX != 0 {
            return true;
        }
        hash = hash::step(hash, byte);
    }
    entry(hash) & host::EXACT != 0
}

#[inline(always)]
fn entry(hash: u64) -> u32 {
    // SAFETY: a live map value that the programs only read.
    HOSTS.get_ptr(hash).map_or(0, |bits| unsafe { *bits })
}

/// `SSL_free(ssl)`.
#[uprobe]
pub fn tls_free(ctx: ProbeContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if !scope::contains(tgid) {
        return 0;
    }
    let key = ConnKey { tls: ctx.arg(0).unwrap_or(0), tgid: u64::from(tgid) };
    let Some(conn) = CONNS.get_ptr_mut(&key) else { return 0 };
    if let Some(mut record) = RING.reserve::<Header>(0) {
        let header = record.as_mut_ptr();
        // SAFETY: the reservation is as large as a header, and every field is written before it is submitted.
        unsafe {
            (*header).kind = kind::CLOSE;
            (*header).flags = (*conn).verdict;
            (*header).conn = (*conn).id;
            (*header).at_ns = bpf_ktime_get_ns();
            (*header).tgid = tgid;
            (*header).len = 0;
            (*header).offset = (*conn).sent;
            (*header).total = (*conn).received;
            (*header).tls = key.tls;
            (*header).direction = 0;
            (*header).reserved = 0;
        }
        record.submit(maps::wake());
    } else {
        maps::add(wire::ENDS_LOST, 1);
    }
    let _ = CONNS.remove(&key);
    0
}
