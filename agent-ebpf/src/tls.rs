//! The TLS probes. Enters: entry and return of the calls that send and receive, of any TLS library (`SSL_write`,
//! `gnutls_record_send`, Go's `(*Conn).Write`), and of those that end a connection or say how its server was verified. Leaves: DATA, CLOSE
//! and REFUSED records. Data is read at the return, with the length the library reports, so that retries are not taken twice
//! and partial writes not too long.
//!
//! What differs between libraries is in the attach cookie of each site (`wire::cookie`), so that one program serves them all. The
//! common case, the C ABI, has an entry program of its own, because it is the one that must cost little.

use core::ptr::null_mut;

use aya_ebpf::{
    EbpfContext as _,
    cty::{c_long, c_void},
    helpers::{
        bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user,
        generated::{bpf_get_attach_cookie, bpf_loop, bpf_probe_read_user as read_user},
    },
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use outflow_ebpf::wire::{self, Conn, ConnKey, Header, Outcome, cookie, direction, end as end_of, flag, kind, verdict};

use crate::{
    maps::{self, ACTIVE, Active, CALL_CAP, CONNS, NEW_ACTIVE, NEW_CONN, PEEK_BYTES, RING, VERDICTS, setting},
    registers::{operand, register},
    rustls, scope,
};

/// Sets the bit that tells reads from writes in a key of `ACTIVE`; thread group ids stay far below it.
pub const READ_KEY: u64 = 1 << 63;
/// Nothing is mapped below it.
const LOWEST_ADDRESS: u64 = 4096;
/// Copy loop steps: enough for the largest cap in pieces of [`wire::LARGE`].
const STEPS: u32 = 1 << 20;

/// A ring record with its payload.
#[repr(C)]
pub struct Record<const N: usize> {
    pub header: Header,
    pub payload: [u8; N],
}

/// Entry of a read or write of the C ABI: object, buffer, size. The cookie says which.
#[uprobe]
pub fn tls_enter(ctx: ProbeContext) -> u32 {
    let id = bpf_get_current_pid_tgid();
    let tgid = (id >> 32) as u32;
    if !scope::contains(tgid) {
        return 0;
    }
    // SAFETY: a probe context is what the helper wants.
    let meaning = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let tls: u64 = ctx.arg(0).unwrap_or(0);
    if tls == 0 || (meaning & cookie::KNOWN != 0 && !is_known(tls, tgid)) {
        return 0;
    }
    // Without room the return counts it as a call without an entry.
    let Some(active) = call_of(call_key(id, meaning)) else { return 0 };
    // SAFETY: the entry is this thread's own.
    unsafe {
        if begin(active, tls, meaning) {
            (*active).buffer = ctx.arg(1).unwrap_or(0);
            let (fourth, fifth) = (pinned(ctx.arg(3)), pinned(ctx.arg(4)));
            (*active).length_at = if meaning & cookie::EX2 != 0 { fifth } else { fourth };
            (*active).tgid = tgid;
        }
    }
    0
}

/// Entry of a call whose cookie says where its operands are.
#[uprobe]
pub fn tls_enter_at(ctx: ProbeContext) -> u32 {
    let id = bpf_get_current_pid_tgid();
    if !scope::contains((id >> 32) as u32) {
        return 0;
    }
    // SAFETY: a probe context is what the helper wants.
    let meaning = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    // SAFETY: the operands are addresses and numbers alone; the helpers check them.
    unsafe {
        let tls = operand(ctx.as_ptr(), meaning >> cookie::TLS);
        // Rust's box of nothing has a small number for its address: the key of a connection that has none yet.
        if tls < LOWEST_ADDRESS {
            return 0;
        }
        let Some(active) = call_of(call_key(id, meaning)) else { return 0 };
        if begin(active, tls, meaning) {
            (*active).buffer = operand(ctx.as_ptr(), meaning >> cookie::BUFFER);
            if meaning & cookie::CHUNKS != 0 {
                rustls::chunks(active);
            }
            (*active).tgid = (id >> 32) as u32;
            if meaning & cookie::WHOLE != 0 {
                let total = operand(ctx.as_ptr(), meaning >> cookie::LENGTH);
                if total > 0 {
                    take(active, total);
                }
                end(active);
            }
        }
    }
    0
}

/// An argument, read here and now: the verifier does not follow the compiler when it merges two reads of the context into one at
/// a place that depends.
#[inline(always)]
pub fn pinned(argument: Option<u64>) -> u64 {
    let mut value = argument.unwrap_or(0);
    // SAFETY: moves a register to itself. Without an instruction the line table has two lines in one place, which the kernel refuses.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(nomem, nostack)) };
    value
}

/// Notes a call that begins; false for one that is no call of its own. The caller fills in buffer and length.
#[inline(always)]
unsafe fn begin(active: *mut Active, tls: u64, meaning: u64) -> bool {
    // SAFETY: the entry is this thread's own.
    unsafe {
        if (*active).tls == tls {
            // The library calls itself: `SSL_write_ex` does its work by `SSL_write_ex2`, BoringSSL's `SSL_read` by `SSL_peek`. The
            // outermost call counts. With the same meaning it is the call itself, begun again: its return was not seen.
            if (*active).meaning != meaning {
                return false;
            }
        } else {
            // A call within a call: TLS to a proxy carries TLS to the host behind it. The outer one goes on at the inner's return.
            (*active).outer_tls = (*active).tls;
            (*active).outer_buffer = (*active).buffer;
            (*active).outer_length_at = (*active).length_at;
            (*active).outer_meaning = (*active).meaning;
        }
        (*active).tls = tls;
        (*active).meaning = meaning;
        (*active).direction = if meaning & cookie::READ != 0 { direction::RECEIVED } else { direction::SENT };
    }
    true
}

/// The call is over; the one around it, if there is one, goes on.
#[inline(always)]
unsafe fn end(active: *mut Active) {
    // SAFETY: the entry is this thread's own.
    unsafe {
        (*active).tls = (*active).outer_tls;
        (*active).buffer = (*active).outer_buffer;
        (*active).length_at = (*active).outer_length_at;
        (*active).meaning = (*active).outer_meaning;
        (*active).outer_tls = 0;
    }
}

/// The thread's entry, made at its first call and kept until it exits: an insertion and a removal a call would cost more
/// than all the rest.
#[inline(always)]
pub fn call_of(key: u64) -> Option<*mut Active> {
    if let Some(active) = ACTIVE.get_ptr_mut(key) {
        return Some(active);
    }
    ACTIVE.insert(key, &NEW_ACTIVE, 0).ok()?;
    ACTIVE.get_ptr_mut(key)
}

/// Return, probed at an instruction inside the function where the return register is final.
#[uprobe]
pub fn tls_leave(ctx: ProbeContext) -> u32 {
    // SAFETY: a probe context.
    unsafe { leave(ctx.as_ptr()) }
}

/// Return, probed through the return address.
#[uretprobe]
pub fn tls_leave_ret(ctx: RetProbeContext) -> u32 {
    // SAFETY: a probe context.
    unsafe { leave(ctx.as_ptr()) }
}

#[inline(always)]
unsafe fn leave(ctx: *mut c_void) -> u32 {
    let id = bpf_get_current_pid_tgid();
    // SAFETY: a probe context is what the helper wants.
    let meaning = unsafe { bpf_get_attach_cookie(ctx) };
    // Only a thread in scope has an entry.
    let Some(active) = ACTIVE.get_ptr_mut(call_key(id, meaning)) else {
        if meaning & cookie::KNOWN == 0 {
            unpaired(id);
        }
        return 0;
    };
    let result: u64 = RetProbeContext::new(ctx).ret();
    let result = if meaning & cookie::WIDE != 0 {
        result as i64
    } else {
        // An `int`: read as 64 bits, -1 would be a huge length.
        i64::from(result as i32)
    };
    // SAFETY: the entry is this thread's own.
    unsafe { returned(active, meaning, result) };
    0
}

/// A return without an entry, when the process is in scope.
#[inline(always)]
fn unpaired(id: u64) {
    if scope::contains((id >> 32) as u32) {
        maps::add(wire::UNPAIRED, 1);
    }
}

#[inline(always)]
fn call_key(id: u64, meaning: u64) -> u64 {
    if meaning & cookie::READ != 0 { id | READ_KEY } else { id }
}

#[inline(always)]
fn is_known(tls: u64, tgid: u32) -> bool {
    CONNS.get_ptr(&ConnKey { tls, tgid: u64::from(tgid) }).is_some()
}

/// The call returned; a return of another call that passes the same place is not it.
#[inline(always)]
unsafe fn returned(active: *mut Active, meaning: u64, result: i64) {
    // SAFETY: the entry is this thread's own; the helper checks the address.
    unsafe {
        if (*active).tls == 0 || (*active).meaning != meaning {
            return;
        }
        if meaning & cookie::VERIFIED != 0 {
            if result > 0 {
                refused(active, result as u64);
            }
            end(active);
            return;
        }
        let total = if result <= 0 {
            0
        } else if meaning & (cookie::EX | cookie::EX2) != 0 {
            bpf_probe_read_user((*active).length_at as *const u64).unwrap_or(0)
        } else {
            result as u64
        };
        if total > 0 {
            if meaning & cookie::REREAD != 0 {
                maps::add(wire::REREADS, 1);
                maps::add(wire::REREADS + 1, total);
            } else {
                take(active, total);
            }
        }
        end(active);
    }
}

/// Tells that the certificate of a listed host did not pass. A function of its own in the object too.
#[inline(never)]
unsafe fn refused(active: *mut Active, why: u64) {
    // SAFETY: `active` is this thread's own entry, `conn` a live map value, and the reservation is as large as a header, of which every
    // field is written before it is submitted.
    unsafe {
        let key = ConnKey { tls: (*active).tls, tgid: u64::from((*active).tgid) };
        let Some(conn) = CONNS.get_ptr(&key) else { return };
        if (*conn).verdict != verdict::COPY {
            return;
        }
        let Some(mut record) = RING.reserve::<Header>(0) else {
            maps::add(wire::ENDS_LOST, 1);
            return;
        };
        let header = record.as_mut_ptr();
        (*header).kind = kind::REFUSED;
        (*header).flags = 0;
        (*header).conn = (*conn).id;
        (*header).at_ns = bpf_ktime_get_ns();
        (*header).tgid = (*active).tgid;
        (*header).len = 0;
        (*header).offset = why;
        (*header).total = 0;
        (*header).tls = key.tls;
        (*header).direction = 0;
        (*header).reserved = 0;
        record.submit(maps::wake());
    }
}

/// Accounts for a finished call and copies what the verdict allows. A function of its own in the object too, so that its values
/// are not on the caller's stack.
#[inline(never)]
unsafe fn take(active: *mut Active, total: u64) {
    // SAFETY: `active` is this thread's own entry; the library allows one call a direction and connection at a time, so
    // the fields of `conn` that a direction changes have one writer.
    unsafe {
        let conn = connection((*active).tls, (*active).tgid);
        if conn.is_null() {
            maps::add(Outcome::TableFull.index(), 1);
            maps::add_bytes(Outcome::TableFull, total);
            return;
        }
        (*active).conn = (*conn).id;
        (*active).total = total;
        (*active).limit = 0;
        (*active).done = 0;
        (*active).outcome = Outcome::Copied as u32;
        (*active).flags = 0;
        (*active).records = 0;
        if (*active).meaning & cookie::CHUNKS == 0 {
            (*active).chunk_at = 0;
        }
        if (*active).direction == direction::SENT {
            (*active).base = (*conn).sent;
            (*conn).sent += total;
        } else {
            (*active).base = (*conn).received;
            (*conn).received += total;
        }
        let rest = match current_verdict(conn) {
            verdict::COPY if (*active).meaning & cookie::UNCOVERED != 0 => all(active, Outcome::Uncovered),
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
        let lossy = (*active).outcome >= Outcome::RingFull as u32;
        let outcome = if lossy && (*active).records > 0 { Outcome::Gapped as u32 } else { (*active).outcome };
        maps::add(outcome * 2, 1);
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
        let readable = sent && (*active).meaning & cookie::UNCOVERED == 0;
        if readable && budget > 0 && (peeked > 0 || starts_like_a_request((*active).buffer)) {
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

/// The connection of a TLS object, made on first sight; null when there is no room. A function of its own in the object too.
#[inline(never)]
pub fn connection(tls: u64, tgid: u32) -> *mut Conn {
    let key = ConnKey { tls, tgid: u64::from(tgid) };
    if let Some(conn) = CONNS.get_ptr_mut(&key) {
        return conn;
    }
    if CONNS.insert(&key, &NEW_CONN, 0).is_err() {
        return null_mut();
    }
    let Some(conn) = CONNS.get_ptr_mut(&key) else { return null_mut() };
    // SAFETY: a live map value; two threads that race here only burn an id.
    unsafe { (*conn).id = maps::next_conn() };
    conn
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
        let mut left = (*active).limit - (*active).done;
        if left == 0 {
            return 1;
        }
        if (*active).chunk_at != 0 {
            if (*active).chunk_left == 0 {
                return rustls::next_chunk(active, left);
            }
            if left > (*active).chunk_left {
                left = (*active).chunk_left;
            }
        }
        if left <= wire::SMALL as u64 {
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
            (*active).chunk_left = (*active).chunk_left.wrapping_sub(u64::from(len));
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
        (*active).chunk_left = (*active).chunk_left.wrapping_sub(u64::from(len));
        (*active).records += 1;
        let outcome = if (*active).flags & flag::PEEK != 0 { Outcome::Peeked } else { Outcome::Copied };
        maps::add_bytes(outcome, u64::from(len));
    }
    record.submit(maps::wake());
    0
}

/// A TLS object ends. The cookie says where it is: [`end_of`].
#[uprobe]
pub fn tls_free(ctx: ProbeContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if !scope::contains(tgid) {
        return 0;
    }
    // SAFETY: a probe context is what the helpers want.
    let tls = unsafe {
        let meaning = bpf_get_attach_cookie(ctx.as_ptr());
        if meaning == end_of::GO {
            register(ctx.as_ptr(), u64::from(wire::register::RAX))
        } else {
            ctx.arg(0).unwrap_or(0)
        }
    };
    forget(tls, tgid);
    0
}

/// Tells that a connection is over, and forgets it. A function of its own in the object too.
#[inline(never)]
pub fn forget(tls: u64, tgid: u32) {
    let key = ConnKey { tls, tgid: u64::from(tgid) };
    let Some(conn) = CONNS.get_ptr_mut(&key) else { return };
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
}
