//! What only rustls needs. Enters: the call by which its client names the server, and the place where a connection gets the key that
//! it sends with. Leaves: OPEN and CLOSE records; and for the copy loop, the slices that a call is made of.
//!
//! rustls moves its connections about in memory, so an address of theirs says nothing. The box of the key that a connection sends
//! with stays where it is until the next key, and its address is at a fixed place of the connection's state, where both directions
//! find it. Boxes are freed unseen; but each new one passes `tls_key` before it is used, so none is taken for one that had its place
//! before. A connection that changes its key in its midst is a new one from there on.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user, generated::bpf_get_attach_cookie},
    macros::uprobe,
    programs::ProbeContext,
};
use outflow_ebpf::wire::{Outcome, ahead, chunks, cookie};

use crate::{
    maps::{self, ACTIVE, Active},
    name::open,
    registers::operand,
    scope,
    tls::{call_of, forget},
};

/// How long a name waits for its key. The two are microseconds apart; a name that is left over, because the handshake failed between
/// them, must not meet another connection's key.
const WAITS_NS: u64 = 1_000_000_000;

/// `f(_, &ServerName)`, called just before the key of that server's connection is set, on the same thread and with nothing between
/// that waits.
#[uprobe]
pub fn tls_name_ahead(ctx: ProbeContext) -> u32 {
    let id = bpf_get_current_pid_tgid();
    if !scope::contains((id >> 32) as u32) {
        return 0;
    }
    let name: u64 = ctx.arg(1).unwrap_or(0);
    let Some(active) = call_of(id) else { return 0 };
    // SAFETY: the entry is this thread's own; the helpers check the addresses.
    unsafe {
        let is_name = bpf_probe_read_user((name + ahead::TAG) as *const u8) == Ok(0);
        (*active).name_at = if is_name { word(name + ahead::NAME) } else { 0 };
        (*active).name_length = word(name + ahead::LENGTH);
        (*active).name_ns = bpf_ktime_get_ns();
    }
    0
}

/// A key box is put into a connection. With [`cookie::NAMED`] the name that the thread has just seen is its server's.
#[uprobe]
pub fn tls_key(ctx: ProbeContext) -> u32 {
    let id = bpf_get_current_pid_tgid();
    if !scope::contains((id >> 32) as u32) {
        return 0;
    }
    // SAFETY: the entry is this thread's own; the helpers check the addresses.
    unsafe {
        let meaning = bpf_get_attach_cookie(ctx.as_ptr());
        let tls = operand(ctx.as_ptr(), meaning >> cookie::TLS);
        forget(tls, (id >> 32) as u32);
        if meaning & cookie::NAMED == 0 {
            return 0;
        }
        let Some(active) = ACTIVE.get_ptr_mut(id) else { return 0 };
        let at = (*active).name_at;
        (*active).name_at = 0;
        if bpf_ktime_get_ns() - (*active).name_ns > WAITS_NS {
            return 0;
        }
        open(tls, at, (*active).name_length)
    }
}

/// Entry of a call whose buffer is an `OutboundChunks`.
#[inline(always)]
pub unsafe fn chunks(active: *mut Active) {
    // SAFETY: the entry is this thread's own; the helpers check the addresses.
    unsafe {
        let outbound = (*active).buffer;
        let list = word(outbound + chunks::LIST);
        (*active).chunk_at = list;
        if list == 0 {
            (*active).buffer = word(outbound + chunks::SINGLE);
            return;
        }
        (*active).chunk_skip = word(outbound + chunks::START);
        (*active).chunk_left = 0;
        (*active).done = 0;
        (*active).buffer = 0;
        // The first slice now, so that it can be looked at before the verdict.
        next_chunk(active, 0);
    }
}

/// A step of the copy loop that finds the next slice; `left` bytes are still to be copied.
#[inline(never)]
pub unsafe fn next_chunk(active: *mut Active, left: u64) -> i64 {
    // SAFETY: as above.
    unsafe {
        let at = word((*active).chunk_at);
        let length = word((*active).chunk_at + 8);
        if at == 0 {
            // The list cannot be read, so what is left of the call cannot either.
            (*active).outcome = Outcome::NotResident as u32;
            (*active).done += left;
            maps::add_bytes(Outcome::NotResident, left);
            return 1;
        }
        (*active).chunk_at += chunks::SLICE;
        let skip = (*active).chunk_skip;
        if skip >= length {
            (*active).chunk_skip = skip - length;
            return 0;
        }
        (*active).chunk_skip = 0;
        (*active).chunk_left = length - skip;
        (*active).buffer = (at + skip).wrapping_sub((*active).done);
    }
    0
}

#[inline(always)]
unsafe fn word(at: u64) -> u64 {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(at as *const u64) }.unwrap_or(0)
}
